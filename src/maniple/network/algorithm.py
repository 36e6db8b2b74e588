"""An algorithm as a job: each set of blocks is a call of its `main`, in a sandbox."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from maniple.algorithm.call import Answer, Call, Code, Limits
from maniple.algorithm.package import Package
from maniple.algorithm.sandbox import Parts, Sandbox
from maniple.algorithm.shelf import Shelf
from maniple.errors import AlgorithmError, ManipleError
from maniple.network.job import Job
from maniple.network.pipe import Pipe
from maniple.runner import Cancel
from maniple.runners.algorithm import unpacked
from maniple.runners.algorithm_sandboxes import Sandboxes, require
from maniple.task import decode_param, encode_param

_SHOWN: Final = 4000


class AlgorithmJob(Job):
    """Calls an algorithm for each set of blocks: they are the arguments of `main`.

    Its value is the block for the output; with several outputs it is a list of a block for each.
    What is not plain data but has a method `tolist` (arrays of numpy) goes as lists. A source calls
    the algorithm once. As with any job, a value of None (JSON's null) ends it.

    A call that fails ends the network, with what the algorithm wrote to standard error.

    Args:
        algorithm: `NAME`, `NAME@VERSION`, the path of a package, or the package itself.
        inputs: as in `Job`.
        outputs: as in `Job`.
        name: the algorithm's name by default.
        arguments: words of the algorithm's own command line.
        limits: what one call may use.

    Raises:
        AlgorithmError: there is no such algorithm, or nothing here can run it.
        MissingExtraError: what runs it is not installed.

    Example:
        >>> AlgorithmJob("kmeans@0.0.1", inputs=["points", "k"], outputs=["labels"])
        ... # doctest: +SKIP
    """

    def __init__(
        self,
        algorithm: str | Package,
        inputs: Sequence[Pipe | str] = (),
        outputs: Sequence[Pipe | str] = (),
        *,
        name: str | None = None,
        arguments: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> None:
        package = Shelf().find(algorithm) if isinstance(algorithm, str) else algorithm
        require(package.kind)
        super().__init__(inputs, outputs, name=name or package.name)
        self.package = package
        self.code: Code = package.code
        self.arguments = [str(word) for word in arguments]
        self.limits = limits or Limits()
        self._parts: Parts | None = None
        self._sandboxes: Sandboxes | None = None
        self._sandbox: Sandbox | None = None
        self._cancel: Cancel | None = None

    def setup(self) -> None:
        """Prepare the sandbox; it dies with this process.

        Raises:
            StorageError: the cache cannot be written.
        """
        self._cancel = Cancel()
        self._sandboxes = Sandboxes()
        self._parts = unpacked(self.package)
        self._sandbox = self._sandboxes.of(self.code, self._parts)

    def run(self, *inputs: Any) -> Any:
        """Call the algorithm.

        Raises:
            AlgorithmError: the call failed, a block is nothing that JSON can hold, or the value
                does not fit the outputs.
        """
        answer = self._answer(inputs)
        if not answer.ok:
            raise AlgorithmError(_told(self.code.name, answer))
        value = decode_param(answer.value)
        outputs = len(self.outputs)
        if outputs < 2:  # noqa: PLR2004 - one block is the value itself
            return value
        if not isinstance(value, list) or len(value) != outputs:
            what = f"a list of {len(value)}" if isinstance(value, list) else type(value).__name__
            raise AlgorithmError(
                f"{self.code.name} has {outputs} outputs, and gave {what}: a list of {outputs} is"
                " needed, with the block of each"
            )
        return tuple(value)

    def _answer(self, inputs: Sequence[Any]) -> Answer:
        assert self._sandbox is not None  # noqa: S101 - made by setup
        assert self._parts is not None  # noqa: S101
        assert self._cancel is not None  # noqa: S101
        try:
            params = encode_param(_plain(inputs))
            call = Call(self.code, params, self.arguments, limits=self.limits)
            return self._sandbox.run(call, self._parts, self._cancel)
        except (ManipleError, TypeError) as error:
            raise AlgorithmError(f"{self.code.name} cannot be called: {error}") from None

    def values(self) -> Iterator[Any]:
        """Give the block of a source: that of one call."""
        yield self.run()

    def close(self) -> None:
        """End the sandbox."""
        if self._sandboxes is not None:
            self._sandboxes.close()
        if self._cancel is not None:
            self._cancel.close()


def _plain(blocks: Sequence[Any]) -> Any:
    """Make plain data of blocks; what JSON cannot hold is found when it is written."""
    return msgspec.to_builtins(list(blocks), enc_hook=_lists)


def _lists(value: Any) -> Any:
    listed = getattr(value, "tolist", None)
    if listed is None:
        raise TypeError(f"a {type(value).__name__} is nothing that JSON can hold")
    return listed()


def _told(name: str, answer: Answer) -> str:
    text = f"{name} failed: {answer.error or answer.cause}"
    said = " ".join(answer.stderr.decode("utf-8", "replace").split())[-_SHOWN:]
    return f"{text}: {said}" if said and said not in text else text
