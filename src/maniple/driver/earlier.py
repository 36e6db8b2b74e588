"""The client of the earlier platform, as drivers that exist use it (`motivus.client.Client`)."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import time
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Self

import msgspec

from maniple.algorithm.call import Answer, Call, Limits
from maniple.driver.address import TOKEN_VARIABLE, read_hub, variables
from maniple.driver.algorithms import Resolved
from maniple.driver.desk import Desk
from maniple.driver.earlier_task import Definition, read_definition
from maniple.driver.inputs import Order
from maniple.driver.link import RECONNECT_SECONDS
from maniple.driver.reply import AlgorithmFailedError, land
from maniple.driver.socket import RefusedError
from maniple.driver.ticket import Mailbox, Ticket
from maniple.errors import ManipleError
from maniple.task import decode_param

NO_TOKEN: Final = "no-token"  # noqa: S105 - it says that there is none
LOG_FOLDER: Final = os.path.join(".motivus", "logs")
_LARGE: Final = 1 << 20


class EarlierClient:
    """A driver's connection to a cluster; `connect` makes it.

    Its methods may be called where an event loop runs and where none does; `select_task` and
    `barrier` give what the loop that connected, or the one that runs now, can wait for.
    """

    def __init__(self, desk: Desk, loop: asyncio.AbstractEventLoop) -> None:
        self._desk = desk
        self._loop = loop
        self._boxes: dict[asyncio.AbstractEventLoop, Mailbox] = {}
        self._values: dict[str, Future[Any]] = {}
        self._clerk = ThreadPoolExecutor(1, "motivus-client")

    @classmethod
    async def connect(cls) -> Self:
        """Connect to the hub of `WEBSOCKET_URI`, or else to the loop-back cluster.

        The variables come from the environment, or from `.env`.

        Raises:
            SystemExit: `APPLICATION_TOKEN` is bad; a sentence says so.
            NoHubError: nobody answers there (it is a `ConnectionError`, too).
        """
        settings = variables()
        settings.setdefault(TOKEN_VARIABLE, NO_TOKEN)
        loop = asyncio.get_running_loop()
        desk = Desk(read_hub(settings=settings), RECONNECT_SECONDS)
        desk.link.start()
        try:
            await Mailbox(loop).watch(desk.link.opened)
        except RefusedError as error:
            raise SystemExit(f"motivus: {error}") from None
        except BaseException:
            desk.link.stop()
            raise
        return cls(desk, loop)

    def call_async(self, task_definition: Mapping[str, Any]) -> str:
        """Send a task at once; return its id for `select_task`.

        Args:
            task_definition: `algorithm` and `algorithm_version`, or `wasm_path` and
                `loader_path`; `params`, `arguments`, `preload_files`, `result_files`,
                `data_link`, `public_cluster`.

        Raises:
            UsageError: a key holds something that it cannot.
            AlgorithmError: a local build cannot be read.
            ParamError: the params cannot be written as JSON.
        """
        definition = read_definition(task_definition)
        task = str(uuid.uuid4())
        value = self._values[task] = Future()
        value.set_running_or_notify_cancel()
        known = self._desk.algorithms.at_hand(definition.algorithm)
        if known is not None and definition.data_link is None:
            self._send(task, definition, known, value)
        else:
            # this may take a look into the registry, or a download
            self._clerk.submit(self._find_and_send, task, definition, value)
        return task

    def select_task(self, task_id: str) -> asyncio.Future[Any]:
        """Give a future of a task's value; None is the value of a task that failed.

        Raises:
            KeyError: there is no such task.
        """
        return self._box().watch(self._values[task_id])

    async def barrier(self, task_ids: Iterable[str]) -> list[Any]:
        """Wait for several tasks; give their values in the order of the ids.

        Raises:
            KeyError: there is no such task.
        """
        return list(await asyncio.gather(*map(self.select_task, task_ids)))

    def read_file(self, path: str | os.PathLike[str]) -> str:
        """Read a file as base64, for `preload_files`.

        Raises:
            OSError: it cannot be read.
        """
        with open(path, "rb") as file:
            return base64.b64encode(file.read()).decode("ascii")

    def empty_task(self) -> None:
        """Forget all tasks and their values; those that run go on."""
        self._values.clear()

    async def reply_result(self, task_id: str, is_valid: object) -> None:
        """Tell the cluster whether a result is of use, where it wants to know."""
        self._desk.link.validate(str(task_id), is_valid=bool(is_valid))

    def _box(self) -> Mailbox:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = self._loop
        box = self._boxes.get(loop)
        if box is None:
            box = self._boxes[loop] = Mailbox(loop)
        return box

    def _find_and_send(self, task: str, definition: Definition, value: Future[Any]) -> None:
        desk = self._desk
        try:
            resolved = desk.algorithms.resolve(definition.algorithm)
            if definition.data_link is not None:
                code = resolved.code
                if desk.link.native:
                    data = desk.algorithms.fetch(definition.data_link)
                    code = msgspec.structs.replace(code, data=data)
                resolved = Resolved(code, definition.data_link)
            self._send(task, definition, resolved, value)
        except ManipleError as error:
            # as in the earlier client: who awaits it ends with a sentence
            value.set_exception(SystemExit(f"motivus: {error}"))
        except BaseException as error:
            value.set_exception(error)

    def _send(
        self, task: str, definition: Definition, resolved: Resolved, value: Future[Any]
    ) -> None:
        call = Call(
            code=resolved.code,
            params=definition.params,
            arguments=definition.arguments,
            files=definition.files,
            results=list(definition.landings),
            limits=Limits(),
        )
        order = Order(call, definition.landings, definition.public, resolved.data_link)
        ticket = Ticket(order, task)
        ticket.ended.add_done_callback(lambda ended: self._ended(ticket, ended, value))
        self._desk.link.submit(ticket)

    def _ended(self, ticket: Ticket, ended: Future[Answer], value: Future[Any]) -> None:
        error = ended.exception()
        if error is not None:
            value.set_exception(error)
            return
        answer = ended.result()
        size = len(answer.stdout) + len(answer.stderr) + sum(map(len, answer.files.values()))
        if size <= _LARGE:
            keep(ticket.task, ticket.order, answer, value)
        else:
            # the connection is not to wait for the disk
            self._clerk.submit(keep, ticket.task, ticket.order, answer, value)


def keep(task: str, order: Order, answer: Answer, value: Future[Any]) -> None:
    """Put the files of an answer where they belong, and give its value on."""
    try:
        write_logs(task, answer)
        for there, here in order.landings.items():
            if here is not None and there in answer.files:
                land(here, answer.files[there], task)
        for there in answer.missing:
            warn(f"WARNING: {there} could not be retrieved: see {LOG_FOLDER}. UUID: {task}")
        if answer.ok:
            value.set_result(decode_param(answer.value))
        else:
            name = order.call.code.name or "the algorithm"
            warn(f"WARNING: {AlgorithmFailedError(task, name, answer)}")
            value.set_result(None)
    except BaseException as error:
        value.set_exception(error)


def warn(text: str) -> None:
    """Tell the user, where the earlier client did: on standard output."""
    print(text, file=sys.stdout, flush=True)


def write_logs(task: str, answer: Answer, folder: str = LOG_FOLDER) -> None:
    """Keep what a task printed; one that printed nothing leaves no file.

    Raises:
        StorageError: the folder cannot be written.
    """
    moment = time.strftime("%Y%m%d%H%M%S")
    for stream, data in (("stdout", answer.stdout), ("stderr", answer.stderr)):
        if data:
            land(os.path.join(folder, f"{moment}_{task}_{stream}.log"), data, task)
