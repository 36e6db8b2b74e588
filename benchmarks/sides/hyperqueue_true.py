"""Runs `true` through HyperQueue's local cluster: TASKS CORES. Server and submission count."""

import json
import os
import sys
import tempfile
import time

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

tasks, cores = int(sys.argv[1]), int(sys.argv[2])
start = time.perf_counter()
with tempfile.TemporaryDirectory(dir=os.getcwd()) as folder, LocalCluster(folder) as cluster:
    cluster.start_worker(WorkerConfig(cores=cores))
    client = cluster.client()
    job = Job(default_workdir=folder)
    for number in range(tasks):
        job.program(["true", str(number)], stdout=None, stderr=None)
    if not client.wait_for_jobs([client.submit(job)]):
        sys.exit("HyperQueue's job failed")
    seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds}))
