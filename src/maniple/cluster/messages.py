"""The messages of hub, drivers and workers: MessagePack, one a binary WebSocket frame.

A socket speaks this protocol when client and server agree on the subprotocol `SUBPROTOCOL` in the
WebSocket handshake (RFC 6455, section 1.9); without it, the paths below speak the JSON of Phoenix
channels, for programs of the earlier platform.

Parts of algorithms are named by digest and travel once: who lacks one sends `Want`, and gets a
`Blob` for each. All ids and tokens are opaque text of at most 64 characters.
"""

from __future__ import annotations

from typing import Final

import msgspec

from maniple.algorithm.call import Answer, Call

SUBPROTOCOL: Final = "maniple.1"
DRIVER_PATH: Final = "/client_socket/websocket"
WORKER_PATH: Final = "/socket/websocket"
LARGEST_FRAME: Final = 1 << 30
HEARTBEAT_SECONDS: Final = 5.0
"""WebSocket pings go out that often on both sides; after three without an answer a peer is gone."""


class _Message(msgspec.Struct, tag_field="say", omit_defaults=True):
    """Common to all: the key `say` holds which message it is."""


class DriverHello(_Message, tag="driver"):
    """First of a driver on each connection.

    Attributes:
        session: chosen by the driver at random, the same when it connects again.
        tasks: those of its tasks that it has no answer for yet.
    """

    session: str
    tasks: list[str] = []


class Welcome(_Message, tag="welcome"):
    """The hub's answer to either hello.

    Attributes:
        user: whom the token belongs to.
        unknown: those of `tasks` that the hub does not know: to be submitted again.
    """

    user: str
    unknown: list[str] = []


class Refused(_Message, tag="refused"):
    """The hub will not go on with this peer; it closes the connection after that.

    Attributes:
        reason: a sentence for people.
    """

    reason: str


class Submit(_Message, tag="submit"):
    """Driver to hub: run this. The same task submitted twice is run and answered once."""

    task: str
    call: Call


class Cancel(_Message, tag="cancel"):
    """Driver to hub: the answer is not wanted any more. None will come."""

    task: str


class Running(_Message, tag="running"):
    """Hub to driver: a worker has begun with it (again, when `attempt` is not 1)."""

    task: str
    attempt: int = 1


class Result(_Message, tag="result"):
    """Hub to driver: how a task ended; repeated on each connection until `Got`."""

    task: str
    answer: Answer


class Got(_Message, tag="got"):
    """Driver to hub: these answers have arrived and may be forgotten."""

    tasks: list[str]


class Want(_Message, tag="want"):
    """Either way: send me these parts of algorithms."""

    digests: list[str]


class Blob(_Message, tag="blob"):
    """Either way: a part of an algorithm; who gets it checks the digest. None: it is not here."""

    digest: str
    data: bytes | None


class WorkerHello(_Message, tag="worker"):
    """First of a worker (one minion) on each connection.

    Attributes:
        uid: chosen at random, the same when it connects again.
        name: for people: the machine's name and the slot.
        holds: tokens of the leases it still has; those not named go back to the queue.
    """

    uid: str
    name: str = ""
    holds: list[str] = []


class Ask(_Message, tag="ask"):
    """Worker to hub: I can take so many tasks more than I have now. Replaces the last `Ask`."""

    count: int


class Run(_Message, tag="run"):
    """Hub to worker: run this; `token` names the lease."""

    token: str
    task: str
    attempt: int
    call: Call


class Done(_Message, tag="done"):
    """Worker to hub: how the task of a lease ended."""

    token: str
    answer: Answer


class GiveBack(_Message, tag="give-back"):
    """Worker to hub: unrun; somebody else may have these."""

    tokens: list[str]


class Abort(_Message, tag="abort"):
    """Hub to worker: end it, no answer is wanted."""

    token: str


class Settled(_Message, tag="settled"):
    """Hub to worker: the answers of these leases are safe; the worker may forget them."""

    tokens: list[str]


FromDriver = DriverHello | Submit | Cancel | Got | Want | Blob
ToDriver = Welcome | Refused | Running | Result | Want | Blob
FromWorker = WorkerHello | Ask | Done | GiveBack | Want | Blob
ToWorker = Welcome | Refused | Run | Abort | Settled | Want | Blob
Message = FromDriver | ToDriver | FromWorker | ToWorker

encode: Final = msgspec.msgpack.Encoder().encode
decode_from_driver: Final = msgspec.msgpack.Decoder(FromDriver).decode
decode_to_driver: Final = msgspec.msgpack.Decoder(ToDriver).decode
decode_from_worker: Final = msgspec.msgpack.Decoder(FromWorker).decode
decode_to_worker: Final = msgspec.msgpack.Decoder(ToWorker).decode
