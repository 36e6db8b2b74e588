"""The worker's end of a hub, against a real server on a free port."""

import logging
import os
import socket
import ssl
import subprocess
import threading
import time
from contextlib import suppress

import pytest

from brokers.proxy import Proxy
from brokers.server import program
from maniple.algorithm.blobs import digest_of
from maniple.algorithm.call import Answer, Call, Code
from maniple.cluster.messages import Ask, Done, GiveBack, Refused, Want, WorkerHello
from maniple.errors import ClusterError, NotSupportedError, UsageError
from maniple.queue import Failure, Queue, Remote
from maniple.queues import hub as hub_module
from maniple.queues import hub_wire
from maniple.queues.hub import HubQueue
from maniple.queues.hub_place import read_place
from maniple.task import Task
from maniple.urls import open_queue, redact
from small_algorithms import ADD
from support import PATIENCE, kept_port, until
from worker_hub import WorkerHub

WAIT = PATIENCE
SECRET = "s3cret/+token"


@pytest.fixture
def hub():
    hub = WorkerHub()
    yield hub
    hub.close()


@pytest.fixture
def connect(hub, tmp_path):
    """Make queues that are closed in the end."""
    made = []

    def make(url=None, **options):
        options.setdefault("abort", lambda _task: None)
        queue = open_queue(url or hub.url, cache=str(tmp_path / "cache"), **options)
        made.append(queue)
        return queue

    yield make
    for queue in made:
        queue.close()


def taken(queue, count=1):
    leases = []
    deadline = time.monotonic() + WAIT
    while len(leases) < count:
        assert time.monotonic() < deadline, f"{len(leases)} of {count} tasks came"
        leases += queue.lease(count - len(leases), 3.0, 0.2)
    return leases


def nothing_taken(queue, hub, answers):
    """Ask for tasks until so many have been answered for without being handed out."""
    until(lambda: queue.lease(1, 3.0, 0.05) or len(hub.answers) == answers)
    assert len(hub.answers) == answers
    return list(hub.answers.values())


def answer(queue, lease, value=b"1"):
    queue.answered(lease.task, Answer(ok=True, value=value))
    return queue.ack([lease])


# The address


def test_a_hub_is_named_by_a_websocket_or_by_host_and_port():
    place = read_place("ws://somewhere:81/socket/websocket", {})
    assert (place.secure, place.host, place.port) == (False, "somewhere", 81)
    assert place.uri == "ws://somewhere:81/socket/websocket"
    assert read_place("somewhere", {}).uri == "ws://somewhere:7070/socket/websocket"
    assert read_place("wss://somewhere", {}).uri == "wss://somewhere:443/socket/websocket"
    assert read_place("https://somewhere/under", {}).path == "/under/socket/websocket"
    assert read_place("[::1]:7071", {}).shown == "ws://[::1]:7071/socket/websocket"


def test_the_address_that_drivers_use_leads_to_the_workers_socket():
    place = read_place("ws://localhost:7070/client_socket/websocket", {})
    assert place.uri == "ws://localhost:7070/socket/websocket"


def test_a_token_comes_from_the_url_or_the_environment():
    assert read_place("h:1?token=a%2Fb", {"MANIPLE_TOKEN": "c"}).token == "a/b"
    assert read_place("h:1", {"MANIPLE_TOKEN": "c", "APPLICATION_TOKEN": "d"}).token == "c"
    assert read_place("h:1", {"APPLICATION_TOKEN": "d"}).token == "d"
    assert read_place("h:1?token=a%2Fb", {}).uri.endswith("?token=a%2Fb")


def test_a_token_is_never_shown():
    place = read_place(f"h:1?token={SECRET}", {})
    assert SECRET not in f"{place!r}{place}{place.shown}"
    assert SECRET not in redact(f"hub:ws://h:1/socket/websocket?token={SECRET}")


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("", "which hub?"),
        ("ftp://h", "ws://HOST:PORT"),
        ("h:99999", "port"),
        ("h:1,g:2", "one hub"),
        ("ws://user:pw@h:1", "no user"),
        ("h:1?tokn=x", "no option 'tokn'"),
    ],
)
def test_a_malformed_address_is_one_line(rest, said):
    with pytest.raises(UsageError, match=".*") as error:
        read_place(rest, {})
    assert said in str(error.value)
    assert "pw" not in str(error.value).replace("ws://HOST", "")


# Leases


def test_it_is_a_queue_that_never_ends(connect):
    queue = connect()
    assert isinstance(queue, Queue)
    assert isinstance(queue, Remote)
    assert not queue.guarantees.finite
    assert queue.stats().leased is None
    assert queue.quiet == float("inf")


