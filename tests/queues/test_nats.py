"""What is special about the queue `nats:`: URLs, logins, TLS, other programs, lost moments."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from brokers.nats_server import (
    PASSWORD,
    TOKEN,
    USER,
    BareServer,
    NatsCredsServer,
    NatsServer,
    NatsTlsServer,
)
from brokers.proxy import Proxy
from brokers.server import free_port, running
from maniple.errors import ManipleError, QueueError, StorageError, UsageError
from maniple.queue import Failure, State
from maniple.queues.nats import NatsQueue, NatsTlsQueue
from maniple.queues.nats_channel import Fetched, clock
from maniple.task import Task
from maniple.urls import open_queue, redact
from support import Patient, until

pytestmark = pytest.mark.xdist_group("nats")
SOON = 30.0
"""Seconds for what does not wait until the time that `reconnect` allows is up, a minute."""
SILENCE = 6.0
"""Seconds after which the server takes leases back; a holder must get the processor in this time."""
HOLDER = """
import sys
from maniple.urls import open_queue
queue = open_queue(sys.argv[1], create=False)
leases = queue.lease(1, 60.0, wait=60.0)
leases += queue.lease(1, 60.0, wait=60.0)
print(len(leases), flush=True)
sys.stdin.readline()
print(len(queue.ack(leases)), flush=True)
queue.close()
"""


@pytest.fixture
def server():
    return running(NatsServer)


@pytest.fixture
def opened(opened):
    return lambda url, **options: Patient(opened(url, **options))


@pytest.fixture
def queue(server, name, opened):
    return opened(server.url(name, silence=SILENCE))


def params(leases):
    return [lease.task.param for lease in leases]


def now(queue):
    """Lease what can be leased now, as far as the server tells."""
    return queue.lease(9, 60.0, wait=0.2)


def publish(server, *messages, headers=None):
    """Publish as another program does."""

    async def send():
        client = Client()
        await client.connect(
            f"nats://127.0.0.1:{server.port}",
            user=USER,
            password=PASSWORD,
            allow_reconnect=False,
        )
        for subject, data in messages:
            await client.publish(subject, data, headers=headers)
        await client.flush()
        await client.close()

    asyncio.run(send())


def start(url):
    """Start a process that leases and waits; return it and how many leases it has."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, url],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, int(process.stdout.readline())


# URLs


@pytest.mark.parametrize(
    ("rest", "word"),
    [
        ("//h/a/b", "one word"),
        ("//h/a.b", "one word"),
        ("//h/a%20b", "one word"),
        ("//h/q?silent=3", "no option 'silent'"),
        ("//h/q?silence=0", "silence=0"),
        ("//h/q?silence=x", "silence=x"),
        ("//h/q?decode=xml", "decode=xml"),
        ("//h:x/q", "port 'x'"),
        ("h/q", "not a nats URL"),
    ],
)
def test_a_malformed_url_is_said_in_one_line(rest, word):
    with pytest.raises(UsageError) as caught:
        NatsQueue(rest)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_queue_without_a_name_is_called_maniple(server, opened):
    queue = opened(server.url(""))
    assert queue._store.names.stream == "maniple-maniple"


def test_a_queue_that_does_not_exist_is_to_be_filled_first(server, name):
    with pytest.raises(QueueError, match="fill it first: maniple sweep -q nats://127") as caught:
        open_queue(server.url(name), create=False)
    assert "minion" not in str(caught.value)


def test_a_stream_of_another_kind_is_left_alone(server, name, queue):
    async def spoil():
        store = queue._store
        await store.api(f"STREAM.DELETE.{store.names.stream}")
        await store.api(
            f"STREAM.CREATE.{store.names.stream}",
            {"name": store.names.stream, "subjects": [f"other.{name}"]},
        )

    queue._call(spoil)
    with pytest.raises(QueueError, match="not a queue of Maniple"):
        open_queue(server.url(name))


