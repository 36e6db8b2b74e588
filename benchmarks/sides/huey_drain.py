"""Empties a SqliteHuey by its consumer with 2 worker processes: TASKS."""

import json
import subprocess
import sys
from pathlib import Path

import huey_app
from ticks import between

tasks = int(sys.argv[1])
for number in range(tasks):
    huey_app.noop(number)
consumer = Path(sys.executable).parent / "huey_consumer"
words = [consumer, "huey_app.huey", "-k", "process", "-w", "2", "-d", "0.01", "-q"]
process = subprocess.Popen(words, env={"PYTHONPATH": str(Path(__file__).parent)})
seconds = between("ticks", tasks, lambda: process.poll() is None)
process.terminate()
print(json.dumps({"seconds": seconds}))
