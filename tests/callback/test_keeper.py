"""Leases that are kept alive while a user's code runs."""

import logging
import threading

from maniple.callback.keeper import Keeper
from maniple.errors import StorageError
from maniple.queues.memory import MemoryQueue
from support import until

TTL = 0.06
LONG = 60.0


class Watched(MemoryQueue):
    """A queue that tells when its leases are renewed, and whether two threads met in it.

    No lease lapses because a thread gets no processor: with each renewal most of its time goes by.
    """

    def __init__(self):
        self.now = 0.0
        super().__init__(clock=lambda: self.now)
        self.renewed = threading.Semaphore(0)
        self.busy = threading.Lock()
        self.broken = False

    def extend(self, leases, ttl):
        assert self.busy.acquire(blocking=False)
        try:
            if self.broken:
                raise StorageError("the disk is full")
            lost = super().extend(leases, ttl)
            self.now += 0.9 * ttl
            return lost
        finally:
            self.busy.release()
            self.renewed.release()

    def stats(self):
        assert self.busy.acquire(blocking=False)
        try:
            return super().stats()
        finally:
            self.busy.release()


def test_a_lease_outlives_its_time_as_long_as_it_is_kept():
    queue = Watched()
    queue.put(["a"])
    keeper = Keeper(queue, TTL)
    leases = keeper.lease(1, 0.0)
    for _ in range(6):
        queue.renewed.acquire()
    assert keeper.call(queue.lease, 1, LONG) == []
    assert keeper.ack(leases) == []
    assert queue.stats().done == 1
    keeper.close()


def test_calls_of_both_threads_never_meet_in_the_queue():
    queue = Watched()
    queue.put(["a"])
    keeper = Keeper(queue, 0.003)
    keeper.lease(1, 0.0)
    for _ in range(300):
        keeper.stats()
    queue.renewed.acquire()
    keeper.close()


def test_closing_gives_everything_back_as_not_attempted():
    queue = Watched()
    queue.put(["a", "b"])
    keeper = Keeper(queue, LONG)
    keeper.lease(2, 0.0)
    keeper.close()
    assert [lease.task.attempt for lease in queue.lease(9, LONG)] == [1, 1]


def test_a_queue_that_cannot_renew_is_complained_of_once_and_tried_again(caplog):
    queue = Watched()
    queue.put(["a"])
    queue.broken = True
    keeper = Keeper(queue, TTL)
    keeper.lease(1, 0.0)
    for _ in range(3):
        queue.renewed.acquire()
    keeper.close()
    assert [r.message for r in caplog.records] == ["leases could not be renewed: the disk is full"]


def test_a_lease_that_was_lost_is_said_and_renewed_no_more(caplog):
    caplog.set_level(logging.WARNING)
    queue = Watched()
    queue.put(["a"])
    keeper = Keeper(queue, TTL)
    (lease,) = keeper.lease(1, 0.0)
    keeper.call(queue.ack, [lease])
    until(lambda: "others may run it too" in caplog.text)
    keeper.close()
    assert queue.stats().done == 1


def test_closing_does_not_wait_for_a_call_that_hangs():
    queue = Watched()
    keeper = Keeper(queue, LONG)
    hangs, free = threading.Event(), threading.Event()
    thread = threading.Thread(target=keeper.call, args=(lambda: (hangs.set(), free.wait()),))
    thread.start()
    hangs.wait()
    keeper.close(patience=0.01)
    free.set()
    thread.join()
    keeper.close()
