"""The loop of the drop-in package: params from an engine, through a callback, one at a time."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from maniple.callback.below import Below
from maniple.callback.callbacks import Callback
from maniple.callback.engines import (
    Adapted,
    Engine,
    QueueEngine,
    create_engine,
    settled,
    unsettle,
)
from maniple.callback.stop import Shield, Stop, Stopped
from maniple.errors import ManipleError, ParamError, UsageError
from maniple.event import Event, Step
from maniple.settings import CONFIG_NAME, Settings, read_settings

_log = logging.getLogger("maniple")
_PATIENCE: Final = 0.3
_SHOWN: Final = 200


class EntryPoint:
    """Runs a callback on every param of an engine.

    Args:
        callback: what is done with a param.
        engine: where params come from.
        reporter: takes an event per run, in `report`; `flush` and `close` are called where it
            has them. None: nobody is told. One that fails never stops the work.
        retries: how many more times a failed param is set up and processed; `teardown` and the
            acknowledgement follow the last.
        dry: only print what would be done.
        uid: name of this minion in its events.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        callback: Callback,
        engine: Engine,
        reporter: Any = None,
        *,
        retries: int = 0,
        dry: bool = False,
        uid: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.callback = callback
        self.engine = engine if isinstance(engine, Engine) else Adapted(engine)
        self.reporter = reporter
        self.uid = os.urandom(16).hex() if uid is None else uid
        self._retries = retries
        self._dry = dry
        self._clock = clock
        self._generation = 0
        self._current: list[Any] = []
        self._below: Below | None = None
        self._stop: Stop | None = None
        self._reporter_failed = False

    def run(self) -> None:
        """Work until the engine has nothing left.

        Raises:
            SystemExit: after Ctrl-C (status 130), SIGTERM (143) or SIGHUP (129): all that ran
                was ended, and the current param given back.
            ManipleError: the engine gave out.
        """
        self._below = Below()
        self._stop = Stop(self._last_resort)
        if isinstance(self.engine, QueueEngine):
            self.engine.guard = self._guard
        try:
            with self._stop:
                try:
                    self._preview() if self._dry else self._loop()
                except Stopped:
                    self._below.end()
                    self._give_back()
                finally:
                    self._close()
            number = self._stop.number
        except Stopped as late:
            number = late.number
        finally:
            self._stop = None
        if number is not None:
            raise SystemExit(128 + number)

    def _guard(self) -> Shield:
        return Shield(self._stop)

    def _check(self) -> None:
        if self._stop is not None:
            self._stop.check()

    def _loop(self) -> None:
        engine, clock = self.engine, self._clock
        while True:
            began = clock()
            try:
                param = engine.next()
            except ParamError as error:
                now = clock()
                _log.error("%s", error)
                self._report(None, [Step("next", began, now)], error, 1, ("", ""))
                continue
            self._check()
            if param is None:
                return
            unsettle(engine)
            self._current = [param]
            self._one(param, Step("next", began, clock()))
            self._current = []

    def _one(self, param: Any, first: Step) -> None:
        callback, engine = self.callback, self.engine
        origin = engine.origin(param)
        steps = [first]
        attempt = 0
        while True:
            attempt += 1
            error = self._do(steps, "setup", param, callback.setup, param, engine)
            if error is None:
                error = self._do(steps, "process", param, callback.process, param, engine)
            if error is None or attempt > self._retries:
                break
            self._report(param, steps, error, attempt, origin)
            now = self._clock()
            steps = [Step("next", now, now)]
        try:
            late = self._do(steps, "teardown", param, callback.teardown, param, engine, error)
            if not settled(engine):
                late = self._do(None, "acknowledgement", param, engine.ack, param) or late
        except Stopped:
            # the signal came after the acknowledgement: the param is done
            if settled(engine):
                self._report(param, steps, error, attempt, origin)
            raise
        self._report(param, steps, error or late, attempt, origin)

    def _do(
        self,
        steps: list[Step] | None,
        name: str,
        param: Any,
        function: Callable[..., Any],
        *arguments: Any,
    ) -> BaseException | None:
        """Carry out one step; return what it raised, SystemExit and KeyboardInterrupt included."""
        began = self._clock()
        error: BaseException | None = None
        try:
            function(*arguments)
        except Stopped:
            raise
        except BaseException as raised:
            error = raised
        self._check()
        if steps is not None:
            steps.append(Step(name, began, self._clock()))
        if error is not None:
            _log.error("%s of param %s failed", name, _short(param), exc_info=error)
        return error

    def _report(
        self,
        param: Any,
        steps: list[Step],
        error: BaseException | None,
        attempt: int,
        origin: tuple[str, str],
    ) -> None:
        self._generation += 1
        if self.reporter is None:
            return
        event = Event(
            uid=self.uid,
            generation=self._generation,
            start=steps[0].start,
            end=steps[-1].end,
            param=param,
            error=None if error is None else _text(error),
            atomic_actions=steps,
            nodename=os.uname().nodename,
            oar_job_id=os.environ.get("OAR_JOB_ID", ""),
            task=origin[1],
            attempt=attempt,
            cause="" if error is None else _cause(error),
            pid=os.getpid(),
            queue=origin[0],
        )
        with self._guard():
            self._tell(lambda reporter: reporter.report(event))
            self._tell(lambda reporter: _call(reporter, "flush"))

    def _tell(self, word: Callable[[Any], None]) -> None:
        try:
            word(self.reporter)
        except Stopped:
            raise
        except BaseException as error:
            if not self._reporter_failed:
                _log.warning("the reporter failed, the work goes on: %s", _last(error))
            self._reporter_failed = True

    def _preview(self) -> None:
        for param in self.engine.preview():
            try:
                print(self.callback.describe(param), flush=True)
            except (Stopped, BrokenPipeError):
                raise
            except BaseException as error:
                _log.error("no command for param %s", _short(param), exc_info=error)
            self._check()

    def _give_back(self) -> None:
        if self._current and not settled(self.engine):
            try:
                self.engine.nack(self._current[0])
            except Exception as error:
                _log.warning("param %s was not given back: %s", _short(self._current[0]), error)
        self._current = []

    def _close(self) -> None:
        # a signal has no say any more: the watcher sees to it that this ends
        with self._guard():
            if self.reporter is not None:
                self._tell(lambda reporter: _call(reporter, "close"))
            try:
                _call(self.engine, "close")
            except ManipleError as error:
                _log.warning("%s", error)

    def _last_resort(self, number: int) -> None:
        """End the process from the watcher's thread: the main thread did not listen."""
        if isinstance(self.engine, QueueEngine):
            with suppress(BaseException):
                self.engine.abandon(_PATIENCE)
        elif self._current and not settled(self.engine):
            # an engine of the user's may hang just as the rest does
            back = threading.Thread(target=self._give_back, daemon=True)
            back.start()
            back.join(_PATIENCE)
        with suppress(BaseException):
            if self._below is not None:
                self._below.end()
        os._exit(128 + number)


