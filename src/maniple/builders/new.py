"""New projects: small algorithms that build and pass their tests, to be changed."""

from __future__ import annotations

import json
import os
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

import msgspec

from maniple.algorithm.reference import check_word
from maniple.errors import AlgorithmError, StorageError

LANGUAGES: Final = {
    "rust": ("rust", "mvrc"),
    "c": ("c", "mvcc"),
    "c++": ("cxx", "mvcc"),
    "fortran": ("fortran", "mvfc"),
    "make": ("make", "local"),
}
"""Each language's folder of templates, and its compiler."""

_SUMMARY: Final = "Multiplies numbers by a factor."
_WORDS: Final = "'[1, 2, 3]' 2"
# a Fortran program cannot see how many numbers come
_FORTRAN_WORDS: Final = "3 '[1, 2, 3]' 2"
_HOLE: Final = re.compile(r"\{\{(\w+)\}\}")


class About(msgspec.Struct, frozen=True):
    """What a registry shows about an algorithm; all may be empty."""

    description: str = ""
    license: str = ""
    author: str = ""
    url: str = ""
    upstream_url: str = ""


def new(
    name: str, *, language: str = "rust", about: About | None = None, folder: str = "."
) -> list[str]:
    """Make a project in a folder of its name.

    Args:
        name: of the algorithm, and of the folder.
        language: one of `LANGUAGES`.
        about: goes into motivus.yml.
        folder: that the project's folder is made in.

    Returns:
        The paths of the files, in order.

    Raises:
        AlgorithmError: the name cannot be one, or there is such a folder already.
        StorageError: the files cannot be written.
    """
    check_word("name", name)
    place = os.path.join(folder, name) if folder != "." else name
    if os.path.lexists(place) and not (os.path.isdir(place) and not os.listdir(place)):
        raise AlgorithmError(f"{place} is there already: choose another name, or remove it")
    about = about or About()
    template, compiler = LANGUAGES[language]
    fortran = language == "fortran"
    holes = {
        "name": name,
        "title": name,
        "crate": _crate(name),
        "compiler": compiler,
        "summary": about.description or _SUMMARY,
        "words": _FORTRAN_WORDS if fortran else _WORDS,
        "count": "3, " if fortran else "",
        "none": "0, " if fortran else "",
        "description": _quoted(about.description),
        "license": _quoted(about.license),
        "author": _quoted(about.author),
        "url": _quoted(about.url),
        "upstream_url": _quoted(about.upstream_url),
    }
    root = files("maniple.builders").joinpath("templates")
    texts = {**_texts(root.joinpath("common")), **_texts(root.joinpath(template))}
    made = []
    try:
        for path, text in sorted(texts.items()):
            whole = os.path.join(place, path)
            os.makedirs(os.path.dirname(whole), exist_ok=True)
            with open(whole, "w", encoding="utf-8") as file:
                file.write(_HOLE.sub(lambda hole: holes[hole.group(1)], text))
            made.append(whole)
    except OSError as error:
        raise StorageError(f"cannot make the project {place}: {error.strerror}") from None
    return made


def _texts(folder: Traversable, below: str = "") -> dict[str, str]:
    """Read the templates of a folder: path in the project to text."""
    found: dict[str, str] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            found.update(_texts(entry, f"{below}{entry.name}/"))
        elif entry.name.endswith(".in"):
            name = entry.name.removesuffix(".in").replace("dot-", ".", 1)
            found[below + name] = entry.read_text("utf-8")
    return found


def _crate(name: str) -> str:
    """Make a name that cargo takes: letters, digits, dashes; it begins with no digit."""
    crate = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    return f"a{crate}" if crate[0].isdigit() else crate


def _quoted(text: str) -> str:
    """Write text as a scalar of YAML, which JSON's is."""
    return json.dumps(" ".join(text.split()), ensure_ascii=False)
