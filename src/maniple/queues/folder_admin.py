"""What a person asks of a shared folder now and then: retry what failed, forget what is over.

Both claim the chunks they change, as a minion does. Whoever takes over from one that was killed
puts failed tasks back among the failed.
"""

from __future__ import annotations

from maniple.queue import State
from maniple.queues.folder_chunks import (
    Claim,
    Log,
    chunk_of,
    claim_parts,
    count_of,
    decode_chunk,
    due_of,
    encode_line,
)
from maniple.queues.folder_claims import Claims
from maniple.queues.folder_files import Folder
from maniple.queues.folder_fill import Filler


def retry(
    folder: Folder, claims: Claims, ids: frozenset[str] | None, now: float
) -> tuple[int, list[str]]:
    """Make failed tasks (all, or these ids) new again.

    Returns:
        How many, and the names of the chunks that are ready now.
    """
    count = 0
    names: list[str] = []
    for name in sorted(folder.names("failed")):
        if ids is not None and not _holds(folder, name, ids):
            continue
        claim = claims.take("failed", name, now)
        if claim is None:
            continue
        again: list[int] = []
        others: list[int] = []
        for index, line in enumerate(claim.lines):
            (again if ids is None or line.id in ids else others).append(index)
        parts = []
        if again:
            lines = [encode_line(claim.lines[index].task(), 1, 0) for index in again]
            parts.append(("ready", again, lines, None))
        if others:
            lines = [claim.line(i, failure=claim.lines[i].failure) for i in others]
            parts.append(("failed", others, lines, None))
        moved = claims.move(claim, parts)
        if moved and again:
            names.append(moved[0])
            count += len(again)
    return count, names


def _holds(folder: Folder, name: str, ids: frozenset[str]) -> bool:
    data = folder.read_if_there("failed", name)
    # the ids stand in the file as they are
    return data is not None and any(text.encode() in data for text in ids)


def purge(
    folder: Folder, claims: Claims, filler: Filler, state: State | None, now: float, wall: float
) -> int:
    """Forget the tasks of a state, or all that nobody holds; return how many."""
    taken: list[Claim] = []
    if state in {None, State.WAITING}:
        taken += _take_all(claims, "ready", folder.names("ready"), now)
    if state in {None, State.WAITING, State.DELAYED}:
        later = folder.names("later")
        if state is not None:
            late = state is State.DELAYED
            later = [name for name in later if (due_of(name) > wall) is late]
        taken += _take_all(claims, "later", later, now)
    if state in {None, State.FAILED}:
        taken += _take_all(claims, "failed", folder.names("failed"), now)
    done = folder.names("done") if state in {None, State.DONE} else []
    ids = [line.id for claim in taken for line in claim.lines]
    for name in done:
        ids += _done_ids(folder, name)
    if not ids:
        return 0
    try:
        filler.forget(ids)
    except BaseException:
        # not ours to hand out: who takes over once we are silent puts them back where they were
        for claim in taken:
            claims.lose(claim)
        raise
    for claim in taken:
        claims.discard(claim)
    for name in done:
        folder.remove("done", name)
        folder.remove("logs", _log_name(name))
    return len(ids)


def _take_all(claims: Claims, place: str, names: list[str], now: float) -> list[Claim]:
    found = (claims.take(place, name, now) for name in sorted(names))
    return [claim for claim in found if claim is not None]


def _log_name(done: str) -> str:
    return "~".join(map(str, claim_parts(done)))


def _done_ids(folder: Folder, name: str) -> list[str]:
    data = folder.read_if_there("done", name)
    if data is None:
        return []
    log = Log(folder.read_if_there("logs", _log_name(name)) or b"")
    lines = decode_chunk(data, count_of(chunk_of(name)))
    return [line.id for index, line in enumerate(lines) if index not in log.moved]
