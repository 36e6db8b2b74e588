"""The queue in a PostgreSQL database, beyond what every queue must do."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from urllib.parse import quote

import pytest

from brokers.postgresql_server import DATABASE, PASSWORD, USER, PostgresqlServer
from brokers.proxy import Proxy
from brokers.server import free_port, running
from conformance.queue_suite import Clock, params
from maniple import owner
from maniple.errors import QueueError, StorageError, UsageError
from maniple.queue import Failure, State
from maniple.queues import postgresql, postgresql_fill, postgresql_sql
from maniple.queues.postgresql import PostgresqlQueue
from maniple.queues.postgresql_holders import GRACE_SECONDS
from maniple.urls import open_queue
from support import until

pytestmark = pytest.mark.xdist_group("postgresql")

SOON = 30.0
"""Seconds for what does not wait until the time that `reconnect` allows is up, a minute."""
ELSEWHERE = "0123456789abcdef-1.2-1234-5678-elsewhere"
PLAIN = {"sslmode": "disable"}


@pytest.fixture
def server():
    return running(PostgresqlServer)


@pytest.fixture
def url(server, name):
    return server.url(name, **PLAIN)


@pytest.fixture
def queue(opened, url):
    return opened(url)


@pytest.fixture
def clock():
    return Clock()


@contextmanager
def database(server, **settings):
    """A database of its own."""
    new = f"d{uuid.uuid4().hex[:12]}"
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {new} OWNER {USER}")
        for key, value in settings.items():
            admin.execute(f"ALTER DATABASE {new} SET {key} = {value}")
        yield new
        admin.execute(f"DROP DATABASE {new} WITH (FORCE)")


@contextmanager
def role(server, *grants):
    """A user without rights, but for these."""
    new = f"u{uuid.uuid4().hex[:12]}"
    with server.connect() as admin:
        admin.execute(f"CREATE ROLE {new} LOGIN PASSWORD 'x'")
        for grant in grants:
            admin.execute(grant.format(new))
        yield new
        admin.execute(f"DROP OWNED BY {new} CASCADE")
        admin.execute(f"DROP ROLE {new}")


def end_session(server, queue):
    """End a queue object's session as an administrator does; it is not told."""
    pid = queue._link.connection.info.backend_pid
    with server.connect() as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", [pid])
        until(lambda: not admin.execute(f"SELECT 1 FROM pg_locks WHERE pid = {pid}").fetchall())


# The URL


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("", "not a postgresql URL"),
        ("//host", "write postgresql://HOST/DATABASE/QUEUE"),
        ("//host/a/b/c", "write postgresql://HOST/DATABASE/QUEUE"),
        ("//host/db/q?color=red", "no option 'color'"),
        ("//host:0/db/q", "port '0'"),
        ("//host/db/q?reconnect=soon", "reconnect=soon"),
    ],
)
def test_a_malformed_url_is_a_usage_error(rest, said):
    with pytest.raises(UsageError, match="^[^\n]*$") as caught:
        PostgresqlQueue(rest)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sslmode": "sometimes"}, "sslmode"),
        ({"database": "nowhere"}, 'database "nowhere" does not exist'),
        ({"user": "nobody"}, "password authentication failed"),
        ({"sslmode": "verify-full", "ca": "/nowhere/ca.crt"}, "ca.crt"),
        ({"service": "unheard-of"}, "definition of service"),
    ],
)
def test_what_cannot_work_is_said_at_once(server, name, options, said):
    began = time.monotonic()
    with pytest.raises(QueueError, match="^[^\n]*$") as caught:
        open_queue(server.url(name, **options))
    assert said in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert quote(PASSWORD, safe="") not in str(caught.value)
    assert time.monotonic() - began < SOON


def test_a_server_that_is_not_there_is_an_error_soon():
    began = time.monotonic()
    with pytest.raises(StorageError, match="^[^\n]*$") as caught:
        open_queue(f"postgresql://u:secret@127.0.0.1:{free_port()}/db/q")
    assert "refused" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert time.monotonic() - began < SOON


def test_a_queue_that_is_missing_is_to_be_filled_first(server, url):
    with pytest.raises(
        QueueError, match="fill it first: maniple sweep -q postgresql://127"
    ) as caught:
        open_queue(url, create=False)
    assert quote(PASSWORD, safe="") not in str(caught.value)
    with database(server) as new, pytest.raises(QueueError, match="fill it first"):
        open_queue(server.url("q", database=new, **PLAIN), create=False)


