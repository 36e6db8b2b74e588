"""The suite of all brokers, on Kafka."""

import pytest

from brokers.kafka_server import KafkaServer
from conformance.broker_suite import BrokerConformance
from conformance.queue_suite import RealTime

pytestmark = pytest.mark.xdist_group("kafka")


class TestKafka(RealTime, BrokerConformance):
    Server = KafkaServer
    TTL = 1.0
    # who reads to the end of the journal has missed nothing
    patience = 0.0
