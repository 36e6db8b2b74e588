"""Whom a hub lets in: no web page of somebody else's."""

import http.client
import urllib.error
import urllib.request

import pytest
from websockets.exceptions import InvalidStatus

from hub.peers import PATIENCE
from maniple.cluster.messages import DRIVER_PATH, WORKER_PATH
from maniple.hub.gate import Gate, is_loopback


def refusal(host, *headers):
    return Gate(host).refusal([(name.encode(), value.encode()) for name, value in headers])


@pytest.mark.parametrize("name", ["localhost:7070", "127.0.0.1:7070", "[::1]:7070", "127.9.9.9"])
def test_programs_of_this_machine_are_let_in(name):
    assert refusal("127.0.0.1", ("host", name)) is None
    assert refusal("127.0.0.1", ("host", name), ("origin", f"http://{name}")) is None


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://localhost:8000", "null", "http://localhost", "junk"]
)
def test_pages_of_others_are_not(origin):
    text = refusal("127.0.0.1", ("host", "localhost:7070"), ("origin", origin))
    assert text is not None
    assert "may not use this hub" in text


def test_a_name_that_was_pointed_at_this_machine_is_not():
    text = refusal(
        "127.0.0.1", ("host", "evil.example:7070"), ("origin", "http://evil.example:7070")
    )
    assert text is not None
    assert "answers to localhost only" in text


def test_a_hub_that_listens_to_all_answers_to_any_name_but_not_to_pages_of_others():
    assert refusal("0.0.0.0", ("host", "hub.example:7070")) is None
    assert (
        refusal("0.0.0.0", ("host", "hub.example"), ("origin", "http://evil.example")) is not None
    )


@pytest.mark.parametrize("name", ["[::1", "localhost:[", "]"])
def test_headers_that_are_no_address_are_refused(name):
    assert refusal("127.0.0.1", ("host", name)) is not None
    assert refusal("127.0.0.1", ("host", "localhost"), ("origin", f"http://{name}")) is not None


def test_addresses_of_this_machine_are_known():
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "::1", "[::1]", "127.1.2.3"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "localhost.evil.example", ""]))


@pytest.mark.parametrize(
    ("path", "options", "status", "text"),
    [
        (DRIVER_PATH, {"origin": "https://evil.example"}, 403, "pages of https://evil.example"),
        ("/nothing", {}, 404, "no socket is at /nothing"),
        (WORKER_PATH, {}, 426, "workers must speak maniple.1"),
    ],
)
def test_a_socket_that_is_refused_says_why(hub, path, options, status, text):
    with pytest.raises(InvalidStatus) as refused, hub.socket(path, **options):
        pass
    assert refused.value.response.status_code == status
    assert text in refused.value.response.body.decode()


def test_a_request_by_another_name_is_refused(hub):
    connection = http.client.HTTPConnection("localhost", hub.port, timeout=PATIENCE)
    connection.putrequest("GET", "/api/user", skip_host=True)
    connection.putheader("Host", f"evil.example:{hub.port}")
    connection.endheaders()
    with connection.getresponse() as response:
        assert response.status == 403
        assert b"localhost only" in response.read()
    connection.close()


def test_requests_of_pages_are_refused_too(hub):
    request = urllib.request.Request(
        f"{hub.url}/api/package_registry/algorithms/", headers={"Origin": "https://evil.example"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 403
    refused.value.close()


def test_a_page_of_the_hub_itself_may_use_its_socket(hub):
    with hub.socket(DRIVER_PATH, origin=f"http://localhost:{hub.port}") as socket:
        socket.send('{"topic": "phoenix", "event": "heartbeat", "payload": {}, "ref": 1}')
        assert '"ok"' in socket.recv()
