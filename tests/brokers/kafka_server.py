"""Apache Kafka for tests: one node that is broker and controller, with a listener for each way in."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from brokers.server import MissingError, Server, free_port, program

JARS = Path(__file__).resolve().parents[2] / ".servers" / "kafka" / "jars"
USER = "minion"
PASSWORD = "right/word"
JAVA = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]


class KafkaServer(Server):
    """The broker. Its listeners: open, behind the proxy, with passwords, with TLS."""

    name: ClassVar[str] = "kafka"

    def __init__(self) -> None:
        super().__init__()
        # a client goes where the broker tells it to: to the port on which the proxy must listen
        self.proxied = free_port()
        self.proxy_port = free_port()
        self.sasl_port = free_port()
        self.tls_port = free_port()
        self.controller_port = free_port()
        self.java = ""
        self.ca = str(self.folder / "ca.pem")

    def prepare(self) -> None:
        if not JARS.is_dir():
            raise MissingError("Kafka is not installed: scripts/brokers/kafka .servers")
        self.java = program("java", "default-jre-headless")
        self._certificate()
        (self.folder / "server.properties").write_text(self._properties())
        self._run(
            "kafka.tools.StorageTool",
            *("format", "--standalone", "-t", "bWFuaXBsZS1rYWZrYS0wMQ", "-c", "server.properties"),
            *("--add-scram", f"SCRAM-SHA-256=[name={USER},password={PASSWORD}]"),
        )

    def _certificate(self) -> None:
        openssl = program("openssl", "openssl")
        made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
        name = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        subprocess.run(
            [openssl, *made, *name, "-keyout", "key.pem", "-out", "ca.pem"],
            cwd=self.folder,
            check=True,
            capture_output=True,
            timeout=60,
        )
        with (self.folder / "both.pem").open("wb") as both:
            for part in ("key.pem", "ca.pem"):
                both.write((self.folder / part).read_bytes())

    def _properties(self) -> str:
        ways = {
            "CLIENT": (self.port, self.port, "PLAINTEXT"),
            "BEHIND": (self.proxied, self.proxy_port, "PLAINTEXT"),
            "SASL": (self.sasl_port, self.sasl_port, "SASL_PLAINTEXT"),
            "TLS": (self.tls_port, self.tls_port, "SSL"),
            "CONTROLLER": (self.controller_port, self.controller_port, "PLAINTEXT"),
        }
        open_ways = [name for name in ways if name != "CONTROLLER"]
        at = "127.0.0.1"
        plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
        lines = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": f"{at}:{self.controller_port}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "CLIENT",
            "listeners": ",".join(f"{n}://{at}:{w[0]}" for n, w in ways.items()),
            "advertised.listeners": ",".join(f"{n}://{at}:{ways[n][1]}" for n in open_ways),
            "listener.security.protocol.map": ",".join(f"{n}:{w[2]}" for n, w in ways.items()),
            "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
            "listener.name.sasl.plain.sasl.jaas.config": (
                f'{plain} required user_{USER}="{PASSWORD}";'
            ),
            "listener.name.sasl.scram-sha-256.sasl.jaas.config": f"{scram} required;",
            "listener.name.tls.ssl.keystore.type": "PEM",
            "listener.name.tls.ssl.keystore.location": self.folder / "both.pem",
            "log.dirs": self.folder / "data",
            "num.partitions": 1,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 1,
            "group.initial.rebalance.delay.ms": 0,
            # one that was killed comes back as soon as it is missed; one that was not given the
            # processor for a while is not missed
            "broker.session.timeout.ms": 5000,
            "broker.heartbeat.interval.ms": 500,
            "auto.create.topics.enable": "false",
            "num.network.threads": 2,
            "num.io.threads": 2,
            "num.replica.fetchers": 1,
            "background.threads": 1,
            # so many small logs in one test run: they need not be prepared in full
            "log.index.size.max.bytes": 65536,
        }
        return "".join(f"{name}={value}\n" for name, value in lines.items())

    def _java(self, main: str, *words: str) -> list[str]:
        return [self.java, *JAVA, "-cp", f"{JARS}/*", main, *words]

    def _run(self, main: str, *words: str) -> None:
        done = subprocess.run(
            self._java(main, *words),
            cwd=self.folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def command(self) -> list[str]:
        return self._java("kafka.Kafka", "server.properties")

    def url(self, name: str, **options: Any) -> str:
        """Give a URL; `port=`, `user=` and `password=`, `tls=True` choose the listener."""
        port = options.pop("port", None)
        user, password = options.pop("user", None), options.pop("password", None)
        tls = options.pop("tls", False)
        login = ""
        if user is not None:
            login = f"{quote(user, safe='')}:{quote(password, safe='%')}@"
            port = self.sasl_port
        if tls:
            port = self.tls_port
        scheme = "kafka+ssl" if tls else "kafka"
        query = f"?{urlencode(options)}" if options else ""
        return f"{scheme}://{login}127.0.0.1:{port or self.port}/{name}{query}"
