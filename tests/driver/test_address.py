"""Where the hub is: URL, environment, `.env`."""

import pytest

from maniple.driver.address import read_hub, variables
from maniple.errors import UsageError


@pytest.mark.parametrize(
    ("url", "socket"),
    [
        (None, "ws://localhost:7070/client_socket/websocket"),
        ("hub:7071", "ws://hub:7071/client_socket/websocket"),
        ("hub", "ws://hub:7070/client_socket/websocket"),
        ("[::1]:7071", "ws://[::1]:7071/client_socket/websocket"),
        ("http://hub:7071", "ws://hub:7071/client_socket/websocket"),
        ("http://hub:7071/", "ws://hub:7071/client_socket/websocket"),
        ("https://hub.example", "wss://hub.example:443/client_socket/websocket"),
        ("https://a.example/hub", "wss://a.example:443/hub/client_socket/websocket"),
        (
            "ws://h:1/client_socket/websocket",
            "ws://h:1/client_socket/websocket",
        ),
        ("wss://h/own/socket", "wss://h:443/own/socket"),
    ],
)
def test_a_hub_is_named_by_any_url_that_leads_to_it(url, socket):
    assert read_hub(url, settings={}).socket_url == socket


def test_without_a_url_the_environment_names_it():
    settings = {"WEBSOCKET_URI": "ws://hub:9/client_socket/websocket", "APPLICATION_TOKEN": "t&1"}
    address = read_hub(settings=settings)
    assert address.socket_url == "ws://hub:9/client_socket/websocket?token=t%261"
    assert read_hub("other:1", settings=settings).host == "other"


def test_the_registry_is_at_the_same_place_unless_it_is_named():
    assert read_hub("https://a.example/hub", settings={}).registry == "https://a.example:443/hub"
    named = read_hub("hub:1", settings={"ALGORITHM_REPO_HOST": "repo:81"})
    assert named.registry == "http://repo:81"


def test_a_token_is_never_shown():
    for address in (
        read_hub("hub:1", "secret", settings={}),
        read_hub("ws://hub:1/client_socket/websocket?token=secret", settings={}),
        read_hub("hub:1", settings={"APPLICATION_TOKEN": "secret"}),
    ):
        assert address.token == "secret"
        assert "secret" not in f"{address!r} {address} {address.shown}"


@pytest.mark.parametrize("url", ["ftp://hub", "ws://", "hub:port", "http://[::1"])
def test_a_url_that_cannot_be_read_is_one_line(url):
    with pytest.raises(UsageError, match="hub's URL") as caught:
        read_hub(url, settings={})
    assert "\n" not in str(caught.value)


def test_variables_come_from_the_nearest_dotenv_and_the_environment_wins(tmp_path):
    (tmp_path / ".env").write_text("WEBSOCKET_URI=far:1\nAPPLICATION_TOKEN='a b'\n")
    folder = tmp_path / "project" / "code"
    folder.mkdir(parents=True)
    found = variables({"WEBSOCKET_URI": "near:1"}, str(folder))
    assert found == {"WEBSOCKET_URI": "near:1", "APPLICATION_TOKEN": "a b"}


def test_a_dotenv_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    with pytest.raises(UsageError, match=r"cannot read .*/\.env: it is not UTF-8"):
        variables({}, str(tmp_path))
