"""Getting in: who we are, one connection to one server, and what it means when we are refused."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from maniple.address import Address
from maniple.errors import QueueError, UsageError
from maniple.plugins import missing_extra

try:
    from nats import errors as nats_errors
    from nats.aio.client import Client
    from nats.aio.msg import Msg
except ImportError:
    raise missing_extra("nats-py", "the queue nats:") from None

__all__ = [
    "CLOSE_SECONDS",
    "TROUBLE",
    "Client",
    "Hear",
    "Login",
    "Msg",
    "connect",
    "end",
    "line",
    "login_of",
    "name_of",
    "refusal",
]
DEFAULT_NAME: Final = "maniple"
CONNECT_SECONDS: Final = 3.0
CLOSE_SECONDS: Final = 2.0
PING_SECONDS: Final = 5.0
TROUBLE: Final = (nats_errors.Error, OSError, TimeoutError)
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
Hear = Callable[[Msg], Awaitable[None]]


class Login(msgspec.Struct, frozen=True):
    """Where the servers are and how to get in.

    Attributes:
        hosts: names and ports.
        shown: the address for messages, without credentials.
        tls: None where the server decides; otherwise nothing is said in the clear.
        options: `user`, `password`, `token` or `user_credentials`.
    """

    hosts: list[tuple[str, int]]
    shown: str
    tls: ssl.SSLContext | None
    options: dict[str, str]

    def __repr__(self) -> str:
        return f"Login({self.shown})"


class _Client(Client):
    """A client that tells no password to a server that was to speak TLS and does not."""

    def _connect_command(self) -> bytes:
        if self.options.get("tls") and not self._server_info.get("tls_required"):
            raise nats_errors.Error("the server does not offer TLS")
        return super()._connect_command()


def name_of(address: Address) -> str:
    """Read the queue's name.

    Raises:
        UsageError: it cannot be one.
    """
    if not address.path:
        return DEFAULT_NAME
    if len(address.path) > 1 or not _NAME.fullmatch(address.path[0]):
        raise UsageError(
            f"name of the queue in {address.shown}: one word of letters, digits, - and _ is needed"
        )
    return address.path[0]


def login_of(address: Address, shown: str, *, tls: bool) -> Login:
    """Read how to get in, from the URL and the environment.

    Raises:
        QueueError: a file cannot be used.
    """
    options: dict[str, str] = {}
    creds = address.options.get("creds") or os.environ.get("NATS_CREDS")
    token = address.options.get("token")
    if address.user is not None and address.password is None:
        # as NATS itself reads URLs: a user alone is a token
        token = token or address.user
    elif address.user is not None and address.password is not None:
        options.update(user=address.user, password=address.password)
    elif not creds:
        token = token or os.environ.get("NATS_TOKEN")
    if token:
        options = {"token": token}
    if creds and not options:
        if not os.path.exists(creds):
            raise QueueError(f"no credentials for {shown}: {creds} does not exist")
        options["user_credentials"] = creds
    context = None
    if tls or address.ca or address.cert:
        try:
            context = ssl.create_default_context(cafile=address.ca)
            if address.cert:
                context.load_cert_chain(address.cert, address.key)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(f for f in (address.ca, address.cert, address.key) if f)
            raise QueueError(f"cannot use {files} for {shown}: {error}") from None
    return Login(address.hosts, shown, context, options)


async def connect(
    login: Login,
    host: str,
    port: int,
    *,
    heard: Mapping[str, Hear],
    note: Callable[[Exception], Awaitable[None]],
    closed: Callable[[Client], None],
) -> Client:
    """Connect to one server, once.

    Args:
        login: who we are.
        host: its name.
        port: its port.
        heard: what to subscribe to, and who gets it.
        note: gets the errors that the server tells.
        closed: is told when the connection has gone.

    Raises:
        nats.errors.Error, OSError, TimeoutError: it does not answer, or refuses us.
    """
    client = _Client()
    seen: list[Exception] = []

    async def error_cb(error: Exception) -> None:
        seen.append(error)
        await note(error)

    async def closed_cb() -> None:
        closed(client)

    options: dict[str, Any] = dict(login.options)
    if login.tls is not None:
        options.update(tls=login.tls, tls_hostname=host)
    place = f"[{host}]" if ":" in host else host
    try:
        await asyncio.wait_for(
            client.connect(
                [f"nats://{place}:{port}"],
                name="maniple",
                error_cb=error_cb,
                closed_cb=closed_cb,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=int(CONNECT_SECONDS),
                ping_interval=int(PING_SECONDS),
                skip_subject_validation=True,
                **options,
            ),
            2 * CONNECT_SECONDS,
        )
        for subject, hear in heard.items():
            await client.subscribe(subject, cb=hear, pending_msgs_limit=0, pending_bytes_limit=0)
    except TROUBLE as error:
        await end(client)
        # "no servers available" hides why
        raise (seen[0] if seen else error) from None
    except Exception as error:
        # a damaged credentials file ends in errors of the library that reads keys
        await end(client)
        raise nats_errors.Error(f"credentials: {type(error).__name__}") from None
    except BaseException:
        await end(client)
        raise
    return client


def refusal(error: BaseException, shown: str) -> QueueError | None:
    """Say why we are not let in; None if the server is just not there."""
    text = line(error).lower()
    if isinstance(error, nats_errors.AuthorizationError) or "auth" in text:
        return QueueError(f"{shown} refuses the user, password, token or credentials")
    if isinstance(error, ssl.SSLError) or "tls" in text or "certificate" in text:
        return QueueError(f"no TLS with {shown}: {line(error)}")
    if "credentials" in text:
        return QueueError(f"cannot use the credentials for {shown}: {line(error)}")
    return None


def line(error: BaseException) -> str:
    """Write an error in one line."""
    text = " ".join(str(error).split()).removeprefix("nats: ")
    return text or type(error).__name__


async def end(client: Client) -> None:
    """Close a connection, whatever its state."""
    ending = asyncio.ensure_future(client.close())
    await asyncio.wait({ending}, timeout=CLOSE_SECONDS)
    # what goes wrong now concerns nobody
    ending.add_done_callback(lambda task: task.cancelled() or task.exception())
    ending.cancel()
