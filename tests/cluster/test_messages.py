import msgspec
import pytest

from maniple.algorithm.call import Answer, Call, Code, Limits
from maniple.cluster import messages
from maniple.cluster.messages import (
    Ask,
    Blob,
    Cancel,
    Done,
    DriverHello,
    Got,
    Result,
    Run,
    Submit,
    Want,
    Welcome,
    WorkerHello,
    decode_from_driver,
    decode_from_worker,
    decode_to_driver,
    decode_to_worker,
    encode,
)

CODE = Code("a" * 64, "b" * 64, "c" * 64, "kmeans@0.0.1")
CALL = Call(CODE, b"[1]", ["-v"], {"/in": b"\0\xff"}, ["/out"], Limits(seconds=1.0))
ANSWER = Answer(ok=True, value=b"[0, 1]", files={"/out": b"\xff"}, stdout=b"x", exit_code=0)


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (decode_from_driver, DriverHello("s", ["t"])),
        (decode_from_driver, Submit("t", CALL)),
        (decode_from_driver, Cancel("t")),
        (decode_from_driver, Got(["t"])),
        (decode_from_driver, Blob("a" * 64, b"\0")),
        (decode_to_driver, Welcome("user", ["t"])),
        (decode_to_driver, Result("t", ANSWER)),
        (decode_to_driver, Want(["a" * 64])),
        (decode_from_worker, WorkerHello("u", "here", ["k"])),
        (decode_from_worker, Ask(2)),
        (decode_from_worker, Done("k", ANSWER)),
        (decode_to_worker, Run("k", "t", 1, CALL)),
        (decode_to_worker, Blob("a" * 64, None)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_message_arrives_as_it_was_sent(decode, message):
    assert decode(encode(message)) == message


def test_a_call_without_files_costs_a_fraction_of_a_kibibyte():
    frame = encode(Submit("0" * 32, Call(CODE, b"[1,2]")))
    assert len(frame) < 400
    assert len(encode(Result("0" * 32, Answer(ok=True, value=b"3", start=1.5, end=2.5)))) < 200


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"text",
        msgspec.msgpack.encode({"say": "nothing known"}),
        msgspec.msgpack.encode({"say": "submit"}),
        msgspec.msgpack.encode({"say": "got", "tasks": [1]}),
        encode(Ask(1)),
    ],
)
def test_what_a_driver_may_not_say_is_refused(data):
    with pytest.raises(msgspec.DecodeError):
        decode_from_driver(data)


def test_every_message_has_a_name_of_its_own():
    kinds = [
        v
        for v in vars(messages).values()
        if isinstance(v, type) and v.__module__.endswith("cluster.messages")
    ]
    tags = [kind.__struct_config__.tag for kind in kinds if kind.__name__ != "_Message"]
    assert len(tags) == len(set(tags)) >= 15
