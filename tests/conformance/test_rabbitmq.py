"""The queue on RabbitMQ passes the suites, with leases that are replaced every three seconds."""

from typing import ClassVar

import pytest

from brokers.rabbitmq_server import RabbitmqServer
from conformance.broker_suite import BrokerConformance
from conformance.queue_suite import RealTime

pytestmark = pytest.mark.xdist_group("rabbitmq")


class TestRabbitmq(RealTime, BrokerConformance):
    Server = RabbitmqServer
    TTL = 1.2
    OPTIONS: ClassVar[dict] = {"rotate": 3}
    patience = 0.15