def test_a_url_without_a_queue_means_the_queue_maniple(server, opened):
    with database(server) as new:
        queue = opened(server.url("", database=new, **PLAIN).replace("/?", "?"))
        queue.put(["a"])
        other = opened(server.url("maniple", database=new, **PLAIN), create=False)
        assert params(other.lease(1, 30.0)) == ["a"]


def test_a_name_may_hold_any_character(server, opened):
    name = f"é ' \" ; % {uuid.uuid4().hex}"
    queue = opened(server.url(quote(name), **PLAIN))
    queue.put(["a"])
    assert opened(queue.url, create=False).stats().waiting == 1


def test_the_environment_says_what_the_url_does_not(server, name, opened, monkeypatch):
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", str(server.port))
    monkeypatch.setenv("PGUSER", USER)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    opened(f"postgresql:///{DATABASE}/{name}").put(["a"])
    queue = opened(f"postgresql://127.0.0.1/{DATABASE}/{name}", create=False)
    assert queue.stats().waiting == 1


def test_a_service_and_a_password_file_are_read(server, name, opened, monkeypatch, tmp_path):
    service = tmp_path / "service.conf"
    service.write_text(f"[sweeps]\nhost=127.0.0.1\nport={server.port}\nuser={USER}\n")
    password = tmp_path / "pass"
    password.write_text(f"*:*:*:*:{PASSWORD}\n")
    password.chmod(0o600)
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    queue = opened(f"postgresql:///{DATABASE}/{name}?service=sweeps&passfile={password}")
    assert queue.put(["a"]) == 1


def test_a_unix_socket_is_named_by_its_folder(server, name, opened):
    login = f"{USER}:{quote(PASSWORD, safe='')}"
    place = f"{login}@:{server.port}/{DATABASE}/{name}"
    queue = opened(f"postgresql://{place}?host={quote(str(server.folder))}")
    assert queue.put(["a"]) == 1


def test_the_first_host_that_can_be_written_to_is_taken(server, url, opened):
    queue = opened(url.replace("@127.0.0.1", f"@127.0.0.1:{free_port()},127.0.0.1"))
    assert queue.put(["a"]) == 1


# TLS


def test_a_certificate_that_is_trusted_lets_us_in(server, name, opened):
    queue = opened(server.url(name, ca=str(server.ca)))
    assert queue.put(["a"]) == 1
    rows = queue._link.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert rows == [(True,)]
    waiter = threading.Thread(target=lambda: queue.put(["b"]))
    other = opened(server.url(name, ca=str(server.ca), sslmode="verify-full"))
    assert params(other.lease(1, 30.0)) == ["a"]
    timer = threading.Timer(0.2, waiter.start)
    timer.start()
    assert params(other.lease(1, 30.0, wait=30.0)) == ["b"]
    timer.join()
    waiter.join()


def test_a_certificate_of_somebody_else_is_refused(server, name, tmp_path):
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"],
        capture_output=True,
        check=True,
        cwd=tmp_path,
        text=True,
    )
    other = tmp_path / "other.crt"
    other.write_text(made.stdout)
    with pytest.raises(QueueError, match="certificate verify failed"):
        open_queue(server.url(name, ca=str(other)))


# Tables and rights


def test_several_may_make_the_tables_at_once(server):
    with database(server) as new:
        counts, failed = [], []

        def fill(number):
            try:
                queue = open_queue(server.url("q", database=new, **PLAIN))
                counts.append(queue.put(range(number * 10, number * 10 + 15)))
                queue.close()
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=fill, args=[number]) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert sum(counts) == 55


def test_who_may_not_make_tables_is_told_what_to_do(server, name, opened):
    with database(server) as new, role(server) as user:
        with pytest.raises(QueueError, match="permission denied for schema public.*schema=NAME"):
            open_queue(server.url(name, database=new, user=user, password="x", **PLAIN))
        with server.connect(new) as admin:
            admin.execute(f"GRANT CREATE ON DATABASE {new} TO {user}")
        own = server.url(name, database=new, user=user, password="x", schema="mine", **PLAIN)
        assert opened(own).put(["a"]) == 1
        assert opened(own, create=False).stats().waiting == 1
        opened(own).close()
        with server.connect(new) as admin:
            admin.execute(f"DROP OWNED BY {user} CASCADE")


