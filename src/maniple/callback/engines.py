"""Engines: where the params of the drop-in package come from, one at a time."""

from __future__ import annotations

import functools
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, cast
from urllib.parse import quote

from maniple import plugins
from maniple.callback.keeper import Keeper
from maniple.errors import NotSupportedError, ParamError, UsageError
from maniple.queue import Lease, Queue, Remote, State
from maniple.settings import Settings
from maniple.urls import open_queue, redact

_log = logging.getLogger("maniple")
_SHORTEST_WAIT: Final = 0.02
_LONGEST_WAIT: Final = 0.5
_SHOWN: Final = 80


class Engine:
    """Gives params one by one, and is told what became of each.

    Subclass it, with `next`, `ack` and `nack`. Neither `__init__` need be called nor anything
    else be overridden.
    """

    # a long name, for subclasses are free in theirs: the last param was acknowledged or given back
    _maniple_settled: bool = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("ack", "nack"):
            if (method := cls.__dict__.get(name)) is not None and callable(method):
                setattr(cls, name, _settling(method))

    def next(self) -> Any:
        """Give the next param; None when nothing is left: the loop ends.

        Raises:
            ParamError: one param cannot be read and has been passed over; the loop goes on.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method next")

    def ack(self, param: Any) -> None:  # noqa: ARG002 - for those who override it
        """Take note that a param is done."""
        self._maniple_settled = True

    def nack(self, param: Any) -> None:  # noqa: ARG002 - for those who override it
        """Take a param back, to be given again."""
        self._maniple_settled = True

    def close(self) -> None:
        """Let go of everything; what is still out goes back."""

    def preview(self) -> Iterator[Any]:
        """Give every param, for a dry run; all of them are back at the end."""
        taken = []
        try:
            while (param := self.next()) is not None:
                taken.append(param)
                yield param
        finally:
            for param in taken:
                self.nack(param)

    def origin(self, param: Any) -> tuple[str, str]:  # noqa: ARG002 - for those who know
        """Tell the URL of the queue that a param came from and its task's id, where known."""
        return "", ""


