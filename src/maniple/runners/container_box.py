"""What a container may do and see: the options of the container runner, and how they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from maniple.errors import UsageError

ENGINES: Final = ("auto", "docker", "podman", "apptainer", "singularity")
PIDS: Final = 1024
LEAST_MEMORY: Final = 6 << 20
# compiled when they are needed: this is imported at every start
_SIZE: Final = r"(?i)([0-9]*\.?[0-9]+)\s*([kmgt]?)(?:i?b)?"
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"


class Mount(NamedTuple):
    """A folder or file of the engine's machine, as tasks see it.

    Attributes:
        source: its absolute path.
        target: its absolute path in the container.
        writable: tasks may change it.
    """

    source: str
    target: str
    writable: bool = False


class Box(NamedTuple):
    """The container that each task gets, fresh.

    Attributes:
        image: its name, or for Apptainer the path of a file or folder as well.
        engine: one of `ENGINES`.
        network: `none`, `host`, or a network that the engine knows.
        memory: bytes, or None: no limit. Swap does not add to it.
        cpus: processors, or None: all.
        pids: processes and threads at the same time, or None: `PIDS` where that can be limited.
        mounts: what of the machine it sees; nothing else.
        workdir: where the command starts, or None: where the image says.
        environment: variables besides the image's and `MANIPLE_*`; none of ours.
        user: `UID[:GID]` or a name that the image knows; None: the user who runs us.
        writable: its root file system can be written to, and vanishes with it; where it runs as
            root it keeps the engine's usual capabilities, otherwise it has none.
        pull: fetch the image before the first task when it is not there.
    """

    image: str
    engine: str = "auto"
    network: str = "none"
    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    mounts: tuple[Mount, ...] = ()
    workdir: str | None = None
    environment: Mapping[str, str] = {}
    user: str | None = None
    writable: bool = False
    pull: bool = False


def check(box: Box) -> None:
    """Refuse values that no engine takes, before one is asked.

    Raises:
        UsageError: one is wrong; the text names the option.
    """
    if not box.image or box.image.startswith("-"):
        raise UsageError(f"--image {box.image!r} is no image: write debian:12, say")
    if box.engine not in ENGINES:
        raise UsageError(f"there is no engine {box.engine!r}: take one of {', '.join(ENGINES)}")
    if not box.network or box.network.startswith("container:"):
        raise UsageError(f"--network {box.network!r} is no network: none, host, or a name")
    if box.memory is not None and box.memory < LEAST_MEMORY:
        raise UsageError("--memory is too little for any container: give 6m or more")
    if box.cpus is not None and not 0.01 <= box.cpus <= 10_000:  # noqa: PLR2004 - what engines take
        raise UsageError(f"--cpus {box.cpus:g} is no number of processors: write 1.5, say")
    if box.pids is not None and box.pids < 1:
        raise UsageError(f"--pids {box.pids} is too few: a command is one process at least")
    if box.workdir is not None and not box.workdir.startswith("/"):
        raise UsageError(f"--workdir {box.workdir!r} must be a path in the container: /data, say")


def parse_memory(text: str) -> int:
    """Read an amount of memory: bytes, or a number with k, m, g, t (1024 times the one before).

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(_SIZE, text.strip())
    if match is None:
        raise UsageError(f"--memory {text!r} is no amount of memory: write 512m or 2g")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def parse_mount(text: str) -> Mount:
    """Read `SRC:DST`, `SRC:DST:ro` or `SRC:DST:rw`; a relative SRC is one of this directory.

    Raises:
        UsageError: it is no mount.
    """
    rest, _, mode = text.rpartition(":")
    if mode not in {"ro", "rw"} or ":" not in rest:
        rest, mode = text, "ro"
    source, _, target = rest.rpartition(":")
    if not source or not target.startswith("/"):
        raise UsageError(f"--mount {text!r}: write SRC:DST or SRC:DST:rw, DST an absolute path")
    target = os.path.normpath(target)
    if target in {"/", "//"}:
        raise UsageError(f"--mount {text!r}: the root itself cannot be mounted over")
    return Mount(os.path.abspath(source), target, mode == "rw")


def parse_environment(words: Sequence[str]) -> dict[str, str]:
    """Read `NAME=VALUE`, or `NAME` for the value that it has here.

    Raises:
        UsageError: a name is none, or is not set here.
    """
    found: dict[str, str] = {}
    for word in words:
        name, given, value = word.partition("=")
        if re.fullmatch(_NAME, name) is None:
            raise UsageError(f"--env {word!r}: write NAME=VALUE, or NAME to pass on our own")
        if not given:
            try:
                value = os.environ[name]
            except KeyError:
                raise UsageError(f"--env {name}: it is not set here; write {name}=VALUE") from None
        found[name] = value
    return found
