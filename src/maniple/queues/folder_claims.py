"""Claiming chunks of a shared folder, settling their tasks, and taking over from the dead.

Every step is safe against a kill at any point, and against an owner that was taken for dead and
goes on: it commits in its log and only then looks whether the claim is still its own. Whoever takes
over renames the claim first and reads that log afterwards, so either it sees the commit, or the
owner sees that the claim is gone and reports its leases as lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from maniple.errors import StorageError
from maniple.queues.folder_chunks import (
    DONE,
    MOVED,
    Claim,
    Log,
    chunk_name,
    chunk_of,
    claim_parts,
    count_of,
    decode_chunk,
    later_name,
    record,
    undelayed,
)
from maniple.queues.folder_files import Folder


class Claims:
    """The claims of one queue object.

    Attributes:
        held: by the name of their files.
        damaged: chunks that we had to set aside.
    """

    def __init__(self, folder: Folder, owner: str) -> None:
        self._folder = folder
        self._owner = owner
        self._moved = 0
        self.held: dict[str, Claim] = {}
        self.damaged: list[str] = []

    def take(self, place: str, name: str, now: float) -> Claim | None:
        """Claim a chunk of ready/, later/ or failed/; None when somebody else was faster."""
        claim = f"{undelayed(name)}~0~{self._owner}"
        if not self._folder.move(place, name, "leased", claim):
            return None
        return self._hold(claim, now, None)

    def take_over(self, name: str, now: float) -> Claim | None:
        """Take a claim from a dead owner; None when somebody else was faster."""
        folder = self._folder
        chunk, times, _ = claim_parts(name)
        new = f"{chunk}~{times + 1}~{self._owner}"
        if not folder.move("leased", name, "leased", new):
            return None
        logs = sorted(
            (log for log in folder.names("logs") if chunk_of(log) == chunk),
            key=lambda log: claim_parts(log)[1],
        )
        log = Log()
        if logs:
            # a log starts with a summary of those before it
            log = Log(folder.read_if_there("logs", logs[-1]) or b"")
        for index in range(count_of(chunk)):
            if log.handed_out(index) and index not in log.done and index not in log.moved:
                log.lapses[index] = log.lapses.get(index, 0) + 1
        # the former owner may still write in its log: what was read is what counts from now on
        temporary = f"{new}~logs~{new}"
        folder.write("tmp", temporary, log.summary())
        folder.move("tmp", temporary, "logs", new)
        if not folder.has("leased", new):
            return None
        self._finish_moves(chunk, times, log.moves)
        for old in logs:
            folder.remove("logs", old)
        return self._hold(new, now, log)

    def _finish_moves(self, chunk: str, times: int, moves: Sequence[str]) -> None:
        committed = set(moves)
        for name in self._folder.names("tmp"):
            if chunk_of(name) != chunk:
                continue
            if name in committed:
                self._put_in_place(name)
            elif claim_parts(name)[1] <= times:
                self._folder.remove("tmp", name)

    def _put_in_place(self, temporary: str) -> None:
        _, _, _, place, name = temporary.split("~")
        self._folder.move("tmp", temporary, place, name)

    def _hold(self, name: str, now: float, log: Log | None) -> Claim | None:
        folder = self._folder
        data = folder.read_if_there("leased", name)
        if data is None:
            return None
        chunk = chunk_of(name)
        try:
            lines = decode_chunk(data, count_of(chunk))
        except (ValueError, IndexError) as error:
            folder.move("leased", name, "damaged", name)
            self.damaged.append(chunk)
            _warn("a damaged file of tasks was set aside", folder.path("damaged", name), error)
            return None
        claim = self.held[name] = Claim(name, lines, now, log)
        if claim.unsettled == 0:
            self._finish(claim, claim.done)
            return None
        return claim

    def write(self, claim: Claim, *fields: object) -> None:
        """Add to the log of a claim, without asking whether it is still ours."""
        self._folder.append("logs", claim.name, record(*fields))
        claim.logged = True

    def is_ours(self, claim: Claim) -> bool:
        """Look whether nobody took a claim over."""
        if not claim.lost and not self._folder.has("leased", claim.name):
            self.lose(claim)
        return not claim.lost

    def lose(self, claim: Claim) -> None:
        """Note that somebody else took a claim over."""
        claim.lost = True
        self.held.pop(claim.name, None)

    def acknowledge(self, claim: Claim, indices: list[int]) -> bool:
        """Mark tasks done; False when the claim is ours no more."""
        if len(indices) == claim.unsettled:
            ours = self._finish(claim, claim.done + len(indices))
            claim.settle(indices, DONE)
            return ours
        self.write(claim, "a", indices)
        if not self.is_ours(claim):
            return False
        claim.settle(indices, DONE)
        return True

    def move(
        self, claim: Claim, parts: Sequence[tuple[str, list[int], list[bytes], float | None]]
    ) -> list[str]:
        """Move tasks elsewhere, as new chunks.

        Args:
            claim: the claim that holds them.
            parts: of each new chunk its place, the tasks, their lines, and when it is due.

        Returns:
            The names of the new chunks; none when the claim is ours no more.
        """
        folder = self._folder
        temporaries = []
        records = b""
        for place, indices, lines, due in parts:
            self._moved += 1
            first = min(claim.lines[index].number for index in indices)
            name = chunk_name(first, f"{self._owner}.{self._moved}", len(indices))
            if due is not None:
                name = later_name(due, name)
            temporary = f"{claim.name}~{place}~{name}"
            folder.write("tmp", temporary, b"".join(lines))
            temporaries.append(temporary)
            records += record("m", temporary, indices)
        if not records:
            return []
        folder.append("logs", claim.name, records)
        claim.logged = True
        if not self.is_ours(claim):
            # who took over decides what our files in tmp/ are worth
            return []
        for temporary in temporaries:
            self._put_in_place(temporary)
        claim.moves += temporaries
        for _, indices, _, _ in parts:
            claim.settle(indices, MOVED)
        if claim.unsettled == 0:
            self._finish(claim, claim.done)
        return [temporary.rpartition("~")[2] for temporary in temporaries]

    def _finish(self, claim: Claim, done: int) -> bool:
        """Let go of a claim all of whose tasks are settled, `done` of them acknowledged.

        False when it was taken over.
        """
        folder = self._folder
        if done == 0:
            folder.remove("leased", claim.name)
        elif not folder.move("leased", claim.name, "done", f"{claim.name}~{done}"):
            self.lose(claim)
            return False
        # a finished chunk needs its log only to tell which of its tasks went elsewhere
        if claim.logged and not (done and claim.moves):
            folder.remove("logs", claim.name)
        self.held.pop(claim.name, None)
        return True

    def discard(self, claim: Claim) -> None:
        """Remove a claim with all that is in it."""
        self._folder.remove("leased", claim.name)
        if claim.logged:
            self._folder.remove("logs", claim.name)
        self.held.pop(claim.name, None)

    def report_damage(self) -> None:
        """Say once that something had to be set aside.

        Raises:
            StorageError: something was.
        """
        if self.damaged:
            count = len(self.damaged)
            self.damaged.clear()
            raise StorageError(
                f"{count} damaged file(s) of tasks in {self._folder.root}: they were set aside in"
                " damaged/; all other tasks are not affected"
            )


def _warn(what: str, path: str, error: Exception) -> None:
    import logging

    logging.getLogger(__name__).warning("%s: %s (%s)", what, path, error)
