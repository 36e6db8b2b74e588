"""A project of the drop-in package `fission`, as its users make one, for the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent

JOBS = """
from fission.core.jobs import PythonJob

class Source(PythonJob):
    def setup(self, limit=5):
        self.limit = limit
        self.number = 0

    def run(self):
        if self.number == self.limit:
            return None
        self.number += 1
        return self.number

class Double(PythonJob):
    def run(self, number):
        print("doubling", number)
        return 2 * number
"""

CONFIG = """
from fission.core.jobs import CSVSinkJob
from fission.core.nodes import LocalNode
from fission.core.pipes import PicklePipe
from net.jobs.jobs import Double, Source

USER = "me"
JOBS = [
    Source(outputs=[PicklePipe(1)]),
    Double(inputs=[PicklePipe(1)], outputs=[PicklePipe(2)]),
    CSVSinkJob("numbers.csv", inputs=[PicklePipe(2)]),
]
NODES = [LocalNode()]
"""


def shell(*words: object, cwd: Path, fails: bool = False, **options: Any) -> Any:
    """Run a command to its end; only a job's own exception may show a traceback."""
    done = subprocess.run(
        [*map(str, words)],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )
    assert "Traceback" not in done.stderr or fails, done.stderr
    return done


class Project:
    """A project in a folder, with one network."""

    def __init__(self, folder: Path) -> None:
        done = shell(BIN / "fission_admin.py", "proj", "startproject", cwd=folder)
        assert done.returncode == 0, done.stderr
        self.folder = folder / "proj"
        assert self.manage("startnetwork").returncode == 0
        self.net = self.folder / "net"

    def manage(self, *words: object, network: str = "net", **options: Any) -> Any:
        """Run `manage.py net ...`."""
        options.setdefault("cwd", self.folder)
        return shell(sys.executable, self.folder / "manage.py", network, *words, **options)

    def well(self, *words: object, **options: Any) -> str:
        """Run it; return what it printed, without the jobs' names."""
        done = self.manage(*words, **options)
        assert (done.returncode, done.stderr) == (0, "")
        return "\n".join(line.partition(" | ")[2] or line for line in done.stdout.splitlines())

    def config(self, jobs: str, config: str) -> None:
        """Write the network's jobs and its config."""
        (self.net / "jobs" / "jobs.py").write_text(jobs)
        (self.net / "config.py").write_text(config)

    def popen(self, *words: object, **options: Any) -> subprocess.Popen[Any]:
        """Start `manage.py net ...`."""
        return subprocess.Popen(
            [sys.executable, "manage.py", "net", *map(str, words)], cwd=self.folder, **options
        )
