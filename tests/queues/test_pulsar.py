"""What is special about the queue `pulsar:`: URLs, logins, TLS, containers, partitions, give-backs."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from brokers.proxy import Proxy
from brokers.pulsar_server import PASSWORD, USER, PulsarServer, token
from brokers.server import free_port, running
from maniple.errors import NotSupportedError, ParamError, QueueError, StorageError, UsageError
from maniple.queue import Failure, State
from maniple.queues.pulsar_wire import Message, _unpack_lz4
from maniple.task import Task
from maniple.urls import open_queue
from support import PATIENCE, Patient, until

pytestmark = pytest.mark.xdist_group("pulsar")
SOON = 30.0
"""Seconds for what does not wait until the time that `reconnect` allows is up, a minute."""
PUBLISH = """
import sys, json, pulsar
url, topic, options, *payloads = sys.argv[1:]
options = json.loads(options)
if (kind := options.pop("compression", None)):
    options["compression_type"] = getattr(pulsar.CompressionType, kind)
client = pulsar.Client(url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
producer = client.create_producer(topic, block_if_queue_full=True, **options)
failed = []
def stored(result, _):
    if result != pulsar.Result.Ok:
        failed.append(result)
for payload in payloads:
    producer.send_async(bytes.fromhex(payload), stored)
producer.flush()
client.close()
sys.exit(bool(failed))
"""
HOLDER = """
import sys
from maniple.urls import open_queue
queue = open_queue(sys.argv[1], create=False)
leases = queue.lease(1, float(sys.argv[2]), 60.0)
leases += queue.lease(1, float(sys.argv[2]), 60.0)
print(len(leases), flush=True)
sys.stdin.readline()
print(len(queue.ack(leases)), flush=True)
queue.close()
"""
PARENT = """
import os, sys, time
from maniple.urls import open_queue
queue = open_queue(sys.argv[1], create=False)
leases = queue.lease(9, 300.0, 60.0)
if not (child := os.fork()):
    time.sleep(600)
    os._exit(0)
print(child, flush=True)
time.sleep(600)
"""


@pytest.fixture
def server():
    return running(PulsarServer)


@pytest.fixture
def opened(opened):
    return lambda url, **options: Patient(opened(url, **options))


def params(leases):
    return [lease.task.param for lease in leases]


def drain(queue, count, ttl=60.0):
    """Lease and acknowledge until so many tasks were done."""
    found = []
    deadline = time.monotonic() + PATIENCE
    while len(found) < count and time.monotonic() < deadline:
        leases = queue.lease(100, ttl, 0.5)
        assert queue.ack(leases) == []
        found += params(leases)
    return found


def started(code, *words):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def publish(server, topic, *payloads, options="{}"):
    """Publish as another program does, with the official client in a process of its own."""
    pytest.importorskip("pulsar")
    place = f"pulsar://127.0.0.1:{server.port}"
    words = [payload.hex() for payload in payloads]
    with started(PUBLISH, place, topic, options, *words) as process:
        _, _ = process.communicate(timeout=300)
    assert process.returncode == 0


# URLs


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("pulsar:q", "pulsar://HOST/NAME"),
        ("pulsar://host/a/b", "TENANT/NAMESPACE/TOPIC"),
        ("pulsar://host/a/b/c/d", "TENANT/NAMESPACE/TOPIC"),
        ("pulsar://host/q?decode=xml", "identity or json"),
        ("pulsar://host/q?direct=1", "yes or no"),
        ("pulsar://host/q?color=red", "no option 'color'"),
        ("pulsar://host/q?admin=host:8080", "admin=http://HOST:PORT"),
        ("pulsar://host/non-persistent%3A%2F%2Fpublic%2Fdefault%2Fq", "persistent topics"),
        ("pulsar+ssl://host/q?ca=/no/such/file", "cannot be read"),
    ],
)
def test_a_wrong_url_is_one_line(url, said):
    with pytest.raises(UsageError) as caught:
        open_queue(url)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_topic_that_is_missing_is_said_with_what_to_do(server, name):
    with pytest.raises(QueueError) as caught:
        open_queue(server.url(name, password=token()), create=False)
    text = str(caught.value)
    assert "fill it first: maniple sweep -q pulsar://127.0.0.1" in text
    assert token() not in text
    # and asking has not made it
    with pytest.raises(QueueError):
        open_queue(server.url(name), create=False)


def test_a_server_that_is_not_there_is_said_soon():
    began = time.monotonic()
    with pytest.raises(StorageError) as caught:
        open_queue(f"pulsar://127.0.0.1:{free_port()}/q?reconnect=1")
    assert time.monotonic() - began < SOON
    assert "127.0.0.1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_topic_may_be_named_in_full(server, opened, name):
    opened(server.url(f"public/default/{name}")).put(["a"])
    full = f"persistent%3A%2F%2Fpublic%2Fdefault%2F{name}"
    assert params(opened(server.url(full), create=False).lease(1, 60.0)) == ["a"]


# Logins


@pytest.mark.parametrize("variable", ["PULSAR_TOKEN", "PULSAR_PASSWORD"])
def test_a_token_may_come_from_the_environment(server, opened, name, monkeypatch, variable):
    monkeypatch.setenv(variable, token())
    assert opened(server.url(name)).put(["a"]) == 1
    monkeypatch.setenv(variable, token(key=b"another key, which the server does not have"))
    with pytest.raises(QueueError) as caught:
        open_queue(server.url(name))
    assert "PULSAR_TOKEN" in str(caught.value)
    assert os.environ[variable] not in str(caught.value)


def test_a_user_and_a_password_let_in(server, opened, name):
    password = PASSWORD.replace("/", "%2F")
    assert opened(server.url(name, user=USER, password=password)).put(["a"]) == 1
    with pytest.raises(QueueError):
        open_queue(server.url(name, user=USER, password="wrong"))


def test_tls_verifies_the_server(server, opened, name):
    queue = opened(server.url(name, tls=True))
    queue.put(range(1000))
    assert drain(queue, 1000) == list(range(1000))
    began = time.monotonic()
    with pytest.raises(QueueError) as caught:
        open_queue(f"pulsar+ssl://127.0.0.1:{server.tls_port}/{name}")
    assert "certificate" in str(caught.value)
    assert time.monotonic() - began < SOON


def test_a_large_param_goes_over_tls(server, opened, name):
    queue = opened(server.url(name, tls=True))
    queue.put(["x" * 3_000_000])
    assert len(drain(queue, 1)[0]) == 3_000_000


# Messages of other programs


def test_texts_of_another_program_are_params(server, opened, name):
    queue = opened(server.url(name))
    publish(server, name, b"one", "zwölf".encode(), b'{"x": 1}')
    assert sorted(drain(queue, 3)) == sorted(["one", "zwölf", '{"x": 1}'])
    assert queue.stats().drained


@pytest.mark.parametrize("by", ["option", "keyword"])
def test_json_of_another_program_is_read(server, opened, name, by):
    url = server.url(name, decode="json") if by == "option" else server.url(name)
    queue = opened(url, **({} if by == "option" else {"decoder": "json"}))
    publish(server, name, b'{"x": 1}', b"nonsense", b"[1,2]")
    assert sorted(drain(queue, 2), key=repr) == sorted([{"x": 1}, [1, 2]], key=repr)
    (record,) = queue.records(State.FAILED)
    assert (record.task.param, record.failure.cause) == ("nonsense", "undecodable")
    assert queue.stats().drained


def test_bytes_that_are_no_text_are_set_aside(server, opened, name):
    queue = opened(server.url(name))
    publish(server, name, b"\xff\xfe", b"good")
    assert drain(queue, 1) == ["good"]
    (record,) = queue.records(State.FAILED)
    assert os.fsencode(record.task.param) == b"\xff\xfe"


def test_equal_texts_are_tasks_of_their_own_with_a_lasting_id(server, opened, name):
    queue = opened(server.url(name))
    publish(server, name, b"same", b"same")
    first = {lease.task.id for lease in queue.lease(2, 60.0)}
    assert len(first) == 2
    queue.close()
    other = opened(server.url(name))
    assert {lease.task.id for lease in other.lease(2, 60.0)} == first


@pytest.mark.parametrize("compression", ["NONE", "LZ4", "ZLib"])
def test_a_container_is_acknowledged_message_by_message(server, opened, name, compression):
    queue = opened(server.url(name))
    options = (
        '{"batching_enabled": true, "batching_max_publish_delay_ms": 300, "compression": "%s"}'
    )
    texts = [f"message {n} of one container" for n in range(50)]
    publish(server, name, *(text.encode() for text in texts), options=options % compression)
    leases = queue.lease(10, 60.0)
    assert queue.ack(leases[:5]) == []
    queue.close()
    other = opened(server.url(name))
    assert sorted(drain(other, 45)) == sorted(set(texts) - set(params(leases[:5])))
    assert other.stats().drained


def test_what_cannot_be_unpacked_is_set_aside(server, opened, name):
    queue = opened(server.url(name))
    publish(server, name, b"x" * 1000, options='{"compression": "ZSTD"}')
    publish(server, name, b"good")
    assert drain(queue, 1) == ["good"]
    (record,) = queue.records(State.FAILED)
    assert "ZSTD" in record.failure.error


def test_damaged_lz4_is_an_error_and_no_loop():
    for data in (b"", b"\x10", b"\x0fx", b"\x10a\x05\x00", b"\xff" * 20):
        with pytest.raises((ValueError, IndexError)):
            _unpack_lz4(data, 10)
    assert Message.__slots__


# Giving back


def test_what_comes_too_early_is_given_to_another_soon(server, opened, name):
    busy, other = opened(server.url(name)), opened(server.url(name))
    # it asks for many, and is at work on the first when the others come
    timer = threading.Timer(0.2, lambda: other.put(["a"]))
    timer.start()
    leases = busy.lease(200, 60.0, 60.0)
    timer.join()
    assert params(leases) == ["a"]
    other.put(range(50))
    assert sorted(drain(other, 50)) == list(range(50))
    assert busy.ack(leases) == []


def test_many_that_are_given_back_come_once(server, opened, name):
    queue, other = opened(server.url(name)), opened(server.url(name))
    queue.put(range(600))
    leases = queue.lease(300, 60.0)
    queue.nack(leases, attempted=False)
    found = Counter(drain(other, 600))
    assert other.lease(1, 60.0, 0.2) == queue.lease(1, 60.0, 0.2) == []
    assert set(found.values()) == {1}
    assert len(found) == 600
    assert other.stats().drained


def test_two_share_what_there_is(server, opened, name):
    queues = [opened(server.url(name)) for _ in range(2)]
    queues[0].put(range(4000))
    done = [[], []]
    both_have_some = threading.Barrier(2)

    def work(index):
        leases = queues[index].lease(64, 60.0)
        both_have_some.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while len(done[0]) + len(done[1]) < 4000 and time.monotonic() < deadline:
            queues[index].ack(leases)
            done[index] += params(leases)
            leases = queues[index].lease(64, 60.0, 0.2)
        assert leases == []

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done[0] + done[1]) == list(range(4000))
    assert min(len(done[0]), len(done[1])) >= 64


def test_a_paused_holder_has_lost_its_leases_when_it_wakes(server, opened, name):
    queue = opened(server.url(name))
    queue.put(["a", "b"])
    with started(HOLDER, queue.url, "1") as holder:
        assert holder.stdout.readline() == "2\n"
        holder.send_signal(signal.SIGSTOP)
        # the broker notices that it says nothing (keepAliveIntervalSeconds)
        leases = []
        until(lambda: leases.extend(queue.lease(9, 60.0, 1.0)) or len(leases) == 2)
        holder.send_signal(signal.SIGCONT)
        out, _ = holder.communicate("go\n", timeout=60)
    assert out == "2\n"
    assert queue.ack(leases) == []
    assert queue.stats().drained


def test_a_child_does_not_keep_its_dead_parents_leases(server, opened, name):
    queue = opened(server.url(name))
    queue.put(["a"])
    with started(PARENT, queue.url) as parent:
        child = int(parent.stdout.readline())
        try:
            parent.kill()
            assert params(queue.lease(1, 60.0)) == ["a"]
        finally:
            os.kill(child, signal.SIGKILL)


def test_one_who_counts_wrongly_is_not_deaf(server, opened, name):
    queue = opened(server.url(name))
    queue.lease(1, 60.0, 0.1)
    consumer = queue._session.consumers[0]
    queue.put(["a"])
    until(lambda: consumer.inbox)
    assert params(queue.lease(1, 60.0)) == ["a"]
    # it believes that the broker may send more, which the broker does not
    consumer.permits += 5
    queue.put(["b"])
    assert until(lambda: queue.lease(1, 60.0, 0.3))


# The server


def test_an_idle_queue_costs_next_to_nothing(server, opened, name):
    with Proxy(server.port) as proxy:
        queue = opened(server.url(name, port=proxy.port))
        queue.lease(1, 60.0, 0.1)
        before = proxy.carried
        began = time.monotonic()
        for _ in range(3):
            assert queue.lease(1, 60.0, queue.idle) == []
            assert queue.stats().drained
        assert time.monotonic() - began < SOON
        assert proxy.carried - before < 3000
        queue.close()


def test_numbers_come_from_the_admin_interface(server, opened, name):
    queue = opened(server.url(name, admin=server.admin))
    queue.put(range(10))
    leases = queue.lease(6, 60.0)
    queue.ack(leases[:1])
    queue.nack(leases[1:3], 1000.0)
    queue.fail([(leases[3], Failure("exit 1", ""))])

    def numbers():
        stats = queue.stats()
        return (stats.waiting, stats.delayed, stats.leased, stats.failed)

    # who is delayed waits until the broker has come across it
    until(lambda: numbers() == (6, 0, 2, 1))
    assert len(queue.lease(4, 60.0)) == 4
    assert queue.lease(9, 60.0, 0.3) == []
    until(lambda: numbers() == (0, 2, 6, 1))
    assert not queue.stats().drained


def test_an_admin_interface_that_is_away_is_one_line(server, opened, name):
    queue = opened(server.url(name, admin=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(StorageError) as caught:
        queue.stats()
    assert "no answer from http://127.0.0.1" in str(caught.value)


def test_a_partitioned_topic_is_one_queue(server, opened, name):
    server.ask(f"persistent/public/default/{name}/partitions", "PUT", 3)
    queue, other = opened(server.url(name)), opened(server.url(name), create=False)
    assert not queue.guarantees.ordered
    queue.put(range(1000))
    (bad,) = queue.lease(1, 60.0)
    queue.fail([(bad, Failure("exit 1", "no"))])
    found = drain(other, 999)
    assert sorted([*found, bad.task.param]) == list(range(1000))
    assert other.retry() == 1
    assert drain(other, 1) == params([bad])
    assert other.stats().drained


def test_a_topic_that_moves_goes_on(server, opened, name):
    queue = opened(server.url(name))
    queue.put(range(100))
    held = queue.lease(10, 60.0)
    server.ask(f"persistent/public/default/{name}/unload", "PUT")
    lost = queue.ack(held)
    done = {lease.task.param for lease in held if lease not in lost}
    found = set(drain(queue, 100 - len(done)))
    assert found | done == set(range(100))
    until(lambda: queue.stats().drained)


def test_each_subscription_runs_all_tasks_and_its_own_retries(server, opened, name):
    first = opened(server.url(name, subscription="first"))
    second = opened(server.url(name, subscription="second"))
    first.put(["a", "b"])
    a, b = first.lease(2, 60.0)
    first.nack([a])
    first.fail([(b, Failure("exit 1", ""))])
    assert sorted(drain(second, 2)) == ["a", "b"]
    assert second.lease(1, 60.0, 0.3) == []
    assert second.stats().drained
    assert list(second.records(State.FAILED)) == []
    assert drain(first, 1) == ["a"]
    assert [record.task.param for record in first.records(State.FAILED)] == ["b"]


def test_failures_outlive_a_restart(server, opened, name):
    queue = opened(server.url(name))
    queue.put(["a"])
    queue.fail([(queue.lease(1, 60.0)[0], Failure("exit 1", "why"))])
    server.restart(hard=True)
    assert [record.failure.error for record in queue.records(State.FAILED)] == ["why"]


def test_a_param_that_is_too_large_is_one_line(server, opened, name):
    queue = opened(server.url(name))
    with pytest.raises(ParamError) as caught:
        queue.put(["a", "x" * (6 << 20)])
    assert "maxMessageSize" in str(caught.value)
    assert drain(queue, 1) == ["a"]


def test_a_long_output_is_cut_to_what_fits(server, opened, name):
    queue = opened(server.url(name))
    queue.put(["x" * (5_000_000)])
    (lease,) = queue.lease(1, 60.0)
    queue.fail([(lease, Failure("exit 1", "e" * 9_000_000, "\udcff" * 9_000_000))])
    (record,) = queue.records(State.FAILED)
    assert record.failure.error.endswith("e")
    assert record.failure.output


def test_what_is_not_known_is_said(server, opened, name):
    queue = opened(server.url(name))
    for ask in (lambda: list(queue.records()), lambda: queue.purge(State.WAITING)):
        with pytest.raises(NotSupportedError) as caught:
            ask()
        assert "Pulsar" in str(caught.value)
    assert queue.find(Task.of("a").id) is None
