"""The registry and accounts over HTTP, in the words of the earlier platform.

Bodies are `{"data": ...}` or `{"errors": {field: [text]}}`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from maniple.algorithm.package import LARGEST
from maniple.errors import ManipleError
from maniple.hub.exchange import Exchange
from maniple.hub.identity import User
from maniple.hub.registry import (
    Algorithm,
    AlgorithmForm,
    InvalidError,
    Registry,
    Version,
    VersionForm,
)
from maniple.hub.rooms import BLOBS_PATH

ALGORITHMS: Final = "/api/package_registry/algorithms"
LATEST: Final = "latest"
MOST_BODY: Final = 16 << 20
NO_LOADER: Final = b"// This algorithm is a WASI module: it needs no loader.\n"
_encode = msgspec.json.Encoder().encode
_T = TypeVar("_T")


class _Answer(Exception):  # noqa: N818 - it is an answer, not an error of ours
    def __init__(self, status: int, errors: dict[str, list[str]]) -> None:
        super().__init__(status)
        self.status = status
        self.errors = errors


def _json(value: Any, status: int = 200) -> Response:
    return Response(_encode(value), status, media_type="application/json")


class Api:
    """The routes of one hub.

    Args:
        exchange: the hub.
        registry: keeps algorithms.
    """

    def __init__(self, exchange: Exchange, registry: Registry) -> None:
        self._exchange = exchange
        self._registry = registry
        self._turn = asyncio.Lock()

    def app(self) -> FastAPI:
        """Make the application."""
        app = FastAPI(title="Maniple hub", openapi_url=None, redirect_slashes=False)
        router = APIRouter()
        for method, path, endpoint in (
            ("GET", "/", self._home),
            ("GET", f"{BLOBS_PATH}{{name}}", self._blob),
            ("GET", "/api/user", self._user_brief),
            ("POST", "/auth/guest", self._guest),
            ("GET", "/api/account/user", self._user_full),
            ("GET", "/api/account/application_tokens", self._no_tokens),
            ("POST", "/api/account/application_tokens", self._new_token),
            ("GET", "/api/account/personal_access_tokens", self._no_tokens),
            ("POST", "/api/account/personal_access_tokens", self._new_token),
            ("GET", ALGORITHMS, self._list),
            ("POST", ALGORITHMS, self._add),
            ("GET", f"{ALGORITHMS}/{{key}}", self._show),
            ("PUT", f"{ALGORITHMS}/{{key}}", self._change),
            ("GET", f"{ALGORITHMS}/{{key}}/versions", self._versions),
            ("POST", f"{ALGORITHMS}/{{key}}/versions", self._push),
            ("GET", f"{ALGORITHMS}/{{key}}/users", self._users),
            ("POST", f"{ALGORITHMS}/{{key}}/users", self._no_more_users),
        ):
            for each in {path, path.rstrip("/") + "/"}:
                router.add_api_route(each, endpoint, methods=[method], response_model=None)
        app.include_router(router)
        app.add_exception_handler(_Answer, _errors)
        app.add_exception_handler(HTTPException, _http_errors)
        app.add_exception_handler(InvalidError, _invalid)
        app.add_exception_handler(ManipleError, _broken)
        return app

    async def _ask(self, question: Callable[..., _T], *arguments: Any) -> _T:
        """Ask the registry, which may take a while, one question at a time."""
        async with self._turn:
            return await asyncio.to_thread(question, *arguments)

    def _user(self, request: Request) -> User:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        user = self._exchange.identity.user(token.strip() if scheme.lower() == "bearer" else "")
        if user is None:
            raise _Answer(401, {"token": ["is not valid: make one in your account"]})
        return user

    async def _home(self, request: Request) -> Response:
        self._user(request)
        view = self._exchange.view()
        counts = " ".join(f"{k} {v}" for k, v in msgspec.structs.asdict(view.counts).items())
        lines = [f"maniple hub: workers {len(view.workers)} {counts}"]
        lines += [f"{each.name}: {', '.join(each.tasks) or '-'}" for each in view.workers]
        return Response("\n".join(lines) + "\n", media_type="text/plain; charset=utf-8")

    # ---- accounts

    async def _user_brief(self, request: Request) -> Response:
        user = self._user(request)
        return _json({"data": {"uuid": user.uuid, "is_guest": user.is_guest}})

    async def _user_full(self, request: Request) -> Response:
        return _json({"data": self._person(self._user(request))})

    async def _guest(self) -> Response:
        return _json({"token": "guest"})

    async def _no_tokens(self, request: Request) -> Response:
        self._user(request)
        return _json({"data": []})

    async def _new_token(self, request: Request) -> Response:
        """Any token will do here, this one too."""
        self._user(request)
        token = {"id": "1", "value": "loopback", "description": "any token is good here"}
        return _json({"data": token}, 201)

    @staticmethod
    def _person(user: User) -> dict[str, Any]:
        return {
            "id": user.uuid,
            "uuid": user.uuid,
            "name": user.name,
            "username": user.name,
            "email": f"{user.name}@localhost",
            "is_guest": user.is_guest,
        }

    # ---- parts

    async def _blob(self, name: str) -> Response:
        try:
            data = await asyncio.to_thread(self._exchange.blobs.get, name)
        except ValueError:
            data = None
        if data is None:
            raise _Answer(404, {"detail": ["no such blob"]})
        # their names are their digests: they never change
        headers = {
            "Cache-Control": "public, max-age=31536000, immutable",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox",
        }
        return Response(data, media_type="application/octet-stream", headers=headers)

    # ---- algorithms

    async def _list(self, request: Request, name: str | None = None) -> Response:
        self._user(request)
        found = await self._ask(self._registry.algorithms, name)
        show = self._shown(request, alias=name is not None)
        return _json({"data": [show(algorithm) for algorithm in found]})

    async def _add(self, request: Request) -> Response:
        self._user(request)
        form = await self._form(request, "algorithm", AlgorithmForm)
        added = await self._ask(self._registry.add, form)
        return _json({"data": self._shown(request)(added)}, 201)

    async def _show(self, request: Request, key: str) -> Response:
        algorithm = await self._find(request, key)
        return _json({"data": self._shown(request)(algorithm)})

    async def _change(self, request: Request, key: str) -> Response:
        algorithm = await self._find(request, key)
        changes = await self._form(request, "algorithm", dict[str, Any])
        changed = await self._ask(self._registry.change, algorithm, changes)
        return _json({"data": self._shown(request)(changed)})

    async def _versions(self, request: Request, key: str) -> Response:
        algorithm = await self._find(request, key)
        base = str(request.base_url).rstrip("/")
        return _json({"data": [self._version(base, each) for each in algorithm.versions]})

    async def _push(self, request: Request, key: str) -> Response:
        algorithm = await self._find(request, key)
        async with request.form(max_files=1, max_fields=8, max_part_size=MOST_BODY) as fields:
            said, package = fields.get("version"), fields.get("package")
            if isinstance(said, UploadFile):
                said = (await said.read()).decode("utf-8", "replace")
            form = _read(said or "", "version", VersionForm)
            if not isinstance(package, UploadFile):
                raise InvalidError("package", "is missing: NAME-VERSION.zip as a file")
            if (package.size or 0) > LARGEST:
                raise InvalidError("package", f"is larger than {LARGEST >> 20} MiB")
            data = await package.read()
        version = await self._ask(self._registry.push, algorithm, form, data)
        base = str(request.base_url).rstrip("/")
        return _json({"data": self._version(base, version)}, 201)

    async def _users(self, request: Request, key: str) -> Response:
        user = self._user(request)
        await self._find(request, key)
        return _json({"data": [{**self._person(user), "role": "OWNER"}]})

    async def _no_more_users(self, request: Request, key: str) -> Response:
        await self._find(request, key)
        raise InvalidError("user", "a loop-back cluster has one user")

    async def _find(self, request: Request, key: str) -> Algorithm:
        self._user(request)
        algorithm = await self._ask(self._registry.algorithm, key)
        if algorithm is None:
            raise _Answer(404, {"detail": ["no such algorithm"]})
        return algorithm

    async def _form(self, request: Request, name: str, kind: Any) -> Any:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BODY:
                raise InvalidError(name, f"is larger than {MOST_BODY >> 20} MiB")
        outer = _read(bytes(body), name, dict[str, msgspec.Raw])
        if name not in outer:
            raise InvalidError(name, "is missing")
        return _read(outer[name], name, kind)

    def _shown(self, request: Request, *, alias: bool = False) -> Callable[[Algorithm], Any]:
        base = str(request.base_url).rstrip("/")

        def show(algorithm: Algorithm) -> dict[str, Any]:
            versions = [self._version(base, version) for version in algorithm.versions]
            if alias and versions:
                # the earlier client asks for a version of this name when none is given
                versions.append({**versions[-1], "name": LATEST})
            return {**msgspec.structs.asdict(algorithm), "versions": versions}

        return show

    def _version(self, base: str, version: Version) -> dict[str, Any]:
        def url(digest: str) -> str:
            return f"{base}{BLOBS_PATH}{digest}"

        code = version.code
        loader = code.loader
        if loader is None:
            # the earlier client cannot do without one, and a WASI module does not mind one
            loader = self._exchange.blobs.put(NO_LOADER)
        return {
            "id": version.id,
            "name": version.name,
            "metadata": version.metadata,
            "inserted_at": version.inserted_at,
            "hash": version.hash,
            "wasm_url": url(code.wasm),
            "loader_url": url(loader),
            "data_url": None if code.data is None else url(code.data),
            "code": {"wasm": code.wasm, "loader": code.loader, "data": code.data},
        }


def _read(data: str | bytes | msgspec.Raw, name: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidError(name, f"is not as it should be: {error}") from None


async def _errors(_request: Request, error: Exception) -> Response:
    assert isinstance(error, _Answer)  # noqa: S101 - it is registered for that
    return _json({"errors": error.errors}, error.status)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidError)  # noqa: S101 - it is registered for that
    return _json({"errors": error.errors}, 422)


async def _http_errors(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for that
    return _json({"errors": {"detail": [str(error.detail)]}}, error.status_code)


async def _broken(_request: Request, error: Exception) -> Response:
    return _json({"errors": {"detail": [str(error)]}}, 500)
