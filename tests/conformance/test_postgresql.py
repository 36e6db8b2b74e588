"""The queue in a PostgreSQL database passes the suite for brokers."""

from typing import ClassVar

import pytest

from brokers.postgresql_server import PostgresqlServer
from conformance.broker_suite import BrokerConformance
from maniple.queues.postgresql import PostgresqlQueue

pytestmark = pytest.mark.xdist_group("postgresql")


class TestPostgresql(BrokerConformance):
    Server = PostgresqlServer
    PASSWORD_VARIABLE = "PGPASSWORD"
    OPTIONS: ClassVar[dict] = {"sslmode": "disable"}
    patience = 0.01

    def make(self, tmp_path, **time):
        return PostgresqlQueue(self.url().removeprefix("postgresql:"), **time)
