"""What a queue is on the server: five streams and their consumers, and how they are asked.

`maniple-NAME` has each task as one message for good; the message's sequence is the task's number.
Its consumer says which tasks wait and which are leased. A task that is given back is a copy in
`maniple_again-NAME`, in `maniple_later-NAME` if it has to wait, or in `maniple_failed-NAME`; and in
none of these when it is done. `maniple_done-NAME` is a log of what was acknowledged: the server
writes it at once, but what its consumers know a moment later only. `maniple_data-NAME` holds the
pieces of params that are too large for a message.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final, NamedTuple

import msgspec

from maniple.errors import QueueError, StorageError
from maniple.queues.nats_channel import NANO, Channel, Fetched
from maniple.queues.nats_link import NO_RESPONDERS, Link, LostError, Question, status
from maniple.queues.nats_login import Msg

CONSUMER: Final = "minions"
PAGE: Final = 500
SLOW_SECONDS: Final = 60.0
LISTING_SECONDS: Final = 60
PAUSE_SECONDS: Final = 0.05
MOMENT_SECONDS: Final = 1.0
LOG_DAYS: Final = 7
STREAM_MISSING: Final = 10059
CONSUMER_MISSING: Final = 10014
WRONG_SEQUENCE: Final = 10071
UNAVAILABLE: Final = 10008
NO_JETSTREAM: Final = frozenset({10039, 10076})
_decode = msgspec.json.Decoder().decode


class Names:
    """What the streams and subjects of a queue are called."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.stream = f"maniple-{name}"
        self.root = f"maniple.{name}"
        self.task = f"{self.root}.task."
        self.put = f"{self.root}.put"
        self.done_subject = f"{self.root}.done"

    def of(self, kind: str) -> str:
        """Name the stream of a kind: again, later, failed, data, done."""
        return f"maniple_{kind}-{self._name}"

    def subject(self, kind: str, task_id: str) -> str:
        """Name the subject of a task's copy of a kind."""
        return f"{self.root}.{kind}.{task_id}"


