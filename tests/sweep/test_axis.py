"""What one axis word stands for."""

from decimal import Decimal
from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from maniple.errors import UsageError
from maniple.sweep.axis import Axis, typed


def values(word, **options):
    axis = Axis.parse(word, **options)
    found = list(axis.values)
    assert axis.length == len(found)
    return found


def same(found, expected):
    """Equal in type too: 1, 1.0 and True are three values here."""
    return repr(found) == repr(expected)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("x=1..4", [1, 2, 3, 4]),
        ("x=4..1", [4, 3, 2, 1]),
        ("x=-2..1", [-2, -1, 0, 1]),
        ("x=1..10:4", [1, 5, 9]),
        ("x=10..1:4", [10, 6, 2]),
        ("x=10..1:-4", [10, 6, 2]),
        ("x=5..5", [5]),
        ("x=1..1e3:500", [1, 501]),
    ],
)
def test_a_range_of_whole_numbers_holds_both_ends(word, expected):
    assert same(values(word), expected)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("x=0..1:0.25", [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("x=0..0.5:0.1", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        ("x=0.3..0.1:0.1", [0.3, 0.2, 0.1]),
        ("x=1.0..3", [1.0, 2.0, 3.0]),
        ("x=0..1:0.3", [0.0, 0.3, 0.6, 0.9]),
    ],
)
def test_a_range_of_decimals_gives_the_floats_that_one_would_type(word, expected):
    assert same(values(word), expected)


@given(start=st.integers(-1000, 1000), steps=st.integers(0, 200), step=st.integers(1, 999))
@settings(deadline=None)
def test_a_decimal_range_never_drifts(start, steps, step):
    low, stride = Decimal(start) / 100, Decimal(step) / 1000
    word = f"x={low:.2f}..{low + steps * stride:.3f}:{stride:.3f}"
    assert values(word) == [float(f"{low + i * stride:.3f}") for i in range(steps + 1)]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("x=lin:0..1:5", [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("x=lin:1..0:3", [1.0, 0.5, 0.0]),
        ("x=lin:0.1..0.7:7", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
        ("x=lin:3..9:1", [3.0]),
    ],
)
def test_lin_spaces_points_evenly(word, expected):
    assert same(values(word), expected)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("x=log:1e-3..1e3:7", [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]),
        ("x=log:100..0.01:5", [100.0, 10.0, 1.0, 0.1, 0.01]),
        ("x=log:1..1024:11", [float(2**i) for i in range(11)]),
        ("x=log:1..10:3", [1.0, 10**0.5, 10.0]),
        ("x=log:5..9:1", [5.0]),
    ],
)
def test_log_spaces_points_evenly_in_the_logarithm_and_powers_come_out_exact(word, expected):
    assert same(values(word), expected)


def test_a_list_holds_values_of_several_types():
    word = "x=1,-2,0.5,.5,1e-3,true,false,True,text,007,+1,1e999,"
    expected = [1, -2, 0.5, 0.5, 0.001, True, False, "True", "text", "007", "+1", "1e999", ""]
    assert same(values(word), expected)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("x=7", [7]),
        ("x=", [""]),
        ("x=a=b", ["a=b"]),
        ("x=../data", ["../data"]),
        ("x=v1..main", ["v1..main"]),
        ("x=sqlite:q.db", ["sqlite:q.db"]),
    ],
)
def test_one_value_is_a_list_of_one(word, expected):
    assert same(values(word), expected)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (r"x=a\,b,c", ["a,b", "c"]),
        (r"x=a\\,b", ["a\\", "b"]),
        (r"x=a\\\,b", ["a\\,b"]),
        (r"x=C:\dir\,\d+", ["C:\\dir,\\d+"]),
        ("x=a\\", ["a\\"]),
    ],
)
def test_a_backslash_before_a_comma_makes_it_part_of_the_value(word, expected):
    assert values(word) == expected


