"""The task definitions of the earlier platform: dictionaries, as drivers that exist write them."""

from __future__ import annotations

import base64
import binascii
import os
import shlex
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from maniple.driver.algorithms import Algorithm, LocalAlgorithm, local
from maniple.driver.inputs import encode_params, path_there
from maniple.driver.reply import log
from maniple.errors import UsageError

KEYS: Final = frozenset(
    {
        "algorithm",
        "algorithm_name",
        "algorithm_version",
        "arguments",
        "data_link",
        "loader_path",
        "params",
        "preload_files",
        "public_cluster",
        "result_files",
        "wasm_path",
    }
)


class Definition(msgspec.Struct, frozen=True):
    """What a task definition says.

    Attributes:
        algorithm: a name with its version, or a local build.
        params: JSON of a list.
        arguments: the words of a command line.
        files: path there to content.
        landings: path there to path here.
        data_link: URL of a zip with the starting file system.
        public: volunteers may run it.
    """

    algorithm: Algorithm
    params: bytes
    arguments: list[str]
    files: dict[str, bytes]
    landings: dict[str, str | None]
    data_link: str | None
    public: bool


def read_definition(definition: Mapping[str, Any]) -> Definition:
    """Check a task definition and read the files that it names.

    Raises:
        UsageError: a key is missing, or holds something that it cannot.
        AlgorithmError: a local build cannot be read.
        ParamError: the params cannot be written as JSON.
    """
    if not isinstance(definition, Mapping):
        raise UsageError(f"a task definition is a dictionary, not {type(definition).__name__}")
    _mind_unknown(definition)
    params = definition.get("params")
    if params is not None and not isinstance(params, list | tuple):
        raise UsageError(f"params is the list of main's arguments, not {type(params).__name__}")
    link = definition.get("data_link")
    if link is not None and not isinstance(link, str):
        raise UsageError("data_link is a URL")
    return Definition(
        algorithm=_algorithm(definition),
        params=encode_params(params or ()),
        arguments=_words(definition.get("arguments")),
        files={
            _there(there): _decoded(there, text)
            for there, text in _mapping(definition, "preload_files").items()
        },
        landings={
            _there(there): _path(there, here)
            for there, here in _mapping(definition, "result_files").items()
        },
        data_link=link or None,
        public=bool(definition.get("public_cluster")),
    )


_minded: set[str] = set()


def _mind_unknown(definition: Mapping[str, Any]) -> None:
    """Warn once of each key that nobody reads: it may be a slip."""
    unknown = {str(key) for key in definition.keys() - KEYS} - _minded
    if unknown:
        _minded.update(unknown)
        log.warning(
            "the task definition has keys that mean nothing: %s", ", ".join(sorted(unknown))
        )


def _algorithm(definition: Mapping[str, Any]) -> Algorithm:
    wasm = definition.get("wasm_path")
    if wasm:
        return _local(wasm, definition.get("loader_path") or None)
    name = definition.get("algorithm")
    # the old documentation has this key in one table for the version, and its name says another
    also = definition.get("algorithm_name")
    version = definition.get("algorithm_version") or (also if name and also != name else None)
    name = name or also
    if not isinstance(name, str) or not name:
        raise UsageError("the task definition names no algorithm: give algorithm, or wasm_path")
    if version is None or "@" in name:
        return name
    return f"{name}@{version}"


_builds: dict[tuple[object, ...], LocalAlgorithm] = {}


def _local(wasm: str, loader: str | None) -> LocalAlgorithm:
    """Read a local build, once while its files stay as they are."""
    key: tuple[object, ...] = (os.path.abspath(wasm), loader and os.path.abspath(loader))
    try:
        stats = [os.stat(path) for path in (wasm, loader) if path]
    except OSError as error:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}") from None
    key += tuple((status.st_mtime_ns, status.st_size) for status in stats)
    found = _builds.get(key)
    if found is None:
        if len(_builds) >= 64:  # noqa: PLR2004 - somebody builds again and again
            _builds.clear()
        found = _builds[key] = local(wasm, loader)
    return found


def _words(arguments: object) -> list[str]:
    if arguments is None:
        return []
    if isinstance(arguments, str):
        try:
            return shlex.split(arguments)
        except ValueError as error:
            raise UsageError(f"cannot split the arguments {arguments[:80]!r}: {error}") from None
    if isinstance(arguments, list | tuple):
        return [str(word) for word in arguments]
    raise UsageError(f"arguments is text or a list of words, not {type(arguments).__name__}")


def _mapping(definition: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = definition.get(key)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise UsageError(f"{key} is a dictionary of paths, not {type(found).__name__}")
    return found


def _there(path: object) -> str:
    # there, the current folder of a program was /
    return path_there("/" + str(path).removeprefix("./").lstrip("/"))


def _path(there: str, here: object) -> str:
    if not isinstance(here, str | os.PathLike):
        raise UsageError(f"result_files: the place for {there} is a path, not {here!r}")
    return os.fspath(here)


def _decoded(there: str, text: object) -> bytes:
    if isinstance(text, str | bytes):
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            pass
    raise UsageError(f"preload_files: the content of {there} is not base64: use read_file(path)")
