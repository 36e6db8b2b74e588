"""Drivers and workers at a real hub, over our own protocol."""

import os
import time

import pytest
from websockets.exceptions import ConnectionClosed

from hub.peers import MODULE, PATIENCE
from maniple.algorithm.blobs import digest_of
from maniple.algorithm.call import Answer, Call, Code
from maniple.cluster.messages import (
    DRIVER_PATH,
    SUBPROTOCOL,
    WORKER_PATH,
    Abort,
    Ask,
    Blob,
    Cancel,
    Done,
    DriverHello,
    GiveBack,
    Got,
    Refused,
    Result,
    Run,
    Running,
    Settled,
    Submit,
    Want,
    encode,
)


def test_a_task_travels_with_its_code_to_a_worker_and_its_answer_back(hub):
    module = MODULE + b"\0\1\1"
    call = Call(Code(digest_of(module), name="new@1"), params=b"[1]")
    with hub.driver("first") as driver, hub.worker("w-first") as worker:
        assert driver.welcome.unknown == []
        driver.say(Submit("t", call))
        assert driver.hear(Want).digests == [call.code.wasm]
        driver.say(Blob(call.code.wasm, module))
        worker.say(Ask(1))
        run = worker.hear(Run)
        assert (run.task, run.attempt, run.call) == ("t", 1, call)
        worker.say(Want([call.code.wasm]))
        assert worker.hear(Blob) == Blob(call.code.wasm, module)
        answer = Answer(ok=True, value=b"[1]", files={"/o": b"\xff"}, stdout=b"said", start=1.5)
        worker.say(Done(run.token, answer))
        assert worker.hear(Settled).tokens == [run.token]
        assert driver.hear(Running) == Running("t", 1)
        assert driver.hear(Result) == Result("t", answer)
        driver.say(Got(["t"]))


def test_code_that_the_hub_has_is_not_asked_for_and_frames_are_small(hub, call):
    with hub.driver("small") as driver, hub.worker("w-small") as worker:
        frame = encode(Submit("t", call))
        assert len(frame) < 512
        driver.raw(frame)
        worker.answer()
        # a Want would have come before it
        message = driver.hear(object)
        assert message == Running("t", 1)
        assert driver.hear(object).answer.value == b"1"


def test_a_driver_that_lost_its_connection_gets_its_answers_on_the_next_one(hub, call):
    with hub.worker("w-again") as worker:
        driver = hub.driver("again")
        driver.say(Submit("a", call))
        driver.say(Submit("b", call))
        worker.answer()
        driver.hear(Result)
        driver.cut()
        worker.answer(b"2")
        with hub.driver("again", ["a", "b", "c"]) as driver:
            assert driver.welcome.unknown == ["c"]
            found = {driver.hear(Result).task for _ in range(2)}
            assert found == {"a", "b"}
            driver.say(Got(["a", "b"]))
        with hub.driver("again", ["a"]) as driver:
            assert driver.welcome.unknown == ["a"]


def test_a_worker_that_vanishes_loses_its_task_to_another_one(hub, call):
    with hub.driver("vanish") as driver:
        driver.say(Submit("t", call))
        first = hub.worker("w-vanish")
        first.say(Ask(1))
        first.hear(Run)
        first.close()
        with hub.worker("w-heir") as heir:
            heir.say(Ask(1))
            assert heir.hear(Run).attempt == 2
            driver.say(Cancel("t"))
            heir.hear(Abort)


def test_a_worker_whose_connection_breaks_goes_on_with_what_it_holds(hub, call):
    with hub.driver("breaks") as driver:
        driver.say(Submit("t", call))
        worker = hub.worker("w-breaks")
        worker.say(Ask(1))
        run = worker.hear(Run)
        worker.cut()
        with hub.worker("w-breaks", [run.token, "unknown"]) as worker:
            assert worker.hear(Abort).token == "unknown"
            worker.say(Done(run.token, Answer(ok=True, value=b"7")))
            assert driver.hear(Result).answer.value == b"7"


def test_what_a_worker_gives_back_goes_to_the_next_one(hub, call):
    with hub.driver("back") as driver, hub.worker("w-back") as worker:
        driver.say(Submit("t", call))
        worker.say(Ask(1))
        worker.say(GiveBack([worker.hear(Run).token]))
        assert worker.answer().attempt == 1
        driver.hear(Result)


def test_a_driver_that_has_not_got_what_it_named_is_told_in_its_answer(hub):
    with hub.driver("liar") as driver:
        driver.say(Submit("t", Call(Code("a" * 64, name="gone@1"))))
        driver.say(Blob(driver.hear(Want).digests[0], None))
        answer = driver.hear(Result).answer
        assert answer.cause == "missing part"
        assert "gone@1" in answer.error
        driver.say(Submit("u", Call(Code("b" * 64))))
        driver.hear(Want)
        driver.say(Blob("b" * 64, b"something else"))
        assert driver.hear(Result).answer.cause == "missing part"


