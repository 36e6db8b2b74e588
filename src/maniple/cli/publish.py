"""Push a version of an algorithm to a registry."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import urlsplit

import msgspec

from maniple.algorithm.package import unpack
from maniple.builders.manifest import Manifest
from maniple.driver.address import read_hub
from maniple.driver.registry import ALGORITHMS_PATH
from maniple.errors import AlgorithmError, ClusterError, UsageError
from maniple.plugins import missing_extra

TOKEN_VARIABLES: Final = ("PERSONAL_ACCESS_TOKEN", "MOTIVUS_PERSONAL_ACCESS_TOKEN")
TIMEOUT_SECONDS: Final = 120.0
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_INVALID: Final = 422
_FIRST_ERROR: Final = 400
_SHOWN: Final = 500


class Terms(msgspec.Struct, frozen=True):
    """Under which terms an algorithm that the registry does not know yet is published.

    Attributes:
        is_public: whether others may use it.
        cost: of a use.
        charge_schema: what is charged: `PER_EXECUTION` or `PER_MINUTE`.
    """

    is_public: bool = False
    cost: float = 0
    charge_schema: str = "PER_EXECUTION"


class Pushed(msgspec.Struct, frozen=True):
    """What was pushed, and where to.

    Attributes:
        name, version: of the algorithm.
        host: of the registry.
        is_new: the registry did not know the algorithm before.
    """

    name: str
    version: str
    host: str
    is_new: bool


def push(
    manifest: Manifest,
    settings: Mapping[str, str],
    *,
    build_dir: str = "build",
    terms: Terms | None = None,
) -> Pushed:
    """Upload the package that was built of a manifest.

    Args:
        manifest: names the version, and holds what the registry shows about it.
        settings: the environment: where the registry is (`ALGORITHM_REPO_HOST`, else the host of
            `WEBSOCKET_URI`, else the loop-back cluster), and the token.
        build_dir: where the package is.
        terms: for an algorithm that the registry does not know yet.

    Raises:
        AlgorithmError: nothing has been built, or the registry does not take it.
        ClusterError: the registry does not answer, or does not take the token.
        UsageError: there is no token, and the registry is not on this machine.
    """
    stem = f"{manifest.name}-{manifest.version}"
    path = os.path.join(build_dir, f"{stem}.zip")
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise AlgorithmError(f"there is no {path}: build it first") from None
    except OSError as error:
        raise AlgorithmError(f"cannot read the package {path}: {error.strerror}") from None
    unpack(data, path, stem=stem)
    address = read_hub(settings=settings)
    token = next((settings[name] for name in TOKEN_VARIABLES if settings.get(name)), None)
    if token is None and not address.local:
        raise UsageError(
            f"which token? set {TOKEN_VARIABLES[0]} to a personal access token of your account"
            f" at {_host(address.registry)}"
        )
    with _Registry(address.registry, token, trust=not address.local) as registry:
        found = registry.find(manifest.name)
        key = found or registry.create(manifest.name, terms or Terms())
        registry.upload(key, manifest, f"{stem}.zip", data)
    host = _host(address.registry)
    return Pushed(manifest.name, manifest.version, host, is_new=found is None)


class _Registry:
    """Speaks HTTP to one registry, with the publisher's token."""

    def __init__(self, base: str, token: str | None, *, trust: bool) -> None:
        try:
            import httpx
        except ImportError:
            raise missing_extra("httpx", "pushing to a registry") from None
        self._base = base
        self._host = _host(base)
        self._errors: tuple[type[Exception], ...] = (httpx.HTTPError, httpx.InvalidURL)
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=TIMEOUT_SECONDS,
            # a proxy is not asked for what is on this machine
            trust_env=trust,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def find(self, name: str) -> str | None:
        """Give the id of an algorithm, or None."""
        found = self._call("GET", ALGORITHMS_PATH, params={"name": name})
        listed = found if isinstance(found, list) else [found]
        for algorithm in listed:
            if isinstance(algorithm, dict) and algorithm.get("name") == name:
                return str(algorithm.get("id"))
        return None

    def create(self, name: str, terms: Terms) -> str:
        """Make an algorithm; give its id."""
        body = {"algorithm": {"name": name, **msgspec.structs.asdict(terms)}}
        made = self._call("POST", ALGORITHMS_PATH, json=body)
        if not isinstance(made, dict) or "id" not in made:
            raise self._strange()
        return str(made["id"])

    def upload(self, key: str, manifest: Manifest, name: str, data: bytes) -> None:
        """Add a version."""
        version = {"name": manifest.version, "metadata": manifest.metadata}
        self._call(
            "POST",
            f"{ALGORITHMS_PATH}{key}/versions",
            files={
                "version": (None, json.dumps(version)),
                "package": (name, data, "application/zip"),
            },
        )

    def _call(self, method: str, path: str, **request: Any) -> Any:
        try:
            response = self._client.request(method, self._base + path, **request)
        except self._errors as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise ClusterError(f"no answer from the registry at {self._host}: {text}") from None
        status = response.status_code
        try:
            body = response.json()
        except ValueError:
            body = None
        if status == _UNAUTHORIZED:
            raise ClusterError(f"{self._host} does not take the token: check {TOKEN_VARIABLES[0]}")
        if status == _FORBIDDEN:
            raise ClusterError(f"{self._host}: this algorithm is not yours, and may not be changed")
        if status >= _FIRST_ERROR:
            said = _errors_in(body) or f"HTTP status {status}"
            kind = AlgorithmError if status == _INVALID else ClusterError
            raise kind(f"{self._host} does not take it: {said}")
        if not isinstance(body, dict) or "data" not in body:
            raise self._strange()
        return body["data"]

    def _strange(self) -> ClusterError:
        return ClusterError(f"{self._host} answers something else than a registry: is a hub there?")


def _errors_in(body: Any) -> str:
    """Put `{"errors": {field: [text]}}` into a line."""
    errors = body.get("errors") if isinstance(body, dict) else None
    if not isinstance(errors, dict):
        return ""
    told = []
    for field, texts in errors.items():
        listed = texts if isinstance(texts, list) else [texts]
        told.append(f"{field} {', '.join(map(str, listed))}")
    return " ".join("; ".join(told).split())[:_SHOWN]


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
