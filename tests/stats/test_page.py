import re
from html.parser import HTMLParser

import pytest

from event_samples import T0, event, write_events
from maniple.queue import QueueStats
from maniple.stats.frame import read_frame
from maniple.stats.page import page
from maniple.stats.summary import summarise

QUEUE = ("sqlite:q.db", QueueStats(waiting=70, delayed=2, leased=3, done=20, failed=5))
VOID = {"meta"}


class Outline(HTMLParser):
    """Checks that tags are closed in order; gathers text and tags."""

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def summary(tmp_path):
    evil = "<script>alert('x')</script>"
    write_events(
        tmp_path,
        *(event({"x": i}, at=i, uid=f"m{i % 3}", nodename=f"node-{i % 2}") for i in range(30)),
        event(evil, at=31, uid=evil, nodename=evil, error=evil, cause=evil, queue=evil),
    )
    return summarise(read_frame(tmp_path), T0 + 40)


def test_the_page_shows_counts_plots_machines_and_failures(summary):
    outline = Outline(page(summary, [QUEUE], T0 + 40, directory="minion-report"))
    for words in ("done 30", "failed 1", "sqlite:q.db 25.0 % of 100", "70 waiting", "node-1"):
        assert words in outline.text
    for title in ("Rate", "Durations", "Machines", "Minions", "Failures by cause", "Last failures"):
        assert title in outline.words
    assert outline.tags.count("svg") == 3


def test_the_page_refers_to_nothing_outside_itself_and_runs_nothing(summary):
    source = page(summary, [QUEUE], T0 + 40)
    assert "script" not in Outline(source).tags
    assert re.findall(r"(?:src|href|url|@import)\s*[=(]", source) == []
    assert set(re.findall(r"https?://[^\"]*", source)) == {"http://www.w3.org/2000/svg"}


def test_text_of_events_is_escaped(summary):
    source = page(summary, [("<script>", QUEUE[1])], T0 + 40, directory="<script>")
    assert "<script>" not in source
    assert "&lt;script&gt;" in source


def test_the_page_follows_light_and_dark_schemes(summary):
    assert "prefers-color-scheme: dark" in page(summary, [], T0)


def test_a_page_without_events_says_so(tmp_path):
    outline = Outline(page(summarise(read_frame(tmp_path), T0), [QUEUE], T0, directory="here"))
    assert "No events yet in here" in outline.text
    assert "25.0 % of 100" in outline.text


def test_counts_that_a_queue_does_not_know_are_question_marks(summary):
    unknown = ("execo:sweeps", QueueStats(None, None, 1, 4, None))
    text = Outline(page(summary, [unknown], T0)).text
    assert "total not known" in text
    assert "? waiting" in text


def test_one_single_event_is_drawn_too(tmp_path):
    write_events(tmp_path, event(1, took=0))
    Outline(page(summarise(read_frame(tmp_path), T0), [], T0))
