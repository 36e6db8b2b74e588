"""How people name an algorithm: `kmeans`, `kmeans@0.0.1`, or the path of a package."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from maniple.errors import AlgorithmError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_CUT: Final = re.compile(r"-(?=\d+(?:[.+-]|\Z))")
_DIGITS: Final = re.compile(r"\d+")
_LONGEST: Final = 128


class Reference(NamedTuple):
    """A name, and a version or None for the latest."""

    name: str
    version: str | None = None

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}@{self.version}"


def parse_reference(text: str) -> Reference:
    """Read `NAME` or `NAME@VERSION`.

    Raises:
        AlgorithmError: letters that neither may hold (they become parts of file names).
    """
    name, at, version = text.partition("@")
    for what, word in (("name", name), *([("version", version)] if at else [])):
        check_word(what, word)
    return Reference(name, version if at else None)


def split_stem(stem: str) -> Reference | None:
    """Read `NAME-VERSION`, as the files of packages are called; None where it is not so.

    A name may hold dashes and digits itself (`fit-2d-1.0.0`): the version begins with a number.
    """
    cut = _CUT.search(stem)
    return Reference(stem[: cut.start()], stem[cut.end() :]) if cut and cut.start() else None


def check_word(what: str, word: str) -> None:
    """Refuse names and versions that could not stand in a file's name.

    Raises:
        AlgorithmError: with the rule, in a line.
    """
    if len(word) > _LONGEST or not _NAME.match(word) or ".." in word:
        raise AlgorithmError(
            f"bad {what} of an algorithm {word[:80]!r}: letters, digits, '.', '_' and '-',"
            f" beginning with a letter or a digit, at most {_LONGEST}"
        )


def version_key(version: str) -> tuple[tuple[int, ...], bool, str]:
    """Order versions as people do: 0.0.10 is after 0.0.9, and 1.0.0 after 1.0.0-rc1."""
    release, dash, _ = version.partition("-")
    return tuple(int(digits) for digits in _DIGITS.findall(release)), not dash, version
