"""Projects of algorithms for tests: folders with a motivus.yml, and what a build makes of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from maniple.builders.build import Built, build
from maniple.builders.tool import Toolbox
from support import MANIPLE

ROOT = Path(__file__).parents[1]
SERVERS = ROOT / ".servers"


def project(folder: Path, files: dict[str, str], compiler: str, **keys: Any) -> Path:
    """Write a project; keys are more of its section `build`."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    lines = [f"  {key}: {value}" for key, value in {"compiler": compiler, **keys}.items()]
    (folder / "motivus.yml").write_text(
        "\n".join(["version: 1.0", "build:", *lines, "package: {name: thing, version: 0.1.0}", ""])
    )
    return folder


def built(folder: Path, build_dir: Path, **variables: str) -> Built:
    """Build a project with its compilers' output thrown away."""
    return built_and_said(folder, build_dir, **variables)[0]


def built_and_said(folder: Path, build_dir: Path, **variables: str) -> tuple[Built, str]:
    """Build a project; give what its compilers printed, too."""
    said: list[bytes] = []
    tools = Toolbox(said.append, environment={**os.environ, **variables})
    made = build(str(folder), build_dir=str(build_dir), echo=lambda _: None, tools=tools)
    return made, b"".join(said).decode()


def cases_pass(folder: Path) -> None:
    """Run `maniple algorithm test` in a project: all its cases must pass, in a sandbox."""
    done = subprocess.run(
        [MANIPLE, "algorithm", "test"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout


def need(program: str, package: str) -> None:
    """Skip a test where a program is missing; fail it where CI is set."""
    if shutil.which(program) is None:
        without(f"{program} is not installed: apt-get install {package}")


def without(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def libf2c() -> str:
    """Where the archive of libf2c is that scripts/brokers/fortran fetches; skips without it."""
    need("f2c", "f2c")
    for place in (os.environ.get("MANIPLE_LIBF2C"), str(SERVERS / "libf2c")):
        if place and os.path.exists(place):
            return place
    without("the sources of libf2c are not here: scripts/brokers/fortran .servers")
    return ""
