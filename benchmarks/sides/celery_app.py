"""A celery task that does nothing, on the broker at BENCH_URL: acknowledged when it has run."""

import os

from celery import Celery
from ticks import tick

app = Celery("bench", broker=os.environ["BENCH_URL"])
app.conf.task_acks_late = True
app.conf.task_ignore_result = True
# quorum queues, as ours are, where the broker is RabbitMQ
if os.environ["BENCH_URL"].startswith("amqp"):
    app.conf.task_default_queue_type = "quorum"
    app.conf.worker_detect_quorum_queues = True
    app.conf.broker_transport_options = {"confirm_publish": True}


@app.task
def noop(x):  # noqa: ARG001 - a task has a param
    """Note that it ran."""
    tick("ticks")


def fill(tasks):
    """Put the tasks."""
    with app.producer_pool.acquire() as producer:
        for number in range(tasks):
            noop.apply_async((number,), producer=producer)
