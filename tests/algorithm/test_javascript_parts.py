"""What decides about a call of JavaScript, without any process: frames, answers, courses."""

import base64
import gzip
import json
import signal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maniple.algorithm.call import Call, Code, Limits
from maniple.algorithm.javascript_answer import read_answer
from maniple.algorithm.javascript_course import DONE_SECONDS, Course, Exit, exit_of
from maniple.algorithm.javascript_frames import (
    Frames,
    Kind,
    TooLongError,
    call_message,
    code_message,
)

SECRET = bytes(range(200, 216))
MIB = 1 << 20


def frame(kind, payload=b"", secret=SECRET):
    return secret + kind.value + len(payload).to_bytes(4, "little") + payload


def a_call(**fields):
    return Call(code=Code("0" * 64), **fields)


# frames


def test_frames_are_found_in_what_is_read():
    frames = Frames(SECRET, 100)
    assert list(frames.feed(frame(Kind.READY) + frame(Kind.STDOUT, b"hi"))) == [
        (Kind.READY, b""),
        (Kind.STDOUT, b"hi"),
    ]


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.sampled_from([Kind.STDOUT, Kind.ANSWER, Kind.DONE]), st.binary(max_size=40)
            ),
            st.tuples(st.just(Kind.NOISE), st.binary(max_size=40)),
            # noise that begins as a secret does
            st.tuples(st.just(Kind.NOISE), st.integers(0, 15).map(lambda n: SECRET[:n])),
        ),
        max_size=8,
    ),
    st.lists(st.integers(1, 30), max_size=30),
)
def test_frames_are_the_same_however_the_stream_is_cut(parts, cuts):
    stream = b"".join(data if kind is Kind.NOISE else frame(kind, data) for kind, data in parts)
    frames = Frames(SECRET, 100)
    found = []
    at = 0
    for cut in [*cuts, len(stream)]:
        found += frames.feed(stream[at : at + cut])
        at += cut
    noise = b"".join(data for kind, data in found if kind is Kind.NOISE) + frames.rest()
    assert noise == b"".join(data for kind, data in parts if kind is Kind.NOISE)
    assert [part for part in found if part[0] is not Kind.NOISE] == [
        part for part in parts if part[0] is not Kind.NOISE
    ]


def test_what_has_another_secret_is_noise():
    forged = frame(Kind.ANSWER, b'{"body":1}', secret=bytes(16))
    assert list(Frames(SECRET, 100).feed(forged)) == [(Kind.NOISE, forged)]


def test_a_frame_of_an_unknown_kind_is_noise():
    frames = Frames(SECRET, 100)
    data = SECRET + b"?" + (2).to_bytes(4, "little") + b"ab" + frame(Kind.READY)
    assert list(frames.feed(data)) == [(Kind.NOISE, b"ab"), (Kind.READY, b"")]


def test_a_frame_that_is_longer_than_it_may_be_is_not_waited_for():
    frames = Frames(SECRET, 100)
    head = SECRET + b"a" + (101).to_bytes(4, "little")
    with pytest.raises(TooLongError):
        list(frames.feed(head))


def test_a_question_says_where_each_of_its_parts_ends():
    message = code_message(b"wasm", b"loader", None)
    assert message == b"c" + b"\x04\0\0\0\x06\0\0\0\0\0\0\0" + b"wasmloader"
    # an empty zip is one
    assert code_message(b"", b"", b"")[1:] == b"\0\0\0\0\0\0\0\0\x01\0\0\0"
    message = call_message(a_call(params=b"[1]", files={"/a": b"x"}, arguments=["b"]))
    head = json.loads(message[5 : 5 + int.from_bytes(message[1:5], "little")])
    assert head == {"arguments": ["b"], "files": {"/a": "eA=="}, "results": []}
    assert message.endswith(b"\x03\0\0\0[1]")


# answers


def packed(text):
    return base64.b64encode(gzip.compress(text, mtime=0)).decode()


def answer_to(message, **fields):
    return read_answer(msgspec.json.encode(message), a_call(**fields))