def test_a_task_is_a_call_whose_code_is_fetched_once(hub, connect):
    queue = connect()
    hub.submit(*hub.calls(3))
    leases = taken(queue, 3)
    assert sorted(lease.task.param for lease in leases) == [[0, 1], [1, 1], [2, 1]]
    for lease in leases:
        call = queue.call_of(lease.task)
        assert call.params == lease.task.data
        with open(queue.parts_of(call.code).wasm, "rb") as file:
            assert file.read() == ADD
        answer(queue, lease, b"7")
    assert {a.value for a in hub.until_answered(3).values()} == {b"7"}
    assert len(hub.of(Want)) == 1
    hub.submit(*hub.calls(1))
    answer(queue, taken(queue)[0])
    hub.until_answered(4)
    assert len(hub.of(Want)) == 1


def test_a_worker_that_starts_again_has_the_code_still(hub, connect):
    first = connect()
    hub.submit(*hub.calls(1))
    answer(first, taken(first)[0])
    hub.until_answered(1)
    first.close()
    second = connect()
    hub.submit(*hub.calls(1))
    answer(second, taken(second)[0])
    hub.until_answered(2)
    assert len(hub.of(Want)) == 1


def test_more_tasks_can_be_taken_while_some_run(hub, connect):
    queue = connect()
    hub.submit(*hub.calls(8))
    running = taken(queue, 4)
    others = until(lambda: queue.lease(4, 3.0))
    assert not {lease.task.id for lease in running} & {lease.task.id for lease in others}


def test_tasks_do_not_wait_behind_a_long_one(hub, connect):
    queue = connect()
    hub.submit(*hub.calls(1))
    (running,) = queue.lease(6, 3.0, WAIT)
    hub.submit(*hub.calls(3))
    # the minion asks for nothing while it runs its task: the others go back
    until(lambda: len(hub.waiting) == 3 and hub.of(Ask)[-1].count == 0)
    assert answer(queue, running) == []
    hub.until_answered(1)


def test_a_task_given_back_is_somebody_elses(hub, connect):
    one, other = connect(), connect()
    hub.submit(*hub.calls(1))
    (lease,) = taken(one)
    one.nack([lease], attempted=False)
    until(lambda: hub.of(GiveBack))
    (again,) = taken(other)
    assert again.task.id == lease.task.id
    assert one.extend([lease], 3.0) == [lease]
    assert one.ack([lease]) == [lease]
    answer(other, again)
    hub.until_answered(1)


def test_a_failure_is_an_answer(hub, connect):
    queue = connect()
    hub.submit(*hub.calls(2))
    one, two = taken(queue, 2)
    queue.answered(one.task, Answer(ok=False, cause="exit 3", error="exit status 3", exit_code=3))
    queue.fail([(one, Failure("exit 3", "exit status 3"))])
    queue.fail([(two, Failure("KeyError", "Traceback ...\nKeyError: 'x'", "printed"))])
    answers = hub.until_answered(2)
    assert answers[one.task.id].exit_code == 3
    assert answers[two.task.id].error == "KeyError: 'x'"
    assert answers[two.task.id].stderr == b"printed"


def test_a_task_that_was_run_by_something_else_fails(hub, connect):
    queue = connect()
    hub.submit(*hub.calls(1))
    queue.ack(taken(queue))
    (said,) = hub.until_answered(1).values()
    assert not said.ok
    assert "no answer" in said.cause


def test_an_answer_that_no_message_can_hold_is_a_failure(hub, connect, monkeypatch):
    monkeypatch.setattr(hub_module, "LARGEST_FRAME", 1000)
    queue = connect()
    hub.submit(*hub.calls(1))
    answer(queue, taken(queue)[0], b'"' + b"x" * 1000 + b'"')
    (said,) = hub.until_answered(1).values()
    assert (said.ok, said.cause) == (False, "too large")


def test_large_answers_and_modules_pass(hub, connect):
    wasm = ADD + os.urandom(3 << 20)
    queue = connect()
    hub.submit(*hub.calls(1, wasm))
    (lease,) = taken(queue)
    assert os.path.getsize(queue.parts_of(queue.call_of(lease.task).code).wasm) == len(wasm)
    content = os.urandom(8 << 20)
    queue.answered(lease.task, Answer(ok=True, files={"/out": content}))
    queue.ack([lease])
    (said,) = hub.until_answered(1).values()
    assert said.files["/out"] == content