def test_a_consumer_that_was_removed_does_not_repeat_what_is_done(server, name, queue):
    queue.put("ab")
    queue.ack(queue.lease(1, 60.0))
    queue._call(lambda: queue._store.api(f"CONSUMER.DELETE.{queue._store.names.stream}.minions"))
    with pytest.raises(QueueError, match="minions .* was removed"):
        open_queue(server.url(name))


def test_a_server_that_is_absent_is_said_soon(name):
    began = time.monotonic()
    with pytest.raises(StorageError, match="no NATS server answers") as caught:
        open_queue(f"nats://127.0.0.1:{free_port()}/{name}?reconnect=1")
    assert time.monotonic() - began < SOON
    assert "\n" not in str(caught.value)


def test_of_several_hosts_one_that_answers_is_enough(server, name, opened):
    url = server.url(name).replace("@", f"@127.0.0.1:{free_port()},")
    queue = opened(url)
    queue.put(["a"])
    server.restart()
    assert params(queue.lease(1, 60.0)) == ["a"]


def test_a_server_without_jetstream_is_said_in_one_line(name):
    server = running(BareServer)
    with pytest.raises(QueueError, match="no JetStream: start it with -js"):
        open_queue(server.url(name))


def test_replicas_that_the_server_cannot_have_are_said_in_one_line(server, name):
    with pytest.raises(QueueError, match="replicas"):
        open_queue(server.url(name, replicas=3))


# Logins


def test_user_and_password_come_from_the_environment(server, name, opened, monkeypatch):
    bare = f"nats://127.0.0.1:{server.port}/{name}"
    with pytest.raises(QueueError, match="refuses the user"):
        open_queue(bare)
    monkeypatch.setenv("NATS_USER", USER)
    monkeypatch.setenv("NATS_PASSWORD", PASSWORD)
    assert opened(bare).put(["a"]) == 1


def test_tokens_come_from_url_option_and_environment(name, monkeypatch):
    server = running(BareServer)
    bare = f"nats://127.0.0.1:{server.port}/{name}"
    # one who is let in learns that there is no JetStream
    for url in (server.url(name), f"{bare}?token={TOKEN}"):
        assert TOKEN not in redact(url)
        with pytest.raises(QueueError, match="JetStream"):
            open_queue(url)
    with pytest.raises(QueueError, match="refuses") as caught:
        open_queue(f"{bare}?token=wr0ng")
    assert "wr0ng" not in str(caught.value)
    monkeypatch.setenv("NATS_TOKEN", TOKEN)
    with pytest.raises(QueueError, match="JetStream"):
        open_queue(bare)


def test_a_credentials_file_lets_us_in(name, opened, monkeypatch):
    server = running(NatsCredsServer)
    with pytest.raises(QueueError, match="refuses"):
        open_queue(server.url(name))
    queue = opened(server.url(name, creds=server.creds))
    queue.put(["a"])
    server.restart()
    assert params(queue.lease(1, 60.0)) == ["a"]
    monkeypatch.setenv("NATS_CREDS", str(server.creds))
    assert opened(server.url(name), create=False).stats().total == 1


def test_a_credentials_file_that_is_none_is_said_in_one_line(name, tmp_path):
    server = running(NatsCredsServer)
    with pytest.raises(QueueError, match="does not exist"):
        open_queue(server.url(name, creds=tmp_path / "none"))
    (tmp_path / "bad").write_text("nothing\n")
    with pytest.raises(ManipleError) as caught:
        open_queue(server.url(name, creds=tmp_path / "bad", reconnect=1))
    assert "\n" not in str(caught.value)


def test_a_user_needs_no_more_than_the_page_says(server, name, opened):
    queue = opened(server.url(name, user="narrow", password="pw"))
    queue.put([1, "x" * 3_000_000])
    leases = queue.lease(2, 60.0)
    queue.nack(leases[:1], 0.01)
    queue.fail([(leases[1], Failure("exit 1", ""))])
    assert queue.retry() == 1
    found = []
    while len(found) < 2:
        leases = queue.lease(2, 60.0, wait=60.0)
        assert leases
        assert queue.ack(leases) == []
        found += leases
    assert len(list(queue.records())) == 2
    assert queue.purge() == 2


