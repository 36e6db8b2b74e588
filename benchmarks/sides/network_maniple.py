"""Maniple's networks: `ints N`, `blocks N`, `latency N`, `memory N`, `start JOBS`."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from maniple.network import CSVSink, Job, Network
from maniple.network.live.console import Console
from maniple.network.live.run import LocalRun

SIZE = 65_536


def run(network: Network) -> str:
    """Run a network; return what its jobs printed."""
    shown = io.BytesIO()
    console = Console([job.name for job in network.jobs], shown, raw=True)
    LocalRun(network, console).run()
    console.close()
    return shown.getvalue().decode()


class Ends(Job):
    """Prints when it has started and ended."""

    def close(self) -> None:
        """Tell the time."""
        print(json.dumps({"end": time.time()}), flush=True)


class CsvEnds(CSVSink):
    """Tells when its last row is written."""

    def close(self) -> None:
        """Tell the time."""
        super().close()
        print(json.dumps({"end": time.time()}), flush=True)


class CountEnds(Ends):
    """Counts blocks."""

    def run(self, block: bytes) -> None:
        """Look at its length."""
        assert len(block) == SIZE


def first(values: Iterator[Any]) -> Any:
    """Give values, and tell when the first one was given."""

    def source() -> Iterator[Any]:
        print(json.dumps({"begin": time.time()}), flush=True)
        yield from values

    return source


def between(text: str) -> float:
    """Seconds from the first block given to the end of the sink."""
    told: dict[str, float] = {}
    for line in text.splitlines():
        told.update(json.loads(line))
    return told["end"] - told["begin"]


def ints(number: int) -> dict[str, float]:
    """Three jobs, ints to CSV, flushed each row."""
    network = Network()
    network.add(first(iter(range(number))), outputs=["a"])
    network.add(lambda value: 2 * value, inputs=["a"], outputs=["b"])
    network.add(CsvEnds("out.csv", ["b"]))
    seconds = between(run(network))
    with open("out.csv", encoding="ascii") as file:
        rows = file.read().split()[1:]
    if [int(row) for row in rows] != [2 * value for value in range(number)]:
        sys.exit("rows are missing or out of order")
    return {"rate": number / seconds}


def large(number: int) -> Iterator[bytes]:
    """Blocks of 64 KiB, no two the same object."""
    for value in range(number):
        yield value.to_bytes(8, "little") * (SIZE // 8)


def blocks(number: int) -> dict[str, float]:
    """Three jobs, 64 KiB blocks."""
    network = Network()
    network.add(first(large(number)), outputs=["a"])
    network.add(lambda block: block, inputs=["a"], outputs=["b"])
    network.add(CountEnds(inputs=["b"]))
    return {"rate": number / between(run(network))}


def latency(number: int) -> dict[str, float]:
    """One hop, a small block each millisecond."""

    def ticks() -> Iterator[float]:
        for _ in range(number):
            time.sleep(0.001)
            yield time.perf_counter()

    class Watch(Job):
        """Keeps how long each block took."""

        def setup(self) -> None:
            """Begin."""
            self.took: list[float] = []

        def run(self, sent: float) -> None:
            """Note one."""
            self.took.append(time.perf_counter() - sent)

        def close(self) -> None:
            """Tell median and p99."""
            took = sorted(self.took)
            found = {"median": took[len(took) // 2] * 1e3, "p99": took[len(took) * 99 // 100] * 1e3}
            print(json.dumps(found))

    network = Network()
    network.add(ticks, outputs=["a"])
    network.add(Watch(inputs=["a"]))
    found: dict[str, float] = json.loads(run(network))
    return found


def memory(number: int) -> dict[str, float]:
    """The middle job's memory after so many 64 KiB blocks."""

    class Middle(Job):
        """Passes blocks on."""

        def run(self, block: bytes) -> bytes:
            """Do nothing."""
            return block

        def close(self) -> None:
            """Tell the most memory that was resident."""
            with open("/proc/self/status", encoding="ascii") as file:
                peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
            print(json.dumps({"mb": peak * 1024 / 1e6}))

    network = Network()
    network.add(lambda: large(number), outputs=["a"], name="source")
    network.add(Middle(inputs=["a"], outputs=["b"]))
    network.add(lambda _: None, inputs=["b"], name="sink")
    found: dict[str, float] = json.loads(run(network))
    return found


def start(jobs: int) -> dict[str, float]:
    """From the start of a long chain to its first block at the sink."""
    network = Network()
    network.add(lambda: iter([1]), outputs=["p0"], name="source")
    for place in range(jobs - 2):
        network.add(
            lambda value: value, inputs=[f"p{place}"], outputs=[f"p{place + 1}"], name=f"j{place}"
        )
    network.add(lambda _: print(time.time()), inputs=[f"p{jobs - 2}"], name="sink")
    began = time.time()
    return {"seconds": float(run(network)) - began}


WHAT = {"ints": ints, "blocks": blocks, "latency": latency, "memory": memory, "start": start}
sys.setswitchinterval(0.005)
os.environ.setdefault("OMP_NUM_THREADS", "1")
print(json.dumps(WHAT[sys.argv[1]](int(sys.argv[2]))))
