"""A job computes on blocks of the same number from all its inputs."""

import random

import pytest

from maniple.network.rules.align import Aligner, Input


def test_sets_are_handed_out_when_all_inputs_have_their_block():
    aligner = Aligner([Input(), Input()])
    aligner.arrived(0, 0, ["a", "b"])
    assert aligner.take(9).calls == []
    aligner.arrived(1, 0, ["x"])
    assert aligner.take(9) == (0, [("a", "x")], frozenset())
    aligner.arrived(1, 1, ["y", "z"])
    assert aligner.take(9) == (1, [("b", "y")], frozenset())


def test_no_more_are_handed_out_than_asked_for():
    aligner = Aligner([Input()])
    aligner.arrived(0, 0, range(10))
    assert aligner.take(3).calls == [(0,), (1,), (2,)]
    assert aligner.take(3).first == 3
    assert aligner.waiting(0) == 4


def test_several_blocks_make_one_argument():
    aligner = Aligner([Input(blocks=2), Input()])
    aligner.arrived(0, 0, range(5))
    aligner.arrived(1, 0, "abc")
    assert aligner.take(9).calls == [([0, 1], "a"), ([2, 3], "b")]


def test_a_lost_block_is_the_one_before_it_or_a_dummy():
    aligner = Aligner([Input(), Input(dummy=lambda _: "dummy")])
    aligner.arrived(0, 0, "ab")
    aligner.arrived(0, 3, "d")
    aligner.arrived(1, 0, "w")
    aligner.arrived(1, 2, "yz")
    aligned = aligner.take(9)
    assert aligned.calls == [("a", "w"), ("b", "dummy"), ("b", "y"), ("d", "z")]
    assert aligned.corrupted == {1, 2}
    assert aligner.dummies == [1, 1]


def test_too_many_waiting_blocks_are_dropped_oldest_first():
    aligner = Aligner([Input(most=3), Input()])
    aligner.arrived(0, 0, range(10))
    assert aligner.dropped == [7, 0]
    aligner.arrived(1, 0, range(10))
    aligned = aligner.take(20)
    assert aligned.calls[-3:] == [(7, 7), (8, 8), (9, 9)]
    assert aligned.corrupted == set(range(7))


def test_after_a_restart_the_sets_begin_where_all_inputs_can():
    aligner = Aligner([Input(), Input(blocks=2)], [None, None])
    aligner.arrived(0, 5, "fgh")
    assert aligner.take(9).calls == []
    aligner.arrived(1, 12, range(12, 18))
    assert aligner.take(9) == (6, [("g", [12, 13]), ("h", [14, 15])], frozenset())


def test_an_input_that_ends_ends_the_sets():
    aligner = Aligner([Input(), Input()])
    aligner.arrived(0, 0, "abc")
    aligner.arrived(1, 0, "x")
    aligner.ended(1, 1)
    assert not aligner.over
    assert aligner.take(9).calls == [("a", "x")]
    assert aligner.over


@pytest.mark.parametrize("seed", range(200))
def test_whatever_is_lost_each_set_holds_one_number(seed):
    chance = random.Random(seed)
    inputs = [Input(chance.randint(1, 3), dummy=lambda _: None) for _ in range(3)]
    aligner = Aligner(inputs)
    calls = 30
    streams = []
    for each in inputs:
        blocks = [n for n in range(calls * each.blocks) if n == 0 or chance.random() > 0.2]
        streams.append(blocks)
    given = []
    number = 0
    while not aligner.over:
        place = chance.randrange(3)
        if streams[place]:
            value = streams[place].pop(0)
            aligner.arrived(place, value, [value])
        else:
            aligner.ended(place, calls * inputs[place].blocks)
        aligned = aligner.take(chance.randint(1, 4))
        if aligned.calls:
            assert aligned.first == number
        for arguments in aligned.calls:
            for each, value in zip(inputs, arguments, strict=True):
                values = value if each.blocks > 1 else [value]
                right = range(number * each.blocks, (number + 1) * each.blocks)
                assert all(v in {None, r} for v, r in zip(values, right, strict=True))
            given.append(arguments)
            number += 1
    assert len(given) == calls
