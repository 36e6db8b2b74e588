"""Peers: each in a virtual environment of its own, made when it is first needed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from processes import Trouble, run

HERE = Path(__file__).resolve().parent
INSTALL_SECONDS = 300.0


class Peers:
    """Installs peers under a folder; a peer that cannot be installed is asked for once only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._wanted = _read(HERE / "peers.txt")
        self._missing: dict[str, str] = {}

    def bin(self, name: str) -> Path:
        """Give the folder of a peer's commands.

        Raises:
            Trouble: it cannot be installed here.
        """
        if name in self._missing:
            raise Trouble(self._missing[name])
        venv = self._folder / name
        stamp = venv / "installed.txt"
        wanted = self._wanted[name]
        if not (stamp.exists() and stamp.read_text() == wanted):
            try:
                self._install(venv, wanted)
            except Trouble as trouble:
                self._missing[name] = f"not installed: {trouble}"
                raise Trouble(self._missing[name]) from None
            stamp.write_text(wanted)
        return venv / "bin"

    def version(self, name: str) -> str:
        """Tell what is installed for a peer: its first requirement."""
        return self._wanted[name].split()[0]

    def _install(self, venv: Path, wanted: str) -> None:
        print(f"installing {wanted}", file=sys.stderr, flush=True)
        shutil.rmtree(venv, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        make: list[str | Path] = [sys.executable, "-m", "venv", venv]
        run(make, cwd=self._folder, timeout=INSTALL_SECONDS)
        pip: list[str | Path] = [
            venv / "bin" / "python",
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
        ]
        run([*pip, *wanted.split()], cwd=self._folder, timeout=INSTALL_SECONDS)


def gnu_parallel(cwd: Path) -> str:
    """Find GNU parallel, or install the Debian package when we may.

    Raises:
        Trouble: it is not there and cannot be installed.
    """
    found = shutil.which("parallel")
    if found is None and os.geteuid() == 0 and (apt := shutil.which("apt-get")):
        print("installing GNU parallel", file=sys.stderr, flush=True)
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        install = [apt, "install", "-q", "-y", "--no-install-recommends", "parallel"]
        try:
            run(install, cwd=cwd, timeout=INSTALL_SECONDS, env=quiet)
        except Trouble:
            run([apt, "update", "-q"], cwd=cwd, timeout=INSTALL_SECONDS, env=quiet)
            run(install, cwd=cwd, timeout=INSTALL_SECONDS, env=quiet)
        found = shutil.which("parallel")
    if found is None:
        raise Trouble("GNU parallel is missing; as root: apt-get install parallel")
    if "GNU" not in run([found, "--version"], cwd=cwd, timeout=10).stdout:
        raise Trouble(f"{found} is not GNU parallel")
    return found


def _read(path: Path) -> dict[str, str]:
    lines = [line.strip() for line in path.read_text().splitlines()]
    pairs = [line.partition(":") for line in lines if line and not line.startswith("#")]
    return {name.strip(): wanted.strip() for name, _, wanted in pairs}
