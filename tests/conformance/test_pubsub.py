"""Google Cloud Pub/Sub passes the conformance suite, as far as its fake can tell."""

import time
from typing import ClassVar

import pytest

from brokers.pubsub_server import PubsubServer
from conformance.broker_suite import BrokerConformance
from maniple.urls import open_queue


@pytest.mark.xdist_group("pubsub")
class TestPubsub(BrokerConformance):
    Server = PubsubServer
    OPTIONS: ClassVar = {"hold": 10, "quiet": 12}
    real = True
    # the fake gives out what waits to whoever asks
    patience = 0.1

    def advance(self, seconds):
        self.server.advance(seconds)

    def renew(self):
        super().renew()
        self.OPTIONS = {"hold": self.TTL, "quiet": self.TTL + 2}

    def make(self, tmp_path, **_):
        # our clocks go with the server's
        server = self.server
        return open_queue(
            self.url(),
            clock=lambda: time.clock_gettime(time.CLOCK_BOOTTIME) + server.ahead,
            wall=lambda: time.time() + server.ahead,
        )
