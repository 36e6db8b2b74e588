"""What is special to the queue on RabbitMQ: its URL, its errors, other programs, long tasks."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from brokers.proxy import Proxy
from brokers.rabbitmq_server import CONSUMER_TIMEOUT_SECONDS, RabbitmqServer
from brokers.server import free_port, running
from maniple.errors import NotSupportedError, QueueError, StorageError, UsageError
from maniple.queue import MAX_LAPSES, Failure, State
from maniple.queues.rabbitmq_hold import Hold
from maniple.queues.rabbitmq_message import Taken
from maniple.queues.rabbitmq_names import Names, round_up
from maniple.task import Task
from maniple.urls import open_queue
from support import Patient, until

pika = pytest.importorskip("pika")
pytestmark = pytest.mark.xdist_group("rabbitmq")
SOON = 30.0
"""Seconds for what does not wait until the time that `reconnect` allows is up, a minute."""


@pytest.fixture
def server():
    return running(RabbitmqServer)


@pytest.fixture
def queue(server, name):
    with closing(open_queue(server.url(name))) as queue:
        yield Patient(queue)


def set_aside(queue):
    """Lease until a task has been set aside; no other may come."""
    found = []
    until(lambda: found.extend(queue.lease(1, 60.0, wait=0.5)) or found or queue.stats().failed)
    assert found == []


@contextmanager
def channel(server):
    """A channel of another program."""
    connection = server.connection()
    try:
        yield connection.channel()
    finally:
        if connection.is_open:
            connection.close()


def queues(server, name):
    """The names of the queues that belong to one of ours, without its name."""
    listed = server.control("list_queues", "name", "--silent").split()
    return {n.removeprefix(name) for n in listed if n.startswith(name)}


# The URL


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("amqp:q", "write amqp://HOST/NAME"),
        ("amqp://h:x/q", "port 'x'"),
        ("amqp://h/a/b/c", "too many parts"),
        ("amqp://h/q?rotate=0", "rotate=0"),
        ("amqp://h/q?heartbeat=no", "heartbeat=no"),
        ("amqp://h/q?decode=xml", "json or identity"),
        ("amqp://h/q?prefetch=9", "no option 'prefetch'"),
        ("amqp://h/q?ca=ca.pem", "write amqps://"),
        ("amqps://h/q?ca=/no/such/ca.pem", "No such file"),
        (f"amqp://h/{'q' * 201}", "longer than 200 bytes"),
    ],
)
def test_a_wrong_url_is_said_at_once(url, told):
    with pytest.raises(UsageError, match=".") as caught:
        open_queue(url)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_queue_that_is_missing_is_an_error_without_the_login(server, name):
    url = server.url(name, user="guest", password="guest")
    with pytest.raises(QueueError) as caught:
        open_queue(url, create=False)
    place = f"amqp://127.0.0.1:{server.port}/{name}"
    assert str(caught.value).endswith(f"fill it first: maniple sweep -q {place} ...")
    assert "guest" not in str(caught.value)


def test_a_server_that_is_not_there_is_an_error_soon():
    began = time.monotonic()
    with pytest.raises(StorageError, match="Connection refused"):
        open_queue(f"amqp://127.0.0.1:{free_port()}/q?reconnect=0.3")
    assert time.monotonic() - began < SOON


def test_of_several_hosts_one_that_answers_is_enough(server, name):
    url = f"amqp://127.0.0.1:{free_port()},127.0.0.1:{server.port}/{name}"
    with closing(open_queue(url)) as queue:
        assert queue.put([1]) == 1


def test_the_login_may_come_from_the_environment(server, name, monkeypatch):
    monkeypatch.setenv("RABBITMQ_USER", "guest")
    monkeypatch.setenv("RABBITMQ_PASSWORD", "wrong")
    with pytest.raises(QueueError, match="does not let the user guest in: wrong user or password"):
        open_queue(server.url(name))
    monkeypatch.setenv("RABBITMQ_PASSWORD", "guest")
    open_queue(server.url(name)).close()


def test_virtual_hosts_are_named_and_their_absence_is_said(server, name):
    with pytest.raises(QueueError, match="vhost elsewhere not found"):
        open_queue(server.url(name, vhost="elsewhere"))
    server.control("add_vhost", "a/b")
    server.control("set_permissions", "-p", "a/b", "guest", ".*", ".*", ".*")
    with closing(open_queue(server.url(name, vhost="a/b"))) as queue:
        queue.put(["there"])
    with closing(open_queue(server.url(name))) as queue:
        assert queue.lease(1, 60.0, wait=0.15) == []


def test_who_may_not_use_a_queue_is_told(server, name):
    server.control("add_user", "reader", "pass")
    server.control("set_permissions", "-p", "/", "reader", "^other.*", "^other.*", "^other.*")
    with pytest.raises(QueueError, match="not permitted on") as caught:
        open_queue(server.url(name, user="reader", password="pass"))
    assert "pass" not in str(caught.value)
    server.control("delete_user", "reader")


def test_the_permissions_of_the_manual_are_enough(server, name):
    server.control("add_user", "minion", "secret")
    rights = [f"^{name}", rf"^({name}|amq\.default)", f"^{name}"]
    server.control("set_permissions", "minion", *rights)
    with closing(open_queue(server.url(name, user="minion", password="secret", rotate=1))) as queue:
        queue.put("abc")
        a, b, c = Patient(queue).lease(3, 60.0)
        queue.fail([(a, Failure("exit 1", ""))])
        queue.nack([b], delay=0.05)
        assert len(list(queue.records(State.FAILED))) == queue.retry() == 1
        replaced(queue, c)
        assert queue.ack([c]) == []
        assert queue.purge() <= 2
    server.control("delete_user", "minion")


def test_a_queue_that_was_made_otherwise_is_run_and_not_filled(server, name):
    with channel(server) as other:
        other.queue_declare(name, durable=True)
        other.basic_publish("", name, b"theirs")
    with pytest.raises(QueueError, match="made with other settings"):
        open_queue(server.url(name))
    with closing(open_queue(server.url(name), create=False)) as queue:
        (lease,) = queue.lease(9, 60.0, wait=60.0)
        assert lease.task.param == "theirs"
        queue.nack([lease], delay=0.05)
        (lease,) = queue.lease(9, 60.0, wait=60.0)
        assert queue.ack([lease]) == []


def test_a_queue_that_is_deleted_is_an_error_and_not_made_anew(server, name, queue):
    with channel(server) as other:
        other.queue_delete(name)
    with pytest.raises(QueueError, match="no queue at"):
        queue.lease(1, 60.0, wait=5.0)
    with pytest.raises(QueueError, match="no queue at"):
        queue.put([1])


def test_a_queue_that_is_deleted_ends_waiting_for_it(server, name, queue):
    def delete():
        with channel(server) as other:
            until(lambda: other.queue_declare(name, passive=True).method.consumer_count)
            other.queue_delete(name)

    deleter = threading.Thread(target=delete)
    deleter.start()
    began = time.monotonic()
    with pytest.raises(QueueError, match="was deleted"):
        queue.lease(1, 60.0, wait=300.0)
    assert time.monotonic() - began < 200
    deleter.join()


# TLS


def test_tls_needs_a_ca_that_is_trusted(server, name):
    url = server.url(name, scheme="amqps", port=server.tls_port)
    with pytest.raises(QueueError, match="is not trusted: .*: \\?ca=FILE"):
        open_queue(url)
    with closing(open_queue(f"{url}?ca={server.folder}/ca.pem")) as queue:
        queue.put(["é" * (1 << 19)])
        leases = queue.lease(1, 60.0)
        assert leases[0].task.param == "é" * (1 << 19)
        assert queue.ack(leases) == []


def test_tls_where_there_is_none_is_said(server, name):
    with pytest.raises(QueueError, match="does not speak TLS: write amqp://"):
        open_queue(server.url(name, scheme="amqps"))


# Other programs


def test_messages_of_other_programs_are_tasks(server, name, queue):
    with channel(server) as other:
        other.basic_publish("", name, b"plain text")
        other.basic_publish("", name, b'{"x": 1}', pika.BasicProperties(message_id="one"))
        other.basic_publish("", name, b'{"x": 1}', pika.BasicProperties(message_id="two"))
    until(lambda: queue.stats().waiting == 3)
    leases = queue.lease(3, 60.0)
    assert [lease.task.param for lease in leases] == ["plain text", '{"x": 1}', '{"x": 1}']
    first = {lease.task.id for lease in leases}
    assert len(first) == 3
    queue.close()
    with closing(open_queue(f"{queue.url}?decode=json")) as again:
        until(lambda: again.stats().waiting == 3)
        leases = Patient(again).lease(2, 60.0)
        assert [lease.task.param for lease in leases] == [{"x": 1}, {"x": 1}]
        assert all(len(lease.task.id) == 32 for lease in leases)
        (record,) = again.records(State.FAILED)
        assert record.failure.cause == "undecodable"
        assert "is no JSON" in record.failure.error
        assert record.failure.at > 1e9
        assert record.task.param == "plain text"


def test_an_id_of_another_program_is_the_same_after_a_redelivery(server, name, queue):
    with channel(server) as other:
        other.basic_publish("", name, b"x", pika.BasicProperties(message_id="theirs"))
    (first,) = queue.lease(1, 0.2)
    (second,) = queue.lease(1, 60.0)
    assert first.task == second.task


def test_our_tasks_are_read_by_other_programs(server, name, queue):
    queue.put([{"x": 1}])
    with channel(server) as other:
        _, properties, body = other.basic_get(name, auto_ack=True)
    assert json.loads(body) == {"x": 1}
    assert properties.content_type == "application/json"
    assert properties.message_id == Task.of({"x": 1}).id
    assert properties.delivery_mode == 2


def test_what_is_put_again_is_there_again(queue):
    assert queue.put([1, 1]) + queue.put([1]) == 3
    assert len(queue.lease(3, 60.0)) == 3
    assert queue.lease(9, 60.0, wait=0.15) == []


# Leases


def test_one_who_waits_takes_no_more_than_it_is_given(server, name, queue):
    found = []
    waiter = threading.Thread(target=lambda: found.extend(queue.lease(2, 60.0, wait=30.0)))
    waiter.start()
    time.sleep(0.3)
    with closing(open_queue(server.url(name))) as other:
        other.put(range(10))
        waiter.join()
        assert 1 <= len(found) <= 2
        until(lambda: other.stats().waiting == 10 - len(found))
        assert len(Patient(other).lease(10 - len(found), 60.0)) == 10 - len(found)
        assert other.lease(20, 60.0, wait=0.15) == []


def test_giving_back_is_no_lapse_and_dying_is(queue):
    queue.put(["a"])
    for _ in range(MAX_LAPSES + 2):
        queue.nack(queue.lease(1, 60.0), attempted=False)
    assert queue.stats().failed == 0
    for _ in range(MAX_LAPSES + 1):
        (lease,) = queue.lease(1, 0.05)
        assert lease.task.attempt == 1
    set_aside(queue)
    (record,) = queue.records(State.FAILED)
    assert record.failure.cause == "lost"


def test_lapses_are_remembered_when_a_task_is_given_back(queue):
    queue.put(["a"])
    for _ in range(MAX_LAPSES):
        queue.lease(1, 0.05)
    queue.nack(queue.lease(1, 60.0), attempted=True)
    queue.lease(1, 0.05)
    set_aside(queue)
    assert queue.stats().failed == 1


HOLDER = """
import os, signal, sys, time
from maniple.urls import open_queue
queue = open_queue(sys.argv[1], create=False)
leases = queue.lease(9, 60.0, wait=60.0)
seconds = float(sys.argv[2])
until = time.monotonic() + seconds
while time.monotonic() < until:
    time.sleep(0.1)
    assert queue.extend(leases, 60.0) == []