def _settling(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def note(self: Engine, *args: Any, **options: Any) -> Any:
        self._maniple_settled = True
        return method(self, *args, **options)

    return note


def settled(engine: Engine) -> bool:
    """Tell whether the last param was acknowledged or given back."""
    return engine._maniple_settled  # noqa: SLF001 - of this module


def unsettle(engine: Engine) -> None:
    """Note that a param has been taken."""
    engine._maniple_settled = False  # noqa: SLF001 - of this module


class Adapted(Engine):
    """An engine of a class that is no `Engine` but has its three methods."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def next(self) -> Any:
        """Give the next param."""
        return self._engine.next()

    def ack(self, param: Any) -> None:
        """Pass it on."""
        self._engine.ack(param)

    def nack(self, param: Any) -> None:
        """Pass it on."""
        self._engine.nack(param)

    def close(self) -> None:
        """Pass it on, where there is something to close."""
        if (close := getattr(self._engine, "close", None)) is not None:
            close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


class QueueEngine(Engine):
    """Any queue as an engine; leases are renewed while their params are at work.

    Args:
        open_it: opens the queue; called again when the engine is used after `close`.
        ttl: seconds that a lease lasts unless it is renewed.

    Attributes:
        guard: makes a part of the work that no signal interrupts; `EntryPoint` sets it.
    """

    guard: Callable[[], AbstractContextManager[None]] = staticmethod(nullcontext)

    def __init__(self, open_it: Callable[[], Queue], ttl: float) -> None:
        self._open = open_it
        self._ttl = ttl
        self._out: list[tuple[Any, Lease]] = []
        self._keeper: Keeper | None = Keeper(open_it(), ttl)

    @property
    def _kept(self) -> Keeper:
        if self._keeper is None:
            self._keeper = Keeper(self._open(), self._ttl)
        return self._keeper

    def next(self) -> Any:
        """Lease the next param; wait while others hold some that may come back."""
        wait = _SHORTEST_WAIT
        since = time.monotonic()
        while True:
            with self.guard():
                keeper = self._kept
                if leases := keeper.lease(1, wait):
                    return self._take(leases[0])
                stats = keeper.stats()
                quiet = 0.0
                if stats.leased is None and isinstance(keeper.queue, Remote):
                    # nobody knows what others hold: it comes back within that time
                    quiet = keeper.queue.quiet
                if stats.drained and time.monotonic() - since >= quiet:
                    return None
            wait = min(wait * 1.5, _LONGEST_WAIT)

    def _take(self, lease: Lease) -> Any:
        try:
            param = self._param(lease)
        except ParamError:
            self._kept.ack([lease])
            raise
        if param is None:
            # the loop would take it for the end
            self._kept.ack([lease])
            raise ParamError(f"task {lease.task.id} has the param null, which is none: left out")
        self._out.append((param, lease))
        return param

    def _param(self, lease: Lease) -> Any:
        return lease.task.param

    def ack(self, param: Any) -> None:
        """Mark it done."""
        with self.guard():
            if (lease := self._pop(param)) is not None and self._kept.ack([lease]):
                _log.warning("task %s was run elsewhere too: its lease had lapsed", lease.task.id)

    def nack(self, param: Any) -> None:
        """Give it back at once."""
        with self.guard():
            if (lease := self._pop(param)) is not None:
                self._kept.nack([lease])

    def _pop(self, param: Any) -> Lease | None:
        position = self._position(param)
        return None if position is None else self._out.pop(position)[1]

    def _position(self, param: Any) -> int | None:
        out = self._out
        same = (at for at, (other, _) in enumerate(out) if other is param)
        equal = (at for at, (other, _) in enumerate(out) if other == param)
        return next(same, None) if out and any(p is param for p, _ in out) else next(equal, None)

    def close(self) -> None:
        """Give back what is out, and close the queue."""
        self._leave(-1)

    def abandon(self, patience: float) -> None:
        """Do as `close`, if nobody is in a call of the queue's for longer than `patience` s."""
        self._leave(patience)

    def _leave(self, patience: float) -> None:
        keeper, self._keeper = self._keeper, None
        self._out.clear()
        if keeper is not None:
            keeper.close(patience)

    def preview(self) -> Iterator[Any]:
        """List what waits, without taking it."""
        queue = self._kept.queue
        try:
            for state in (State.WAITING, State.DELAYED):
                for record in queue.records(state):
                    yield record.task.param
        except NotSupportedError:
            raise UsageError(
                f"a dry run is not possible with {redact(queue.url)}: it cannot list its tasks"
            ) from None

    def origin(self, param: Any) -> tuple[str, str]:
        """Tell the queue's URL and the task's id."""
        position = self._position(param)
        task = "" if position is None else self._out[position][1].task.id
        return redact(self._kept.queue.url), task


class FileEngine(QueueEngine):
    """The lines of a file or of standard input.

    Args:
        path: of the file; nothing or `-` for standard input.
        decoder: `identity` (a param is the line's text) or `json` (what the line says).
        ttl: as in `QueueEngine`.
    """

    def __init__(self, path: str, decoder: str, ttl: float) -> None:
        self._json = decoder == "json"
        super().__init__(lambda: open_queue(f"file:{path}", create=False), ttl)

    def _param(self, lease: Lease) -> Any:
        text = lease.task.param
        if not self._json:
            return text
        try:
            # read by ourselves: the order of keys is part of the text of a param
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ParamError(f"this line is not valid JSON ({error}): {text[:_SHOWN]}") from None

    def preview(self) -> Iterator[Any]:
        """Read the lines; none of them is run."""
        while True:
            try:
                param = self.next()
            except ParamError as error:
                _log.error("%s", error)
                continue
            if param is None:
                return
            yield param
            self.ack(param)


class ExecoEngine(QueueEngine):
    """A `ParamSweeper` folder: params are the very objects that the sweep was made of."""

    def __init__(self, directory: str, ttl: float) -> None:
        super().__init__(lambda: open_queue(f"execo:{directory}", create=False), ttl)

    def _param(self, lease: Lease) -> Any:
        return cast("Any", self._kept.queue).original(lease)

    def preview(self) -> Iterator[Any]:
        """List what waits, without taking it."""
        yield from cast("Any", self._kept.queue).waiting_originals()

    def next(self) -> Any:
        """Lease the next param, and say at the end what was left alone."""
        param = super().next()
        if param is None and (count := cast("Any", self._kept.queue).foreign()):
            _log.warning(
                "%d params of %s are in progress with nobody's name on them (taken by another"
                " tool, or long ago) and were left alone: `maniple queue retry` with their id"
                " runs them again",
                count,
                self._kept.queue.url,
            )
        return param


def create_engine(settings: Settings) -> Engine:
    """Open the engine that the settings name.

    Raises:
        UsageError: no such engine.
        QueueError: what it reads from is missing, damaged or not permitted.
        MissingExtraError: its library is not installed.
    """
    name, colon, rest = settings.engine.partition(":")
    scheme = name.lower()
    ttl = settings.lease
    if scheme == "execo":
        return ExecoEngine(rest or settings.execo_persistence_dir, ttl)
    if scheme == "file":
        return FileEngine(rest or settings.file_path, settings.file_decoder, ttl)
    if not colon and scheme in {"google", "pulsar"}:
        return QueueEngine(_broker(settings), ttl)
    if not name.strip():
        raise UsageError("MINION_ENGINE is empty: set it to execo, file or a queue's URL")
    url = settings.engine if colon else f"{scheme}:"
    return QueueEngine(lambda: open_queue(url, create=False), ttl)


def _broker(settings: Settings) -> Callable[[], Queue]:
    """Make the URL of a broker's queue."""
    if settings.engine.lower() == "google":
        backend, decoder = "gcps", settings.google_decoder
        names = (settings.google_project_id, settings.google_topic_id, settings.google_subscription)
        url = f"gcps://{'/'.join(quote(name, safe='') for name in names)}"
    else:
        backend, decoder = "pulsar", settings.pulsar_decoder
        place, _, options = settings.pulsar_connection.partition("?")
        if not place.startswith(("pulsar://", "pulsar+ssl://")):
            shown = redact(settings.pulsar_connection)
            raise UsageError(f"PULSAR_CONNECTION={shown}: write pulsar://HOST:PORT")
        url = f"{place.rstrip('/')}/{quote(settings.pulsar_topic, safe='')}"
        url += f"?subscription={quote(settings.pulsar_subscription, safe='')}"
        url += f"&{options}" if options else ""
    # a library that is missing is said before any param is taken
    plugins.find("maniple.queues", backend)
    return lambda: open_queue(url, create=False, decoder=decoder)
