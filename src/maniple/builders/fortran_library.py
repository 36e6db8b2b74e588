"""The sources of libf2c, Fortran's run-time library, made ready to be compiled for WASI.

They are fetched when a machine is set up (scripts/brokers/fortran, or what the message below says),
as Debian's source package, and unpacked once into our cache folder. Their licence is AT&T's, a
permissive one.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from typing import Final, NamedTuple

from maniple.algorithm.blobs import digest_of
from maniple.algorithm.shelf import cache_folder
from maniple.errors import AlgorithmError, StorageError

PLACE: Final = "MANIPLE_LIBF2C"
ARCHIVE: Final = "libf2c2_20140711.orig.tar.xz"
DIGEST: Final = "348c21e93752fd93d80ac5cc75f2e34e09bd7de3ae1aa3539eb8005c5a7e61d6"

_OURS: Final = ("main.c", "subroutines.c")
# for other machines and other languages than these; main.c has ours in its place
_LEFT_OUT: Final = frozenset({"main.c", "arithchk.c", "uninit.c", "ef1asc_.c", "ef1cmc_.c"})
# our subroutines.c includes them
_INCLUDED: Final = frozenset(
    {"exit_.c", "f77_aloc.c", "getarg_.c", "getenv_.c", "s_cat.c", "s_copy.c"}
)
_RENAMED: Final = {"f2c.h0": "f2c.h", "signal1.h0": "signal1.h", "sysdep1.h0": "sysdep1.h"}
# what libf2c's arithchk would find out by running on the machine: IEEE 754, little end first
_ARITHMETIC: Final = b"#define IEEE_8087\n#define Arith_Kind_ASL 1\n"


class Library(NamedTuple):
    """A folder with headers and sources, and the paths of the sources in their order."""

    folder: str
    sources: list[str]


def unpacked_library(environment: Mapping[str, str]) -> Library:
    """Find libf2c, unpacked; unpack it where it is not yet.

    Args:
        environment: where `MANIPLE_LIBF2C` may name the archive, or the folder that it is in.

    Raises:
        AlgorithmError: it is not there, or is another one.
        StorageError: it cannot be unpacked.
    """
    ours = files("maniple.builders").joinpath("fortran_runtime")
    written = {name: ours.joinpath(name).read_bytes() for name in _OURS}
    cache = cache_folder(environment)
    form = digest_of(b"".join([DIGEST.encode(), *written.values()]))[:16]
    folder = os.path.join(cache, f"libf2c-{form}")
    if not os.path.isdir(folder):
        contents = _contents(_archive(environment, cache))
        try:
            _write(folder, {**contents, **written, "arith.h": _ARITHMETIC})
        except OSError as error:
            raise StorageError(
                f"cannot unpack libf2c into {folder}: {error.strerror} (MANIPLE_CACHE may name"
                " another folder)"
            ) from None
    names = {name for name in os.listdir(folder) if name.endswith(".c")} - _INCLUDED
    return Library(folder, [os.path.join(folder, name) for name in sorted(names)])


def _archive(environment: Mapping[str, str], cache: str) -> str:
    named = environment.get(PLACE)
    path = named or cache
    if os.path.isdir(path):
        path = os.path.join(path, ARCHIVE)
    try:
        with open(path, "rb") as file:
            digest = digest_of(file.read())
    except OSError:
        where = f"${PLACE} names {named}, where it is not" if named else f"it is not in {cache}"
        raise AlgorithmError(
            f"Fortran needs the sources of its run-time library, {ARCHIVE}, and {where}: run"
            " `apt-get source --download-only libf2c2` (with a line deb-src among apt's sources)"
            f" and name the file in ${PLACE}"
        ) from None
    if digest != DIGEST:
        raise AlgorithmError(
            f"{path} is not the {ARCHIVE} that is known here: its SHA-256 is {digest}, not {DIGEST}"
        )
    return path


def _contents(archive: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            name = os.path.basename(member.name)
            name = _RENAMED.get(name, name)
            if not name.endswith((".c", ".h")) or name in _LEFT_OUT:
                continue
            file = tar.extractfile(member)
            if file is not None:
                found[name] = file.read()
    return found


def _write(folder: str, contents: Mapping[str, bytes]) -> None:
    """Make the folder with all its files, or not at all; others may do the same meanwhile."""
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(folder)) as temporary:
        new = os.path.join(temporary, "new")
        os.mkdir(new)
        for name, data in contents.items():
            with open(os.path.join(new, name), "wb") as file:
                file.write(data)
        try:
            os.rename(new, folder)
        except OSError:
            if not os.path.isdir(folder):
                raise
        shutil.rmtree(new, ignore_errors=True)