def test_who_may_use_tables_of_others_needs_no_more(server, opened):
    with database(server) as new, role(server) as user:
        opened(server.url("q", database=new, **PLAIN)).put(range(10))
        theirs = server.url("q", database=new, user=user, password="x", **PLAIN)
        with pytest.raises(QueueError, match="permission denied.*GRANT"):
            open_queue(theirs)
        with server.connect(new) as admin:
            rights = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES"
            admin.execute(f"GRANT {rights} IN SCHEMA public TO {user}")
        queue = opened(theirs, create=False)
        queue._taken = postgresql.VACUUM_EACH
        leases = queue.lease(10, 30.0)
        assert queue.ack(leases) == []
        queue.put(["more"])
        assert queue.stats().done == 10
        queue.close()
        with server.connect(new) as admin:
            admin.execute(f"DROP OWNED BY {user} CASCADE")


def test_tables_of_another_version_are_left_alone(server):
    with database(server) as new:
        url = server.url("q", database=new, **PLAIN)
        open_queue(url).close()
        with server.connect(new) as admin:
            admin.execute("UPDATE maniple_version SET version = 7")
        with pytest.raises(QueueError, match="tables of version 7; this maniple reads version 1"):
            open_queue(url)


def test_a_standby_is_no_place_for_a_queue(server):
    with database(server, default_transaction_read_only="on") as new:
        began = time.monotonic()
        with pytest.raises(StorageError, match="read-only"):
            open_queue(server.url("q", database=new, reconnect=1, **PLAIN))
        assert time.monotonic() - began < SOON


def test_a_database_of_another_encoding_takes_any_text(server, opened):
    with server.connect() as admin:
        admin.execute(
            f"CREATE DATABASE ascii OWNER {USER} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"
        )
    queue = opened(server.url("q", database="ascii", **PLAIN))
    queue.put(["é \x00"])
    (lease,) = queue.lease(1, 30.0)
    queue.fail([(lease, Failure("é", "\x00", "𝄞"))])
    (record,) = queue.records(State.FAILED)
    assert (record.task.param, record.failure) == ("é \x00", Failure("é", "\x00", "𝄞"))


def test_queues_of_one_database_know_nothing_of_each_other(server, opened):
    first, second = (opened(server.url(f"q{uuid.uuid4().hex}", **PLAIN)) for _ in range(2))
    first.put(range(10))
    assert second.put(range(5)) == 5
    assert second.purge() == 5
    assert second.lease(1, 30.0) == []
    assert first.stats().waiting == 10


# Cost


def test_plans_made_on_empty_tables_look_tasks_up_by_their_index(server, opened):
    with database(server) as new:
        queue = opened(server.url("q", database=new, **PLAIN))
        link = queue._link
        for sql, types, index, condition in [
            (postgresql_fill._KNOWN, "int,uuid[]", "queue_id_key", "(id = n.id)"),
            (
                postgresql_sql.TAKE,
                "int,float8,bigint,float8,bigint,bigint,bigint,bool",
                "pkey",
                "(number >= ",
            ),
        ]:
            link.command(f"PREPARE p({types}) AS {sql}")
            nothing = ",".join(["NULL"] * len(types.split(",")))
            rows = link.connection.execute(f"EXPLAIN EXECUTE p({nothing})").fetchall()
            plan = "\n".join(row[0] for row in rows)
            assert f"maniple_task_{index} on maniple_task" in plan, plan
            assert condition in plan, plan
            link.command("DEALLOCATE p")


def test_a_task_costs_no_row_that_is_written(queue):
    queue.put(range(1000))
    leases = queue.lease(256, 30.0)
    assert len(leases) == 256
    name = queue._queue
    held = "SELECT count(*) FROM maniple_span WHERE queue = $1"
    assert queue._link.query(held, name)[0][0] <= 16
    queue.ack(leases)
    assert queue._link.query(held, name) == [(0,)]


def test_dead_rows_are_cleared_away_by_those_who_make_them(server, opened):
    with database(server) as new, server.connect(new) as admin:
        queue = opened(server.url("q", database=new, **PLAIN))
        # where it starts counting is left to chance
        queue._taken = 0
        queue.put(range(300))
        for _ in range(200):
            queue.ack(queue.lease(1, 30.0))
        count = "SELECT min(vacuum_count) FROM pg_stat_user_tables WHERE relname ~ 'span|fresh'"
        assert admin.execute(count).fetchone() == (0,)

        def cleared():
            # the server may be at it itself; then we leave it to that
            queue._taken = postgresql.VACUUM_EACH
            queue.lease(1, 30.0)
            return admin.execute(count).fetchone() > (0,)

        until(cleared)