print(len(leases), flush=True)
os.kill(os.getpid(), getattr(signal, sys.argv[3]))
print(len(queue.ack(leases)), flush=True)
queue.close()
"""


@contextmanager
def holder(url, seconds, number):
    """A process that leases, extends for a while, and then does something to itself."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, url, str(seconds), number],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def test_one_who_is_stopped_loses_its_tasks_and_hears_of_it(server, name, queue):
    queue.put(["a"])
    with holder(server.url(name, heartbeat=1), 0, "SIGSTOP") as process:
        assert process.stdout.readline() == "1\n"
        (lease,) = queue.lease(1, 60.0)
        assert queue.ack([lease]) == []
        process.send_signal(signal.SIGCONT)
        assert process.stdout.readline() == "1\n"
        assert process.wait(60) == 0
    until(lambda: queue.stats().drained)


def test_a_task_is_held_much_longer_than_the_server_allows(server, name, caplog):
    short = {"rotate": 2, "heartbeat": 5}
    names = {"kept": f"{name}a", "dropped": f"{name}b"}
    with (
        closing(open_queue(server.url(names["kept"], **short))) as kept,
        closing(open_queue(server.url(names["kept"]))) as other,
        closing(open_queue(server.url(names["dropped"]))) as dropped,
    ):
        kept.put(range(200))
        dropped.put(["a"])
        ours, old = Patient(kept).lease(200, 60.0), Patient(dropped).lease(1, 60.0)
        assert (len(ours), len(old)) == (200, 1)
        end = time.monotonic() + 3 * CONSUMER_TIMEOUT_SECONDS
        lost, again = [], []
        while time.monotonic() < end:
            time.sleep(0.5)
            assert kept.extend(ours, 60.0) == []
            assert other.lease(1, 60.0) == []
            assert not other.stats().drained
            lost = lost or dropped.extend(old, 60.0)
            if lost:
                again = again or dropped.lease(1, 60.0)
                assert dropped.extend(again, 60.0) == []
        # without copies the server takes the task away, but it is given a chance only once
        assert lost == old
        (told,) = [message for message in caplog.messages if "consumer_timeout" in message]
        assert "for 10 s (" in told
        assert "?rotate=3 " in told
        assert [lease.task.param for lease in again] == ["a"]
        assert dropped.ack(again) == []
        assert kept.ack(ours[:150]) == []
        kept.nack(ours[150:], attempted=False)
        found = []
        while len(found) < 50:
            leases = other.lease(40, 60.0, wait=60.0)
            assert leases
            found += [lease.task.param for lease in leases]
            assert other.ack(leases) == []
        assert sorted(found) == list(range(150, 200))
        until(lambda: other.stats().drained)