def minionizer(callback: Callback) -> EntryPoint:
    """Build the loop that the environment, `.env` and `.minionize.yml` ask for.

    What `.env` adds is put into the environment, for the programs that are run.

    Raises:
        ManipleError: a setting is missing or wrong, or the engine cannot be opened; nothing has
            been taken then.
    """
    settings = load_settings()
    reporter = create_reporter(settings=settings)
    engine = create_engine(settings)
    return EntryPoint(callback, engine, reporter, retries=settings.retries, dry=settings.dry)


def load_settings() -> Settings:
    """Read the settings of the working directory and the environment, and apply `.env`."""
    settings = read_settings(os.environ, _read(".env"), _read(CONFIG_NAME))
    os.environ.update(settings.additions)
    return settings


def _read(name: str) -> str:
    try:
        with open(name, encoding="utf-8") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{name} cannot be read: {reason}") from None


def create_reporter(name: str | None = None, *, settings: Settings | None = None) -> Any:
    """Make a reporter by its name: `null`, `stdout` or `json`; by default MINION_REPORTER's.

    Raises:
        UsageError: no reporter has this name.
    """
    from maniple import plugins

    settings = settings or load_settings()
    name = settings.reporter if name is None else name
    reporter = plugins.find("maniple.reporters", name)
    return reporter(settings.reporter_json_directory) if name == "json" else reporter()


def _call(thing: Any, name: str) -> None:
    if (method := getattr(thing, name, None)) is not None:
        method()


def _short(param: Any) -> str:
    try:
        text = repr(param)
    except Exception:
        text = f"<{type(param).__name__}>"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _text(error: BaseException) -> str:
    """Write an error for an event: with a traceback, unless a command's status says it all."""
    if _status(error) is not None or isinstance(error, ManipleError):
        return str(error)
    return "".join(traceback.format_exception(error))


def _last(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]


def _cause(error: BaseException) -> str:
    code = _status(error)
    if code is None:
        return type(error).__name__
    if code >= 0:
        return f"exit {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _status(error: BaseException) -> int | None:
    """Give the exit status that an error tells of, of a process or a container."""
    # neither library is imported only to compare with a class that cannot have been raised
    for module, name, field in (
        ("subprocess", "CalledProcessError", "returncode"),
        ("docker.errors", "ContainerError", "exit_status"),
    ):
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(error, kind):
            return int(getattr(error, field))
    return None
