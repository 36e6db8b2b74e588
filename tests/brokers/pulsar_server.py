"""Apache Pulsar for tests: broker, storage and metadata in one process, open to all who name no token."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from brokers.server import MissingError, Server, free_port, program

JARS = Path(__file__).resolve().parents[2] / ".servers" / "pulsar" / "jars"
KEY = b"a key of this test server, and of no other one"
USER = "minion"
PASSWORD = "right/word"
JAVA = [
    *("-Xmx768m", "-XX:MaxDirectMemorySize=512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *("-Dio.netty.tryReflectionSetAccessible=true", "-Dlog4j.configurationFile=log4j2.xml"),
]
OPENED = [
    *("java.base/java.nio", "java.base/java.util.zip", "java.base/jdk.internal.misc"),
    *("java.base/jdk.internal.platform", "java.base/sun.net"),
    *("java.management/sun.management", "jdk.management/com.sun.management.internal"),
]
LOGGING = """<Configuration status="ERROR">
  <Appenders><Console name="out"><PatternLayout pattern="%d %-5p %c{1} - %m%n"/></Console></Appenders>
  <Loggers><Root level="warn"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""


def _word(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(role: str = USER, key: bytes = KEY) -> str:
    """Make a JSON web token."""
    text = ".".join(_word(json.dumps(part).encode()) for part in ({"alg": "HS256"}, {"sub": role}))
    return f"{text}.{_word(hmac.digest(key, text.encode(), hashlib.sha256))}"


class PulsarServer(Server):
    """The broker. Who shows no token or password may do all; a wrong one is refused."""

    name: ClassVar[str] = "pulsar"

    def __init__(self) -> None:
        super().__init__()
        self.tls_port = free_port()
        self.web_port = free_port()
        self.bookie_port = free_port()
        self.java = ""
        self.ca = str(self.folder / "ca.pem")

    @property
    def admin(self) -> str:
        """Where the numbers are read."""
        return f"http://127.0.0.1:{self.web_port}"

    def prepare(self) -> None:
        if not JARS.is_dir():
            raise MissingError("Pulsar is not installed: scripts/brokers/pulsar .servers")
        self.java = program("java", "default-jre-headless")
        openssl = program("openssl", "openssl")
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        files = ["-keyout", "key.pem", "-out", "ca.pem"]
        subprocess.run(
            [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *names, *files],
            cwd=self.folder,
            check=True,
            capture_output=True,
            timeout=60,
        )
        hashed = subprocess.run(
            [openssl, "passwd", "-apr1", PASSWORD], check=True, capture_output=True, timeout=60
        )
        (self.folder / "passwords").write_text(f"{USER}:{hashed.stdout.decode().strip()}\n")
        (self.folder / "secret").write_bytes(KEY)
        (self.folder / "log4j2.xml").write_text(LOGGING)
        providers = "org.apache.pulsar.broker.authentication.AuthenticationProvider"
        lines = {
            "clusterName": "standalone",
            "bindAddress": "127.0.0.1",
            "advertisedAddress": "127.0.0.1",
            "brokerServicePort": self.port,
            "brokerServicePortTls": self.tls_port,
            "webServicePort": self.web_port,
            "tlsCertificateFilePath": self.ca,
            "tlsKeyFilePath": self.folder / "key.pem",
            "authenticationEnabled": "true",
            "authenticationProviders": f"{providers}Token,{providers}Basic",
            "anonymousUserRole": "anonymous",
            "tokenSecretKey": f"file://{self.folder}/secret",
            "basicAuthConf": f"file://{self.folder}/passwords",
            "managedLedgerDefaultEnsembleSize": 1,
            "managedLedgerDefaultWriteQuorum": 1,
            "managedLedgerDefaultAckQuorum": 1,
            "delayedDeliveryTickTimeMillis": 100,
            "isDelayedDeliveryDeliverAtTimeStrict": "true",
            # otherwise brokers hand out twice, now and then, what is redelivered (docs/queues/pulsar.md)
            "dispatcherDispatchMessagesInSubscriptionThread": "false",
            "brokerShutdownTimeoutMs": 2000,
            "keepAliveIntervalSeconds": 6,
            "allowLoopback": "true",
            "loadBalancerEnabled": "false",
            "systemTopicEnabled": "false",
            "topicLevelPoliciesEnabled": "false",
            "transactionCoordinatorEnabled": "false",
            "numIOThreads": 2,
            "numHttpServerThreads": 4,
        }
        text = "".join(f"{key}={value}\n" for key, value in lines.items())
        (self.folder / "broker.conf").write_text(text)

    def command(self) -> list[str]:
        opened = [word for name in OPENED for word in ("--add-opens", f"{name}=ALL-UNNAMED")]
        return [
            *(self.java, *JAVA, *opened, "-cp", f"{JARS}/*"),
            *("org.apache.pulsar.PulsarStandaloneStarter", "--config", "broker.conf"),
            *("--no-functions-worker", "--no-stream-storage"),
            *("--metadata-dir", "data/metadata", "--bookkeeper-dir", "data/bookkeeper"),
            *("--bookkeeper-port", str(self.bookie_port), "--advertised-address", "127.0.0.1"),
        ]

    def ready(self) -> bool:
        """Tell whether the broker has made its first namespace."""
        try:
            return "public/default" in self.ask("namespaces/public")
        except (OSError, ValueError):
            return False

    def ask(self, what: str, method: str = "GET", data: Any = None) -> Any:
        """Ask the admin interface."""
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(
            f"{self.admin}/admin/v2/{what}",
            data=body,
            method=method,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            text = response.read()
        return json.loads(text) if text else None

    def url(self, name: str, **options: Any) -> str:
        """Give the URL of a topic. Options: `port`, `tls`, `user` and `password`, those of URLs."""
        tls = options.pop("tls", False)
        port = options.pop("port", None)
        if port is not None:
            # the broker tells its own address, which is not the proxy's
            options.setdefault("direct", "yes")
        elif tls:
            port = self.tls_port
            options.setdefault("ca", self.ca)
        user = options.pop("user", "")
        password = options.pop("password", None)
        login = "" if password is None else f"{user}:{password}@"
        query = f"?{urlencode(options, quote_via=quote)}" if options else ""
        scheme = "pulsar+ssl" if tls else "pulsar"
        return f"{scheme}://{login}127.0.0.1:{port or self.port}/{name}{query}"
