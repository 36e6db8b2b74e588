r"""Commands with placeholders: how a param becomes the words of a command.

| placeholder | stands for |
| --- | --- |
| `{}` | the whole param as text; the values of several fields joined by a space |
| `{name}`, `{a.b}` | a field of the param, or a field within it |
| `{1}`, `{2}` | its first value, its second |
| `{.}`, `{/}`, `{//}`, `{/.}` | `{}` as a path: without extension, base name, folder, both |
| `{@}` | the param as JSON |
| `{#}`, `{%}` | the task's number, the minion's slot |
| `{{name}}`, `{{}}` | literally `{name}`, `{}` |

A brace after `$` is the shell's (`${HOME}`), and what is no placeholder stays as it is
(`{print $1}`, `{"a":1}`). A value is only data: it is never expanded again, never split.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

from maniple.errors import UsageError
from maniple.sweep.quoting import BARE, Scanner
from maniple.task import encode_param

_Getter = Callable[[Any, int, int], str]
_Piece = str | _Getter

_BRACES: Final = re.compile(r"(\$?)(\{+)([^{}]*)(\}+)")
_NAME: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*").fullmatch
_POSITION: Final = re.compile(r"[1-9][0-9]*").fullmatch


class Template:
    """The words of a command, compiled once and filled for each task.

    Attributes:
        fields: the names of the named placeholders, dotted ones whole.
        has_placeholders: whether there is any; if not, params are appended as words: a scalar is
            one word, each value of a mapping or list is one.
    """

    def __init__(self, words: Sequence[str]) -> None:
        """Compile the words, the program first.

        Raises:
            UsageError: there is no word, or one holds a NUL byte.
        """
        if not words:
            raise UsageError("there is no command; write its words after --")
        for word in words:
            if "\0" in word:
                raise UsageError(f"the word {word!r} holds a NUL byte; no command can take it")
        self._source = tuple(words)
        names: set[str] = set()
        compiled = [_compile(word, names) for word in words]
        self._fixed: list[str] = []
        self._filled: list[tuple[int, _Getter]] = []
        for index, pieces in enumerate(compiled):
            literal = "".join([piece for piece in pieces if isinstance(piece, str)])
            self._fixed.append(literal)
            if [literal] != pieces:
                self._filled.append((index, _joined(pieces)))
        self._compiled = compiled
        self._snippet: list[_Piece] | None = None
        self.fields = frozenset(names)
        self.has_placeholders = bool(self._filled)

    def __reduce__(self) -> tuple[type[Template], tuple[tuple[str, ...]]]:
        return Template, (self._source,)

    def words(self, param: Any, *, number: int, slot: int) -> list[str]:
        """Fill the words: as many as were given, or with the param's appended.

        Args:
            param: of the task.
            number: of the task, for `{#}`.
            slot: of the minion, for `{%}`.

        Returns:
            Text for `os.fsencode`: surrogates in it stand for bytes that were not UTF-8.

        Raises:
            UsageError: the param lacks a field or position, or a value holds a NUL byte.
        """
        filled = self._fixed.copy()
        if self.has_placeholders:
            for index, get in self._filled:
                filled[index] = get(param, number, slot)
        else:
            filled += [_text(value) for value in _values(param)]
        return filled

    def shell(self, param: Any, *, number: int, slot: int) -> str:
        """Fill the words as one text for a POSIX shell: joined by spaces as they are typed.

        Each value is quoted, also between the quotes of the text (`'{x}'`, `"{x}"`), so that it
        is data to this shell. It is not to a shell within (`sh -c 'echo {x}'`): pass it there as
        an argument, `sh -c 'echo "$1"' sh {x}`.

        Raises:
            UsageError: as `words`, or a placeholder stands where no quoting is safe: in a
                comment, a here-document, `${...}`, arithmetic, backquotes, after a backslash.
        """
        if self._snippet is None:
            self._snippet = self._quoted()
        text = "".join([p if isinstance(p, str) else p(param, number, slot) for p in self._snippet])
        if self.has_placeholders:
            return text
        from shlex import quote

        return " ".join([text, *(quote(_text(value)) for value in _values(param))])

    def check(self, param: Any) -> None:
        """Make sure that this param can fill the words.

        Raises:
            UsageError: as `words`.
        """
        self.words(param, number=1, slot=1)

    def _quoted(self) -> list[_Piece]:
        scanner = Scanner()
        snippet: list[_Piece] = []
        for index, pieces in enumerate(self._compiled):
            for piece in [" ", *pieces] if index else pieces:
                if isinstance(piece, str):
                    scanner.feed(piece)
                    snippet.append(piece)
                    continue
                try:
                    before, after = scanner.value()
                except ValueError as error:
                    raise UsageError(
                        f"a placeholder in {self._source[index]!r} stands {error}, where no "
                        "quoting is safe; put it in a variable before, v={x}, and use $v"
                    ) from None
                snippet.append(_quoting(piece, before, after))
        if not self.has_placeholders:
            try:
                place = scanner.value()
            except ValueError:
                place = None
            if place != BARE:
                raise UsageError(
                    f"params cannot be appended to {self._source[-1]!r}, as it ends within quotes, "
                    "a comment or the like; write {} where the param belongs"
                )
        return snippet


def _compile(word: str, names: set[str]) -> list[_Piece]:
    """Split a word into literal text and getters, with no two texts in a row."""
    pieces: list[_Piece] = []
    literal, after = "", 0
    for match in _BRACES.finditer(word):
        dollar, opened, content, closed = match.groups()
        literal += word[after : match.start()]
        after = match.end()
        getter = None if dollar else _getter(content, word)
        if getter is None:
            literal += match[0]
            continue
        # as in str.format: a doubled brace is a literal one, and an odd one a placeholder
        pairs, odd = divmod(min(len(opened), len(closed)), 2)
        level = 2 * pairs + odd
        literal += "{" * (len(opened) - level + pairs)
        if odd:
            if _NAME(content):
                names.add(content)
            if literal:
                pieces.append(literal)
            pieces.append(getter)
            literal = ""
        else:
            literal += content
        literal += "}" * (len(closed) - level + pairs)
    literal += word[after:]
    if literal or not pieces:
        pieces.append(literal)
    return pieces


def _joined(pieces: list[_Piece]) -> _Getter:
    first = pieces[0]
    if len(pieces) == 1 and not isinstance(first, str):
        return first

    def join(param: Any, number: int, slot: int) -> str:
        return "".join([p if isinstance(p, str) else p(param, number, slot) for p in pieces])

    return join


def _quoting(get: _Getter, before: str, after: str) -> _Getter:
    from shlex import quote

    def quoted(param: Any, number: int, slot: int) -> str:
        return f"{before}{quote(get(param, number, slot))}{after}"

    return quoted


def _getter(content: str, word: str) -> _Getter | None:
    """Make what reads a placeholder's value, or None if this is no placeholder."""
    if content in _WHOLE:
        return _whole(_WHOLE[content])
    if content == "#":
        return lambda _param, number, _slot: str(number)
    if content == "%":
        return lambda _param, _number, slot: str(slot)
    if content == "@":
        return lambda param, _number, _slot: encode_param(param).decode()
    if _POSITION(content):
        return _position(int(content), word)
    if _NAME(content):
        return _nested(content, word) if "." in content else _field(content, word)
    return None


