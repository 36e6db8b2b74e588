"""Params from files: CSV, JSON Lines, YAML, plain lines. Streamed wherever the format allows.

Every error is one line that names the file, and the line in it where there is one.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from typing import Any, Final, NoReturn

from maniple.errors import UsageError
from maniple.sweep.axis import Axis, typed
from maniple.sweep.space import grid

_BOM: Final = b"\xef\xbb\xbf"


def from_file(
    path: str | PathLike[str],
    *,
    text: bool = False,
    samples: int | None = None,
    seed: int = 0,
) -> Iterator[Any]:
    """Read params from a file, in the format that its ending names.

    `.csv`, `.tsv`, `.jsonl`, `.ndjson`, `.yaml` and `.yml`, in any case; all else is lines.

    Args:
        path: of the file.
        text: keep the values of CSV and YAML as text (JSON states its types, lines are text).
        samples: how many draws of the random axes of a YAML file.
        seed: of these draws.

    Raises:
        UsageError: the file cannot be read (at the call), or does not hold what its ending says
            (YAML at the call, the others when the reading comes to that line).
    """
    ending = os.path.splitext(path)[1].lower()
    if ending in {".yaml", ".yml"}:
        return from_yaml(path, samples=samples, seed=seed, text=text)
    if samples is not None:
        _refuse(path, 0, "samples are drawn from random axes, and only a YAML file can hold those")
    if ending in {".csv", ".tsv"}:
        return from_csv(path, text=text)
    if ending in {".jsonl", ".ndjson"}:
        return from_jsonl(path)
    return from_lines(_open_lines(path))


def from_lines(stream: Iterable[bytes]) -> Iterator[str]:
    r"""Give each line of a binary stream as it comes, without its end (`\n` or `\r\n`).

    Bytes that are not UTF-8 become surrogates, which `os.fsencode` turns back. Empty lines are
    skipped.

    Raises:
        UsageError: the stream cannot be read.
    """
    try:
        for line in _without_bom(stream):
            content = line.removesuffix(b"\n").removesuffix(b"\r")
            if content:
                yield content.decode("utf-8", "surrogateescape")
    except OSError as error:
        name = getattr(stream, "name", "")
        _unreadable(name if isinstance(name, str) else "standard input", error)


def from_csv(path: str | PathLike[str], *, text: bool = False) -> Iterator[dict[str, Any]]:
    """Read a table whose first row names the columns; `.tsv` is separated by tabs.

    A quoted value may span lines. Spaces after a separator do not count. Blank lines are skipped.

    Args:
        path: of the file.
        text: keep every value as text instead of typing it as on the command line.

    Raises:
        UsageError: the file cannot be read, is empty, is not UTF-8, lacks a header, names a
            column twice, or has a row that is longer or shorter than its header.
    """
    return _csv_rows(path, _open_lines(path), str if text else typed)


def _csv_rows(
    path: str | PathLike[str], lines: Iterator[bytes], read: Callable[[str], Any]
) -> Iterator[dict[str, Any]]:
    import csv

    tabs = os.path.splitext(path)[1].lower() == ".tsv"
    reader = csv.reader(
        _utf8(path, lines), delimiter="\t" if tabs else ",", skipinitialspace=True, strict=True
    )
    names: list[str] | None = None
    width = line = 0
    try:
        for row in reader:
            first, line = line + 1, reader.line_num
            if not row:
                continue
            if names is None:
                names = _header(path, first, row)
                width = len(names)
                continue
            if len(row) != width:
                _refuse(
                    path,
                    first,
                    f"the row has {len(row)} values, the header {width} names; match them",
                )
            yield dict(zip(names, map(read, row), strict=True))
    except csv.Error as error:
        what = str(error).partition(" - ")[0]
        _refuse(path, reader.line_num, f"not {'TSV' if tabs else 'CSV'}: {what}; mend the line")
    if names is None:
        _refuse(path, 0, "the file is empty; its first line names the columns")


def _header(path: str | PathLike[str], line: int, row: list[str]) -> list[str]:
    names = [cell.strip() for cell in row]
    for position, name in enumerate(names, start=1):
        if not name:
            _refuse(path, line, f"column {position} has no name; the first line names the columns")
        if not isinstance(typed(name), str):
            _refuse(path, line, f"no header: {name!r} is a value; the first line names the columns")
        if name in names[: position - 1]:
            _refuse(path, line, f"two columns are named {name!r}; rename one")
    return names


def from_jsonl(path: str | PathLike[str]) -> Iterator[Any]:
    """Read one JSON value a line; blank lines are skipped.

    Raises:
        UsageError: the file cannot be read, or a line is not JSON.
    """
    return _json_values(path, _open_lines(path))


def _json_values(path: str | PathLike[str], lines: Iterator[bytes]) -> Iterator[Any]:
    import msgspec

    decode = msgspec.json.Decoder().decode
    for number, line in enumerate(lines, start=1):
        if line.isspace():
            continue
        try:
            value = decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            value = _rare_json(path, number, line)
        yield value


def _rare_json(path: str | PathLike[str], number: int, line: bytes) -> Any:
    """Lone surrogates (file names, say) are JSON too, as Python's own module sees it."""
    import json

    def finite(number: str) -> float:
        value = float(number)
        if not math.isfinite(value):
            raise ValueError(f"{number} is not a finite number")
        return value

    try:
        return json.loads(line.decode().rstrip(), parse_constant=finite, parse_float=finite)
    except UnicodeDecodeError as error:
        _refuse(path, number, f"not UTF-8: byte 0x{line[error.start]:02x}; save the file as UTF-8")
    except RecursionError:
        _refuse(path, number, "nested too deep; flatten the value")
    except json.JSONDecodeError as error:
        what = f"{error.msg} at column {error.colno}"
        _refuse(path, number, f"not JSON: {what}; write one JSON value a line")
    except ValueError as error:
        _refuse(path, number, f"not JSON: {error}; write one JSON value a line")


