"""Parts of algorithms reach the tasks that wait for them, whoever brings them into the folder."""

import asyncio

import pytest

from maniple.algorithm.blobs import Blobs, digest_of
from maniple.algorithm.call import Call, Code
from maniple.cluster.messages import Want
from maniple.hub.exchange import LARGE, Exchange
from maniple.hub.identity import Everyone
from maniple.hub.rules.dispatch import Dispatch
from maniple.hub.rules.orders import Send, Start, Tell
from maniple.hub.store import MemoryStore

SMALL = b"a module"


class Link:
    def __init__(self):
        self.posted = []

    def post(self, item):
        self.posted.append(item)

    def replaced(self):
        raise AssertionError("nobody comes again here")

    def wanted(self):
        return [
            digest
            for item in self.posted
            if isinstance(item, Send) and isinstance(item.message, Want)
            for digest in item.message.digests
        ]

    def started(self):
        return [item.key.task for item in self.posted if isinstance(item, Start)]


class Peers:
    """A hub with one driver and one worker, which takes all there is."""

    def __init__(self, folder):
        self.exchange = exchange = Exchange(Dispatch("e"), MemoryStore(), Blobs(folder), Everyone())
        self.driver, self.worker = Link(), Link()
        self.number, worker = exchange.join(self.driver), exchange.join(self.worker)
        exchange.carry_out(exchange.rules.driver_joined(self.number, "u", "s", []))
        exchange.carry_out(exchange.rules.worker_joined(worker, "u", "w", "w", []))
        exchange.carry_out(exchange.rules.asked(worker, 100))

    def submit(self, task, data=SMALL):
        self.exchange.submit(self.number, task, Call(Code(digest_of(data))))


@pytest.fixture
def peers(tmp_path):
    return Peers(str(tmp_path))


def test_tasks_wait_until_their_driver_brings_the_part(peers):
    peers.submit("a")
    peers.submit("b")
    assert peers.driver.wanted() == [digest_of(SMALL)]
    assert peers.worker.started() == []
    asyncio.run(peers.exchange.put_part(SMALL))
    assert peers.worker.started() == ["a", "b"]


def test_a_part_that_another_hub_puts_into_the_folder_is_for_all_who_wait(peers, tmp_path):
    peers.submit("a")
    other = Peers(str(tmp_path))
    other.submit("x")
    asyncio.run(other.exchange.put_part(SMALL))
    peers.submit("b")
    assert peers.worker.started() == ["a", "b"]
    asyncio.run(peers.exchange.put_part(SMALL))
    assert peers.worker.started() == ["a", "b"]


def test_a_part_that_another_hub_has_put_there_unseen_is_for_all_when_their_driver_brings_it(
    peers, tmp_path
):
    peers.submit("a")
    Blobs(str(tmp_path)).put(SMALL)
    asyncio.run(peers.exchange.put_part(SMALL))
    assert peers.worker.started() == ["a"]


def test_tasks_that_come_while_a_large_part_is_written_do_not_make_the_others_wait(peers):
    large = bytes(LARGE)

    async def main():
        peers.submit("a", large)
        writing = asyncio.create_task(peers.exchange.put_part(large))
        while digest_of(large) not in peers.exchange.blobs:  # noqa: ASYNC110 - it has no turn
            await asyncio.sleep(0)
        peers.submit("b", large)
        await writing

    asyncio.run(main())
    assert sorted(peers.worker.started()) == ["a", "b"]


def test_a_driver_that_has_not_got_a_part_changes_nothing_where_another_has_brought_it(
    peers, tmp_path
):
    peers.submit("a")
    Blobs(str(tmp_path)).put(SMALL)
    peers.exchange.refuse_part(peers.number, digest_of(SMALL))
    assert peers.worker.started() == ["a"]
    assert not [item for item in peers.driver.posted if isinstance(item, Tell)]
