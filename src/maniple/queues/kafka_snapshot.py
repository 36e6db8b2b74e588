"""The state of a Kafka queue as one record: nobody needs to read the journal from its start."""

from __future__ import annotations

import msgspec

from maniple.queues.kafka_ops import Place, ranges, spread
from maniple.queues.kafka_part import Claim, Note, Part, Ranges
from maniple.queues.kafka_state import Member, Tasks


class _Part(msgspec.Struct, array_like=True):
    number: int
    start: int
    fresh: int
    end: int
    back: list[tuple[int, float]]
    later: list[tuple[int, float]]
    failed: list[tuple[int, Place]]
    notes: list[tuple[int, int, int, int]]
    gone: list[int]
    marks: list[tuple[int, float]]


class _Claim(msgspec.Struct, array_like=True):
    id: int
    member: str
    seq: int
    deadline: float
    held: list[tuple[int, list[int]]]


class _Tasks(msgspec.Struct):
    now: float
    filler: str
    filler_until: float
    purges: int
    turn: int
    members: dict[str, Member]
    parts: list[_Part]
    claims: list[_Claim]


def save(tasks: Tasks) -> msgspec.Raw:
    """Write the whole state as JSON."""
    parts = [
        _Part(
            part.number,
            part.start,
            part.fresh,
            part.end,
            list(part.back.items()),
            list(part.later.items()),
            list(part.failed.items()),
            [(offset, *note) for offset, note in part.notes.items()],
            part.gone.flat,
            part.marks,
        )
        for part in tasks.parts.values()
    ]
    claims = [
        _Claim(
            claim.id,
            claim.member,
            claim.seq,
            claim.deadline,
            [(number, ranges(sorted(offsets))) for number, offsets in claim.held.items()],
        )
        for claim in tasks.claims.values()
    ]
    return msgspec.Raw(
        msgspec.json.encode(
            _Tasks(
                tasks.now,
                tasks.filler,
                tasks.filler_until,
                tasks.purges,
                tasks.turn,
                tasks.members,
                parts,
                claims,
            )
        )
    )


def load(text: msgspec.Raw) -> Tasks:
    """Read what `save` wrote."""
    found = msgspec.json.decode(text, type=_Tasks)
    tasks = Tasks()
    tasks.now = found.now
    tasks.filler, tasks.filler_until = found.filler, found.filler_until
    tasks.purges, tasks.turn = found.purges, found.turn
    tasks.members = found.members
    for kept in found.parts:
        part = tasks.parts[kept.number] = Part(kept.number, kept.start)
        part.fresh, part.end = kept.fresh, kept.end
        for offset, since in kept.back:
            part.give(offset, since)
        for offset, until in kept.later:
            tasks.delay(part, offset, until)
        part.failed = dict(kept.failed)
        part.notes = {offset: Note(*note) for offset, *note in kept.notes}
        part.gone = Ranges(kept.gone)
        part.marks = kept.marks
    for taken in found.claims:
        claim = Claim(taken.id, taken.member, taken.seq, taken.deadline)
        for number, flat in taken.held:
            offsets = claim.held[number] = set(spread(flat))
            tasks.parts[number].held.update(dict.fromkeys(offsets, claim))
        tasks.claim(claim)
    return tasks
