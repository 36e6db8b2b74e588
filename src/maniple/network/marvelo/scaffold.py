"""What `startproject` and `startnetwork` make."""

from __future__ import annotations

import keyword
import os
import sys
from typing import Final

from maniple.errors import StorageError, UsageError

MANAGE: Final = '''\
#!/usr/bin/env python3
"""python3 manage.py NETWORK COMMAND; without words it tells which there are."""

import sys

from fission.management import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
'''

CONFIG: Final = '''\
"""The network {name}."""

from fission.core.jobs import CSVSinkJob
from fission.core.nodes import LocalNode
from fission.core.pipes import PicklePipe

USER = ""
LOG_LEVEL = "INFO"

JOBS = [
    # JobOfYours(outputs=[PicklePipe(1)]),
    # CSVSinkJob("numbers.csv", inputs=[PicklePipe(1)]),
]

NODES = [LocalNode()]
'''

MODULES: Final = {
    "jobs": '"""Jobs of this network."""\n\nfrom fission.core.jobs import PythonJob\n',
    "nodes": '"""Nodes of this network."""\n\nfrom fission.core.nodes import BaseNode\n',
    "pipes": '"""Pipes of this network."""\n\nfrom fission.core.pipes import PicklePipe\n',
}


def start_project(name: str) -> str:
    """Make a project: manage.py and the network `shared`; return what to say.

    Raises:
        UsageError: it is there already, or its name is none.
        StorageError: it cannot be written.
    """
    _name(name)
    if os.path.exists(name):
        raise UsageError(f"{name} is there already: choose another name")
    _write(os.path.join(name, "manage.py"), MANAGE)
    os.chmod(os.path.join(name, "manage.py"), 0o755)  # noqa: S103 - as any script
    _network(os.path.join(name, "shared"), None)
    return f"made {name}: cd {name}; python3 manage.py NETWORK startnetwork"


def start_network(root: str, name: str) -> str:
    """Make a network in a project; return what to say.

    Raises:
        UsageError: it is there already, or its name is none.
        StorageError: it cannot be written.
    """
    _name(name)
    folder = os.path.join(root, name)
    if os.path.exists(folder):
        raise UsageError(f"{name} is there already: choose another name")
    _network(folder, CONFIG.format(name=name))
    return f"made {name}: write its jobs into {name}/config.py"


def _network(folder: str, config: str | None) -> None:
    _write(os.path.join(folder, "__init__.py"), "")
    if config is not None:
        _write(os.path.join(folder, "config.py"), config)
    for name, text in MODULES.items():
        _write(os.path.join(folder, name, "__init__.py"), "")
        _write(os.path.join(folder, name, f"{name}.py"), text)
    os.makedirs(os.path.join(folder, "source"), exist_ok=True)


def _write(path: str, text: str) -> None:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None


def _name(name: str) -> None:
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} cannot be the name of a package: letters, digits and _ only, no digit first"
        )
    if name in sys.modules or name in {"fission", "maniple"}:
        raise UsageError(f"{name!r} is a module of Python already: choose another name")
