"""Frames of the earlier platform's drivers, exactly: Phoenix channels as JSON text."""

import base64
import gzip
import http.server
import json
import threading
import uuid
from contextlib import contextmanager

import pytest
from websockets.exceptions import ConnectionClosed

from hub.peers import MODULE, PATIENCE
from maniple.algorithm.blobs import digest_of
from maniple.algorithm.call import Answer
from maniple.cluster.messages import DRIVER_PATH, Abort, Ask, Blob, Done, Run, Want

LOADER = b"onmessage = () => postMessage({body: 1})"


def b64(data):
    return base64.b64encode(data).decode()


class Driver:
    """Says what `motivus==2.4.0` says."""

    def __init__(self, socket):
        self.socket = socket
        self.user = None
        self.channel = str(uuid.uuid4())

    def say(self, topic, event, payload=None, ref=None):
        frame = {"topic": topic, "event": event, "payload": payload or {}, "ref": ref}
        self.socket.send(json.dumps(frame))

    def hear(self, event=None):
        while True:
            text = self.socket.recv(PATIENCE)
            assert isinstance(text, str)
            frame = json.loads(text)
            assert set(frame) >= {"topic", "event", "payload", "ref"}
            if event is None or frame["event"] == event:
                return frame

    def join(self):
        self.say("room:client?", "phx_join", ref="uuid")
        frame = self.hear()
        assert frame["ref"] == "uuid"
        self.user = frame["payload"]["response"]["uuid"]
        self.say("room:client?", "phx_leave")
        self.hear()
        self.topic = f"room:client:{self.user}:{self.channel}"
        self.say(self.topic, "phx_join", ref="join")
        frame = self.hear()
        assert (frame["ref"], frame["payload"]["status"]) == ("join", "ok")
        return self

    def task(self, ref=None, **body):
        ref = ref or str(uuid.uuid4())
        body = {"run_type": "wasm", "wasm": b64(MODULE), "loader": b64(LOADER), **body}
        for name in ("params", "arguments", "preload_files", "result_files", "data_link"):
            body.setdefault(name, None)
        payload = {"body": body, "type": "trusted_work", "ref": ref, "client_id": self.user}
        self.say(self.topic, "task", payload)
        return ref

    def result(self):
        frame = self.hear("result")
        assert frame["topic"] == self.topic
        payload = frame["payload"]
        assert set(payload) == {"ref", "body", "stdout", "stderr"}
        body = json.loads(gzip.decompress(base64.b64decode(payload["body"])))
        out, err = (
            None if payload[name] is None else base64.b64decode(payload[name]).decode()
            for name in ("stdout", "stderr")
        )
        return payload["ref"], body, out, err


@contextmanager
def joined(hub, token="any"):
    with hub.socket(f"{DRIVER_PATH}?token={token}") as socket:
        assert socket.subprotocol is None
        yield Driver(socket).join()


def next_run(worker, driver_ref):
    """Take the run of this task; others, of earlier tests, are dismissed."""
    while True:
        worker.say(Ask(1))
        run = worker.hear(Run)
        if run.task == driver_ref:
            return run
        worker.say(Done(run.token, Answer(ok=True)))


def test_a_task_is_run_and_its_result_comes_in_the_earlier_form(hub):
    with joined(hub) as driver, hub.worker("e-first") as worker:
        ref = driver.task(
            params=[[1.5, "é"], 2],
            arguments="--x 'a b'",
            preload_files={"/in.txt": b64(b"hello\n")},
            result_files={"/out.txt": "here/out.txt"},
        )
        run = next_run(worker, ref)
        assert json.loads(run.call.params) == [[1.5, "é"], 2]
        assert run.call.arguments == ["--x", "a b"]
        assert run.call.files == {"/in.txt": b"hello\n"}
        assert run.call.results == ["/out.txt"]
        assert run.call.code.wasm == digest_of(MODULE)
        worker.say(Want([run.call.code.loader]))
        assert worker.hear(Blob).data == LOADER
        answer = Answer(ok=True, value=b"[1,2]", files={"/out.txt": b"\xff"}, stdout=b"said\n")
        worker.say(Done(run.token, answer))
        assert driver.result() == (ref, {"data": [1, 2], "/out.txt": b64(b"\xff")}, "said\n", None)


def test_what_a_worker_says_in_short_is_said_in_full(hub):
    with joined(hub) as driver, hub.worker("e-short") as worker:
        ref = driver.task()
        answer = Answer(ok=True, value=b"[1]", stdout=b"\nmore\n", echoed=True)
        worker.say(Done(next_run(worker, ref).token, answer))
        assert driver.result() == (ref, {"data": [1]}, "[1]\nmore\n", None)


def test_what_is_null_means_nothing_and_arguments_may_be_a_list(hub):
    with joined(hub) as driver, hub.worker("e-null") as worker:
        ref = driver.task(arguments=["a b", 3])
        call = next_run(worker, ref).call
        assert (call.params, call.arguments, call.files, call.results) == (
            b"[]",
            ["a b", "3"],
            {},
            [],
        )


