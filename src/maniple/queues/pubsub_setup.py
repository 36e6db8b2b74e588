"""Finding the topics and subscriptions of a queue, and making them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from maniple.errors import QueueError
from maniple.queues.pubsub_login import OPENING_SECONDS
from maniple.queues.pubsub_place import Place
from maniple.queues.pubsub_wire import Raw, RefusedError, Wire

DEADLINE_SECONDS: Final = 10
MOST_DELIVERIES: Final = 100
RETENTION_SECONDS: Final = 7 * 24 * 3600


class Found(NamedTuple):
    """What is known of a subscription.

    Attributes:
        deadline: seconds for which it withholds what was pulled; 0 where we may not know.
        counts: it counts deliveries, or we may not know.
    """

    deadline: int
    counts: bool


def find(wire: Wire, place: Place, url: str, *, create: bool) -> Found:
    """Look a queue up, and make what is missing where that is asked for.

    Args:
        wire: to the service.
        place: of the queue.
        url: for messages.
        create: make it.

    Raises:
        QueueError: it is missing, of another topic, or not permitted.
    """
    found = _look(wire, place, place.subscription)
    if create:
        make_aside(wire, place)
        if found is None or not found.name:
            _make_topic(wire, place, place.topic)
            _make_main(wire, place, blind=found is not None)
        if found is None:
            return Found(DEADLINE_SECONDS, counts=True)
    if found is not None:
        return _checked(found, place)
    raise QueueError(
        f"no subscription {place.subscription} in the project {place.project}: fill it first:"
        f" maniple sweep -q {url} ..., or make it: gcloud pubsub subscriptions create"
        f" {place.subscription} --topic {place.topic} --project {place.project}"
    )


def _look(wire: Wire, place: Place, name: str) -> Any:
    """The subscription; None if it does not exist, an empty one if we may not look."""
    request = Raw.GetSubscription(subscription=place.subscription_path(name))
    seconds = min(OPENING_SECONDS, place.reconnect)
    try:
        return wire.persist(lambda: wire.once("GetSubscription", request), seconds)
    except RefusedError as refused:
        if refused.missing:
            return None
        if refused.forbidden:
            # who may pull may not look, with the role subscriber alone
            return Raw.Subscription()
        raise wire.explained(refused, "GetSubscription", request) from None


def _checked(found: Any, place: Place) -> Found:
    if not found.name:
        return Found(0, counts=True)
    name = found.name.rpartition("/")[2]
    if found.topic != place.topic_path(place.topic):
        raise QueueError(
            f"the subscription {name} in the project {place.project} is of another topic:"
            f" {found.topic}, not {place.topic_path(place.topic)}"
        )
    if found.push_config.push_endpoint or found.bigquery_config.table:
        raise QueueError(
            f"the subscription {name} in the project {place.project} delivers by itself (push,"
            " BigQuery): one that is pulled is needed"
        )
    return Found(
        found.ack_deadline_seconds, counts=bool(found.dead_letter_policy.dead_letter_topic)
    )


def make_aside(wire: Wire, place: Place) -> None:
    """Make the topic and the subscription for tasks that failed, where they are missing.

    Raises:
        QueueError: they are missing, and may not be made.
    """
    if _look(wire, place, place.aside) is not None:
        return
    try:
        _make_topic(wire, place, place.aside)
        _make(wire, "CreateSubscription", _subscription(place, place.aside, place.aside))
    except RefusedError as refused:
        if not refused.forbidden:
            raise
        raise QueueError(
            f"tasks that fail are kept in {place.aside}, which does not exist and which we are not"
            f" permitted to make: gcloud pubsub topics create {place.aside} --project"
            f" {place.project}, then gcloud pubsub subscriptions create {place.aside} --topic"
            f" {place.aside} --project {place.project}"
        ) from None


def _make_topic(wire: Wire, place: Place, name: str) -> None:
    try:
        _make(wire, "CreateTopic", Raw.Topic(name=place.topic_path(name)))
    except RefusedError as refused:
        # it may exist all the same; the subscription will tell
        if not refused.forbidden:
            raise


def _make_main(wire: Wire, place: Place, *, blind: bool) -> None:
    request = _subscription(place, place.subscription, place.topic)
    policy = request.dead_letter_policy
    policy.dead_letter_topic = place.topic_path(place.aside)
    policy.max_delivery_attempts = MOST_DELIVERIES
    try:
        _make(wire, "CreateSubscription", request)
    except RefusedError as refused:
        if refused.forbidden and blind:
            # it is there, most likely: those who fill are permitted little else, at times
            return
        if refused.missing:
            raise QueueError(
                f"no topic {place.topic} in the project {place.project}, and we are not permitted"
                f" to make it: gcloud pubsub topics create {place.topic} --project {place.project}"
            ) from None
        raise wire.explained(refused, "CreateSubscription", request) from None


def _subscription(place: Place, name: str, topic: str) -> Any:
    request = Raw.Subscription(
        name=place.subscription_path(name),
        topic=place.topic_path(topic),
        ack_deadline_seconds=DEADLINE_SECONDS,
    )
    request.message_retention_duration.seconds = RETENTION_SECONDS
    # without it a month without a minion ends the subscription
    request.expiration_policy.SetInParent()
    return request


def _make(wire: Wire, method: str, request: Any) -> None:
    try:
        wire.persist(lambda: wire.once(method, request))
    except RefusedError as refused:
        if not refused.there:
            raise
