"""The drop-in package over Pulsar: messages that another program published."""

import json
import subprocess
import sys
import uuid

import pytest

from brokers.pulsar_server import PulsarServer
from brokers.server import running
from maniple.urls import open_queue
from sweeps import Minion, run

pytestmark = pytest.mark.xdist_group("pulsar")
PUBLISH = """
import sys, pulsar
url, topic, *texts = sys.argv[1:]
client = pulsar.Client(url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
producer = client.create_producer(topic)
for text in texts:
    producer.send(text.encode())
client.close()
"""


@pytest.fixture
def server():
    return running(PulsarServer)


@pytest.fixture
def variables(server):
    return {
        "MINION_ENGINE": "pulsar",
        "PULSAR_CONNECTION": f"pulsar://127.0.0.1:{server.port}",
        "PULSAR_TOPIC": f"t{uuid.uuid4().hex[:12]}",
        "PULSAR_SUBSCRIPTION": "minions",
    }


def publish(variables, *texts):
    pytest.importorskip("pulsar")
    place = [variables["PULSAR_CONNECTION"], variables["PULSAR_TOPIC"]]
    # the subscription is there before the messages, as with any consumer
    topic = f"{place[0]}/{place[1]}?subscription={variables['PULSAR_SUBSCRIPTION']}"
    open_queue(topic).close()
    subprocess.run([sys.executable, "-c", PUBLISH, *place, *texts], check=True, timeout=60)


def test_texts_are_run_and_nothing_is_left(tmp_path, variables):
    publish(variables, "one", "two words", "3")
    ran = run("minionize", "echo", "hello", cwd=tmp_path, **variables)
    assert ran.returncode == 0, ran.stderr
    assert sorted(ran.stdout.splitlines()) == ["hello 3", "hello one", "hello two words"]
    assert ran.stderr == ""
    again = run("minionize", "echo", "hello", cwd=tmp_path, **variables)
    assert (again.returncode, again.stdout) == (0, "")


def test_json_is_read_when_it_is_asked_for(tmp_path, variables):
    publish(variables, json.dumps({"x": 1}), "[2]", "no json")
    ran = run("minionize", "echo", cwd=tmp_path, PULSAR_DECODER="json", **variables)
    assert ran.returncode == 0, ran.stderr
    assert sorted(ran.stdout.splitlines()) == ["[2]", "{x: 1}"]


def test_several_minions_share_the_messages(tmp_path, variables):
    publish(variables, *(f"param-{n}" for n in range(60)))

    def words(name, other):
        # who starts first goes on when the other has got something as well
        wait = f"until test -s {other}; do sleep 0.01; done"
        return f'work() {{ echo "$1" >>{name}; {wait}; }}; work'

    with (
        Minion(words("first", "second"), cwd=tmp_path, **variables) as first,
        Minion(words("second", "first"), cwd=tmp_path, **variables) as second,
    ):
        assert [first.end(), second.end()] == [(0, ""), (0, "")]
    done = [(tmp_path / name).read_text().split() for name in ("first", "second")]
    assert all(done)
    assert sorted(done[0] + done[1]) == sorted(f"param-{n}" for n in range(60))


def test_a_topic_may_be_named_in_full(tmp_path, variables):
    publish(variables, "a")
    variables["PULSAR_TOPIC"] = f"persistent://public/default/{variables['PULSAR_TOPIC']}"
    ran = run("minionize", "echo", cwd=tmp_path, **variables)
    assert (ran.returncode, ran.stdout) == (0, "a\n"), ran.stderr


def test_a_topic_that_is_missing_is_one_line(tmp_path, variables):
    ran = run("minionize", "echo", cwd=tmp_path, **variables)
    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 1
    assert variables["PULSAR_TOPIC"] in ran.stderr


def test_a_connection_may_hold_options_of_urls(tmp_path, variables):
    publish(variables, "a")
    variables["PULSAR_CONNECTION"] += "/?reconnect=5"
    ran = run("minionize", "echo", cwd=tmp_path, **variables)
    assert (ran.returncode, ran.stdout) == (0, "a\n"), ran.stderr


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("redis://me:secret@host", "PULSAR_CONNECTION=redis://host: write pulsar://HOST:PORT"),
        ("pulsar://127.0.0.1:9?reconnect=0.1", "no connection to pulsar://127.0.0.1:9/"),
    ],
)
def test_a_connection_that_is_none_is_one_line(tmp_path, variables, place, said):
    variables["PULSAR_CONNECTION"] = place
    ran = run("minionize", "echo", cwd=tmp_path, **variables)
    assert ran.returncode > 0
    assert said in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
