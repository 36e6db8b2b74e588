"""A call that loses its connection is repeated until time is up."""

import random

import pytest

from maniple.errors import StorageError
from maniple.persist import LONGEST_PAUSE_SECONDS, persist


class Link:
    """A connection that fails so many times; time passes in `sleep` only."""

    def __init__(self, failures, connects=0):
        self.failures = failures
        self.connects = connects
        self.now = 0.0
        self.pauses = []
        self.log = []

    def call(self):
        self.log.append("call")
        if self.failures:
            self.failures -= 1
            raise ConnectionResetError("reset by\npeer")
        return "answer"

    def again(self):
        self.log.append("again")
        if self.connects:
            self.connects -= 1
            raise ConnectionRefusedError("refused")

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds

    def run(self, seconds=60.0):
        return persist(
            self.call,
            lost=(ConnectionError,),
            again=self.again,
            seconds=seconds,
            what="redis://host/q",
            clock=lambda: self.now,
            sleep=self.sleep,
            rng=random.Random(1),
        )


def test_a_call_that_works_is_made_once():
    link = Link(0)
    assert link.run() == "answer"
    assert link.log == ["call"]
    assert link.pauses == []


def test_a_lost_connection_is_made_again_before_the_call_is_repeated():
    link = Link(2, connects=1)
    assert link.run() == "answer"
    assert link.log == ["call", "again", "again", "call", "again", "call"]


def test_pauses_grow_to_a_limit():
    link = Link(30)
    assert link.run() == "answer"
    assert link.pauses[0] <= 0.05
    assert max(link.pauses) <= LONGEST_PAUSE_SECONDS
    assert min(link.pauses[-5:]) >= LONGEST_PAUSE_SECONDS * 0.6


def test_after_its_time_the_error_is_one_line_that_names_the_other_side():
    link = Link(10**6)
    with pytest.raises(StorageError) as caught:
        link.run(seconds=5.0)
    assert str(caught.value) == "no connection to redis://host/q for 5 s: reset by peer"
    assert 5.0 <= link.now < 5.1


def test_without_time_a_call_is_tried_once():
    link = Link(1)
    with pytest.raises(StorageError):
        link.run(seconds=0)
    assert link.log == ["call"]


def test_other_errors_pass():
    link = Link(0)
    link.call = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        link.run()
