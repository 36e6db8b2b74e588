"""What tests of the driver share."""

from pathlib import Path

import pytest

from driver_hubs import WASM


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder of its own, with none of the variables that a user may have set."""
    monkeypatch.chdir(tmp_path)
    for name in ("WEBSOCKET_URI", "APPLICATION_TOKEN", "ALGORITHM_REPO_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def algorithm(tmp_path: Path):
    """Give an algorithm that is in no registry."""
    from maniple.driver import local

    path = tmp_path / "echo.wasm"
    path.write_bytes(WASM)
    return local(path)
