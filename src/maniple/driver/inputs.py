"""What a driver gives an algorithm, and how that becomes a call."""

from __future__ import annotations

import math
import os
import posixpath
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from maniple.algorithm.call import Call, Code, Limits
from maniple.errors import ParamError, UsageError
from maniple.task import encode_param

Path = str | os.PathLike[str]
Files = Mapping[str, Path | bytes]
Results = Mapping[str, Path | None] | Iterable[str]

_MOST_MEMORY: Final = 1 << 62


class Inputs:
    """The inputs of one call, where its params alone do not say enough.

    Args:
        params: the positional arguments of the algorithm's `main`.
        arguments: as typed on a command line: text, or a list of words.
        files: what the call finds in its file system: absolute path there to a path here (a file,
            or a folder with all that is in it) or to bytes.
        results: the files to bring back: absolute path there to a path here, or to None for one
            that is only wanted as bytes in the reply. Folders are made.

    Example:
        >>> Inputs([1, 2], 3, results={"/out.txt": "runs/1/out.txt"}).params
        ([1, 2], 3)
    """

    __slots__ = ("arguments", "files", "params", "results")

    def __init__(
        self,
        *params: Any,
        arguments: str | Iterable[object] = (),
        files: Files | None = None,
        results: Results | None = None,
    ) -> None:
        self.params = params
        self.arguments = _words(arguments)
        self.files: Files = files or {}
        self.results = _landings(results or {})

    def over(self, common: Inputs) -> Inputs:
        """Give these inputs with what they do not say taken from others."""
        if not (common.arguments or common.files or common.results):
            return self
        merged = Inputs(*self.params)
        merged.arguments = self.arguments or common.arguments
        merged.files = {**common.files, **self.files}
        merged.results = {**common.results, **self.results}
        return merged


class Order(msgspec.Struct, frozen=True):
    """A task as a driver keeps it until it is answered.

    Attributes:
        call: what the hub is told.
        landings: result files: path there to path here, or None for bytes in the reply.
        public: volunteers may run it (the earlier platform's `work`).
        data_link: URL of the starting file system, for hubs of the earlier platform.
    """

    call: Call
    landings: dict[str, str | None] = {}
    public: bool = False
    data_link: str | None = None


def limits_of(
    time_limit: float | None = None,
    memory: int | None = None,
    disk: int | None = None,
    output: int | None = None,
) -> Limits:
    """Put the limits of a call together.

    Args:
        time_limit: seconds; None: an hour; `math.inf`: none.
        memory: bytes; None: 1 GiB.
        disk: bytes; None: 1 GiB.
        output: bytes on standard output and standard error, each; None: 16 MiB.

    Raises:
        UsageError: a limit is not above zero.
    """
    given = {"time_limit": time_limit, "memory": memory, "disk": disk, "output": output}
    for name, value in given.items():
        if value is not None and not value > 0:
            raise UsageError(f"{name} must be above zero, not {value!r}")
    default = Limits()
    seconds = default.seconds if time_limit is None else float(time_limit)
    return Limits(
        seconds=None if seconds == math.inf else seconds,
        memory=default.memory if memory is None else min(int(memory), _MOST_MEMORY),
        output=default.output if output is None else min(int(output), _MOST_MEMORY),
        disk=default.disk if disk is None else min(int(disk), _MOST_MEMORY),
    )


def order_of(code: Code, inputs: Inputs, limits: Limits) -> Order:
    """Make the task of some inputs: params are written as JSON, files are read.

    Raises:
        ParamError: a param cannot be written as JSON.
        UsageError: a file cannot be read, or a path there is not absolute.
    """
    files: dict[str, bytes] = {}
    for there, here in inputs.files.items():
        files.update(_content(path_there(there), here))
    call = Call(
        code=code,
        params=encode_params(inputs.params),
        arguments=inputs.arguments,
        files=files,
        results=list(inputs.results),
        limits=limits,
    )
    return Order(call, inputs.results)


def encode_params(params: Iterable[Any]) -> bytes:
    """Write params as JSON; arrays and numbers of NumPy and its like become lists and numbers.

    Raises:
        ParamError: one of them cannot be written.

    Example:
        >>> encode_params([[1.5, 2], "x"])
        b'[[1.5,2],"x"]'
    """
    params = list(params)
    try:
        return encode_param(params)
    except ParamError:
        plain = _plain(params)
        return encode_param(plain)


def path_there(path: str) -> str:
    """Check and tidy an absolute path of the file system that a call sees.

    Raises:
        UsageError: it is not absolute, or leads out.

    Example:
        >>> path_there("/data//in.txt")
        '/data/in.txt'
    """
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise UsageError(f"{path!r}: a path in the algorithm's file system begins with /")
    if ".." in path.split("/"):
        raise UsageError(f"{path!r}: a path in the algorithm's file system holds no ..")
    return "/" + posixpath.normpath(path).lstrip("/")


def _plain(value: Any) -> Any:
    """Turn what offers `tolist` (arrays, array scalars) into plain data, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    convert = getattr(value, "tolist", None)
    return value if convert is None else convert()


def _words(arguments: str | Iterable[object]) -> list[str]:
    if isinstance(arguments, str):
        try:
            return shlex.split(arguments)
        except ValueError as error:
            raise UsageError(f"cannot split the arguments {arguments[:80]!r}: {error}") from None
    return [str(word) for word in arguments]


def _landings(results: Results) -> dict[str, str | None]:
    if isinstance(results, str):
        raise UsageError("results is a list of paths, or a mapping of paths there to paths here")
    if not isinstance(results, Mapping):
        return {path_there(there): None for there in results}
    return {
        path_there(there): None if here is None else os.fspath(here)
        for there, here in results.items()
    }


def _content(there: str, here: Path | bytes) -> dict[str, bytes]:
    if isinstance(here, bytes | bytearray | memoryview):
        return {there: bytes(here)}
    path = os.fspath(here)
    if not os.path.isdir(path):
        return {there: _read(path)}
    found: dict[str, bytes] = {}
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            full = os.path.join(folder, name)
            found[posixpath.join(there, *os.path.relpath(full, path).split(os.sep))] = _read(full)
    return found


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"cannot read {path} for the algorithm: {error.strerror}") from None
