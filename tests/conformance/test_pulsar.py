"""Pulsar, held to what every queue must do."""

import pytest

from brokers.pulsar_server import PulsarServer
from conformance.broker_suite import BrokerConformance
from conformance.queue_suite import RealTime

pytestmark = pytest.mark.xdist_group("pulsar")


class TestPulsar(RealTime, BrokerConformance):
    Server = PulsarServer
    TTL = 2.0
    patience = 0.2