def test_a_user_who_may_not_is_told(server, name):
    with pytest.raises(QueueError, match="does not permit"):
        open_queue(server.url(name, user="locked", password="pw"))


# TLS


def test_tls_with_a_certificate_of_ones_own(name, opened, monkeypatch):
    server = running(NatsTlsServer)
    queue = opened(server.url(name, ca=server.certificate))
    assert isinstance(queue._queue, NatsTlsQueue)
    queue.put(["a"])
    server.restart()
    assert params(queue.lease(1, 60.0)) == ["a"]
    monkeypatch.setenv("NATS_CA", str(server.certificate))
    assert opened(server.url(name), create=False).stats().leased == 1


@pytest.mark.parametrize("scheme", ["nats", "nats+tls"])
def test_a_server_that_cannot_be_trusted_is_refused_at_once(name, scheme):
    server = running(NatsTlsServer)
    began = time.monotonic()
    with pytest.raises(QueueError, match="no TLS with") as caught:
        open_queue(server.url(name).replace("nats+tls:", f"{scheme}:"))
    assert time.monotonic() - began < SOON
    assert "\n" not in str(caught.value)


def test_nothing_is_said_to_a_server_that_does_not_speak_tls(server, name):
    with socket.create_connection(("127.0.0.1", server.port), 5) as plain:
        greeting = plain.recv(1 << 16)
    with Proxy(server.port) as proxy:
        url = server.url(name, port=proxy.port).replace("nats:", "nats+tls:")
        with pytest.raises(QueueError, match="does not offer TLS"):
            open_queue(url)
        # its greeting came, with another number in it, and not a word of ours went
        assert abs(proxy.carried - len(greeting)) < 10


def test_a_certificate_file_that_is_missing_is_said_in_one_line(name):
    with pytest.raises(QueueError, match="cannot use none.pem"):
        open_queue(f"nats+tls://127.0.0.1/{name}?ca=none.pem")


# Other programs


def test_messages_of_other_programs_are_tasks(server, name, queue):
    publish(server, (f"maniple.{name}.put", b"one"), (f"maniple.{name}.put", b"one"))
    publish(server, (f"maniple.{name}.task.x", b"two"), headers={"Other": "header"})
    leases = queue.lease(3, 60.0)
    assert params(leases) == ["one", "one", "two"]
    assert len({lease.task.id for lease in leases}) == 3
    queue.nack(leases[:1])
    queue.fail([(leases[1], Failure("exit 1", ""))])
    queue.ack(leases[2:])
    again = queue.lease(1, 60.0)
    assert [(each.task.id, each.task.attempt) for each in again] == [(leases[0].task.id, 2)]
    assert now(queue) == []
    assert queue.find(leases[1].task.id).failure.cause == "exit 1"
    queue.ack(again)
    assert queue.retry() == 1
    assert queue.ack(queue.lease(1, 60.0)) == []
    assert queue.stats().done == 3


def test_a_foreign_message_keeps_its_id_when_it_comes_again(server, name, queue):
    publish(server, (f"maniple.{name}.put", b"one"))
    first = queue.lease(1, 0.3)
    again = queue.lease(1, 60.0)
    assert again[0].task.id == first[0].task.id


def test_json_of_other_programs_is_decoded_and_what_is_none_is_set_aside(server, name, opened):
    queue = opened(server.url(name, decode="json"))
    put = f"maniple.{name}.put"
    publish(server, (put, b'{"x": 1}'), (put, b"{no json}"), (put, b"\xff"), (put, b"[2]"))
    queue.put(["ours"])
    assert params(queue.lease(3, 60.0)) == [{"x": 1}, [2], "ours"]
    records = list(queue.records(State.FAILED))
    assert [r.failure.cause for r in records] == ["unreadable", "unreadable"]
    assert queue.stats().failed == 2


def test_bytes_that_are_no_text_are_set_aside(server, name, queue):
    publish(server, (f"maniple.{name}.put", b"caf\xe9"))
    found = []
    until(lambda: found.extend(now(queue)) or found or queue.stats().failed)
    assert found == []
    (record,) = queue.records(State.FAILED)
    assert record.failure.cause == "unreadable"
    assert "decode=" in record.failure.error


