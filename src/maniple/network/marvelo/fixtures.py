"""pytest fixtures for the jobs of a network; `manage.py NETWORK test` loads them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from maniple.network.marvelo.config import Project
from maniple.network.marvelo.emulate import JobEmulator, emulate
from maniple.network.marvelo.jobs import BaseJob


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --runslow."""
    parser.addoption("--runslow", action="store_true", help="run tests that are marked slow")


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker."""
    config.addinivalue_line("markers", "slow: runs with --runslow only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip slow tests unless they are asked for."""
    if config.getoption("--runslow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: add --runslow"))


@pytest.fixture(scope="session")
def _fission_project() -> Project:
    folder = os.environ.get("FISSION_NETWORK")
    if not folder:
        pytest.fail("which network? run the tests with: python3 manage.py NETWORK test")
    root, name = os.path.split(folder)
    return Project(root, name)


@pytest.fixture
def fission_cfg(_fission_project: Project) -> Any:
    """The module config.py of the network."""
    return _fission_project.config


@pytest.fixture
def fission_cfg_jobs(_fission_project: Project) -> Callable[[int], BaseJob]:
    """Gives the job with a number, as its place in JOBS."""
    return lambda place: _fission_project.jobs[place]


@pytest.fixture
def fission_test_emulator(fission_test_job: Any) -> Iterator[JobEmulator]:
    """The job of the fixture `fission_test_job`, which is the user's own, in a process."""
    emulator = emulate(fission_test_job)
    assert isinstance(emulator, JobEmulator)  # noqa: S101 - it is a job
    yield emulator
    emulator.kill()
