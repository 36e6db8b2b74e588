from collections.abc import Iterator

import pytest

from support import Shell, opened_shell


@pytest.fixture
def shell(tmp_path) -> Iterator[Shell]:
    """A folder to run real commands in; a process that outlives the test fails it."""
    yield from opened_shell(tmp_path)
