"""An rq job that does nothing, on the Redis at BENCH_URL."""

import os

from redis import Redis
from rq import Queue
from ticks import tick


def noop(x):  # noqa: ARG001 - a task has a param
    """Note that it ran."""
    tick("ticks")


def fill(tasks):
    """Put the tasks."""
    queue = Queue("default", connection=Redis.from_url(os.environ["BENCH_URL"]))
    jobs = [Queue.prepare_data(noop, args=(number,), result_ttl=0) for number in range(tasks)]
    queue.enqueue_many(jobs)
