"""What every subject needs: folders, commands of ours, peers, how long to take."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from peers import Peers
from processes import Finished, Trouble, run

SIDES = Path(__file__).resolve().parent / "sides"
JOBS = 2


class Bench:
    """The means of a subject.

    Attributes:
        quick: a tenth of the work, to see that all runs.
    """

    def __init__(self, folder: Path, *, quick: bool, say: Callable[[str], None]) -> None:
        self.quick = quick
        self.say = say
        self.folder = folder
        self.peers = Peers(folder / "venvs")
        self.python = sys.executable

    def ours(self, command: str) -> Path:
        """Find a command that this project installs.

        Raises:
            Trouble: it is not installed.
        """
        found = Path(sys.executable).parent / command
        if not found.exists():
            raise Trouble(f"{command} is not installed beside {sys.executable}")
        return found

    def size(self, full: int, quick: int) -> int:
        """Choose how much to do."""
        return quick if self.quick else full

    @contextmanager
    def room(self) -> Iterator[Path]:
        """Make a folder for one measurement, on the disk where the project is."""
        path = Path(tempfile.mkdtemp(prefix="room-", dir=self.folder))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def side(
        self,
        script: str,
        *words: str | Path,
        cwd: Path,
        timeout: float,
        python: str | Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> dict[str, float]:
        """Run a script of `sides/`; its last line is a JSON object of figures.

        Raises:
            Trouble: it failed, or printed no figures.
        """
        line = [python or self.python, SIDES / script, *words]
        finished = run(line, cwd=cwd, timeout=timeout, env=env)
        try:
            figures = json.loads(finished.stdout.splitlines()[-1])
        except (ValueError, IndexError):
            raise Trouble(f"{script} printed no figures") from None
        if not isinstance(figures, dict):
            raise Trouble(f"{script} printed no figures")
        return figures

    def maniple(
        self, *words: str, cwd: Path, timeout: float, stdin: Path | None = None
    ) -> Finished:
        """Run our command."""
        return run([self.ours("maniple"), *words], cwd=cwd, timeout=timeout, stdin=stdin)

    def fill(self, url: str, params: Sequence[str], cwd: Path) -> float:
        """Fill a queue as a user does; return the seconds of the whole command."""
        return self.maniple("sweep", *params, "-q", url, "--quiet", cwd=cwd, timeout=120).seconds