def test_code_that_the_hub_does_not_have_fails_its_tasks_only(hub, connect):
    queue = connect()
    missing = Code("0" * 64, name="gone@1")
    hub.submit(Call(missing), Call(missing), *hub.calls(1))
    (lease,) = taken(queue)
    answer(queue, lease)
    answers = hub.until_answered(3)
    assert sorted(a.cause for a in answers.values()) == ["", "no code", "no code"]


def test_code_that_is_not_what_it_is_called_is_not_kept(hub, connect, tmp_path):
    queue = connect()
    good = digest_of(ADD)
    hub.blobs[good] = ADD + b"tampered"
    hub.submit(Call(Code(good)))
    (said,) = nothing_taken(queue, hub, 1)
    assert "other code than it has named" in said.error
    assert not (tmp_path / "cache" / "blobs").exists()


def test_a_name_that_is_no_digest_reaches_no_file(hub, connect, tmp_path):
    queue = connect()
    (tmp_path / "secret").write_text("x")
    hub.submit(Call(Code("../../secret")))
    (said,) = nothing_taken(queue, hub, 1)
    assert "no digest" in said.error
    assert not hub.of(Want)


# What the hub takes back


def test_a_task_that_runs_is_ended_when_the_hub_says_so(hub, connect):
    ended = []
    queue = connect(abort=ended.append)
    hub.submit(*hub.calls(1))
    (lease,) = taken(queue)
    hub.abort(lease.task.id)
    assert until(lambda: ended) == [lease.task.id]
    with pytest.raises(ClusterError, match="taken the task back"):
        queue.call_of(lease.task)
    assert queue.ack([lease]) == [lease]
    queue.nack([lease], attempted=False)
    hub.submit(*hub.calls(1))
    answer(queue, taken(queue)[0])
    hub.until_answered(1)
    assert len(hub.of(Done)) == 1
    assert not hub.of(GiveBack)


# The connection


def test_a_lost_connection_loses_no_lease(hub, connect):
    told = []
    queue = connect(tell=told.append)
    hub.submit(*hub.calls(2))
    one, two = taken(queue, 2)
    hub.cut()
    until(lambda: hub.connections == 2)
    hellos = until(lambda: len(hub.of(WorkerHello)) == 2 and hub.of(WorkerHello))
    assert sorted(hellos[1].holds) == sorted([one.token, two.token])
    assert hellos[0].uid == hellos[1].uid
    assert queue.extend([one, two], 3.0) == []
    answer(queue, one)
    answer(queue, two)
    assert all(a.ok for a in hub.until_answered(2).values())
    assert "trying until there is" in told[0]
    assert "connected to ws://127.0.0.1" in told[1]


def test_an_answer_is_repeated_until_it_is_safe(hub, connect):
    queue = connect()
    hub.settles = False
    hub.submit(*hub.calls(1))
    answer(queue, taken(queue)[0])
    until(lambda: hub.of(Done))
    hub.settles = True
    hub.cut()
    hub.until_answered(1)
    assert len(hub.of(Done)) == 2
    hub.cut()
    until(lambda: hub.connections == 3 and len(hub.of(WorkerHello)) == 3)
    assert hub.of(WorkerHello)[2].holds == []


def test_what_ends_while_the_hub_is_away_is_answered_when_it_is_back(hub, connect):
    queue = connect()
    hub.submit(*hub.calls(2))
    one, two = taken(queue, 2)
    hub.welcomes = False
    hub.cut()
    until(lambda: len(hub.of(WorkerHello)) == 2)
    answer(queue, one)
    queue.nack([two], attempted=False)
    assert hub.answers == {}
    hub.welcomes = True
    hub.cut()
    assert list(hub.until_answered(1)) == [one.task.id]
    until(lambda: len(hub.waiting) == 1)


def test_a_hub_that_has_forgotten_has_its_tasks_ended(hub, connect):
    ended = []
    queue = connect(abort=ended.append)
    hub.submit(*hub.calls(1))
    (lease,) = taken(queue)
    hub.forget()
    hub.cut()
    assert until(lambda: ended) == [lease.task.id]
    assert queue.extend([lease], 3.0) == [lease]
    assert queue.ack([lease]) == [lease]


@pytest.fixture
def port():
    with kept_port() as port:
        yield port


def test_a_hub_that_starts_again_is_found_again(port, connect):
    queue = connect(f"hub:127.0.0.1:{port}")
    for _ in range(2):
        hub = WorkerHub(port)
        try:
            hub.submit(*hub.calls(1))
            answer(queue, taken(queue)[0])
            hub.until_answered(1)
        finally:
            hub.close()