def test_who_gets_a_task_that_others_have_lost_relies_on_the_server_for_a_shorter_time():
    def rotate(lapses):
        hold = Hold(1, Taken(Task.of("a"), lapses), 1, 60.0, 120.0)
        assert not hold.old(hold.since + hold.rotate - 0.001)
        assert hold.old(hold.since + hold.rotate)
        return hold.rotate

    assert [rotate(lapses) for lapses in (0, 1, 2, MAX_LAPSES)] == [120.0, 60.0, 30.0, 1.0]


def test_a_copy_comes_back_when_its_holder_dies(server, name, queue):
    queue.put(["a"])
    with holder(server.url(name, rotate=1), 600, "SIGKILL") as process:
        until(lambda: any(n.startswith(".hold.") for n in queues(server, name)))
        process.kill()
        (lease,) = queue.lease(1, 60.0)
    assert lease.task == Task.of("a")
    assert queue.ack([lease]) == []
    until(lambda: queue.stats().drained)


def replaced(queue, lease):
    """Wait until the message of a lease has been replaced by a copy."""
    holds = queue._desk._holds
    first = holds[lease.token].since
    until(lambda: lease.token in holds and holds[lease.token].since > first)


def test_a_copy_that_lapses_is_a_lapse(server, name):
    with closing(open_queue(server.url(name, rotate=1))) as queue:
        queue.put(["a"])
        leases = queue.lease(1, 60.0, wait=60.0)
        replaced(queue, leases[0])
        assert queue.extend(leases, 0.1) == []
        (again,) = queue.lease(1, 60.0, wait=60.0)
        assert again.task == leases[0].task
        # it is out of sight for a moment when it is replaced, too
        assert until(lambda: queue._desk._holds.get(again.token)).lapses == 1
        assert queue.ack(leases) == leases