def test_nobody_is_notified_who_does_not_wait(server, queue, opened, url):
    with server.connect() as listener:
        listener.execute(f"LISTEN {queue._channel}")
        queue.put(range(10))
        queue.nack(queue.lease(2, 30.0))
        assert list(listener.notifies(timeout=0.2)) == []
        other = opened(url)
        other.ack(other.lease(10, 30.0))
        other.lease(1, 30.0, wait=0.05)
        queue.put(["more"])
        assert len(list(listener.notifies(timeout=60, stop_after=1))) == 1
        assert params(other.lease(1, 30.0)) == ["more"]
        queue.put(["again"])
        assert list(listener.notifies(timeout=0.2)) == []


def test_one_who_waits_is_told_at_once(queue, opened, url, monkeypatch):
    # nobody looks by himself
    monkeypatch.setattr(postgresql, "LOOK_SECONDS", 300.0)
    monkeypatch.setattr(postgresql, "CHECK_SECONDS", 300.0)
    other = opened(url)
    came = []

    def wait():
        leases = other.lease(1, 30.0, wait=300.0)
        came.append((time.monotonic(), params(leases)))

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: other._waiting)
    time.sleep(0.2)
    put = time.monotonic()
    queue.put(["a"])
    thread.join()
    ((at, found),) = came
    assert found == ["a"]
    assert at - put < 100


def test_idle_minions_cost_the_server_next_to_nothing(server, opened):
    with database(server) as new, server.connect(new) as admin:
        queues = [opened(server.url("q", database=new, **PLAIN)) for _ in range(3)]
        queues[0].put(range(3))
        for queue in queues:
            queue.ack(queue.lease(1, 30.0))
        stop = threading.Event()

        def idle(queue):
            while not stop.is_set():
                assert queue.lease(1, 30.0, wait=1.0) == []
                queue.stats()

        def commits():
            admin.execute("SELECT pg_stat_force_next_flush()")
            count = "SELECT xact_commit FROM pg_stat_database WHERE datname = %s"
            return admin.execute(count, [new]).fetchone()[0]

        threads = [threading.Thread(target=idle, args=[queue]) for queue in queues]
        for thread in threads:
            thread.start()
        time.sleep(2)
        began, before = time.monotonic(), commits()
        time.sleep(6)
        # what sessions count arrives a moment later
        rate = (commits() - before) / (time.monotonic() - began) / len(queues)
        stop.set()
        for thread in threads:
            thread.join()
        assert rate < 5


# Answers that are lost


@pytest.fixture
def muted(server, opened, name):
    """A queue, and a function that calls it while the server's answers are lost."""
    with Proxy(server.port) as proxy:
        queue = opened(server.url(name, port=proxy.port, **PLAIN))

        def call(what):
            proxy.mute()
            timer = threading.Timer(0.5, proxy.unmute)
            timer.start()
            answer = what()
            timer.join()
            return answer

        yield queue, call
        queue.close()


def test_a_put_whose_answer_was_lost_counts_right(muted, queue):
    ours, call = muted
    ours.put(["first"])
    assert call(lambda: ours.put(["first", "a", "b"])) == 2
    assert queue.stats().waiting == 3


def test_a_lease_whose_answer_was_lost_is_found_again(muted, queue):
    ours, call = muted
    ours.put(range(8))
    ours.ack(ours.lease(1, 60.0))
    leases = call(lambda: ours.lease(5, 60.0))
    assert params(leases) == [1, 2, 3, 4, 5]
    assert queue.stats().leased == 5
    assert ours.ack(leases) == []


def test_an_acknowledgement_whose_answer_was_lost_is_told_from_one_that_came_late(muted, queue):
    ours, call = muted
    ours.put(range(4))
    stale = ours.lease(2, 0.05)
    until(lambda: queue.stats().leased == 0)
    assert queue.ack(queue.lease(1, 60.0)) == []
    held = queue.lease(1, 60.0)
    fresh = ours.lease(2, 60.0)
    # of the stale ones another has done the first, and runs the second
    assert call(lambda: ours.ack(fresh)) == []
    assert call(lambda: ours.ack(stale)) == stale
    assert queue.ack(held) == []
    assert queue.stats().done == 4


# Holders


