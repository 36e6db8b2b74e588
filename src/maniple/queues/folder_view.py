"""Looking at a shared folder: counts, lists and single tasks. Nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from maniple.queue import QueueStats, Record, State
from maniple.queues.folder_chunks import (
    DONE,
    LEASED,
    PENDING,
    Claim,
    Line,
    Log,
    chunk_of,
    claim_parts,
    count_of,
    decode_chunk,
    due_of,
    undelayed,
)
from maniple.queues.folder_files import Folder
from maniple.queues.folder_ids import Ids

_LOOKS: Final = 3


class View:
    """What is in the folder.

    Args:
        folder: the folder.
        ids: to look ids up.
        held: the claims of this process: what is in memory is newer than their logs.
        clock: by which their leases end.
        wall: seconds since the epoch; delays end by it.
    """

    def __init__(
        self,
        folder: Folder,
        ids: Ids,
        held: Mapping[str, Claim],
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._folder = folder
        self._ids = ids
        self._held = held
        self._clock = clock
        self._wall = wall

    def stats(self) -> QueueStats:
        """Count the tasks, from the names of files and from the logs of claims."""
        places = self._places()
        for _ in range(_LOOKS):
            # a chunk can slip from a place not yet looked at to one that was
            again = self._places()
            if again == places or any(again[p] for p in ("ready", "later", "leased")):
                places = again
                break
            places = again
        counts = dict.fromkeys(State, 0)
        now = self._wall()
        seen = set()
        for name in self._folder.names("done"):
            claim, _, done = name.rpartition("~")
            counts[State.DONE] += int(done)
            places["leased"].discard(claim)
        for claim in places["leased"]:
            seen.add(chunk_of(claim))
            self._count_claim(claim, counts)
        for chunk in places["ready"] - seen:
            counts[State.WAITING] += count_of(chunk)
        for name in places["later"]:
            if undelayed(name) not in seen:
                state = State.WAITING if due_of(name) <= now else State.DELAYED
                counts[state] += count_of(undelayed(name))
        failed = places["failed"] - seen
        counts[State.FAILED] += sum(map(count_of, failed))
        self._count_moving(places, counts, now)
        return QueueStats(
            waiting=counts[State.WAITING],
            delayed=counts[State.DELAYED],
            leased=counts[State.LEASED],
            done=counts[State.DONE],
            failed=counts[State.FAILED],
            oldest=self._oldest(min(places["ready"], default=None)),
        )

    def _places(self) -> dict[str, set[str]]:
        # in the order that chunks take
        order = ("tmp", "ready", "later", "leased", "failed")
        return {place: set(self._folder.names(place)) for place in order}

    def _count_claim(self, claim: str, counts: dict[State, int]) -> None:
        held = self._held.get(claim)
        if held is not None:
            now = self._clock()
            for state, deadline in zip(held.state, held.deadlines, strict=True):
                if state == DONE:
                    counts[State.DONE] += 1
                elif state == PENDING or (state == LEASED and deadline <= now):
                    counts[State.WAITING] += 1
                elif state == LEASED:
                    counts[State.LEASED] += 1
            return
        log = self._log_of(claim)
        for index in range(count_of(chunk_of(claim))):
            if index in log.done:
                counts[State.DONE] += 1
            elif index not in log.moved:
                counts[State.LEASED if log.handed_out(index) else State.WAITING] += 1

    def _count_moving(
        self, places: dict[str, set[str]], counts: dict[State, int], now: float
    ) -> None:
        """Count what was committed and not yet renamed; its owner may have died just then."""
        # a claim may have been taken over since, and its new owner died as well
        claims = {chunk_of(claim): claim for claim in places["leased"]}
        for temporary in places["tmp"]:
            parts = temporary.split("~")
            claim = claims.get(parts[0], "")
            if not claim or parts[3] == "logs":
                continue
            place, name = parts[3:]
            if name in places[place] or temporary not in self._log_of(claim).moves:
                continue
            state = {"ready": State.WAITING, "failed": State.FAILED}.get(place, State.DELAYED)
            if place == "later" and due_of(name) <= now:
                state = State.WAITING
            counts[state] += count_of(undelayed(name))

    def _log_of(self, claim: str) -> Log:
        return Log(self._folder.read_if_there("logs", claim) or b"")

    def _oldest(self, chunk: str | None) -> float | None:
        if chunk is None:
            return None
        try:
            return max(0.0, self._wall() - os.stat(self._folder.path("ready", chunk)).st_mtime)
        except FileNotFoundError:
            return None

    def records(self, state: State | None = None) -> Iterator[Record]:
        """Walk over the tasks; those that move meanwhile may be missed or seen twice."""
        now = self._wall()
        for place in ("ready", "later", "leased", "done", "failed"):
            for name in sorted(self._folder.names(place)):
                if self._may_hold(place, name, state, now):
                    for record in self._records_of(place, name, now):
                        if state is None or record.state is state:
                            yield record

    @staticmethod
    def _may_hold(place: str, name: str, state: State | None, now: float) -> bool:
        if state is None or place == "leased":
            return True
        found = {"ready": State.WAITING, "done": State.DONE, "failed": State.FAILED}.get(place)
        if found is None:
            found = State.WAITING if due_of(name) <= now else State.DELAYED
        return found is state

    def _records_of(self, place: str, name: str, now: float) -> Iterator[Record]:
        data = self._folder.read_if_there(place, name)
        if data is None:
            return
        try:
            lines = decode_chunk(data, count_of(chunk_of(undelayed(name))))
        except (ValueError, IndexError):
            return
        if place == "ready":
            state = State.WAITING
        elif place == "later":
            state = State.WAITING if due_of(name) <= now else State.DELAYED
        elif place == "failed":
            state = State.FAILED
        else:
            yield from self._records_claimed(place, name, lines)
            return
        for line in lines:
            yield Record(line.task(), state, line.failure)

    def _records_claimed(self, place: str, name: str, lines: list[Line]) -> Iterator[Record]:
        log = self._log_of("~".join(map(str, claim_parts(name))))
        for index, line in enumerate(lines):
            if index in log.moved:
                continue
            if place == "done" or index in log.done:
                state = State.DONE
            else:
                state = State.LEASED if log.handed_out(index) else State.WAITING
            yield Record(line.task(), state)

    def find(self, key: str) -> Record | None:
        """Look a task up by its number, or by its id or enough of its first digits."""
        if key.isdecimal() and (found := self._find_number(int(key))) is not None:
            return found
        numbers = self._ids.find(key) if key else []
        return self._find_number(numbers[0]) if len(numbers) == 1 else None

    def _find_number(self, number: int) -> Record | None:
        now = self._wall()
        for place in ("ready", "later", "leased", "failed", "done"):
            for name in self._folder.names(place):
                if not _may_have(chunk_of(undelayed(name)), number):
                    continue
                for record in self._records_of(place, name, now):
                    if record.task.number == number:
                        return record
        return None


def _may_have(chunk: str, number: int) -> bool:
    first, maker, count = chunk.split("-")
    if maker.startswith("fill") or int(count) == 1:
        return int(first) <= number < int(first) + int(count)
    return int(first) <= number