@given(st.lists(st.text(alphabet="ab,\\.", max_size=6), min_size=1, max_size=5))
@settings(deadline=None)
def test_any_text_can_be_written_as_a_list(texts):
    assume(not texts[-1].endswith("\\") or len(texts) == 1)
    escaped = []
    for position, text in enumerate(texts):
        written = ""
        for char in text:
            if char == ",":
                slashes = len(written) - len(written.rstrip("\\"))
                written += "\\" * slashes + "\\,"
            else:
                written += char
        if position < len(texts) - 1:
            written += "\\" * (len(written) - len(written.rstrip("\\")))
        escaped.append(written)
    assert values("x=" + ",".join(escaped), text=True) == texts


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("x=1,0.50,true,007", ["1", "0.50", "true", "007"]),
        ("x=1..3", ["1", "2", "3"]),
        ("x=0..0.2:0.1", ["0.0", "0.1", "0.2"]),
    ],
)
def test_text_keeps_every_value_as_text(word, expected):
    assert values(word, text=True) == expected


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None)
def test_a_number_that_python_wrote_is_read_as_the_same_number(number):
    assert same(typed(repr(number)), number)


@given(st.text(max_size=8))
@settings(deadline=None)
def test_a_whole_number_is_typed_only_when_its_text_comes_back(text):
    value = typed(text)
    if type(value) is int:
        assert str(value) == text or text == "-0"


def test_numbers_too_large_for_python_to_read_stay_text():
    digits = "1" * 5000
    assert typed(digits) == digits


def test_a_billion_values_are_walked_over_without_being_made():
    assert list(islice(Axis.parse("x=1..1000000000").values, 3)) == [1, 2, 3]
    assert list(islice(Axis.parse("x=0..1:1e-9").values, 2)) == [0.0, 1e-9]
    assert Axis.parse("x=lin:0..1:1000000000").length == 10**9


def test_a_decimal_range_counts_as_exact_fractions_do():
    axis = Axis.parse("x=0..1:1e-17")
    assert axis.length == Fraction(1) / Fraction(1, 10**17) + 1


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("x", "no '='"),
        ("=1", "name before '=' is empty"),
        ("1x=3", "'1x' is not an identifier"),
        ("a-b=3", "'a-b' is not an identifier"),
        ("x=1..a", "'1..a' is no range"),
        ("x=a..3", "'a..3' is no range"),
        ("x=1...5", "'1...5' is no range"),
        ("x=001..010", "leading zeros"),
        ("x=1..3,7", "'1..3' is no range"),
        ("x=linspace:0..1:5", "'linspace:0..1:5' is no range"),
        ("x=1..9:0", "the step is zero"),
        ("x=1..9:-1", "a step of -1 leads away from 9; write 9..1"),
        ("x=1e999..2", "1e999 is beyond what a float holds"),
        ("x=0..1:1e-300", "more values than can be told apart"),
        ("x=lin:0..1", "not START..END:COUNT"),
        ("x=lin:0..1:0", "count of points 0"),
        ("x=lin:0..1:2.5", "count of points 2.5"),
        ("x=log:0..1:3", "above 0"),
        ("x=log:1..-1:3", "above 0"),
        ("x=uniform:a", "not START..END"),
        ("x=uniform:1..0", "end 0 lies below the start 1"),
        ("x=uniform:-1e308..1e308", "further apart"),
        ("x=loguniform:0..1", "above 0"),
        ("x=randint:0.5..2", "whole numbers"),
        ("x=choice:1..2,3", "'1..2' is no range"),
        ("x\n=3", "not an identifier"),
    ],
)
def test_a_malformed_word_is_named_in_one_line_that_says_what_to_write(word, says):
    with pytest.raises(UsageError) as caught:
        Axis.parse(word)
    message = str(caught.value)
    assert message.startswith(f"axis {word!r}: ")
    assert says in message
    assert "; write " in message
    assert "\n" not in message