def test_the_value_is_the_json_as_it_was_written():
    assert read_answer(b'{"body":[1.50, 2],"exitCode":0}', a_call()).value == b"[1.50, 2]"
    assert (
        answer_to({"body": packed(b'{"data": 12345678901234567890}')}).value
        == b"12345678901234567890"
    )


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (None, b""),
        ("", b""),
        ("text\n", b"text\n"),
        ("done", b"done"),
        ("test", b"test"),
        ("abcd", b"abcd"),
        (base64.b64encode(b"text\n").decode(), b"text\n"),
        (base64.b64encode("ä".encode()).decode(), "ä".encode()),
        (base64.b64encode(b"\x1b[1mbold").decode(), b"\x1b[1mbold"),
        ("bm90IHF1aXRl=", b"bm90IHF1aXRl="),
        (["a", "b"], b"a\nb\n"),
        (7, b"7"),
        ({"a": [1]}, b'{"a":[1]}'),
    ],
)
def test_what_was_printed_is_text_or_base64_of_it(given, read):
    answer = answer_to({"body": 1, "stdout": given, "stderr": given})
    assert (answer.ok, answer.stdout, answer.stderr) == (True, read, read)


def test_gzip_that_holds_no_envelope_is_the_value_itself():
    assert answer_to({"body": packed(b"[1]")}).value == b"[1]"
    assert answer_to({"body": packed(b'{"a": 1}')}).value == b'{"a": 1}'


