"""Queue URLs name a backend and what it opens."""

import pytest

from maniple.errors import UsageError
from maniple.urls import open_queue, redact, split_url


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("sqlite:q.db", ("sqlite", "q.db")),
        ("SQLite:/a b/q.db", ("sqlite", "/a b/q.db")),
        ("memory:", ("memory", "")),
        ("dir:a:b", ("dir", "a:b")),
    ],
)
def test_a_url_is_a_name_and_a_rest(url, parts):
    assert split_url(url) == parts


def test_a_path_alone_is_answered_with_the_urls_it_could_be():
    with pytest.raises(UsageError, match=r"write sqlite:q\.db or dir:q\.db"):
        open_queue("q.db")


def test_credentials_are_not_shown():
    assert redact("redis://user:secret@host:1/0") == "redis://host:1/0"
    assert redact("sqlite:a@b.db") == "sqlite:a@b.db"


def test_a_url_opens_the_queue_of_its_backend(tmp_path):
    queue = open_queue(f"sqlite:{tmp_path}/q.db")
    assert queue.url == f"sqlite:{tmp_path}/q.db"
    queue.close()
