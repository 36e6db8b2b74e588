"""The demo of networks, as a user runs it: two real voices are told apart."""

import os
import re
import shutil
import subprocess
import sys
import wave
from importlib.util import find_spec
from pathlib import Path

import pytest

VOICES = Path(__file__).parents[2] / "examples" / "voices"


@pytest.mark.skipif(
    not (find_spec("numpy") and find_spec("matplotlib")),
    reason="numpy and matplotlib are for the demo only",
)
def test_the_demo_tells_two_voices_apart(tmp_path):
    if shutil.which("espeak-ng") is None and not os.environ.get("CI"):
        pytest.skip("espeak-ng is not installed: apt-get install espeak-ng")
    done = subprocess.run(
        [sys.executable, str(VOICES / "demo.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made = tmp_path / ".demo" / "voices"
    found = re.search(r"separated with voices: \[\[(.+), (.+)\], \[(.+), (.+)\]\]", done.stdout)
    a, b, c, d = map(float, found.groups())
    assert min(max(a, b), max(c, d)) > 0.95
    assert min(max(a, c), max(b, d)) > 0.95
    assert (made / "voices.png").read_bytes().startswith(b"\x89PNG")
    with wave.open(str(made / "separated-1.wav")) as file:
        assert file.getnframes() > 10 * file.getframerate()


def test_without_espeak_it_is_said_what_to_install(tmp_path):
    done = subprocess.run(
        [sys.executable, str(VOICES / "demo.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/nowhere"},
    )
    assert done.returncode == 1
    assert done.stderr == "the voices need espeak-ng: apt-get install espeak-ng\n"
