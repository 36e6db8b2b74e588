"""What `maniple run --algorithm` makes of each task: a call, and files of what it leaves."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final, NamedTuple

from maniple.algorithm.call import Answer, Call, Code, Limits
from maniple.algorithm.sandbox import Parts
from maniple.algorithm.shelf import Shelf
from maniple.errors import AlgorithmError, StorageError, UsageError
from maniple.runners.algorithm import AlgorithmRunner, params_of, unpacked
from maniple.runners.algorithm_sandboxes import require
from maniple.runners.process import Output
from maniple.sweep.template import Template
from maniple.task import Task, encode_param

_ALONE: Final = re.compile(r"\{([^{}]*)\}")
_Value = Callable[[Any, int, int], Any]
_Text = Callable[[Any, int, int], str]


class Order(NamedTuple):
    """What is to be called, as the command line says it; words may hold placeholders.

    Attributes:
        algorithm: `NAME`, `NAME@VERSION` or the path of a package.
        words: the arguments of `main`, or None: the param itself.
        arguments: words of the algorithm's own command line.
        files: `THERE=HERE`: what it finds, and where that is on this machine.
        results: `THERE=HERE`: what it leaves, and where that goes.
        limits: what a call may use.
    """

    algorithm: str
    words: Sequence[str] | None = None
    arguments: Sequence[str] = ()
    files: Sequence[str] = ()
    results: Sequence[str] = ()
    limits: Limits = Limits()


class Recipe:
    """Makes the calls of one algorithm; the same in every minion of a crew.

    Raises:
        AlgorithmError: there is no such algorithm, or nothing here can run it.
        MissingExtraError: what runs it is not installed.
        UsageError: a word makes no sense, or a file cannot be read.
        StorageError: the cache cannot be written.
    """

    def __init__(self, order: Order) -> None:
        package = Shelf().find(order.algorithm)
        require(package.kind)
        self.code: Code = package.code
        self.parts: Parts = unpacked(package)
        self._limits = order.limits
        words = order.words
        self._words = None if words is None else [_value(word) for word in words]
        self._arguments = [_text(word) for word in order.arguments]
        self._files = [_file(*_pair(text, "--file")) for text in order.files]
        self._results = [_result(*_pair(text, "--result")) for text in order.results]
        for named in (self._files, self._results):
            paths = [there for there, _ in named]
            if len(set(paths)) < len(paths):
                raise UsageError(f"{max(paths, key=paths.count)} is named twice")
        texts = (*(words or ()), *order.arguments, *order.files, *order.results)
        # as for commands: where no word says what becomes of the param, it comes last
        self._appended = not any(Template((text,)).has_placeholders for text in texts)

    def params(self, param: Any, number: int, slot: int) -> bytes:
        """Make the params of `main`, as JSON.

        Raises:
            UsageError: the param lacks a field.
        """
        if self._words is None:
            return params_of(param)
        values = [get(param, number, slot) for get in self._words]
        if self._appended:
            values += _values(param)
        return encode_param(values)

    def check(self, param: Any) -> None:
        """Make sure that this param can fill the words.

        Raises:
            UsageError: it lacks a field.
        """
        self.words(param, number=1, slot=1)

    def words(self, param: Any, *, number: int, slot: int) -> list[str]:
        """Show the call as words, for people.

        Raises:
            UsageError: the param lacks a field.
        """
        at = (param, number, slot)
        shown = [self.code.name]
        shown += [encode_param(value).decode() for value in json.loads(self.params(*at))]
        for get in self._arguments:
            shown += ["--arg", get(*at)]
        for there, source in self._files:
            shown += ["--file", f"{there}={source.path(*at)}"]
        for there, here in self._results:
            shown += ["--result", f"{there}={here(*at)}"]
        return shown

    def runner(self, slot: int, output: Output | None) -> AlgorithmRunner:
        """Make what runs the tasks of one minion."""
        at_work = _AtWork(self, slot)
        return AlgorithmRunner(
            at_work.call, lambda _: self.parts, deliver=at_work.deliver, output=output
        )


class _AtWork:
    """A recipe in one minion, which runs one task at a time."""

    def __init__(self, recipe: Recipe, slot: int) -> None:
        self._recipe = recipe
        self._slot = slot
        self._places: dict[str, str] = {}

    def call(self, task: Task) -> Call:
        recipe = self._recipe
        at = (task.param, task.number, self._slot)
        self._places = {there: here(*at) for there, here in recipe._results}  # noqa: SLF001 - of this file
        return Call(
            recipe.code,
            recipe.params(*at),
            [get(*at) for get in recipe._arguments],  # noqa: SLF001
            {there: source.content(*at) for there, source in recipe._files},  # noqa: SLF001
            list(self._places),
            recipe._limits,  # noqa: SLF001
        )

    def deliver(self, task: Task, answer: Answer) -> None:
        for there, content in answer.files.items():
            here = self._places.get(there)
            if here is not None:
                _write(here, content)
        if not answer.ok:
            return
        for there in answer.missing:
            print(
                f"maniple: task {task.number} ({_cut(task.data)}) left no {there}",
                file=sys.stderr,
                flush=True,
            )


class _Source:
    """A file of this machine, read once where no task changes its name."""

    def __init__(self, word: str) -> None:
        self.path = _text(word)
        self._content: bytes | None = None
        if not Template((word,)).has_placeholders:
            try:
                self._content = _read(self.path(None, 1, 1))
            except AlgorithmError as error:
                raise UsageError(f"--file: {error}") from None

    def content(self, param: Any, number: int, slot: int) -> bytes:
        if self._content is not None:
            return self._content
        return _read(self.path(param, number, slot))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise AlgorithmError(f"cannot read {path}: {error.strerror}") from None


def _write(path: str, content: bytes) -> None:
    new = f"{path}.{os.getpid()}.part"
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(new, "wb") as file:
            file.write(content)
        os.replace(new, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(new)
        raise StorageError(f"cannot write the result file {path}: {error.strerror}") from None


def _pair(text: str, option: str) -> tuple[str, str]:
    there, equals, here = text.partition("=")
    if not equals or not here or not there.startswith("/") or there.endswith("/"):
        raise UsageError(
            f"{option} {text!r}: write THERE=HERE, THERE an absolute path as the algorithm sees it"
        )
    return os.path.normpath(there), here


def _file(there: str, here: str) -> tuple[str, _Source]:
    return there, _Source(here)


def _result(there: str, here: str) -> tuple[str, _Text]:
    get = _text(here)
    fixed = here[: here.find("{")] if "{" in here else here
    folder = os.path.abspath(os.path.dirname(fixed))

    def place(param: Any, number: int, slot: int) -> str:
        path = get(param, number, slot)
        # where the user has named a folder, no param leads out of it
        if fixed and os.path.commonpath([folder, os.path.abspath(path)]) != folder:
            raise AlgorithmError(f"--result {here}: {path} is not in {folder}")
        return path

    return there, place


def _text(word: str) -> _Text:
    """Make what fills a word as text."""
    template = Template((word,))
    if template.has_placeholders:
        return lambda param, number, slot: template.words(param, number=number, slot=slot)[0]
    (fixed,) = template.words([], number=1, slot=1)
    return lambda _param, _number, _slot: fixed


def _value(word: str) -> _Value:
    """Make what fills a word as a value."""
    get = _text(word)
    template = Template((word,))
    if not template.has_placeholders:
        value = _read_json(get(None, 1, 1))
        return lambda _param, _number, _slot: value
    alone = _ALONE.fullmatch(word)
    if alone is None:
        return lambda param, number, slot: _read_json(get(param, number, slot))
    name = alone[1]
    if name in {"", "@"}:
        return lambda param, _number, _slot: param
    if name == "#":
        return lambda _param, number, _slot: number
    if name == "%":
        return lambda _param, _number, slot: slot
    if name.isdecimal() or name.replace(".", "_").isidentifier():

        def value_of(param: Any, number: int, slot: int) -> Any:
            try:
                return _position(param, int(name)) if name.isdecimal() else _field(param, name)
            except (KeyError, TypeError, IndexError):
                # it says what is wrong as it does for commands
                template.words(param, number=number, slot=slot)
                raise

        return value_of
    return get


def _field(param: Any, name: str) -> Any:
    if name in param:
        return param[name]
    for part in name.split("."):
        param = param[part]
    return param


def _position(param: Any, position: int) -> Any:
    for value in islice(_values(param), position - 1, None):
        return value
    raise IndexError(position)


def _values(param: Any) -> list[Any]:
    if isinstance(param, dict):
        return list(param.values())
    return param if isinstance(param, list) else [param]


def _read_json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return text


def _no_json(name: str) -> Any:
    raise ValueError(name)


def _cut(data: bytes, width: int = 60) -> str:
    text = data.decode("utf-8", "replace")
    return text if len(text) <= width else text[: width - 3] + "..."
