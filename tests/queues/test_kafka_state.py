"""What a Kafka queue's journal comes to, without a broker: held against the queue in memory."""

import random

import msgspec
import pytest

from maniple.queue import MAX_LAPSES, Failure, State
from maniple.queues.kafka_ops import Op, Token, decode, encode, pack, ranges, spread, unpack
from maniple.queues.kafka_part import Claim, Ranges
from maniple.queues.kafka_snapshot import load, save
from maniple.queues.kafka_state import REPEATED, Tasks
from maniple.queues.memory import MemoryQueue


class Log:
    """A journal in memory."""

    def __init__(self):
        self.tasks = Tasks()
        self.at = -1
        self.seqs = {}
        self.now = 1000.0

    def do(self, do, member="m", seq=None, **fields):
        self.at += 1
        if seq is None:
            seq = self.seqs[member] = self.seqs.get(member, 0) + 1
        op = decode(encode(Op(member=member, seq=seq, do=do, who="w", **fields)))
        return self.tasks.apply(op, self.at, self.now)

    def put(self, count):
        end = self.tasks.parts[0].end if self.tasks.parts else 0
        self.do("filled", ends=[(0, 0, end + count)])

    def lease(self, limit, ttl=10.0, **more):
        claim = self.do("lease", limit=limit, ttl=ttl, **more)
        if not isinstance(claim, Claim):
            return []
        return [Token(claim.id, p, o) for p, found in claim.held.items() for o in sorted(found)]

    def counts(self):
        part = self.tasks.parts[0]
        return (part.waiting, len(part.later), len(part.held), part.done, len(part.failed))

    def reload(self):
        """Go on from a snapshot."""
        self.tasks = load(msgspec.Raw(bytes(save(self.tasks))))


def memory_counts(queue):
    stats = queue.stats()
    return (stats.waiting, stats.delayed, stats.leased, stats.done, stats.failed)


@pytest.mark.parametrize("seed", range(40))
def test_it_does_what_the_queue_in_memory_does(seed):
    chance = random.Random(seed)
    log = Log()
    memory = MemoryQueue(clock=lambda: log.now, wall=lambda: log.now)
    count = 0
    held = []
    for _ in range(400):
        if chance.random() < 0.05:
            log.reload()
        match chance.choice("plllaaanfteer"):
            case "p":
                new = chance.randrange(6)
                memory.put(range(count, count + new))
                count += new
                log.put(new)
            case "l":
                limit, ttl = chance.randrange(1, 6), chance.choice([5.0, 20.0])
                log.do("tick")
                theirs = memory.lease(limit, ttl)
                ours = log.lease(limit, ttl)
                assert sorted(t.offset + 1 for t in ours) == sorted(x.task.number for x in theirs)
                by_number = {x.task.number: x for x in theirs}
                for token in ours:
                    lease = by_number[token.offset + 1]
                    note = log.tasks.parts[0].notes.get(token.offset)
                    assert lease.task.attempt == (note.attempt if note else 1)
                    held.append((token, lease))
            case "t":
                log.now += chance.choice([1.0, 4.0, 30.0])
            case "r":
                if chance.random() < 0.2:
                    assert log.do("retry") == memory.retry()
            case what if held:
                chosen = chance.sample(held, min(len(held), chance.randrange(1, 5)))
                ours = pack(token for token, _ in chosen)
                theirs = [lease for _, lease in chosen]
                log.do("tick")
                memory.stats()
                if what == "a":
                    lost, wanted = log.do("ack", tasks=ours), memory.ack(theirs)
                elif what == "e":
                    lost, wanted = (
                        log.do("extend", tasks=ours, ttl=10.0),
                        memory.extend(theirs, 10.0),
                    )
                elif what == "n":
                    delay, attempted = chance.choice([0.0, 3.0]), chance.random() < 0.5
                    log.do("nack", tasks=ours, delay=delay, attempted=attempted)
                    memory.nack(theirs, delay, attempted=attempted)
                    lost, wanted = [], []
                else:
                    log.do("fail", tasks=ours, places=[7] * len(chosen))
                    memory.fail([(lease, Failure("x", "")) for lease in theirs])
                    lost, wanted = [], []
                assert sorted(t.offset + 1 for t in lost) == sorted(x.task.number for x in wanted)
                if chance.random() < 0.7:
                    held = [pair for pair in held if pair not in chosen]
        log.do("tick")
        if count:
            assert log.counts() == memory_counts(memory)
    assert count


