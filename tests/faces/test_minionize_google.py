"""The drop-in command on Pub/Sub: messages that another program has published."""

import uuid

import grpc
import pytest
from google.pubsub_v1.types import pubsub

from brokers.pubsub_server import PROJECT, PubsubServer
from brokers.server import running
from support import PATIENCE
from sweeps import run

pytestmark = pytest.mark.xdist_group("pubsub")


@pytest.fixture
def google():
    """The variables, and what publishes texts on the topic."""
    server = running(PubsubServer)
    name = f"q{uuid.uuid4().hex[:12]}"
    topic = f"projects/{PROJECT}/topics/{name}-topic"
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:

        def call(path, request):
            method = channel.unary_unary(
                f"/google.pubsub.v1.{path}", request_serializer=type(request).serialize
            )
            return method(request, timeout=PATIENCE)

        call("Publisher/CreateTopic", pubsub.Topic(name=topic))
        subscription = f"projects/{PROJECT}/subscriptions/{name}"
        call(
            "Subscriber/CreateSubscription",
            pubsub.Subscription(name=subscription, topic=topic, ack_deadline_seconds=10),
        )

        def publish(*texts):
            messages = [pubsub.PubsubMessage(data=text) for text in texts]
            call("Publisher/Publish", pubsub.PublishRequest(topic=topic, messages=messages))

        variables = {
            "MINION_ENGINE": "google",
            "GOOGLE_PROJECT_ID": PROJECT,
            "GOOGLE_TOPIC_ID": f"{name}-topic",
            "GOOGLE_SUBSCRIPTION": name,
            "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{server.port}",
        }

        def left():
            request = pubsub.PullRequest(subscription=subscription, max_messages=100)
            answer = call("Subscriber/Pull", request)
            return list(pubsub.PullResponse.deserialize(answer).received_messages)

        yield variables, publish, left


def test_a_command_runs_once_for_each_message_and_ends(google, tmp_path):
    variables, publish, left = google
    (tmp_path / "a.out").write_text('#!/bin/sh\necho "got $*"\n')
    (tmp_path / "a.out").chmod(0o755)
    publish(*(f"text {number}".encode() for number in range(20)))
    ran = run("minionize", "./a.out", cwd=tmp_path, **variables)
    assert ran.returncode == 0, ran.stderr
    assert sorted(ran.stdout.splitlines()) == sorted(f"got text {n}" for n in range(20))
    # what was not acknowledged would be there again
    running(PubsubServer).advance(60)
    assert left() == []


def test_the_json_decoder_reads_messages_and_what_is_no_json_is_left_out(google, tmp_path):
    variables, publish, _ = google
    publish(b'{"b": 1, "a": [true, null]}', b"{oops", b"3")
    ran = run("minionize", "echo", cwd=tmp_path, **variables, GOOGLE_DECODER="json")
    assert ran.returncode == 0, ran.stderr
    assert sorted(ran.stdout.splitlines()) == ["3", "{b: 1, a: [True, None]}"]


def test_a_missing_subscription_is_one_line(google, tmp_path):
    variables, _, _ = google
    ran = run("minionize", "echo", cwd=tmp_path, **{**variables, "GOOGLE_SUBSCRIPTION": "other"})
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.count("\n") == 1
    assert "gcloud pubsub subscriptions create other" in ran.stderr
