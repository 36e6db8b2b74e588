"""The demo on digits, as a user runs it, only smaller."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

DIGITS = Path(__file__).parents[2] / "examples" / "digits"

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the demo looks into /proc"),
    pytest.mark.skipif(
        not (find_spec("sklearn") and find_spec("matplotlib")),
        reason="scikit-learn and matplotlib are for the demo only",
    ),
]


def test_the_demo_kills_a_minion_misses_nothing_and_draws_a_picture(tmp_path):
    made = tmp_path / ".demo"
    made.mkdir()
    (made / "digits.db").write_text("left from another time")

    command = [sys.executable, str(DIGITS / "demo.py"), "--small", "--in", "."]
    done = subprocess.run(
        command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "** kill -9 " in done.stdout
    assert "1 minion killed" in done.stderr
    assert "6 params asked for, 6 done once and with a result" in done.stdout
    assert "one of them was begun twice: task " in done.stdout
    assert (made / "digits.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert "<html" in (made / "status.html").read_text("utf-8")


def test_the_demo_fails_when_a_param_has_no_result(tmp_path, monkeypatch, capfd):
    monkeypatch.syspath_prepend(DIGITS)
    demo = importlib.import_module("demo")
    folder = demo.Folder.anew(str(tmp_path))
    maniple = str(Path(sys.executable).parent / "maniple")
    sweep = [maniple, "sweep", *demo.SMALL.params, "-q", folder.queue]
    subprocess.run(sweep, check=True)
    ran = ["run", "-q", folder.queue, "--halt", "1", "--quiet", "--no-report", "-j", "1"]
    subprocess.run([maniple, *ran, "--", "false"], check=False)

    with pytest.raises(SystemExit) as end:
        demo.check(folder, demo.SMALL)

    assert end.value.code == 1
    assert "6 missing" in capfd.readouterr().err