def test_headers_of_ours_in_messages_of_others_stop_nobody(server, name, queue):
    subject = f"maniple.{name}.task.{'0' * 32}"
    publish(server, (subject, b"odd"), headers={"Maniple-Task": "1 x", "Maniple-Pieces": "0"})
    publish(server, (f"{subject}x", b"plain"), headers={"Maniple-Pieces": "many"})
    assert params(queue.lease(2, 60.0)) == ["odd", "plain"]


def test_the_decoder_may_be_given_to_the_class(server, name):
    rest = server.url(name).partition(":")[2]
    queue = NatsQueue(rest, decoder="json")
    try:
        publish(server, (f"maniple.{name}.put", b"3"))
        assert params(queue.lease(1, 60.0, wait=60.0)) == [3]
    finally:
        queue.close()


# Large params


def test_a_param_larger_than_a_message_is_kept_in_pieces(server, queue):
    large = ["x" * 5_000_000, "y" * 3_000_000]
    assert queue.put([large[0], 1, large[1]]) == 3
    assert queue.put(large) == 0
    leases = queue.lease(3, 60.0)
    assert params(leases) == [large[0], 1, large[1]]
    queue.nack(leases[:1])
    queue.fail([(leases[2], Failure("exit 1", "e" * 2_000_000, "o" * 2_000_000))])
    again = queue.lease(1, 60.0)
    assert params(again) == large[:1]
    assert now(queue) == []
    (record,) = queue.records(State.FAILED)
    assert record.task.param == large[1]
    assert record.failure.output.endswith("ooo")
    assert queue.ack(again + leases[1:2]) == []
    pieces = queue._store.names.of("data")
    kept = queue._call(lambda: queue._store.state(pieces, consumer=False)).messages
    assert queue.purge(State.FAILED) == 1
    left = queue._call(lambda: queue._store.state(pieces, consumer=False)).messages
    assert left < kept
    assert queue.purge() == 2
    assert queue._call(lambda: queue._store.state(pieces, consumer=False)).messages == 0


def test_a_task_whose_pieces_are_gone_is_set_aside(queue):
    queue.put(["x" * 3_000_000, 1])
    queue._call(lambda: queue._store.empty(queue._store.names.of("data")))
    assert params(queue.lease(1, 60.0)) == [1]
    (record,) = queue.records(State.FAILED)
    assert "pieces" in record.failure.error


# Leases


def test_a_lease_outlives_the_silence_that_the_server_allows(server, name, queue, opened):
    other = opened(server.url(name))
    queue.put(["a"])
    leases = queue.lease(1, 60.0)
    assert other.lease(1, 60.0, wait=1.5 * SILENCE) == []
    assert queue.ack(leases) == []
    assert queue.stats().done == 1


def test_silence_is_what_the_queue_was_made_with(server, name, queue, opened):
    assert opened(server.url(name, silence=50)).quiet == queue.quiet == SILENCE


def test_one_who_was_stopped_learns_that_its_leases_are_gone(queue):
    queue.put(["a", "b"])
    process, held = start(queue.url)
    try:
        assert held == 2
        process.send_signal(signal.SIGSTOP)
        found = []
        while len(found) < 2:
            found += queue.lease(2, 60.0, wait=60.0)
        assert sorted(params(found)) == ["a", "b"]
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate("\n", timeout=60)
        assert out == "2\n"
        assert queue.stats().leased == 2
        assert queue.ack(found) == []
    finally:
        process.kill()
        process.communicate()


def test_closing_gives_back_what_is_held_at_once(server, name, opened):
    queue = opened(server.url(name, silence=60))
    queue.put(["a"])
    other = open_queue(server.url(name))
    assert params(other.lease(1, 60.0, wait=60.0)) == ["a"]
    other.close()
    assert params(queue.lease(1, 60.0, wait=SOON)) == ["a"]


