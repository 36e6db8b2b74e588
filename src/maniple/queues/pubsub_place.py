"""Where a Pub/Sub queue is: its topic, its subscription, the endpoint, and how to get in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote

import msgspec

from maniple.address import RECONNECT_SECONDS
from maniple.errors import UsageError

ENDPOINT: Final = "pubsub.googleapis.com:443"
EMULATOR: Final = "PUBSUB_EMULATOR_HOST"
PROJECT: Final = "GOOGLE_CLOUD_PROJECT"
FAILED: Final = "-failed"
HOLD_SECONDS: Final = 10.0
LONGEST_HOLD_SECONDS: Final = 600.0
DECODERS: Final = ("identity", "json")
_OPTIONS: Final = (
    "ca",
    "credentials",
    "decode",
    "endpoint",
    "hold",
    "insecure",
    "quiet",
    "reconnect",
    "subscription",
)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]*")
_PARTS = 3
_MOST_PORT = 65535


class Place(msgspec.Struct, frozen=True):
    """What a URL says.

    Attributes:
        project: the id of the project.
        topic: where tasks are put.
        subscription: where tasks are taken.
        endpoint: `host:port`.
        insecure: no TLS and no credentials, as emulators want it.
        credentials: a file, or None: what the environment gives.
        ca: a file of the certificates to trust, or None: the usual ones.
        decode: how messages of other programs are read: `identity` or `json`.
        hold: seconds for which the service withholds a leased task unless we renew it.
        quiet: seconds without a task after which minions leave, or None: what fits the service.
        reconnect: seconds for which a call tries to get a lost connection back.
    """

    project: str
    topic: str
    subscription: str
    endpoint: str
    insecure: bool
    credentials: str | None
    ca: str | None
    decode: str
    hold: float
    quiet: float | None
    reconnect: float

    @property
    def shown(self) -> str:
        """The queue for messages."""
        return f"gcps://{self.project}/{self.topic}/{self.subscription}"

    @property
    def aside(self) -> str:
        """The name of the topic, and of its subscription, for tasks that failed."""
        return self.subscription + FAILED

    def topic_path(self, name: str) -> str:
        """The full name of a topic."""
        return f"projects/{self.project}/topics/{name}"

    def subscription_path(self, name: str) -> str:
        """The full name of a subscription."""
        return f"projects/{self.project}/subscriptions/{name}"


def read_place(
    rest: str, decoder: str | None = None, environ: Mapping[str, str] | None = None
) -> Place:
    """Read a URL: what follows `gcps:`.

    Args:
        rest: `//PROJECT/TOPIC/SUBSCRIPTION?OPTIONS`.
        decoder: used instead of the option `decode`.
        environ: the environment; the process's own by default.

    Raises:
        UsageError: it is malformed, or has an option that is not known.
    """
    environ = os.environ if environ is None else environ
    if not rest.startswith("//"):
        raise UsageError("not a gcps URL: write gcps://PROJECT/TOPIC/SUBSCRIPTION")
    path, _, query = rest[2:].partition("?")
    if "@" in path:
        # it is no part of what is shown: who knows what stands before it
        raise UsageError("no user and no password in a gcps URL: name a file, ?credentials=FILE")
    bare = f"gcps://{path.partition('#')[0]}"
    if "#" in path or "#" in query:
        raise UsageError(f"'#' in {bare}: write it as %23")
    options = _options(query, bare)
    parts = [unquote(part) for part in path.split("/") if part]
    project = parts[0] if parts else environ.get(PROJECT, "")
    if not project:
        raise UsageError(f"no project in {bare}: write gcps://PROJECT/TOPIC/SUBSCRIPTION")
    if len(parts) > _PARTS or (len(parts) == _PARTS and "subscription" in options):
        raise UsageError(f"too many names in {bare}: write gcps://PROJECT/TOPIC/SUBSCRIPTION")
    topic = parts[1] if len(parts) > 1 else "maniple"
    subscription = parts[2] if len(parts) == _PARTS else options.get("subscription", topic)
    if not _PROJECT.fullmatch(project):
        raise UsageError(f"project {project!r} in {bare}: not a project's id")
    for kind, name in (("topic", topic), ("subscription", subscription)):
        most = 255 if kind == "topic" else 255 - len(FAILED)
        if not _NAME.fullmatch(name) or name.startswith("goog") or len(name) > most:
            raise UsageError(
                f"{kind} {name!r} in {bare}: a name has 3 to {most} letters, digits and any of"
                " -._~+%, begins with a letter and not with goog"
            )
    endpoint, insecure = _endpoint(options, environ, bare)
    credentials = options.get("credentials") or None
    if insecure and credentials:
        raise UsageError(f"credentials and insecure in {bare}: they would travel for all to read")
    decode = options.get("decode", "identity") if decoder is None else decoder
    if decode not in DECODERS:
        raise UsageError(f"decode={decode} in {bare}: there are {', '.join(DECODERS)}")
    return Place(
        project=project,
        topic=topic,
        subscription=subscription,
        endpoint=endpoint,
        insecure=insecure,
        credentials=credentials,
        ca=options.get("ca") or None,
        decode=decode,
        hold=_number(options, "hold", HOLD_SECONDS, bare, 1.0, LONGEST_HOLD_SECONDS),
        quiet=_number(options, "quiet", 0.0, bare) if "quiet" in options else None,
        reconnect=_number(options, "reconnect", RECONNECT_SECONDS, bare),
    )


def _options(query: str, bare: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise UsageError(
                f"no option {name!r} in the URL of {bare}: there are {', '.join(_OPTIONS)}"
            )
        found[name] = value
    return found


def _endpoint(
    options: Mapping[str, str], environ: Mapping[str, str], bare: str
) -> tuple[str, bool]:
    plain = options.get("insecure")
    if plain not in {None, "", "0", "1", "false", "true"}:
        raise UsageError(f"insecure={plain} in {bare}: write 1 or 0")
    insecure = plain in {"", "1", "true"}
    text = options.get("endpoint", "")
    if not text and environ.get(EMULATOR):
        # the variable means an emulator: no TLS
        return _port(environ[EMULATOR], f"{EMULATOR}={environ[EMULATOR]}", 8085), True
    if not text:
        if insecure:
            raise UsageError(f"insecure in {bare}: name the emulator, too: endpoint=HOST:PORT")
        return ENDPOINT, False
    return _port(text, f"endpoint={text} in {bare}", 8085 if insecure else 443), insecure


def _port(text: str, where: str, default: int) -> str:
    host, colon, digits = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, digits = text, str(default)
    if not host or "/" in text or not (digits.isascii() and digits.isdecimal()):
        raise UsageError(f"{where}: write HOST:PORT")
    if not 0 < int(digits) <= _MOST_PORT:
        raise UsageError(f"{where}: the port is a number from 1 to {_MOST_PORT}")
    return f"{host}:{digits}"


def _number(
    options: Mapping[str, str],
    name: str,
    default: float,
    bare: str,
    least: float = 0.0,
    most: float = float("inf"),
) -> float:
    text = options.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number <= most or number == float("inf"):
        between = f"from {least:g} to {most:g}" if most < float("inf") else f"of {least:g} or more"
        raise UsageError(f"{name}={text} in {bare}: a number {between} is needed")
    return number
