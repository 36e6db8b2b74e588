r"""One axis of a sweep: the word `x=1..10`, and the values it stands for.

| word | values |
| --- | --- |
| `x=1..1000`, `x=10..1`, `x=1..10:2` | whole numbers, both ends included, with a step |
| `x=0..1:0.25` | decimals, each the float nearest to what one would write |
| `x=lin:0..1:5` | so many floats, evenly spaced |
| `x=log:1e-3..1e3:7` | so many floats, evenly spaced in their logarithm |
| `x=a,b,c`, `x=a` | a list; `\,` is a comma within a value |
| `x=uniform:0..1`, `x=loguniform:1e-5..0.1` | a random float |
| `x=randint:1..100`, `x=choice:a,b,c` | a random whole number (ends included), one of a list |
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Context, Decimal, DecimalException
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from maniple.errors import UsageError

if TYPE_CHECKING:
    from random import Random  # 5 ms at every start, for the few sweeps that draw

_INTEGER: Final = r"-?(?:0|[1-9][0-9]*)"
_EXPONENT: Final = r"[eE][+-]?[0-9]+"
# group 1 takes part in decimals only, so that one match tells the three kinds apart
_VALUE: Final = re.compile(
    rf"{_INTEGER}|(-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*(?:{_EXPONENT})?|{_EXPONENT})"
    rf"|\.[0-9]+(?:{_EXPONENT})?))"
).fullmatch
_NUMBER: Final = rf"{_INTEGER}(?:\.[0-9]+)?(?:{_EXPONENT})?"
_RANGE: Final = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?::({_NUMBER}))?").fullmatch
# what a person meant as a range, most likely: taking it for text would hide the slip
_ALMOST_RANGE: Final = re.compile(
    r"(?:\w+:)?(?:[+-]?[0-9][0-9.eE+-]*\.\..*|.*\.\.[+-]?[0-9][0-9.eE+-]*(?::.*)?)", re.DOTALL
).fullmatch
_KIND: Final = re.compile(r"(lin|log|uniform|loguniform|randint|choice):(.*)", re.DOTALL).fullmatch
_COMMA: Final = re.compile(r"(\\*),")
_LITERALS: Final = {"true": True, "false": False}

# Far more digits than a float holds: what is rounded here never shows in the float.
_DIGITS: Final = Context(prec=60)

RANDOM_FORMS: Final = "x=uniform:0..1, x=loguniform:1e-5..0.1, x=randint:1..100 or x=choice:a,b"
_FORMS: Final = (
    f"x=1..10, x=1..10:2, x=0..1:0.1, x=lin:0..1:5, x=log:1e-3..1:4, x=a,b,c, {RANDOM_FORMS}"
)


def typed(text: str) -> Any:
    """Give text the type it looks like: int, float, `true` and `false`; everything else stays text.

    What would change as a number stays text: `007`, `+1`, `1e999`.
    """
    match = _VALUE(text)
    if match is None:
        return _LITERALS.get(text, text)
    try:
        if match[1] is None:
            return int(text)
        value = float(text)
    except ValueError:  # more digits than Python turns into an int
        return text
    return value if math.isfinite(value) else text


def text_of(value: Any) -> str:
    """Write a value of an axis as a person types it: `true`, not `True`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


