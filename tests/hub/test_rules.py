"""What the dispatch decides, one event after the other."""

import time

import pytest

from maniple.algorithm.call import Answer, Call, Code
from maniple.cluster.messages import Abort, Running, Settled, Want, Welcome
from maniple.hub.rules.dispatch import Dispatch
from maniple.hub.rules.orders import Close, Forget, Keep, Send, Settle, Start, Tell
from maniple.hub.rules.turns import Turns

CALL = Call(Code("w"))
FINE = Answer(ok=True, value=b"1")
D1, D2, W1, W2 = 1, 2, 11, 12


@pytest.fixture
def hub():
    rules = Dispatch("e", grace=10.0, keep=600.0)
    rules.driver_joined(D1, "u", "s1", [])
    return rules


def with_worker(hub, link=W1, uid="a", count=1):
    hub.worker_joined(link, "u", uid, uid, [])
    return started(hub.asked(link, count))


def submit(hub, *names, link=D1):
    return [order for name in names for order in hub.submitted(link, name, CALL, [])]


def started(orders):
    return [
        (order.link, order.key.task, order.token) for order in orders if isinstance(order, Start)
    ]


def sent(orders, link, kind):
    return [
        order.message
        for order in orders
        if isinstance(order, Send) and order.link == link and isinstance(order.message, kind)
    ]


def told(orders):
    return [(order.link, order.key.task) for order in orders if isinstance(order, Tell)]


def settled(orders):
    return [order.answer for order in orders if isinstance(order, Settle)]


def forgotten(orders):
    return [order.key.task for order in orders if isinstance(order, Forget)]


def test_a_task_goes_to_a_worker_and_its_answer_to_the_driver(hub):
    orders = submit(hub, "t")
    assert [type(order) for order in orders] == [Keep]
    ((link, task, token),) = with_worker(hub)
    assert (link, task) == (W1, "t")
    orders = hub.done(W1, token, FINE)
    assert [type(order) for order in orders] == [Settle, Tell, Send]
    assert told(orders) == [(D1, "t")]
    assert sent(orders, W1, Settled) == [Settled([token])]
    assert forgotten(hub.got(D1, ["t"])) == ["t"]


def test_a_driver_hears_when_its_task_begins_and_which_attempt_it_is(hub):
    with_worker(hub)
    assert sent(submit(hub, "t"), D1, Running) == [Running("t", 1)]
    hub.worker_left(W1, 0.0, goodbye=False)
    with_worker(hub, W2, "b")
    assert sent(hub.tick(10.0), D1, Running) == [Running("t", 2)]


def test_a_task_submitted_twice_is_run_and_settled_once(hub):
    submit(hub, "t", "t")
    ((_, _, token),) = with_worker(hub, count=5)
    assert submit(hub, "t") == []
    assert len(settled(hub.done(W1, token, FINE))) == 1
    assert told(submit(hub, "t")) == [(D1, "t")]
    assert settled(hub.done(W1, token, FINE)) == []


def test_a_worker_gets_as_many_tasks_as_it_asked_for_last(hub):
    submit(hub, "a", "b", "c", "d")
    assert len(with_worker(hub, count=2)) == 2
    assert started(hub.asked(W1, 0)) == []
    assert len(started(hub.asked(W1, 1))) == 1


def test_tasks_go_round_the_workers_that_want_some(hub):
    with_worker(hub, W1, "a", 2)
    with_worker(hub, W2, "b", 2)
    assert [link for link, _, _ in started(submit(hub, "1", "2", "3", "4", "5"))] == [
        W1,
        W2,
        W1,
        W2,
    ]


def test_a_driver_with_many_tasks_does_not_starve_another(hub):
    submit(hub, *(f"many-{n}" for n in range(1000)))
    hub.driver_joined(D2, "u", "s2", [])
    submit(hub, "few-1", "few-2", link=D2)
    order = [task for _, task, _ in with_worker(hub, count=6)]
    assert order == ["many-0", "few-1", "many-1", "few-2", "many-2", "many-3"]


def test_a_user_with_many_sessions_gets_no_more_turns_than_one_with_one():
    turns = Turns()
    for session in ("a", "b", "c"):
        for n in range(3):
            turns.push("greedy", session, f"{session}{n}")
    turns.push("modest", "m", "m0")
    turns.push("modest", "m", "m1")
    turns.push("modest", "m", "m2")
    assert [turns.pop() for _ in range(6)] == ["a0", "m0", "b0", "m1", "c0", "m2"]
    assert len(turns) == 6


def test_a_line_that_was_emptied_or_left_gets_no_turn():
    turns = Turns()
    turns.push("u", "s", "a")
    turns.push("u", "s", "b")
    turns.push("u", "s", "first", front=True)
    turns.remove("u", "s", "a")
    assert [turns.pop(), turns.pop()] == ["first", "b"]
    with pytest.raises(KeyError):
        turns.pop()


