"""The folder of a network, and its config.py."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

from maniple.errors import UsageError
from maniple.network.graph import Network
from maniple.network.marvelo.adapter import Log
from maniple.network.marvelo.build import build
from maniple.network.marvelo.files import from_xml, jobs_from_csv, nodes_from_csv
from maniple.network.marvelo.jobs import BaseJob, restart_ids
from maniple.network.marvelo.nodes import BaseNode
from maniple.network.marvelo.pipes import BasePipe
from maniple.network.usercode import imported

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
_Kind = TypeVar("_Kind", BaseJob, BaseNode)


class Project:
    """One network of a project.

    Args:
        root: the folder that holds manage.py.
        name: of the network: a package in it.

    Attributes:
        config: the module.
        values: of the settings, or their defaults.
        folder: of the network.
        jobs: all of them, those of files as well.
        nodes: likewise.

    Raises:
        UsageError: there is no such network, or its config is wrong.
    """

    def __init__(self, root: str, name: str) -> None:
        self.name = name
        self._root = os.path.abspath(root)
        self.folder = os.path.join(self._root, name)
        self._where = f"{name}/config.py"
        if not os.path.isfile(os.path.join(self.folder, "config.py")):
            raise UsageError(_missing(self._root, name))
        if self._root not in sys.path:
            sys.path.insert(0, self._root)
        taken = getattr(sys.modules.get(name), "__file__", None)
        if taken is not None and not taken.startswith(self.folder + os.sep):
            raise UsageError(
                f"a network cannot be called {name!r}, as a module of Python is: rename its folder"
            )
        restart_ids()
        self.config: Any = imported(lambda: importlib.import_module(f"{name}.config"), self._where)
        self.values = {key: getattr(self.config, key, value) for key, value in DEFAULTS.items()}
        self._check()
        self.nodes = self._listed("NODES", nodes_from_csv, BaseNode)
        self.jobs = self._listed("JOBS", jobs_from_csv, BaseJob)
        if self.values["XML_FILE"]:
            jobs, nodes = from_xml(self._path(self.values["XML_FILE"]))
            self.jobs += jobs
            known = {node.ip for node in self.nodes}
            self.nodes += [node for node in nodes if node.ip not in known]
        for job in self.jobs:
            job.sources = (os.path.join(self.folder, "source"), self.folder, self._root)

    def _path(self, path: str) -> str:
        beside = os.path.join(self.folder, path)
        return beside if os.path.exists(beside) else os.path.abspath(path)

    def _check(self) -> None:
        def right(key: str, well: bool, what: str) -> None:  # noqa: FBT001
            if not well:
                raise UsageError(f"{self._where}: {key} is {what}, not {self.values[key]!r}")

        values = self.values
        pulse, size = values["PULSE_INTERVAL"], values["HEAD_SIZE"]
        right(
            "PULSE_INTERVAL",
            isinstance(pulse, int | float) and _PULSES[0] <= pulse <= _PULSES[1],
            "seconds from 0.1 to 1000",
        )
        right("HEAD_SIZE", type(size) is int and size >= 1, "bytes, at least 1")
        for key in ("JOBS", "NODES"):
            right(key, isinstance(values[key], list | tuple), "a list")
        for key in ("XML_FILE", "LOG_FILE"):
            right(key, isinstance(values[key], str | os.PathLike | None), "a path or None")
        level = values["LOG_LEVEL"]
        known = logging.getLevelNamesMapping()
        right("LOG_LEVEL", type(level) is int or level in known, f"one of {', '.join(known)}")

    def _listed(
        self, key: str, read: Callable[[str], list[_Kind]], kind: type[_Kind]
    ) -> list[_Kind]:
        """Take a list of things, or of files that describe them."""
        found: list[_Kind] = []
        what = "job" if kind is BaseJob else "node"
        for each in self.values[key]:
            if isinstance(each, str | os.PathLike):
                found += read(self._path(os.fspath(each)))
            elif isinstance(each, kind):
                if any(each is other for other in found):
                    raise UsageError(f"{self._where}: {key} holds {each!r} twice")
                found.append(each)
            elif isinstance(each, type) and issubclass(each, kind):
                raise UsageError(
                    f"{self._where}: {key} holds the class {each.__name__}:"
                    f" make a {what} of it with {each.__name__}(...)"
                )
            else:
                raise UsageError(f"{self._where}: {key} holds {each!r}, which is no {what}")
        return found

    @property
    def log(self) -> Log:
        """What becomes of the words that jobs give to `logging`."""
        level, path = self.values["LOG_LEVEL"], self.values["LOG_FILE"]
        number = level if isinstance(level, int) else logging.getLevelNamesMapping()[level]
        return Log(number, os.path.join(self.folder, path) if path else None)

    def network(self) -> Network:
        """Make the network; it may be incomplete."""
        return build(self.name, self.jobs, self.values["HEAD_SIZE"], self.log)

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


def _missing(root: str, name: str) -> str:
    if os.path.isdir(os.path.join(root, name)):
        return f"{name}/config.py is missing: write it, with JOBS and NODES"
    there = [n for n in sorted(os.listdir(root)) if os.path.isfile(f"{root}/{n}/config.py")]
    known = f"there are {', '.join(there)}; " if there else ""
    return f"no network {name!r} here: {known}`python3 manage.py {name} startnetwork` makes it"