def from_yaml(
    path: str | PathLike[str],
    *,
    zipped: Sequence[Sequence[str]] = (),
    samples: int | None = None,
    seed: int = 0,
    text: bool = False,
) -> Iterator[Any]:
    """Read a list of params, or a mapping of axes that are crossed as a grid.

    An axis is a list of values, one value, or text in the syntax of the command line, quoted or
    not (`x: 1..10`; to have the text `7`, write `x: ["7"]`). Plain numbers are typed as on the
    command line (`1e-3` is a number, `007` and `no` are text); the whole file is read at once.

    Args:
        path: of the file.
        zipped: groups of axes that advance together.
        samples: how many draws of the random axes.
        seed: of these draws.
        text: keep every plain value as text.

    Raises:
        UsageError: the file cannot be read, is not YAML, or holds something else.
    """
    import yaml

    content = "".join(_utf8(path, _open_lines(path)))
    loader = None
    try:
        loader = _yaml_loader(text=text)(content)
        root = loader.get_single_node()
        if root is None:
            _refuse(path, 0, f"the file is empty; write {_YAML_FORMS}")
        if isinstance(root, yaml.SequenceNode):
            if samples is not None or zipped:
                _refuse(path, 0, "samples and zips need a mapping of axes; this is a list")
            return iter([loader.construct_object(node, deep=True) for node in root.value])
        if not isinstance(root, yaml.MappingNode):
            _refuse(path, root.start_mark.line + 1, f"this is one value; write {_YAML_FORMS}")
        axes: dict[str, Axis] = {}
        for key, node in root.value:
            line = key.start_mark.line + 1
            axis = _yaml_axis(
                path,
                line,
                loader.construct_object(key, deep=True),
                loader.construct_object(node, deep=True),
                text=text,
            )
            if axis.name in axes:
                _refuse(path, line, f"axis {axis.name!r} is given twice; rename or join them")
            axes[axis.name] = axis
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        _refuse(path, mark.line + 1 if mark else 0, f"not YAML: {error.problem}; mend the line")
    except yaml.reader.ReaderError as error:
        line = content.count("\n", 0, error.position) + 1
        _refuse(path, line, f"not YAML: {error.reason}; remove the character")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        _refuse(path, 0, f"not YAML: {' '.join(str(error).split())}")
    finally:
        if loader is not None:
            loader.dispose()
    try:
        return grid(list(axes.values()), zipped=zipped, samples=samples, seed=seed)
    except UsageError as error:
        _refuse(path, 0, str(error))


