"""What `maniple run` prints: the tasks' output, the progress, nothing mixed."""

import os
import pty
import select
import subprocess
import time
from contextlib import suppress

import pytest

from support import LONG, MANIPLE, PATIENCE

SCRIPT = 'for i in 1 2 3 4; do echo "$1 out $i"; echo "$1 err $i" >&2; sleep 0.005; done'


def test_outputs_of_tasks_are_never_mixed(shell):
    result = shell.maniple(
        "run", "x=1..40", "-j", 4, "--quiet", "--", "sh", "-c", SCRIPT, "sh", "{x}"
    )
    for text, name in ((result.stdout, "out"), (result.stderr, "err")):
        lines = text.splitlines()
        assert len(lines) == 160
        for at in range(0, 160, 4):
            x = lines[at].split()[0]
            assert lines[at : at + 4] == [f"{x} {name} {i}" for i in range(1, 5)]


def test_large_outputs_come_whole_and_unmixed(shell):
    script = 'yes "$1" | head -n 100000'
    result = shell.maniple("run", "x=1..4", "-j", 2, "--", "sh", "-c", script, "sh", "{x}")
    lines = result.stdout.splitlines()
    assert len(lines) == 400_000
    assert all(len(set(lines[at : at + 100_000])) == 1 for at in range(0, 400_000, 100_000))


def test_live_output_comes_while_the_task_runs(shell):
    os.mkfifo(shell.folder / "fifo")
    process = shell.start(
        "run", "x=1", "--output", "live", "--quiet", "--", "sh", "-c", "echo now; read x < fifo"
    )
    assert process.stdout.readline() == "now\n"
    assert process.poll() is None
    (shell.folder / "fifo").write_text("go\n")
    assert shell.finish(process)[0] == 0


def test_no_output_on_request(shell):
    result = shell.maniple("run", "x=1..3", "--output", "none", "--quiet", "--", "sh", "-c", SCRIPT)
    assert (result.stdout, result.stderr) == ("", "")


def test_output_can_be_kept_in_files_per_task(shell):
    result = shell.maniple(
        "run",
        "x=7,8",
        "-j",
        1,
        "--output-dir",
        "logs",
        "--quiet",
        "--",
        "sh",
        "-c",
        "echo o{x}; echo e{x} >&2",
    )
    assert (result.stdout, result.stderr) == ("", "")
    found = {path.name: path.read_text() for path in (shell.folder / "logs").iterdir()}
    assert found == {"1.out": "o7\n", "1.err": "e7\n", "2.out": "o8\n", "2.err": "e8\n"}


def test_bytes_that_are_no_text_pass_unchanged(shell):
    result = subprocess.run(
        [MANIPLE, "run", "--", "echo"],
        cwd=shell.folder,
        env=shell.environment,
        input=b"a\xff\xfeb\n",
        capture_output=True,
        check=False,
        timeout=LONG,
    )
    assert result.stdout == b"a\xff\xfeb\n"


def test_a_reader_who_has_seen_enough_stops_nothing(shell):
    script = f'"{MANIPLE}" run x=1..300 -- sh -c "echo {{x}} | tee -a log" | head -n 1'
    result = shell.command("sh", "-c", script)
    assert len(result.stdout.splitlines()) == 1
    assert "Traceback" not in result.stderr
    assert len(shell.lines("log")) == 300


def on_terminal(shell, *words, tell):
    """Run maniple with a terminal as standard error and output; return what is shown.

    Args:
        tell: is told all that has been shown so far, each time that there is more.
    """
    ours, theirs = pty.openpty()
    process = shell.start(*words, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + LONG
    with suppress(OSError):  # the other end is closed
        while time.monotonic() < deadline and select.select([ours], [], [], PATIENCE)[0]:
            shown += os.read(ours, 4096)
            tell(shown.decode(errors="replace"))
    os.close(ours)
    assert process.wait(timeout=PATIENCE) in {0, 1}
    return shown.decode()


def test_a_terminal_shows_a_line_with_rate_and_failures_that_goes_away(shell):
    def tell(text):
        # a task ends when the line has been painted once more
        for number in range(1, min(12, text.count("[")) + 1):
            (shell.folder / f"painted{number}").touch()

    wait = "until [ -e painted{x} ]; do sleep 0.02; done; exit $(({x} % 2))"
    shown = on_terminal(shell, "run", "x=1..12", "-j", 1, "--", "sh", "-c", wait, tell=tell)
    painted = [part for part in shown.split("\r\x1b[K") if "[" in part]
    assert painted
    assert any("failed" in part and "/s" in part and "ETA" in part for part in painted), shown
    assert shown.rpartition("\r\x1b[K")[2].lstrip().startswith("maniple: 6 tasks done")


def test_without_a_terminal_lines_are_plain(shell):
    result = shell.maniple(
        "run", "x=1..5", "-j", 1, "--", "sh", "-c", "sleep 0.1", env={"CI": "true"}
    )
    assert "\r" not in result.stderr
    assert "\x1b" not in result.stderr
    assert all(line.startswith("maniple: ") for line in result.stderr.splitlines())


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "words",
    [
        "run x=1..3 -- sh -c 'echo {x}; echo {x} >> log'",
        "sweep x=1..3",
        "queue export -q sqlite:q.db",
        "queue failed -q sqlite:q.db",
        "status -q sqlite:q.db",
    ],
)
def test_closed_standard_streams_do_no_harm(shell, words, closed):
    shell.maniple("sweep", "x=1..3", "-q", "sqlite:q.db")
    result = shell.command("sh", "-c", f'"{MANIPLE}" {words} {closed}')
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    if words.startswith("run"):
        assert sorted(shell.lines("log")) == ["1", "2", "3"]
    assert shell.stats()["waiting"] == 3


@pytest.mark.parametrize(
    "words",
    [
        "run x=1..3 -- echo",
        "run x=1..3 --dry-run -- echo",
        "sweep x=1..3 --dry-run",
        "queue export -q sqlite:q.db",
        "--help",
    ],
)
def test_a_full_disk_under_standard_output_is_one_line_and_exit_code_3(shell, words):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    shell.maniple("sweep", "x=1..3", "-q", "sqlite:q.db")
    result = shell.command("sh", "-c", f'"{MANIPLE}" {words} > /dev/full')
    assert result.returncode == 3
    assert "No space left" in result.stderr.splitlines()[0]
    assert "Traceback" not in result.stderr
    assert result.stderr.count("No space left") == 1


@pytest.mark.parametrize(
    "words", ["queue export", "queue failed --json", "run --dry-run", "status"]
)
def test_a_reader_who_leaves_early_is_no_error(shell, words):
    shell.maniple("sweep", "x=1..20000", "-q", "sqlite:q.db")
    tail = "-- echo" if words.startswith("run") else ""
    script = f'"{MANIPLE}" {words} -q sqlite:q.db {tail} | head -n 1; exit "${{PIPESTATUS[0]}}"'
    result = shell.command("bash", "-c", script)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_terminal_that_lacks_a_letter_is_no_reason_to_stop(shell):
    shell.maniple("run", "x=☃", "-q", "sqlite:q.db", "--", "false")
    result = shell.maniple(
        "queue", "failed", "-q", "sqlite:q.db", env={"PYTHONIOENCODING": "latin-1"}
    )
    assert result.returncode == 0
    assert "\\u2603" in result.stdout
