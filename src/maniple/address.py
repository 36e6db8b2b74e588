"""The address of a broker: what its URL and the environment say, and what of it may be shown.

    scheme://user:password@host:port,host:port/first/second?option=value

The last part of the path is the queue's name. Reserved characters are percent-encoded, as in any
URL. Credentials and TLS files may come from the environment instead; the URL comes first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote

import msgspec

from maniple.errors import UsageError

RECONNECT_SECONDS: Final = 60.0
_MOST_PORT: Final = 65535


class Address(msgspec.Struct, frozen=True):
    """Where a broker is, and how to get in.

    Attributes:
        scheme: of the URL.
        hosts: names and ports, at least one.
        path: the parts of the path, decoded.
        user: from the URL or `PREFIX_USER`, or None.
        password: from the URL or `PREFIX_PASSWORD`, or None.
        ca: file of the certificates to trust (`?ca=` or `PREFIX_CA`), or None.
        cert: file of our certificate (`?cert=` or `PREFIX_CERT`), or None.
        key: file of its key (`?key=` or `PREFIX_KEY`), or None.
        reconnect: seconds for which a call tries to get a lost connection back (`?reconnect=`).
        options: the other options of the URL.
    """

    scheme: str
    hosts: list[tuple[str, int]]
    path: list[str]
    user: str | None
    password: str | None
    ca: str | None
    cert: str | None
    key: str | None
    reconnect: float
    options: dict[str, str]

    @property
    def shown(self) -> str:
        """The address for messages: without credentials and options."""
        hosts = ",".join(f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in self.hosts)
        return f"{self.scheme}://{'/'.join([hosts, *self.path])}"

    def __repr__(self) -> str:
        return f"Address({self.shown})"

    def number(self, option: str, default: float, *, least: float = 0.0) -> float:
        """Read an option that is a number.

        Raises:
            UsageError: it is no number, or below `least`.
        """
        return _number(self.options.get(option), option, default, least, self.shown)


def read_address(
    scheme: str,
    rest: str,
    *,
    prefix: str,
    port: int,
    options: Iterable[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Address:
    """Read the address of a broker.

    Args:
        scheme: of the URL, without the colon.
        rest: the URL after the colon.
        prefix: of the environment's variables: `REDIS` for `REDIS_PASSWORD`.
        port: where there is none in the URL.
        options: the names that may stand after `?`, besides ca, cert, key and reconnect.
        environ: the environment; the process's own by default.

    Raises:
        UsageError: the URL is malformed or has an option that is not known; no credential is in
            the message.
    """
    environ = os.environ if environ is None else environ
    if not rest.startswith("//"):
        raise UsageError(f"not a {scheme} URL: write {scheme}://HOST/NAME")
    place, _, query = rest[2:].partition("?")
    place, _, fragment = place.partition("#")
    netloc, _, path = place.partition("/")
    login, at, hosts = netloc.rpartition("@")
    user, colon, password = login.partition(":")
    bare = f"{scheme}://{hosts}"
    found = _options(query, {*options, "ca", "cert", "key", "reconnect"}, bare)
    if fragment:
        raise UsageError(f"'#' in {bare}: write it as %23")

    def file(name: str) -> str | None:
        return found.pop(name, None) or environ.get(f"{prefix}_{name.upper()}") or None

    return Address(
        scheme=scheme,
        hosts=[_host(text, port, bare) for text in (hosts or "localhost").split(",")],
        path=[unquote(part) for part in path.split("/") if part],
        user=unquote(user) if at and user else environ.get(f"{prefix}_USER") or None,
        password=unquote(password) if colon else environ.get(f"{prefix}_PASSWORD") or None,
        ca=file("ca"),
        cert=file("cert"),
        key=file("key"),
        reconnect=_number(found.pop("reconnect", None), "reconnect", RECONNECT_SECONDS, 0.0, bare),
        options=found,
    )


def _options(query: str, known: set[str], bare: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise UsageError(
                f"no option {name!r} in the URL of {bare}: there are {', '.join(sorted(known))}"
            )
        found[name] = value
    return found


def _host(text: str, port: int, bare: str) -> tuple[str, int]:
    name, digits = text, ""
    if text.startswith("["):
        name, _, rest = text[1:].partition("]")
        digits = rest.removeprefix(":")
    elif ":" in text:
        name, _, digits = text.partition(":")
    if not digits:
        return name or "localhost", port
    if not (digits.isascii() and digits.isdecimal()) or not 0 < int(digits) <= _MOST_PORT:
        raise UsageError(f"port {digits!r} in {bare}: a number from 1 to {_MOST_PORT} is needed")
    return name or "localhost", int(digits)


def _number(text: str | None, option: str, default: float, least: float, bare: str) -> float:
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number < float("inf"):
        raise UsageError(f"{option}={text} in {bare}: a number of {least:g} or more is needed")
    return number