class Axis(NamedTuple):
    """A named dimension of a sweep.

    Attributes:
        word: what the user wrote, for errors.
        name: an identifier.
        length: how many values there are; 1 for a random axis (one at each draw).
        values: can be walked over many times; nothing is kept between the values of a range.
        draw: for a random axis, draws one value; None for all others.
    """

    word: str
    name: str
    length: int
    values: Iterable[Any]
    draw: Callable[[Random], Any] | None = None

    @classmethod
    def parse(cls, word: str, *, text: bool = False) -> Axis:
        """Read one word, `name=values`.

        Args:
            word: in one of the forms at the top of this module.
            text: keep every value as text.

        Raises:
            UsageError: the word is none of these forms.
        """
        name, equals, spec = word.partition("=")
        if not equals:
            _refuse(word, "there is no '='")
        return cls.of(word, name, spec, text=text)

    @classmethod
    def of(cls, word: str, name: str, spec: str | list[Any], *, text: bool = False) -> Axis:
        """Make an axis of its name and the values: ready ones, or text in the axis syntax.

        Raises:
            UsageError: as `parse`.
        """
        if not name:
            _refuse(word, "the name before '=' is empty")
        if not name.isidentifier():
            _refuse(word, f"the name {name!r} is not an identifier (letters, digits, _)")
        if isinstance(spec, list):
            return cls(word, name, len(spec), tuple(spec))
        read = str if text else typed
        kind = _KIND(spec)
        if kind is not None and kind[1] == "choice":
            return cls(word, name, 1, (), _choice(_list(word, kind[2], read)))
        if kind is not None and kind[1] in _DRAWS:
            draw = _DRAWS[kind[1]](word, kind[2])
            return cls(word, name, 1, (), _drawn_as_text(draw) if text else draw)
        if kind is not None:
            length, values = _points(word, kind[1], kind[2])
        elif (bounds := _RANGE(spec)) is not None:
            length, values = _range(word, bounds[1], bounds[2], bounds[3])
        else:
            listed = _list(word, spec, read)
            return cls(word, name, len(listed), tuple(listed))
        return cls(word, name, length, _Walk(values, text_of) if text else values)


class _Walk:
    """Values that are computed anew at each walk, so that a long range takes no memory."""

    def __init__(self, source: Any, change: Callable[[Any], Any] | None = None) -> None:
        self._source = source
        self._change = change

    def __iter__(self) -> Iterator[Any]:
        if self._change is not None:
            return map(self._change, self._source)
        values: Iterator[Any] = self._source()
        return values


def _refuse(word: str, what: str, accepted: str = _FORMS) -> NoReturn:
    raise UsageError(f"axis {word!r}: {what}; write {accepted}")


def _decimal(word: str, text: str) -> Decimal:
    number = float(text)
    if not math.isfinite(number) or (number == 0 and Decimal(text) != 0):
        _refuse(word, f"{text} is beyond what a float holds")
    return Decimal(text)


def _range(word: str, start: str, end: str, step: str | None) -> tuple[int, Iterable[Any]]:
    low, high = _decimal(word, start), _decimal(word, end)
    down = high < low
    stride = Decimal(-1 if down else 1) if step is None else _decimal(word, step)
    if stride == 0:
        _refuse(word, "the step is zero", "a step such as x=1..10:2")
    if down and stride > 0:
        stride = -stride
    if not down and stride < 0:
        _refuse(word, f"a step of {step} leads away from {end}", f"{end}..{start} to go down")
    whole_numbers = all(part == part.to_integral_value() for part in (low, high, stride))
    if whole_numbers and "." not in f"{start}{end}{step}":
        sign = -1 if down else 1
        length = (int(high) - int(low)) // int(stride) + 1
        return length, range(int(low), int(high) + sign, int(stride))
    try:
        count = int(_DIGITS.divide_int(_DIGITS.subtract(high, low), stride)) + 1
    except DecimalException:
        _refuse(word, "these are more values than can be told apart", "a larger step")

    def walk() -> Iterator[float]:
        add, multiply = _DIGITS.add, _DIGITS.multiply
        for index in range(count):
            yield float(add(low, multiply(stride, index)))

    return count, _Walk(walk)


