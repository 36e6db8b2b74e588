"""Callbacks: what the drop-in package does with each param."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from maniple import owner, plugins, proctree
from maniple.callback.below import GRACE_SECONDS, mark
from maniple.callback.engines import Engine
from maniple.errors import UsageError

_CALL = "maniple.call"
_SOCKET = "/var/run/docker.sock"


class Callback:
    """What is done with one param: `setup`, `process`, `teardown`, in this order, once.

    An exception of `setup` or `process` is caught, logged and handed to `teardown`. Callbacks own
    the acknowledgement: a `teardown` that neither acknowledges nor gives back need not care, for
    the param is acknowledged after it.
    """

    def setup(self, param: Any, engine: Engine) -> None:
        """Prepare."""

    def process(self, param: Any, engine: Engine) -> None:
        """Do the work."""

    def teardown(
        self,
        param: Any,
        engine: Engine,
        exception: BaseException | None,  # noqa: ARG002 - for those who override it
    ) -> None:
        """Clean up and acknowledge, failed or not; `exception` is None when all went well."""
        engine.ack(param)

    def describe(self, param: Any) -> str:
        """Tell in a line what would be done, for a dry run."""
        return repr(param)


class FuncCallback(Callback):
    """Calls a function with each param, in this process."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def process(self, param: Any, engine: Engine) -> None:  # noqa: ARG002 - a callback's signature
        """Call it; what it returns is not kept."""
        self.function(param)

    def describe(self, param: Any) -> str:
        """Write the call."""
        return f"{getattr(self.function, '__name__', self.function)}({param!r})"


class ProcessCallback(Callback):
    """Runs a command for each param, through the shell; subclass it with `to_cmd`.

    The command's output is ours. Its standard input is empty, for ours may hold the params.
    """

    def to_cmd(self, param: Any) -> str:
        """Write the command for a param, as text for `sh -c`."""
        raise NotImplementedError(f"{type(self).__name__} has no method to_cmd")

    def process(self, param: Any, engine: Engine) -> None:  # noqa: ARG002 - a callback's signature
        """Run it to its end.

        Raises:
            subprocess.CalledProcessError: the exit status is not 0 (negative: a signal).
            TypeError: `to_cmd` gave no text.
            OSError, ValueError: it cannot be started: too long, or a NUL in it.
        """
        command = self.to_cmd(param)
        if not isinstance(command, str):
            raise TypeError(f"to_cmd must give text, not {type(command).__name__}")
        code = _run(command)
        if code:
            import subprocess

            raise subprocess.CalledProcessError(code, command)

    def describe(self, param: Any) -> str:
        """Write the command."""
        return str(self.to_cmd(param))


class WordsCallback(ProcessCallback):
    """Appends the text of each param to the words of a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def to_cmd(self, param: Any) -> str:
        """Write command and param, as text."""
        return f"{self.command} {param}"


class DockerCallback(Callback):
    """Runs a container for each param, through the Docker SDK; subclass it with `to_kwargs`.

    The container's output is passed on, and the container removed, however it ended. One whose
    minion was killed is removed by the next minion on the same machine. Without `DOCKER_HOST` and
    Docker, Podman's socket is taken.
    """

    _tidied = 0

    def __init__(self, image: str) -> None:
        self.image = image

    def to_kwargs(self, param: Any) -> dict[str, Any]:
        """Give the keyword arguments of the SDK's `containers.run` for a param.

        `detach`, `remove` and `auto_remove` are ours; labels are added to.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method to_kwargs")

    def process(self, param: Any, engine: Engine) -> None:  # noqa: ARG002 - a callback's signature
        """Run the container to its end.

        Raises:
            docker.errors.ContainerError: its exit status is not 0.
            docker.errors.DockerException: no Docker to talk to, no such image, wrong arguments.
            MissingExtraError: the Docker SDK is not installed.
        """
        try:
            import docker
        except ImportError:
            raise plugins.missing_extra("docker", "DockerCallback") from None
        from maniple.runners.container_leftovers import labels, remove_dead, remove_labelled

        call = os.urandom(8).hex()
        kwargs = {**self.to_kwargs(param), "detach": True, "remove": False, "auto_remove": False}
        given = kwargs.get("labels") or {}
        given = given if isinstance(given, dict) else dict.fromkeys(given, "")
        kwargs["labels"] = {**given, **labels(owner.identity()), _CALL: call}
        client = _client(docker)
        try:
            if self._tidied != os.getpid():
                self._tidied = os.getpid()
                with suppress(Exception):
                    remove_dead(client.api)
            ended = False
            try:
                self._run(client, docker.errors, kwargs)
                ended = True
            finally:
                if not ended:
                    # it may have been made before we were told so
                    with suppress(Exception):
                        remove_labelled(client.api, _CALL, call)
        finally:
            client.close()

    def _run(self, client: Any, errors: Any, kwargs: dict[str, Any]) -> None:
        container = client.containers.run(self.image, **kwargs)
        ended = False
        try:
            for piece in container.logs(stream=True, follow=True):
                sys.stdout.write(piece.decode("utf-8", "replace"))
                sys.stdout.flush()
            code = container.wait()["StatusCode"]
            ended = True
            if code:
                said = container.logs(stdout=False, stderr=True)
                words = kwargs.get("command")
                raise errors.ContainerError(container, code, words, self.image, said)
        finally:
            if not ended:
                with suppress(Exception):
                    container.kill("SIGTERM")
                    container.wait(timeout=GRACE_SECONDS)
            container.remove(force=True)

    def describe(self, param: Any) -> str:
        """Write the SDK's call."""
        kwargs = "".join(f", {name}={value!r}" for name, value in self.to_kwargs(param).items())
        return f"containers.run({self.image!r}{kwargs})"


def _client(docker: Any) -> Any:
    """Open Docker, or Podman where there is no other."""
    if "DOCKER_HOST" in os.environ or os.path.exists(_SOCKET):
        return docker.from_env()
    from maniple.runners.container_engine import find

    try:
        place = find("podman", "")
    except UsageError:
        # the SDK's own words about Docker
        return docker.from_env()
    return docker.DockerClient(base_url=place.url, version="auto")


def _run(command: str) -> int:
    """Run a command in a process group of its own; return its exit status, negative: a signal."""
    pid = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", command],
        mark(),
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setpgroup=0,
        setsigmask=(),
        # Python ignores these two; a program expects them as they were
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
    )
    ended = False
    try:
        status = os.waitpid(pid, 0)[1]
        ended = True
    finally:
        if not ended:
            with suppress(ChildProcessError):
                proctree.end_tree(pid, grace=GRACE_SECONDS)
    return os.waitstatus_to_exitcode(status)
