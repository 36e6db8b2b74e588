"""Loaders that want to break their limits, or out: each ends alone, and the next call runs.

Every file in `hostile_js` has its row here.
"""

import http.server
import os
import shutil
import threading
from pathlib import Path

import msgspec
import pytest

from javascript_calls import MIB, PATIENCE, calling
from maniple.algorithm import javascript
from maniple.algorithm.call import Limits
from maniple.algorithm.javascript_command import Confinement

PROGRAMS = Path(__file__).parent / "hostile_js"
LIMITS = Limits(seconds=PATIENCE, memory=128 * MIB, output=MIB, disk=4 * MIB)
SHORT = msgspec.structs.replace(LIMITS, seconds=0.7)

OVER_TIME = [
    "loop",
    "loop_at_start",
    "loop_in_wasm",
    "loop_of_microtasks",
    "loop_of_timers",
    "loop_in_regular_expression",
    "loop_in_worker",
    "post_without_end",
    "wait",
    "wait_for_standard_input",
    "workers_without_end",
    "unload_without_end",
    "catch_without_end",
]
OVER_MEMORY = [
    "allocate_heap",
    "allocate_buffers",
    "allocate_buffers_and_carry_on",
    "allocate_at_once",
    "allocate_wasm",
    "allocate_shared",
    "allocate_strings",
    "allocate_blobs",
    "allocate_workers",
    "allocate_while_parsing",
    "allocate_modules",
    "answer_enormous",
    "answer_bomb",
]
OVER_OUTPUT = ["print", "print_error", "print_in_answer"]
FAILURES = {
    "answer_deep": ("exception", "cannot be read"),
    "answer_cyclic": ("exception", "circular"),
    "answer_bigint": ("exception", "BigInt"),
    "answer_hostile_object": ("exception", "cannot be shown"),
    "leaves": ("no answer", "postMessage"),
    "never": ("no answer", "postMessage"),
    "no_handler": ("no answer", "postMessage"),
    "throw_at_start": ("exception", "TypeError: at the start"),
    "throw_in_handler": ("exception", "TypeError"),
    "throw_in_timer": ("exception", "Error: in a timer"),
    "throw_strange": ("exception", "cannot be shown"),
    "reject": ("exception", "RangeError: rejected"),
    "syntax_error": ("exception", "SyntaxError"),
}
ANSWERS = {
    "answer_then_loop": "first",
    "answer_then_throw": "first",
    "answer_without_end": 0,
    "forge": "honest",
    "pollute": "as ever",
    "pollute_json": "changed",
    "steal_secret": [],
    "strange_answer": 1,
    "exits": ["ReferenceError"] * 6,
}
OWN_TESTS = ["answer_many_files", "reach_out"]


@pytest.fixture(scope="module", params=list(Confinement))
def call(request, tmp_path_factory):
    if request.param is Confinement.BUBBLEWRAP and shutil.which("bwrap") is None:
        if os.environ.get("CI"):
            pytest.fail("bwrap is not installed")
        pytest.skip("bwrap is not installed")
    with calling(tmp_path_factory.mktemp("hostile"), confinement=request.param) as caller:
        assert caller.sandbox.confinement is request.param
        yield caller


@pytest.fixture
def works(call):
    """Check that the next call is as good as the first."""

    def check():
        assert call.says("data.params", ["still", "here"]) == ["still", "here"]

    return check


def program(name):
    return (PROGRAMS / f"{name}.js").read_text()


def ended(answer, cause, *words):
    assert (answer.ok, answer.cause) == (False, cause), answer
    assert "\n" not in answer.error
    for word in words:
        assert word in answer.error


def test_every_program_has_its_row():
    rows = [*OVER_TIME, *OVER_MEMORY, *OVER_OUTPUT, *FAILURES, *ANSWERS, *OWN_TESTS]
    assert sorted(rows) == sorted(path.stem for path in PROGRAMS.glob("*.js"))


@pytest.mark.parametrize("name", OVER_TIME)
def test_what_does_not_end_is_ended(call, works, name):
    answer = call(program(name), limits=SHORT)
    ended(answer, "time limit", "time limit of 0.7 s")
    works()


@pytest.mark.parametrize("name", OVER_MEMORY)
def test_what_wants_ever_more_memory_is_ended(call, works, name):
    answer = call(program(name), limits=LIMITS)
    ended(answer, "memory limit", "memory limit of 128 MiB")
    works()


@pytest.mark.parametrize("name", ["allocate_modules", "allocate_while_parsing"])
def test_what_crashes_for_want_of_memory_is_so_called_though_nobody_looked(
    call, works, name, monkeypatch
):
    monkeypatch.setattr(javascript, "LOOK_SECONDS", 3600.0)
    ended(call(program(name), limits=LIMITS), "memory limit", "memory limit of 128 MiB")
    works()


@pytest.mark.parametrize("name", OVER_OUTPUT)
def test_what_prints_without_end_is_ended(call, works, name):
    answer = call(program(name), limits=LIMITS)
    ended(answer, "output limit", "output limit of 1 MiB")
    assert MIB // 2 < len(answer.stdout) + len(answer.stderr) <= MIB
    works()


@pytest.mark.parametrize("name", FAILURES)
def test_what_fails_fails_alone(call, works, name):
    cause, words = FAILURES[name]
    ended(call(program(name), limits=LIMITS), cause, words)
    works()


@pytest.mark.parametrize("name", ANSWERS)
def test_what_answers_is_answered_once_and_for_itself_only(call, works, name):
    assert call.value(program(name), limits=LIMITS) == ANSWERS[name]
    works()


def test_result_files_beyond_the_disk_limit_do_not_come_back(call, works):
    results = [f"/out/{number}" for number in range(5)]
    answer = call(program("answer_many_files"), limits=LIMITS, results=results)
    ended(answer, "disk limit", "disk limit of 4 MiB")
    assert answer.files == {}
    works()


def test_nothing_outside_can_be_reached(call, works, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            reached = call.value(program("reach_out"), [str(secret), url], limits=LIMITS)
        finally:
            server.shutdown()
            thread.join()
    assert reached == []
    assert asked == []
    works()