# Delays, failures


@pytest.mark.parametrize(
    ("delay", "milliseconds"),
    [(0.001, 10), (0.05, 50), (0.051, 60), (1, 1000), (1.01, 1200), (61, 80_000), (9e9, 3 * 10**9)],
)
def test_delays_are_rounded_up_by_a_third_at_most(delay, milliseconds):
    assert round_up(delay) == milliseconds
    assert Names("q").delay(milliseconds) in Names("q").delays()


def test_a_shorter_delay_does_not_wait_for_a_longer_one(queue):
    queue.put("ab")
    a, b = queue.lease(2, 60.0)
    queue.nack([a], delay=2.0)
    queue.nack([b], delay=0.2)
    leases = queue.lease(2, 60.0, wait=60.0)
    assert [lease.task.param for lease in leases] == ["b"]
    leases = queue.lease(2, 60.0, wait=60.0)
    assert [lease.task.param for lease in leases] == ["a"]
    until(lambda: queue.stats().delayed == 0)


def test_waiting_delayed_and_failed_tasks_are_forgotten(queue):
    queue.put("abcde")
    a, b, c, _ = queue.lease(4, 60.0)
    queue.fail([(a, Failure("exit 1", ""))])
    queue.nack([b], delay=600.0)
    queue.nack([c], delay=3600.0)
    assert queue.stats().delayed == 2
    assert queue.purge(State.DELAYED) == 2
    assert queue.purge(State.LEASED) == 0
    assert queue.purge() == 2
    stats = queue.stats()
    assert (stats.waiting, stats.delayed, stats.leased, stats.failed) == (0, 0, 1, 0)


