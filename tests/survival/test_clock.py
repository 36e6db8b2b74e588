"""A clock that jumps between two runs: no task waits for a time that is far away."""

import os
import signal

import pytest

from support import until

AHEAD = (
    "unshare",
    "--time",
    "--boottime",
    "500000",
    "--monotonic",
    "500000",
    "--fork",
    "--kill-child",
)


@pytest.mark.parametrize("url", ["dir:q"])
def test_leases_of_a_clock_that_was_far_ahead_do_not_hold_their_tasks(shell, url):
    if shell.command(*AHEAD, "true").returncode:
        pytest.skip("time namespaces are not permitted here")
    shell.maniple("sweep", "x=1..20", "-q", url)
    process = shell.start(
        "run",
        "-q",
        url,
        "-j",
        2,
        "--lease",
        2,
        "--",
        "sh",
        "-c",
        "touch started-{x}; sleep 300",
        under=AHEAD,
    )
    until(lambda: len(list(shell.folder.glob("started-*"))) == 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not shell.alive())
    result = shell.maniple("run", "-q", url, "-j", 2, "--lease", 2, "--", "true")
    assert result.returncode == 0, result.stderr
    stats = shell.stats(url)
    assert (stats["done"], stats["waiting"], stats["leased"]) == (20, 0, 0)
