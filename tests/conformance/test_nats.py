"""A queue on a NATS server passes the conformance suite."""

from typing import ClassVar

import pytest

from brokers.nats_server import NatsServer
from conformance.broker_suite import BrokerConformance
from conformance.queue_suite import RealTime

pytestmark = pytest.mark.xdist_group("nats")


class TestNats(RealTime, BrokerConformance):
    Server = NatsServer
    TTL = 1.5
    patience = 0.1
    # a holder that is not given the processor for some seconds keeps its tasks
    OPTIONS: ClassVar = {"silence": 8}