def test_a_failure_is_cut_to_what_a_message_can_carry(queue):
    queue.put(["a"])
    (lease,) = queue.lease(1, 60.0)
    queue.fail([(lease, Failure("x" * 9999, "é" * 10**6 + "last line", "o" * 10**6 + "the end"))])
    (record,) = queue.records(State.FAILED)
    assert record.failure.error.endswith("ééé" + "last line")
    assert record.failure.output.endswith("ooo" + "the end")
    assert 10_000 < len(record.failure.output) < 100_000


def test_looking_at_failed_tasks_keeps_them_in_order(server, name, queue):
    queue.put(range(3000))
    leases = queue.lease(3000, 60.0)
    queue.fail([(lease, Failure("exit 1", str(lease.task.param))) for lease in leases])
    for _ in range(3):
        assert [r.task.param for r in queue.records(State.FAILED)] == list(range(3000))
        assert queue.stats().failed == 3000
    assert queue.retry([Task.of(n).id for n in range(0, 3000, 2)]) == 1500
    assert [r.task.param for r in queue.records(State.FAILED)] == list(range(1, 3000, 2))
    assert [lease.task.param for lease in queue.lease(9, 60.0)] == list(range(0, 18, 2))


def test_two_who_look_at_failed_tasks_at_once_both_see_all(server, name, queue, monkeypatch):
    monkeypatch.setattr("maniple.queues.rabbitmq_admin.READING_SECONDS", 0.5)
    queue.put(range(500))
    queue.fail([(lease, Failure("exit 1", "")) for lease in queue.lease(500, 60.0)])

    def look(_):
        with closing(open_queue(server.url(name))) as looker:
            return [len(list(looker.records(State.FAILED))) for _ in range(5)]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(look, range(2))) == [[500] * 5] * 2


