"""motivus.yml: what an algorithm is called, and how it is built."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from maniple.algorithm.reference import check_word
from maniple.errors import AlgorithmError

FILE: Final = "motivus.yml"
TARGETS: Final = ("wasi", "emscripten")
METADATA: Final = (
    "short_description",
    "license",
    "author",
    "url",
    "upstream_url",
    "long_description",
)
_FORMATS: Final = {"1", "1.0"}
_LONGEST: Final = 1 << 20


class Build(msgspec.Struct, frozen=True):
    """The section `build`.

    Attributes:
        compiler: `mvcc` (C, C++), `mvrc` (Rust), `mvfc` (Fortran), `local` (one's own Makefile),
            or a builder's own name.
        source: the folder with the sources, absolute.
        filesystem: the folder that calls start with as `/`, absolute.
        target: `wasi`, `emscripten`, or None: the builder's choice.
        include: more folders for headers, absolute.
        options: more words for the compiler.
        image: a container image that holds the compiler, for a machine that does not.
    """

    compiler: str
    source: str
    filesystem: str | None = None
    target: str | None = None
    include: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    image: str | None = None


class Manifest(msgspec.Struct, frozen=True):
    """A motivus.yml.

    Attributes:
        path: of the file, as the user named it.
        folder: where it is, absolute.
        name, version: of the package.
        metadata: what the registry shows about it; the text of `long_description` is read from
            its file where it names one.
        build: how it is built.
    """

    path: str
    folder: str
    name: str
    version: str
    build: Build
    metadata: dict[str, str] = {}


def read_manifest(path: str) -> Manifest:
    """Read a motivus.yml; a folder's name stands for the file in it.

    Raises:
        AlgorithmError: it is not there, or a key is wrong; the message names the key.
    """
    if os.path.isdir(path):
        path = os.path.join(path, FILE)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_LONGEST)
    except FileNotFoundError:
        raise AlgorithmError(
            f"no {path}: run this in the project's folder, name the file with -c, or begin with"
            " `maniple algorithm new NAME`"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise AlgorithmError(f"cannot read {path}: {reason}") from None
    return manifest_of(text, path)


def manifest_of(text: str, path: str) -> Manifest:
    """Read the text of a motivus.yml.

    Args:
        text: YAML. Every scalar is taken as it is written, so that `version: 1.10` keeps its zero.
        path: the file's name, for messages; paths in it are relative to its folder.

    Raises:
        AlgorithmError: a key is wrong.
    """
    import yaml

    try:
        # not as numbers: 1.10 would become 1.1
        tree = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - the safest: it makes text only
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f", line {mark.line + 1}"
        raise AlgorithmError(f"{path}{where}: not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise AlgorithmError(f"{path}: not YAML: {str(error).partition(chr(10))[0]}") from None
    folder = os.path.abspath(os.path.dirname(path))
    top = _Section(tree, path, "")
    top.allow("version", "build", "package")
    form = top.text("version")
    if form not in _FORMATS:
        raise AlgorithmError(f"{path}: version: {form} is a format not known here: write 1.0")
    package = top.section("package")
    package.allow("name", "version", "metadata")
    name, version = package.text("name"), package.text("version")
    for what, word in (("name", name), ("version", version)):
        try:
            check_word(what, word)
        except AlgorithmError as error:
            raise AlgorithmError(f"{path}: package.{what}: {error}") from None
    if not version[0].isdigit():
        raise AlgorithmError(f"{path}: package.version: {version!r} must begin with a digit")
    return Manifest(
        path=path,
        folder=folder,
        name=name,
        version=version,
        build=_build(top.section("build"), folder),
        metadata=_metadata(package, folder),
    )


def _build(build: _Section, folder: str) -> Build:
    build.allow("compiler", "source", "filesystem", "target", "include", "options", "image")
    target = build.optional("target")
    if target is not None and target not in TARGETS:
        raise build.wrong("target", f"{target!r} is neither {' nor '.join(TARGETS)}")
    source = _inside(folder, build.optional("source") or ".")
    if not os.path.isdir(source):
        raise build.wrong("source", f"there is no folder {source}")
    filesystem = build.optional("filesystem")
    if filesystem is not None:
        filesystem = _inside(folder, filesystem)
        if not os.path.isdir(filesystem):
            raise build.wrong("filesystem", f"there is no folder {filesystem}")
    return Build(
        compiler=build.text("compiler"),
        source=source,
        filesystem=filesystem,
        target=target,
        include=tuple(_inside(folder, word) for word in build.words("include")),
        options=tuple(build.words("options")),
        image=build.optional("image"),
    )


def _metadata(package: _Section, folder: str) -> dict[str, str]:
    metadata = package.section("metadata", absent={})
    found = {key: metadata.optional(key) or "" for key in metadata.keys}
    description = found.get("long_description", "")
    if description.endswith(".md") and "\n" not in description:
        try:
            with open(_inside(folder, description), encoding="utf-8") as file:
                found["long_description"] = file.read(_LONGEST)
        except FileNotFoundError:
            raise metadata.wrong(
                "long_description",
                f"there is no file {description}: make it, or write the text here",
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise metadata.wrong(
                "long_description", f"cannot read {description}: {reason}"
            ) from None
    return found


def _inside(folder: str, path: str) -> str:
    return os.path.normpath(os.path.join(folder, path))


class _Section:
    """One mapping of the file; knows its place, for messages."""

    def __init__(self, tree: Any, path: str, place: str) -> None:
        if not isinstance(tree, Mapping):
            what = f"{place}: " if place else ""
            raise AlgorithmError(f"{path}: {what}must hold keys and values, such as `name: kmeans`")
        self._tree: Mapping[Any, Any] = tree
        self._path = path
        self._place = place

    @property
    def keys(self) -> list[str]:
        return [str(key) for key in self._tree]

    def wrong(self, key: str, what: str) -> AlgorithmError:
        return AlgorithmError(f"{self._path}: {self._name(key)}: {what}")

    def _name(self, key: str) -> str:
        return f"{self._place}.{key}" if self._place else key

    def allow(self, *keys: str) -> None:
        for key in self.keys:
            if key not in keys:
                near = get_close_matches(key, keys, 1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(keys)}"
                raise self.wrong(key, f"no such key; {hint}")

    def section(self, key: str, absent: Any = None) -> _Section:
        tree = self._tree.get(key, absent)
        if tree is None:
            raise self.wrong(key, "missing")
        if not tree:
            tree = {}
        return _Section(tree, self._path, self._name(key))

    def text(self, key: str) -> str:
        found = self.optional(key)
        if not found:
            raise self.wrong(key, "missing")
        return found

    def optional(self, key: str) -> str | None:
        value = self._tree.get(key)
        if value is None or (isinstance(value, str) and value in {"", "~", "null"}):
            return None
        if not isinstance(value, str):
            raise self.wrong(key, "must be text")
        return value

    def words(self, key: str) -> list[str]:
        """Read a list of words, or words in one text as a shell would divide them."""
        value = self._tree.get(key)
        if value is None:
            return []
        if isinstance(value, str):
            import shlex

            try:
                return shlex.split(value)
            except ValueError as error:
                raise self.wrong(key, f"{error}") from None
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            return list(value)
        raise self.wrong(key, "must be a list of words")
