"""What is special about the queue on Google Cloud Pub/Sub."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing

import grpc
import pytest
from google.pubsub_v1.types import pubsub

from brokers.pubsub_server import PROJECT, PubsubServer, PubsubTlsServer
from brokers.server import free_port, running
from maniple.errors import (
    ManipleError,
    MissingExtraError,
    NotSupportedError,
    QueueError,
    StorageError,
    UsageError,
)
from maniple.queue import MAX_LAPSES, Failure, QueueStats, State
from maniple.queues.pubsub_place import read_place
from maniple.task import Task
from maniple.urls import open_queue, redact
from support import until

pytestmark = pytest.mark.xdist_group("pubsub")


@pytest.fixture
def server():
    server = running(PubsubServer)
    yield server
    server.tell("allow")
    server.tell("reject", times=0)


@pytest.fixture
def opened(server, name):
    """Open the test's queue, with clocks that go with the server's."""
    queues = []

    def open_it(*, create=True, decoder=None, **options):
        queues.append(
            open_queue(
                server.url(name, **options),
                create=create,
                decoder=decoder,
                clock=lambda: time.clock_gettime(time.CLOCK_BOOTTIME) + server.ahead,
                wall=lambda: time.time() + server.ahead,
            )
        )
        return queues[-1]

    yield open_it
    for queue in queues:
        queue.close()


class Other:
    """Another program that uses the service."""

    def __init__(self, server):
        self._channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")

    def call(self, path, request, answer):
        method = self._channel.unary_unary(
            f"/google.pubsub.v1.{path}",
            request_serializer=type(request).serialize,
            response_deserializer=answer.deserialize,
        )
        return method(request, timeout=60)

    def topic(self, topic):
        made = pubsub.Topic(name=f"projects/{PROJECT}/topics/{topic}")
        self.call("Publisher/CreateTopic", made, pubsub.Topic)

    def subscription(self, name, topic, **options):
        made = pubsub.Subscription(
            name=f"projects/{PROJECT}/subscriptions/{name}",
            topic=f"projects/{PROJECT}/topics/{topic}",
            **{"ack_deadline_seconds": 10, **options},
        )
        self.call("Subscriber/CreateSubscription", made, pubsub.Subscription)

    def publish(self, topic, *texts, **attributes):
        messages = [pubsub.PubsubMessage(data=text, attributes=attributes) for text in texts]
        request = pubsub.PublishRequest(
            topic=f"projects/{PROJECT}/topics/{topic}", messages=messages
        )
        self.call("Publisher/Publish", request, pubsub.PublishResponse)

    def pull(self, subscription):
        request = pubsub.PullRequest(
            subscription=f"projects/{PROJECT}/subscriptions/{subscription}", max_messages=1000
        )
        return self.call("Subscriber/Pull", request, pubsub.PullResponse).received_messages


@pytest.fixture
def other(server):
    other = Other(server)
    yield other
    other._channel.close()


def params(leases):
    return sorted(lease.task.param for lease in leases)


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


# The URL


@pytest.mark.parametrize(
    ("rest", "topic", "subscription"),
    [
        ("//project", "maniple", "maniple"),
        ("//project/topic", "topic", "topic"),
        ("//project/topic/mine", "topic", "mine"),
        ("//project/topic?subscription=mine", "topic", "mine"),
        ("//example.com:project/a%25b/mine", "a%b", "mine"),
    ],
)
def test_a_url_names_project_topic_and_subscription(rest, topic, subscription):
    place = read_place(rest, environ={})
    assert (place.topic, place.subscription) == (topic, subscription)
    assert (place.endpoint, place.insecure) == ("pubsub.googleapis.com:443", False)


def test_the_project_may_be_that_of_the_environment():
    assert read_place("//", environ={"GOOGLE_CLOUD_PROJECT": "mine"}).project == "mine"


def test_an_emulator_is_found_by_the_variable_and_the_url_comes_first():
    environ = {"PUBSUB_EMULATOR_HOST": "localhost:8085"}
    place = read_place("//project/topic", environ=environ)
    assert (place.endpoint, place.insecure) == ("localhost:8085", True)
    place = read_place("//project/topic?endpoint=europe-west1-pubsub.example.com", environ=environ)
    assert (place.endpoint, place.insecure) == ("europe-west1-pubsub.example.com:443", False)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("project/topic", "gcps://PROJECT/TOPIC/SUBSCRIPTION"),
        ("//", "no project"),
        ("//project/topic/sub/more", "too many names"),
        ("//project/topic/sub?subscription=other", "too many names"),
        ("//project/t", "topic 't'"),
        ("//project/goog-topic", "goog"),
        ("//project/topic/1sub", "subscription '1sub'"),
        ("//project/topic?colour=red", "no option 'colour'"),
        ("//project/topic?hold=0", "from 1 to 600"),
        ("//project/topic?hold=601", "from 1 to 600"),
        ("//project/topic?quiet=-1", "quiet=-1"),
        ("//project/topic?decode=yaml", "identity, json"),
        ("//project/topic?insecure=perhaps", "insecure=perhaps"),
        ("//project/topic?insecure", "endpoint=HOST:PORT"),
        ("//project/topic?endpoint=host:99999", "65535"),
        (
            "//project/topic?endpoint=host:80&insecure&credentials=key.json",
            "credentials and insecure",
        ),
        ("//project/topic#part", "%23"),
    ],
)
def test_a_url_that_is_wrong_is_one_line(rest, said):
    with pytest.raises(UsageError) as caught:
        read_place(rest, environ={})
    assert said in one_line(caught)


def test_a_password_in_a_url_is_refused_and_not_shown():
    with pytest.raises(UsageError) as caught:
        read_place("//me:s3cr3t@project/topic", environ={})
    assert "s3cr3t" not in one_line(caught)
    assert "credentials=FILE" in str(caught.value)


def test_the_library_that_is_missing_is_named():
    script = (
        "import sys; sys.modules['google.pubsub_v1'] = None\n"
        "from maniple.plugins import find\n"
        "try: find('maniple.queues', 'gcps')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith(MissingExtraError.__name__), done.stderr
    assert "maniple[pubsub]" in done.stdout


# Finding it


def test_a_missing_queue_says_how_to_fill_it(opened, name):
    with pytest.raises(QueueError) as caught:
        opened(create=False)
    line = one_line(caught)
    assert "fill it first: maniple sweep -q gcps://" in line
    assert f"gcloud pubsub subscriptions create {name}" in line


def test_a_server_that_is_not_there_is_an_error_soon(server, name):
    began = time.monotonic()
    with pytest.raises(StorageError) as caught:
        open_queue(server.url(name, port=free_port()))
    assert "127.0.0.1" in one_line(caught)
    # half of the time for which a server that was there once may be away
    assert time.monotonic() - began < 30


def test_a_subscription_of_another_topic_is_refused(opened, other, name):
    other.topic(f"{name}-other")
    other.subscription(name, f"{name}-other")
    with pytest.raises(QueueError, match="of another topic"):
        opened()


def test_a_subscription_that_pushes_is_refused(opened, other, name):
    other.topic(name)
    other.subscription(name, name, push_config={"push_endpoint": "https://example.com/"})
    with pytest.raises(QueueError, match="that is pulled"):
        opened(create=False)


def test_who_may_only_publish_and_pull_can_work(server, opened, other, name):
    other.topic(name)
    other.subscription(name, name)
    for method in ("GetSubscription", "CreateTopic", "CreateSubscription"):
        server.tell("deny", method=method)
    queue = opened(create=False)
    queue.put(["a", "b"])
    leases = queue.lease(2, 30.0)
    assert params(leases) == ["a", "b"]
    assert queue.ack(leases) == []


def test_a_place_for_failures_that_may_not_be_made_is_said_in_one_line(server, opened, other, name):
    other.topic(name)
    other.subscription(name, name)
    for method in ("CreateTopic", "CreateSubscription"):
        server.tell("deny", method=method)
    with pytest.raises(QueueError) as caught:
        opened()
    assert f"gcloud pubsub topics create {name}-failed" in one_line(caught)
    # without failures there is no need of it
    queue = opened(create=False)
    queue.put(["a"])
    with pytest.raises(QueueError, match="not permitted"):
        queue.fail([(queue.lease(1, 30.0)[0], Failure("exit 1", ""))])


def test_a_call_that_is_not_permitted_names_the_role(server, opened):
    queue = opened()
    server.tell("deny", method="Publish")
    with pytest.raises(QueueError, match="roles/pubsub.publisher"):
        queue.put(["a"])
    server.tell("deny", method="Pull")
    with pytest.raises(QueueError, match="roles/pubsub.subscriber"):
        queue.lease(1, 30.0)


def test_a_queue_that_was_deleted_meanwhile_is_one_line(opened, other, name):
    queue = opened()
    path = f"projects/{PROJECT}/subscriptions/{name}"
    other.call(
        "Subscriber/DeleteSubscription",
        pubsub.DeleteSubscriptionRequest(subscription=path),
        pubsub.PullResponse,
    )
    with pytest.raises(QueueError) as caught:
        queue.lease(1, 30.0)
    assert "does not exist" in one_line(caught)


# Messages of other programs


def test_texts_of_another_program_are_params(opened, other, name):
    queue = opened()
    other.publish(name, b"a b", "é".encode(), b"3", color="red")
    leases = queue.lease(9, 30.0)
    assert params(leases) == ["3", "a b", "é"]
    assert queue.ack(leases) == []


def test_equal_texts_are_different_tasks_and_each_is_the_same_when_it_comes_again(
    server, opened, other, name
):
    queue = opened()
    other.publish(name, b"a", b"a")
    first = {lease.task.id for lease in queue.lease(9, 30.0)}
    assert len(first) == 2
    server.advance(60)
    assert {lease.task.id for lease in queue.lease(9, 30.0)} == first


def test_json_is_read_where_it_is_asked_for(opened, other, name):
    queue = opened(decoder="json")
    assert "decode=json" in queue.url
    other.publish(name, b'{"b": 1, "a": [null]}')
    (lease,) = queue.lease(1, 30.0)
    assert lease.task.data == b'{"b":1,"a":[null]}'


def test_what_cannot_be_read_is_set_aside_and_the_rest_goes_on(opened, other, name):
    queue = opened(decode="json")
    other.publish(name, b"{oops", b"\xff\xfe", b"1")
    assert params(queue.lease(9, 30.0)) == [1]
    records = list(queue.records(State.FAILED))
    assert {record.failure.cause for record in records} == {"unreadable"}
    assert {record.task.param for record in records} == {"{oops", "\udcff\udcfe"}
    assert queue.purge(State.FAILED) == 2


def test_a_retry_keeps_the_attributes_that_a_subscription_filters_by(opened, other, name):
    other.topic(name)
    other.subscription(name, name, filter='attributes.color = "red"')
    queue = opened()
    other.publish(name, b"a", color="red")
    queue.nack(queue.lease(1, 30.0))
    (lease,) = queue.lease(1, 30.0)
    assert (lease.task.param, lease.task.attempt) == ("a", 2)


def test_a_retry_is_not_run_by_another_queue_on_the_same_topic(server, opened, other, name):
    queue = opened()
    url = server.url(name).replace(f"/{name}?", f"/{name}-two?")
    with closing(open_queue(url)) as second:
        queue.put(["a"])
        queue.nack(queue.lease(1, 30.0))
        leases = second.lease(9, 30.0) + second.lease(9, 30.0)
        assert [(lease.task.param, lease.task.attempt) for lease in leases] == [("a", 1)]
        (lease,) = queue.lease(9, 30.0)
        assert lease.task.attempt == 2


# Leases


def test_a_lease_is_renewed_without_being_asked_while_it_lasts(opened):
    queue = opened(hold=6)
    looker = opened(hold=6)
    queue.put(["a"])
    leases = queue.lease(1, 60.0)
    until_then = time.monotonic() + 9
    while time.monotonic() < until_then:
        assert looker.lease(1, 60.0, wait=0.5) == []
    assert queue.ack(leases) == []


def test_a_lease_shorter_than_the_deadline_of_the_subscription_ends_in_time(opened, other, name):
    other.topic(name)
    other.subscription(name, name, ack_deadline_seconds=600)
    queue = opened(create=False, hold=2)
    queue.put(["a"])
    old = queue.lease(1, 2.0)
    began = time.monotonic()
    # who does not wait gives up no answer that comes late, with a task in it
    (new,) = until(lambda: queue.lease(1, 60.0), 300)
    assert time.monotonic() - began < 300
    assert queue.ack(old) == old
    assert queue.ack([new]) == []


HOLDER = """
import sys, time
from maniple.urls import open_queue
queue = open_queue(sys.argv[1])
leases = queue.lease(1, 60.0, wait=60.0)
print("leased", flush=True)
sys.stdin.readline()
print(len(queue.ack(leases)), len(queue.extend(leases, 60.0)), flush=True)
queue.close()
"""


def test_a_process_that_was_stopped_for_too_long_finds_its_leases_lost(server, opened, name):
    queue = opened(hold=2)
    queue.put(["a"])
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, server.url(name, hold=2)],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "leased\n"
        holder.send_signal(signal.SIGSTOP)
        leases = until(lambda: queue.lease(1, 60.0, wait=1.0))
        holder.send_signal(signal.SIGCONT)
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "1 1\n"
        assert queue.ack(leases) == []
    finally:
        holder.kill()
        holder.communicate()


def test_gifts_back_are_not_taken_for_lapses(opened):
    queue = opened()
    queue.put(["a"])
    for _ in range(3 * MAX_LAPSES):
        leases = queue.lease(1, 30.0)
        assert params(leases) == ["a"]
        queue.nack(leases, attempted=False)
    assert queue.lease(1, 30.0)[0].task.attempt == 1


def test_a_long_delay_is_kept_in_steps(server, opened):
    queue = opened()
    queue.put(["a"])
    queue.nack(queue.lease(1, 30.0), delay=580.0)
    for _ in range(3):
        assert queue.lease(1, 30.0) == []
        server.advance(180)
    # it is real time that passes besides
    assert queue.lease(1, 30.0) == []
    server.advance(42)
    assert params(queue.lease(1, 30.0)) == ["a"]


def test_without_a_dead_letter_policy_lapses_are_not_counted(server, opened, other, name):
    other.topic(name)
    other.subscription(name, name)
    queue = opened(create=False)
    assert not queue.guarantees.counts_lapses
    queue.put(["a"])
    for _ in range(MAX_LAPSES + 2):
        assert params(queue.lease(1, 10.0)) == ["a"]
        server.advance(20)
    # it is given back as it is: the topic's other subscriptions do not see it again
    other.subscription(f"{name}-two", name)
    queue.nack(queue.lease(1, 10.0), attempted=False)
    assert params(queue.lease(1, 10.0)) == ["a"]
    assert list(other.pull(f"{name}-two")) == []


def test_refusals_of_exactly_once_delivery_are_heard(server, opened):
    queue = opened()
    queue.put(range(5))
    leases = queue.lease(5, 30.0)
    server.tell("reject", times=1)
    # one id was no good, another is tried again
    lost = queue.ack(leases)
    assert lost == []
    queue.put([5])
    leases = queue.lease(1, 30.0)
    server.tell("reject", times=1)
    assert queue.ack(leases) == leases


# Failures


def test_an_output_that_is_too_long_is_cut(opened):
    queue = opened()
    queue.put(["x" * 9_899_998])
    (lease,) = queue.lease(1, 30.0)
    queue.fail([(lease, Failure("exit 1", "e" * 1_000_000, "o" * 1_000_000 + "end"))])
    (record,) = queue.records(State.FAILED)
    assert record.task == Task(lease.task.id, lease.task.data)
    assert record.failure.output.endswith("end")
    assert queue.retry() == 1


def test_a_failed_param_that_is_not_utf8_is_kept(opened):
    queue = opened()
    queue.put(["caf\udce9.txt\n"])
    queue.fail([(queue.lease(1, 30.0)[0], Failure("exit 1", "no\nmore"))])
    (record,) = queue.records(State.FAILED)
    assert (record.task.param, record.failure.error) == ("caf\udce9.txt\n", "no\nmore")


def test_a_param_that_no_message_holds_is_one_line(opened):
    with pytest.raises(QueueError) as caught:
        opened().put(["x" * 10_000_000])
    assert "too large" in one_line(caught)


def test_many_failures_are_listed_retried_and_purged(opened):
    queue = opened()
    queue.put(range(500))
    leases = queue.lease(500, 30.0)
    queue.fail([(lease, Failure("exit 1", "")) for lease in leases])
    assert len({record.task.id for record in queue.records(State.FAILED)}) == 500
    assert queue.find(leases[7].task.id[:12]).task.param == leases[7].task.param
    assert queue.retry([lease.task.id for lease in leases[:250]]) == 250
    assert queue.purge(State.FAILED) == 250
    assert params(queue.lease(500, 30.0)) == params(leases[:250])


def test_what_the_service_has_set_aside_by_itself_is_listed(opened, other, name):
    queue = opened()
    other.publish(f"{name}-failed", b"text", CloudPubSubDeadLetterSourceDeliveryCount="100")
    (record,) = queue.records(State.FAILED)
    assert (record.task.param, record.failure.cause) == ("text", "lost")
    assert queue.retry() == 1
    assert params(queue.lease(1, 30.0)) == ["text"]


def test_what_cannot_be_told_is_said(opened):
    queue = opened()
    for call in (
        queue.records,
        lambda: queue.records(State.WAITING),
        lambda: queue.find("0000"),
        lambda: queue.purge(State.WAITING),
        queue.purge,
    ):
        with pytest.raises(NotSupportedError) as caught:
            call()
        one_line(caught)
    assert {getattr(queue.stats(), each) for each in QueueStats.__struct_fields__} == {None}


# The cost of waiting


def test_an_idle_minion_costs_a_few_calls_a_second(server, opened):
    queue = opened()
    before = int(server.tell("calls"))
    for _ in range(3):
        assert queue.lease(1, 30.0, wait=queue.idle) == []
        queue.stats()
    assert int(server.tell("calls")) - before <= 9


def test_thousands_are_settled_in_few_calls(server, opened):
    queue = opened()
    before = int(server.tell("calls"))
    began = time.monotonic()
    queue.put(range(5000))
    for _ in range(5):
        leases = queue.lease(1000, 30.0)
        assert len(leases) == 1000
        assert queue.ack(leases) == []
    # on a slow machine leases are renewed besides
    renewed = int(time.monotonic() - began)
    assert int(server.tell("calls")) - before <= 5 + 5 + 5 + renewed


# Credentials and TLS


@pytest.fixture
def tls():
    return running(PubsubTlsServer)


def test_a_service_account_is_let_in_over_tls(tls, name):
    with closing(open_queue(tls.url(name))) as queue:
        queue.put(["a"])
        leases = queue.lease(1, 30.0)
        assert params(leases) == ["a"]
        assert queue.ack(leases) == []


def test_credentials_may_come_from_the_environment(tls, name, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", tls.credentials)
    with closing(open_queue(tls.url(name, credentials=None))) as queue:
        assert queue.put(["a"]) == 1


def test_another_account_is_refused(tls, name):
    with pytest.raises(QueueError) as caught:
        open_queue(tls.url(name, credentials=tls.account("stranger@example.com")))
    assert "does not accept our credentials" in one_line(caught)


def test_a_certificate_that_is_not_trusted_is_refused(tls, name):
    with pytest.raises(StorageError) as caught:
        open_queue(tls.url(name, ca=None, reconnect=0.2))
    one_line(caught)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("s3cr3t", "no credentials that can be used"),
        ("{}", "no credentials that can be used"),
        (
            json.dumps({"type": "service_account", "client_email": "a", "private_key": "s3cr3t"}),
            "no credentials that can be used",
        ),
    ],
)
@pytest.mark.parametrize("variable", [False, True])
def test_a_file_of_credentials_that_is_no_good_is_one_line(
    server, name, tmp_path, monkeypatch, text, said, variable
):
    file = tmp_path / "key.json"
    if text is not None:
        file.write_text(text)
    options = {"endpoint": f"127.0.0.1:{server.port}", "reconnect": 1}
    if variable:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        said = said.replace("No such file", "no credentials that can be used")
    else:
        options["credentials"] = file
    query = "&".join(f"{key}={value}" for key, value in options.items())
    with pytest.raises(QueueError) as caught:
        open_queue(f"gcps://{PROJECT}/{name}?{query}")
    line = one_line(caught)
    assert said in line
    assert "key.json" in line
    assert "s3cr3t" not in line


def test_no_credentials_at_all_is_one_line(server, name, tmp_path, monkeypatch):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    # nobody is to ask the metadata server of a cloud
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(ManipleError) as caught:
        open_queue(f"gcps://{PROJECT}/{name}?endpoint=127.0.0.1:{server.port}&reconnect=1")
    assert "GOOGLE_APPLICATION_CREDENTIALS" in one_line(caught)


# Minions


def test_minions_are_forked_again_and_again_without_a_hang(server, name, tmp_path):
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    url = server.url(name, quiet=4)
    command = [sys.executable, "-c", "from maniple.cli.main import main; main()"]
    run = [*command, "run", "-q", url, "-j", "2", "--no-report", "--", "true", "{x}"]
    for _ in range(3):
        with closing(open_queue(url)) as queue:
            queue.put([{"x": number} for number in range(10)])
        done = subprocess.run(
            run, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "10 tasks done" in done.stderr
        assert redact(url) == url