def test_a_snapshot_is_the_state():
    log = Log()
    log.put(50)
    first = log.lease(10)
    log.do("ack", tasks=pack(first[::2]))
    log.do("nack", tasks=pack(first[1:4:2]), delay=5.0)
    log.do("fail", tasks=pack(first[5:6]), places=[3])
    log.now += 11
    log.do("tick", member="other")
    log.do("purge", state=State.DONE)
    log.do("fill", ttl=9.0)
    before = save(log.tasks)
    log.reload()
    assert save(log.tasks) == before


def test_a_record_that_is_there_twice_counts_once():
    log = Log()
    log.put(10)
    assert len(log.lease(2)) == 2
    assert log.do("lease", seq=log.seqs["m"], limit=2, ttl=10.0) == REPEATED
    assert log.counts() == (8, 0, 2, 0, 0)


def test_a_claim_whose_author_never_heard_of_it_is_given_back():
    log = Log()
    log.put(10)
    log.lease(4)
    heard = log.lease(3, void=[log.seqs["m"]])
    # the tasks of the first claim are there again, in their place
    assert [token.offset for token in heard] == [0, 1, 2]
    assert log.counts() == (7, 0, 3, 0, 0)


def test_the_tasks_of_the_dead_come_back_and_their_deaths_are_counted():
    log = Log()
    log.put(1)
    for _ in range(MAX_LAPSES):
        assert log.lease(1)
        log.do("dead", member="heir", members=["m"])
    assert log.lease(1)
    log.do("dead", member="heir", members=["m"])
    assert log.counts() == (0, 0, 0, 0, 1)
    assert log.tasks.parts[0].failed[0] == (MAX_LAPSES + 1, log.now)


def test_who_leaves_in_order_gives_back_and_no_death_is_counted():
    log = Log()
    log.put(2)
    log.lease(2)
    log.do("bye")
    assert log.counts() == (2, 0, 0, 0, 0)
    assert not log.tasks.parts[0].notes


def test_only_one_may_put_and_not_for_ever():
    log = Log()
    assert log.do("fill", member="a", ttl=10.0) is True
    assert log.do("fill", member="b", ttl=10.0) is False
    log.do("filled", member="b")
    assert log.do("fill", member="b", ttl=10.0) is False
    log.now += 11
    assert log.do("fill", member="b", ttl=10.0) is True
    log.do("dead", member="c", members=["b"])
    assert log.do("fill", member="a", ttl=10.0) is True


def test_time_never_goes_back():
    log = Log()
    log.put(1)
    log.lease(1, ttl=10.0)
    log.now += 11
    log.do("tick")
    log.now -= 500
    log.do("tick")
    assert log.counts() == (1, 0, 0, 0, 0)
    assert len(log.lease(1, ttl=10.0)) == 1


def test_tasks_that_the_topic_dropped_are_gone():
    log = Log()
    log.put(10)
    held = log.lease(2)
    log.do("tick", ends=[(0, 6, 12)])
    assert [token.offset for token in log.lease(9)] == [6, 7, 8, 9, 10, 11]
    log.do("gone", tasks=pack(held))
    assert log.counts() == (0, 0, 6, 0, 0)
    assert log.tasks.parts[0].gone.total == 6


def test_records_of_members_that_nobody_knows_any_more_are_forgotten():
    log = Log()
    log.do("tick", member="old")
    log.now += 90_000
    log.do("bye", member="new")
    assert set(log.tasks.members) == {"new"}


def test_many_partitions_take_turns():
    log = Log()
    log.do("tick", ends=[(0, 0, 9), (1, 0, 9), (2, 0, 9)])
    assert len({log.lease(1)[0].partition for _ in range(3)}) == 3
    assert len(log.lease(100)) == 24


@pytest.mark.parametrize("seed", range(10))
def test_tokens_come_back_as_they_were_packed(seed):
    chance = random.Random(seed)
    tokens = {
        Token(chance.randrange(3), chance.randrange(2), chance.randrange(30)) for _ in range(50)
    }
    assert list(unpack(pack(tokens))) == sorted(tokens)
    some = sorted({chance.randrange(60) for _ in range(30)})
    assert list(spread(ranges(some))) == some


@pytest.mark.parametrize("seed", range(10))
def test_ranges_are_sets(seed):
    chance = random.Random(seed)
    kept, found = set(), Ranges()
    for _ in range(100):
        first = chance.randrange(300)
        after = first + chance.randrange(1, 5)
        if kept.isdisjoint(range(first, after)):
            kept.update(range(first, after))
            found.add(first, after)
    assert {o for o in range(310) if o in found} == kept
    assert found.total == len(kept)
    assert found.flat == ranges(sorted(kept))


def test_what_a_newer_version_does_is_left_alone():
    log = Log()
    assert log.do("something new") is None