def test_a_failed_task_is_answered_with_null_and_a_sentence(hub):
    with joined(hub) as driver, hub.worker("e-fails") as worker:
        ref = driver.task()
        sentence = "it passed its time limit of 3 s"
        answer = Answer(ok=False, cause="time limit", error=sentence, stderr=b"before")
        worker.say(Done(next_run(worker, ref).token, answer))
        body = {"data": None, "error": sentence}
        assert driver.result() == (ref, body, None, f"before\n{sentence}\n")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"wasm": None}, "needs wasm"),
        ({"wasm": "*"}, "wasm is not in base64"),
        ({"loader": "é"}, "loader is not in base64"),
        ({"params": {"a": 1}}, "params must be a list"),
        ({"arguments": "'"}, "No closing quotation"),
        ({"preload_files": {"/x": "*"}}, "preload_files['/x'] is not in base64"),
        ({"preload_files": ["/x"]}, "the task's body"),
        ({"data_link": "file:///etc/passwd"}, "not an http or https URL"),
        ({"data_link": "http://localhost:1/x"}, "cannot be fetched"),
    ],
)
def test_a_task_that_is_none_is_answered_with_what_is_wrong(hub, body, sentence):
    with joined(hub) as driver:
        ref = driver.task(**body)
        answered, found, _, err = driver.result()
        assert answered == ref
        assert found["data"] is None
        assert sentence in found["error"]
        assert sentence in err


def test_the_file_system_behind_a_link_is_fetched_once(hub):
    asked = []

    class Files(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/data.zip")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"zip")

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with joined(hub) as driver, hub.worker("e-link") as worker:
            link = f"http://127.0.0.1:{server.server_port}/moved"
            refs = [driver.task(data_link=link) for _ in range(3)]
            codes = {next_run(worker, ref).call.code for ref in refs}
            assert {code.data for code in codes} == {digest_of(b"zip")}
        server.shutdown()
    assert asked == ["/moved", "/data.zip"]


def test_a_link_to_a_blob_of_the_hub_itself_is_not_fetched(hub):
    with joined(hub) as driver, hub.worker("e-own") as worker:
        first = driver.task()
        digest = next_run(worker, first).call.code.wasm
        ref = driver.task(data_link=f"{hub.url}/blobs/{digest}")
        assert next_run(worker, ref).call.code.data == digest
        driver.task(data_link=f"{hub.url}/blobs/{'0' * 64}")
        assert "not here any more" in driver.result()[1]["error"]


def test_heartbeats_are_answered_and_validations_taken(hub):
    with joined(hub) as driver:
        driver.say("phoenix", "heartbeat", ref=0)
        assert driver.hear() == {
            "topic": "phoenix",
            "event": "phx_reply",
            "payload": {"status": "ok", "response": {}},
            "ref": 0,
        }
        driver.say(driver.topic, "set_validation", {"is_valid": True, "task_id": "x"})
        driver.say("phoenix", "heartbeat", ref=1)
        assert driver.hear()["ref"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        b"\xff\xfe",
        json.dumps({"topic": "x", "event": "y", "payload": [], "ref": None}),
        json.dumps({"topic": "room:client:somebody:else", "event": "phx_join", "payload": {}}),
        json.dumps({"topic": "room:client?", "event": "task", "payload": {"ref": 1}}),
        json.dumps({"topic": "room:nowhere", "event": "task", "payload": {"ref": "a", "body": {}}}),
        "[" * 10000,
    ],
)
def test_a_wrong_frame_harms_nobody(hub, text):
    with joined(hub) as driver, hub.worker("e-wrong") as worker:
        driver.socket.send(text)
        driver.say(driver.topic, "task", {"ref": 5})
        driver.say(driver.topic, "task", {"ref": "x" * 100, "body": {}})
        driver.say(driver.topic, "unheard of", ref=7)
        while (frame := driver.hear("phx_reply"))["ref"] != 7:
            assert frame["payload"]["status"] == "error"
        assert frame["payload"] == {"status": "error", "response": {"reason": "unmatched event"}}
        ref = driver.task()
        worker.say(Done(next_run(worker, ref).token, Answer(ok=True)))
        assert driver.result()[0] == ref


def test_a_channel_of_another_user_is_refused(hub):
    with joined(hub) as driver:
        driver.say("room:client:somebody:channel", "phx_join", ref="join")
        frame = driver.hear()
        assert frame["payload"] == {"status": "error", "response": {"reason": "unauthorized"}}


def test_a_task_sent_twice_is_answered_once(hub):
    with joined(hub) as driver, hub.worker("e-twice") as worker:
        ref = driver.task()
        assert driver.task(ref) == ref
        worker.say(Done(next_run(worker, ref).token, Answer(ok=True)))
        assert driver.result()[0] == ref
        driver.say("phoenix", "heartbeat", ref=9)
        assert driver.hear()["ref"] == 9


def test_when_a_driver_leaves_its_tasks_are_stopped(hub):
    with hub.worker("e-leaves") as worker:
        with joined(hub) as driver:
            ref = driver.task()
            token = next_run(worker, ref).token
        assert worker.hear(Abort).token == token


def test_a_driver_that_joins_its_channel_again_gets_what_it_missed(hub):
    with hub.worker("e-rejoins") as worker, joined(hub) as driver:
        ref = driver.task()
        token = next_run(worker, ref).token
        with hub.socket(DRIVER_PATH) as socket:
            again = Driver(socket)
            again.channel = driver.channel
            again.join()
            with pytest.raises(ConnectionClosed):
                driver.hear("result")
            worker.say(Done(token, Answer(ok=True, value=b"3")))
            assert again.result()[:2] == (ref, {"data": 3})


def test_three_hundred_tasks_may_be_awaited_at_a_time(hub):
    with joined(hub) as driver, hub.worker("e-many") as worker:
        refs = {driver.task(params=[n]) for n in range(300)}
        worker.say(Ask(300))
        seen = 0
        while seen < 300:
            run = worker.hear(Run)
            if run.task in refs:
                seen += 1
            else:
                worker.say(Ask(300 - seen))
            worker.say(Done(run.token, Answer(ok=True, value=run.call.params)))
        assert {driver.result()[0] for _ in refs} == refs
