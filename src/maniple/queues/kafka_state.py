"""What the journal of a Kafka queue comes to: every task's state, the same for all who read it.

Nothing here looks at a clock or at the network: time is the broker's time of each record. So all
who have applied the same records agree, and who comes first in the journal gets the task.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Any, Final

import msgspec

from maniple.queue import MAX_LAPSES, State
from maniple.queues.kafka_ops import Held, Op, Token, pack, unpack
from maniple.queues.kafka_part import NEW, NOBODY, Claim, Part

REPEATED: Final = "repeated"
FORGET_MEMBERS_SECONDS: Final = 86400.0


class Member(msgspec.Struct):
    """One who has written into the journal.

    Attributes:
        who: its process.
        seq: the number of its last record.
        seen: when that was.
        lost: the tokens of that record that were not the member's any more.
        count: what else came of it.
    """

    who: str
    seq: int = 0
    seen: float = 0.0
    lost: list[Held] = []
    count: int = 0


class Tasks:
    """The state. `apply` is the only way to change it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.parts: dict[int, Part] = {}
        self.members: dict[str, Member] = {}
        # who alone may put tasks, and until when
        self.filler = ""
        self.filler_until = 0.0
        self.purges = 0
        self.turn = 0
        self.claims: dict[int, Claim] = {}
        self._serial = 0
        # these heaps may hold stale items: the sets tell what holds now
        self._deadlines: list[tuple[float, int]] = []
        self._later: list[tuple[float, int, int]] = []

    def apply(self, op: Op, at: int, now: float) -> Any:
        """Apply a record.

        Args:
            op: the record.
            at: its offset.
            now: the time that the broker gave it, in seconds.

        Returns:
            What its author wants to know, or REPEATED when it had been applied before.
        """
        self.now = now = max(self.now, now)
        member = self.members.get(op.member)
        if member is None:
            member = self.members[op.member] = Member(op.who)
        elif op.seq <= member.seq:
            return REPEATED
        member.seq, member.seen = op.seq, now
        for number, first, end in op.ends:
            part = self.parts.get(number)
            if part is None:
                part = self.parts[number] = Part(number, first)
            part.grow(first, end, now)
        self._tidy()
        if op.void:
            self._release([c for c in self._of(op.member) if c.seq in op.void])
        does = getattr(self, f"_do_{op.do}", None)
        result = None if does is None else does(op, at)
        # for an author who sleeps until its record is known from a snapshot only
        member.lost = pack(result) if isinstance(result, list) and result else []
        member.count = int(result) if isinstance(result, int) else 0
        return result

    def due(self) -> float | None:
        """Return the time at which something comes back by itself, or None."""
        while self._deadlines:
            if self._deadlines[0][1] in self.claims:
                break
            heappop(self._deadlines)
        while self._later:
            until, number, offset = self._later[0]
            if self.parts[number].later.get(offset) == until:
                break
            heappop(self._later)
        return min((heap[0][0] for heap in (self._deadlines, self._later) if heap), default=None)

    def waiting(self) -> int:
        """Count the tasks that can be leased now."""
        return sum(part.waiting for part in self.parts.values())

    def holders(self) -> set[str]:
        """Name the members that hold tasks, or the right to put some."""
        found = {claim.member for claim in self.claims.values()}
        return found | {self.filler} if self.filler else found

    def claim(self, claim: Claim) -> None:
        """Keep a claim, and see to it that it lapses."""
        self._serial += 1
        claim.serial = self._serial
        self.claims[claim.serial] = claim
        heappush(self._deadlines, (claim.deadline, claim.serial))

    def delay(self, part: Part, offset: int, until: float) -> None:
        """Have a task wait until a time."""
        part.later[offset] = until
        heappush(self._later, (until, part.number, offset))

    def _of(self, member: str) -> list[Claim]:
        return [claim for claim in self.claims.values() if claim.member == member]

    def _tidy(self) -> None:
        """Let delays end and claims lapse."""
        now = self.now
        while self._later and self._later[0][0] <= now:
            until, number, offset = heappop(self._later)
            part = self.parts[number]
            if part.later.get(offset) == until:
                del part.later[offset]
                part.give(offset, now)
        while self._deadlines and self._deadlines[0][0] <= now:
            claim = self.claims.get(heappop(self._deadlines)[1])
            if claim is not None:
                self._lapse(claim)
        if self.filler and self.filler_until <= now:
            self.filler = ""

    def _lapse(self, claim: Claim) -> None:
        del self.claims[claim.serial]
        for number, offsets in claim.held.items():
            part = self.parts[number]
            for offset in sorted(offsets):
                del part.held[offset]
                note = part.notes.get(offset, NEW)
                lapses = note.lapses + 1
                part.note(offset, note._replace(lapses=lapses, last=claim.id))
                if lapses > MAX_LAPSES:
                    part.failed[offset] = (lapses, self.now)
                else:
                    part.give(offset, self.now)

    def _release(self, claims: list[Claim]) -> None:
        """Give back what was claimed, as if nobody had held it."""
        for claim in claims:
            del self.claims[claim.serial]
            for number, offsets in claim.held.items():
                part = self.parts[number]
                for offset in sorted(offsets):
                    del part.held[offset]
                    part.give(offset, self.now)

    def _ours(
        self, tasks: list[Held] | None, lost: list[Token]
    ) -> Iterator[tuple[Part, Token, Any]]:
        """Walk over the tasks of these tokens that are the tokens' still, and take them out.

        Gives the set that each one was in; those that others have now go to `lost`.
        """
        for token in unpack(tasks or ()):
            claim_id, number, offset = token
            part = self.parts.get(number)
            if part is None:
                lost.append(token)
                continue
            claim = part.held.get(offset)
            if claim is not None:
                if claim.id != claim_id:
                    lost.append(token)
                    continue
                del part.held[offset]
                held = claim.held[number]
                held.discard(offset)
                if not held:
                    del claim.held[number]
                    if not claim.held:
                        del self.claims[claim.serial]
                yield part, token, part.held
                continue
            note = part.notes.get(offset, NEW)
            if note.last != claim_id or note.last == NOBODY:
                lost.append(token)
            elif offset in part.back:
                del part.back[offset]
                yield part, token, part.back
            elif offset in part.failed:
                del part.failed[offset]
                yield part, token, part.failed
            else:
                lost.append(token)

    # What records do

    def _do_lease(self, op: Op, at: int) -> Claim | None:
        claim = Claim(at, op.member, op.seq, self.now + op.ttl)
        left = op.limit
        parts = [self.parts[number] for number in sorted(self.parts)]
        self.turn += 1
        for i in range(len(parts)):
            if left > 0:
                left -= parts[(self.turn + i) % len(parts)].take(left, claim)
        if not claim.held:
            return None
        self.claim(claim)
        return claim

    def _do_extend(self, op: Op, at: int) -> list[Token]:  # noqa: ARG002
        lost: list[Token] = []
        renewed: dict[int, Claim] = {}
        for part, token, was in self._ours(op.tasks, lost):
            offset = token.offset
            if was is part.failed:
                part.failed[offset] = (part.notes[offset].lapses, self.now)
                lost.append(token)
                continue
            claim = renewed.get(token.claim)
            if claim is None:
                claim = Claim(token.claim, op.member, NOBODY, self.now + op.ttl)
                renewed[token.claim] = claim
            note = part.notes.get(offset, NEW)
            part.note(offset, note._replace(last=NOBODY))
            part.held[offset] = claim
            claim.held.setdefault(part.number, set()).add(offset)
        for claim in renewed.values():
            self.claim(claim)
        return lost

    def _do_ack(self, op: Op, at: int) -> list[Token]:  # noqa: ARG002
        lost: list[Token] = []
        for part, (_, _, offset), _ in self._ours(op.tasks, lost):
            part.notes.pop(offset, None)
        return lost

    def _do_nack(self, op: Op, at: int) -> list[Token]:  # noqa: ARG002
        lost: list[Token] = []
        for part, (_, _, offset), was in self._ours(op.tasks, lost):
            note = part.notes.get(offset, NEW)
            if was is part.failed:
                part.failed[offset] = (note.lapses, self.now)
                continue
            part.note(offset, note._replace(attempt=note.attempt + op.attempted, last=NOBODY))
            if op.delay > 0:
                self.delay(part, offset, self.now + op.delay)
            else:
                part.give(offset, self.now)
        return lost

    def _do_fail(self, op: Op, at: int) -> list[Token]:  # noqa: ARG002
        lost: list[Token] = []
        place = {t[1:]: p for t, p in zip(unpack(op.tasks or ()), op.places, strict=True)}
        for part, (_, _, offset), _ in self._ours(op.tasks, lost):
            part.failed[offset] = place[part.number, offset]
            part.note(offset, part.notes.get(offset, NEW)._replace(last=NOBODY))
        return lost

    def _do_gone(self, op: Op, at: int) -> list[Token]:  # noqa: ARG002
        lost: list[Token] = []
        for part, (_, _, offset), _ in self._ours(op.tasks, lost):
            part.notes.pop(offset, None)
            part.gone.add(offset, offset + 1)
        return lost

    def _do_dead(self, op: Op, at: int) -> None:  # noqa: ARG002
        for member in op.members:
            for claim in self._of(member):
                self._lapse(claim)
            self._forget(member)

    def _do_bye(self, op: Op, at: int) -> None:  # noqa: ARG002
        self._release(self._of(op.member))
        self._forget(op.member)

    def _forget(self, member: str) -> None:
        if self.filler == member:
            self.filler = ""
        # what one sent before may still be on its way: its number must be known for a while
        before = self.now - FORGET_MEMBERS_SECONDS
        old = {name for name, member in self.members.items() if member.seen < before}
        for name in old - self.holders():
            del self.members[name]

    def _do_fill(self, op: Op, at: int) -> bool:  # noqa: ARG002
        if self.filler not in {"", op.member}:
            return False
        self.filler, self.filler_until = op.member, self.now + op.ttl
        return True

    def _do_filled(self, op: Op, at: int) -> None:  # noqa: ARG002
        if self.filler == op.member:
            self.filler = ""

    def _do_retry(self, op: Op, at: int) -> int:  # noqa: ARG002
        chosen: dict[int, list[int]] = {}
        if op.tasks is None:
            chosen = {number: sorted(part.failed) for number, part in self.parts.items()}
        for _, number, offset in unpack(op.tasks or ()):
            if number in self.parts and offset in self.parts[number].failed:
                chosen.setdefault(number, []).append(offset)
        for number, offsets in chosen.items():
            part = self.parts[number]
            for offset in offsets:
                del part.failed[offset]
                part.notes.pop(offset, None)
                part.give(offset, self.now)
        return sum(map(len, chosen.values()))

    def _do_purge(self, op: Op, at: int) -> int:  # noqa: ARG002
        before = sum(part.gone.total for part in self.parts.values())
        for part in self.parts.values():
            self._purge(part, op.state)
        self.purges += 1
        return sum(part.gone.total for part in self.parts.values()) - before

    @staticmethod
    def _purge(part: Part, state: str) -> None:
        gone: list[int] = []
        for name, known in (
            (State.WAITING, part.back),
            (State.DELAYED, part.later),
            (State.FAILED, part.failed),
        ):
            if state in {"", name}:
                gone += known
                known.clear()
        for offset in gone:
            part.gone.add(offset, offset + 1)
            part.notes.pop(offset, None)
        if state in {"", State.DONE}:
            for first, after in list(part.finished()):
                part.gone.add(first, after)
        if state in {"", State.WAITING} and part.fresh < part.end:
            part.gone.add(part.fresh, part.end)
            part.fresh = part.end
            part.marks.clear()
