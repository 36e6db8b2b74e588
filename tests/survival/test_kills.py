"""kill -9 of anything at any time: no task is lost, and only what was in flight runs twice."""

import os
import random
import signal
from collections import Counter

import pytest

from maniple.queue import MAX_LAPSES
from support import children, minions, until

Q = "sqlite:q.db"
URLS = ["sqlite:q.db", "dir:q"]
LEASE = 20
"""Seconds that a lease lasts: a living minion that is not given the processor keeps its tasks."""
HOLD = 'echo "$1" >> started; [ "$1" != 1 ] || [ -e go ] || { touch holding; sleep 300; }; echo "$1" >> ended'


def in_a_task(process):
    """Wait until the only minion of a run waits for its task: the guard knows the task by then."""

    def waits():
        (minion,) = until(lambda: minions(process.pid))
        with open(f"/proc/{minion}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"S"

    until(waits)


def held(shell, url, *options):
    """Start a minion and wait until it is in the middle of its first task."""
    shell.maniple("sweep", "x=1..20", "-q", url)
    process = shell.start(
        "run", "-q", url, "-j", 1, "--lease", LEASE, *options, "--", "sh", "-c", HOLD, "sh", "{x}"
    )
    until((shell.folder / "holding").exists)
    in_a_task(process)
    (shell.folder / "go").touch()
    return process


def each_ended_once(shell, url):
    assert sorted(map(int, shell.lines("ended"))) == list(range(1, 21))
    assert Counter(shell.lines("started")) == {str(x): 2 if x == 1 else 1 for x in range(1, 21)}
    stats = shell.stats(url)
    assert (stats["done"], stats["failed"], stats["leased"], stats["waiting"]) == (20, 0, 0, 0)


@pytest.mark.parametrize("url", URLS)
def test_a_killed_minion_is_replaced_and_its_task_alone_runs_again(shell, url):
    process = held(shell, url)
    (minion,) = minions(process.pid)
    task = children(minion)
    os.kill(minion, signal.SIGKILL)
    code, _, err = shell.finish(process)
    assert code == 0, err
    assert "1 minion killed, replaced" in err
    assert not set(task) & set(shell.alive())
    each_ended_once(shell, url)


@pytest.mark.parametrize("url", URLS)
def test_when_the_first_process_is_killed_all_end_and_the_next_run_goes_on(shell, url):
    process = held(shell, url)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not shell.alive())
    again = shell.maniple(
        "run", "-q", url, "-j", 2, "--lease", LEASE, "--", "sh", "-c", HOLD, "sh", "{x}"
    )
    assert again.returncode == 0, again.stderr
    each_ended_once(shell, url)


@pytest.mark.parametrize("url", URLS)
def test_when_the_whole_process_group_is_killed_at_once_no_task_runs_on(shell, url):
    process = held(shell, url)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not shell.alive())
    again = shell.maniple(
        "run", "-q", url, "-j", 2, "--lease", LEASE, "--", "sh", "-c", HOLD, "sh", "{x}"
    )
    assert again.returncode == 0, again.stderr
    each_ended_once(shell, url)


def test_folders_of_a_run_that_was_killed_are_removed(shell):
    shell.environment["TMPDIR"] = str(shell.folder / "tmp")
    (shell.folder / "tmp").mkdir()
    process = shell.start(
        "run", "x=1", "-j", 1, "--", "sh", "-c", "touch ../started started; sleep 300"
    )
    until((shell.folder / "started").exists)
    in_a_task(process)
    assert list((shell.folder / "tmp").iterdir())
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not shell.alive())
    assert not list((shell.folder / "tmp").iterdir())


@pytest.mark.parametrize("url", URLS)
def test_a_lease_lapses_where_nobody_can_see_that_its_minion_is_dead(shell, url):
    if shell.command("unshare", "-pf", "--mount-proc", "true").returncode:
        pytest.skip("process namespaces are not permitted here")
    shell.maniple("sweep", "x=1", "-q", url)
    # from another process namespace, as from another machine, a pid says nothing
    process = shell.start(
        "run",
        "-q",
        url,
        "-j",
        1,
        "--lease",
        # it must not lapse while its holder is ended and the tasks are counted
        15,
        "--",
        "sh",
        "-c",
        "touch started; sleep 300",
        under=("unshare", "-pf", "--kill-child", "--mount-proc"),
    )
    until((shell.folder / "started").exists)
    process.kill()
    until(lambda: not shell.alive())
    assert shell.stats(url)["leased"] == 1
    again = shell.maniple("run", "-q", url, "--lease", LEASE, "--", "touch", "done-{x}")
    assert again.returncode == 0, again.stderr
    assert (shell.folder / "done-1").exists()