class ApiError(QueueError):
    """The server says no."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Piled(NamedTuple):
    """How a stream or a consumer stands, of those fields that we look at."""

    messages: int
    last: int
    pending: int = 0
    held: int = 0
    delivered: int = 0
    floor: int = 0
    ahead: int = 0


class Store:
    """The streams of one queue.

    Args:
        link: the connection.
        names: of the queue.
        shown: the queue's URL for messages.
        reconnect: seconds for which a long listing waits for a lost connection.
    """

    def __init__(self, link: Link, names: Names, shown: str, reconnect: float) -> None:
        self._reconnect = reconnect
        self.link = link
        self.names = names
        self._shown = shown

    async def open(self, *, create: bool, silence: float, replicas: int) -> float:
        """Make what is missing, if we may; return the silence that the queue has, in seconds.

        Raises:
            QueueError: it does not exist, is of another kind, or the server has no JetStream.
        """
        names = self.names
        (answer,) = await self.link.ask([_api("INFO", None)])
        if status(answer) == NO_RESPONDERS:
            raise QueueError(f"{self._shown}: the server has no JetStream: start it with -js")
        missing = await self._config(names.stream) is None
        if missing and not create:
            raise QueueError(
                f"no queue at {self._shown}: fill it first: maniple sweep -q {self._shown} ..."
            )
        small = {"max_msgs_per_subject": 1}
        await self._stream("again", replicas, retention="workqueue", **small)
        await self._stream("later", replicas, retention="workqueue", **small)
        await self._stream("failed", replicas, **small)
        await self._stream("data", replicas, **small, subjects=[f"{names.root}.data.*.*"])
        age = LOG_DAYS * 24 * 3600 * NANO
        await self._stream("done", replicas, subjects=[names.done_subject], max_age=age)
        await self._stream("", replicas, subjects=[f"{names.task}>", names.put])
        silence = await self._consumer(names.stream, silence)
        for kind in ("again", "later"):
            await self._consumer(names.of(kind), silence)
        return silence

    async def _config(self, stream: str) -> dict[str, Any] | None:
        try:
            info = await self.api(f"STREAM.INFO.{stream}")
        except ApiError as error:
            if error.code == STREAM_MISSING:
                return None
            raise
        config: dict[str, Any] = info["config"]
        return config

    async def _stream(self, kind: str, replicas: int, **config: Any) -> None:
        stream = self.names.of(kind) if kind else self.names.stream
        config = {
            "name": stream,
            "subjects": [self.names.subject(kind, "*")],
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "allow_direct": True,
            "num_replicas": replicas,
            **config,
        }
        found = await self._config(stream)
        if found is None:
            await self.api(f"STREAM.CREATE.{stream}", config)
        elif any(found.get(key) != config[key] for key in ("subjects", "retention")):
            raise QueueError(f"{self._shown} is not a queue of Maniple: see the stream {stream}")

    async def _consumer(self, stream: str, silence: float) -> float:
        try:
            info = await self.api(f"CONSUMER.INFO.{stream}.{CONSUMER}")
        except ApiError as error:
            if error.code != CONSUMER_MISSING:
                raise
        else:
            return float(info["config"]["ack_wait"] / NANO)
        done = await self.api(f"STREAM.INFO.{self.names.of('done')}")
        if stream == self.names.stream and done["state"]["last_seq"]:
            # a new one would deliver again what is done
            raise QueueError(f"{self._shown}: the consumer {CONSUMER} of {stream} was removed")
        config = {
            "durable_name": CONSUMER,
            "ack_policy": "explicit",
            "ack_wait": int(silence * NANO),
            "deliver_policy": "all",
            "replay_policy": "instant",
            "max_deliver": -1,
            "max_ack_pending": -1,
            "max_waiting": 10_000,
        }
        await self.api(
            f"CONSUMER.DURABLE.CREATE.{stream}.{CONSUMER}",
            {"stream_name": stream, "config": config},
        )
        return silence

    # Asking

    async def api(self, what: str, body: object = None, seconds: float = 10.0) -> dict[str, Any]:
        """Ask the server's management.

        Raises:
            ApiError: it says no.
            LostError: no answer.
        """
        (answer,) = await self.link.ask([_api(what, body)], seconds)
        return self.read(answer)

    async def many(self, questions: Sequence[tuple[str, object]]) -> list[dict[str, Any]]:
        """Ask the server's management many things at once; errors stay in the answers."""
        answers = await self.link.ask([_api(*q) for q in questions], SLOW_SECONDS)
        return [_decode(answer.data) if answer.data else {} for answer in answers]

    def read(self, answer: Msg) -> dict[str, Any]:
        """Read an answer of JetStream.

        Raises:
            ApiError: it is an error.
            LostError: it cannot answer now.
        """
        if status(answer) == NO_RESPONDERS:
            # while a server starts, its streams may come a moment after its port
            raise LostError("JetStream does not answer")
        found: dict[str, Any] = _decode(answer.data)
        error = found.get("error")
        if error:
            code = error.get("err_code", 0)
            text = error.get("description", "unknown error")
            if code == UNAVAILABLE:
                raise LostError(text)
            if code in NO_JETSTREAM:
                text = "JetStream is not enabled for this account"
            raise ApiError(f"{self._shown}: {text}", code)
        return found

    async def publish(self, questions: Sequence[Question]) -> None:
        """Store messages and be sure of it.

        Raises:
            StorageError: the server did not store one.
        """
        for answer in await self.link.ask(questions):
            self.stored(answer)

    def stored(self, answer: Msg) -> int:
        """Read the receipt of a message: its sequence.

        Raises:
            StorageError: it was not stored.
            LostError: nobody stores it now.
        """
        try:
            return int(self.read(answer).get("seq", 0))
        except ApiError as error:
            raise StorageError(f"not stored: {error}") from None

    async def state(self, stream: str, *, consumer: bool) -> Piled:
        """Look at one stream and its consumer."""
        (piled,) = await self.states([(stream, consumer)])
        return piled

    async def states(self, wanted: Sequence[tuple[str, bool]]) -> list[Piled]:
        """Look at streams, and at the consumers of those that have one."""
        questions = []
        for stream, consumer in wanted:
            questions.append(_api(f"STREAM.INFO.{stream}", None))
            if consumer:
                questions.append(_api(f"CONSUMER.INFO.{stream}.{CONSUMER}", None))
        answers = iter(await self.link.ask(questions))
        found = []
        for _, consumer in wanted:
            state = self.read(next(answers))["state"]
            piled = Piled(state["messages"], state["last_seq"])
            if consumer:
                info = self.read(next(answers))
                piled = piled._replace(
                    pending=info["num_pending"],
                    held=info["num_ack_pending"],
                    delivered=info["delivered"]["stream_seq"],
                    floor=info["ack_floor"]["stream_seq"],
                    ahead=info["delivered"]["consumer_seq"] - info["delivered"]["stream_seq"],
                )
            found.append(piled)
        return found

    # Reading messages

    async def at(self, stream: str, sequence: int) -> Msg | None:
        """Read the message with this sequence."""
        (found,) = await self.link.ask(
            [Question(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode({"seq": sequence}))]
        )
        return self._present(found)

    async def last(self, pairs: Sequence[tuple[str, str]]) -> list[Msg | None]:
        """Read the last messages of subjects of streams."""
        questions = [Question(f"$JS.API.DIRECT.GET.{stream}.{sub}") for stream, sub in pairs]
        return [self._present(found) for found in await self.link.ask(questions)]

    @staticmethod
    def _present(found: Msg) -> Msg | None:
        word = status(found)
        if word == NO_RESPONDERS:
            raise LostError("no stream answers")
        return None if word is not None and "Nats-Sequence" not in (found.headers or {}) else found

    async def subjects(self, kind: str) -> list[str]:
        """List the ids of the tasks that have a copy of a kind."""
        stream = self.names.of(kind)
        found: list[str] = []
        while True:
            body = {"subjects_filter": self.names.subject(kind, "*"), "offset": len(found)}
            info = await self.api(f"STREAM.INFO.{stream}", body, SLOW_SECONDS)
            page = info["state"].get("subjects") or {}
            found.extend(subject.rpartition(".")[2] for subject in page)
            if not page or len(found) >= info.get("total", 0):
                return found

    async def walk(
        self, stream: str, first: int = 1, since: str | None = None
    ) -> AsyncGenerator[list[Fetched], None]:
        """Read a stream's messages in order, from a sequence or a time on, in pages."""
        state = await self.state(stream, consumer=False)
        last, until = state.last, None
        while first <= last:
            try:
                async with aclosing(self._walk(stream, first, since)) as pages:
                    async for page in pages:
                        until = None
                        first = int(page[-1].message.reply.split(".")[-4]) + 1
                        yield page
            except LostError:
                until = time.monotonic() + self._reconnect if until is None else until
                if time.monotonic() >= until:
                    raise
                # a server that is there and cannot answer yet is not asked without a pause
                await asyncio.sleep(PAUSE_SECONDS)
                with suppress(LostError):
                    await self.link.connected()
            else:
                return

    async def _walk(
        self, stream: str, first: int, since: str | None
    ) -> AsyncGenerator[list[Fetched], None]:
        start: dict[str, Any] = {"deliver_policy": "by_start_sequence", "opt_start_seq": first}
        if since is not None:
            start = {"deliver_policy": "by_start_time", "opt_start_time": since}
        config = {
            **start,
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": True,
            "inactive_threshold": LISTING_SECONDS * NANO,
        }
        body = {"stream_name": stream, "config": config}
        made = await self.api(f"CONSUMER.CREATE.{stream}", body)
        channel = Channel(self.link, stream, made["name"], lambda *_: None)
        await channel.open()
        try:
            left = made.get("num_pending", 0)
            while left > 0:
                # there is more, so a moment's silence of a busy server is not the end
                page = await channel.pull(min(PAGE, left), MOMENT_SECONDS)
                if not page:
                    info = await self.api(f"CONSUMER.INFO.{stream}.{made['name']}")
                    if info["num_pending"]:
                        raise LostError("a listing came to a halt")
                    return
                left -= len(page)
                yield page
        finally:
            channel.close()
            await self._forget(stream, made["name"])

    async def _forget(self, stream: str, consumer: str) -> None:
        # if this fails the server removes it by itself
        with suppress(LostError, ApiError):
            await self.api(f"CONSUMER.DELETE.{stream}.{consumer}")

    # Removing

    async def remove(self, stream: str, sequences: Sequence[int]) -> int:
        """Delete messages; return how many were there."""
        subject = f"STREAM.MSG.DELETE.{stream}"
        answers = await self.many([(subject, {"seq": s, "no_erase": True}) for s in sequences])
        return sum(bool(answer.get("success")) for answer in answers)

    async def empty(self, stream: str, subject: str | None = None) -> None:
        """Delete all messages of a stream, or those of a subject."""
        body = None if subject is None else {"filter": subject}
        await self.api(f"STREAM.PURGE.{stream}", body, SLOW_SECONDS)


def _api(what: str, body: object) -> Question:
    return Question(f"$JS.API.{what}", b"" if body is None else msgspec.json.encode(body))
