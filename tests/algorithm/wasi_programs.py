"""Programs for the WASI sandbox's tests: C sources beside this file, built once for all tests."""

import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent / "hostile"
FLAGS = ["--target=wasm32-wasi", "-O2", "-s", "-w"]
_built = {}


def need(library):
    """Skip a test that needs a library which is not here; where CI is set, fail."""
    if importlib.util.find_spec(library) is None:
        assert "CI" not in os.environ, f"{library} is not installed"
        pytest.skip(f"{library} is not installed")


def compiled(name):
    """Build `hostile/NAME.c`; test processes that run at the same time share what is built."""
    if name not in _built:
        _built[name] = _compiled(name)
    return _built[name]


def _compiled(name):
    need("ziglang")
    source = SOURCES / f"{name}.c"
    key = hashlib.sha256(source.read_bytes() + repr(FLAGS).encode()).hexdigest()[:32]
    folder = Path(tempfile.gettempdir()) / f"maniple-test-wasm-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"{name}-{key}.wasm"
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            new = target.with_suffix(".new")
            command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-o", str(new), str(source)]
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            new.replace(target)
    return target.read_bytes()
