"""Params become text and ids: the same param is the same task, whatever its looks."""

import datetime as dt
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maniple.errors import ParamError
from maniple.task import Task, decode_param, encode_param

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_a_param_is_read_back_as_it_was_written(param):
    assert decode_param(encode_param(param)) == param


@given(st.dictionaries(st.text(), JSON, min_size=2))
def test_the_order_of_keys_makes_no_other_task(param):
    other = dict(reversed(param.items()))
    assert Task.of(param).id == Task.of(other).id


def test_the_order_of_keys_makes_no_other_task_in_depth():
    first = {"a": [{"x": 1, "y": {"p": 1, "q": 2}}]}
    second = {"a": [{"y": {"q": 2, "p": 1}, "x": 1}]}
    assert Task.of(first).id == Task.of(second).id


def test_the_order_of_keys_is_kept_in_the_data():
    assert Task.of({"b": 1, "a": 2}).data == b'{"b":1,"a":2}'
    assert list(Task.of({"b": 1, "a": 2}).param) == ["b", "a"]


def test_an_id_is_32_hexadecimal_digits_and_the_same_in_every_process():
    assert Task.of({"x": 1}).id == "baf059ca269223ef0e10bac9eb71ee58"
    assert len(Task.of(None).id) == 32
    assert set(Task.of(None).id) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("one", "other"), [(1, "1"), (1, 1.0), (1, True), (None, ""), ([], {}), ([1, 2], [2, 1])]
)
def test_params_that_differ_are_different_tasks(one, other):
    assert Task.of(one).id != Task.of(other).id


def test_the_order_of_a_set_makes_no_other_task():
    names = [f"name{number}" for number in range(50)]
    assert Task.of(frozenset(names)).id == Task.of(sorted(names)).id


def test_a_number_of_another_library_is_the_number():
    numpy = pytest.importorskip("numpy")
    mine = {"é": numpy.float64(1.5), "x": numpy.float64(1e300)}
    assert Task.of(mine) == Task.of({"é": 1.5, "x": 1e300})


@pytest.mark.parametrize(
    "number", [2**63, 2**64, -(2**63) - 1, 10**300], ids=lambda n: f"{n.bit_length()} bits"
)
def test_integers_have_no_size(number):
    assert Task.of({"n": number, "a": [number]}).param == {"n": number, "a": [number]}
    assert Task.of({"n": number, "a": 0}).id == Task.of({"a": 0, "n": number}).id


def test_keys_of_several_kinds_beside_a_huge_integer_are_text():
    assert Task.of({1: 10**30, "a": 2}).param == {"1": 10**30, "a": 2}


@pytest.mark.parametrize("text", ["caf\udce9.txt", "\ud800", "a\udfffb"], ids=ascii)
def test_text_that_is_not_valid_unicode_is_kept(text):
    assert Task.of({"f": text, "g": 1}).param == {"f": text, "g": 1}
    assert Task.of({"f": text, "g": 1}).id == Task.of({"g": 1, "f": text}).id


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: {"x": {"y": (1, v)}}])
def test_what_json_has_no_number_for_is_refused(value, wrap):
    with pytest.raises(ParamError, match="NaN or an infinity"):
        Task.of(wrap(value))


def test_nothing_is_not_taken_for_a_missing_number():
    assert Task.of({"x": None, "y": [None], "z": "null"}).param == {
        "x": None,
        "y": [None],
        "z": "null",
    }


class Stubborn:
    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "param", [object(), {"f": len}, [1j], Stubborn(), {"x": [Stubborn()]}], ids=type
)
def test_an_object_is_refused_in_one_short_line(param):
    with pytest.raises(ParamError, match="cannot be encoded") as caught:
        Task.of(param)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_param_that_holds_itself_is_refused():
    loop: list = []
    loop.append(loop)
    with pytest.raises(ParamError):
        Task.of(loop)


def test_a_date_is_written_as_its_text():
    assert Task.of(dt.date(2026, 2, 3)).param == "2026-02-03"


def test_a_salt_tells_equal_params_apart():
    assert len({Task.of("a").id, Task.of("a", salt=1).id, Task.of("a", salt=2).id}) == 3
    assert Task.of("a", salt=1).param == "a"
