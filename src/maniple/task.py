"""A task: one unit of work, and how its param becomes text and an id."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, Final

import msgspec

from maniple.errors import ParamError

_blake2b = hashlib.blake2b
_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode

ID_BYTES: Final = 16
SHOWN: Final = 80


def encode_param(param: Any) -> bytes:
    """Write a param as JSON: keys in their order, no white space, UTF-8.

    Raises:
        ParamError: the param holds something that JSON cannot (an object, NaN, an infinity).
    """
    try:
        data = _encode(param)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return _encode_rare(param)
    # msgspec writes NaN as null; a param must never change silently
    if b"null" in data and _holds_nan(msgspec.to_builtins(param)):
        raise ParamError(f"param cannot be encoded: NaN or an infinity in {_short(param)}")
    return data


def _encode_rare(param: Any) -> bytes:
    """Integers beyond 64 bits and text that is not valid UTF-8 (file names, say)."""
    try:
        text = json.dumps(param, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ParamError(f"param cannot be encoded as JSON: {error} in {_short(param)}") from None
    try:
        # numbers of other libraries end here, too: the same value is to be the same text
        return _encode(json.loads(text))
    except (ValueError, OverflowError, RecursionError):
        return text.encode()


def _canonical(param: Any, data: bytes) -> bytes:
    """Sort keys and sets: params that differ in their order only are the same."""
    if data.count(b'":') < 2 and b"[" not in data:  # noqa: PLR2004 - one key is in order
        return data
    try:
        return _encode_sorted(param)
    except (TypeError, ValueError, OverflowError):
        value = json.loads(data)
    try:
        return _encode_sorted(value)
    except (ValueError, OverflowError):
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _holds_nan(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(_holds_nan(v) for v in value.values()) or any(_holds_nan(k) for k in value)
    if isinstance(value, list | tuple | set | frozenset):
        return any(_holds_nan(v) for v in value)
    return False


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def decode_param(data: bytes) -> Any:
    """Read what `encode_param` wrote."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(data)


class Task(msgspec.Struct, frozen=True, gc=False):
    """One unit of work.

    Attributes:
        id: 32 hexadecimal digits, derived from the param: the same param is the same task.
        data: the param as JSON.
        attempt: 1 for the first run, one more after each failed one.
        number: position in its queue, from 1 (0 before a queue has taken it).
    """

    id: str
    data: bytes
    attempt: int = 1
    number: int = 0

    @classmethod
    def of(cls, param: Any, salt: int | None = None) -> Task:
        """Make the task of a param.

        `salt` tells equal params apart (the lines of a stream run once each, equal or not).

        Raises:
            ParamError: the param cannot be written as JSON.
        """
        data = encode_param(param)
        text = _canonical(param, data) if salt is None else b"%d %s" % (salt, data)
        return cls(_blake2b(text, digest_size=ID_BYTES).hexdigest(), data)

    @property
    def param(self) -> Any:
        """The param itself, decoded at each call."""
        return decode_param(self.data)
