"""A dramatiq actor that does nothing, on the broker at BENCH_URL."""

import os

import dramatiq
from ticks import tick

if os.environ["BENCH_URL"].startswith("amqp"):
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    broker = RabbitmqBroker(url=os.environ["BENCH_URL"])
else:
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=os.environ["BENCH_URL"])
dramatiq.set_broker(broker)


@dramatiq.actor
def noop(x):  # noqa: ARG001 - a task has a param
    """Note that it ran."""
    tick("ticks")


def fill(tasks):
    """Put the tasks."""
    for number in range(tasks):
        noop.send(number)
