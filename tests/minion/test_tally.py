"""The numbers that a crew's processes share."""

import os

from maniple.minion.tally import Count, Tally


def test_what_a_forked_process_counts_is_seen_here():
    tally = Tally(2)
    pid = os.fork()
    if pid == 0:
        tally.add(2, Count(done=3, failed=1))
        tally.running(2, 4711)
        tally.halt()
        os._exit(0)
    os.waitpid(pid, 0)
    tally.add(1, Count(done=1, retried=2, returned=5))
    assert tally.of(2) == Count(done=3, failed=1)
    assert tally.total() == Count(done=4, failed=1, retried=2, returned=5)
    assert tally.groups() == [4711]
    assert tally.halted


def test_slots_do_not_touch_each_other():
    tally = Tally(3)
    tally.add(2, Count(1, 2, 3, 4))
    tally.running(1, 7)
    tally.running(3, 9)
    tally.running(3, 0)
    assert tally.groups() == [7]
    assert tally.starting() == []
    tally.running(2, -11)
    assert tally.groups() == [7]
    assert tally.starting() == [11]
    assert [tally.of(slot) for slot in (1, 2, 3)] == [Count(), Count(1, 2, 3, 4), Count()]


def test_a_queue_may_be_filled_while_it_is_emptied():
    tally = Tally()
    assert not tally.filling
    tally.filling = True
    assert tally.filling
    tally.filling = False
    assert not tally.filling
    assert not tally.halted
