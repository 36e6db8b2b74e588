"""The registry of published algorithms, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import msgspec

from maniple.algorithm.call import Code
from maniple.algorithm.reference import Reference, version_key
from maniple.cluster.messages import LARGEST_FRAME
from maniple.driver.address import HubAddress
from maniple.errors import AlgorithmError, ClusterError
from maniple.plugins import missing_extra

ALGORITHMS_PATH: Final = "/api/package_registry/algorithms/"
LATEST: Final = "latest"
TIMEOUT_SECONDS: Final = 60.0
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_FIRST_ERROR: Final = 400


class Version(msgspec.Struct, frozen=True):
    """A published version.

    Attributes:
        name: `NAME@VERSION`.
        wasm_url, loader_url, data_url: where its parts are.
        code: the digests of its parts, where the registry tells.
    """

    name: str
    wasm_url: str
    loader_url: str | None = None
    data_url: str | None = None
    code: Code | None = None


class Registry:
    """Looks algorithms up at a hub. Synchronous: it is asked once for each name.

    Args:
        address: of the hub; its token is sent to the registry's server only.
    """

    def __init__(self, address: HubAddress) -> None:
        self._address = address
        self._base = address.registry

    def version(self, reference: Reference) -> Version:
        """Find a version, the latest where none is named.

        Raises:
            AlgorithmError: there is none.
            ClusterError: the registry does not answer.
        """
        algorithm = self._algorithm(reference.name)
        versions = self._versions(algorithm)
        if not versions:
            raise AlgorithmError(f"{reference.name} has no version yet: push one")
        wanted = reference.version
        if wanted is None:
            named = (name for name in versions if name != LATEST)
            wanted = max(named, key=version_key, default=LATEST)
        if wanted not in versions:
            raise AlgorithmError(
                f"no version {wanted} of {reference.name} at {self._shown};"
                f" there are: {', '.join(name for name in versions if name != LATEST)}"
            )
        found = versions[wanted]
        wasm_url = found.get("wasm_url")
        if not isinstance(wasm_url, str):
            raise ClusterError(
                f"the registry at {self._shown} does not say where {reference.name}@{wanted} is:"
                " does APPLICATION_TOKEN hold an application token?"
            )
        return Version(
            f"{reference.name}@{found.get('name', wanted)}",
            wasm_url,
            found.get("loader_url"),
            found.get("data_url"),
            _code(found.get("code"), f"{reference.name}@{wanted}"),
        )

    def fetch(self, url: str) -> bytes:
        """Get what is at a URL; one without a host is the registry's own.

        Raises:
            ClusterError: it cannot be had.
        """
        return self._get(urljoin(self._base + "/", url))

    @property
    def _shown(self) -> str:
        return self._base.partition("://")[2]

    def _algorithm(self, name: str) -> dict[str, Any]:
        found = self._json(ALGORITHMS_PATH, {"name": name})
        listed = found if isinstance(found, list) else [found]
        for algorithm in listed:
            if isinstance(algorithm, dict) and algorithm.get("name") == name:
                return algorithm
        others = [a["name"] for a in self._all() if isinstance(a.get("name"), str)]
        there = f"; there are: {', '.join(sorted(others)[:20])}" if others else ""
        raise AlgorithmError(
            f"no algorithm {name} at {self._shown}{there}. The path of a package, such as"
            f" ./build/{name}-0.0.1.zip, works without a registry"
        )

    def _all(self) -> list[dict[str, Any]]:
        try:
            found = self._json(ALGORITHMS_PATH, {})
        except ClusterError:
            return []
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    def _versions(self, algorithm: dict[str, Any]) -> dict[str, dict[str, Any]]:
        listed = algorithm.get("versions")
        complete = isinstance(listed, list) and all(
            isinstance(each, dict) and "wasm_url" in each for each in listed
        )
        if not complete:
            listed = self._json(f"{ALGORITHMS_PATH}{algorithm.get('id')}/versions", {})
        if not isinstance(listed, list):
            return {}
        return {
            str(each["name"]): each for each in listed if isinstance(each, dict) and "name" in each
        }

    def _json(self, path: str, query: Mapping[str, str]) -> Any:
        data = self._get(self._base + path, query)
        try:
            return json.loads(data)["data"]
        except (ValueError, KeyError, TypeError):
            raise ClusterError(
                f"the registry at {self._shown} answers something else than expected:"
                " is a hub there?"
            ) from None

    def _get(self, url: str, query: Mapping[str, str] | None = None) -> bytes:
        try:
            import httpx
        except ImportError:
            raise missing_extra("httpx", "a driver") from None
        parts = urlsplit(url)
        shown = parts.netloc.rpartition("@")[2]
        own = parts.netloc == urlsplit(self._base).netloc
        token = self._address.token
        headers = {"Authorization": f"Bearer {token}"} if own and token else {}
        try:
            with (
                httpx.Client(
                    timeout=TIMEOUT_SECONDS,
                    follow_redirects=True,
                    trust_env=not (own and self._address.local),
                ) as client,
                client.stream("GET", url, params=query or None, headers=headers) as response,
            ):
                if response.status_code >= _FIRST_ERROR:
                    raise _refusal(response.status_code, shown, parts.path)
                data = bytearray()
                for chunk in response.iter_bytes():
                    data += chunk
                    if len(data) > LARGEST_FRAME:
                        raise ClusterError(f"{shown}{parts.path}: larger than 1 GiB")
                return bytes(data)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise ClusterError(f"no answer from {shown}{parts.path}: {text}") from None


def _refusal(status: int, shown: str, path: str) -> ClusterError:
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        return ClusterError(f"{shown} does not take the application token: check APPLICATION_TOKEN")
    if status == _NOT_FOUND:
        return ClusterError(f"{shown} has no {path}: is a hub there?")
    return ClusterError(f"{shown}{path} answers HTTP {status}")


def _code(value: Any, name: str) -> Code | None:
    if not isinstance(value, dict) or not isinstance(value.get("wasm"), str):
        return None
    return Code(value["wasm"], value.get("loader"), value.get("data"), name)