def _points(word: str, kind: str, spec: str) -> tuple[int, Iterable[float]]:
    example = "x=lin:0..1:5 (5 points)" if kind == "lin" else "x=log:1e-3..1e3:7 (7 points)"
    bounds = _RANGE(spec)
    if bounds is None or bounds[3] is None:
        _refuse(word, "this is not START..END:COUNT", example)
    low, high = _decimal(word, bounds[1]), _decimal(word, bounds[2])
    points = typed(bounds[3])
    if not isinstance(points, int) or points < 1:
        _refuse(word, f"the count of points {bounds[3]} is not a whole number from 1 on", example)
    count: int = points
    if kind == "log" and (low <= 0 or high <= 0):
        _refuse(word, "both ends of a logarithmic range lie above 0", example)
    if count == 1:
        return 1, (float(low),)

    def linear() -> Iterator[float]:
        multiply, divide, add = _DIGITS.multiply, _DIGITS.divide, _DIGITS.add
        span = _DIGITS.subtract(high, low)
        for index in range(count):
            yield float(add(low, divide(multiply(span, index), count - 1)))

    def logarithmic() -> Iterator[float]:
        multiply = _DIGITS.multiply
        ratio = _DIGITS.power(_DIGITS.divide(high, low), _DIGITS.divide(1, count - 1))
        value = low
        for _ in range(count - 1):
            yield float(value)
            value = multiply(value, ratio)
        yield float(high)

    return count, _Walk(linear if kind == "lin" else logarithmic)


def _list(word: str, spec: str, read: Callable[[str], Any]) -> list[Any]:
    values = _split(spec)
    for value in values:
        if ".." in value and _ALMOST_RANGE(value):
            _refuse(word, f"{value!r} is no range (two numbers, without leading zeros, alone)")
    return [read(value) for value in values]


def _split(spec: str) -> list[str]:
    """Split at commas. Before a comma, a backslash escapes; anywhere else it is itself."""
    values, current, after = [], "", 0
    for match in _COMMA.finditer(spec):
        slashes = len(match[1])
        current += spec[after : match.start()] + "\\" * (slashes // 2)
        after = match.end()
        if slashes % 2:
            current += ","
        else:
            values.append(current)
            current = ""
    values.append(current + spec[after:])
    return values


def _drawn_as_text(draw: Callable[[Random], Any]) -> Callable[[Random], str]:
    return lambda random: text_of(draw(random))


def _bounds(word: str, spec: str, example: str) -> tuple[Decimal, Decimal]:
    bounds = _RANGE(spec)
    if bounds is None or bounds[3] is not None:
        _refuse(word, "this is not START..END", example)
    low, high = _decimal(word, bounds[1]), _decimal(word, bounds[2])
    if high < low:
        _refuse(word, f"the end {bounds[2]} lies below the start {bounds[1]}", example)
    return low, high


def _uniform(word: str, spec: str) -> Callable[[Random], float]:
    low, high = map(float, _bounds(word, spec, "x=uniform:0..1"))
    if not math.isfinite(high - low):
        _refuse(word, "the ends lie further apart than a float holds", "x=uniform:0..1")
    return lambda random: random.uniform(low, high)


def _loguniform(word: str, spec: str) -> Callable[[Random], float]:
    example = "x=loguniform:1e-5..1e-1"
    low, high = map(float, _bounds(word, spec, example))
    if low <= 0:
        _refuse(word, "both ends of a logarithmic range lie above 0", example)
    start, end = math.log(low), math.log(high)
    # exp(log(x)) may miss x by its last digit
    return lambda random: min(max(math.exp(random.uniform(start, end)), low), high)


def _randint(word: str, spec: str) -> Callable[[Random], int]:
    example = "x=randint:1..100"
    low, high = _bounds(word, spec, example)
    if low != low.to_integral_value() or high != high.to_integral_value():
        _refuse(word, "both ends of randint are whole numbers", example)
    first, last = int(low), int(high)
    return lambda random: random.randint(first, last)


def _choice(values: list[Any]) -> Callable[[Random], Any]:
    return lambda random: random.choice(values)


_DRAWS: Final[dict[str, Callable[[str, str], Callable[[Random], Any]]]] = {
    "uniform": _uniform,
    "loguniform": _loguniform,
    "randint": _randint,
}