_YAML_FORMS: Final = "a list of params, or a mapping of axes (x: [1, 2, 3] or x: 1..3)"
_PLAIN: Final = "!maniple/plain"


def _yaml_loader(*, text: bool) -> Any:
    """YAML 1.1 takes `no` for false, `1e-3` for text and `007` for 7; this loader does not."""
    import re

    import yaml

    rules = [("tag:yaml.org,2002:merge", re.compile(r"<<\Z"))]
    if not text:
        rules += [
            ("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)\Z")),
            ("tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")),
            (_PLAIN, re.compile(r"[-.0-9]")),
        ]
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    constructors = {**base.yaml_constructors, _PLAIN: lambda _, node: typed(node.value)}
    members = {"yaml_implicit_resolvers": {None: rules}, "yaml_constructors": constructors}
    return type("Loader", (base,), members)


def _yaml_axis(path: str | PathLike[str], line: int, name: Any, value: Any, *, text: bool) -> Axis:
    if not isinstance(name, str):
        _refuse(path, line, f"an axis's name is text, not {name!r}; write x: 1..3")
    if isinstance(value, dict):
        _refuse(path, line, f"axis {name!r} is a mapping; write a list of them, [{{...}}, {{...}}]")
    if value == []:
        _refuse(path, line, f"axis {name!r} has no values; write {name}: [1, 2, 3]")
    spec = value if isinstance(value, str | list) else [value]
    try:
        return Axis.of(f"{name}={value}", name, spec, text=text)
    except UsageError as error:
        _refuse(path, line, str(error))


def _open_lines(path: str | PathLike[str]) -> Iterator[bytes]:
    """Check now that a file can be read, and read it later, line by line.

    The check opens nothing: a named pipe is not to lose its writer.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        _refuse(path, 0, "no such file; check its path")
    except (OSError, ValueError) as error:
        _unreadable(path, error)
    if stat.S_ISDIR(mode):
        _refuse(path, 0, "this is a folder; name a file in it")
    if not os.access(path, os.R_OK):
        _refuse(path, 0, "not permitted to read it; check its owner and mode")
    return _read_lines(path)


def _read_lines(path: str | PathLike[str]) -> Iterator[bytes]:
    try:
        with open(path, "rb") as stream:
            yield from _without_bom(stream)
    except OSError as error:
        _unreadable(path, error)


def _without_bom(stream: Iterable[bytes]) -> Iterator[bytes]:
    lines = iter(stream)
    for first in lines:
        yield first.removeprefix(_BOM)
        break
    yield from lines


def _utf8(path: str | PathLike[str], lines: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            bad = line[error.start]
            _refuse(path, number, f"not UTF-8: byte 0x{bad:02x}; save the file as UTF-8")


def _unreadable(path: str | PathLike[str], error: OSError | ValueError) -> NoReturn:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    _refuse(path, 0, f"cannot be read: {reason}; check the file")


def _refuse(path: str | PathLike[str], line: int, what: str) -> NoReturn:
    name = os.fspath(path)
    shown = name if name.isprintable() else repr(name)
    where = f"{shown}:{line}" if line else shown
    raise UsageError(f"{where}: {what}") from None
