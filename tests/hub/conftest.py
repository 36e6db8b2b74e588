"""A hub that a module's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hub.peers import MODULE, Hub
from maniple.algorithm.blobs import Blobs
from maniple.algorithm.call import Call, Code


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub that a module's tests share; sessions and workers are their own."""
    hub = Hub(tmp_path_factory.mktemp("hub"))
    yield hub
    assert hub.alive, "a test has ended the hub"
    assert hub.close() == 0


@pytest.fixture
def call(hub: Hub) -> Call:
    """A call of a module that the hub has."""
    digest = Blobs(str(hub.folder / "cache/blobs")).put(MODULE)
    return Call(Code(digest, name="empty@1"), params=b"[1]")
