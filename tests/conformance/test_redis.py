"""The queue `redis:` passes the suites, on one server and on a cluster of three."""

import pytest

from brokers.redis_server import RedisCluster, RedisServer
from conformance.broker_suite import BrokerConformance
from maniple.queues.redis import RedisQueue

pytestmark = pytest.mark.xdist_group("redis")


class TestRedis(BrokerConformance):
    Server = RedisServer
    # a call returns when everything has happened
    patience = 0.0

    def make(self, tmp_path, **time):
        return RedisQueue(self.url().partition(":")[2], **time)


class TestRedisCluster(TestRedis):
    Server = RedisCluster
    STORM = 3000

    @pytest.fixture
    def proxy(self):
        pytest.skip("a cluster's client learns where the nodes are, and goes past a proxy")
