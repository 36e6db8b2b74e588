"""What the engine is told to make: the description of a container, as its API wants it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, Final

from maniple.runners.container_box import Box
from maniple.runners.process import LONGEST_VARIABLE, PARAM, PARAM_FILE
from maniple.task import Task

PARAM_PATH: Final = "/maniple-param.json"
LONGEST_WORD: Final = (128 << 10) - 1
_TMP: Final = "/tmp"  # noqa: S108 - in the container, which has one of its own
_TMP_OPTIONS: Final = "rw,exec,nosuid,nodev,mode=1777"
_NANO: Final = 1_000_000_000


class NotTextError(Exception):
    """A word cannot be handed to a container; `cause` groups alike ones."""

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause


class Recipe:
    """Writes descriptions of containers that differ by their task only.

    Args:
        box: the container's options.
        user: whom the command runs as.
        labels: of the container.
        swap: whether swap can be limited.
        local: the engine sees the files of this machine.
        unchecked: switch off the image's own look after its health.
    """

    def __init__(
        self,
        box: Box,
        user: str,
        labels: dict[str, str],
        *,
        swap: bool = True,
        local: bool = True,
        unchecked: bool = False,
    ) -> None:
        host: dict[str, Any] = {
            "NetworkMode": box.network,
            "ReadonlyRootfs": not box.writable,
            # who may write everywhere wants to install something, and root cannot without them
            "CapDrop": [] if box.writable else ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            # the output comes to us as it is written; nobody needs a second copy
            "LogConfig": {"Type": "none"},
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": mount.source,
                    "Target": mount.target,
                    "ReadOnly": not mount.writable,
                }
                for mount in box.mounts
            ],
        }
        if not box.writable and not any(mount.target == _TMP for mount in box.mounts):
            host["Tmpfs"] = {_TMP: _TMP_OPTIONS}
        if box.memory is not None:
            host["Memory"] = box.memory
            if swap:
                host["MemorySwap"] = box.memory
        if box.cpus is not None:
            host["NanoCpus"] = round(box.cpus * _NANO)
        if box.pids is not None:
            host["PidsLimit"] = box.pids
        self._host = host
        self._about: dict[str, Any] = {
            "Image": box.image,
            "User": user,
            "Labels": labels,
            "AttachStdin": False,
            "AttachStdout": True,
            "AttachStderr": True,
            "OpenStdin": False,
            "Tty": False,
            # Podman waits that long for one that it is told to remove
            "StopTimeout": 0,
        }
        if unchecked:
            self._about["Healthcheck"] = {"Test": ["NONE"]}
        if box.workdir is not None:
            self._about["WorkingDir"] = box.workdir
        # a user that the image does not know has no home but the root, where nothing can be written
        home = {} if box.user is not None else {"HOME": _TMP}
        self._environment = [f"{k}={v}" for k, v in {**home, **box.environment}.items()]
        self._param_file: str | None = None
        self._local = local
        self._readable = box.user is not None

    def config(self, words: list[str], environment: list[str]) -> dict[str, Any]:
        """Describe a container that runs these words, with more variables."""
        return {
            **self._about,
            "Entrypoint": words[:1],
            "Cmd": words[1:],
            "Env": self._environment + environment,
            "HostConfig": self._host,
        }

    def of(self, task: Task, words: list[str], slot: int) -> dict[str, Any]:
        """Describe the container of a task.

        Raises:
            NotTextError: a word is too long, holds a NUL, or is not UTF-8; or the whole param is
                too long for a variable, and cannot be shown as a file.
        """
        for word in words:
            try:
                size = len(word.encode())
            except UnicodeEncodeError:
                raise NotTextError(
                    "cannot start", f"{ascii(word)[:80]} is not UTF-8: no engine can take it"
                ) from None
            if "\0" in word:
                raise NotTextError("cannot start", f"{ascii(word)[:80]} holds a NUL: no word can")
            if size > LONGEST_WORD:
                raise NotTextError(
                    "too long",
                    "the param is too long for a command line: read it from the environment "
                    f"variable {PARAM}, or the file {PARAM_FILE} names",
                )
        long = len(task.data) > LONGEST_VARIABLE
        if long and not self._local:
            raise NotTextError(
                "too long",
                "the param is too long for a variable, and the engine is on another machine: "
                "put it into a file that both can read, and its name on the queue",
            )
        param = f"{PARAM_FILE}={PARAM_PATH}" if long else f"{PARAM}={task.data.decode()}"
        config = self.config(
            words,
            [
                param,
                f"MANIPLE_TASK={task.id}",
                f"MANIPLE_NUMBER={task.number}",
                f"MANIPLE_ATTEMPT={task.attempt}",
                f"MANIPLE_SLOT={slot}",
            ],
        )
        if long:
            mount = {
                "Type": "bind",
                "Source": self._written(task.data),
                "Target": PARAM_PATH,
                "ReadOnly": True,
            }
            config["HostConfig"] = {**self._host, "Mounts": [*self._host["Mounts"], mount]}
        return config

    def _written(self, data: bytes) -> str:
        if self._param_file is None:
            import tempfile

            fd, self._param_file = tempfile.mkstemp(prefix="maniple-param-", suffix=".json")
            if self._readable:
                os.fchmod(fd, 0o644)
            os.close(fd)
        with open(self._param_file, "wb") as file:
            file.write(data)
        return self._param_file

    def close(self) -> None:
        """Remove the file of a param that was too long for a variable."""
        if self._param_file is not None:
            with suppress(OSError):
                os.unlink(self._param_file)
            self._param_file = None
