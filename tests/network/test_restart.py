"""Jobs that die at chosen blocks, several of them, at awkward places, and are started again."""

import os
import signal
import time

import pytest

from maniple.network import Job, Network, Pipe
from maniple.network.live.run import JobError
from networks import counting, lines, run, writing


@pytest.fixture
def dying(tmp_path):
    """Wraps a function: it kills its process when it is given certain values, once each."""

    def wrap(name, numbers, function, how=lambda: os.kill(os.getpid(), signal.SIGKILL)):
        def call(*values):
            mark = tmp_path / f"{name}-{values[0]}"
            if values[0] in numbers and not mark.exists():
                mark.touch()
                how()
            return function(*values)

        return call

    return wrap


def rewinding(function, number):
    def count():
        for value in range(number):
            yield function(value)

    return count


def same(value):
    return value


def test_several_jobs_die_at_several_blocks_each(tmp_path, dying):
    network = Network()
    source = dying("source", {0, 3, 500, 1999}, same)
    network.add(rewinding(source, 2000), outputs=["a"], name="source", rewinds=True)
    for place, (given, made) in enumerate(["ab", "bc", "cd"]):
        crashes = {place, 499 + place, 500, *range(1000, 1008)}
        network.add(
            dying(f"middle{place}", crashes, same), inputs=[given], outputs=[made], name=f"m{place}"
        )
    sink = dying("sink", {0, 1, 500, 1007, 1999}, writing(tmp_path / "out"))
    network.add(sink, inputs=["d"], name="sink")
    run(network, restart=True)
    assert lines(tmp_path / "out") == list(range(2000))


def test_a_job_may_raise_and_is_started_again(tmp_path, dying):
    def fail():
        raise ValueError("once")

    network = Network()
    network.add(counting(300), outputs=["a"], name="source")
    network.add(dying("m", set(range(0, 300, 20)), same, fail), inputs=["a"], outputs=["b"])
    network.add(writing(tmp_path / "out"), inputs=["b"], name="sink")
    run(network, restart=True)
    assert lines(tmp_path / "out") == list(range(300))


@pytest.mark.parametrize("who", ["up", "down", "join", "sink"])
def test_two_inputs_meet_again_after_a_crash_though_one_is_further(tmp_path, dying, who):
    def wrap(name, function):
        return dying(name, {5, 250, 251, 700}, function) if name == who else function

    network = Network()
    network.add(counting(1000), outputs=["a", "b"], name="source")
    # windows of other sizes: their acknowledgements come at other times
    network.add(wrap("up", same), inputs=["a"], outputs=[Pipe("c", blocks=7)], name="up")
    network.add(wrap("down", lambda n: -n), inputs=["b"], outputs=["d"], name="down")
    network.add(
        wrap("join", lambda up, down: (up, down)),
        inputs=[Pipe("c", blocks=7), "d"],
        outputs=["e", "f"],
        name="join",
    )
    write = writing(tmp_path / "out")

    def check(up, down):
        assert up == -down
        write(up)

    network.add(wrap("sink", check), inputs=["e", "f"], name="sink")
    run(network, restart=True)
    assert lines(tmp_path / "out") == list(range(1000))


@pytest.mark.parametrize("count", [2, 7])
def test_block_counts_stay_aligned_after_crashes(tmp_path, dying, count):
    def add(blocks):
        assert blocks == list(range(blocks[0], blocks[0] + count))
        return blocks[0]

    crashes = {count * n for n in (0, 1, 50, 51, 99)}
    middle = dying("middle", crashes, same)
    network = Network()
    network.add(counting(100 * count + 1), outputs=["a"], name="source")
    network.add(
        lambda blocks: middle(add(blocks)),
        inputs=[Pipe("a", count=count)],
        outputs=["b"],
        name="middle",
    )
    write = dying("sink", {0, 50 * count, 98 * count}, writing(tmp_path / "out"))

    def sink(blocks):
        # it dies at the first of both: before it has written anything
        for block in blocks:
            write(block)

    network.add(sink, inputs=[Pipe("b", count=2)], name="sink")
    run(network, restart=True)
    assert lines(tmp_path / "out") == list(range(0, 100 * count, count))


@pytest.mark.parametrize("who", ["middle", "sink"])
def test_an_optional_input_survives_a_restart(tmp_path, dying, who):
    seen = tmp_path / "second"

    def settings():
        yield "first"
        time.sleep(0.3)
        yield "second"

    def ticks():
        number = 0
        while number < 100 or not seen.exists():
            time.sleep(0.01)
            yield number
            number += 1

    def show(tick, setting):
        print(tick, setting)
        if setting == "second":
            seen.touch()

    def wrap(name, function):
        return dying(name, {20, 50}, function) if name == who else function

    network = Network()
    network.add(settings, outputs=["s"])
    network.add(ticks, outputs=["t"])
    setting = Pipe("s", optional=True, default="none")
    if who == "middle":
        network.add(
            wrap("middle", lambda t, s: [t, s]), inputs=["t", setting], outputs=["u"], name="m"
        )
        network.add(lambda pair: show(*pair), inputs=["u"], name="show")
    else:
        network.add(wrap("sink", show), inputs=["t", setting], name="show")
    words = [line.split()[-2:] for line in run(network, restart=True).splitlines()]
    assert len(words) >= 100
    assert [int(number) for number, _ in words] == list(range(len(words)))
    assert words[-1][1] == "second"


