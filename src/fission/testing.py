"""pytest fixtures: `-p fission.testing`."""

from maniple.network.marvelo.fixtures import (
    _fission_project,
    fission_cfg,
    fission_cfg_jobs,
    fission_test_emulator,
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
)

__all__ = [
    "_fission_project",
    "fission_cfg",
    "fission_cfg_jobs",
    "fission_test_emulator",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
]
