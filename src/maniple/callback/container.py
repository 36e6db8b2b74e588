"""DockerCallback: a container for each param."""

from __future__ import annotations

import codecs
import os
import select
import sys
import time
from contextlib import suppress
from typing import Any, Final

from maniple import owner, plugins
from maniple.callback.below import GRACE_SECONDS
from maniple.callback.callbacks import Callback
from maniple.callback.engines import Engine
from maniple.errors import UsageError
from maniple.runners.container_stream import (
    ENDED,
    FIRST_NAP,
    LAST_WORDS_SECONDS,
    LONGEST_NAP,
    QUIET_SECONDS,
    Attached,
    Frames,
)

_CALL: Final = "maniple.call"
_SOCKET: Final = "/var/run/docker.sock"
_OURS: Final = ("detach", "remove", "auto_remove", "stream")
_KEPT_BYTES: Final = 1 << 16


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

        `detach`, `remove`, `auto_remove` and `stream` are ours; labels are added to.
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
        kwargs = {name: each for name, each in self.to_kwargs(param).items() if name not in _OURS}
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
        shown = {name: int(kwargs.pop(name, True)) for name in ("stdout", "stderr")}
        container = _made(client, errors, self.image, kwargs)
        output: _Output | None = None
        ended = False
        try:
            # before it starts: an engine asked later may have nothing to say of one that ended,
            # and Podman does not even answer before the first line
            output = _Output(container, shown, terminal=bool(kwargs.get("tty")))
            container.start()
            output.follow()
            ended = True
            code = container.attrs["State"]["ExitCode"]
            if code:
                said = bytes(output.aside)
                raise errors.ContainerError(
                    container, code, kwargs.get("command"), self.image, said
                )
        finally:
            if not ended and output is not None:
                with suppress(Exception):
                    container.kill("SIGTERM")
                    output.follow(GRACE_SECONDS)
            if output is not None:
                output.close()
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


def _made(client: Any, errors: Any, image: str, kwargs: dict[str, Any]) -> Any:
    """Make the container, and fetch its image first where it is not here, as the SDK's `run`."""
    network = kwargs.get("network")
    if network and kwargs.get("network_mode"):
        raise errors.InvalidArgument("give network or network_mode, not both")
    if kwargs.get("networking_config") and not network:
        raise errors.InvalidArgument("networking_config needs network")
    try:
        return client.containers.create(image, **kwargs)
    except errors.ImageNotFound:
        client.images.pull(image, platform=kwargs.get("platform"))
        return client.containers.create(image, **kwargs)


class _Output:
    """What a container writes, on its way to our standard output.

    Attributes:
        aside: the end of what it wrote to its standard error.
    """

    def __init__(self, container: Any, shown: dict[str, int], *, terminal: bool) -> None:
        self.aside = bytearray()
        self._container = container
        self._shown = shown
        self._decoders = {
            name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")
        }
        connection = container.attach_socket(params={"stdout": 1, "stderr": 1, "stream": 1})
        feed = self._out if terminal else Frames(self._out, self._err).feed
        self._attached = Attached(connection, feed)

    def follow(self, seconds: float | None = None) -> None:
        """Pass all of it on until the container has ended, which its `attrs` tell then.

        Args:
            seconds: for so long only.
        """
        until = None if seconds is None else time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._attached, select.POLLIN)
        nap = FIRST_NAP
        while until is None or time.monotonic() < until:
            left = nap if self._attached.ended else QUIET_SECONDS
            if until is not None:
                left = max(0.0, min(left, until - time.monotonic()))
            if poll.poll(left * 1000):
                if not self._attached.take():
                    poll.unregister(self._attached)
                continue
            # silence: it has closed its outputs, thinks, or nobody told us of its end
            self._container.reload()
            if self._container.status in ENDED:
                self._attached.drain(LAST_WORDS_SECONDS)
                for name in self._decoders:
                    self._write(name, b"", final=True)
                return
            if self._attached.ended:
                nap = min(nap * 1.5, LONGEST_NAP)

    def close(self) -> None:
        """Let go of the connection."""
        self._attached.close()

    def _out(self, piece: memoryview | bytes) -> None:
        self._write("stdout", piece)

    def _err(self, piece: memoryview) -> None:
        self.aside += piece
        del self.aside[:-_KEPT_BYTES]
        self._write("stderr", piece)

    def _write(self, stream: str, piece: memoryview | bytes, *, final: bool = False) -> None:
        if self._shown[stream] and (text := self._decoders[stream].decode(piece, final)):
            sys.stdout.write(text)
            sys.stdout.flush()
