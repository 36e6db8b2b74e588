"""A Redis server for tests, or one node of a cluster."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from brokers.server import Server, free_port, program

SLOTS = 16384
PATIENCE = 120.0


class RedisServer(Server):
    """One server; what it confirmed is on disk."""

    name = "redis"

    def prepare(self) -> None:
        program("redis-cli", "redis-tools")
        (self.folder / "redis.conf").write_text("\n".join(self.settings()) + "\n")

    def settings(self) -> list[str]:
        """Give the lines of its configuration."""
        return [
            "bind 127.0.0.1",
            f"port {self.port}",
            f"dir {self.folder}",
            "appendonly yes",
            "appendfsync always",
            'save ""',
        ]

    def command(self) -> list[str]:
        return [program("redis-server", "redis-server"), str(self.folder / "redis.conf")]

    def ready(self) -> bool:
        return self.cli("ping") == "PONG"

    def cli(self, *words: object) -> str:
        """Send a command; return what was answered."""
        done = subprocess.run(
            [program("redis-cli", "redis-tools"), *self.login(), *map(str, words)],
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return done.stdout.strip()

    def login(self) -> list[str]:
        """Give the options with which the command line reaches it."""
        return ["-p", str(self.port)]

    def url(self, name: str, **options: Any) -> str:
        """Give a URL; `port`, `user` and `password` go into it, other options after `?`."""
        port = options.pop("port", self.port)
        user, password = options.pop("user", ""), options.pop("password", "")
        login = f"{user}:{password}@" if user or password else ""
        query = "&".join(f"{key}={value}" for key, value in options.items())
        return f"redis://{login}127.0.0.1:{port}/{name}" + (f"?{query}" if query else "")


class RedisTlsServer(RedisServer):
    """One that speaks TLS only and knows a certificate that was made for it; it asks for ours."""

    name = "rediss"

    def prepare(self) -> None:
        openssl = program("openssl", "openssl")
        subprocess.run(
            [
                *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt"),
                *("ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
                *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", "key.pem", "-out", "cert.pem"),
            ],
            cwd=self.folder,
            check=True,
            capture_output=True,
        )
        super().prepare()

    def settings(self) -> list[str]:
        key, certificate = self.folder / "key.pem", self.folder / "cert.pem"
        return [
            *(line for line in super().settings() if not line.startswith("port")),
            "port 0",
            f"tls-port {self.port}",
            f"tls-cert-file {certificate}",
            f"tls-key-file {key}",
            f"tls-ca-cert-file {certificate}",
            "tls-auth-clients optional",
        ]

    @property
    def certificate(self) -> Path:
        """The file of its certificate, which is its own authority."""
        return self.folder / "cert.pem"

    def login(self) -> list[str]:
        return [*super().login(), "--tls", "--cacert", str(self.certificate)]

    def url(self, name: str, **options: Any) -> str:
        return super().url(name, **options).replace("redis:", "rediss:", 1)


class RedisNode(RedisServer):
    """A node that tells the others where it is."""

    name = "redis-node"

    def __init__(self) -> None:
        super().__init__()
        self.bus = free_port()

    def state(self) -> str:
        """Tell what it knows of its cluster."""
        return self.cli("cluster", "info")

    def settings(self) -> list[str]:
        return [
            *super().settings(),
            "cluster-enabled yes",
            f"cluster-port {self.bus}",
            "cluster-announce-ip 127.0.0.1",
            # without a node that is missed, the others would answer nobody
            "cluster-node-timeout 60000",
        ]


class RedisCluster(RedisNode):
    """A cluster of three masters; this is the first of them."""

    name = "redis-cluster"

    def __init__(self) -> None:
        super().__init__()
        self.others = [RedisNode(), RedisNode()]

    @property
    def nodes(self) -> list[RedisNode]:
        """All three."""
        return [self, *self.others]

    def prepare(self) -> None:
        super().prepare()
        for node in self.others:
            node.prepare()

    def start(self) -> None:
        for node in self.others:
            node.start()
        super().start()

    def ready(self) -> bool:
        if not super().ready():
            return False
        if "cluster_slots_assigned:0\n" in self.state().replace("\r", "") + "\n":
            self.found()
        return all("cluster_state:ok" in node.state() for node in self.nodes)

    def found(self) -> None:
        """Make one cluster of the nodes, each with a third of the slots."""
        share = -(-SLOTS // len(self.nodes))
        for place, node in enumerate(self.nodes):
            last = min((place + 1) * share, SLOTS) - 1
            node.cli("cluster", "addslotsrange", place * share, last)
            node.cli("cluster", "set-config-epoch", place + 1)
        for node in self.others:
            self.cli("cluster", "meet", "127.0.0.1", node.port, node.bus)

    def stop(self, *, hard: bool = False) -> None:
        super().stop(hard=hard)
        for node in self.others:
            node.stop(hard=hard)

    def remove(self) -> None:
        super().remove()
        for node in self.others:
            node.remove()
