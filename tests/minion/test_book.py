"""What a minion decides about its leases: pure, with the time passed in."""

import random

import pytest

from maniple.minion.book import Book, Policy
from maniple.queue import Lease
from maniple.runner import Outcome
from maniple.task import Task


def book_of(**policy):
    return Book(Policy(**policy), random.Random(1))


def lease_of(param, attempt=1):
    task = Task.of(param)
    return Lease(Task(task.id, task.data, attempt, 1), param)


def good(took=0.0):
    return Outcome(ok=True, start=0.0, end=took)


def bad(cause="exit 3", **more):
    return Outcome(ok=False, start=100.0, end=101.0, cause=cause, error="it broke", **more)


def taking(book, *params, attempt=1):
    leases = [lease_of(param, attempt) for param in params]
    book.leased(leases)
    return leases


def test_the_first_task_is_taken_alone():
    book = book_of()
    assert book.want() == 1
    taking(book, 1)
    assert book.want() == 0


@pytest.mark.parametrize(
    ("took", "want"), [(0.0, 64), (0.000_1, 64), (0.001, 20), (0.005, 4), (0.3, 1), (9999.0, 1)]
)
def test_batches_last_for_as_long_as_the_policy_says(took, want):
    book = book_of(batch=64, ahead=0.02)
    [lease] = taking(book, 1)
    book.ended(lease.task, good(took), 0.0)
    assert book.want() == want


def test_more_is_taken_when_half_is_used_up():
    book = book_of(batch=8)
    [lease] = taking(book, "first")
    book.ended(lease.task, good(), 0.0)
    leases = taking(book, *range(8))
    for lease in leases[:3]:
        book.ended(lease.task, good(), 0.0)
    assert book.want() == 0
    book.ended(leases[3].task, good(), 0.0)
    assert book.want() == 4


def test_a_clock_that_is_set_back_changes_nothing():
    book = book_of(batch=64)
    [lease] = taking(book, 1)
    book.ended(lease.task, Outcome(ok=True, start=100.0, end=3.0), 0.0)
    assert book.want() == 64


def test_a_task_that_ends_well_is_acknowledged():
    book = book_of()
    [lease] = taking(book, 1)
    assert book.ended(lease.task, good(), 0.0) is lease
    assert book.take().ack == [lease]
    assert not book.take()
    assert book.held == 0


def test_an_acknowledgement_lingers_while_more_is_at_work():
    book = book_of(linger=0.5)
    first, _ = taking(book, 1, 2)
    book.ended(first.task, good(), 10.0)
    assert not book.due(10.49, busy=True)
    assert book.due(10.5, busy=True)


def test_it_does_not_linger_when_there_is_nothing_to_wait_for():
    book = book_of(linger=0.5)
    [lease] = taking(book, 1)
    assert not book.due(10.0, busy=False)
    book.ended(lease.task, good(), 10.0)
    assert book.due(10.0, busy=False)


def test_what_is_given_back_is_given_back_at_once():
    book = book_of(linger=60.0)
    _, second = taking(book, 1, 2)
    book.withdrawn([second.task])
    assert book.due(0.0, busy=True)
    assert book.take().give_back == [second]


def test_a_failed_task_is_set_aside_with_its_reason():
    book = book_of()
    [lease] = taking(book, 1)
    book.ended(lease.task, bad(stdout=b"out", stderr=b"err\xff"), 0.0)
    [(failed, failure)] = book.take().fail
    assert failed is lease
    assert (failure.cause, failure.error, failure.at) == ("exit 3", "it broke", 101.0)
    assert failure.output == "out\nerr\N{REPLACEMENT CHARACTER}"


def test_only_the_end_of_a_long_output_is_kept():
    book = book_of()
    [lease] = taking(book, 1)
    book.ended(lease.task, bad(stdout=b"x" * 10_000_000 + b"end"), 0.0)
    output = book.take().fail[0][1].output
    assert output.endswith("end")
    assert len(output) < 100_000


def test_a_failed_task_gets_as_many_attempts_as_the_policy_says():
    book = book_of(retries=2)
    kinds = []
    for attempt in (1, 2, 3):
        [lease] = taking(book, attempt, attempt=attempt)
        book.ended(lease.task, bad(), 0.0)
        decided = book.take()
        kinds.append((len(decided.retry), len(decided.fail)))
    assert kinds == [(1, 0), (1, 0), (0, 1)]


@pytest.mark.parametrize("attempt", [1, 2, 3, 8, 50, 5_000])
def test_pauses_double_up_to_a_limit_and_are_spread(attempt):
    book = book_of(retries=10_000, backoff=1.0, backoff_limit=60.0)
    delays = []
    for _ in range(200):
        [lease] = taking(book, 1, attempt=attempt)
        book.ended(lease.task, bad(), 0.0)
        delays.append(book.take().retry[0].delay)
    longest = min(60.0, 2.0 ** min(attempt - 1, 10))
    assert 0.5 * longest <= min(delays) < 0.7 * longest
    assert 0.9 * longest < max(delays) <= longest


def test_a_task_that_the_minion_interrupted_is_neither_done_nor_failed():
    book = book_of(retries=5)
    [lease] = taking(book, 1)
    book.ended(lease.task, Outcome(ok=False, start=0, end=1, interrupted=True), 0.0)
    decided = book.take()
    assert decided.give_back == [lease]
    assert not decided.ack + decided.retry + decided.fail


def test_leases_are_renewed_until_the_queue_knows_their_end():
    book = book_of(retries=1)
    done, retried, failed, runs = taking(book, "done", "retried", "failed", "runs")
    book.ended(done.task, good(), 0.0)
    book.ended(retried.task, bad(), 0.0)
    book.leased([second := lease_of("failed", attempt=2)])
    book.ended(second.task, bad(), 0.0)
    assert {lease.token for lease in book.leases()} == {"done", "retried", "failed", "runs"}
    book.take()
    assert book.leases() == [failed, runs]


def test_all_that_is_held_is_given_back_when_the_runner_stops():
    book = book_of()
    leases = taking(book, 1, 2, 3)
    book.ended(leases[0].task, good(), 0.0)
    book.abandoned()
    decided = book.take()
    assert decided.ack == leases[:1]
    assert decided.give_back == leases[1:]
    assert book.held == 0


def test_decisions_that_could_not_be_carried_out_are_due_again_at_once():
    book = book_of(linger=60.0)
    first, second, _ = taking(book, 1, 2, 3)
    book.ended(first.task, good(), 0.0)
    taken = book.take()
    book.ended(second.task, good(), 0.0)
    book.undo(taken)
    assert book.due(0.0, busy=True)
    assert book.take().ack == [first, second]


def test_a_task_that_comes_again_while_it_is_held_is_held_twice():
    book = book_of()
    lease = lease_of(1)
    [first] = book.leased([lease])
    [second] = book.leased([Lease(lease.task, "later")])
    assert first == second
    assert book.held == 2
    assert book.ended(second, good(), 0.0).token == "later"
    assert book.ended(first, good(), 0.0) is lease


def test_equal_tasks_are_told_apart_by_their_lease():
    book = book_of()
    one, other = lease_of(1), lease_of(1)
    book.leased([one, other])
    assert book.ended(other.task, good(), 0.0) is other
    assert book.ended(one.task, good(), 0.0) is one
