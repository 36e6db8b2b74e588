"""Jobs and nodes that CSV and XML files describe."""

from __future__ import annotations

import csv
import importlib
import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

from maniple.errors import ManipleError, UsageError
from maniple.network.marvelo.jobs import BaseJob, DynamicMARVELOJob
from maniple.network.marvelo.nodes import LOCAL_IPS, BaseNode, LocalNode
from maniple.network.marvelo.pipes import BasePipe, BytesPipe, pipe_class


def _lines(path: str) -> list[tuple[int, list[str]]]:
    """Read a CSV file: the cells of each line that has any, with the line's number."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True)
            return [(reader.line_num, [c.strip() for c in row]) for row in reader if any(row)]
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no CSV file: {error}") from None


def _rows(path: str, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    lines = _lines(path)
    names = lines[0][1] if lines else []
    for name in needed:
        if name not in names:
            raise UsageError(
                f"{path}: the column {name!r} is missing: the first line names the columns"
            )
    return [(number, dict(zip(names, cells, strict=False))) for number, cells in lines[1:]]


def jobs_from_csv(path: str) -> list[BaseJob]:
    """Read jobs from a CSV file.

    Columns: `class` (module.Class), `inputs` and `outputs` (pipes, separated by spaces: `id` for a
    `PicklePipe`, `id:JSON`, `id:Bytes:64`), `arguments` (keyword arguments as a JSON object).

    Raises:
        UsageError: the file, a class or a pipe is wrong; the message names the line.
    """
    jobs: list[BaseJob] = []
    for line, row in _rows(path, ["class", "inputs", "outputs"]):
        where = f"{path}, line {line}"
        kind = _class(row["class"], where)
        try:
            options = json.loads(row.get("arguments") or "{}")
        except ValueError as error:
            raise UsageError(f"{where}: arguments: {error}") from None
        if not isinstance(options, Mapping):
            raise UsageError(f"{where}: arguments is a JSON object")
        ends: dict[str, Any] = {}
        for name in ("inputs", "outputs"):
            pipes = [_pipe(text, where) for text in row.get(name, "").split()]
            if pipes:
                ends[name] = pipes
        try:
            jobs.append(kind(**ends, **options))
        except (TypeError, ManipleError) as error:
            raise UsageError(f"{where}: {error}") from None
    return jobs


def _class(path: str, where: str) -> Any:
    return _found(path, BaseJob, "job", where)


def _found(path: str, base: type, what: str, where: str) -> Any:
    module, _, name = path.rpartition(".")
    if not module:
        raise UsageError(f"{where}: write MODULE.CLASS, not {path!r}")
    try:
        found = getattr(importlib.import_module(module), name)
    except AttributeError:
        raise UsageError(f"{where}: module {module} has no {name}") from None
    except (ImportError, ValueError) as error:
        raise UsageError(f"{where}: no module {getattr(error, 'name', module)!r}") from None
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UsageError(f"{where}: {path} is no {what}")
    return found


def _pipe(text: str, where: str) -> BasePipe:
    name, _, rest = text.partition(":")
    kind, _, size = rest.partition(":")
    if "." in kind:
        found = _found(kind, BasePipe, "pipe", where)
    else:
        try:
            found = pipe_class(kind or "Pickle")
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
    if issubclass(found, BytesPipe):
        if not size.isdecimal():
            raise UsageError(f"{where}: pipe {name}: write {name}:{kind}:SIZE")
        sized: BasePipe = found(name, int(size))
        return sized
    made: BasePipe = found(name)
    return made


def nodes_from_csv(path: str) -> list[BaseNode]:
    """Read nodes from a CSV file: name, ip, and groups, in columns of their own or with spaces.

    The first line may name the columns.

    Raises:
        UsageError: the file is wrong.
    """
    nodes: list[BaseNode] = []
    for line, (name, *more) in _lines(path):
        if not nodes and [name, *more][:2] == ["name", "ip"]:
            continue
        if not more or not more[0]:
            raise UsageError(f"{path}, line {line}: name, ip and groups are needed, not {name!r}")
        ip, groups = more[0], " ".join(more[1:]).split()
        node: Any = LocalNode(ip, name) if ip in LOCAL_IPS else BaseNode(ip, name)
        if groups:
            node.GROUPS = groups
        nodes.append(node)
    return nodes


def from_xml(path: str) -> tuple[list[BaseJob], list[BaseNode]]:
    """Read jobs and their nodes from an XML file.

    Raises:
        UsageError: it cannot be read, or an attribute is missing.
    """
    try:
        root = ET.parse(path).getroot()  # noqa: S314 - the user's own file; entities are not read
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ET.ParseError as error:
        raise UsageError(f"{path} is no XML: {error}") from None
    jobs: list[BaseJob] = []
    nodes: list[BaseNode] = []
    for place in root:
        ip = _attribute(place, "pi_id", path)
        nodes.append(LocalNode(ip) if ip in LOCAL_IPS else BaseNode(ip))
        for described in place:
            inputs, outputs = (
                [_xml_pipe(end, path) for end in described.iter(tag)] for tag in ("input", "output")
            )
            words = [_attribute(each, "param", path) for each in described.iter("parameter")]
            made: Any = DynamicMARVELOJob(
                described.get("path"),
                _attribute(described, "executable", path),
                words,
                inputs=inputs,
                outputs=outputs,
            )
            made.DEFAULT_NODE = ip
            jobs.append(made)
    return jobs, nodes


def _attribute(element: ET.Element, name: str, path: str) -> str:
    found = element.get(name)
    if found is None:
        raise UsageError(f"{path}: <{element.tag}> needs {name}=")
    return found


def _xml_pipe(element: ET.Element, path: str) -> BytesPipe:
    numbers = []
    for name, default in (("block_size", None), ("block_count", "1")):
        text = element.get(name, default)
        if text is None or not text.isdecimal():
            raise UsageError(f"{path}: <{element.tag}> needs {name}= with a number")
        numbers.append(int(text))
    return BytesPipe(_attribute(element, "pipe_id", path), *numbers)