def test_a_job_that_dies_when_it_cleans_up_does_so_again(tmp_path):
    """Its inputs have ended, and its reader may have ended as well."""

    class Fragile(Job):
        def run(self, value):
            return value

        def close(self):
            mark = tmp_path / self.name
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)

    class Sink(Fragile):
        def setup(self):
            self.write = writing(tmp_path / "out")

        def run(self, value):
            self.write(value)

    class Source(Fragile):
        REWINDS = True

        def run(self):
            yield from range(10)

    network = Network()
    network.add(Source(outputs=["a"]))
    network.add(Fragile(inputs=["a"], outputs=["b"]))
    network.add(Sink(inputs=["b"]))
    run(network, restart=True)
    assert lines(tmp_path / "out") == list(range(10))
    assert {path.name for path in tmp_path.iterdir()} == {"out", "Source", "Fragile", "Sink"}


def test_a_sink_that_gets_further_each_time_is_started_again_as_often_as_it_dies(tmp_path, dying):
    network = Network()
    network.add(counting(300), outputs=["a"], name="source")
    # more deaths than may follow each other, within what a sink takes at a time
    sink = dying("sink", set(range(100, 240, 10)), writing(tmp_path / "out"))
    network.add(sink, inputs=["a"], name="sink")
    run(network, restart=True)
    assert lines(tmp_path / "out") == list(range(300))


def test_a_process_that_ends_itself_is_a_failure(tmp_path):
    network = Network()
    network.add(counting(10), outputs=["a"], name="count")
    network.add(lambda _: os._exit(0), inputs=["a"], name="quitter")
    with pytest.raises(JobError, match="quitter ended its process before"):
        run(network)


def test_a_sink_that_has_had_enough_keeps_its_word(tmp_path):
    class Enough(Job):
        def setup(self):
            self.write = writing(tmp_path / "out")

        def run(self, value):
            self.write(value)
            if value == 5:
                self.finish()

        def close(self):
            if not self.restarted:
                os.kill(os.getpid(), signal.SIGKILL)

    network = Network()
    network.add(counting(1000), outputs=["a"], name="count")
    network.add(Enough(inputs=["a"]))
    run(network, restart=True)
    assert lines(tmp_path / "out") == list(range(6))


def test_a_job_is_restarted_while_its_output_is_full(tmp_path):
    """It dies when it cannot give anything; blocks of any size."""
    marks = tmp_path / "died"

    def middle(value):
        if value == 12 and not marks.exists():
            marks.touch()
            job = os.getpid()
            # the next one waits for room, and is killed meanwhile
            if os.fork() == 0:
                time.sleep(0.3)
                # not its parent: that is another process when the job has ended
                os.kill(job, signal.SIGKILL)
                os._exit(0)
        return value

    network = Network()
    network.add(counting(60), outputs=["a"], name="count")
    network.add(middle, inputs=["a"], outputs=[Pipe("b", blocks=2)], name="middle")
    write = writing(tmp_path / "out")

    def slow(value):
        time.sleep(0.02)
        write(value)

    network.add(slow, inputs=[Pipe("b", blocks=2)], name="sink")
    run(network, restart=True)
    assert lines(tmp_path / "out") == list(range(60))
    assert marks.exists()


@pytest.mark.parametrize("who", ["slow", "quick"])
def test_two_readers_of_one_job_die_apart_from_each_other(tmp_path, dying, who):
    network = Network()
    network.add(counting(400), outputs=["a"], name="source")
    network.add(
        dying("split", {100, 300}, lambda n: (n, -n)), inputs=["a"], outputs=["b", "c"], name="s"
    )
    quick, slow = writing(tmp_path / "quick"), writing(tmp_path / "slow")

    def slowly(value):
        time.sleep(0.001)
        slow(value)

    network.add(dying("quick", {150}, quick) if who == "quick" else quick, inputs=["b"], name="q")
    network.add(dying("slow", {-150}, slowly) if who == "slow" else slowly, inputs=["c"], name="w")
    run(network, restart=True)
    assert lines(tmp_path / "quick") == list(range(400))
    assert lines(tmp_path / "slow") == [-n for n in range(400)]


def test_an_error_is_told_in_one_line_with_its_notes_in_the_trace():
    def fail(value):
        error = ValueError("first\nsecond" + "x" * 300_000)
        error.add_note("a note")
        raise error

    network = Network()
    network.add(counting(1), outputs=["a"], name="count")
    network.add(fail, inputs=["a"])
    with pytest.raises(JobError) as caught:
        run(network)
    assert str(caught.value).startswith("job fail failed at block a 0: ValueError: first secondxx")
    assert len(str(caught.value)) < 3000
    assert "a note" in caught.value.trace
