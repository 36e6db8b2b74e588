"""What the tests of queues on brokers share: a queue of their own, opened and closed."""

import uuid

import pytest

from maniple.urls import open_queue


@pytest.fixture
def name():
    return f"q{uuid.uuid4().hex[:12]}"


@pytest.fixture
def opened():
    """Opens queues by their URLs, and closes them in the end."""
    queues = []

    def open_one(url, **options):
        queues.append(open_queue(url, **options))
        return queues[-1]

    yield open_one
    for queue in queues:
        queue.close()
