"""The example of docs/own-queue.md: a backend in a package of its own passes the suite."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from conformance.queue_suite import QueueConformance
from maniple.urls import open_queue

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own_queue"
PAGE = (ROOT / "docs" / "own-queue.md").read_text()


@pytest.fixture(autouse=True)
def _installed(tmp_path, monkeypatch):
    """Install the example as pip would: its entry points, beside its module on the path."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["maniple.queues"]
    info = tmp_path / "site" / "maniple_onefile-1.0.dist-info"
    info.mkdir(parents=True)
    name = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(name)
    lines = [f"{scheme} = {target}" for scheme, target in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[maniple.queues]", *lines, ""]))
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield
    sys.modules.pop("onefile", None)


class TestOneFile(QueueConformance):
    def make(self, tmp_path, **time):
        return open_queue(f"onefile:{tmp_path / 'q.json'}", **time)


def test_what_the_page_shows_is_in_the_example():
    shown = re.findall(r"```text\n(# onefile\.py|# pyproject\.toml)\n(.*?)```", PAGE, re.DOTALL)
    assert len(shown) >= 4
    for name, block in shown:
        text = (EXAMPLE / name.removeprefix("# ")).read_text()
        for part in block.split("    ...\n"):
            assert part.strip("\n") in text, part