def test_the_tasks_of_a_lost_worker_come_back_first_after_a_grace_time(hub):
    submit(hub, "1", "2", "3")
    with_worker(hub, count=2)
    hub.worker_left(W1, 100.0, goodbye=False)
    hub.worker_joined(W2, "u", "b", "b", [])
    assert [task for _, task, _ in started(hub.asked(W2, 1))] == ["3"]
    hub.asked(W2, 2)
    assert started(hub.tick(109.9)) == []
    assert [task for _, task, _ in started(hub.tick(110.0))] == ["1", "2"]


def test_the_tasks_of_a_worker_that_said_goodbye_come_back_at_once(hub):
    submit(hub, "1")
    with_worker(hub)
    with_worker(hub, W2, "b")
    assert [link for link, _, _ in started(hub.worker_left(W1, 0.0, goodbye=True))] == [W2]


def test_a_worker_that_comes_back_in_time_keeps_what_it_holds(hub):
    submit(hub, "1", "2")
    (_, _, first), (_, _, second) = with_worker(hub, count=2)
    hub.worker_left(W1, 0.0, goodbye=False)
    orders = hub.worker_joined(13, "u", "a", "a", [first])
    assert sent(orders, 13, Welcome) == [Welcome("u")]
    hub.tick(1000.0)
    # what it does not name never reached it
    assert [task for _, task, _ in started(hub.asked(13, 5))] == ["2"]
    assert settled(hub.done(13, first, FINE)) == [FINE]
    assert settled(hub.done(13, second, FINE)) == [FINE]


def test_a_late_answer_counts_when_there_is_no_other_and_the_second_run_is_stopped(hub):
    submit(hub, "t")
    ((_, _, first),) = with_worker(hub)
    hub.worker_left(W1, 0.0, goodbye=False)
    with_worker(hub, W2, "b")
    ((_, _, second),) = started(hub.tick(10.0))
    hub.worker_joined(13, "u", "a", "a", [first])
    orders = hub.done(13, first, FINE)
    assert settled(orders) == [FINE]
    assert sent(orders, W2, Abort) == [Abort(second)]
    assert settled(hub.done(W2, second, FINE)) == []


def test_a_lapsed_task_that_waits_goes_back_to_the_worker_that_has_it(hub):
    submit(hub, "t")
    ((_, _, token),) = with_worker(hub)
    hub.worker_left(W1, 0.0, goodbye=False)
    hub.tick(10.0)
    hub.worker_joined(13, "u", "a", "a", [token])
    assert with_worker(hub, W2, "b") == []
    assert settled(hub.done(13, token, FINE)) == [FINE]


def test_a_worker_cannot_answer_for_another(hub):
    submit(hub, "t")
    ((_, _, token),) = with_worker(hub)
    with_worker(hub, W2, "b")
    orders = hub.done(W2, token, FINE)
    assert settled(orders) == []
    assert sent(hub.worker_joined(W2, "u", "b", "b", [token]), W2, Abort) == [Abort(token)]


def test_a_task_given_back_is_first_and_no_attempt_is_counted(hub):
    submit(hub, "1", "2")
    ((_, _, token),) = with_worker(hub)
    assert hub.gave_back(W1, [token, token, "unknown"]) == []
    assert [(o.key.task, o.attempt) for o in hub.asked(W1, 1) if isinstance(o, Start)] == [("1", 1)]


def test_a_run_that_was_stopped_by_somebody_else_is_no_answer(hub):
    submit(hub, "1")
    ((_, _, token),) = with_worker(hub)
    orders = hub.done(W1, token, Answer(ok=False, cause="cancelled"))
    assert settled(orders) == []
    assert [task for _, task, _ in started(hub.asked(W1, 1))] == ["1"]


def test_a_cancelled_task_is_stopped_and_forgotten_and_not_answered(hub):
    submit(hub, "runs", "waits")
    ((_, _, token),) = with_worker(hub)
    assert forgotten(hub.cancelled(D1, "waits")) == ["waits"]
    orders = hub.cancelled(D1, "runs")
    assert sent(orders, W1, Abort) == [Abort(token)]
    assert forgotten(orders) == ["runs"]
    late = hub.done(W1, token, FINE)
    assert settled(late) == told(late) == []
    assert sent(late, W1, Settled) == [Settled([token])]
    assert hub.cancelled(D1, "runs") == []
    assert started(hub.asked(W1, 5)) == []


def test_a_driver_that_comes_back_is_told_what_it_missed_and_what_is_unknown(hub):
    submit(hub, "answered", "read", "waits", "given up")
    leases = {task: token for _, task, token in with_worker(hub, count=2)}
    hub.driver_left(D1, 0.0, goodbye=False)
    assert told(hub.done(W1, leases["answered"], FINE)) == []
    hub.done(W1, leases["read"], FINE)
    orders = hub.driver_joined(D2, "u", "s1", ["answered", "waits", "new"])
    assert sent(orders, D2, Welcome) == [Welcome("u", ["new"])]
    assert told(orders) == [(D2, "answered")]
    assert sorted(forgotten(orders)) == ["given up", "read"]
    # and again, until it says that it has it
    assert told(hub.driver_joined(D1, "u", "s1", ["answered", "waits"])) == [(D1, "answered")]