def test_what_comes_when_nobody_waits_any_more_is_given_back(server, name, opened):
    queue = opened(server.url(name, silence=60))
    other = opened(server.url(name))

    async def leave():
        # one who is interrupted while the server still means to answer
        pull = asyncio.ensure_future(other._intake.main.pull(5, 300.0))
        await asyncio.sleep(0.2)
        pull.cancel()
        await asyncio.gather(pull, return_exceptions=True)

    other._call(leave)
    queue.put(range(3))
    found = []
    while len(found) < 3:
        leases = queue.lease(3, 60.0, wait=60.0)
        assert leases
        found += leases
    assert sorted(params(found)) == [0, 1, 2]


def test_what_came_too_late_is_leased_by_the_next_call(server, name, opened):
    queue = opened(server.url(name, silence=60))

    async def leave():
        pull = asyncio.ensure_future(queue._intake.main.pull(5, 300.0))
        await asyncio.sleep(0.2)
        pull.cancel()
        await asyncio.gather(pull, return_exceptions=True)

    queue._call(leave)
    other = opened(server.url(name))
    other.put([1])
    until(lambda: queue._holds.strays)
    assert params(queue.lease(5, 60.0, wait=60.0)) == [1]


def test_closed_is_closed(server, name):
    queue = open_queue(server.url(name))
    queue.close()
    queue.close()
    with pytest.raises(StorageError, match="is closed"):
        queue.put(["a"])


# Lost moments


def test_a_server_that_is_killed_keeps_what_was_acknowledged(server, queue, name, opened):
    queue.put(range(2000))
    done = set()
    for _ in range(4):
        leases = queue.lease(256, 60.0)
        assert queue.ack(leases) == []
        done.update(params(leases))
    # it writes its consumers' notes a moment later: now they are lost
    server.restart(hard=True)
    again = Counter()
    for each in (opened(server.url(name)), queue):
        until_ = time.monotonic() + 120
        while sum(again.values()) < 2000 - len(done) and time.monotonic() < until_:
            leases = each.lease(100, 60.0, wait=0.5)
            again.update(params(leases))
            assert each.ack(leases) == []
            if each is not queue and sum(again.values()) > 300:
                break
    assert set(again) == set(range(2000)) - done
    assert set(again.values()) == {1}


def test_a_delay_goes_on_while_the_server_restarts(server, queue):
    queue.put(["a"])
    leases = queue.lease(1, 60.0)
    began = time.monotonic()
    queue.nack(leases, delay=3.0)
    server.restart()
    found, delayed = now(queue), queue.stats().delayed
    # where the server starts in time
    if time.monotonic() - began < 3.0:
        assert (found, delayed) == ([], 1)
    found += queue.lease(1 - len(found), 60.0)
    assert time.monotonic() - began > 1.5
    assert found[0].task.attempt == 2


def test_a_task_that_was_moved_and_not_let_go_is_not_run_twice(queue):
    queue.put(["a", "b", "c"])
    leases = queue.lease(3, 60.0)

    async def half():
        # as one who dies after the copy is safe
        holds = [queue._holds._held[lease.token] for lease in leases]
        kinds = ("again", "later")
        for kind, hold in zip(kinds, holds, strict=False):
            await queue._store.publish([queue._codec.copy(kind, hold.item, hold.reply, 60.0)])
        failed = queue._codec.failed(holds[2].item, Failure("exit 1", ""), holds[2].reply)
        await queue._store.publish([failed])
        queue._holds._held.clear()

    queue._call(half)
    time.sleep(SILENCE + 0.5)
    queue._intake.expect_returned()
    assert params(queue.lease(1, 60.0)) == ["a"]

    def the_others_are_known():
        assert queue.lease(9, 60.0, wait=1.0) == []
        stats = queue.stats()
        return (stats.leased, stats.delayed, stats.failed, stats.done) == (1, 1, 1, 0)

    until(the_others_are_known)


