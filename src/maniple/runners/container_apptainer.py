"""Apptainer and Singularity: a command line before the task's, and variables to pass in.

The container is the command's child, so it ends as any process does.
"""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import suppress
from typing import Any, Final

from maniple.errors import UsageError
from maniple.runner import Context, Outcome
from maniple.runners.container_box import Box
from maniple.runners.container_engine import is_apptainer
from maniple.runners.container_recipe import PARAM_PATH
from maniple.runners.process import (
    LONGEST_VARIABLE,
    PARAM,
    PARAM_FILE,
    Command,
    Output,
    ProcessRunner,
)
from maniple.task import Task

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_OF_A_TASK: Final = (b"PARAM", b"TASK", b"NUMBER", b"ATTEMPT", b"SLOT")


def command_line(
    program: str, box: Box, image: str, words: list[str], param_file: str | None = None
) -> list[str]:
    """Write the whole command.

    Args:
        program: the path of `apptainer` or `singularity`.
        box: the container's options.
        image: the path of the image.
        words: the task's command.
        param_file: a file to show as `PARAM_PATH`, or None.
    """
    line = [program, "--silent", "exec", "--containall", "--no-eval"]
    if box.network != "host":
        line += ["--net", "--network", box.network]
    if box.memory is not None:
        line += ["--memory", str(box.memory), "--memory-swap", str(box.memory)]
    if box.cpus is not None:
        line += ["--cpus", f"{box.cpus:g}"]
    if box.pids is not None:
        line += ["--pids-limit", str(box.pids)]
    if box.writable:
        line += ["--writable-tmpfs"]
    for mount in box.mounts:
        mode = "rw" if mount.writable else "ro"
        line += ["--bind", f"{mount.source}:{mount.target}:{mode}"]
    if param_file is not None:
        line += ["--bind", f"{param_file}:{PARAM_PATH}:ro"]
    if box.workdir is not None:
        line += ["--pwd", box.workdir]
    return [*line, image, *words]


def check(box: Box) -> None:
    """Refuse what this engine cannot do.

    Raises:
        UsageError: it cannot.
    """
    if box.user is not None:
        raise UsageError("--user: Apptainer and Singularity run commands as you, and nobody else")
    for mount in box.mounts:
        for path in (mount.source, mount.target):
            if ":" in path or "," in path:
                raise UsageError(f"--mount: {path!r} holds a colon or comma: the engine splits it")


def locate(program: str, box: Box) -> str:
    """Find the image's file; with `box.pull`, fetch it first when it is not there.

    Images that are no files are kept in the user's cache folder.

    Raises:
        UsageError: there is no such image, or it cannot be fetched.
    """
    if os.path.exists(box.image):
        return os.path.abspath(box.image)
    if box.image.endswith((".sif", ".simg")):
        raise UsageError(f"there is no image {box.image}")
    uri = box.image if is_apptainer(box.image) else f"docker://{box.image}"
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(cache, "maniple", "images")
    path = os.path.join(folder, f"{_UNSAFE.sub('_', uri)}.sif")
    if os.path.exists(path):
        return path
    if not box.pull:
        raise UsageError(f"there is no image {box.image} here: --pull fetches it")
    part = f"{path}.{os.getpid()}"
    try:
        os.makedirs(folder, exist_ok=True)
        line = [program, "--silent", "pull", "--force", part, uri]
        done = subprocess.run(line, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            told = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
            why = told.rpartition("\n")[2][:400] or f"exit status {done.returncode}"
            raise UsageError(f"cannot fetch the image {box.image}: {why}")
        os.replace(part, path)
    except OSError as error:
        raise UsageError(f"cannot fetch the image {box.image}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            os.unlink(part)
    return path


class ApptainerRunner(ProcessRunner):
    """Runs each task's command under Apptainer or Singularity.

    Args:
        command: makes the words from the param.
        program: the path of the engine's command.
        box: the container's options.
        image: the path of the image.
        live, output, grace: as for a `ProcessRunner`.
    """

    def __init__(
        self,
        command: Command,
        program: str,
        box: Box,
        image: str,
        *,
        live: bool = False,
        output: Output | None = None,
        grace: float,
    ) -> None:
        super().__init__(self._wrapped, live=live, output=output, grace=grace)
        self._inner = command
        self._program = program
        self._box = box
        self._image = image
        self._long: bytes | None = None
        name = os.path.basename(program).upper()
        self._prefix = f"{name}ENV_".encode()

    def run(self, task: Task, context: Context) -> Outcome:
        """Run one attempt."""
        self._long = task.data if len(task.data) > LONGEST_VARIABLE else None
        return super().run(task, context)

    def _wrapped(self, param: Any, *, number: int, slot: int) -> list[str]:
        words = self._inner(param, number=number, slot=slot)
        file = None if self._long is None else self._param_file(self._long)
        return command_line(self._program, self._box, self._image, words, file)

    def _environment_of(self, task: Task, context: Context) -> dict[bytes, bytes]:
        """Ours for the engine; for the command only what stands behind the engine's prefix."""
        given = self._box.environment.items()
        inner = {os.fsencode(name): os.fsencode(value) for name, value in given}
        outer = super()._environment_of(task, context)
        for name in (b"MANIPLE_" + each for each in _OF_A_TASK):
            if name in outer:
                inner[name] = outer[name]
        if self._long is not None:
            inner.pop(PARAM.encode(), None)
            inner[PARAM_FILE.encode()] = PARAM_PATH.encode()
        kept = {name: value for name, value in outer.items() if not _passed_in(name)}
        return kept | {self._prefix + name: value for name, value in inner.items()}


def _passed_in(name: bytes) -> bool:
    """Tell whether the engine would pass a variable of ours into the container."""
    return name.startswith((b"APPTAINERENV_", b"SINGULARITYENV_"))
