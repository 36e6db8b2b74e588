"""The registry of algorithms, on the shelf of the local user."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec

from maniple.algorithm.blobs import Blobs, digest_of
from maniple.algorithm.call import Code
from maniple.algorithm.package import read_package, unpack
from maniple.algorithm.reference import Reference, check_word
from maniple.algorithm.shelf import Shelf
from maniple.errors import AlgorithmError, StorageError

CHARGES: Final = ("PER_EXECUTION", "PER_MINUTE")
_SPACE: Final = uuid.UUID("6d616e69-706c-5000-8000-616c676f7269")
_ENDING: Final = ".json"
_MOST_KNOWN: Final = 1024


class InvalidError(Exception):
    """What was sent cannot be taken.

    Attributes:
        errors: by field, in sentences.
    """

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field} {text}")
        self.errors = {field: [text]}


class Version(msgspec.Struct, frozen=True):
    """A published version.

    Attributes:
        id: never changes.
        name: such as `0.0.1`.
        metadata: what its author says of it.
        inserted_at: ISO 8601.
        hash: SHA-256 of the package.
        code: its parts, which the hub's store of blobs holds.
    """

    id: str
    name: str
    metadata: dict[str, Any]
    inserted_at: str
    hash: str
    code: Code


class Algorithm(msgspec.Struct, frozen=True):
    """A published algorithm; its versions in their order, the latest last."""

    id: str
    name: str
    is_public: bool
    cost: float
    charge_schema: str
    inserted_at: str
    versions: list[Version]


class AlgorithmForm(msgspec.Struct, omit_defaults=True):
    """What its owner says of an algorithm."""

    name: str = ""
    is_public: bool = False
    cost: float = 0.0
    charge_schema: str = CHARGES[0]


class VersionForm(msgspec.Struct, omit_defaults=True):
    """What its author says of a version."""

    name: str = ""
    metadata: dict[str, Any] = {}


class Registry(Protocol):
    """Keeps algorithms. Its calls may take a while: run them in a thread."""

    def algorithms(self, name: str | None = None) -> list[Algorithm]:
        """List all, or those of one name."""
        ...

    def algorithm(self, key: str) -> Algorithm | None:
        """Find one by its id."""
        ...

    def add(self, form: AlgorithmForm) -> Algorithm:
        """Publish a name.

        Raises:
            InvalidError: it is taken, or no name.
        """
        ...

    def change(self, algorithm: Algorithm, changes: dict[str, Any]) -> Algorithm:
        """Change what is said of an algorithm.

        Raises:
            InvalidError: a field cannot be so.
        """
        ...

    def push(self, algorithm: Algorithm, form: VersionForm, package: bytes) -> Version:
        """Publish a version.

        Raises:
            InvalidError: the package is none, is another's, or this version exists.
        """
        ...


class _Note(msgspec.Struct, omit_defaults=True):
    """The file beside the packages of a name: what no package says itself."""

    form: AlgorithmForm
    inserted_at: str
    metadata: dict[str, dict[str, Any]] = {}


class ShelfRegistry:
    """Of a loop-back hub: what is on the shelf is published, by and for the local user.

    Args:
        shelf: the packages.
        blobs: where their parts are put when somebody asks for them.
    """

    def __init__(self, shelf: Shelf, blobs: Blobs) -> None:
        self._shelf = shelf
        self._blobs = blobs
        self._known: dict[tuple[str, int, int], tuple[str, Code]] = {}

    def algorithms(self, name: str | None = None) -> list[Algorithm]:
        """List all, or those of one name."""
        packages = self._shelf.names()
        names = {*packages, *self._noted()}
        wanted = sorted(names) if name is None else [name] if name in names else []
        return [self._algorithm(each, packages.get(each, {})) for each in wanted]

    def algorithm(self, key: str) -> Algorithm | None:
        """Find one by its id."""
        for name in {*self._shelf.names(), *self._noted()}:
            if _id(name) == key:
                return self.algorithms(name)[0]
        return None

    def add(self, form: AlgorithmForm) -> Algorithm:
        """Publish a name; the package of one that only lies on the shelf is no obstacle.

        Raises:
            InvalidError: it is taken, or no name.
        """
        _check(form)
        if form.name in self._noted():
            raise InvalidError("name", "has already been taken")
        self._write(form.name, _Note(form, _now()))
        return self.algorithms(form.name)[0]

    def change(self, algorithm: Algorithm, changes: dict[str, Any]) -> Algorithm:
        """Change what is said of an algorithm.

        Raises:
            InvalidError: a field cannot be so.
        """
        note = self._read(algorithm.name) or _Note(
            AlgorithmForm(algorithm.name), algorithm.inserted_at
        )
        kept = {
            **msgspec.structs.asdict(note.form),
            **{field: value for field, value in changes.items() if field != "name"},
        }
        try:
            form = msgspec.convert(kept, AlgorithmForm)
        except msgspec.ValidationError as error:
            raise InvalidError("algorithm", str(error)) from None
        _check(form)
        note.form = form
        self._write(algorithm.name, note)
        return self.algorithms(algorithm.name)[0]

    def push(self, algorithm: Algorithm, form: VersionForm, package: bytes) -> Version:
        """Publish a version; the same package once more changes nothing, and is no error.

        Raises:
            InvalidError: the package is none, is another's, or this version has other content.
        """
        try:
            check_word("version", form.name)
        except AlgorithmError as error:
            raise InvalidError("name", str(error)) from None
        stem = f"{algorithm.name}-{form.name}"
        try:
            unpack(package, "the package", stem=stem)
            kept = self._shelf.add(package).code
        except AlgorithmError as error:
            raise InvalidError("package", str(error)) from None
        note = self._read(algorithm.name) or _Note(
            AlgorithmForm(algorithm.name), algorithm.inserted_at
        )
        note.metadata.setdefault(form.name, form.metadata)
        self._write(algorithm.name, note)
        for version in self.algorithms(algorithm.name)[0].versions:
            if version.name == form.name and version.code == kept:
                return version
        where = self._shelf.path_of(Reference(algorithm.name, form.name))
        raise InvalidError(
            "package", f"{algorithm.name}@{form.name} is found as {where} first, with other content"
        )

    def _algorithm(self, name: str, packages: dict[str, str]) -> Algorithm:
        note = self._read(name)
        versions = []
        for version, path in packages.items():
            try:
                data_hash, code, inserted_at = self._unpacked(path)
            except (AlgorithmError, OSError):
                # a damaged file beside others must not hide them
                continue
            metadata = {} if note is None else note.metadata.get(version, {})
            versions.append(
                Version(_id(f"{name}@{version}"), version, metadata, inserted_at, data_hash, code)
            )
        inserted_at = versions[0].inserted_at if versions else _now()
        form = AlgorithmForm(name) if note is None else note.form
        return Algorithm(
            _id(name),
            name,
            form.is_public,
            form.cost,
            form.charge_schema,
            inserted_at if note is None else note.inserted_at,
            versions,
        )

    def _unpacked(self, path: str) -> tuple[str, Code, str]:
        """Read a package, once; put its parts where they can be served."""
        status = os.stat(path)
        key = os.path.abspath(path), status.st_mtime_ns, status.st_size
        known = self._known.get(key)
        if known is None or not all(digest in self._blobs for digest in known[1].digests):
            package = read_package(path)
            for part in (package.wasm, package.loader, package.data):
                if part is not None:
                    self._blobs.put(part)
            with open(path, "rb") as file:
                known = digest_of(file.read()), package.code
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = known
        return *known, datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="seconds")

    @property
    def _folder(self) -> str:
        return self._shelf.folders[-1]

    def _noted(self) -> list[str]:
        try:
            entries = os.listdir(self._folder)
        except OSError:
            return []
        return [entry.removesuffix(_ENDING) for entry in entries if entry.endswith(_ENDING)]

    def _read(self, name: str) -> _Note | None:
        try:
            with open(os.path.join(self._folder, name + _ENDING), "rb") as file:
                return msgspec.json.decode(file.read(), type=_Note)
        except (OSError, msgspec.DecodeError):
            return None

    def _write(self, name: str, note: _Note) -> None:
        path = os.path.join(self._folder, name + _ENDING)
        new = f"{path}.{os.getpid()}.new"
        try:
            os.makedirs(self._folder, exist_ok=True)
            with open(new, "wb") as file:
                file.write(msgspec.json.encode(note))
            os.replace(new, path)
        except OSError as error:
            raise StorageError(f"cannot write to {self._folder}: {error.strerror}") from None


def _check(form: AlgorithmForm) -> None:
    try:
        check_word("name", form.name)
    except AlgorithmError as error:
        raise InvalidError("name", str(error)) from None
    if form.charge_schema not in CHARGES:
        raise InvalidError("charge_schema", f"must be {' or '.join(CHARGES)}")
    if not 0 <= form.cost < float("inf"):
        raise InvalidError("cost", "must be 0 or more")


def _id(name: str) -> str:
    return str(uuid.uuid5(_SPACE, name))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