@pytest.mark.parametrize("body", ["H4sIAAAA", "H4sI not base64", packed(b"1")[:-8]])
def test_text_that_only_looks_like_gzip_is_text(body):
    assert json.loads(answer_to({"body": body}).value) == body


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"",
        b'{"data": NaN}',
        b'{"data": "\xff"}',
        b'{"data": 1}}',
        b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"data": 1, "/a": 5}',
        b'{"data": 1, "/a": "no base64"}',
    ],
)
def test_an_answer_that_cannot_be_read_is_a_failure(text):
    answer = answer_to({"body": packed(text)}, results=["/a"])
    assert (answer.ok, answer.cause) == (False, "exception")
    assert "answer cannot be read" in answer.error
    assert "\n" not in answer.error


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{", b'{"body": }', b'{"body":"\xff"}', b"\0", b"[" * 99999]
)
def test_frames_that_hold_anything_else_are_failures(text):
    answer = read_answer(text, a_call())
    assert (answer.ok, answer.cause) == (False, "exception")


def test_what_unpacks_to_more_than_the_memory_limit_is_not_unpacked():
    answer = answer_to({"body": packed(b'"' + bytes(8 * MIB))}, limits=Limits(memory=MIB))
    assert (answer.ok, answer.cause) == (False, "memory limit")


def test_result_files_are_found_under_other_spellings_of_their_paths():
    body = packed(b'{"data": 1, "out//a": "eA==", "/out/./b": "eQ=="}')
    assert answer_to({"body": body}, results=["/out/a", "/out/b"]).files == {
        "/out/a": b"x",
        "/out/b": b"y",
    }


def test_result_files_together_keep_to_the_disk_limit():
    body = packed(b'{"data": 1, "/a": "eHh4", "/b": "eHh4"}')
    limits = Limits(disk=5)
    assert answer_to({"body": body}, results=["/a"], limits=limits).ok
    assert answer_to({"body": body}, results=["/a", "/b"], limits=limits).cause == "disk limit"


# courses


@pytest.fixture
def course():
    limits = Limits(seconds=10, memory=100, output=20)
    return Course(a_call(limits=limits), SECRET, deadline=10.0, baseline=1000)


def answered(course, now=1.0):
    course.heard(frame(Kind.ANSWER, b'{"body":1}'), now)
    return course


def test_a_call_is_over_when_the_turn_of_its_answer_has_ended(course):
    answered(course)
    assert not course.over
    course.heard(frame(Kind.STDOUT, b"late") + frame(Kind.DONE), 1.0)
    assert course.over
    assert (course.answer().ok, course.answer().stdout) == (True, b"late")


def test_a_turn_that_does_not_end_is_not_waited_for_long(course):
    answered(course, now=1.0)
    course.tick(1.0 + DONE_SECONDS / 2)
    assert not course.over
    course.tick(course.deadline)
    assert course.over
    assert course.answer().ok


@pytest.mark.parametrize("what", ["memory", "output", "end", "crash", "cancel", "long", "thrown"])
def test_nothing_after_an_answer_changes_it(course, what):
    answered(course)
    match what:
        case "memory":
            course.held(5000)
        case "output":
            course.heard(frame(Kind.STDOUT, b"x" * 50), 1.0)
        case "end":
            course.ended(0)
        case "crash":
            course.ended(-11)
        case "cancel":
            course.cancel()
        case "long":
            course.heard(SECRET + b"o" + b"\xff" * 4, 1.0)
        case "thrown":
            course.heard(frame(Kind.THROWN, b'{"what":"late"}') + frame(Kind.ANSWER, b"{}"), 1.0)
            course.heard(frame(Kind.DONE), 1.0)
    assert course.over
    assert (course.answer().ok, course.answer().value) == (True, b"1")


def test_time_memory_and_output_have_their_limits(course):
    course.tick(9.9)
    course.held(1100)
    course.heard(frame(Kind.STDOUT, b"x" * 20) + b"", 1.0)
    course.printed(b"y" * 20)
    assert not course.over
    course.tick(10.0)
    assert course.answer().cause == "time limit"


def test_memory_beyond_what_was_held_before_is_the_calls(course):
    course.held(1101)
    assert (course.over, course.answer().cause) == (True, "memory limit")


@pytest.mark.parametrize("noise", [True, False])
def test_output_ends_at_its_limit_framed_or_not(course, noise):
    course.heard(b"z" * 21 if noise else frame(Kind.STDOUT, b"z" * 21), 1.0)
    assert (course.over, course.answer().cause) == (True, "output limit")
    assert course.answer().stdout == b"z" * 20


@pytest.mark.parametrize(
    ("code", "read"),
    [
        (0, Exit()),
        (1, Exit(status=1)),
        (-9, Exit(signal=9)),
        (137, Exit(signal=9)),
        (128, Exit(status=128)),
    ],
)
def test_return_codes_are_read_with_and_without_bubblewrap(code, read):
    assert exit_of(code) == read


@pytest.mark.parametrize(
    ("code", "said", "used", "cause"),
    [
        (0, b"", 0, "no answer"),
        (1, b"error: Uncaught", 0, "no answer"),
        (-signal.SIGTRAP, b"# Fatal JavaScript out of memory: x", 0, "memory limit"),
        (128 + signal.SIGABRT, b"memory allocation of 20 bytes failed", 0, "memory limit"),
        (-signal.SIGSEGV, b"", 90, "memory limit"),
        (-signal.SIGSEGV, b"", 10, "SIGSEGV"),
        (-99, b"", 0, "signal 99"),
    ],
)
def test_an_end_without_an_answer_has_its_cause(course, code, said, used, cause):
    course = Course(a_call(limits=Limits(memory=100)), SECRET, deadline=None, baseline=1000)
    course.printed(said)
    course.held(1000 + used)
    course.ended(code)
    answer = course.answer()
    assert (course.over, answer.ok, answer.cause) == (True, False, cause)
    assert answer.error
    assert "\n" not in answer.error


@pytest.mark.parametrize(("grown", "cause"), [(90, "memory limit"), (50, "SIGSEGV")])
def test_a_crash_is_the_memory_limits_doing_when_nearly_all_was_in_use(course, grown, cause):
    course.ended(-11, grown)
    assert course.answer().cause == cause


def test_a_rejection_counts_when_no_answer_comes_after_it(course):
    thrown = frame(Kind.REJECTED, b'{"what":"Error: no","where":"Error: no\\n at x"}')
    course.heard(thrown, 1.0)
    assert not course.over
    course.ended(0)
    assert (course.answer().cause, course.answer().error) == ("exception", "Error: no")
    assert course.answer().stderr == b"Error: no\n at x\n"


@pytest.mark.parametrize(
    "what",
    ["Array buffer allocation failed", "WebAssembly.Memory.grow(): Unable to grow instance memory"],
)
def test_memory_that_was_refused_is_the_memory_limits_doing(course, what):
    course.heard(frame(Kind.THROWN, json.dumps({"what": f"RangeError: {what}"}).encode()), 1.0)
    assert course.answer().cause == "memory limit"


def test_what_is_thrown_may_be_anything(course):
    course.heard(frame(Kind.THROWN, b"\xff{"), 1.0)
    assert (course.answer().cause, course.over) == ("exception", True)