def test_who_cannot_look_because_somebody_else_does_says_so(server, name, queue, monkeypatch):
    monkeypatch.setattr("maniple.queues.rabbitmq_admin.ALONE_SECONDS", 0.5)
    with channel(server) as other:
        other.queue_declare(Names(name).lock, exclusive=True)
        with pytest.raises(QueueError, match="somebody else has been reading its failed tasks"):
            queue.records(State.FAILED)
    assert list(queue.records(State.FAILED)) == []


def test_what_it_cannot_list_it_says(queue):
    queue.put(["a"])
    for ask in (
        queue.records,
        lambda: queue.records(State.WAITING),
        lambda: queue.find(Task.of("a").id),
    ):
        with pytest.raises(NotSupportedError, match="RabbitMQ does not"):
            ask()


# A server in need


@pytest.fixture
def short_of_memory(server):
    """A server that takes no messages."""
    server.control("set_vm_memory_high_watermark", "absolute", "1")
    yield server
    server.control("set_vm_memory_high_watermark", "0.4")


def test_a_server_short_of_memory_is_named_as_the_reason(short_of_memory, name):
    with closing(open_queue(short_of_memory.url(name, reconnect=4))) as queue:
        with pytest.raises(StorageError, match="takes no messages: low on memory"):
            queue.put([1])
        assert queue.stats().waiting in {0, 1}


def test_a_server_short_of_memory_is_relieved(server, name):
    with closing(open_queue(server.url(name, reconnect=4))) as queue:
        queue.put(range(100))
        queue.ack(Patient(queue).lease(1, 60.0))
        server.control("set_vm_memory_high_watermark", "absolute", "1")
        try:
            # the first acknowledgement finds out; those that follow get through
            held = queue.ack(Patient(queue).lease(1, 60.0))
            found = 0
            while found < 98:
                leases = queue.lease(10, 60.0, wait=60.0)
                assert leases
                assert queue.ack(leases) == []
                found += len(leases)
        finally:
            server.control("set_vm_memory_high_watermark", "0.4")
        assert found == 98
        assert len(held) == 1

        # its task is done or free when the server reads from the old connection again
        def is_drained():
            assert queue.ack(queue.lease(1, 60.0, wait=0.5)) == []
            return queue.stats().drained

        until(is_drained)


# What it costs, what it leaves


def test_an_idle_minion_costs_the_server_next_to_nothing(server, name, queue):
    with (
        Proxy(server.port) as proxy,
        closing(open_queue(server.url(name, port=proxy.port))) as idle,
    ):
        idle.lease(1, 60.0)
        before = proxy.carried
        for _ in range(3):
            assert idle.lease(100, 60.0, wait=idle.idle) == []
        # a consumer made and cancelled each second: a few hundred bytes
        assert proxy.carried - before < 3 * 1000


def test_who_leaves_leaves_the_lasting_queues_only(server, name, queue):
    queue.put(range(3))
    queue.ack(queue.lease(2, 60.0))
    assert any(n.startswith(".acks.") for n in queues(server, name))
    queue.close()
    lasting = {"", ".failed", ".delayed", ".busy"}
    until(lambda: queues(server, name) == lasting)


def test_a_forked_child_is_told_to_open_its_own(queue):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            queue.put([1])
        except QueueError:
            queue.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert queue.put([1]) == 1


def test_a_child_does_not_keep_the_lease_of_its_dead_parent(server, name, queue):
    queue.put(["a"])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    code = HOLDER.replace(
        "print(len(leases), flush=True)",
        "child = os.fork()\nif not child:\n    time.sleep(300)\n    os._exit(0)\n"
        "print(child, flush=True)",
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, server.url(name, heartbeat=600), "0", "SIGKILL"],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    child = int(process.stdout.readline())
    try:
        leases = queue.lease(1, 60.0)
        assert [lease.task.param for lease in leases] == ["a"]
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()
        process.wait()


def test_without_its_library_it_says_what_brings_it():
    code = "import sys; sys.modules['pika'] = None; from maniple.cli.main import main; main()"
    words = ["sweep", "-q", "amqp://127.0.0.1/q", "x=1"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "maniple: the queue amqp: needs the library pika: "
        "pip install 'maniple[rabbitmq]' brings it\n"
    )