def start_holder(url, ttl, tmp_path):
    """A process that leases one task, waits for SIGUSR1, and says what its acknowledgement gave."""
    script = (
        "import signal, sys, threading\n"
        "from maniple.urls import open_queue\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
        "queue = open_queue(sys.argv[1], create=False)\n"
        "leases = queue.lease(1, float(sys.argv[2]))\n"
        "print('leased', len(leases), flush=True)\n"
        "signal.sigwait([signal.SIGUSR1])\n"
        "print('lost', len(queue.ack(leases)), flush=True)\n"
        "queue.close()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, url, str(ttl)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "leased 1\n"
    return process


def test_a_holder_that_is_stopped_loses_its_lease_and_learns_it(queue, url, tmp_path):
    queue.put(["a"])
    holder = start_holder(url, 0.5, tmp_path)
    try:
        holder.send_signal(signal.SIGSTOP)
        leases = until(lambda: queue.lease(1, 30.0, wait=1.0))
        assert queue.ack(leases) == []
        holder.send_signal(signal.SIGUSR1)
        holder.send_signal(signal.SIGCONT)
        assert holder.stdout.readline() == "lost 1\n"
        assert queue.stats().done == 1
    finally:
        holder.kill()
        holder.communicate()


def test_a_holder_that_is_stopped_keeps_its_lease_until_then(queue, url, tmp_path):
    queue.put(["a"])
    holder = start_holder(url, 600, tmp_path)
    try:
        holder.send_signal(signal.SIGSTOP)
        assert queue.lease(1, 30.0, wait=2.5) == []
        holder.send_signal(signal.SIGUSR1)
        holder.send_signal(signal.SIGCONT)
        assert holder.stdout.readline() == "lost 0\n"
    finally:
        holder.kill()
        holder.communicate()


@pytest.fixture
def remote(opened, url, clock, monkeypatch):
    """A queue object whose process is on another machine, for all that others know."""
    with monkeypatch.context() as patch:
        patch.setattr(owner, "identity", lambda: ELSEWHERE)
        queue = opened(url, clock=clock)
        queue.put(["a"])
        queue.leases = queue.lease(1, 60.0)
    return queue


def looks(queue):
    """Lease without waiting for the next look at the holders."""
    queue._holders._next_check = 0.0
    return queue.lease(1, 60.0)


def test_a_session_that_is_over_on_another_machine_gives_its_leases_back(
    server, remote, opened, url, clock
):
    queue = opened(url, clock=clock)
    clock.now += 10
    assert looks(queue) == []
    end_session(server, remote)
    assert looks(queue) == []
    # it may come back as long as it can be at work without a call
    clock.now += GRACE_SECONDS + 20 - 1
    assert looks(queue) == []
    clock.now += 2
    leases = looks(queue)
    assert params(leases) == ["a"]
    assert remote.ack(remote.leases) == remote.leases


def test_a_session_that_comes_back_in_time_keeps_its_leases(
    server, remote, opened, url, clock, monkeypatch
):
    queue = opened(url, clock=clock)
    end_session(server, remote)
    assert looks(queue) == []
    monkeypatch.setattr(owner, "identity", lambda: ELSEWHERE)
    assert remote.extend(remote.leases, 60.0) == []
    monkeypatch.undo()
    clock.now += GRACE_SECONDS + 25
    assert looks(queue) == []
    assert remote.ack(remote.leases) == []
    # it is counted from the next time that it goes
    end_session(server, remote)
    assert looks(queue) == []


def test_a_living_process_of_this_machine_keeps_its_leases_without_a_session(
    server, opened, url, clock
):
    queue, other = opened(url, clock=clock), opened(url, clock=clock)
    queue.put(["a"])
    leases = queue.lease(1, 60.0)
    end_session(server, queue)
    for _ in range(5):
        clock.now += 11
        assert looks(other) == []
    assert queue.ack(leases) == []


def test_closing_gives_leases_back_at_once(queue, opened, url):
    other = opened(url)
    other.put(range(3))
    assert len(queue.lease(2, 600.0)) == 2
    queue.close()
    assert params(other.lease(3, 600.0)) == [0, 1, 2]
    rows = other._link.query("SELECT count(*) FROM maniple_holder WHERE queue = $1", other._queue)
    assert rows == [(1,)]


def test_a_session_that_lives_on_without_its_client_is_ended(server, name, opened):
    with Proxy(server.port) as proxy:
        queue = opened(server.url(name, port=proxy.port, **PLAIN))
        queue.put(["a"])
        leases = queue.lease(1, 60.0)
        old = queue._link.connection
        # as after a network that was down for long: the server has not noticed
        queue._link._connection = None
        assert queue.ack(leases) == []
        assert queue.stats().done == 1
        with server.connect() as admin:
            pid = old.info.backend_pid
            until(lambda: not admin.execute(f"SELECT 1 FROM pg_locks WHERE pid = {pid}").fetchall())
        old.close()


def test_a_server_clock_rules_where_machines_differ(queue, opened, url, monkeypatch):
    queue.put(["a"])
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert len(queue.lease(1, 60.0)) == 1
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert opened(url).lease(1, 60.0) == []
