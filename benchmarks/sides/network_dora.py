"""dora-rs, three nodes in a row (two for `latency`), its daemon in this process: WHAT N.

WHAT is `ints` (to CSV, flushed each row), `blocks` (64 KiB) or `latency`. Blocks that find a
node's queue full are dropped: the figures are of those that arrived, and tell how many that were.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from pathlib import Path

SIZE = 65_536
QUEUE = 1_000_000
"""Blocks that may wait for a node: the default of 10 drops nearly all."""


def source(node, what: str, number: int) -> None:
    """Give the blocks."""
    import pyarrow as pa

    Path("begin.txt").write_text(str(time.time()), encoding="ascii")
    for value in range(number):
        if what == "blocks":
            node.send_output("a", value.to_bytes(8, "little") * (SIZE // 8))
        elif what == "latency":
            time.sleep(0.001)
            node.send_output("a", pa.array([time.perf_counter()]))
        else:
            node.send_output("a", pa.array([value]))


def middle(node) -> None:
    """Pass everything on."""
    for event in node:
        if event["type"] == "INPUT":
            node.send_output("b", event["value"])
        elif event["type"] == "STOP":
            return


def sink(node, what: str, number: int) -> None:
    """Take the blocks; write the figures."""
    took = []
    seen = 0
    last = time.time()
    with open("out.csv", "w", newline="", encoding="ascii") as file:
        writer = csv.writer(file)
        for event in node:
            if event["type"] == "STOP":
                break
            if event["type"] != "INPUT":
                continue
            seen += 1
            if what == "ints":
                writer.writerow([event["value"][0].as_py()])
                file.flush()
            elif what == "latency":
                took.append(time.perf_counter() - event["value"][0].as_py())
            last = time.time()
    found = {"arrived": seen / number}
    if what == "latency":
        took.sort()
        found |= {"median": took[seen // 2] * 1e3, "p99": took[seen * 99 // 100] * 1e3}
    else:
        began = float(Path("begin.txt").read_text(encoding="ascii"))
        found["rate"] = seen / (last - began)
    Path("found.json").write_text(json.dumps(found), encoding="ascii")


def flow(what: str, number: int) -> None:
    """Run all of it."""
    import dora

    names = ["source", "sink"] if what == "latency" else ["source", "middle", "sink"]
    nodes = []
    for place, name in enumerate(names):
        node = {
            "id": name,
            "path": sys.executable,
            "args": f"{os.path.abspath(__file__)} {what} {number}",
            "env": {"ROLE": name},
        }
        if place:
            before = f"{names[place - 1]}/{'ab'[place - 1]}"
            node["inputs"] = {"x": {"source": before, "queue_size": QUEUE}}
        if name != "sink":
            node["outputs"] = ["ab"[place]]
        nodes.append(node)
    Path("flow.yml").write_text(json.dumps({"nodes": nodes}), encoding="ascii")
    dora.run("flow.yml", uv=False)
    print(Path("found.json").read_text(encoding="ascii"), flush=True)


what, number = sys.argv[1], int(sys.argv[2])
role = os.environ.get("ROLE")
if role is None:
    flow(what, number)
else:
    from dora import Node

    if role == "source":
        source(Node(), what, number)
    elif role == "middle":
        middle(Node())
    else:
        sink(Node(), what, number)
