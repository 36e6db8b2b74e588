"""Projects of the drop-in package `fission` for its tests."""

from pathlib import Path

import pytest

from fission_project import CONFIG, JOBS, Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Make a project with an empty network."""
    return Project(tmp_path)


@pytest.fixture
def numbers(project: Project) -> Project:
    """Make a project with the network of three jobs."""
    project.config(JOBS, CONFIG)
    return project
