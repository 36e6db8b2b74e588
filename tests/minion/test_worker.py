"""Workers of a hub as processes: what they run, and that nothing is lost when they are ended."""

import os
import signal

import pytest

from maniple.algorithm.blobs import digest_of
from maniple.algorithm.call import Call, Code
from maniple.cluster.messages import Refused
from maniple.errors import UsageError
from maniple.minion.worker import run_workers
from small_algorithms import loaded, need
from support import is_alive, kept_port, minions, one_line, opened_shell, until
from worker_hub import WorkerHub

DOUBLE = loaded("double", "return params[0] * 2;")
ENDLESS = loaded("endless", "for (;;) {}")
THROWS = loaded("throws", "throw new Error('no such point');")


@pytest.fixture
def shell(tmp_path):
    for shell in opened_shell(tmp_path):
        shell.environment["MANIPLE_CACHE"] = str(tmp_path / "cache")
        yield shell


@pytest.fixture
def hub():
    with kept_port() as port:
        hub = WorkerHub(port)
        yield hub
        hub.close()


@pytest.fixture(autouse=True)
def deno():
    need("deno")


def call(hub, package, *params, **options):
    for part in (package.wasm, package.loader):
        hub.blobs[digest_of(part)] = part
    return Call(package.code, b"[%s]" % b",".join(str(p).encode() for p in params), **options)


def start(shell, hub, *options):
    return shell.start("worker", hub.url.removeprefix("hub:"), *options)


def leave(shell, process, number=signal.SIGTERM):
    process.send_signal(number)
    return shell.finish(process)


def test_workers_run_what_a_hub_hands_out_until_they_are_stopped(shell, hub):
    process = start(shell, hub, "-j", 2)
    hub.submit(*(call(hub, DOUBLE, n) for n in range(6)))
    answers = hub.until_answered(6)
    assert sorted(int(a.value) for a in answers.values()) == [0, 2, 4, 6, 8, 10]
    code, out, err = leave(shell, process)
    assert (code, out, err) == (143, "", "")
    until(lambda: not hub.open)


def test_an_algorithm_that_needs_no_javascript_runs_as_well(shell, hub):
    need("wasmtime")
    process = start(shell, hub, "-j", 1)
    hub.submit(*hub.calls(40))
    answers = hub.until_answered(40)
    assert sorted(int(a.value) for a in answers.values()) == list(range(1, 41))
    leave(shell, process)


def test_a_failure_is_answered_and_the_worker_lives_on(shell, hub):
    process = start(shell, hub, "-j", 1)
    hub.submit(call(hub, THROWS), call(hub, DOUBLE, 4), Call(Code("0" * 64)))
    answers = hub.until_answered(3)
    assert not answers["task1"].ok
    assert "no such point" in answers["task1"].error
    assert answers["task2"].value == b"8"
    assert answers["task3"].cause == "no code"
    leave(shell, process)


def test_a_call_may_take_no_longer_than_the_worker_allows(shell, hub):
    # the shortest that is enough for the second call, however busy the machine is
    for number, limit in enumerate(("0.3s", "2s", "8s", "30s"), 1):
        process = start(shell, hub, "-j", 1, "--time-limit", limit)
        hub.submit(call(hub, ENDLESS), call(hub, DOUBLE, 4))
        answers = list(hub.until_answered(2 * number).values())[-2:]
        leave(shell, process)
        assert answers[0].cause == "time limit"
        if answers[1].ok:
            break
    assert answers[1].value == b"8"


def test_a_task_that_nobody_wants_any_more_is_ended(shell, hub):
    process = start(shell, hub, "-j", 1)
    hub.submit(call(hub, ENDLESS))
    until(lambda: hub.leased)
    hub.submit(call(hub, DOUBLE, 4))
    hub.abort("task1")
    assert list(hub.until_answered(1)) == ["task2"]
    leave(shell, process)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_worker_that_is_stopped_gives_back_what_it_runs(shell, hub, number, code):
    hub.submit(call(hub, ENDLESS), call(hub, ENDLESS))
    # one that gets no processor for as long as a crew waits for its workers is killed, once
    for _ in range(4):
        process = start(shell, hub, "-j", 2)
        until(lambda: len(hub.leased) == 2)
        assert leave(shell, process, number)[0] == code
        until(lambda: not hub.open)
        if given_back := len(hub.waiting) == 2:
            break
        hub.take_from_the_gone()
    assert given_back
    assert not hub.answers


def test_a_killed_worker_is_replaced_and_its_task_runs_elsewhere(shell, hub):
    process = start(shell, hub, "-j", 1)
    hub.submit(call(hub, ENDLESS))
    until(lambda: hub.leased)
    # the guard is none of them as soon as it has come so far
    (pid,) = until(lambda: len(found := minions(process.pid)) == 1 and found)
    os.kill(pid, signal.SIGKILL)
    until(lambda: hub.connections >= 2)
    until(lambda: hub.take_from_the_gone() or hub.leased)
    assert {task for task, _, _ in hub.leased.values()} == {"task1"}
    assert not is_alive(pid)
    leave(shell, process)


def test_nothing_is_left_of_workers_that_are_killed_at_one_stroke(shell, hub):
    process = start(shell, hub, "-j", 2)
    hub.submit(call(hub, ENDLESS), call(hub, ENDLESS))
    until(lambda: len(hub.leased) == 2)
    os.killpg(process.pid, signal.SIGKILL)
    until(lambda: not shell.alive())


def test_workers_outlive_their_hub(shell, hub):
    process = start(shell, hub, "-j", 1)
    hub.submit(call(hub, DOUBLE, 1))
    hub.until_answered(1)
    port = hub.port
    hub.close()
    second = WorkerHub(port)
    try:
        second.submit(call(second, DOUBLE, 2))
        assert second.until_answered(1)["task1"].value == b"4"
        _, _, err = leave(shell, process)
    finally:
        second.close()
    assert err.splitlines()[0].startswith("maniple: no connection to ws://127.0.0.1")
    assert "connected to" in err


def test_a_worker_that_is_refused_ends_with_the_reason(shell, hub):
    hub.first_word = Refused("this token has been revoked")
    result = shell.maniple("worker", hub.url + "?token=s3cret", "-j", 2)
    assert result.returncode == 3
    assert "this token has been revoked" in one_line(result.stderr)
    assert "s3cret" not in result.stderr


def test_a_hub_that_cannot_be_is_told_at_once(shell):
    result = shell.maniple("worker", "ftp://somewhere")
    assert result.returncode == 2
    assert "ws://HOST:PORT" in one_line(result.stderr)
    with pytest.raises(UsageError):
        run_workers("h:1", 0)


def test_a_cache_that_cannot_be_written_is_told_once(shell, hub):
    (shell.folder / "cache").write_text("in the way")
    process = start(shell, hub, "-j", 2)
    hub.submit(call(hub, DOUBLE, 1), call(hub, DOUBLE, 2))
    code, _, err = shell.finish(process)
    assert code == 3
    assert "cannot keep an algorithm" in one_line(err)


def test_events_of_workers_are_as_those_of_any_minion(shell, hub):
    process = start(shell, hub, "-j", 1, "--report", "events")
    hub.submit(call(hub, DOUBLE, 3), call(hub, THROWS))
    hub.until_answered(2)
    leave(shell, process)
    status = shell.maniple("status", "events")
    assert status.returncode == 0, status.stderr
    assert "2" in status.stdout
