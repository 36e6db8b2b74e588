"""The folder of a network: its config.py, and what CSV and XML files add."""

from __future__ import annotations

import csv
import importlib
import json
import os
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any, Final

from maniple.errors import UsageError
from maniple.network.graph import Network
from maniple.network.marvelo.build import build
from maniple.network.marvelo.jobs import BaseJob, DynamicMARVELOJob, restart_ids
from maniple.network.marvelo.nodes import BaseNode, LocalNode
from maniple.network.marvelo.pipes import BasePipe, BytesPipe, pipe_class

DEFAULTS: Final[dict[str, Any]] = {
    "USER": "",
    "REMOTE_ROOT": "",
    "LOG_LEVEL": "INFO",
    "LOG_FILE": None,
    "CLIENT_IP": None,
    "DEBUG_WINDOW": False,
    "JOBS": [],
    "NODES": [],
    "XML_FILE": None,
    "PRE_COPY": False,
    "PULSE_INTERVAL": 1.0,
    "HEAD_SIZE": 1,
}
_PULSES: Final = (0.1, 1000.0)


class Project:
    """One network of a project.

    Args:
        root: the folder that holds manage.py.
        name: of the network: a package in it.

    Attributes:
        config: the module.
        folder: of the network.
        jobs: all of them, those of files as well.
        nodes: likewise.

    Raises:
        UsageError: there is no such network, or its config is wrong.
    """

    def __init__(self, root: str, name: str) -> None:
        self.name = name
        self.folder = os.path.join(os.path.abspath(root), name)
        if not os.path.isfile(os.path.join(self.folder, "config.py")):
            raise UsageError(
                f"no network {name!r} here: {name}/config.py is missing;"
                f" `python3 manage.py {name} startnetwork` makes one"
            )
        if self.folder not in {os.path.join(p, name) for p in sys.path[:1]}:
            sys.path.insert(0, os.path.dirname(self.folder))
        restart_ids()
        try:
            self.config: Any = importlib.import_module(f"{name}.config")
        except ModuleNotFoundError as error:
            raise UsageError(f"{name}/config.py needs the module {error.name}") from None
        self.values = {key: getattr(self.config, key, value) for key, value in DEFAULTS.items()}
        self._check()
        self.nodes = self._nodes()
        self.jobs = self._jobs()
        if self.values["XML_FILE"]:
            jobs, nodes = from_xml(self._path(self.values["XML_FILE"]))
            self.jobs += jobs
            self.nodes += nodes

    def _path(self, path: str) -> str:
        beside = os.path.join(self.folder, path)
        return beside if os.path.exists(beside) else os.path.abspath(path)

    def _check(self) -> None:
        pulse = self.values["PULSE_INTERVAL"]
        if not isinstance(pulse, int | float) or not _PULSES[0] <= pulse <= _PULSES[1]:
            raise UsageError(
                f"{self.name}/config.py: PULSE_INTERVAL is seconds from 0.1 to 1000, not {pulse!r}"
            )
        size = self.values["HEAD_SIZE"]
        if not isinstance(size, int) or size < 1:
            raise UsageError(f"{self.name}/config.py: HEAD_SIZE is bytes, at least 1, not {size!r}")
        for key in ("JOBS", "NODES"):
            if not isinstance(self.values[key], list | tuple):
                raise UsageError(f"{self.name}/config.py: {key} is a list")

    def _jobs(self) -> list[BaseJob]:
        jobs: list[BaseJob] = []
        for each in self.values["JOBS"]:
            jobs += jobs_from_csv(self._path(each)) if isinstance(each, str) else [each]
        return jobs

    def _nodes(self) -> list[BaseNode]:
        nodes: list[BaseNode] = []
        for each in self.values["NODES"]:
            nodes += nodes_from_csv(self._path(each)) if isinstance(each, str) else [each]
        return nodes

    def network(self) -> Network:
        """Make the network; it may be incomplete."""
        return build(self.name, self.jobs, self.values["HEAD_SIZE"])

    @property
    def pipes(self) -> list[BasePipe]:
        """Every pipe once, in the order of the jobs."""
        found: dict[str, BasePipe] = {}
        for job in self.jobs:
            for pipe in (*job.outputs, *job.inputs):
                found.setdefault(pipe.name, pipe)
        return list(found.values())

    @property
    def groups(self) -> dict[str, list[BaseNode]]:
        """The nodes of each group."""
        found: dict[str, list[BaseNode]] = {}
        for node in self.nodes:
            for group in node.groups:
                found.setdefault(group, []).append(node)
        return found


def _rows(path: str, needed: Sequence[str]) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            missing = [name for name in needed if name not in (reader.fieldnames or [])]
            if missing:
                raise UsageError(f"{path}: the column {missing[0]!r} is missing")
            return [{k: v or "" for k, v in row.items() if k} for row in reader]
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def jobs_from_csv(path: str) -> list[BaseJob]:
    """Read jobs from a CSV file.

    Columns: `class` (module.Class), `inputs` and `outputs` (pipes, separated by spaces: `id` for a
    `PicklePipe`, `id:JSON`, `id:Bytes:64`), `arguments` (keyword arguments as a JSON object).

    Raises:
        UsageError: the file, a class or a pipe is wrong; the message names the line.
    """
    jobs: list[BaseJob] = []
    for line, row in enumerate(_rows(path, ["class", "inputs", "outputs"]), 2):
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
            pipes = [_pipe(text, where) for text in row[name].split()]
            if pipes:
                ends[name] = pipes
        try:
            jobs.append(kind(**ends, **options))
        except TypeError as error:
            raise UsageError(f"{where}: {error}") from None
    return jobs


def _class(path: str, where: str) -> Any:
    module, _, name = path.strip().rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, ValueError):
        raise UsageError(f"{where}: no module {module!r}") from None
    except AttributeError:
        raise UsageError(f"{where}: module {module} has no {name}") from None
    if not (isinstance(found, type) and issubclass(found, BaseJob)):
        raise UsageError(f"{where}: {path} is no job")
    return found


def _pipe(text: str, where: str) -> BasePipe:
    name, _, rest = text.partition(":")
    kind, _, size = rest.partition(":")
    if "." in kind:
        module, _, attribute = kind.rpartition(".")
        found: Any = getattr(importlib.import_module(module), attribute, None)
        if not (isinstance(found, type) and issubclass(found, BasePipe)):
            raise UsageError(f"{where}: {kind} is no pipe")
    else:
        found = pipe_class(kind or "Pickle")
    if issubclass(found, BytesPipe):
        if not size.isdecimal():
            raise UsageError(f"{where}: pipe {name}: write {name}:{kind}:SIZE")
        sized: BasePipe = found(name, int(size))
        return sized
    made: BasePipe = found(name)
    return made


def nodes_from_csv(path: str) -> list[BaseNode]:
    """Read nodes from a CSV file with the columns `name`, `ip` and `groups` (with spaces between).

    Raises:
        UsageError: the file is wrong.
    """
    nodes: list[BaseNode] = []
    for row in _rows(path, ["name", "ip"]):
        node: Any = BaseNode(row["ip"].strip(), row["name"].strip())
        groups = row.get("groups", "").split()
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
        nodes.append(LocalNode(ip) if ip in {"localhost", "127.0.0.1"} else BaseNode(ip))
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
