"""Sinks that come with Maniple."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Any, TextIO

from maniple.errors import StorageError
from maniple.network.job import Job
from maniple.network.pipe import Pipe


class CSVSink(Job):
    """Writes a row for each set of blocks, flushed at once; the header holds the pipes' names.

    Args:
        path: of the file, relative to the job's working directory. It is made anew, unless the job
            is started again in the same run.
        inputs: a column each.
        name: as in `Job`.
    """

    def __init__(self, path: str, inputs: Sequence[Pipe | str], *, name: str | None = None) -> None:
        super().__init__(inputs, name=name)
        self.path = path
        self._file: TextIO | None = None
        self._write: Any = None

    def setup(self) -> None:
        """Open the file.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            self._file = open(  # noqa: SIM115 - open as long as the job
                self.path, "a" if self.restarted else "w", newline="", encoding="utf-8"
            )
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error.strerror}") from None
        self._write = csv.writer(self._file, lineterminator="\n").writerow
        if not self.restarted:
            self._write([pipe.name for pipe in self.inputs])
            self._file.flush()

    def run(self, *values: Any) -> None:
        """Write one row."""
        assert self._file is not None  # noqa: S101 - opened by setup
        self._write(values)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
