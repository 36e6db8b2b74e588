"""The runner for images: a fresh container for each attempt, and none of them left behind.

Docker and Podman are asked through their socket: make, attach, start, look, remove, over one
connection that stays open. The output comes over a second one while the command runs and goes to
the same unlinked files as that of a process; the engine keeps nothing of it.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from typing import Any, Final

from maniple.errors import ManipleError, StorageError
from maniple.runner import Context, Outcome
from maniple.runners import container_apptainer as apptainer
from maniple.runners.container_box import Box
from maniple.runners.container_engine import asked, connect, said
from maniple.runners.container_leftovers import remove, remove_dead
from maniple.runners.container_outcome import (
    ended_early,
    explained,
    not_started,
    outcome_of,
    refused,
)
from maniple.runners.container_ready import Ready, new_name, prepare
from maniple.runners.container_recipe import NotTextError
from maniple.runners.container_stream import (
    ENDED,
    FIRST_NAP,
    LAST_WORDS_SECONDS,
    LONGEST_NAP,
    QUIET_SECONDS,
    Attached,
    Frames,
    to_file,
)
from maniple.runners.process import (
    GRACE_SECONDS,
    LOOK_SECONDS,
    Command,
    Output,
    collect,
    with_last_line,
)
from maniple.scratch import unnamed_file
from maniple.task import Task

_ATTACH: Final = {"stdout": 1, "stderr": 1, "stream": 1}


class ContainerRunner:
    """Runs a command in a container for each task.

    Args:
        command: makes the words from the param. They replace the image's own entry point.
        box: the image, and what a container may do and see; or what `prepare` made of it.
        live: pass output on at once instead of capturing it.
        output: called after each attempt that printed something.
        grace: seconds between TERM and KILL.

    Raises:
        UsageError, MissingExtraError: as `prepare` does.

    Example:
        >>> words = Template(["wc", "-l", "/data/{x}"]).words  # doctest: +SKIP
        >>> data = Mount("/srv/data", "/data")  # doctest: +SKIP
        >>> runner = ContainerRunner(words, Box("debian:12", mounts=(data,)))  # doctest: +SKIP
    """

    calls_meanwhile = True

    def __init__(
        self,
        command: Command,
        box: Box | Ready,
        *,
        live: bool = False,
        output: Output | None = None,
        grace: float = GRACE_SECONDS,
    ) -> None:
        ready = box if isinstance(box, Ready) else prepare(box)
        self._ready = ready
        self._command = command
        self._output = output
        self._grace = grace
        self._files = (1, 2) if live else (unnamed_file(os.O_APPEND), unnamed_file(os.O_APPEND))
        self._live = live
        self._api: Any = None
        self._left: list[str] = []
        self._recipe = ready.recipe()
        self._process: apptainer.ApptainerRunner | None = None
        if ready.place.program is not None:
            self._process = apptainer.ApptainerRunner(
                command,
                ready.place.program,
                ready.box,
                ready.image,
                live=live,
                output=output,
                grace=grace,
            )

    def run(self, task: Task, context: Context) -> Outcome:
        """Run one attempt in a new container, and remove that, whatever happens.

        Raises:
            StorageError: the engine is gone, or makes no containers any more.
        """
        if self._process is not None:
            return self._process.run(task, context)
        start = time.time()
        try:
            words = self._command(task.param, number=task.number, slot=context.slot)
            config = self._recipe.of(task, words, context.slot)
        except NotTextError as error:
            return not_started(start, error.cause, str(error))
        except ManipleError as error:
            return not_started(start, type(error).__name__, str(error))
        outcome = self._run(config, words, start, context)
        if not self._live:
            collect(task, outcome, self._files, self._output)
        return with_last_line(explained(outcome, self._ready.box))

    def _run(
        self, config: dict[str, Any], words: list[str], start: float, context: Context
    ) -> Outcome:
        from docker.errors import APIError

        api = self._opened()
        name = new_name()
        attached: Attached | None = None
        try:
            self._make(api, config, name)
            try:
                connection = asked(api.attach_socket, name, params=_ATTACH)
                attached = Attached(connection, Frames(*map(to_file, self._files)).feed)
                asked(api.start, name)
            except APIError as error:
                return refused(start, words[0], error)
            context.meanwhile()
            limit = None if context.time_limit is None else time.monotonic() + context.time_limit
            state = self._wait(api, name, attached, context, limit)
            if state is None:
                self._end(api, name, attached)
                return ended_early(start, context)
            attached.drain(LAST_WORDS_SECONDS)
            return outcome_of(start, state)
        finally:
            if attached is not None:
                attached.close()
            if not remove(api, name):
                self._left.append(name)

    def _opened(self) -> Any:
        if self._api is None:
            try:
                self._api = connect(self._ready.place, self._ready.version)
                remove_dead(self._api)
            except Exception as error:
                raise StorageError(f"the container engine fails: {said(error)}") from None
        return self._api

    def _make(self, api: Any, config: dict[str, Any], name: str) -> None:
        from docker.errors import APIError

        try:
            asked(api.create_container_from_config, config, name)
        except APIError as error:
            text = said(error)
            if "already in use" in text and name in text:
                # we were cut off before the answer to the first time came
                return
            raise StorageError(
                f"cannot make a container of {self._ready.box.image}: {text}"
            ) from None

    def _wait(
        self, api: Any, name: str, attached: Attached, context: Context, limit: float | None
    ) -> dict[str, Any] | None:
        """Take the output until the container has ended; None: time is up, or we must stop.

        Returns:
            The state that the engine tells.
        """
        poll = select.poll()
        poll.register(context.cancel, select.POLLIN)
        poll.register(attached, select.POLLIN)
        nap = FIRST_NAP
        look = time.monotonic() + QUIET_SECONDS
        while not context.cancel.requested:
            # a signal just before the wait does not end it, and its handler runs after it only
            left = LOOK_SECONDS if not attached.ended else nap
            if limit is not None:
                left = max(0.0, min(left, limit - time.monotonic()))
            ready = poll.poll(left * 1000)
            if context.cancel.requested:
                return None
            if not attached.ended and any(fd == attached.fileno() for fd, _ in ready):
                if attached.take():
                    look = time.monotonic() + QUIET_SECONDS
                    if limit is not None and time.monotonic() >= limit:
                        return None
                    continue
                poll.unregister(attached)
            if attached.ended or time.monotonic() >= look:
                look = time.monotonic() + QUIET_SECONDS
                state = _state(api, name)
                if state.get("Status") in ENDED:
                    return state
                # it has closed its outputs and goes on, or is silent
                nap = min(nap * 1.5, LONGEST_NAP)
            if limit is not None and time.monotonic() >= limit:
                return None
        return None

    def _end(self, api: Any, name: str, attached: Attached) -> None:
        """Ask it to end, and take its last words; whoever removes it does not ask.

        A SIGKILL is left to that: an engine waits for the end then, which cannot come while nobody
        takes what a command writes without pause.
        """
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        with suppress(DockerException, RequestException):
            api.kill(name, "SIGTERM")
            attached.drain(self._grace)

    def close(self) -> None:
        """Remove what could not be removed before, and let go of the connection."""
        if self._process is not None:
            self._process.close()
        if self._api is not None:
            for name in self._left:
                remove(self._api, name)
            self._api.close()
            self._api = None
        self._recipe.close()
        if not self._live:
            for fd in self._files:
                with suppress(OSError):
                    os.close(fd)
            self._files = (-1, -1)


def _state(api: Any, name: str) -> dict[str, Any]:
    from docker.errors import APIError

    try:
        state: dict[str, Any] = asked(api.inspect_container, name)["State"]
    except APIError as error:
        raise StorageError(f"a container was removed while it ran: {said(error)}") from None
    return state
