"""Networks run for real: a process for each job, blocks in order, an end that is seen."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maniple.network import Job, Network, Pipe
from maniple.network.live.console import Console
from maniple.network.live.run import JobError, LocalRun
from networks import counting, lines, run, writing
from support import PATIENCE, children, is_alive, until

SOURCES = Path(__file__).parents[2] / "src"


def double(value):
    return 2 * value


@pytest.fixture
def chain(tmp_path):
    """Three jobs; the sink writes to `out`."""

    def make(number=1000, middle=double, **options):
        network = Network("chain")
        network.add(counting(number), outputs=["numbers"], name="count", **options)
        network.add(middle, inputs=["numbers"], outputs=["doubled"], name="double")
        network.add(writing(tmp_path / "out"), inputs=["doubled"], name="write")
        return network

    make.out = tmp_path / "out"
    return make


def test_every_block_goes_through_once_and_in_order(chain):
    run(chain(20_000))
    assert lines(chain.out) == list(range(0, 40_000, 2))


def test_a_network_without_blocks_ends(chain):
    run(chain(0))
    assert chain.out.read_text() == ""


def test_a_tuple_is_a_value_for_each_output_and_other_values_go_to_all(tmp_path):
    network = Network()
    network.add(counting(5), outputs=["n"])
    network.add(lambda n: (n, -n), inputs=["n"], outputs=["up", "down"], name="split")
    network.add(lambda u, d: [u, d], inputs=["up", "down"], outputs=["a", "b"], name="pair")
    network.add(lambda a, b: print(a == b, a), inputs=["a", "b"], name="show")
    assert run(network).splitlines() == [f"show  | True [{n}, {-n}]" for n in range(5)]


def test_blocks_of_the_same_number_meet_whatever_each_path_takes():
    def slow(value):
        time.sleep(0.002)
        return value

    network = Network()
    network.add(counting(50), outputs=["a", "b"], name="count")
    network.add(slow, inputs=["a"], outputs=["late"])
    network.add(lambda a, b: print(a - b), inputs=["late", "b"], name="check")
    assert {line.split()[-1] for line in run(network).splitlines()} == {"0"}


def test_a_pipe_may_give_several_blocks_at_a_time():
    network = Network()
    network.add(counting(7), outputs=["n"], name="count")
    network.add(print, inputs=[Pipe("n", count=3)], name="p")
    assert run(network).splitlines() == ["p     | [0, 1, 2]", "p     | [3, 4, 5]"]


@pytest.mark.parametrize("encoding", ["pickle", "json", "bytes"])
def test_blocks_are_encoded_as_the_pipe_says(encoding):
    blocks = (
        [b"", b"\x00\xff", b"x" * 100_000] if encoding == "bytes" else ["", "é\n", "x" * 100_000]
    )
    network = Network()
    network.add(lambda: iter(()), outputs=[Pipe("unused", encoding=encoding)], name="unused")
    network.add(lambda _: None, inputs=[Pipe("unused", encoding=encoding)], name="nobody")

    class Source(Job):
        def run(self):
            yield from blocks

    class Sink(Job):
        def setup(self):
            self.seen = []

        def run(self, block):
            self.seen.append(block)

        def close(self):
            print(self.seen == blocks)

    network.add(Source(outputs=[Pipe("x", encoding=encoding)]))
    network.add(Sink(inputs=[Pipe("x", encoding=encoding)]))
    assert "Sink   | True" in run(network)


def test_a_source_may_change_its_array_after_handing_it_out():
    numpy = pytest.importorskip("numpy")

    def count():
        array = numpy.zeros(2000)
        for number in range(200):
            array[:] = number
            yield array

    def check(array):
        check.seen = getattr(check, "seen", -1) + 1
        array += 0  # it is ours to change
        print(bool((array == check.seen).all()))

    network = Network()
    network.add(count, outputs=["a"])
    network.add(check, inputs=["a"])
    assert run(network).count("True") == 200


def test_an_optional_input_never_waits_and_keeps_the_newest(tmp_path):
    def ticks():
        number = 0
        while not (tmp_path / "second").exists():
            yield number
            number += 1
            time.sleep(0.002)

    def settings():
        for before, setting in (("none", "first"), ("first", "second")):
            until((tmp_path / before).exists)
            yield setting

    def show(tick, setting):
        print(tick, setting)
        (tmp_path / setting).touch()

    network = Network()
    network.add(ticks, outputs=["t"])
    network.add(settings, outputs=["s"])
    network.add(show, inputs=["t", Pipe("s", optional=True, default="none")])
    words = [line.split()[-2:] for line in run(network).splitlines()]
    assert [int(tick) for tick, _ in words] == list(range(len(words)))
    shown = [setting for _, setting in words]
    assert shown == sorted(shown, key=["none", "first", "second"].index)
    assert set(shown) == {"none", "first", "second"}


def test_finish_makes_a_value_the_last_one(tmp_path):
    class Endless(Job):
        def setup(self):
            self.number = 0

        def run(self):
            self.number += 1
            if self.number == 10:
                self.finish()
            return self.number

    network = Network()
    network.add(Endless(outputs=["n"]))
    network.add(writing(tmp_path / "out"), inputs=["n"], name="write")
    run(network)
    assert lines(tmp_path / "out") == list(range(1, 11))


def test_a_sink_that_has_enough_ends_an_endless_source():
    def endless():
        number = 0
        while True:
            yield number
            number += 1

    class Enough(Job):
        def run(self, value):
            if value == 1000:
                self.finish()
                print("enough")

    network = Network()
    network.add(endless, outputs=["n"])
    network.add(double, inputs=["n"], outputs=["m"])
    network.add(Enough(inputs=["m"]))
    assert run(network) == "Enough  | enough\n"


def test_a_job_that_raises_ends_the_network_and_says_where(chain):
    def fragile(value):
        return 1 // (value - 70)

    with pytest.raises(JobError) as caught:
        run(chain(1000, fragile))
    assert str(caught.value) == (
        "job double failed at block numbers 70: ZeroDivisionError: integer division or modulo by zero"
    )
    assert "in fragile" in caught.value.trace


def test_a_wrong_number_of_values_is_said(chain):
    with pytest.raises(JobError, match=r"double failed at block numbers 0: .*2 values were given"):
        run(chain(5, lambda value: (value, value)))


def test_a_job_that_is_killed_ends_the_network(chain):
    with pytest.raises(JobError, match="job double was killed by SIGKILL"):
        run(chain(1000, lambda value: os.kill(os.getpid(), signal.SIGKILL)))


def crashing(tmp_path, numbers, function):
    """Call a function; kill the process at each of some values, once."""

    def call(value):
        mark = tmp_path / f"crash-{value}"
        if value in numbers and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return function(value)

    return call


def test_a_restarted_middle_job_loses_nothing_and_repeats_nothing(chain, tmp_path):
    middle = crashing(tmp_path, {0, 500, 501, 4999}, double)
    run(chain(5000, middle), restart=True)
    assert lines(chain.out) == list(range(0, 10_000, 2))
    assert len(list(tmp_path.glob("crash-*"))) == 4


def test_a_restarted_sink_goes_on_after_the_last_block_that_it_finished(chain, tmp_path):
    network = chain(5000)
    network.jobs.pop()
    write = writing(chain.out)
    sink = crashing(tmp_path, {0, 2000, 2002, 9998}, write)
    network.add(sink, inputs=["doubled"], name="write")
    run(network, restart=True)
    assert lines(chain.out) == list(range(0, 10_000, 2))


def test_a_source_that_rewinds_is_restarted(chain, tmp_path):
    pass_on = crashing(tmp_path, {7, 800}, lambda value: value)

    def count():
        for number in range(1000):
            yield pass_on(number)

    network = Network()
    network.add(count, outputs=["n"], rewinds=True)
    network.add(writing(chain.out), inputs=["n"], name="write")
    run(network, restart=True)
    assert lines(chain.out) == list(range(1000))


def test_a_source_that_cannot_rewind_is_said_to_be_so(chain, tmp_path):
    network = chain(0)
    network.jobs[0].function = lambda: os.kill(os.getpid(), signal.SIGKILL)
    with pytest.raises(JobError, match=r"count was killed .*cannot rewind"):
        run(network, restart=True)


def test_a_job_that_always_fails_is_not_restarted_for_ever(chain):
    with pytest.raises(JobError, match="ZeroDivisionError"):
        run(chain(10, lambda value: 1 // 0), restart=True)


def test_a_full_pipe_blocks_its_writer_and_memory_stays_flat(tmp_path):
    def blocks():
        for number in range(3000):
            yield number.to_bytes(8, "little") * 8192

    def peak():
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    class Slow(Job):
        number = 0

        def run(self, block):
            assert int.from_bytes(block[:8], "little") == self.number
            self.number += 1
            if self.number in {200, 3000}:
                print("peak", peak())
            time.sleep(0.0002)

    network = Network()
    network.add(blocks, outputs=["b"])
    network.add(Slow(inputs=["b"]))
    first, last = (int(line.split()[-1]) for line in run(network).splitlines())
    assert last - first < 30_000


def test_output_is_shown_with_names_and_kept_in_files(tmp_path):
    def noisy(value):
        print("line", value)
        os.write(2, b"error\n")
        sys.stdout.write("open end")

    network = Network()
    network.add(counting(1), outputs=["n"], name="count")
    network.add(noisy, inputs=["n"])
    shown = io.BytesIO()
    console = Console(["count", "noisy"], shown, folder=str(tmp_path / "logs"))
    LocalRun(network, console).run()
    console.close()
    assert sorted(shown.getvalue().splitlines()) == [
        b"noisy | error",
        b"noisy | line 0",
        b"noisy | open end",
    ]
    assert (tmp_path / "logs" / "noisy.log").read_bytes() == b"line 0\nerror\nopen end\n"


SCRIPT = """
import sys, time, os
from maniple.network import Network
from maniple.network.live.run import simulate

def count():
    number = 0
    while True:
        yield number
        number += 1

def pause(value):
    time.sleep(0.01)
    return value

network = Network()
network.add(count, outputs=["n"])
network.add(pause, inputs=["n"], outputs=["m"])
network.add(lambda m: print(m, flush=True), inputs=["m"], name="show")
simulate(network)
"""


@pytest.fixture
def running(tmp_path):
    """A network in a process of its own, at work."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=tmp_path,
    )
    process.jobs = until(lambda: len(found := children(process.pid)) == 3 and found)
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, -2), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_everything(running, number, code):
    running.send_signal(number)
    running.communicate(timeout=PATIENCE)
    assert running.returncode == code
    assert not any(is_alive(pid) for pid in running.jobs)


def test_when_the_parent_is_killed_nothing_is_left(running):
    running.kill()
    running.wait()
    until(lambda: not any(is_alive(pid) for pid in running.jobs))


def test_two_networks_at_once_do_not_disturb_each_other(running, chain):
    run(chain(3000))
    assert lines(chain.out) == list(range(0, 6000, 2))
    assert running.poll() is None
