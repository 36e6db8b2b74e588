"""Runs no-op tasks through a peer's own workers, two of them: PEER TASKS, the broker at BENCH_URL.

Prints the seconds from the first task's run to the last's.
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

from ticks import between

COMMANDS = {
    "dramatiq": [["dramatiq", "dramatiq_app", "-p", "2"]],
    "taskiq": [
        ["taskiq", "worker", "taskiq_redis_app:broker", "-w", "2", "--log-level", "ERROR"],
    ],
    "rq": [["rq", "worker", "-q", "--url", os.environ["BENCH_URL"], "default"]] * 2,
    "celery": [["celery", "-A", "celery_app", "-q", "worker", "-c", "2", "-l", "ERROR"]],
    "procrastinate": [
        ["procrastinate", "--app", "procrastinate_app.app", "worker", "-c", "10"],
        ["procrastinate", "--app", "procrastinate_app.app", "worker", "-c", "10"],
    ],
}
COMMANDS["taskiq"][0] += ["--ack-type", "when_executed"]
APPS = {"taskiq": "taskiq_redis_app"}


def main() -> None:
    """Fill, start the workers, wait for the last task, end the workers."""
    peer, tasks = sys.argv[1], int(sys.argv[2])
    importlib.import_module(APPS.get(peer, f"{peer}_app")).fill(tasks)
    bin_folder = Path(sys.executable).parent
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    workers = [
        subprocess.Popen(
            [bin_folder / words[0], *words[1:]],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for words in COMMANDS[peer]
    ]
    try:
        seconds = between("ticks", tasks, lambda: all(w.poll() is None for w in workers))
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            try:
                worker.wait(10)
            except subprocess.TimeoutExpired:
                worker.kill()
    print(json.dumps({"seconds": seconds}))


main()
