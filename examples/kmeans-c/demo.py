"""The demo of algorithms: k-means in C is compiled to WebAssembly, and a cluster here runs it.

Usage: demo.py [--in FOLDER]. Needs the extra `motivus` (`make demo` installs it). Everything it
makes is in the folder .demo.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
MANIPLE = str(Path(sys.executable).with_name("maniple"))
EXPECTED = "[0, 0, 0, 0, 0, 1, 1, 1, 1, 1]"


@contextmanager
def loopback(folder: Path) -> Iterator[str]:
    """Run a cluster on a free port; give the URL that drivers need."""
    command = [MANIPLE, "loopback", "-p", "0", "-j", "2", "--quiet"]
    print("maniple loopback &", flush=True)
    hub = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert hub.stdout is not None
        line = hub.stdout.readline().strip()
        print(f"    {line}", flush=True)
        found = re.search(r"WEBSOCKET_URI=(\S+)", line)
        if found is None:
            sys.exit("demo: the cluster did not start")
        yield found.group(1)
    finally:
        hub.send_signal(signal.SIGINT)
        hub.wait()
        if hub.stdout is not None:
            hub.stdout.close()


def run(folder: Path, *words: str, env: dict[str, str] | None = None) -> str:
    """Show a command, run it, show what it prints."""
    print(shlex.join([os.path.basename(words[0]), *words[1:]]), flush=True)
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    print("".join(f"    {line}\n" for line in done.stdout.splitlines()), end="", flush=True)
    if done.returncode:
        sys.exit(f"demo: that failed with exit code {done.returncode}")
    return done.stdout


def main() -> int:
    """Build, start a cluster, drive it."""
    parser = argparse.ArgumentParser(description="Group points on a cluster of this machine.")
    parser.add_argument("--in", dest="parent", default=".", help="the folder .demo goes there")
    folder = Path(parser.parse_args().parent).resolve() / ".demo" / "kmeans"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("build", "__pycache__", ".motivus"))
    print("k-means in C becomes an algorithm, and a cluster on this machine runs it", flush=True)
    run(folder, MANIPLE, "algorithm", "build")
    with loopback(folder) as url:
        said = run(folder, sys.executable, "driver.py", env={"WEBSOCKET_URI": url})
    if not said.startswith(EXPECTED):
        print(f"demo: not {EXPECTED}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
