"""Whether the files that a call brings may go into a sandbox."""

from __future__ import annotations

import zipfile
from functools import lru_cache

from maniple.algorithm.call import Call
from maniple.algorithm.ends import End, Over, over
from maniple.algorithm.sandbox import Parts
from maniple.algorithm.zips import DAMAGED

_LINK = 0o120000
_KIND = 0o170000


def refused(call: Call, parts: Parts) -> End | None:
    """Say why a call cannot be started with its files; None when it can."""
    for path in call.files:
        if not path.startswith("/") or path.endswith("/") or _climbs(path):
            return End("bad file", f"not an absolute path of a file in the sandbox: {path[:200]!r}")
    total = sum(map(len, call.files.values()))
    count = len(call.files)
    if parts.data is not None:
        problem, size, entries = _zip(parts.data)
        if problem is not None:
            return End("bad file system", problem)
        total += size
        count += entries
    if total > call.limits.disk:
        return over(Over.DISK, call.limits)
    if count > call.limits.files:
        return over(Over.DISK, call.limits, files=True)
    return None


def _climbs(path: str) -> bool:
    return ".." in path.split("/") or "\0" in path


@lru_cache(maxsize=16)
def _zip(path: str) -> tuple[str | None, int, int]:
    """Look through a starting file system: what is wrong, bytes when unpacked, entries.

    Its path is the digest of its content, so what was found once stays true.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (*DAMAGED, OSError) as error:
        return f"the starting file system is no zip: {error}", 0, 0
    for entry in entries:
        name = entry.filename
        if name.startswith("/") or _climbs(name):
            return f"the starting file system reaches out: {name[:200]!r}", 0, 0
        if (entry.external_attr >> 16) & _KIND == _LINK:
            return f"the starting file system holds a link: {name[:200]!r}", 0, 0
    return None, sum(entry.file_size for entry in entries), len(entries)
