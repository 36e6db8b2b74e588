"""The folder of a `ParamSweeper`: checked before execo touches it, and kept open.

execo is used through its documented interface only, and imported when a folder is opened.
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from maniple import plugins
from maniple.errors import QueueError, StorageError
from maniple.queues.execo_index import Index
from maniple.queues.execo_notes import OWNERS, Notes
from maniple.queues.execo_values import original_of, task_of
from maniple.task import Task

_ORDER: Final = ".order"
_SWEEPS: Final = "sweeps"
_DONE: Final = "done"
_IN_PROGRESS: Final = "inprogress"


class Folder:
    """A sweep's folder with our notes in it.

    Args:
        directory: its path.
        create: accept one that does not exist yet, and make it.

    Raises:
        QueueError: it is missing, of another kind, damaged or not permitted.
        MissingExtraError: execo is not installed.

    Attributes:
        notes: who has taken what.
        index: the numbers of the tasks; of the sweeper that `work` gave last.
    """

    def __init__(self, directory: str, *, create: bool) -> None:
        self.directory = directory
        self.notes = Notes(directory)
        self._execo = _library()
        self._sweeper: Any = None
        self._stamp: tuple[int, int, int] | None = None
        self._check(create=create)
        with self.work():
            pass

    @contextmanager
    def work(self) -> Iterator[Any]:
        """Give the sweeper (None: an empty sweep), with everybody else kept out.

        Another sweeper than last time may come, when somebody changed what it iterates on.

        Raises:
            QueueError, StorageError: the folder gave out, or is damaged.
        """
        with self._errors(), self.notes.locked():
            self._load()
            yield self._sweeper

    def _check(self, *, create: bool) -> None:
        """Look before execo does: it would make files in whatever folder it is given."""
        folder = self.directory
        how = "ParamSweeper(DIR, sweeps=..., save_sweeps=True)"
        try:
            if create:
                os.makedirs(folder, exist_ok=True)
            content = os.listdir(folder)
        except FileNotFoundError:
            raise QueueError(
                f"there is no folder {folder} of a sweep: make it with {how}, or name another"
            ) from None
        except (FileExistsError, NotADirectoryError):
            raise QueueError(f"{folder} is a file, not the folder of a ParamSweeper") from None
        except OSError as error:
            raise QueueError(f"cannot use the folder {folder}: {error.strerror}") from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise QueueError(f"cannot write to the folder {folder}: no permission")
        if OWNERS in content or (create and not content):
            return
        if _SWEEPS not in content:
            raise QueueError(f"{folder} is not the folder of a ParamSweeper: make it with {how}")
        if not create and not os.path.getsize(os.path.join(folder, _SWEEPS)):
            raise QueueError(
                f"the ParamSweeper of {folder} has not saved its params: make it with {how}"
            )

    def _load(self) -> None:
        """Open the sweep, or open it again when somebody changed what it iterates on."""
        path = os.path.join(self.directory, _SWEEPS)
        try:
            status = os.stat(path)
        except FileNotFoundError:
            status = None
        if status is None or not status.st_size:
            if self._sweeper is not None or self._stamp is None:
                self._sweeper = None
                self._indexed()
            self._stamp = (0, 0, 0)
            return
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp == self._stamp and self._sweeper is not None:
            return
        try:
            self._sweeper = self._execo.ParamSweeper(self.directory)
        except OSError:
            raise
        except Exception as error:
            # a pickle may raise anything
            raise QueueError(
                f"the sweep in {self.directory} is damaged: {type(error).__name__}: {error}"
            ) from None
        self._indexed()
        self._stamp = stamp

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise QueueError(
                f"not permitted in the sweep's folder {self.directory}: {error.filename}"
            ) from None
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StorageError(f"the sweep in {self.directory} cannot be used: {reason}") from None

    def _indexed(self) -> None:
        path = os.path.join(self.directory, OWNERS, _ORDER)
        self.index = Index(path, [] if self._sweeper is None else self._sweeper.get_sweeps())

    def extend(self, tasks: list[Task]) -> int:
        """Add tasks that are not in the sweep; return how many. Call it within `work`.

        Of params that Python holds to be equal (1, 1.0 and True) execo keeps the first only.
        """
        mapping = self._execo.HashableDict
        every = [] if self._sweeper is None else self.index.in_order(self._sweeper.get_sweeps())
        have = set(every)
        count = len(every)
        keys = []
        for task in tasks:
            original = original_of(task.param, mapping)
            if original not in have:
                have.add(original)
                every.append(original)
                keys.append(task.id)
        if keys:
            self.index.append(keys)
            self.replace(every)
        return len(every) - count

    def replace(self, originals: list[Any], *, forget_done: bool = False) -> None:
        """Set what is iterated on. Call it within `work`.

        Args:
            originals: what execo is to iterate on.
            forget_done: let go of what execo knows as done, too.
        """
        if forget_done:
            # execo's documentation allows this, also in mid-work
            self._erase(_DONE)
        if not originals:
            # execo takes an empty list for none given
            self._erase(_SWEEPS, _IN_PROGRESS)
            self._sweeper = None
        elif self._sweeper is None:
            sweeper = self._execo.ParamSweeper
            self._sweeper = sweeper(self.directory, sweeps=originals, save_sweeps=True)
        else:
            self._sweeper.set_sweeps(originals, save_sweeps=True)
            self._sweeper.full_update()
        self._indexed()
        status = os.stat(os.path.join(self.directory, _SWEEPS))
        self._stamp = (status.st_mtime_ns, status.st_size, status.st_ino)

    def _erase(self, *names: str) -> None:
        for name in names:
            with open(os.path.join(self.directory, name), "wb"):
                pass

    def close(self) -> None:
        """Let go of it."""
        self.notes.close()
        self._sweeper = None


def in_progress(sweeper: Any) -> dict[str, Any]:
    """List what is in progress now, by task id.

    execo's own list of it holds what this process has taken; what others have follows from the
    rest, which `update` reads from the folder.
    """
    sweeper.update()
    sweeps, remaining, skipped, _, done = sweeper.stats()
    return {task_of(one).id: one for one in set(sweeps) - remaining - skipped - done}


def _library() -> Any:
    from importlib import import_module

    try:
        with warnings.catch_warnings():
            # they are not for its users to mend
            warnings.simplefilter("ignore")
            return import_module("execo_engine.sweep")
    except ImportError:
        raise plugins.missing_extra("execo", "a queue execo:DIR") from None
