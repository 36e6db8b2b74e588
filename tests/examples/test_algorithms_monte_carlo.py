"""The example of many tasks: 200 through `barrier`, and a plot."""

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from classic_worker import in_chromium, in_deno, message_of
from loop_back import drive, loop_back
from projects import built, cases_pass

EXAMPLE = Path(__file__).parents[2] / "examples" / "monte-carlo"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("option") / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("build", ".motivus"))
    return folder


@pytest.fixture(scope="module")
def made(project):
    return built(project, project / "build")


def test_its_cases_pass(project):
    cases_pass(project)


@pytest.mark.parametrize("worker", [in_deno, in_chromium])
def test_a_seed_gives_the_same_sums_in_a_browser(tmp_path, made, worker):
    message = message_of(made.package.wasm, params=[7, 1000, 100.0, 105.0, 0.03, 0.2, 1.0])
    reply = worker(tmp_path, made.package.loader, message)
    assert reply.value == pytest.approx([1000, 7850.018469846712, 246478.32031716986], rel=1e-12)


@pytest.mark.skipif(not find_spec("matplotlib"), reason="matplotlib is for the demo only")
def test_its_driver_comes_to_the_price_that_theory_knows(tmp_path, project, made):
    with loop_back(project, tmp_path / "shelf") as environment:
        printed = drive(
            project / "driver.py", "option.png", folder=tmp_path, environment=environment
        )
    found = re.fullmatch(
        r"200 tasks, 10,000,000 paths: ([\d.]+) \+- ([\d.]+); exact ([\d.]+)\n", printed
    )
    price, error, exact = map(float, found.groups())
    assert exact == pytest.approx(7.1281, abs=1e-4)
    assert error < 0.005
    assert abs(price - exact) < 4 * error
    assert (tmp_path / "option.png").read_bytes().startswith(b"\x89PNG")
