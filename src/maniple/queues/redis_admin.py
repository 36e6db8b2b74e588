"""Looking into the queue `redis:`: lists, finds, retries, purges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any, Final

import msgspec

from maniple.queue import Failure, Record, State
from maniple.queues.redis_scripts_admin import FIND, LIST, LOOK, PURGE, RETRY, WALK
from maniple.task import ID_BYTES, Task

PAGE: Final = 500
NUMBER_DIGITS: Final = 15
LETTERS: Final = {
    None: "",
    State.WAITING: "W",
    State.DELAYED: "D",
    State.LEASED: "L",
    State.DONE: "N",
    State.FAILED: "F",
}
_STATES: Final = {letter: state for state, letter in LETTERS.items() if state}
_LISTED: Final = {State.FAILED, State.LEASED, State.DELAYED}
_DIGITS: Final = frozenset("0123456789abcdef")
_BUCKET_DIGITS: Final = 4
_decode = msgspec.json.Decoder(Failure).decode
Run = Callable[..., Any]
"""Runs a script of the queue with some words."""


def raw_id(text: str) -> bytes | None:
    """Turn a task's id into bytes, or None where it is none."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    return raw if len(raw) == ID_BYTES and len(text) == 2 * ID_BYTES else None


def tasks(
    numbers: bytes, ids: bytes, sizes: bytes, params: bytes, attempts: bytes = b""
) -> Iterator[Task]:
    """Take apart what scripts give together: tasks as few long texts."""
    if not numbers:
        return
    digits = ids.hex()
    width = 2 * ID_BYTES
    tries = map(int, attempts.split(b",")) if attempts else repeat(1)
    at = place = 0
    for number, size, attempt in zip(numbers.split(b","), sizes.split(b","), tries, strict=False):
        end = at + int(size)
        yield Task(digits[place : place + width], params[at:end], attempt, int(number))
        at, place = end, place + width


def _records(reply: list[Any]) -> Iterator[Record]:
    numbers, ids, sizes, params, states, attempts, lengths, failures, _ = reply
    if not numbers:
        return
    at = 0
    found = tasks(numbers, ids, sizes, params, attempts)
    for task, letter, length in zip(found, states.decode(), lengths.split(b","), strict=True):
        end = at + int(length)
        failure = _decode(failures[at:end]) if end > at else None
        yield Record(task, _STATES[letter], failure)
        at = end


def records(run: Run, state: State | None) -> Iterator[Record]:
    """Walk over the tasks, of one state or all, in the order they were put."""
    if state in _LISTED:
        yield from _listed(run, state)
        return
    following = 1
    while following:
        reply = run(WALK, following, LETTERS[state])
        yield from _records(reply)
        following = reply[-1]


def _listed(run: Run, state: State) -> Iterator[Record]:
    numbers = sorted(map(int, run(LIST, LETTERS[state])))
    at = 0
    while at < len(numbers):
        reply = run(LOOK, ",".join(map(str, numbers[at : at + PAGE])), LETTERS[state])
        yield from _records(reply)
        at += reply[-1]


def find(run: Run, key: str) -> Record | None:
    """Look a task up by its id, its number, or its id's first digits when one task has them."""
    number = _number(run, key) if raw_id(key) is not None else ""
    if not number and key.isascii() and key.isdecimal() and len(key) <= NUMBER_DIGITS:
        found = _look(run, str(int(key)))
        if found is not None:
            return found
    return _look(run, number or _number(run, key))


def _look(run: Run, number: str) -> Record | None:
    return next(_records(run(LOOK, number, "")), None) if number else None


def _number(run: Run, prefix: str) -> str:
    digits = prefix.lower()
    if not digits or len(digits) > 2 * ID_BYTES or set(digits) - _DIGITS:
        return ""
    low = int(digits[:_BUCKET_DIGITS].ljust(_BUCKET_DIGITS, "0"), 16) >> 2
    high = int(digits[:_BUCKET_DIGITS].ljust(_BUCKET_DIGITS, "f"), 16) >> 2
    number: bytes = run(FIND, digits, low, high)
    return number.decode()


def retry(run: Run, ids: Sequence[str] | None) -> int:
    """Make failed tasks (all, or these ids) new; return how many."""
    count = 0
    if ids is None:
        numbers = sorted(map(int, run(LIST, LETTERS[State.FAILED])))
        for start in range(0, len(numbers), PAGE):
            page = ",".join(map(str, numbers[start : start + PAGE]))
            count += int(run(RETRY, "numbers", page))
        return count
    known = [raw for raw in map(raw_id, dict.fromkeys(ids)) if raw is not None]
    for start in range(0, len(known), PAGE):
        count += int(run(RETRY, "ids", *known[start : start + PAGE]))
    return count


def purge(run: Run, state: State | None) -> int:
    """Forget tasks of one state, or all that nobody holds; return how many."""
    if state is State.LEASED:
        return 0
    count, following = 0, 1
    while following:
        told = run(PURGE, following, LETTERS[state]).split(b",")
        following = int(told[0])
        count += int(told[1])
    return count
