"""Bare carriers, three processes in a row: KIND WHAT N.

KIND is `zmq` (PUSH/PULL over ipc, block by block), `fifo` (named pipes and pickle) or `queue`
(multiprocessing). WHAT is `ints` (to CSV, flushed each row), `blocks` (64 KiB) or `latency`.
None of them numbers, acknowledges or repeats: what a process that dies holds is lost.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import pickle
import sys
import time
from collections.abc import Callable

SIZE = 65_536
END = None


def zmq_ends(path: str) -> tuple[Callable, Callable]:
    """A PUSH and a PULL socket, made in the process that uses them."""
    import zmq

    def writer():
        socket = zmq.Context.instance().socket(zmq.PUSH)
        socket.setsockopt(zmq.SNDHWM, 1000)
        socket.connect(f"ipc://{path}")
        return lambda value: socket.send(pickle.dumps(value))

    def reader():
        socket = zmq.Context.instance().socket(zmq.PULL)
        socket.setsockopt(zmq.RCVHWM, 1000)
        socket.bind(f"ipc://{path}")
        return lambda: pickle.loads(socket.recv())

    return writer, reader


def fifo_ends(path: str) -> tuple[Callable, Callable]:
    """A named pipe."""
    os.mkfifo(path)

    def writer():
        file = open(path, "wb", buffering=0)  # noqa: SIM115 - open as long as the process
        return lambda value: pickle.dump(value, file)

    def reader():
        file = open(path, "rb")  # noqa: SIM115 - open as long as the process
        return lambda: pickle.load(file)

    return writer, reader


def queue_ends(_path: str) -> tuple[Callable, Callable]:
    """A bounded queue of multiprocessing."""
    queue = multiprocessing.get_context("fork").Queue(1000)
    return (lambda: queue.put), (lambda: queue.get)


def source(make_writer, what: str, number: int) -> None:
    """Give the blocks, and the time at which it began."""
    put = make_writer()
    put(time.time())
    for value in range(number):
        if what == "blocks":
            put(value.to_bytes(8, "little") * (SIZE // 8))
        elif what == "latency":
            time.sleep(0.001)
            put(time.perf_counter())
        else:
            put(value)
    put(END)
    time.sleep(0.5)


def middle(make_reader, make_writer) -> None:
    """Pass everything on."""
    get, put = make_reader(), make_writer()
    put(get())
    while (value := get()) is not END:
        put(value)
    put(END)
    time.sleep(0.5)


def sink(make_reader, what: str, number: int) -> None:
    """Take the blocks; print the figures."""
    get = make_reader()
    began = get()
    took = []
    seen = 0
    with open("out.csv", "w", newline="", encoding="ascii") as file:
        writer = csv.writer(file)
        while (value := get()) is not END:
            seen += 1
            if what == "ints":
                writer.writerow([value])
                file.flush()
            elif what == "latency":
                took.append(time.perf_counter() - value)
    if seen != number:
        sys.exit(f"{seen} blocks of {number} arrived")
    if took:
        took.sort()
        found = {"median": took[seen // 2] * 1e3, "p99": took[seen * 99 // 100] * 1e3}
    else:
        found = {"rate": number / (time.time() - began)}
    print(json.dumps(found), flush=True)


kind, what, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
ends = {"zmq": zmq_ends, "fifo": fifo_ends, "queue": queue_ends}[kind]
fork = multiprocessing.get_context("fork").Process
writer_a, reader_a = ends(os.path.abspath("a"))
if what == "latency":
    processes = [fork(target=source, args=(writer_a, what, number))]
    last = reader_a
else:
    writer_b, reader_b = ends(os.path.abspath("b"))
    processes = [
        fork(target=source, args=(writer_a, what, number)),
        fork(target=middle, args=(reader_a, writer_b)),
    ]
    last = reader_b
for process in processes:
    process.start()
sink(last, what, number)
for process in processes:
    process.join(5)
    process.kill()
