"""Where in a shell's text a value may be put, and how it is quoted there.

`shlex.quote` alone is right only where no quotes are open: in `echo '{x}'` its own quotes would
close the user's, and a value such as `; rm -rf ~` would run. So the text is read as a POSIX shell
reads it (Shell Command Language, 2.2 and 2.6), to see which quotes are open at each value. Where
that cannot be told for sure, or where no quoting is safe, a value is refused.
"""

from __future__ import annotations

import re
from typing import Final

BARE: Final = ("", "")
"""No quotes are open: a quoted value stands by itself."""

_CASE: Final = re.compile(r"\bcase\b")
_REFUSED: Final = {"{": "in ${...}", "((": "in arithmetic", "#": "in a comment", "$'": "in $'...'"}


class Scanner:
    """Follows the quotes of a shell text, as far as it was fed.

    The stack holds what is open, innermost last: quotes (`'`, `"`, `$'`), `(` a subshell or
    command substitution, `((` arithmetic, `{` a `${...}`, `#` a comment.
    """

    def __init__(self) -> None:
        self._stack: list[str] = []
        self._text = ""
        self._last = "\n"
        self._escaped = False
        self._nested = False
        self._here = False
        self._unclear = ""

    def feed(self, text: str) -> None:
        """Read on."""
        index = 0
        while index < len(text):
            index += self._step(text, index)
        self._text += text

    def value(self) -> tuple[str, str]:
        """Say what stands before and after a quoted value at this point.

        Raises:
            ValueError: no quoting is safe here; the message says where this is.
        """
        self._last = "v"
        if self._unclear:
            raise ValueError(self._unclear)
        if self._escaped:
            raise ValueError("after a backslash")
        if self._nested and _CASE.search(self._text):
            # the `)` of its patterns cannot be told from one that closes
            raise ValueError("in a text with both case and parentheses")
        for opened, place in _REFUSED.items():
            if opened in self._stack:
                raise ValueError(place)
        quote = self._stack[-1] if self._stack else "("
        return BARE if quote == "(" else (quote, quote)

    def _step(self, text: str, index: int) -> int:
        """Read one token; return its length."""
        char, last = text[index], self._last
        top = self._stack[-1] if self._stack else ""
        self._last = char
        if char == "\n" and self._here:
            self._unclear = "in or after a here-document"
        if top == "#":
            if char == "\n":
                self._stack.pop()
        elif top in {"'", "$'"}:
            if char == "'":
                self._stack.pop()
            elif char == "\\" and top == "$'":
                self._unclear = "after a backslash in $'...', which shells read differently"
        elif self._escaped:
            self._escaped = False
            # an escaped newline is as if it were not there; all else is part of a word
            self._last = last if char == "\n" else "x"
        elif char == "\\":
            self._escaped = True
            self._last = last
        elif char == "`":
            self._unclear = "in or after backquotes; $(...) does the same"
        elif char == "$" and text.startswith(("(", "{"), index + 1):
            opened = "((" if text.startswith("((", index + 1) else text[index + 1]
            self._nested = True
            self._stack.append(opened)
            self._last = opened[-1]
            return 1 + len(opened)
        elif char in "'\"" and top == "{" and '"' in self._stack:
            self._unclear = 'after quotes in "${...}", which shells read differently'
        elif char == '"':
            if top == '"':
                self._stack.pop()
            else:
                self._stack.append('"')
        elif top != '"':
            return self._step_bare(text, index, last, top)
        return 1

    def _step_bare(self, text: str, index: int, last: str, top: str) -> int:
        """Read a token that means nothing between double quotes."""
        char = text[index]
        if char == "'":
            self._stack.append("$'" if last == "$" else "'")
        elif char == "#" and top in {"", "("} and last in " \t\n;&|()<>":
            self._stack.append("#")
        elif text.startswith("<<<", index):
            return 3
        elif text.startswith("<<", index) and top in {"", "("}:
            self._here = True
            return 2
        elif top == "((" and text.startswith("))", index):
            self._stack.pop()
            return 2
        elif char == "(" and top != "{":
            opened = "((" if text.startswith("((", index) and top != "((" else "("
            self._nested = True
            self._stack.append(opened)
            return len(opened)
        elif (char, top) in {(")", "("), ("}", "{")}:
            self._stack.pop()
        return 1