@pytest.mark.parametrize("url", URLS)
def test_a_task_that_is_longer_than_many_leases_runs_once(shell, url):
    shell.maniple("sweep", "x=1", "-q", url)
    result = shell.maniple(
        "run",
        "-q",
        url,
        "-j",
        3,
        "--lease",
        6,
        "--",
        "sh",
        "-c",
        "echo s >> log; sleep 19; echo e >> log",
    )
    assert result.returncode == 0, result.stderr
    assert shell.lines("log") == ["s", "e"]


@pytest.mark.parametrize("url", URLS)
def test_a_task_that_kills_its_minion_each_time_is_set_aside_and_the_others_are_done(shell, url):
    shell.maniple("sweep", "x=1..40", "-q", url)
    result = shell.maniple(
        "run",
        "-q",
        url,
        "-j",
        2,
        "--lease",
        LEASE,
        "--",
        "sh",
        "-c",
        'echo "$1" >> started; [ "$1" != 7 ] || kill -9 $PPID; echo "$1" >> ended',
        "sh",
        "{x}",
    )
    assert result.returncode == 1, result.stderr
    listed = shell.maniple("queue", "failed", "-q", url).stdout.splitlines()
    assert len(listed) == 1
    assert '{"x":7}' in listed[0]
    assert "\tlost\t" in listed[0]
    assert set(shell.lines("ended")) | {"7"} == {str(x) for x in range(1, 41)}
    stats = shell.stats(url)
    assert (stats["done"], stats["failed"]) == (39, 1)
    assert Counter(shell.lines("started"))["7"] == MAX_LAPSES + 1


# no task runs before its turn: some are always left for who is killed
SHORT = (
    "until read turn < turn && [ $turn -ge $1 ]; do sleep 0.01; done; "
    'echo "$1" >> started; sleep 0.00$(( $$ % 5 )); echo "$1" >> ended'
)


def storm(shell, url, tasks, kills, seed):
    """Kill minions, and now and then the first process, while tasks run; check that all are done."""
    rng = random.Random(seed)
    shell.maniple("sweep", f"x=1..{tasks}", "-q", url)
    words = (
        "run",
        "-q",
        url,
        "-j",
        2,
        "--lease",
        LEASE,
        "--quiet",
        "--",
        "sh",
        "-c",
        SHORT,
        "sh",
        "{x}",
    )

    def start():
        return shell.start(*words, stdout=None, stderr=None)

    def let_run(count):
        (shell.folder / "next").write_text(f"{count}\n")
        (shell.folder / "next").rename(shell.folder / "turn")

    let_run(0)
    process, in_flight = start(), 0
    for struck in range(kills):
        # a kill counts when work has gone on since the last one
        before = tasks * struck // (kills + 1)
        share = tasks // (kills + 1)
        let_run(before + share)
        target = before + rng.randrange(min(20, share))
        until(lambda target=target: len(set(shell.lines("ended"))) > target)
        assert process.poll() is None
        if rng.random() < 0.8:
            crew = until(lambda pid=process.pid: minions(pid))
            os.kill(rng.choice(crew), signal.SIGKILL)
            in_flight += 1
        else:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            process = start()
            in_flight += 2
    let_run(tasks)
    assert process.wait(timeout=300) == 0
    started, ended = Counter(shell.lines("started")), Counter(shell.lines("ended"))
    assert set(ended) == {str(x) for x in range(1, tasks + 1)}
    # a note of sqlite's is written before the next task starts; dir: is told while it runs
    per_minion = 1 if url.startswith("sqlite") else 2
    assert sum(started.values()) - tasks <= in_flight * per_minion
    stats = shell.stats(url)
    assert (stats["done"], stats["failed"], stats["leased"], stats["waiting"]) == (tasks, 0, 0, 0)
    until(lambda: not shell.alive())


@pytest.mark.parametrize("url", URLS)
def test_a_squall_of_kills_loses_nothing_and_repeats_only_what_was_in_flight(shell, url):
    storm(shell, url, 400, 10, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("url", URLS)
def test_a_storm_of_50_kills_over_5000_tasks(shell, url, seed):
    storm(shell, url, 5000, 50, seed)