def _whole(change: Callable[[str], str] | None) -> _Getter:
    if change is None:
        return lambda param, _number, _slot: _whole_text(param)
    return lambda param, _number, _slot: change(_whole_text(param))


def _field(name: str, word: str) -> _Getter:
    def get(param: Any, _number: int, _slot: int) -> str:
        try:
            value = param[name]
        except (KeyError, TypeError):
            raise _lacks(name, word, param) from None
        return _text(value)

    return get


def _nested(path: str, word: str) -> _Getter:
    names = path.split(".")

    def get(param: Any, _number: int, _slot: int) -> str:
        if isinstance(param, dict) and path in param:  # a CSV column may be named a.b
            return _text(param[path])
        value = param
        for name in names:
            if not isinstance(value, dict) or name not in value:
                raise _lacks(path, word, param)
            value = value[name]
        return _text(value)

    return get


def _position(position: int, word: str) -> _Getter:
    def get(param: Any, _number: int, _slot: int) -> str:
        values = _values(param)
        for value in islice(values, position - 1, None):
            return _text(value)
        raise UsageError(
            f"placeholder {{{position}}} in {word!r}: the param has {len(values)} value(s); "
            f"{{{{{position}}}}} gives it literally"
        )

    return get


def _lacks(name: str, word: str, param: Any) -> UsageError:
    if isinstance(param, dict) and param:
        there = f"the param has the fields {', '.join(map(str, param))}"
    else:
        there = "the param has no fields, {} is the whole of it"
    return UsageError(
        f"placeholder {{{name}}} in {word!r}: no such field, {there}; "
        f"{{{{{name}}}}} gives it literally"
    )


def _values(param: Any) -> Any:
    if isinstance(param, dict):
        return param.values()
    return param if isinstance(param, list | tuple) else (param,)


def _whole_text(param: Any) -> str:
    if type(param) is str:
        return _text(param)
    return " ".join([_text(value) for value in _values(param)])


def _text(value: Any) -> str:
    """Write one value as a command's word; what has no plain text of its own is JSON."""
    if isinstance(value, str):
        if "\0" in value:
            raise UsageError(
                f"the value {value[:60]!r} holds a NUL byte, which no command's word can; "
                "pass it in a file"
            )
        return value
    if type(value) is int or type(value) is float:
        return repr(value)
    return encode_param(value).decode()


def _folder(path: str) -> str:
    """Give the folder as dirname(1) does: `.` where there is none."""
    stripped = path.rstrip("/")
    if not stripped:
        return path[:1] or "."
    return os.path.dirname(stripped) or "."


def _base(path: str) -> str:
    """Give the base name as basename(1) does: a slash at the end does not count."""
    return os.path.basename(path.rstrip("/")) or path[:1]


_WHOLE: Final[dict[str, Callable[[str], str] | None]] = {
    "": None,
    ".": lambda text: os.path.splitext(text)[0],
    "/": _base,
    "//": _folder,
    "/.": lambda text: os.path.splitext(_base(text))[0],
}
