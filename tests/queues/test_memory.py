"""What a queue in memory does beyond the conformance suite."""

import threading

from maniple.queue import State
from maniple.queues.memory import MemoryQueue


def test_many_threads_may_share_it():
    queue = MemoryQueue()
    queue.put(range(1000))
    found = []

    def drain():
        while leases := queue.lease(7, 60.0):
            found.extend(lease.task.param for lease in leases)
            queue.ack(leases)

    threads = [threading.Thread(target=drain) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1000))


def test_it_can_forget_what_is_done_and_still_count_it():
    queue = MemoryQueue(keep_done=False)
    queue.put(["a", "b"])
    queue.ack(queue.lease(1, 60.0))
    assert queue.stats().done == 1
    assert list(queue.records(State.DONE)) == []


def test_the_oldest_waiting_task_is_known():
    now = [100.0]
    queue = MemoryQueue(clock=lambda: now[0])
    assert queue.stats().oldest is None
    queue.put(["a"])
    now[0] = 107.0
    queue.put(["b"])
    assert queue.stats().oldest == 7.0
    queue.lease(1, 60.0)
    assert queue.stats().oldest == 0.0
