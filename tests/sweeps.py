"""Sweeps of execo as its users make them, and the drop-in commands as they are typed."""

import os
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

with warnings.catch_warnings():
    # of execo's, at its import; they are not ours to mend
    warnings.simplefilter("ignore")
    from execo_engine.sweep import ParamSweeper, sweep

__all__ = ["Minion", "ParamSweeper", "clean_environment", "make_sweep", "run", "status", "sweep"]

BIN = Path(sys.executable).parent
OURS = ("MINION", "EXECO", "FILE_", "GOOGLE", "PULSAR", "REPORTER", "OAR", "DRY", "MANIPLE")


class Status(NamedTuple):
    """Where the params of a sweep stand, for execo."""

    todo: set
    in_progress: set
    done: set


def make_sweep(directory, params):
    return ParamSweeper(str(directory), sweeps=list(params), save_sweeps=True)


def status(directory):
    sweeper = ParamSweeper(str(directory))
    _, todo, _, in_progress, done = sweeper.stats()
    return Status(set(todo), set(in_progress), set(done))


def clean_environment(**variables):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    path = os.pathsep.join([str(BIN), kept.get("PATH", os.defpath)])
    return {**kept, "PATH": path, "PYTHONUNBUFFERED": "1", **variables}


def run(command, *words, cwd, stdin="", **variables):
    return subprocess.run(
        [str(BIN / command), *words],
        cwd=cwd,
        env=clean_environment(**variables),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Minion:
    """A command of ours that runs beside the test."""

    def __init__(self, *words, cwd, command="minionize", **variables):
        words = [sys.executable, *words] if command is None else [str(BIN / command), *words]
        self.process = subprocess.Popen(
            words,
            cwd=cwd,
            env=clean_environment(**variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(BrokenPipeError):
                stream.close()

    def line(self):
        """Wait for the next line of its output."""
        return self.process.stdout.readline().rstrip("\n")

    def say(self, text):
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def end(self, number=None):
        """Send a signal; wait for its end; return its exit code and its errors."""
        if number is not None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors

    def kill(self):
        """Kill it, not what it started, which may hold its output open."""
        self.process.kill()
        self.process.wait()
