"""Processes of a running network killed at random, with SIGKILL."""

import os
import random
import signal
import threading
import time

from maniple.network import Network, Pipe
from maniple.network.live.run import LocalRun
from networks import counting, lines, silent, writing
from support import until

BLOCKS = 6000
JOBS = 5
KILLS = 6
"""Of each job: fewer than may follow each other before a network ends."""


def test_thirty_kills_in_a_chain_of_five_jobs_lose_and_repeat_nothing(tmp_path):
    chance = random.Random(4)

    network = Network()
    network.add(counting(BLOCKS), outputs=["p0"], name="j0", rewinds=True)
    for place, middle in enumerate([1, 1, 2]):
        pipe = Pipe(f"p{place}", blocks=chance.choice([5, 100, 400]), count=middle)

        def work(value, count=middle):
            return value if count == 1 else value[0]

        network.add(work, inputs=[pipe], outputs=[f"p{place + 1}"], name=f"j{place + 1}")
    write = writing(tmp_path / "out")
    calm = tmp_path / "calm"

    def sink(value):
        # all others wait for this one: nobody is through before the storm is
        time.sleep(0.0025)
        if value == BLOCKS - 2:
            until(calm.exists, 300)
        write(value)

    network.add(sink, inputs=["p3"], name="j4")
    places = list(range(JOBS)) * KILLS
    chance.shuffle(places)
    killed = [0] * JOBS

    def storm(run):
        for place in places:
            if over.wait(chance.uniform(0.01, 0.25)):
                return
            # one that was killed is dead already
            while run.pids[place] in {0, killed[place]}:
                if over.wait(0.001):
                    return
            killed[place] = run.pids[place]
            os.kill(killed[place], signal.SIGKILL)
        calm.touch()

    over = threading.Event()

    with silent(network) as console:
        run = LocalRun(network, console, restart=True)
        thread = threading.Thread(target=storm, args=(run,))
        thread.start()
        try:
            run.run()
        finally:
            over.set()
            thread.join()
    assert run.restarts == [KILLS] * JOBS
    found = lines(tmp_path / "out")
    # a sink that dies between its last step and its return gets that block again
    twice = [place for place in range(1, len(found)) if found[place] == found[place - 1]]
    assert len(twice) <= KILLS
    for place in reversed(twice):
        del found[place]
    assert found == list(range(0, BLOCKS, 2))
