"""The address of a broker is read from its URL and the environment, and shown without secrets."""

import pytest

from maniple.address import RECONNECT_SECONDS, read_address
from maniple.errors import UsageError
from maniple.urls import redact


def read(rest, environ=None, **options):
    return read_address("redis", rest, prefix="REDIS", port=6379, environ=environ or {}, **options)


def test_what_is_left_out_has_a_default():
    address = read("//")
    assert address.hosts == [("localhost", 6379)]
    assert address.path == []
    assert (address.user, address.password) == (None, None)
    assert address.reconnect == RECONNECT_SECONDS


def test_all_parts_are_read_and_decoded():
    address = read("//me:p%40ss%2Fw@one:1,[::1]:2,three/0/my%20queue?reconnect=2.5&ca=/c.pem")
    assert address.hosts == [("one", 1), ("::1", 2), ("three", 6379)]
    assert address.path == ["0", "my queue"]
    assert (address.user, address.password) == ("me", "p@ss/w")
    assert (address.reconnect, address.ca) == (2.5, "/c.pem")


def test_credentials_and_files_come_from_the_environment_too():
    environ = {"REDIS_USER": "me", "REDIS_PASSWORD": "pw", "REDIS_CA": "/ca", "REDIS_KEY": "/key"}
    address = read("//host/q", environ)
    assert (address.user, address.password) == ("me", "pw")
    assert (address.ca, address.cert, address.key) == ("/ca", None, "/key")


def test_the_url_comes_before_the_environment():
    address = read("//you:other@host/q?ca=/mine", {"REDIS_PASSWORD": "pw", "REDIS_CA": "/ca"})
    assert (address.user, address.password, address.ca) == ("you", "other", "/mine")


def test_what_is_shown_holds_no_credentials():
    address = read("//me:hidden@host/q?ca=/c")
    assert address.shown == "redis://host:6379/q"
    assert "hidden" not in f"{address} {address!r}"


def test_known_options_are_kept_and_read_as_numbers():
    address = read("//host/q?silence=2", options=("silence",))
    assert address.options == {"silence": "2"}
    assert address.number("silence", 30.0) == 2.0
    assert address.number("other", 30.0) == 30.0
    with pytest.raises(UsageError, match="silence=2 in redis://host:6379/q: a number of 3 or more"):
        address.number("silence", 30.0, least=3.0)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("host/q", "write redis://HOST/NAME"),
        ("//me:hidden@host:port/q", "port 'port' in redis://host:port"),
        ("//me:hidden@host:0/q", "port '0'"),
        ("//me:hidden@host/q?retry=1", "no option 'retry' in the URL of redis://host"),
        ("//me:hidden@host/q?reconnect=soon", "reconnect=soon in redis://host"),
        ("//me:hidden@host/q?reconnect=-1", "a number of 0 or more"),
        ("//me:hidden@host/q#x", "write it as %23"),
    ],
)
def test_a_malformed_address_is_an_error_without_the_credentials(rest, said):
    with pytest.raises(UsageError) as caught:
        read(rest)
    assert said in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://me:pw@host/q", "redis://host/q"),
        ("postgresql://me:p@w@host/db/q", "postgresql://host/db/q"),
        ("postgresql://host/db/q?password=pw&x=1", "postgresql://host/db/q?password=***&x=1"),
        ("pulsar://host/q?access_token=pw", "pulsar://host/q?access_token=***"),
        ("sqlite:me@home.db", "sqlite:me@home.db"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, shown):
    assert redact(url) == shown
