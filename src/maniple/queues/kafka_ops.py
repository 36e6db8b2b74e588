"""What is written in a Kafka queue's journal: who did what, one record for each batch.

Everyone who works on the queue reads the journal from its start, in the one order that the broker
gave it, and so comes to the same state (see `kafka_state`). A record is JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

VERSION: Final = 1


class Token(NamedTuple):
    """The mark of a lease: the journal's offset of its claim, and where the task is.

    Attributes:
        claim: offset of the record that took the task.
        partition: of the topic of tasks.
        offset: in that partition.
    """

    claim: int
    partition: int
    offset: int


Held = tuple[int, int, list[int]]
"""Tokens of one claim in one partition; the list is offsets: from, to (exclusive), from, to, ..."""

Place = int | tuple[int, float]
"""Where the failure of a task is: its offset among the failed ones, or lapses and time."""


class Op(msgspec.Struct, omit_defaults=True, kw_only=True, frozen=True):
    """One record.

    Attributes:
        v: the version of this format.
        member: who writes; a new random name for each queue object.
        seq: the member's records are numbered; one that is there twice counts once.
        do: what is done, see `State`.
        who: the identity of the member's process (see `maniple.owner`).
        ends: what is known of the tasks: partition, first offset, offset after the last.
        void: the seqs of earlier claims whose outcome the member never heard: they are given back.
        limit: how many tasks are taken at most.
        ttl: seconds that a claim lasts.
        delay: seconds that tasks stay away.
        attempted: whether the attempt counts.
        tasks: the tokens that this is about.
        places: of failures, in the order of `tasks`.
        state: which tasks are forgotten.
        members: who has died.
        snapshot: the state, as JSON, after the record at `covered`.
        covered: see there.
    """

    v: int = VERSION
    member: str
    seq: int
    do: str
    who: str = ""
    ends: list[tuple[int, int, int]] = []
    void: list[int] = []
    limit: int = 0
    ttl: float = 0.0
    delay: float = 0.0
    attempted: bool = True
    tasks: list[Held] | None = None
    places: list[Place] = []
    state: str = ""
    members: list[str] = []
    snapshot: msgspec.Raw = msgspec.Raw(b"null")
    covered: int = -1


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Op).decode


def ranges(offsets: Iterable[int]) -> list[int]:
    """Write sorted offsets as from, to (exclusive), from, to, ..."""
    found: list[int] = []
    for offset in offsets:
        if found and found[-1] == offset:
            found[-1] = offset + 1
        else:
            found += (offset, offset + 1)
    return found


def spread(found: list[int]) -> Iterator[int]:
    """Undo `ranges`."""
    for i in range(0, len(found), 2):
        yield from range(found[i], found[i + 1])


def pack(tokens: Iterable[Token]) -> list[Held]:
    """Group tokens by claim and partition. They come back from `unpack` in sorted order."""
    groups: dict[tuple[int, int], list[int]] = {}
    for claim, partition, offset in tokens:
        groups.setdefault((claim, partition), []).append(offset)
    return [(c, p, ranges(sorted(set(offsets)))) for (c, p), offsets in sorted(groups.items())]


def unpack(tasks: Iterable[Held]) -> Iterator[Token]:
    """Undo `pack`."""
    for claim, partition, found in tasks:
        for offset in spread(found):
            yield Token(claim, partition, offset)
