"""How a backend is found by its name: through entry points, so that other packages add theirs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from maniple.errors import ManipleError, MissingExtraError, UsageError

# Our own backends resolve without reading the installed packages' metadata (10 ms saved at every
# start); the same names are declared as entry points, which a test holds against this table.
BUILT_IN: dict[str, dict[str, str]] = {
    "maniple.queues": {
        "sqlite": "maniple.queues.sqlite:SqliteQueue",
        "dir": "maniple.queues.folder:FolderQueue",
        "memory": "maniple.queues.memory:MemoryQueue",
        "file": "maniple.queues.lines:LinesQueue",
        "execo": "maniple.queues.execo:ExecoQueue",
        "redis": "maniple.queues.redis:RedisQueue",
        "rediss": "maniple.queues.redis:RedissQueue",
        "nats": "maniple.queues.nats:NatsQueue",
        "nats+tls": "maniple.queues.nats:NatsTlsQueue",
        "amqp": "maniple.queues.rabbitmq:RabbitmqQueue",
        "amqps": "maniple.queues.rabbitmq:RabbitmqsQueue",
        "kafka": "maniple.queues.kafka:KafkaQueue",
        "kafka+ssl": "maniple.queues.kafka:KafkaSslQueue",
        "pulsar": "maniple.queues.pulsar:PulsarQueue",
        "pulsar+ssl": "maniple.queues.pulsar:PulsarSslQueue",
        "gcps": "maniple.queues.pubsub:PubsubQueue",
        "postgresql": "maniple.queues.postgresql:PostgresqlQueue",
        "hub": "maniple.queues.hub:HubQueue",
    },
    "maniple.runners": {
        "process": "maniple.runners.process:ProcessRunner",
        "function": "maniple.runners.function:FunctionRunner",
        "container": "maniple.runners.container:ContainerRunner",
        "algorithm": "maniple.runners.algorithm:AlgorithmRunner",
    },
    "maniple.reporters": {
        "null": "maniple.reporters.null:NullReporter",
        "stdout": "maniple.reporters.stdout:StdoutReporter",
        "json": "maniple.reporters.jsonl:JsonlReporter",
    },
}

EXTRAS: dict[str, str] = {
    "execo": "execo",
    "pandas": "pandas",
    "docker": "docker",
    "redis": "redis",
    "nats-py": "nats",
    "pika": "rabbitmq",
    "confluent-kafka": "kafka",
    "google-cloud-pubsub": "pubsub",
    "psycopg": "postgresql",
    "pyzmq": "network",
    "wasmtime": "algorithm",
    "deno": "algorithm",
    "ziglang": "build",
    "websockets": "cluster",
    "httpx": "cluster",
    "fastapi": "hub",
    "uvicorn": "hub",
}
"""The extra of this distribution that brings each optional library."""


def missing_extra(library: str, what: str) -> MissingExtraError:
    """Build the error for an optional library that is not installed."""
    extra = EXTRAS[library]
    return MissingExtraError(
        f"{what} needs the library {library}: pip install 'maniple[{extra}]' brings it"
    )


def need_all(libraries: Mapping[str, str], extra: str, what: str) -> None:
    """Ask for several optional libraries at once, so that the user need not find out one by one.

    Args:
        libraries: the names by which each is installed, and imported.
        extra: brings them all.
        what: needs them.

    Raises:
        MissingExtraError: some are not installed.
    """
    from importlib.util import find_spec

    missing = [library for library, module in libraries.items() if find_spec(module) is None]
    if missing:
        raise MissingExtraError(
            f"{what} needs {' and '.join(missing)}: pip install 'maniple[{extra}]' brings all"
        )


def names(group: str) -> list[str]:
    """List the backends of a group that are installed."""
    from importlib.metadata import entry_points

    return sorted({*BUILT_IN.get(group, {}), *(e.name for e in entry_points(group=group))})


def find(group: str, name: str) -> Any:
    """Load a backend's class.

    Raises:
        UsageError: no backend has this name.
        MissingExtraError: its library is not installed.
    """
    target = BUILT_IN.get(group, {}).get(name)
    try:
        if target is not None:
            module, _, attribute = target.partition(":")
            return getattr(importlib.import_module(module), attribute)
        from importlib.metadata import entry_points

        for entry in entry_points(group=group, name=name):
            return entry.load()
    except ManipleError:
        raise
    except ImportError as error:
        raise MissingExtraError(f"backend {name!r} cannot be loaded: {error}") from None
    kind = group.rpartition(".")[2]
    raise UsageError(f"no backend {name!r} among the {kind}: there are {', '.join(names(group))}")
