"""The engine that runs containers: where it listens, and what it says when it cannot.

Docker and Podman listen on a socket and speak the same language; Apptainer and Singularity are
commands.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from maniple import plugins
from maniple.errors import ManipleError, StorageError, UsageError

COMMANDS: Final = ("apptainer", "singularity")
SECONDS: Final = 300.0
RECONNECT_SECONDS: Final = 5.0
_SCHEMES: Final = ("docker://", "library://", "oras://", "shub://", "docker-archive:", "oci:")
_NOBODY: Final = (
    "start one (systemctl --user start podman.socket, or podman system service --time 0 &), "
    "or name one in DOCKER_HOST"
)
_PING_SECONDS: Final = 20.0
_OLDEST: Final = "1.24"
_LONGEST: Final = 400
_Found = TypeVar("_Found")


class Place(NamedTuple):
    """Where an engine is.

    Attributes:
        url: of its socket, or None.
        program: its command, or None.
    """

    url: str | None = None
    program: str | None = None


def find(engine: str, image: str) -> Place:
    """Find the engine, which answers then.

    Args:
        engine: one of `container_box.ENGINES`.
        image: an image that only Apptainer has (a `.sif` file, a URI) makes `auto` choose it.

    Raises:
        UsageError: there is none; the text says what to do.
    """
    if engine in COMMANDS:
        return _command((engine,))
    if engine == "auto" and is_apptainer(image):
        return _command(COMMANDS)
    named = _named(engine)
    if named is not None:
        variable, url = named
        trouble = _trouble(url)
        if trouble:
            raise UsageError(f"the container engine at {url} ({variable}) {trouble}")
        return Place(url=url)
    troubles = []
    for path in _usual(engine):
        url = f"unix://{path}"
        trouble = _trouble(url)
        if not trouble:
            return Place(url=url)
        if trouble != _ABSENT:
            troubles.append(f"{path} {trouble}")
    if engine == "auto":
        import shutil

        for name in COMMANDS:
            if found := shutil.which(name):
                return Place(program=found)
    what = "container engine" if engine == "auto" else engine.capitalize()
    if troubles:
        raise UsageError(f"no {what} can be used: {'; '.join(troubles)}")
    raise UsageError(f"no {what} answers on its socket: {_NOBODY}")


def is_apptainer(image: str) -> bool:
    """Tell whether only Apptainer and Singularity have such an image."""
    return image.startswith(_SCHEMES) or image.endswith((".sif", ".simg"))


def _command(names: tuple[str, ...]) -> Place:
    import shutil

    for name in names:
        if found := shutil.which(name):
            return Place(program=os.path.abspath(found))
    raise UsageError(f"there is no command {names[0]} here: install it, or name another --engine")


def _named(engine: str) -> tuple[str, str] | None:
    variables = ["DOCKER_HOST", "CONTAINER_HOST"]
    if engine == "docker":
        variables.pop()
    elif engine == "podman":
        variables.reverse()
    for variable in variables:
        if url := os.environ.get(variable):
            if not url.startswith(("unix://", "tcp://", "http://", "https://")):
                raise UsageError(
                    f"{variable}={url.partition('@')[2] or url} cannot be used: a container's "
                    "output needs unix:// or tcp:// (lead one there with ssh -L, say)"
                )
            return variable, url
    return None


def _usual(engine: str) -> list[str]:
    mine = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    docker = ["/var/run/docker.sock", f"{mine}/docker.sock"]
    podman = [f"{mine}/podman/podman.sock", "/run/podman/podman.sock"]
    return {"docker": docker, "podman": podman}.get(engine, docker + podman)


_ABSENT: Final = f"does not answer: {_NOBODY}"


def _trouble(url: str) -> str:
    """Say why a socket cannot be used; nothing when it can."""
    try:
        if url.startswith("unix://"):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(RECONNECT_SECONDS)
                probe.connect(url.removeprefix("unix://"))
        else:
            host, _, port = url.partition("://")[2].rstrip("/").rpartition(":")
            address = (host.strip("[]"), int(port))
            socket.create_connection(address, timeout=RECONNECT_SECONDS).close()
    except PermissionError:
        return "is not yours to use: ask to be put into its group, or use Podman as yourself"
    except ValueError:
        return "has no port: write tcp://HOST:PORT"
    except OSError:
        return _ABSENT
    return ""


def connect(place: Place, version: str | None = None, timeout: float = SECONDS) -> Any:
    """Open the engine's API, through the Docker SDK. Connections are made when they are needed.

    Args:
        place: of an engine with a socket.
        version: of the API; asked for when it is None.
        timeout: seconds that a call may take.

    Raises:
        MissingExtraError: the SDK is not installed.
        UsageError: who listens there is no such engine.
    """
    try:
        import docker
        import docker.utils
    except ImportError:
        raise plugins.missing_extra("docker", "running containers") from None
    options: dict[str, Any] = {"base_url": place.url, "timeout": timeout}
    try:
        if place.url is not None and place.url == os.environ.get("DOCKER_HOST"):
            options.update(docker.utils.kwargs_from_env())
        client = docker.APIClient(version=version or _OLDEST, **options)
        # proxies and the user's own settings are for the internet, not for the engine
        client.trust_env = False
        if version is None:
            try:
                # what the SDK asks to find out costs Podman a seventh of a second
                answer = client.get(f"{client.base_url}/_ping", timeout=_PING_SECONDS)
            finally:
                client.close()
            version = answer.headers.get("Api-Version") or "auto"
            return connect(place, version, timeout)
    except ManipleError:
        raise
    except Exception as error:
        raise UsageError(f"the container engine at {place.url} fails: {said(error)}") from None
    return client


def asked(call: Callable[..., _Found], *words: Any, **options: Any) -> _Found:
    """Ask the engine; once more, for a while, where the connection was lost.

    Raises:
        StorageError: it cannot be reached any more.
        docker.errors.APIError: it refuses.
    """
    from requests import exceptions

    deadline = time.monotonic() + RECONNECT_SECONDS
    while True:
        try:
            return call(*words, **options)
        except exceptions.Timeout:
            raise StorageError(
                f"the container engine does not answer within {SECONDS:g} s"
            ) from None
        except exceptions.ConnectionError as error:
            if time.monotonic() >= deadline:
                raise StorageError(
                    f"the container engine cannot be reached any more: {said(error)}"
                ) from None
            time.sleep(0.1)


def said(error: BaseException) -> str:
    """What an engine or its SDK said, in one line."""
    text = getattr(error, "explanation", None) or str(error) or type(error).__name__
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    line = " ".join(str(text).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
