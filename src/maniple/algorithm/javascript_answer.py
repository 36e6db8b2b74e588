"""What a loader's `postMessage({body, stdout, stderr})` means. No I/O.

`body` is a value, or text: base64 of gzip of the JSON of `{"data": value, "<result file>":
base64}`. `stdout` and `stderr` are text, base64 of text, a list of lines, or null. Text is taken
for base64 when it can be nothing else: its length and letters are base64's, and what it holds is
UTF-8 without control characters. (A plain word of a multiple of four letters hardly ever is:
`done` holds no UTF-8, and a line end or a space is not in base64 at all.)
"""

from __future__ import annotations

import binascii
import codecs
import posixpath
import re
import zlib
from typing import Final, TypeVar

import msgspec

from maniple.algorithm.call import NULL, Answer, Call
from maniple.algorithm.ends import End, Over, over

LONGEST: Final = 512 << 20
"""Bytes that an answer unpacks to at most: more than a loader can have had in one string."""

_GZIP_BASE64: Final = b'"H4sI'  # 1f 8b 08, with the quote of a JSON string before it
_GZIP: Final = 31  # zlib's number for a gzip header and no other
_DATA: Final = "data"
_PIECE: Final = 1 << 20
_Kind = TypeVar("_Kind")
_CONTROL: Final = re.compile(r"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")


class _Message(msgspec.Struct):
    body: msgspec.Raw = msgspec.Raw(NULL)
    stdout: msgspec.Raw = msgspec.Raw(NULL)
    stderr: msgspec.Raw = msgspec.Raw(NULL)
    exitCode: msgspec.Raw = msgspec.Raw(NULL)  # noqa: N815 - as it is on the wire


class _UnfitError(Exception):
    def __init__(self, end: End) -> None:
        super().__init__(end.error)
        self.end = end


def read_answer(text: bytes, call: Call) -> Answer:
    """Read an answer that came out of a sandbox; anything may be in it.

    Args:
        text: the JSON of the message.
        call: what was asked for; its limits hold for what the answer unpacks to.

    Returns:
        An answer without times. `stdout` and `stderr` are empty where the loader gave none.
    """
    try:
        message = _decode(text, _Message)
        stdout, stderr = _printed(message.stdout), _printed(message.stderr)
        limit = call.limits.output
        if max(len(stdout), len(stderr)) > limit:
            answer = _failed(over(Over.OUTPUT, call.limits))
            answer.stdout, answer.stderr = stdout[:limit], stderr[:limit]
            return answer
        value, files = _body(bytes(message.body), call)
        missing = [path for path in call.results if path not in files]
        code = _code(message.exitCode)
    except _UnfitError as unfit:
        return _failed(unfit.end)
    answer = Answer(
        ok=True, value=value, files=files, missing=missing, stdout=stdout, stderr=stderr
    )
    if code:
        answer.ok = False
        answer.exit_code = code
        answer.cause = f"exit {code}"
        answer.error = f"ended with exit code {code}"
    return answer


def _code(raw: msgspec.Raw) -> int:
    text = bytes(raw)
    return int(text) if re.fullmatch(rb"-?\d{1,9}", text) else 0


def _failed(end: End) -> Answer:
    return Answer(ok=False, cause=end.cause, error=end.error)


def _unreadable(why: str) -> _UnfitError:
    return _UnfitError(End("exception", f"the loader's answer cannot be read: {why}"))


def _decode(text: bytes, kind: type[_Kind]) -> _Kind:
    try:
        _check_letters(text)
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(" ".join(str(error).split())[:300]) from None


def _check_letters(text: bytes) -> None:
    """See that it is UTF-8, for what is decoded later only must not fail then."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(text)
    for at in range(0, len(view), _PIECE):
        decoder.decode(view[at : at + _PIECE], at + _PIECE >= len(view))


def _printed(raw: msgspec.Raw) -> bytes:
    """Read what was printed; what is neither text nor lines is shown as the JSON it is."""
    try:
        given = msgspec.json.decode(raw, type=str | list[str] | None)
    except msgspec.ValidationError:
        return bytes(raw)
    if not given:
        return b""
    if isinstance(given, list):
        return ("\n".join(given) + "\n").encode("utf-8", "replace")
    try:
        inside = _from_base64(given)
        if not _CONTROL.search(inside.decode()):
            return inside
    except (ValueError, UnicodeDecodeError):
        pass
    return given.encode("utf-8", "replace")


def _from_base64(text: str) -> bytes:
    """Decode base64 with all its padding, and nothing else.

    Raises:
        ValueError: it is something else.
    """
    if len(text) % 4:
        raise ValueError("not in groups of four letters")
    return binascii.a2b_base64(text, strict_mode=True)


def _body(raw: bytes, call: Call) -> tuple[bytes, dict[str, bytes]]:
    if not raw.startswith(_GZIP_BASE64):
        return raw, {}
    try:
        packed = _from_base64(msgspec.json.decode(raw, type=str))
    except ValueError:
        return raw, {}  # text that only begins like one
    text = _unzip(packed, call)
    if text is None:
        return raw, {}
    if not text.lstrip().startswith(b"{"):
        return bytes(_decode(text, msgspec.Raw)), {}
    found = _decode(text, dict[str, msgspec.Raw])
    if _DATA not in found:
        return text, {}
    return bytes(found[_DATA]), _files(found, call)


def _unzip(packed: bytes, call: Call) -> bytes | None:
    """Unpack what may be a bomb; nothing where it is no gzip."""
    unpack = zlib.decompressobj(_GZIP)
    longest = min(call.limits.memory, LONGEST)
    try:
        text = unpack.decompress(packed, longest + 1)
    except zlib.error:
        return None
    if len(text) > longest:
        raise _UnfitError(over(Over.MEMORY, call.limits))
    return text if unpack.eof and not unpack.unused_data else None


def _files(found: dict[str, msgspec.Raw], call: Call) -> dict[str, bytes]:
    given = {_normal(path): raw for path, raw in found.items() if path != _DATA}
    files: dict[str, bytes] = {}
    total = 0
    for path in call.results:
        raw = given.get(_normal(path))
        if raw is None or bytes(raw) == NULL:
            continue
        try:
            files[path] = _from_base64(msgspec.json.decode(raw, type=str))
        except ValueError:
            raise _unreadable(f"the result file {path!r} is not in base64") from None
        total += len(files[path])
        if total > call.limits.disk:
            raise _UnfitError(over(Over.DISK, call.limits))
    return files


def _normal(path: str) -> str:
    return posixpath.normpath(f"/{path}").replace("//", "/")
