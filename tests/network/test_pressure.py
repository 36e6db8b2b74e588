"""What comes faster than it goes: pipes that are full, stalls, late starters, memory."""

import os
import resource
import time
from contextlib import suppress
from pathlib import Path

import pytest

from maniple.network import Fixed, Job, Network, Pipe, Program
from networks import counting, lines, run, writing
from support import children, until

MEGABYTE = 1 << 20


def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def numbered(number, size):
    def give():
        for value in range(number):
            yield value.to_bytes(8, "little") * (size // 8)

    return give


class Peak(Job):
    """A job that tells by how much its memory grew after its first blocks."""

    SETTLED = 40

    def setup(self):
        self.seen = 0
        self.at_first = 0

    def look(self):
        self.seen += 1
        if self.seen == self.SETTLED:
            self.at_first = peak()

    def close(self):
        print(f"{self.name} grew {(peak() - self.at_first) // MEGABYTE}", flush=True)


def growth(shown, name):
    return next(int(line.split()[-1]) for line in shown.splitlines() if f"{name} grew" in line)


@pytest.mark.parametrize(
    "megabytes", [150, pytest.param(1024, marks=pytest.mark.soak)], ids=["150 MB", "1 GB"]
)
def test_memory_stays_flat_before_a_slow_sink(megabytes):
    class Source(Peak):
        SETTLED = 400

        def run(self):
            for block in numbered(16 * megabytes, 65_536)():
                yield block
                self.look()

    class Middle(Peak):
        SETTLED = 400

        def run(self, block):
            self.look()
            return block

    class Sink(Job):
        number = 0

        def run(self, block):
            assert int.from_bytes(block[:8], "little") == self.number
            self.number += 1
            if self.number % 16 == 0:
                time.sleep(0.002)

    network = Network()
    network.add(Source(outputs=["a"]))
    network.add(Middle(inputs=["a"], outputs=["b"]))
    network.add(Sink(inputs=["b"]))
    shown = run(network)
    assert growth(shown, "Source") < 25
    assert growth(shown, "Middle") < 25


@pytest.mark.parametrize("seconds", [3, pytest.param(15, marks=pytest.mark.soak)])
def test_a_sink_that_stalls_loses_nothing(tmp_path, seconds):
    write = writing(tmp_path / "out")

    def sink(value):
        if value == 100:
            time.sleep(seconds)
        write(value)

    network = Network()
    network.add(counting(20_000), outputs=["a"], name="count")
    network.add(lambda n: n, inputs=["a"], outputs=["b"], name="m")
    network.add(sink, inputs=["b"], name="sink")
    run(network)
    assert lines(tmp_path / "out") == list(range(20_000))


@pytest.mark.parametrize("late", ["source", "middle", "sink"])
def test_a_late_starter_misses_nothing(tmp_path, late):
    class Late(Job):
        def setup(self):
            if self.name == late:
                time.sleep(1.5)

    class Source(Late):
        def run(self):
            yield from range(6000)

    class Middle(Late):
        def run(self, value):
            return value

    class Sink(Late):
        def setup(self):
            super().setup()
            self.write = writing(tmp_path / "out")

        def run(self, value):
            self.write(value)

    network = Network()
    network.add(Source(outputs=["a"], name="source"))
    network.add(Middle(["a"], ["b"], name="middle"))
    network.add(Sink(["b"], name="sink"))
    run(network)
    assert lines(tmp_path / "out") == list(range(6000))


def test_a_reader_whose_process_starts_late_misses_nothing(tmp_path, monkeypatch):
    from maniple.network.live.process import JobProcess

    start = JobProcess.start

    def later(self, *arguments, **options):
        if self.place == 1:
            time.sleep(1.5)
        start(self, *arguments, **options)

    monkeypatch.setattr(JobProcess, "start", later)
    network = Network()
    network.add(counting(6000), outputs=["a"], name="count")
    network.add(writing(tmp_path / "out"), inputs=["a"], name="sink")
    run(network)
    assert lines(tmp_path / "out") == list(range(6000))


def test_who_waits_costs_no_processor():
    class Cost(Job):
        def close(self):
            used = resource.getrusage(resource.RUSAGE_SELF)
            print("used", used.ru_utime + used.ru_stime, flush=True)

    class Middle(Cost):
        def run(self, value):
            return value

    class Join(Cost):
        def run(self, first, second):
            pass

    def slow():
        for number in range(20):
            time.sleep(0.1)
            yield number

    network = Network()
    # more than fits here: its first job is blocked, and the join has more of it than it takes
    network.add(counting(100_000), outputs=["a"], name="fast")
    network.add(Middle(inputs=["a"], outputs=["b"]))
    network.add(slow, outputs=["c"])
    network.add(Join(inputs=["b", "c"]))
    used = [float(line.split()[-1]) for line in run(network).splitlines() if "used" in line]
    assert len(used) == 2
    assert max(used) < 1.0


def test_a_job_that_makes_much_of_little_waits_for_its_reader():
    class Expand(Peak):
        SETTLED = 20

        def run(self, number):
            self.look()
            return number.to_bytes(8, "little") * (MEGABYTE // 8)

    class Slow(Job):
        number = 0

        def run(self, block):
            assert int.from_bytes(block[:8], "little") == self.number
            self.number += 1
            time.sleep(0.005)

    network = Network()
    network.add(counting(200), outputs=["a"], name="count")
    network.add(Expand(inputs=["a"], outputs=["b"]))
    network.add(Slow(inputs=["b"]))
    assert growth(run(network), "Expand") < 30


def test_block_counts_that_multiply_do_not_wait_for_each_other():
    network = Network()
    network.add(counting(20_000), outputs=["a"], name="count")
    network.add(lambda n: n[0], inputs=[Pipe("a", count=100)], outputs=["b"], name="m")
    network.add(lambda n: print(n[-1]), inputs=[Pipe("b", count=100)], name="p")
    assert run(network).split()[2::3] == ["9900", "19900"]


def test_a_count_of_blocks_that_are_more_than_a_pipe_holds():
    network = Network()
    network.add(numbered(120, 1 << 18), outputs=["a"], name="count")
    network.add(lambda blocks: print(len(blocks)), inputs=[Pipe("a", count=60)], name="p")
    assert run(network).split()[2::3] == ["60", "60"]


@pytest.mark.parametrize("size", [8, 65_536])
def test_a_cycle_with_an_optional_pipe_ends(size):
    def work(number, back):
        return number.to_bytes(8, "little") * (size // 8)

    network = Network()
    network.add(counting(10_000), outputs=["n"], name="count")
    network.add(work, inputs=["n", Pipe("back", optional=True, blocks=1)], outputs=["x"])
    network.add(lambda x: x, inputs=["x"], outputs=[Pipe("back", blocks=1), "y"], name="loop")
    network.add(lambda y: None, inputs=["y"], name="sink")
    began = time.monotonic()
    run(network)
    # a wait of 20 ms in each round would make it 200 s
    assert time.monotonic() - began < 150


def test_blocks_that_are_dropped_without_a_trace_do_not_fill_the_pipe():
    class Slow(Job):
        MAX_QUEUE = 3

        def setup(self):
            self.seen = []

        def run(self, value):
            self.seen.append(value)
            time.sleep(0.001)

        def close(self):
            print(self.seen == sorted(set(self.seen)), len(self.seen) < 30_000, self.seen[-1])

    pipe = Pipe("a")
    pipe.loose = True
    network = Network()
    network.add(counting(30_000), outputs=["a"], name="count")
    network.add(Slow(inputs=[pipe]))
    assert run(network).split()[2:] == ["True", "True", "29999"]


def test_a_writer_does_not_wait_for_a_bounded_input_whose_partner_is_late(tmp_path):
    given = tmp_path / "given"

    class Source(Job):
        def run(self):
            # more than a pipe holds
            yield from range(10_000)
            given.touch()

    def late():
        until(given.exists)
        for number in range(10_000):
            # slower than the join, which drops of this one as well otherwise
            time.sleep(0.0001)
            yield number

    class Join(Job):
        MAX_QUEUE = 10

        def setup(self):
            self.stand_ins = 0
            self.numbers = []

        def run(self, first, second):
            self.stand_ins += self.corrupted
            self.numbers.append(second)

        def close(self):
            known = [number for number in self.numbers if number is not None]
            print("calls", len(self.numbers), known == sorted(known), self.stand_ins)

    network = Network()
    network.add(Source(outputs=["a"]))
    network.add(late, outputs=["b"])
    network.add(Join(inputs=["a", "b"]))
    words = run(network).split()
    at = words.index("calls")
    assert words[at + 1 : at + 3] == ["10000", "True"]
    assert int(words[at + 3]) >= 9_990


def test_a_reader_that_has_enough_does_not_stop_its_neighbour(tmp_path):
    class Enough(Job):
        def run(self, value):
            if value == 10:
                self.finish()

    network = Network()
    network.add(counting(20_000), outputs=["a", "b"], name="count")
    network.add(Enough(inputs=["a"]))
    network.add(writing(tmp_path / "out"), inputs=["b"], name="sink")
    run(network)
    assert lines(tmp_path / "out") == list(range(20_000))


def test_a_value_is_not_kept_back_while_the_next_one_takes_long(tmp_path):
    path = tmp_path / "out"

    def bursts():
        for burst in range(3):
            yield from range(40 * burst, 40 * burst + 40)
            # the next one takes as long as these are on their way
            until(lambda end=40 * burst + 40: lines(path) == list(range(end)))

    network = Network()
    network.add(bursts, outputs=["t"])
    network.add(writing(path), inputs=["t"], name="watch")
    run(network)
    assert lines(path) == list(range(120))


def test_large_blocks_of_an_optional_pipe_do_not_crawl(tmp_path):
    network = Network()
    network.add(numbered(3000, 65_536), outputs=["big"], name="big")
    seen = tmp_path / "seen"

    def ticks():
        number = 0
        while not seen.exists():
            time.sleep(0.02)
            yield number
            number += 1

    def watch(tick, block):
        if block is not None and int.from_bytes(block[:8], "little") == 2999:
            seen.touch()

    network.add(ticks, outputs=["t"])
    network.add(watch, inputs=["t", Pipe("big", optional=True)])
    began = time.monotonic()
    run(network)
    # a tick for each of them would make it 60 s
    assert time.monotonic() - began < 50


def test_a_program_may_close_its_outputs_and_read_on(tmp_path):
    script = f'exec 3>"$4"; echo one >&3; exec 3>&-; cat "$2" | wc -l >{tmp_path}/count'
    network = Network()
    network.add(
        lambda: (str(n) for n in range(50_000)), outputs=[Pipe("n", encoding="lines")], name="s"
    )
    network.add(
        Program(
            ["sh", "-c", script, "sh"],
            [Pipe("n", encoding="lines")],
            [Pipe("m", encoding="lines")],
            name="reads-on",
            descriptors=False,
        )
    )
    network.add(print, inputs=[Pipe("m", encoding="lines")], name="p")
    assert "one" in run(network)
    assert (tmp_path / "count").read_text().strip() == "50000"


def test_a_program_that_is_faster_than_its_reader_waits():
    size = MEGABYTE // 4
    ours = Path("/proc/self/cmdline").read_bytes()
    network = Network()
    command = ["sh", "-c", f'head -c {300 * size} /dev/zero >"$2"', "sh"]
    network.add(Program(command, outputs=[Pipe("x", encoding=Fixed(size))], name="zeros"))

    class Sink(Job):
        def setup(self):
            self.seen = 0

        def run(self, block):
            time.sleep(0.003)
            self.seen += 1
            if self.seen in {30, 290}:
                sizes = [Path(f"/proc/{pid}/statm").read_text().split()[1] for pid in kin()]
                print(sum(map(int, sizes)) * 4096 // MEGABYTE)

    def kin():
        """The jobs of this network: what else the test's process has started is not ours."""
        for child in children(os.getppid()):
            with suppress(OSError):
                if Path(f"/proc/{child}/cmdline").read_bytes() == ours:
                    yield child

    network.add(Sink(inputs=[Pipe("x", encoding=Fixed(size))]))
    first, last = (int(line.split()[-1]) for line in run(network).splitlines())
    assert last - first < 25
