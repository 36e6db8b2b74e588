"""How axes make a space of params."""

import tracemalloc
from itertools import islice, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maniple.errors import UsageError
from maniple.sweep.space import count, looks_like_axis, params

RANDOM = ["a=uniform:0..1", "b=loguniform:1e-5..1e-1", "n=randint:1..9", "c=choice:u,v,7"]


def test_the_grid_is_the_cross_product_and_its_last_axis_varies_fastest():
    assert list(params(["x=1..2", "y=a,b"])) == [
        {"x": 1, "y": "a"},
        {"x": 1, "y": "b"},
        {"x": 2, "y": "a"},
        {"x": 2, "y": "b"},
    ]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5))
@settings(deadline=None)
def test_a_grid_of_any_shape_is_what_itertools_makes_of_it(lengths):
    words = [f"x{i}=1..{length}" for i, length in enumerate(lengths)]
    found = list(params(words))
    expected = product(*(range(1, length + 1) for length in lengths))
    assert [tuple(param.values()) for param in found] == list(expected)
    assert len(found) == count(words)


def test_each_param_is_a_dict_of_its_own_with_keys_in_the_order_of_the_axes():
    first, second = islice(params(["z=1..2", "a=5", "m=6..7"], zipped=[["z", "m"]]), 2)
    first["z"] = "changed"
    assert second == {"z": 2, "a": 5, "m": 7}
    assert list(second) == ["z", "a", "m"]


def test_zipped_axes_advance_together_and_cross_the_others():
    found = list(params(["x=1,2", "y=a,b", "z=8,9"], zipped=[["x", "y"]]))
    assert found == [
        {"x": 1, "y": "a", "z": 8},
        {"x": 1, "y": "a", "z": 9},
        {"x": 2, "y": "b", "z": 8},
        {"x": 2, "y": "b", "z": 9},
    ]
    assert count(["x=1,2", "y=a,b", "z=8,9"], zipped=[["y", "x"]]) == 4


def test_random_axes_are_drawn_together_within_their_bounds():
    found = list(params(RANDOM, samples=200, seed=3))
    assert len(found) == count(RANDOM, samples=200) == 200
    for param in found:
        assert 0 <= param["a"] <= 1
        assert 1e-5 <= param["b"] <= 1e-1
        assert param["n"] in range(1, 10)
        assert param["c"] in ("u", "v", 7)
    assert {param["n"] for param in found} == set(range(1, 10))
    assert len({param["a"] for param in found}) == 200


def test_each_draw_crosses_the_grid():
    found = list(params(["seed=1..3", "a=uniform:0..1"], samples=2))
    assert [param["seed"] for param in found] == [1, 2, 3, 1, 2, 3]
    assert len({param["a"] for param in found}) == 2
    assert list(found[0]) == ["seed", "a"]


def test_the_same_seed_draws_the_same_and_another_draws_others():
    first, again, other = (list(params(RANDOM, samples=5, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_draws_stay_the_same_from_one_version_of_python_to_the_next():
    (param,) = params(["a=uniform:0..1", "n=randint:1..1000000"], samples=1, seed=0)
    assert param == {"a": 0.8633118492977317, "n": 559537}


def test_more_samples_append_to_those_there_were():
    words = ["k=1..2", *RANDOM]
    few, many = (list(params(words, samples=n, seed=9)) for n in (4, 10))
    assert many[: len(few)] == few


def test_an_axis_more_leaves_the_draws_of_the_others_as_they_are():
    alone = [param["a"] for param in params(RANDOM[:1], samples=4)]
    together = [param["a"] for param in params(RANDOM, samples=4)]
    assert alone == together


def test_text_keeps_grid_and_draws_as_text():
    for param in params(["x=1..2", *RANDOM], samples=3, text=True):
        assert {type(value) for value in param.values()} == {str}


def test_a_space_of_a_quintillion_params_takes_no_memory():
    words = ["x=1..1000000000", "y=0..1:1e-9"]
    tracemalloc.start()
    try:
        assert count(words) == 10**9 * (10**9 + 1)
        assert list(islice(params(words), 2)) == [{"x": 1, "y": 0.0}, {"x": 1, "y": 1e-9}]
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("words", "options", "says"),
    [
        ([], {}, "no axis"),
        (["x=1", "x=2"], {}, "axis 'x=2': 'x' is given already, by 'x=1'"),
        (["x=uniform:0..1"], {}, "axis 'x=uniform:0..1': random values need the number of samples"),
        (["x=1"], {"samples": 3}, "3 samples of nothing"),
        (["x=uniform:0..1"], {"samples": 0}, "at least 1"),
        (["x=1"], {"zipped": [["x", "q"]]}, "zip x,q: there is no axis 'q', only x"),
        (
            ["x=1..3", "y=1..2"],
            {"zipped": [["x", "y"]]},
            "'x=1..3' has 3 values and 'y=1..2' has 2",
        ),
        (["x=1", "y=1"], {"zipped": [["x", "y"], ["y"]]}, "'y' is zipped already"),
        (["x=1"], {"zipped": [["x", "x"]]}, "'x' is zipped already"),
        (["x=1"], {"zipped": [[]]}, "an empty zip"),
        (["x=1", "y=uniform:0..1"], {"zipped": [["x", "y"]], "samples": 1}, "is random"),
        (["x=1..z"], {}, "axis 'x=1..z'"),
    ],
)
def test_what_makes_no_space_is_refused_before_the_first_param(words, options, says):
    for call in (params, count):
        with pytest.raises(UsageError) as caught:
            call(words, **options)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "is_axis"),
    [
        ("x=1..3", True),
        ("x=", True),
        ("my-rate=3", True),
        ("path=/data/a=b", True),
        ("params.csv", False),
        ("./x=1.csv", False),
        ("/data/x=1/params.csv", False),
        ("-", False),
    ],
)
def test_an_axis_is_told_from_a_file(word, is_axis):
    assert looks_like_axis(word) is is_axis