def test_a_second_connection_of_a_driver_ends_the_first(hub):
    orders = hub.driver_joined(D2, "u", "s1", [])
    assert orders[0] == Close(D1)
    assert submit(hub, "t", link=D1) == []
    assert hub.driver_left(D1, 0.0, goodbye=True) == []
    assert len(submit(hub, "t", link=D2)) == 1


def test_the_same_session_name_of_another_user_is_another_session(hub):
    submit(hub, "t")
    orders = hub.driver_joined(D2, "other", "s1", ["t"])
    assert sent(orders, D2, Welcome) == [Welcome("other", ["t"])]


def test_a_driver_that_stays_away_loses_its_tasks(hub):
    submit(hub, "runs", "waits")
    ((_, _, token),) = with_worker(hub)
    hub.driver_left(D1, 100.0, goodbye=False)
    assert hub.tick(699.0) == []
    orders = hub.tick(700.0)
    assert sent(orders, W1, Abort) == [Abort(token)]
    assert sorted(forgotten(orders)) == ["runs", "waits"]
    assert started(hub.asked(W1, 5)) == []


def test_a_driver_that_said_goodbye_waits_for_nothing(hub):
    submit(hub, "waits")
    assert forgotten(hub.driver_left(D1, 0.0, goodbye=True)) == ["waits"]


def test_a_part_is_wanted_from_one_driver_once_for_all_tasks(hub):
    call = Call(Code("w", "l"))
    first = hub.submitted(D1, "1", call, ["w", "l"])
    assert sent(first, D1, Want) == [Want(["w", "l"])]
    assert [type(order) for order in hub.submitted(D1, "2", call, ["w", "l"])] == [Keep]
    hub.driver_joined(D2, "u", "s2", [])
    assert [type(order) for order in hub.submitted(D2, "3", call, ["l"])] == [Keep]
    with_worker(hub, count=5)
    assert [task for _, task, _ in started(hub.part_arrived("l"))] == ["3"]
    assert [task for _, task, _ in started(hub.part_arrived("w"))] == ["1", "2"]


def test_when_the_driver_that_was_asked_leaves_another_is_asked(hub):
    call = Call(Code("w"))
    hub.submitted(D1, "1", call, ["w"])
    hub.driver_joined(D2, "u", "s2", [])
    hub.submitted(D2, "2", call, ["w"])
    assert sent(hub.driver_left(D1, 0.0, goodbye=False), D2, Want) == [Want(["w"])]
    # the first one back is not asked as well
    orders = hub.driver_joined(D1, "u", "s1", ["1"])
    assert sent(orders, D1, Want) == []
    # its tasks are not harmed by what the other lacks
    orders = hub.part_refused(D2, "w")
    assert [answer.cause for answer in settled(orders)] == ["missing part"]
    assert sent(orders, D1, Want) == [Want(["w"])]


def test_a_driver_that_connects_again_before_the_loss_is_noticed_is_asked_on_its_new_link(hub):
    hub.submitted(D1, "1", Call(Code("w")), ["w"])
    orders = hub.driver_joined(D2, "u", "s1", ["1"])
    assert sent(orders, D2, Want) == [Want(["w"])]
    assert not sent(orders, D1, Want)


def test_a_part_that_the_hub_has_lost_is_asked_for_again_and_the_task_waits_for_it(hub):
    submit(hub, "t")
    ((_, _, token),) = with_worker(hub, count=3)
    orders = hub.part_lost(W1, "w")
    assert sent(orders, W1, Abort) == [Abort(token)]
    assert sent(orders, D1, Want) == [Want(["w"])]
    assert [task for _, task, _ in started(hub.part_arrived("w"))] == ["t"]
    assert hub.part_lost(W1, "of nothing it holds") == []


def test_numbers_and_workers_are_shown(hub):
    submit(hub, "1", "2", "3")
    hub.submitted(D1, "4", Call(Code("x", name="kmeans@0.0.1")), ["x"])
    ((_, _, token),) = with_worker(hub)
    hub.done(W1, token, FINE)
    hub.asked(W1, 1)
    hub.cancelled(D1, "3")
    view = hub.view()
    counts = view.counts
    assert (counts.wanting, counts.waiting, counts.leased) == (1, 0, 1)
    assert (counts.done, counts.failed, counts.cancelled, counts.drivers) == (1, 0, 1, 1)
    assert [(worker.name, worker.connected, worker.tasks) for worker in view.workers] == [
        ("a", True, ["w"])
    ]


def test_an_event_costs_the_same_however_many_tasks_wait(hub):
    def cost(number):
        rules = Dispatch("e")
        rules.driver_joined(D1, "u", "s", [])
        rules.worker_joined(W1, "u", "a", "a", [])
        for n in range(number):
            rules.submitted(D1, f"t{n}", CALL, [])
        steps = 2000
        start = time.process_time()
        for n in range(steps):
            ((_, _, token),) = started(rules.asked(W1, 1))
            rules.done(W1, token, FINE)
            rules.cancelled(D1, f"t{number - 1 - n}")
        return (time.process_time() - start) / steps

    few, many = min(cost(5_000) for _ in range(3)), min(cost(100_000) for _ in range(3))
    # a cost that grew with the number of tasks would be twenty times as high
    assert many < few * 5