def test_a_task_that_the_server_delivers_twice_as_new_runs_once(queue):
    queue.put([1, 2, 3])
    first = queue.lease(2, 60.0)
    assert queue.ack(first) == []
    task, words = first[1].task, first[1].token.split(".")
    words[6] = str(int(words[6]) + 2)
    subject = queue._store.names.task + task.id
    headers = {"Nats-Expected-Last-Subject-Sequence": "0"}
    message = Msg(None, subject, ".".join(words), task.data, headers)
    queue._holds.stray(queue._intake.main, Fetched(message, clock()))
    assert params(queue.lease(1, 60.0)) == [3]
    assert queue.stats().done == 2


def test_a_listing_goes_on_over_a_connection_that_is_cut(server, name, opened):
    with Proxy(server.port) as proxy:
        queue = opened(server.url(name, port=proxy.port))
        queue.put(range(2000))
        numbers = []
        for record in queue.records():
            numbers.append(record.task.number)
            if len(numbers) in {100, 900}:
                proxy.cut()
        assert numbers == list(range(1, 2001))
        queue.close()


def test_a_connection_that_tells_late_that_it_is_closed_is_replaced_at_once(server, name, opened):
    with Proxy(server.port) as proxy:
        queue = opened(server.url(name, port=proxy.port, reconnect=5))
        queue.put(range(2000))
        link = queue._link
        tell, may, told = link.client._closed_cb, asyncio.Event(), threading.Event()

        async def late():
            await may.wait()
            await tell()
            told.set()

        link.client._closed_cb = late
        numbers = []
        for record in queue.records():
            numbers.append(record.task.number)
            if len(numbers) == 100:
                proxy.cut()
                until(lambda: link._client is None or link._client.is_closed)
        assert numbers == list(range(1, 2001))
        link._loop.call_soon_threadsafe(may.set)
        # what is told now is of the old one
        until(told.is_set)
        assert queue.stats().waiting == 2000
        queue.close()


def test_nobody_is_told_anything_by_the_client_library(server, name, capfd, caplog):
    with Proxy(server.port) as proxy:
        queue = open_queue(server.url(name, port=proxy.port))
        queue.put(["a"])
        proxy.cut()
        queue.ack(queue.lease(1, 60.0))
        queue.close()
    assert capfd.readouterr() == ("", "")
    assert not [r for r in caplog.records if r.levelname in {"WARNING", "ERROR"}]


# Costs


def test_one_who_waits_costs_next_to_nothing(server, queue):
    assert queue.lease(1, 60.0, wait=0.5) == []
    before = server.received()
    for _ in range(4):
        assert queue.lease(1, 60.0, wait=queue.idle) == []
    # a few requests at the start of each wait, none while it lasts
    assert server.received() - before < 4 * 15


def test_thousands_are_failed_retried_and_purged(queue):
    queue.put(range(3000))
    leases = queue.lease(3000, 60.0)
    queue.fail([(lease, Failure("exit 1", "no")) for lease in leases])
    assert queue.stats().failed == 3000
    assert len({record.task.number for record in queue.records(State.FAILED)}) == 3000
    assert queue.retry([leases[7].task.id, "*", "no id"]) == 1
    assert queue.retry() == 2999
    assert queue.stats().waiting == 3000
    assert queue.purge(State.WAITING) == 3000
    assert queue.stats().total == 0
    assert queue.put(range(10)) == 10


def test_the_oldest_that_waits_is_known(queue):
    assert queue.stats().oldest is None
    queue.put(["a"])
    assert 0 <= queue.stats().oldest < 60


def test_a_returned_task_keeps_its_number(queue):
    queue.put("abc")
    leases = queue.lease(2, 60.0)
    queue.nack(leases)
    queue.put("d")
    again = queue.lease(4, 60.0)
    assert [(lease.task.number, lease.task.attempt) for lease in again] == [
        (1, 2),
        (2, 2),
        (3, 1),
        (4, 1),
    ]
    assert queue.find("1").task.id == Task.of("a").id
    assert queue.find("1").state is State.LEASED


# The page


def test_the_page_tells_what_there_is():
    text = (Path(__file__).parents[2] / "docs/queues/nats.md").read_text()
    for word in ("silence", "replicas", "decode", "creds", "NATS_TOKEN", "nats+tls:", "_INBOX.>"):
        assert word in text