def test_code_that_is_gone_from_the_disk_is_brought_again_by_its_driver(hub):
    code = MODULE + b"\0\1\0"
    digest = digest_of(code)
    with hub.driver("disk") as driver, hub.worker("w-disk") as worker:
        driver.say(Submit("1", Call(Code(digest))))
        driver.hear(Want)
        driver.say(Blob(digest, code))
        worker.say(Ask(1))
        run = worker.hear(Run)
        os.unlink(hub.folder / "cache/blobs" / digest)
        worker.say(Want([digest]))
        assert worker.hear(Abort).token == run.token
        assert worker.hear(Blob).data is None
        driver.hear(Want)
        driver.say(Blob(digest, code))
        worker.answer()
        assert driver.hear(Result).answer.ok


@pytest.mark.parametrize(
    "frame",
    [
        "text",
        b"",
        b"\xc1nonsense",
        encode(Submit("", Call(Code("a" * 64)))),
        encode(Submit("x" * 65, Call(Code("a" * 64)))),
        encode(Submit("x", Call(Code("../../etc/passwd")))),
        encode(Ask(1)),
        encode(DriverHello("again")),
        encode(Blob("../x", None)),
    ],
    ids=["text", "empty", "garbage", "no-id", "long-id", "path", "worker", "twice", "blob"],
)
def test_a_driver_that_talks_nonsense_is_told_so_and_let_go(hub, call, frame):
    with hub.driver("calm") as calm, hub.worker("w-calm") as worker:
        driver = hub.driver("nonsense")
        driver.raw(frame)
        assert driver.hear(Refused).reason.startswith("not understood: ")
        with pytest.raises(ConnectionClosed):
            driver.hear(object)
        # what the other one has submitted may still be there
        calm.say(Submit("calm's own", call))
        while worker.answer().task != "calm's own":
            pass
        assert calm.hear(Result).answer.ok


@pytest.mark.parametrize("path", [DRIVER_PATH, WORKER_PATH])
@pytest.mark.parametrize("bring", [False, True], ids=["", "blob"])
def test_the_first_message_must_be_a_hello(hub, path, bring):
    data = os.urandom(8)
    first = Got(["x"]) if path == DRIVER_PATH else Ask(1)
    with hub.socket(path, subprotocols=[SUBPROTOCOL]) as socket:
        socket.send(encode(Blob(digest_of(data), data) if bring else first))
        assert b"must be a hello" in socket.recv(PATIENCE)
    assert not (hub.folder / "cache/blobs" / digest_of(data)).exists()


def test_a_second_connection_of_a_driver_takes_the_place_of_the_first(hub):
    first = hub.driver("double")
    with hub.driver("double"):
        with pytest.raises(ConnectionClosed) as closed:
            first.hear(object)
        assert closed.value.rcvd.code == 4000


def test_a_thousand_tasks_of_one_driver_are_each_answered_once(hub, call):
    with hub.driver("thousand") as driver, hub.worker("w-thousand") as worker:
        names = {f"t{n}" for n in range(1000)}
        for name in names:
            driver.say(Submit(name, call))
        worker.say(Ask(1000))
        for _ in names:
            run = worker.hear(Run)
            worker.say(Done(run.token, Answer(ok=True, value=run.task.encode())))
        found = [driver.hear(Result) for _ in names]
        assert {result.task for result in found} == names
        assert all(result.answer.value.decode() == result.task for result in found)
        driver.say(Got(sorted(names)))


def test_large_files_pass(hub, call):
    large = os.urandom(32 << 20)
    with hub.driver("large") as driver, hub.worker("w-large") as worker:
        driver.say(Submit("t", Call(call.code, files={"/in": large})))
        run = worker.answer(files={"/out": large})
        assert run.call.files == {"/in": large}
        assert driver.hear(Result).answer.files == {"/out": large}


def test_a_driver_that_does_not_read_holds_up_nobody(hub, call):
    large = bytes(4 << 20)
    with hub.driver("deaf") as deaf, hub.worker("w-deaf") as worker, hub.driver("brisk") as brisk:
        for n in range(20):
            deaf.say(Submit(f"t{n}", call))
        for _ in range(20):
            worker.answer(files={"/out": large})
        brisk.say(Submit("t", call))
        worker.answer()
        start = time.monotonic()
        assert brisk.hear(Result).answer.ok
        assert time.monotonic() - start < PATIENCE
