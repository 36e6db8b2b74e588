"""What is special about the queue `redis:`: URLs, logins, TLS, keys, repeated calls, clusters."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from brokers.proxy import Proxy
from brokers.redis_server import RedisCluster, RedisServer, RedisTlsServer
from brokers.server import free_port, running
from maniple.errors import ParamError, QueueError, StorageError, UsageError
from maniple.queue import Failure, State
from maniple.queues.redis import RedisQueue, RedissQueue
from maniple.queues.redis_link import Place
from maniple.task import Task
from maniple.urls import open_queue
from support import until

pytestmark = pytest.mark.xdist_group("redis")
SOON = 30.0
"""Seconds for what does not wait until the time that `reconnect` allows is up, a minute."""
SECRET = "passw0rd"
HOLDER = """
import sys
from maniple.urls import open_queue
queue = open_queue(sys.argv[1], create=False)
leases = queue.lease(9, float(sys.argv[2]))
print(len(leases), flush=True)
sys.stdin.readline()
print(len(queue.ack(leases)), flush=True)
queue.close()
"""


@pytest.fixture
def server():
    return running(RedisServer)


@pytest.fixture
def queue(server, name, opened):
    return opened(server.url(name))


def params(leases):
    return [lease.task.param for lease in leases]


def drained(queue):
    """Lease and acknowledge everything; count what came."""
    found = Counter()
    while leases := queue.lease(100, 60.0):
        lost = queue.ack(leases)
        found.update(params(lease for lease in leases if lease not in lost))
    return found


class Holder:
    """A process that has leased what there is, and acknowledges it when it is told to."""

    def __init__(self, url, ttl):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, url, str(ttl)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.held = int(self.process.stdout.readline())

    def acknowledge(self):
        """Give how many leases it had lost."""
        out, _ = self.process.communicate("\n", timeout=60)
        return int(out)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


# URLs


@pytest.mark.parametrize(
    ("rest", "db", "name"),
    [
        ("//h/q", 0, "q"),
        ("//h", 0, "maniple"),
        ("//h/3", 3, "maniple"),
        ("//h:7/3/4", 3, "4"),
        ("//u:p@h/2/a%2Fb?reconnect=3", 2, "a/b"),
    ],
)
def test_a_path_is_a_database_and_a_name(rest, db, name):
    place = Place("redis", rest)
    assert (place.db, place.name) == (db, name)


@pytest.mark.parametrize(
    ("rest", "text"),
    [
        ("//h/a/b", "[DB/]NAME"),
        ("//h/0/a/b", "[DB/]NAME"),
        ("//u:hidden@h/q?cluster=yes", "cluster=yes in redis://h:6379/q: 0 or 1"),
        ("//u:hidden@h/q?clusters=1", "no option 'clusters'"),
        ("q", "redis://HOST"),
    ],
)
def test_a_malformed_url_is_said_in_one_line(rest, text):
    with pytest.raises(UsageError, match=re.escape(text)) as caught:
        RedisQueue(rest)
    assert "hidden" not in str(caught.value)


def test_a_queue_that_does_not_exist_is_to_be_filled_first(server, name):
    server.cli("acl", "setuser", "reader", "on", f">{SECRET}", "~*", "+@all")
    with pytest.raises(QueueError, match="fill it first: maniple sweep -q redis://127") as caught:
        open_queue(server.url(name, user="reader", password=SECRET), create=False)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_databases_have_queues_of_their_own(server, name, opened):
    one, two = opened(server.url(name)), opened(server.url(f"2/{name}"))
    one.put(["a"])
    assert two.stats().total == 0
    assert opened(two.url, create=False).put(["a"]) == 1


def test_a_database_that_does_not_exist_is_an_error(server, name):
    with pytest.raises(QueueError, match="out of range"):
        open_queue(server.url(f"99/{name}"))


def test_a_server_that_is_absent_is_said_soon():
    began = time.monotonic()
    with pytest.raises(StorageError, match="no connection to redis://127.0.0.1") as caught:
        open_queue(f"redis://127.0.0.1:{free_port()}/q?reconnect=1")
    assert time.monotonic() - began < SOON
    assert "\n" not in str(caught.value)


def test_of_several_hosts_one_that_answers_is_enough(server, name, opened):
    queue = opened(f"redis://127.0.0.1:{free_port()},127.0.0.1:{server.port}/{name}")
    assert queue.put(["a"]) == 1


def test_writing_goes_to_the_master_among_several_hosts(server, name, opened):
    replica = RedisServer()
    replica.prepare()
    replica.start()
    try:
        server.cli("config", "set", "repl-diskless-sync-delay", 0)
        replica.cli("replicaof", "127.0.0.1", server.port)
        until(lambda: "master_link_status:up" in replica.cli("info", "replication"))
        queue = opened(f"redis://127.0.0.1:{replica.port},127.0.0.1:{server.port}/{name}")
        assert queue.put(["a"]) == 1
    finally:
        replica.remove()


def test_a_server_that_is_too_old_is_refused(server, name, monkeypatch):
    monkeypatch.setattr("redis.Redis.info", lambda _: {"redis_version": "6.0.16"})
    with pytest.raises(QueueError, match=r"Redis 6\.0\.16; 6\.2 or newer is needed"):
        open_queue(server.url(name))


# Logins and TLS


def test_user_and_password_come_from_the_environment(server, name, monkeypatch, opened):
    server.cli("acl", "setuser", "envy", "on", ">from-env", "~{maniple:*", "+@all")
    monkeypatch.setenv("REDIS_USER", "envy")
    monkeypatch.setenv("REDIS_PASSWORD", "from-env")
    queue = opened(server.url(name))
    assert "from-env" not in queue.url
    assert queue.put(["a"]) == 1
    assert server.cli("acl", "whoami") == "default"
    assert "user=envy" in server.cli("client", "list")
    monkeypatch.setenv("REDIS_PASSWORD", "wrong")
    with pytest.raises(QueueError, match="does not let us in") as caught:
        opened(server.url(name))
    assert "wrong" not in str(caught.value).removesuffix("REDIS_PASSWORD)").replace("WRONGPASS", "")


def test_a_user_needs_no_more_than_the_page_says(server, name, opened):
    rights = [
        "~{maniple:*",
        "-@all",
        "+@read",
        "+@write",
        "+@connection",
        "+@scripting",
        "+time",
        "+info",
    ]
    server.cli("acl", "setuser", "small", "reset", "on", ">pw", *rights)
    queue = opened(server.url(name, user="small", password="pw"))
    queue.put(["a", "b"])
    queue.fail([(lease, Failure("exit 1", "")) for lease in queue.lease(1, 60.0)])
    assert queue.retry() == 1
    assert drained(queue) == {"a": 1, "b": 1}
    assert queue.lease(1, 60.0, wait=0.01) == []


def test_a_user_who_may_not_is_told(server, name):
    server.cli("acl", "setuser", "nobody", "reset", "on", ">pw", "~other*", "+@all")
    with pytest.raises(QueueError, match="does not let us in"):
        open_queue(server.url(name, user="nobody", password="pw"))


def test_tls_with_an_authority_of_ones_own(name, opened, monkeypatch):
    server = running(RedisTlsServer)
    queue = opened(server.url(name, ca=server.certificate))
    assert isinstance(queue, RedissQueue)
    assert queue.url.startswith("rediss://")
    queue.put(["a"])
    server.restart()
    assert drained(queue) == {"a": 1}
    monkeypatch.setenv("REDIS_CA", str(server.certificate))
    assert opened(server.url(name), create=False).stats().done == 1


def test_tls_with_a_certificate_of_ours(name, opened):
    server = running(RedisTlsServer)
    server.cli("config", "set", "tls-auth-clients", "yes")
    own = {"cert": server.certificate, "key": server.folder / "key.pem"}
    try:
        queue = opened(server.url(name, ca=server.certificate, **own))
        assert queue.put(["a"]) == 1
    finally:
        queue._link.command("CONFIG", "SET", "tls-auth-clients", "optional")


@pytest.mark.parametrize("ca", [None, "/nowhere/ca.pem"])
def test_a_server_that_cannot_be_trusted_is_refused_at_once(name, ca):
    server = running(RedisTlsServer)
    began = time.monotonic()
    with pytest.raises(QueueError, match="no TLS with rediss://127.0.0.1") as caught:
        open_queue(server.url(name, **({"ca": ca} if ca else {})))
    assert time.monotonic() - began < SOON
    assert "\n" not in str(caught.value)


# What is on the server


def test_all_keys_of_a_queue_share_one_slot(server, name, queue):
    queue.put(range(20))
    a, b, c, *rest = queue.lease(9, 60.0)
    queue.ack([a])
    queue.fail([(b, Failure("exit 1", ""))])
    queue.nack([c], 100.0)
    queue.nack(rest[:2])
    keys = server.cli("keys", f"*{name}*").split()
    assert len(keys) > 10
    assert all(key.startswith(f"{{maniple:{name}}}") for key in keys)
    assert server.cli("keys", "*:absent") == ""


def test_the_servers_own_commands_show_who_holds_what(server, name, queue):
    queue.put(range(5))
    queue.ack(queue.lease(2, 60.0))
    queue.lease(2, 60.0)
    key = f"{{maniple:{name}}}:tasks"
    assert server.cli("xlen", key) == "5"
    pending = server.cli("xpending", key, "minions").splitlines()
    assert pending[0] == "2"
    assert f"-{os.getpid()}-" in pending[3]


def test_a_lapsed_lease_is_claimed_from_its_holder(server, name, queue, opened):
    other = opened(queue.url)
    queue.put(["a"])
    queue.lease(1, 0.05)
    key = f"{{maniple:{name}}}:tasks"
    before = server.cli("xpending", key, "minions", "-", "+", 9).split()
    assert params(other.lease(1, 60.0, wait=60.0)) == ["a"]
    after = server.cli("xpending", key, "minions", "-", "+", 9).split()
    assert before[0] == after[0] == "1-0"
    assert before[1] != after[1]


def test_one_who_leaves_with_nothing_in_hand_is_forgotten(server, name, queue, opened):
    other = opened(queue.url)
    queue.put(["a"])
    other.ack(other.lease(1, 60.0))
    assert "minions" in server.cli("xinfo", "groups", f"{{maniple:{name}}}:tasks")
    other.close()
    assert server.cli("xinfo", "consumers", f"{{maniple:{name}}}:tasks", "minions") == ""
    queue.close()
    assert server.cli("keys", f"*{name}*:on:*") == ""


def test_a_dead_process_is_forgotten_when_its_tasks_were_claimed(server, name, queue):
    queue.put(["a"])
    with Holder(queue.url, 60) as holder:
        holder.process.kill()
        holder.process.wait()
        leases = queue.lease(1, 60.0, wait=60.0)
        assert params(leases) == ["a"]
        key = f"{{maniple:{name}}}:tasks"
        dead = f"-{holder.process.pid}-"
        until(
            lambda: (
                queue.lease(1, 60.0, wait=1.0)
                or dead not in server.cli("xinfo", "consumers", key, "minions")
            )
        )
        assert dead not in server.cli("hgetall", server.cli("keys", f"*{name}*:on:*"))


def test_a_server_that_has_forgotten_the_scripts_is_told_again(server, queue):
    queue.put(["a"])
    server.cli("script", "flush")
    leases = queue.lease(1, 60.0)
    server.cli("script", "flush")
    assert queue.ack(leases) == []
    assert queue.stats().done == 1


def test_a_million_would_fit(server, name, queue):
    def used():
        memory = dict(re.findall(r"(\w+):(\d+)", server.cli("info", "memory")))
        return int(memory["used_memory"]) - int(memory["mem_replication_backlog"])

    before = used()
    assert queue.put({"x": i} for i in range(100_000)) == 100_000
    while leases := queue.lease(1000, 60.0):
        assert queue.ack(leases) == []
    assert used() - before < 100_000 * 120
    assert queue.purge() == 100_000
    assert server.cli("keys", f"*{name}*:ids:*") == ""


def test_a_queue_that_was_deleted_is_said_in_one_line(server, name, queue):
    queue.put(["a"])
    server.cli("flushall")
    for call in (lambda: queue.lease(1, 60.0), lambda: queue.put(["b"]), queue.stats):
        with pytest.raises(QueueError, match="was deleted from the server.*appendonly"):
            call()


def test_keys_of_another_kind_are_left_alone(server, name):
    server.cli("set", f"{{maniple:{name}}}", "mine")
    with pytest.raises(QueueError, match="another kind"):
        open_queue(server.url(name))


def test_a_format_of_another_time_is_refused(server, name, queue):
    server.cli("hset", f"{{maniple:{name}}}", "format", 99)
    with pytest.raises(QueueError, match="format 99"):
        open_queue(queue.url)


def test_a_server_that_is_full_is_an_error_and_loses_nothing(server, queue):
    queue.put(["a"])
    server.cli("config", "set", "maxmemory", "100kb")
    try:
        with pytest.raises(StorageError, match="cannot keep more"):
            queue.put(["b"])
    finally:
        server.cli("config", "set", "maxmemory", "0")
    assert queue.put(["b"]) == 1
    assert drained(queue) == {"a": 1, "b": 1}


def test_an_id_that_is_none_is_refused(queue):
    with pytest.raises(ParamError, match="not a task's id: 'x'"):
        queue.put([Task("x", b"1")])


# Large batches


def test_a_lease_of_thousands_is_one_list(queue):
    queue.put(range(2500))
    leases = queue.lease(2200, 60.0)
    assert params(leases) == list(range(2200))
    assert queue.extend(leases, 60.0) == []
    queue.nack(leases[:1100])
    assert queue.ack(leases) == leases[:1100]
    assert params(queue.lease(5000, 60.0)) == [*range(1100), *range(2200, 2500)]


def test_thousands_fail_and_are_retried_and_purged(queue):
    queue.put(range(2500))
    queue.fail([(lease, Failure("exit 1", str(lease))) for lease in queue.lease(2500, 60.0)])
    assert [r.task.param for r in queue.records(State.FAILED)] == list(range(2500))
    assert queue.retry([Task.of(i).id for i in range(700)]) == 700
    assert queue.purge(State.FAILED) == 1800
    assert queue.retry() == 0
    assert params(queue.lease(999, 60.0)) == list(range(700))


def test_replies_stay_small_when_params_are_large(queue, monkeypatch):
    monkeypatch.setattr("maniple.queues.redis.REPLY_BYTES", 4_000_000)
    queue.put([str(i) * 900_000 for i in range(9)])
    sizes = []
    while leases := queue.lease(9, 60.0):
        sizes.append(len(leases))
        assert len(list(queue.records(State.LEASED))) == len(leases)
        queue.ack(leases)
    assert sizes == [4, 4, 1]
    assert len(list(queue.records())) == 9


# Repeated calls


@pytest.fixture
def far(server, name, opened):
    """The same queue through a proxy, and that proxy."""
    with Proxy(server.port) as proxy:
        yield opened(server.url(name, port=proxy.port)), proxy


def while_muted(proxy, call):
    """Make a call whose first answer is lost."""
    proxy.mute()
    timer = threading.Timer(0.4, proxy.unmute)
    timer.start()
    answer = call()
    timer.join()
    return answer


def test_a_lease_whose_answer_was_lost_gives_the_same_tasks(queue, far):
    ours, proxy = far
    queue.put(range(10))
    queue.nack(queue.lease(3, 60.0))
    leases = while_muted(proxy, lambda: ours.lease(6, 60.0))
    assert params(leases) == list(range(6))
    assert [lease.task.attempt for lease in leases] == [2, 2, 2, 1, 1, 1]
    assert queue.stats().leased == 6
    assert ours.ack(leases) == []


def test_an_acknowledgement_whose_answer_was_lost_is_no_loss(queue, far):
    ours, proxy = far
    queue.put(range(5))
    leases = ours.lease(5, 60.0)
    assert queue.ack(leases[:1]) == []
    assert while_muted(proxy, lambda: ours.ack(leases)) == leases[:1]
    assert queue.stats().done == 5


def test_counts_are_right_although_answers_were_lost(queue, far):
    ours, proxy = far
    assert while_muted(proxy, lambda: ours.put(range(5))) == 5
    queue.fail([(lease, Failure("exit 1", "")) for lease in queue.lease(2, 60.0)])
    assert while_muted(proxy, ours.retry) == 2
    assert while_muted(proxy, lambda: ours.purge(State.WAITING)) == 5
    assert queue.stats().total == 0


def test_what_is_given_back_while_answers_are_lost_counts_once(queue, far):
    ours, proxy = far
    queue.put(["a", "b"])
    a, b = ours.lease(2, 60.0)
    while_muted(proxy, lambda: ours.nack([a]))
    while_muted(proxy, lambda: ours.fail([(b, Failure("exit 1", "no"))]))
    assert [lease.task.attempt for lease in queue.lease(9, 60.0)] == [2]
    assert queue.find("2").failure.error == "no"


# Waiting, and time


def test_each_of_those_who_wait_is_called_when_there_is_enough(queue, opened, monkeypatch):
    # nobody looks by himself
    monkeypatch.setattr("maniple.queues.redis.LONGEST_BLOCK_SECONDS", 300.0)
    others = [opened(queue.url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(other.lease, 1, 60.0, 300.0) for other in others]
        time.sleep(0.2)
        began = time.monotonic()
        queue.put(range(4))
        found = [params(future.result())[0] for future in waiting]
    assert sorted(found) == list(range(4))
    assert time.monotonic() - began < 100


def test_one_who_waits_costs_next_to_nothing(server, queue):
    queue.put(["a"])
    queue.ack(queue.lease(1, 60.0))
    assert queue.lease(1, 60.0, wait=0.1) == []
    written = server.cli("info", "persistence")
    server.cli("config", "resetstat")
    for _ in range(3):
        assert queue.lease(1, 60.0, wait=1.0) == []
    calls = dict(re.findall(r"cmdstat_(\w+):calls=(\d+)", server.cli("info", "commandstats")))
    assert int(calls["blpop"]) <= 4
    assert int(calls["evalsha"]) <= 4
    size = re.compile(r"aof_current_size:(\d+)")
    assert size.search(server.cli("info", "persistence"))[1] == size.search(written)[1]


def test_one_who_was_stopped_learns_that_its_leases_are_gone(queue):
    queue.put(["a", "b"])
    # long enough to be stopped and looked at meanwhile
    with Holder(queue.url, 6.0) as holder:
        assert holder.held == 2
        holder.process.send_signal(signal.SIGSTOP)
        assert queue.lease(2, 60.0) == []
        leases = queue.lease(1, 60.0, wait=60.0)
        assert params(leases) == ["a"]
        assert queue.ack(leases) == []
        holder.process.send_signal(signal.SIGCONT)
        # nobody has taken b since
        assert holder.acknowledge() == 1
    stats = queue.stats()
    assert (stats.done, stats.waiting, stats.leased) == (2, 0, 0)


def test_the_oldest_that_waits_is_known(server, name):
    now = 1000.0
    queue = RedisQueue(server.url(name).partition(":")[2], clock=lambda: now)
    try:
        assert queue.stats().oldest is None
        queue.put(["a"])
        now += 5
        queue.put(["b"])
        assert queue.stats().oldest == pytest.approx(5)
        leases = queue.lease(1, 100.0)
        now += 2
        assert queue.stats().oldest == pytest.approx(2)
        queue.nack(leases, 3.0)
        now += 4
        assert queue.stats().oldest == pytest.approx(1)
    finally:
        queue.close()


def test_an_id_is_found_by_any_of_its_first_digits(queue):
    queue.put(range(300))
    ids = [Task.of(i).id for i in range(300)]
    for i, key in enumerate(ids[:20]):
        for length in range(1, 33):
            found = queue.find(key[:length].upper())
            alone = sum(other.startswith(key[:length]) for other in ids) == 1
            if alone and not key[:length].isdecimal():
                assert found.task.param == i


# Clusters


@pytest.fixture
def cluster():
    return running(RedisCluster)


def test_a_cluster_is_recognised(cluster, opened):
    names = [f"q{uuid.uuid4().hex[:12]}" for _ in range(12)]
    for each in names:
        assert opened(cluster.url(each)).put(["a"]) == 1
    assert all(node.cli("dbsize") != "0" for node in cluster.nodes)
    assert drained(opened(cluster.url(names[0], cluster=1), create=False)) == {"a": 1}


def test_a_user_of_a_cluster_needs_no_more_than_the_page_says(cluster, name, opened):
    commands = "read write connection scripting time info cluster|slots cluster|shards command"
    words = [
        f"+@{w}" if w in {"read", "write", "connection", "scripting"} else f"+{w}"
        for w in commands.split()
    ]
    for node in cluster.nodes:
        node.cli("acl", "setuser", "small", "reset", "on", ">pw", "~{maniple:*", "-@all", *words)
    queue = opened(cluster.url(name, user="small", password="pw"))
    queue.put(["a"])
    assert drained(queue) == {"a": 1}
    assert queue.lease(1, 60.0, wait=0.01) == []


def test_a_cluster_has_no_databases(cluster, name):
    with pytest.raises(UsageError, match="leave /2 out"):
        open_queue(cluster.url(f"2/{name}", cluster=1))


def test_a_server_alone_is_no_cluster(server, name):
    with pytest.raises(QueueError, match="leave cluster=1 out"):
        open_queue(server.url(name, cluster=1))


def test_a_client_of_a_cluster_goes_on_without_the_node_it_was_told(cluster, name, opened):
    own = slot_of(cluster, name)
    first = next(node for node in cluster.others if node is not owner_of(cluster, own))
    queue = opened(first.url(name))
    queue.put(["a"])
    first.stop()
    try:
        # what is asked next may find that a connection is gone
        assert drained(queue) == {"a": 1}
    finally:
        first.start()
        until(cluster.ready)


def slot_of(cluster, name):
    return int(cluster.cli("cluster", "keyslot", f"{{maniple:{name}}}"))


def owner_of(cluster, slot):
    """Find the node that has a slot."""
    place = slot // (-(-16384 // 3))
    return cluster.nodes[place]


def test_a_slot_moves_to_another_node_while_the_queue_is_used(cluster, name, opened):
    slot = slot_of(cluster, name)
    source = owner_of(cluster, slot)
    target = next(node for node in cluster.nodes if node is not source)
    queue, other = opened(cluster.url(name)), opened(cluster.url(name))
    queue.put(range(2000))
    acknowledged, over = [], threading.Event()

    def work():
        while not over.is_set() or other.stats().waiting:
            leases = other.lease(20, 60.0, wait=0.1)
            lost = other.ack(leases)
            acknowledged.extend(params(lease for lease in leases if lease not in lost))
            other.put([f"more {len(acknowledged)}"] if not over.is_set() else [])

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        until(lambda: len(acknowledged) > 100)
        ids = [node.cli("cluster", "myid") for node in (source, target)]
        target.cli("cluster", "setslot", slot, "importing", ids[0])
        source.cli("cluster", "setslot", slot, "migrating", ids[1])
        keys = source.cli("cluster", "getkeysinslot", slot, 100_000).split()
        assert len(keys) > 100
        for start in range(0, len(keys), 50):
            some = keys[start : start + 50]
            moved = source.cli("migrate", "127.0.0.1", target.port, "", 0, 60_000, "keys", *some)
            assert moved == "OK", moved
        assert source.cli("cluster", "countkeysinslot", slot) == "0"
        for node in (target, source, *cluster.nodes):
            node.cli("cluster", "setslot", slot, "node", ids[1])
        moved_at = len(acknowledged)
        until(lambda: len(acknowledged) > moved_at + 100)
        over.set()
        working.result()
    stats = queue.stats()
    assert (stats.waiting, stats.leased, stats.failed) == (0, 0, 0)
    assert stats.done == len(acknowledged) == len(set(acknowledged))
    assert set(range(2000)) <= set(acknowledged)
    assert target.cli("cluster", "countkeysinslot", slot) != "0"


# The page


def test_the_page_tells_what_there_is():
    text = (Path(__file__).parents[2] / "docs/queues/redis.md").read_text()
    for word in ("cluster=1", "reconnect", "REDIS_PASSWORD", "appendonly yes", "rediss:", "6.2"):
        assert word in text