def test_a_worker_may_start_before_its_hub(port, connect):
    queue = connect(f"hub:127.0.0.1:{port}")
    assert queue.lease(1, 3.0, 0.05) == []
    hub = WorkerHub(port)
    try:
        hub.submit(*hub.calls(1))
        answer(queue, taken(queue)[0])
        hub.until_answered(1)
    finally:
        queue.close()
        hub.close()


def test_a_hub_that_is_silent_for_long_is_given_up_and_tried_again(hub, connect, monkeypatch):
    monkeypatch.setattr(hub_wire, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(hub_wire, "SILENT_SECONDS", 0.3)
    told = []
    with Proxy(hub.port) as proxy:
        queue = connect(f"hub:127.0.0.1:{proxy.port}", tell=told.append)
        hub.submit(*hub.calls(1))
        (lease,) = taken(queue)
        proxy.mute()
        until(lambda: told)
        assert "silent for 0.3 s" in told[0]
        proxy.unmute()
        answer(queue, lease)
        assert hub.until_answered(1)[lease.task.id].ok
        queue.close()


def test_a_hub_may_speak_tls(tmp_path, connect):
    openssl = program("openssl", "openssl")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", "key.pem", "-out", "cert.pem"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    hub = WorkerHub(tls=tls)
    try:
        url = f"hub:wss://localhost:{hub.port}"
        assert "certificate of wss://localhost" in refusal(connect(url))
        queue = connect(f"{url}?ca={tmp_path / 'cert.pem'}")
        hub.submit(*hub.calls(1, ADD + os.urandom(3 << 20)))
        (lease,) = taken(queue)
        content = os.urandom(5 << 20)
        queue.answered(lease.task, Answer(ok=True, files={"/out": content}))
        queue.ack([lease])
        (said,) = hub.until_answered(1).values()
        assert said.files["/out"] == content
        queue.close()
    finally:
        hub.close()


def test_patience_with_a_lost_hub_can_be_limited(port, connect):
    queue = connect(f"hub:127.0.0.1:{port}?reconnect=0.2&token={SECRET.replace('+', '%2B')}")

    def given_up():
        try:
            queue.lease(1, 3.0, 0.05)
        except ClusterError as error:
            return str(error)
        return None

    said = until(given_up)
    assert "no connection to ws://127.0.0.1" in said
    assert "for 0.2 s" in said
    assert "s3cret" not in said


def refusal(queue):
    with pytest.raises(ClusterError) as error:
        taken(queue)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_hub_that_refuses_ends_the_worker_with_its_reason(hub, connect):
    hub.first_word = Refused("the token is not good")
    assert "the token is not good" in refusal(connect())


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "refuses"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "no hub at"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no hub at"),
    ],
)
def test_what_is_no_hub_is_told_in_a_line(connect, reply, said):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            peer, _ = server.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(reply)
                with suppress(OSError):
                    peer.recv(4096)

        thread = threading.Thread(target=serve)
        thread.start()
        told = refusal(connect(f"hub:127.0.0.1:{server.getsockname()[1]}?token=s3cret"))
        thread.join(WAIT)
    assert said in told
    assert "s3cret" not in told


def test_the_token_reaches_the_hub_and_no_log(hub, connect, caplog):
    with caplog.at_level(logging.DEBUG):
        queue = connect(f"{hub.url}?token={SECRET.replace('+', '%2B')}")
        hub.submit(*hub.calls(1))
        answer(queue, taken(queue)[0])
        hub.until_answered(1)
        queue.close()
    assert hub.paths == ["/socket/websocket?token=s3cret%2F%2Btoken"]
    ours = [record for record in caplog.records if not record.name.startswith("websockets.server")]
    assert "s3cret" not in "".join(record.getMessage() for record in ours)


def test_a_worker_that_leaves_says_goodbye(hub, connect):
    queue = connect()
    hub.submit(*hub.calls(3))
    one, _, three = taken(queue, 3)
    answer(queue, one)
    queue.close()
    until(lambda: len(hub.waiting) == 2 and not hub.open)
    assert list(hub.answers) == [one.task.id]
    assert three.task.id in {task for task, _ in hub.waiting}


# What it is not


def test_tasks_are_put_and_administered_elsewhere(connect):
    queue = connect()
    for refused in (
        lambda: queue.put([Task.of(1)]),
        queue.records,
        lambda: queue.find("1"),
        queue.retry,
        queue.purge,
    ):
        with pytest.raises(NotSupportedError, match=r"drivers"):
            refused()


def test_only_a_runner_of_algorithms_may_take_tasks(hub, tmp_path):
    queue = HubQueue(hub.url.removeprefix("hub:"), cache=str(tmp_path))
    with pytest.raises(NotSupportedError, match="maniple worker"):
        queue.lease(1, 3.0)
    queue.close()
