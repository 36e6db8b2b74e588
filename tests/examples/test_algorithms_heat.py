"""The example in Fortran: a numerical kernel that is checked against theory."""

import math
import shutil
from pathlib import Path

import pytest

from classic_worker import in_chromium, in_deno, message_of
from loop_back import drive, loop_back
from projects import built, cases_pass, libf2c

EXAMPLE = Path(__file__).parents[2] / "examples" / "heat-fortran"


@pytest.fixture(autouse=True, scope="module")
def runtime():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MANIPLE_LIBF2C", libf2c())
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heat") / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("build", ".motivus"))
    return folder


@pytest.fixture(scope="module")
def made(project, runtime):
    return built(project, project / "build")


def plate(points, alpha, until):
    """What the explicit scheme gives for its lowest mode, in closed form."""
    steps = int(alpha * until * (points + 1) ** 2 / 0.2) + 1
    r = alpha * until * (points + 1) ** 2 / steps
    decay = (1 - 8 * r * math.sin(math.pi / (points + 1) / 2) ** 2) ** steps
    sines = [math.sin(math.pi * i / (points + 1)) for i in range(1, points + 1)]
    return steps, [[decay * x * y for x in sines] for y in sines]


def test_its_cases_pass(project):
    cases_pass(project)


@pytest.mark.parametrize("worker", [in_deno, in_chromium])
def test_the_plate_cools_as_theory_says(tmp_path, made, worker):
    message = message_of(
        made.package.wasm, params=[15, 0.7, 0.1], result_files={"/plate.csv": "here"}
    )
    reply = worker(tmp_path, made.package.loader, message)
    steps, expected = plate(15, 0.7, 0.1)
    assert reply.value["steps"] == steps
    assert reply.value["middle"] == pytest.approx(expected[7][7], rel=1e-12)
    assert reply.value["mean"] == pytest.approx(sum(map(sum, expected)) / 15**2, rel=1e-12)
    lines = reply.files["/plate.csv"].decode().splitlines()
    found = [[float(x) for x in line.split(",")] for line in lines]
    assert found == [pytest.approx(row, rel=1e-7) for row in expected]


def test_its_driver_cools_six_metals(tmp_path, project, made):
    with loop_back(project, tmp_path / "shelf") as environment:
        printed = drive(project / "driver.py", folder=tmp_path, environment=environment)
    lines = [line.split() for line in printed.splitlines()[1:]]
    assert [metal for metal, *_ in lines] == [
        "silver",
        "copper",
        "aluminium",
        "brass",
        "iron",
        "steel",
    ]
    for _, middle, theory, _ in lines:
        assert float(middle) == pytest.approx(float(theory), rel=2e-3)
    assert min(path.name for path in (tmp_path / "plates").iterdir()) == "aluminium.csv"
