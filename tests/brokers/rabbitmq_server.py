"""A RabbitMQ server for tests: one node with its own port mapper, on the loopback, TLS included.

It closes the channel of who holds a message for ten seconds, so that tests see what a server with
the usual half hour does to long tasks.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

import pika

from brokers.server import MissingError, Server, free_port, listens, program

HOME = Path("/usr/lib/rabbitmq/lib")
CONSUMER_TIMEOUT_SECONDS = 10.0
_CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
listeners.ssl.1 = 127.0.0.1:{tls_port}
ssl_options.cacertfile = {folder}/ca.pem
ssl_options.certfile = {folder}/ca.pem
ssl_options.keyfile = {folder}/key.pem
ssl_options.verify = verify_none
consumer_timeout = {timeout:.0f}
log.console = true
log.console.level = warning
log.file = false
disk_free_limit.absolute = 10MB
"""
_ADVANCED = """\
[{rabbit, [{channel_tick_interval, 1000}]},
 {kernel, [{inet_dist_use_interface, {127, 0, 0, 1}}]}].
"""
_CERTIFICATE = (
    "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
    "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out ca.pem"
)
# the port mapper must end with the server, also where only the server is killed
_COMMAND = 'setpriv --pdeathsig KILL "$1" -port "$2" -address 127.0.0.1 & exec "$3"'


class RabbitmqServer(Server):
    """One node; its name and data outlive a restart."""

    name: ClassVar[str] = "rabbitmq"

    def __init__(self) -> None:
        super().__init__()
        self.tls_port = free_port()
        self._mapper_port = free_port()

    def prepare(self) -> None:
        """Find the programs; write the configuration and a certificate."""
        program("rabbitmq-server", "rabbitmq-server")
        found = sorted(HOME.glob("rabbitmq_server-*/sbin/rabbitmq-server"))
        if not found:
            raise MissingError("rabbitmq-server is not installed: apt-get install rabbitmq-server")
        # the one in /usr/sbin changes the user when root calls it
        self._program = str(found[-1])
        self._mapper = program("epmd", "erlang-base")
        self._tool = str(found[-1].with_name("rabbitmqctl"))
        self._certify()
        folder = self.folder
        (folder / "rabbitmq.conf").write_text(
            _CONFIG.format(
                port=self.port,
                tls_port=self.tls_port,
                folder=folder,
                timeout=1000 * CONSUMER_TIMEOUT_SECONDS,
            )
        )
        (folder / "advanced.config").write_text(_ADVANCED)
        (folder / "plugins").write_text("[].\n")
        (folder / "env.conf").touch()
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"maniple{self.port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # its script becomes the server then, instead of staying before it
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _certify(self) -> None:
        subprocess.run(
            _CERTIFICATE.split(),
            cwd=self.folder,
            check=True,
            capture_output=True,
            timeout=60,
        )

    def command(self) -> list[str]:
        """Start the port mapper, and become the server."""
        words = [self._mapper, str(self._mapper_port), self._program]
        return ["/bin/sh", "-c", _COMMAND, "sh", *words]

    def ready(self) -> bool:
        """Tell whether one can log in and the queues can be used."""
        if not listens(self.port):
            return False
        with suppress(pika.exceptions.AMQPError, OSError):
            self.connection().close()
            return True
        return False

    def connection(self) -> pika.BlockingConnection:
        """Connect as somebody else would."""
        parameters = pika.ConnectionParameters(
            "127.0.0.1", self.port, socket_timeout=5, stack_timeout=10, heartbeat=0
        )
        return pika.BlockingConnection(parameters)

    def url(self, name: str, **options: Any) -> str:
        """Give the URL of the queue of this name; `port=`, `user=`, `vhost=` and such are ours."""
        port = options.pop("port", self.port)
        scheme = options.pop("scheme", "amqp")
        user, password = options.pop("user", None), options.pop("password", None)
        vhost = options.pop("vhost", None)
        login = "" if user is None else f"{user}:{password}@"
        path = name if vhost is None else f"{quote(vhost, safe='')}/{name}"
        query = f"?{urlencode(options)}" if options else ""
        return f"{scheme}://{login}127.0.0.1:{port}/{path}{query}"

    def control(self, *words: str) -> str:
        """Run rabbitmqctl on it."""
        done = subprocess.run(
            [self._tool, "-q", *words],
            env=self.environment,
            cwd=self.folder,
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return done.stdout
