"""Calls to Pub/Sub: one channel, made again when it is lost; errors in one line."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

from maniple.errors import QueueError
from maniple.persist import persist
from maniple.plugins import missing_extra
from maniple.queues.pubsub_login import secure
from maniple.queues.pubsub_place import Place

_FORK = "GRPC_ENABLE_FORK_SUPPORT"
_before = os.environ.get(_FORK)
try:
    # older versions leave a forked process deaf without it; it is read by the import
    os.environ[_FORK] = "1"
    import grpc
    from google.protobuf.empty_pb2 import Empty
    from google.pubsub_v1.types import pubsub
except ImportError:
    raise missing_extra("google-cloud-pubsub", "the queue gcps:") from None
finally:
    if _before is None:
        del os.environ[_FORK]
    else:
        os.environ[_FORK] = _before

CALL_SECONDS: Final = 15.0
SHOWN: Final = 200
_Answer = TypeVar("_Answer")
_code: Any = grpc.StatusCode
_TRANSIENT: Final = frozenset(
    {
        _code.UNAVAILABLE,
        _code.DEADLINE_EXCEEDED,
        _code.ABORTED,
        _code.CANCELLED,
        _code.INTERNAL,
        _code.UNKNOWN,
        _code.RESOURCE_EXHAUSTED,
    }
)
_CHANNEL: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # a new channel is a new connection, and tries again soon
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # a connection that died without a word is noticed
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.enable_retries", 0),
)


class Method(NamedTuple):
    """A method of the service, and how its refusal is told.

    Attributes:
        path: up to the method's name.
        field: of the request: the topic or the subscription that it is about.
        verb: what it does there.
        role: who has it may do so.
    """

    path: str
    field: str
    request: Any
    answer: Any
    verb: str
    role: str


class Raw:
    """The messages as protocol buffers; wrapping each of thousands takes longer than sending it."""

    Message: Any = pubsub.PubsubMessage.pb()
    Publish: Any = pubsub.PublishRequest.pb()
    Published: Any = pubsub.PublishResponse.pb()
    Pull: Any = pubsub.PullRequest.pb()
    Pulled: Any = pubsub.PullResponse.pb()
    Ack: Any = pubsub.AcknowledgeRequest.pb()
    Deadline: Any = pubsub.ModifyAckDeadlineRequest.pb()
    Topic: Any = pubsub.Topic.pb()
    Subscription: Any = pubsub.Subscription.pb()
    GetSubscription: Any = pubsub.GetSubscriptionRequest.pb()


_PUBLISHER = "/google.pubsub.v1.Publisher/"
_SUBSCRIBER = "/google.pubsub.v1.Subscriber/"
_METHODS: Final = {
    "Publish": Method(
        _PUBLISHER, "topic", Raw.Publish, Raw.Published, "publish to", "pubsub.publisher"
    ),
    "CreateTopic": Method(_PUBLISHER, "name", Raw.Topic, Raw.Topic, "make", "pubsub.editor"),
    "Pull": Method(
        _SUBSCRIBER, "subscription", Raw.Pull, Raw.Pulled, "pull from", "pubsub.subscriber"
    ),
    "Acknowledge": Method(
        _SUBSCRIBER, "subscription", Raw.Ack, Empty, "acknowledge on", "pubsub.subscriber"
    ),
    "ModifyAckDeadline": Method(
        _SUBSCRIBER, "subscription", Raw.Deadline, Empty, "renew leases on", "pubsub.subscriber"
    ),
    "GetSubscription": Method(
        _SUBSCRIBER,
        "subscription",
        Raw.GetSubscription,
        Raw.Subscription,
        "look at",
        "pubsub.viewer",
    ),
    "CreateSubscription": Method(
        _SUBSCRIBER, "name", Raw.Subscription, Raw.Subscription, "make", "pubsub.editor"
    ),
}


class LostError(Exception):
    """No answer: the call may have happened or not, and may be repeated."""

    def __init__(self, text: str, *, late: bool = False) -> None:
        super().__init__(text)
        self.late = late


class RefusedError(Exception):
    """The service said no, and would again.

    Attributes:
        code: of the refusal.
        text: what the service said, in one line.
        ids: for ids of acknowledgements, the reason that each of them was refused.
    """

    def __init__(self, code: Any, text: str, ids: Mapping[str, str]) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.ids = ids

    @property
    def missing(self) -> bool:
        """It does not exist."""
        return bool(self.code is _code.NOT_FOUND)

    @property
    def there(self) -> bool:
        """It exists already."""
        return bool(self.code is _code.ALREADY_EXISTS)

    @property
    def forbidden(self) -> bool:
        """Who calls may not do this."""
        return bool(self.code is _code.PERMISSION_DENIED)


class Wire:
    """A connection to the service.

    Args:
        place: where, and how to get in.

    Attributes:
        heard: when the service answered last, whatever it said (`time.monotonic`).

    Raises:
        QueueError: the credentials cannot be used.
        StorageError: they cannot be had, for nobody answers.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._secure = None if place.insecure else secure(place)
        self._channel: Any = None
        self._calls: dict[str, Any] = {}
        self._closed = False
        self._lock = threading.Lock()
        self._chance = random.Random()
        self.heard = 0.0
        self.connect()

    def connect(self) -> None:
        """Make a new connection instead of what there is; any thread may."""
        with self._lock:
            if self._closed:
                return
            before = self._channel
            target = self._place.endpoint
            if self._secure is None:
                self._channel = grpc.insecure_channel(target, options=_CHANNEL)
            else:
                self._channel = grpc.secure_channel(target, self._secure, options=_CHANNEL)
            self._calls = {
                name: self._channel.unary_unary(
                    method.path + name,
                    request_serializer=method.request.SerializeToString,
                    response_deserializer=method.answer.FromString,
                )
                for name, method in _METHODS.items()
            }
        if before is not None:
            before.close()

    def once(self, name: str, request: Any, seconds: float = CALL_SECONDS) -> Any:
        """Call a method once.

        Raises:
            LostError: there was no answer.
            RefusedError: the answer was no.
        """
        try:
            answer = self._calls[name](request, timeout=seconds, metadata=_route(name, request))
        except grpc.RpcError as error:
            raise self._judged(error) from None
        except ValueError as error:
            if self._closed:
                raise
            # another thread has just made a new channel
            raise LostError(str(error)) from None
        self.heard = time.monotonic()
        return answer

    def begin(self, name: str, request: Any) -> Callable[[], Any]:
        """Begin a call; what is returned waits for its end, as `once` does."""
        try:
            future = self._calls[name].future(
                request, timeout=CALL_SECONDS, metadata=_route(name, request)
            )
        except ValueError:
            # another thread has just made a new channel
            return lambda: self.once(name, request)

        def end() -> Any:
            try:
                answer = future.result()
            except grpc.RpcError as error:
                raise self._judged(error) from None
            except grpc.FutureCancelledError:
                raise LostError("the connection was lost") from None
            self.heard = time.monotonic()
            return answer

        return end

    def persist(self, call: Callable[[], _Answer], seconds: float | None = None) -> _Answer:
        """Repeat a call that loses its connection, until the time that the URL allows is up.

        Raises:
            StorageError: time is up.
            RefusedError: the answer was no.
        """
        return persist(
            call,
            lost=(LostError,),
            again=self.connect,
            seconds=self._place.reconnect if seconds is None else seconds,
            what=self._place.endpoint,
            rng=self._chance,
        )

    def call(self, name: str, request: Any, seconds: float | None = None) -> Any:
        """Call a method, again where the connection is lost; a refusal is an error of the user's.

        Raises:
            QueueError: the answer was no.
            StorageError: nobody answered.
        """
        try:
            return self.persist(lambda: self.once(name, request), seconds)
        except RefusedError as refused:
            raise self.explained(refused, name, request) from None

    def _judged(self, error: Any) -> Exception:
        code = error.code()
        text = " ".join((error.details() or "").split())[:SHOWN]
        if code in _TRANSIENT and not (ids := _refused_ids(error)):
            late = code is _code.DEADLINE_EXCEEDED
            return LostError(f"{code.name}: {text}", late=late)
        self.heard = time.monotonic()
        return RefusedError(code, text, ids if code in _TRANSIENT else _refused_ids(error))

    def explained(self, refused: RefusedError, name: str, request: Any) -> QueueError:
        """Word a refusal for people."""
        method, place = _METHODS[name], self._place
        what = getattr(request, method.field)
        if refused.forbidden:
            return QueueError(
                f"not permitted on {place.endpoint}: to {method.verb} {what}; the role"
                f" roles/{method.role} permits it"
            )
        if refused.code is _code.UNAUTHENTICATED:
            return QueueError(
                f"{place.endpoint} does not accept our credentials: set"
                " GOOGLE_APPLICATION_CREDENTIALS to a file, or name it: ?credentials=FILE"
            )
        if refused.missing:
            return QueueError(
                f"{what} does not exist on {place.endpoint}: fill it first: maniple sweep -q"
                f" {place.shown} ..."
            )
        return QueueError(
            f"{place.endpoint} refused to {method.verb} {what}: {refused.code.name}: {refused.text}"
        )

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._closed = True
            self._channel.close()


def _route(name: str, request: Any) -> tuple[tuple[str, str]]:
    """The header by which the service finds who serves a call."""
    field = _METHODS[name].field
    return (("x-goog-request-params", f"{field}={quote(getattr(request, field))}"),)


def _refused_ids(error: Any) -> dict[str, str]:
    """With exactly-once delivery, the answer tells which ids were refused, and why."""
    found: dict[str, str] = {}
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            from google.rpc import error_details_pb2, status_pb2

            for detail in status_pb2.Status.FromString(value).details:
                info: Any = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    found.update(
                        (name, reason)
                        for name, reason in info.metadata.items()
                        if reason.startswith(("PERMANENT_", "TRANSIENT_"))
                    )
    return found
