"""A minion for the conformance suite: drains a queue and writes down every lease and every ack."""

import os
import random
import signal
import sys
import time
from pathlib import Path

from maniple.urls import open_queue

url, events, seed, *hold = sys.argv[1:]
over = Path(events).with_name("over")
log = os.open(events, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
chance = random.Random(int(seed))


def note(what, leases, began):
    now = time.monotonic_ns()
    os.write(log, "".join(f"{what} {lease.task.id} {began} {now}\n" for lease in leases).encode())


queue = open_queue(url, create=False)
started = False
found = time.monotonic()
while True:
    began = time.monotonic_ns()
    leases = queue.lease(chance.randint(1, 6), 60.0, wait=0.02)
    note("leased", leases, began)
    idle = False
    if not leases:
        stats = queue.stats()
        # where leases cannot be counted, silence tells that nothing is left
        quiet = 0.0 if stats.leased is not None else queue.quiet
        idle = stats.drained and time.monotonic() - found >= quiet
    if not started and (leases or (idle and not hold)):
        started = True
        os.write(1, b"x")
    if leases and hold:
        signal.pause()
    # who leaves before the kills are over cannot be killed
    if idle and over.exists():
        break
    if not leases:
        continue
    found = time.monotonic()
    time.sleep(chance.uniform(0, 0.003))
    if chance.random() < 0.1:
        back = leases.pop()
        queue.nack([back], attempted=False)
        note("returned", [back], began)
    lost = queue.ack(leases)
    note("acked", [lease for lease in leases if lease not in lost], began)
queue.close()
