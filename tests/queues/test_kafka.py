"""What is special about the queue on Kafka."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from brokers.kafka_server import PASSWORD, USER, KafkaServer
from brokers.proxy import Proxy
from brokers.server import free_port, running
from maniple.errors import ManipleError, QueueError, UsageError
from maniple.queue import Failure, State
from maniple.queues import kafka_journal
from maniple.queues.kafka_journal import Journal
from maniple.queues.kafka_reader import Reader
from maniple.urls import open_queue, redact
from support import until

pytestmark = pytest.mark.xdist_group("kafka")
SOON = 30.0
"""Seconds for what does not wait until the time that `reconnect` allows is up, a minute."""


def params(leases):
    return [lease.task.param for lease in leases]


def counts(queue):
    stats = queue.stats()
    return (stats.waiting, stats.delayed, stats.leased, stats.done, stats.failed)


@pytest.fixture
def server():
    return running(KafkaServer)


@pytest.fixture
def queue(server, name, opened):
    return opened(server.url(name))


@pytest.fixture
def produce(server, name):
    """Put messages as another program does, into a topic that it has made."""
    place = {"bootstrap.servers": f"127.0.0.1:{server.port}"}

    def send(*values, partitions=1, transaction=None, **more):
        admin = AdminClient(place)
        made = admin.create_topics([NewTopic(name, partitions, 1)])
        made[name].exception(timeout=60)
        settings = {**place, "transactional.id": name} if transaction else place
        producer = Producer(settings)
        if transaction:
            producer.init_transactions(60)
            producer.begin_transaction()
        for value in values:
            producer.produce(name, value, **more)
        if transaction == "commit":
            producer.commit_transaction(60)
        elif transaction == "abort":
            producer.flush(60)
            producer.abort_transaction(60)
        assert producer.flush(60) == 0

    return send


# Opening


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("//127.0.0.1/a/b", "one name"),
        ("//127.0.0.1/a?color=red", "no option 'color'"),
        ("//127.0.0.1/a?decode=xml", "json or identity"),
        ("//127.0.0.1/a?partitions=none", "partitions=none"),
        ("//127.0.0.1/a?partitions=0", "partitions=0"),
        ("//127.0.0.1/a?mechanism=magic", "SCRAM-SHA-512"),
        ("//127.0.0.1:99999/a", "99999"),
        ("127.0.0.1/a", "kafka://HOST/NAME"),
    ],
)
def test_a_malformed_url_is_refused(rest, said):
    with pytest.raises(UsageError, match=said) as caught:
        open_queue(f"kafka:{rest}")
    assert "\n" not in str(caught.value)


def test_a_missing_queue_says_what_to_do(server, name):
    url = server.url(name, reconnect=3)
    with pytest.raises(
        QueueError, match=f"maniple sweep -q kafka://127.0.0.1:.*/{name} "
    ) as caught:
        open_queue(url, create=False)
    assert "reconnect" not in str(caught.value)
    # and looking for it made nothing
    with pytest.raises(QueueError):
        open_queue(url, create=False)


def test_a_name_that_kafka_does_not_take_is_refused(server):
    with pytest.raises(QueueError, match="letters, digits"):
        open_queue(server.url("a%20b"))


def test_a_server_that_is_not_there_is_said_soon():
    began = time.monotonic()
    with pytest.raises(QueueError, match="nobody answers at kafka://127.0.0.1") as caught:
        open_queue(f"kafka://127.0.0.1:{free_port()}/q")
    assert time.monotonic() - began < SOON
    assert "\n" not in str(caught.value)


def test_too_many_replicas_are_refused(server, name):
    with pytest.raises(QueueError, match="replicas"):
        open_queue(server.url(name, replicas=3))


def test_two_who_make_a_queue_at_the_same_time_make_one(server, name, opened):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(opened(server.url(name)))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found[0].put(["a"])
    assert params(found[1].lease(1, 60.0)) == ["a"]
    assert found[2].stats().leased == 1


def test_a_topic_that_is_no_journal_is_refused(server, name):
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{server.port}"})
    topics = [NewTopic(f"{name}{end}", 1, 1) for end in ("", ".journal", ".failed")]
    for made in admin.create_topics(topics).values():
        made.result(timeout=60)
    queue = open_queue(server.url(name))
    try:
        with pytest.raises(QueueError, match="LogAppendTime"):
            queue.put(["a"])
    finally:
        queue.close()


# Credentials


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_who_has_the_password_is_let_in(server, name, opened, mechanism):
    url = server.url(name, user=USER, password=quote(PASSWORD, safe=""), mechanism=mechanism)
    queue = opened(url)
    assert queue.put(["a"]) == 1
    assert params(queue.lease(1, 60.0)) == ["a"]
    assert PASSWORD not in redact(queue.url)
    assert quote(PASSWORD, safe="") not in redact(queue.url)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_a_wrong_password_is_said_soon_and_not_shown(server, name, caplog, capfd, mechanism):
    caplog.set_level(logging.DEBUG)
    began = time.monotonic()
    with pytest.raises(QueueError, match="the password is wrong") as caught:
        open_queue(server.url(name, user=USER, password="wr0ng", mechanism=mechanism))
    assert time.monotonic() - began < SOON
    for text in (str(caught.value), caplog.text, *capfd.readouterr()):
        assert "wr0ng" not in text


def test_credentials_come_from_the_environment(server, name, opened, monkeypatch):
    monkeypatch.setenv("KAFKA_USER", USER)
    monkeypatch.setenv("KAFKA_PASSWORD", PASSWORD)
    queue = opened(f"kafka://127.0.0.1:{server.sasl_port}/{name}")
    assert queue.put(["a"]) == 1
    assert PASSWORD not in queue.url


def test_nothing_is_printed_when_connections_are_lost(server, name, opened, capfd):
    with Proxy(server.proxied, server.proxy_port) as proxy:
        queue = opened(server.url(name, port=proxy.port))
        queue.put(["a"])
        proxy.cut()
        queue.put(["b"])
        queue.close()
    assert capfd.readouterr() == ("", "")


# TLS


def test_a_connection_may_be_encrypted(server, name, opened):
    queue = opened(server.url(name, tls=True, ca=server.ca))
    assert queue.put(["a"]) == 1
    assert params(opened(server.url(name)).lease(1, 60.0)) == ["a"]


def test_a_certificate_of_nobody_known_is_refused(server, name):
    with pytest.raises(QueueError, match="TLS") as caught:
        open_queue(server.url(name, tls=True, reconnect=2))
    assert "\n" not in str(caught.value)


def test_a_file_of_certificates_that_is_missing_is_said(server, name):
    with pytest.raises(ManipleError, match="nothing.pem") as caught:
        open_queue(server.url(name, tls=True, ca="/nothing.pem"))
    assert "\n" not in str(caught.value)


def test_tls_where_there_is_none_is_said(server, name):
    url = f"kafka+ssl://127.0.0.1:{server.port}/{name}?reconnect=2"
    with pytest.raises(QueueError) as caught:
        open_queue(url)
    assert "\n" not in str(caught.value)


# Messages of other programs


def test_messages_of_other_programs_are_tasks(produce, server, name, opened):
    produce("one", "zwei é", "one", key="some key")
    queue = opened(server.url(name), create=False)
    leases = queue.lease(9, 60.0)
    assert params(leases) == ["one", "zwei é", "one"]
    assert len({lease.task.id for lease in leases}) == 3
    assert [lease.task.number for lease in leases] == [1, 2, 3]
    queue.nack(leases)
    again = queue.lease(9, 60.0)
    assert [lease.task.id for lease in again] == [lease.task.id for lease in leases]
    assert [lease.task.attempt for lease in again] == [2, 2, 2]


def test_messages_of_other_programs_may_be_json(produce, server, name, opened):
    produce('{"x": 1}', "[2]")
    assert params(opened(server.url(name, decode="json")).lease(9, 60.0)) == [{"x": 1}, [2]]
    assert params(opened(server.url(name)).lease(9, 60.0)) == []
    assert opened(server.url(name, decode="json"), decoder="identity").stats().leased == 2


def test_messages_that_are_no_params_are_set_aside(produce, server, name, opened):
    produce("1", "{", b"\xff\xfe", "NaN", "2")
    produce(None, key="a tombstone")
    queue = opened(server.url(name, decode="json"))
    assert params(queue.lease(9, 60.0)) == [1, 2]
    records = list(queue.records(State.FAILED))
    assert [record.failure.cause for record in records] == ["undecodable"] * 4
    assert [record.task.param for record in records] == ["{", "\\xff\\xfe", "NaN", ""]
    assert queue.stats().failed == 4


def test_who_waits_hears_of_messages_of_other_programs(produce, server, name, opened):
    produce("first")
    queue = opened(server.url(name))
    queue.ack(queue.lease(1, 60.0))
    timer = threading.Timer(0.3, produce, ["late"])
    timer.start()
    began = time.monotonic()
    found = queue.lease(1, 60.0, wait=60.0)
    timer.join()
    assert params(found) == ["late"]
    assert time.monotonic() - began < SOON


def test_what_a_transaction_took_back_is_no_task(produce, server, name, opened):
    produce("no", "never", transaction="abort")
    produce("yes", transaction="commit")
    queue = opened(server.url(name))
    found = []
    while leases := queue.lease(9, 60.0):
        found += params(leases)
        queue.ack(leases)
    assert found == ["yes"]
    stats = queue.stats()
    assert stats.drained
    assert stats.done == 1


def test_tasks_that_the_topic_dropped_are_left_out(server, name, opened):
    filler = opened(server.url(name))
    filler.put(range(10))
    held = filler.lease(2, 60.0)
    filler._client.delete_before(name, {0: 6})
    queue = opened(server.url(name))
    assert params(queue.lease(9, 60.0)) == [6, 7, 8, 9]
    queue.nack(held)
    assert queue.lease(9, 60.0) == []
    assert (queue.stats().waiting, queue.stats().leased) == (0, 4)


# Partitions


def test_many_partitions_are_one_queue(server, name, opened):
    queue = opened(server.url(name, partitions=4))
    other = opened(server.url(name), create=False)
    assert not other.guarantees.ordered
    assert queue.put(range(500)) == 500
    assert queue.put(range(510)) == 10
    found = Counter()
    while leases := [*queue.lease(40, 60.0), *other.lease(1, 60.0)]:
        assert {lease.task.number for lease in leases} == {0}
        found.update(params(leases))
        assert queue.ack(leases) == []
    assert found == Counter(range(510))
    assert len(queue._journal.tasks.parts) == 4
    assert queue.stats().done == 510
    assert len(list(queue.records(State.DONE))) == 510


def test_partitions_of_another_program_are_all_read(produce, server, name, opened):
    produce(*map(str, range(50)), partitions=3)
    queue = opened(server.url(name))
    assert sorted(map(int, params(queue.lease(99, 60.0)))) == list(range(50))


# The journal


@pytest.fixture
def often(monkeypatch):
    """Have the journal cut short all the time."""
    monkeypatch.setattr(kafka_journal, "SNAPSHOT_EVERY", 20)


def journal_start(queue):
    return queue._reader.ends(topic=f"{queue._name}.journal")[0]


def test_the_journal_is_cut_and_nothing_is_forgotten(often, server, name, opened):
    queue = opened(server.url(name))
    queue.put(range(200))
    held = queue.lease(3, 600.0)
    queue.nack(held[1:2])
    queue.fail([(held[2], Failure("broken", "it broke"))])
    for _ in range(100):
        assert queue.ack(queue.lease(1, 600.0)) == []
    until(lambda: journal_start(queue) > 0)
    other = opened(server.url(name), create=False)
    assert counts(other) == counts(queue) == (98, 0, 1, 100, 1)
    assert other.ack(held[:1]) == []
    assert [record.failure.cause for record in other.records(State.FAILED)] == ["broken"]
    assert other.put(range(200)) == 0


def test_who_slept_while_the_journal_was_cut_goes_on(often, server, name, opened):
    sleeper = opened(server.url(name))
    queue = opened(server.url(name))
    queue.put(range(300))
    mine = sleeper.lease(2, 600.0)
    for _ in range(100):
        queue.ack(queue.lease(1, 600.0))
    until(lambda: journal_start(queue) > 10)
    # as one whose process was stopped: what came meanwhile was not read, and is not there any more
    sleeper._journal._consumer.assign([TopicPartition(f"{name}.journal", 0, 3)])
    assert sleeper.ack(mine) == []
    assert counts(sleeper) == counts(queue) == (198, 0, 0, 102, 0)


def test_four_at_work_while_the_journal_is_cut(often, server, name, opened):
    filler = opened(server.url(name))
    filler.put(range(2000))
    found = []

    def work():
        queue = open_queue(server.url(name))
        mine = []
        while leases := queue.lease(7, 600.0):
            mine += params(leases)
            assert queue.ack(leases) == []
        queue.close()
        found.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(2000))
    assert filler.stats().done == 2000


def test_who_hears_nothing_for_long_goes_on(server, queue, monkeypatch):
    renewed = []
    renew = Journal._renew
    monkeypatch.setattr(Journal, "_renew", lambda self: renewed.append(renew(self)))
    queue.put(["a"])
    server.stop()
    monkeypatch.setattr(kafka_journal, "DEAF_SECONDS", 0.5)
    # a server ends with the thread that started it
    with ThreadPoolExecutor(1) as pool:
        leased = pool.submit(queue.lease, 1, 60.0)
        try:
            until(lambda: renewed)
        finally:
            monkeypatch.undo()
            server.start()
        assert params(leased.result()) == ["a"]


def test_what_is_not_a_record_is_skipped(server, name, opened, queue, caplog):
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{server.port}"})
    producer.produce(f"{name}.journal", "hello")
    producer.flush(60)
    queue.put(["a"])
    assert params(opened(server.url(name)).lease(1, 60.0)) == ["a"]


def test_records_of_a_newer_version_are_an_error(server, name, queue):
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{server.port}"})
    record = {"v": 99, "member": "x", "seq": 1, "do": "magic"}
    producer.produce(f"{name}.journal", json.dumps(record))
    producer.flush(60)
    with pytest.raises(QueueError, match="newer version"):
        queue.stats()


def test_one_who_may_not_put_for_long_lets_others_in(server, name, queue):
    """One who died while it put holds up nobody."""
    script = (
        "import os, sys\n"
        "from maniple.urls import open_queue\n"
        "queue = open_queue(sys.argv[1])\n"
        "queue._filler._begin()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    run_python(script, server.url(name))
    began = time.monotonic()
    assert queue.put(["a"]) == 1
    # it was promised that nobody else would put, for longer than a minute
    assert time.monotonic() - began < SOON


def run_python(script, *words, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run(
        [sys.executable, "-c", script, *words],
        env=environment,
        check=False,
        timeout=300,
        **options,
    )


# Those who sleep, die or do nothing


def test_who_was_stopped_for_too_long_is_told_what_it_lost(server, name, queue, tmp_path):
    script = (
        "import sys\n"
        "from maniple.urls import open_queue\n"
        "queue = open_queue(sys.argv[1])\n"
        "leases = queue.lease(2, 1.0)\n"
        "print('held', flush=True)\n"
        "sys.stdin.readline()\n"
        "print(len(queue.ack(leases)), flush=True)\n"
        "queue.close()\n"
    )
    queue.put(["a", "b"])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen(
        [sys.executable, "-c", script, server.url(name)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as sleeper:
        assert sleeper.stdout.readline() == "held\n"
        sleeper.send_signal(signal.SIGSTOP)
        (mine,) = queue.lease(1, 60.0, wait=60.0)
        sleeper.send_signal(signal.SIGCONT)
        sleeper.stdin.write("\n")
        sleeper.stdin.flush()
        # the other task had lapsed, and nobody had taken it since
        assert sleeper.stdout.readline() == "1\n"
    assert queue.ack([mine]) == []
    assert queue.stats().done == 2


def test_who_closes_gives_back_at_once(server, name, opened, queue):
    queue.put(["a"])
    other = open_queue(server.url(name))
    assert other.lease(1, 600.0)
    other.close()
    assert params(queue.lease(1, 60.0)) == ["a"]
    assert queue.stats().leased == 1


def test_tasks_that_cannot_be_read_are_given_back(server, name, opened, queue, monkeypatch):
    queue.put(["a", "b"])
    with monkeypatch.context() as patched:
        patched.setattr(Reader, "read", lambda self, wanted: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            queue.lease(1, 600.0)
    assert params(queue.lease(9, 600.0)) == ["a", "b"]


def test_an_idle_minion_costs_next_to_nothing(server, name, opened):
    with Proxy(server.proxied, server.proxy_port) as proxy:
        queue = opened(server.url(name, port=proxy.port))
        queue.put(["a"])
        queue.ack(queue.lease(1, 60.0))
        queue.lease(1, 60.0, wait=1.0)
        before = proxy.carried
        began = time.monotonic()
        while time.monotonic() - began < 5:
            assert queue.lease(1, 60.0, wait=queue.idle) == []
            assert queue.stats().drained
        # two questions of each kind a second, and their answers
        assert (proxy.carried - before) / (time.monotonic() - began) < 4000
        queue.close()


def test_the_tasks_wait_for_nobody_who_holds_others(queue, server, name, opened):
    other = opened(server.url(name))
    queue.put(range(20))
    assert len(queue.lease(1, 600.0)) == 1
    assert len(other.lease(99, 600.0)) == 19


def test_the_age_of_the_oldest_task_is_told(queue):
    assert queue.stats().oldest is None
    queue.put(["a"])
    until(lambda: queue.stats().oldest > 0.5)
    began = time.monotonic()

    def is_that_of_b():
        # the broker's clock tells milliseconds, and where we took its time from is not exact
        return 0 <= queue.stats().oldest < time.monotonic() - began + 0.3

    queue.put(["b"])
    leases = queue.lease(1, 60.0)
    assert is_that_of_b()
    queue.nack(leases)
    assert is_that_of_b()


# Sweeps


def test_a_sweep_put_by_another_is_known(server, name, opened, queue):
    assert queue.put(range(100)) == 100
    assert opened(server.url(name)).put(range(150)) == 50
    assert queue.put(range(160)) == 10


def test_what_other_programs_put_meanwhile_hides_nothing(produce, server, name, opened):
    produce("foreign")
    queue = opened(server.url(name))
    assert queue.put(["a"]) == 1
    produce("foreign")
    assert queue.put(["a", "b"]) == 1
    assert queue.put(["a", "b"]) == 0
    assert params(queue.lease(9, 60.0)) == ["foreign", "a", "foreign", "b"]


def test_purging_what_is_done_frees_the_disk(queue):
    queue.put(range(50))
    queue.ack(queue.lease(40, 60.0))
    assert queue.purge(State.DONE) == 40
    assert queue._reader.ends()[0] == 40
    assert params(queue.lease(99, 60.0)) == list(range(40, 50))
    assert queue.put(range(50)) == 40


def test_a_task_that_is_too_large_is_refused_in_one_line(queue):
    with pytest.raises(QueueError, match="too large|larger") as caught:
        queue.put(["x" * (40 << 20)])
    assert "\n" not in str(caught.value)
    assert queue.put(["a"]) == 1


def test_a_long_output_is_kept_by_its_end(queue):
    queue.put(["a"])
    (lease,) = queue.lease(1, 60.0)
    queue.fail([(lease, Failure("exit 1", "e", "x" * (3 << 20) + "end"))])
    (record,) = queue.records(State.FAILED)
    assert record.failure.output.endswith("xend")
    assert len(record.failure.output) < 2 << 20
