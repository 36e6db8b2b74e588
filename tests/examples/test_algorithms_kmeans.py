"""k-means in Rust and in C: built, run, and driven over a real cluster."""

import json
import math
import shutil
import subprocess

import pytest

from loop_back import drive, loop_back
from maniple.algorithm.kind import Kind
from maniple.algorithm.package import read_package
from projects import ROOT, built, cases_pass
from rust import TEN_POINTS, kmeans_crate, tools_folder
from support import MANIPLE

IN_C = ROOT / "examples" / "kmeans-c"


@pytest.fixture(scope="module")
def in_rust(tmp_path_factory):
    # a build writes Cargo.lock and objects, and others share the crate
    shared = kmeans_crate(tmp_path_factory)
    folder = tmp_path_factory.mktemp("kmeans") / "rust"
    shutil.copytree(shared, folder)
    return folder


@pytest.fixture(scope="module")
def in_c(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kmeans") / "c"
    shutil.copytree(IN_C, folder, ignore=shutil.ignore_patterns("build"))
    built(folder, folder / "build")
    return folder


def test_the_cases_of_both_pass(in_rust, in_c, monkeypatch):
    monkeypatch.setenv("MANIPLE_TOOLS", tools_folder())
    assert (in_rust / "tests.yml").read_text() == (in_c / "tests.yml").read_text()
    cases_pass(in_rust)
    cases_pass(in_c)


def test_the_first_driver_of_the_earlier_platform_has_its_answer(tmp_path, in_rust):
    package = read_package(str(in_rust / "build" / "kmeans-0.0.1.zip"))
    assert (package.name, package.version, package.kind) == ("kmeans", "0.0.1", Kind.LOADER)
    with loop_back(in_rust, tmp_path / "shelf") as environment:
        printed = drive(in_rust / "driver.py", folder=tmp_path, environment=environment)
    assert printed == "[0, 0, 0, 0, 0, 1, 1, 1, 1, 1]\n"


def kmeans(points, clusters):
    """The same in Python, to compare with."""
    starts = [j * (len(points) - 1) // max(1, clusters - 1) for j in range(clusters)]
    centres = [points[start] for start in starts]
    labels = None
    while True:
        found = [
            min(range(clusters), key=lambda j, point=point: math.dist(point, centres[j]))
            for point in points
        ]
        if found == labels:
            return labels
        labels = found
        for j in range(clusters):
            own = [point for point, label in zip(points, labels, strict=True) if label == j]
            if own:
                centres[j] = [sum(axis) / len(own) for axis in zip(*own, strict=True)]


def test_the_driver_of_the_one_in_c_has_an_answer_for_each_number_of_clusters(tmp_path, in_c):
    with loop_back(in_c, tmp_path / "shelf") as environment:
        printed = drive(in_c / "driver.py", folder=tmp_path, environment=environment)
    answers = [json.loads(line) for line in printed.splitlines()]
    assert answers[0] == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert answers == [kmeans(TEN_POINTS, clusters) for clusters in (2, 3, 4, 5)]


def test_the_command_of_the_readme_gives_its_answer(in_c):
    words = ["build/kmeans-c-0.0.1.zip", "[[0, 0], [0, 1], [9, 9]]", "2"]
    done = subprocess.run(
        [MANIPLE, "algorithm", "run", *words], cwd=in_c, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[0,0,1]\n"), done.stderr
