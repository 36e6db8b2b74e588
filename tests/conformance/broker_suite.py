"""What every queue behind a network must do on top of the suite for all: survive that network.

    @pytest.mark.xdist_group("redis")
    class TestRedis(BrokerConformance):
        Server = RedisServer

        def make(self, tmp_path, **time):
            return RedisQueue(self.rest(tmp_path), **time)

All tests of a broker share one real server, and are one group for pytest-xdist; each test has a queue
of its own name. The tests of this file restart that server and lead connections through a proxy.
"""

import json
import logging
import os
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from brokers.proxy import Proxy
from brokers.server import running
from conformance.queue_suite import QueueConformance, params
from maniple.errors import ManipleError, StorageError
from maniple.queue import Remote
from maniple.urls import open_queue, redact
from support import Patient

SECRET = "s3cr3t%2Fword"


class BrokerConformance(QueueConformance):
    """The tests; see above.

    Attributes:
        Server: the class of the server (see brokers/server.py).
        OPTIONS: of the URL, in all tests: short time limits, say.
        PASSWORD_VARIABLE: of the environment; a wrong password must be refused, and not shown.
    """

    Server = None
    STORM = 10_000
    OPTIONS: ClassVar[dict] = {}
    patience = 1.0

    @pytest.fixture(autouse=True)
    def _served(self, tmp_path, _opened):
        self.server = running(self.Server)
        self.name = f"q{uuid.uuid4().hex[:12]}"

    # the server must be there before anything is opened
    @pytest.fixture
    def queue(self, _served):
        return self.another()

    def url(self, **options):
        """The URL of this test's queue."""
        # a server that starts on a busy machine may be away for longer than minions put up with
        return self.server.url(self.name, **{"reconnect": 300, **self.OPTIONS, **options})

    def make(self, tmp_path, **time):
        return open_queue(self.url())

    def renew(self):
        self.name = f"q{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    def proxy(self, _served):
        server = self.server
        with Proxy(server.proxied or server.port, server.proxy_port) as proxy:
            yield proxy

    def through(self, proxy, **options):
        """Open this test's queue through a proxy."""
        queue = open_queue(self.url(port=proxy.port, **options))
        if self.patience:
            queue = Patient(queue)
        self._queues.append(queue)
        return queue

    def finish(self, queue, expected, seconds=120.0):
        """Lease and acknowledge until each expected param was acknowledged; return the counts."""
        found = Counter()
        until = time.monotonic() + seconds
        while set(found) < set(expected):
            assert time.monotonic() < until, f"missing: {sorted(set(expected) - set(found))[:5]}"
            leases = queue.lease(50, 60.0, wait=0.5)
            lost = queue.ack(leases)
            found.update(params(lease for lease in leases if lease not in lost))
        return found

    # The server

    def test_it_says_how_long_an_idle_minion_may_wait(self, queue):
        assert isinstance(getattr(queue, "_queue", queue), Remote)
        assert 0 < queue.idle <= 1.0
        assert queue.quiet > 0

    @pytest.mark.parametrize("hard", [False, True], ids=["in order", "by a kill"])
    def test_a_server_that_restarts_in_the_middle_loses_nothing(self, queue, hard):
        queue.put(range(300))
        first = queue.lease(100, 60.0)
        assert queue.ack(first[:50]) == []
        self.server.restart(hard=hard)
        lost = queue.ack(first[50:80])
        done = {lease.task.param for lease in first[:80] if lease not in lost}
        queue.nack(first[80:], attempted=False)
        self.finish(queue, set(range(300)) - done)

    def test_what_was_acknowledged_before_a_restart_stays_done(self, queue):
        queue.put(range(100))
        done = queue.lease(60, 60.0)
        assert queue.ack(done) == []
        time.sleep(0.2)
        self.server.restart()
        found = self.finish(queue, set(range(100)) - set(params(done)))
        assert not set(params(done)) & set(found)

    def test_one_who_waits_during_a_restart_is_not_deaf_afterwards(self, queue):
        other = self.another()
        found = []

        def wait():
            until = time.monotonic() + 300
            while not found and time.monotonic() < until:
                found.extend(queue.lease(1, 300.0, wait=1.0))

        waiter = threading.Thread(target=wait)
        waiter.start()
        time.sleep(0.3)
        self.server.restart()
        time.sleep(0.3)
        other.put(["late"])
        waiter.join()
        assert params(found) == ["late"]
        assert queue.ack(found) == []

    def test_a_put_waits_for_a_server_that_is_away(self, queue):
        queue.put(["early"])
        self.server.stop()
        # a server ends with the thread that started it
        with ThreadPoolExecutor(1) as pool:
            put = pool.submit(queue.put, ["late"])
            time.sleep(1.0)
            self.server.start()
            assert put.result() == 1
        self.finish(queue, {"early", "late"})

    # The network

    def test_a_connection_that_is_cut_is_made_again(self, proxy, queue):
        ours = self.through(proxy)
        ours.put(range(100))
        done = set()
        for _ in range(4):
            leases = ours.lease(10, 60.0)
            assert proxy.cut()
            lost = ours.ack(leases)
            done.update(lease.task.param for lease in leases if lease not in lost)
        self.finish(ours, set(range(100)) - done)

    def test_one_who_waits_on_a_connection_that_is_cut_is_not_deaf(self, proxy, queue):
        ours = self.through(proxy)
        ours.lease(1, 60.0, wait=0.1)
        timer = threading.Timer(0.3, proxy.cut)
        timer.start()
        ours.lease(1, 60.0, wait=1.0)
        timer.join()
        queue.put(["late"])
        self.finish(ours, {"late"})

    def test_a_put_whose_answer_is_lost_is_repeated_and_loses_nothing(self, proxy, queue):
        ours = self.through(proxy)
        ours.put(["first"])
        proxy.mute()
        timer = threading.Timer(1.0, proxy.unmute)
        timer.start()
        added = ours.put(["a", "b"])
        timer.join()
        found = self.finish(queue, {"first", "a", "b"})
        if queue.guarantees.unique:
            assert added <= 2
            assert set(found.values()) == {1}
            self.expect(queue, done=3)

    def test_an_acknowledgement_whose_answer_is_lost_holds_or_comes_again(self, proxy, queue):
        ours = self.through(proxy)
        ours.put(range(20))
        leases = ours.lease(20, 60.0)
        proxy.mute()
        timer = threading.Timer(1.0, proxy.unmute)
        timer.start()
        lost = ours.ack(leases)
        timer.join()
        self.finish(queue, set(params(lost)))
        self.expect_drained(queue)

    def test_a_lease_whose_answer_is_lost_comes_back(self, proxy, queue):
        ours = self.through(proxy)
        ours.lease(1, 2.0, wait=0.1)
        queue.put(range(5))
        proxy.mute()
        timer = threading.Timer(1.0, proxy.unmute)
        timer.start()
        leases = ours.lease(5, 2.0, wait=0.5)
        timer.join()
        lost = ours.ack(leases)
        held = {lease.task.param for lease in leases if lease not in lost}
        self.finish(queue, set(range(5)) - held)

    def test_a_server_that_stays_away_is_an_error_in_one_line(self, proxy, queue):
        queue.put(["a"])
        # long enough to connect in at first
        ours = self.through(proxy, reconnect=4)
        ours.lease(0, 60.0)
        proxy.refuse()
        with pytest.raises(StorageError) as caught:
            ours.put(["b"])
        assert "\n" not in str(caught.value)
        assert "127.0.0.1" in str(caught.value)

    # Secrets

    def test_a_wrong_password_is_an_error_that_does_not_show_it(self, caplog, capfd):
        caplog.set_level(logging.DEBUG)
        url = self.url(user="somebody", password=SECRET, reconnect=1)
        with pytest.raises(ManipleError) as caught:
            # some brokers do not ask who comes when no passwords are set up: the server must
            open_queue(url).lease(1, 60.0)
        shown = [str(caught.value), caplog.text, *capfd.readouterr(), redact(url)]
        for text in shown:
            assert SECRET not in text
            assert "s3cr3t" not in text
        assert "\n" not in str(caught.value)

    # Commands

    def maniple(self, *words, stdin=None):
        """Run the command; return what it printed."""
        command = [sys.executable, "-c", "from maniple.cli.main import main; main()", *words]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        return subprocess.run(
            command,
            check=False,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
            cwd=self._path,
            env=environment,
        )

    def test_a_sweep_is_filled_run_looked_at_and_retried_by_commands(self, queue):
        filled = self.maniple("sweep", "-q", self.url(), "x=1..20")
        assert filled.returncode == 0, filled.stderr
        run = ["run", "-q", self.url(), "-j", "2", "--results", "r.jsonl", "--", "sh", "-c"]
        script = 'test "$0" -ne 13 && echo "$0"'
        done = self.maniple(*run, script, "{x}")
        assert done.returncode == 1, done.stderr
        assert redact(self.url()) in done.stderr
        rows = [json.loads(line) for line in (self._path / "r.jsonl").read_text().splitlines()]
        assert {row["param"]["x"] for row in rows} == set(range(1, 21))
        failed = self.maniple("queue", "failed", "-q", self.url(), "--json")
        assert [json.loads(line)["param"] for line in failed.stdout.splitlines()] == [{"x": 13}]
        again = self.maniple("queue", "retry", "-q", self.url())
        assert "1 task put back" in again.stdout, again.stderr
        done = self.maniple(*run, 'echo "$0"', "{x}")
        assert done.returncode == 0, done.stderr
        self.expect_drained(queue)

    def test_what_a_queue_cannot_tell_is_said_in_one_line(self, queue):
        queue.put(["a"])
        done = self.maniple("queue", "export", "-q", self.url())
        if queue.guarantees.lists:
            assert json.loads(done.stdout)["param"] == "a"
        else:
            assert done.returncode == 2
            assert len(done.stderr.splitlines()) == 1
