"""NATS servers with JetStream on the loopback: with a password, TLS, credentials, or no JetStream."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import time
import urllib.request
from typing import Any
from urllib.parse import quote, urlencode

from brokers.server import Server, free_port, program

USER = "minion"
PASSWORD = "p%ss word"
TOKEN = "t0ken"
NEEDED = """
permissions {
  publish: { allow: ["$JS.API.>", "$JS.ACK.>", "maniple.>"] }
  subscribe: { allow: ["_INBOX.>"] }
}
"""


class NatsServer(Server):
    """It asks for a password, which `url` gives."""

    name = "nats"
    scheme = "nats"

    def prepare(self) -> None:
        self.monitor = free_port()
        program("nats-server", "nats-server")
        lines = [
            f'listen: "127.0.0.1:{self.port}"',
            f'http: "127.0.0.1:{self.monitor}"',
            *self.settings(),
        ]
        (self.folder / "server.conf").write_text("\n".join(lines))

    def settings(self) -> list[str]:
        users = [
            f'{{ user: "{USER}", password: "{PASSWORD}" }}',
            f'{{ user: "narrow", password: "pw", {NEEDED} }}',
            '{ user: "locked", password: "pw", permissions { publish: "nothing" } }',
        ]
        return [self.jetstream(), f"authorization {{ users: [{', '.join(users)}] }}"]

    def jetstream(self) -> str:
        return f'jetstream {{ store_dir: "{self.folder}" }}'

    def command(self) -> list[str]:
        return [program("nats-server", "nats-server"), "-c", str(self.folder / "server.conf")]

    def login(self, options: dict[str, Any]) -> str:
        user = quote(options.pop("user", USER))
        return f"{user}:{options.pop('password', quote(PASSWORD))}@"

    def url(self, name: str, **options: Any) -> str:
        port = options.pop("port", self.port)
        login = self.login(options)
        query = urlencode(options)
        url = f"{self.scheme}://{login}127.0.0.1:{port}/{name}"
        return f"{url}?{query}" if query else url

    def received(self) -> int:
        """Count the messages that the server has got from clients."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor}/varz", timeout=10) as page:
            return json.load(page)["in_msgs"]


class BareServer(NatsServer):
    """It has no JetStream, and a token."""

    name = "nats-bare"

    def settings(self) -> list[str]:
        return [f'authorization {{ token: "{TOKEN}" }}']

    def login(self, options: dict[str, Any]) -> str:
        return f"{options.pop('token', TOKEN)}@"


class NatsTlsServer(NatsServer):
    """It speaks TLS only, with a certificate of its own making for 127.0.0.1."""

    name = "nats-tls"
    scheme = "nats+tls"

    def settings(self) -> list[str]:
        self.certificate = self.folder / "cert.pem"
        key = self.folder / "key.pem"
        make = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=maniple -keyout {key}"
        name = f"-addext subjectAltName=IP:127.0.0.1 -out {self.certificate}"
        subprocess.run(
            [program("openssl", "openssl"), *make.split(), *name.split()],
            check=True,
            capture_output=True,
        )
        tls = f'tls {{ cert_file: "{self.certificate}", key_file: "{key}" }}'
        return [*super().settings(), tls]


class NatsCredsServer(NatsServer):
    """It lets those in who have the credentials file that it has written."""

    name = "nats-creds"

    def settings(self) -> list[str]:
        limits = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
        any_number = {"subs": -1, "data": -1, "payload": -1, "conn": -1}
        operator, account, system, user = Key("O"), Key("A"), Key("A"), Key("U")
        operator_jwt = operator.sign(operator, {"type": "operator", "version": 2})
        kind = {"type": "account", "version": 2}
        account_jwt = operator.sign(account, {"limits": {**any_number, **limits}, **kind})
        system_jwt = operator.sign(system, {"limits": any_number, **kind})
        user_jwt = account.sign(user, {**any_number, "type": "user", "version": 2})
        self.creds = self.folder / "user.creds"
        self.creds.write_text(
            f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )
        return [
            self.jetstream(),
            f"operator: {operator_jwt}",
            "resolver: MEMORY",
            f"system_account: {system.name}",
            "resolver_preload: {",
            f"  {account.name}: {account_jwt}",
            f"  {system.name}: {system_jwt}",
            "}",
        ]

    def login(self, options: dict[str, Any]) -> str:
        return ""


class Key:
    """A key pair of NATS: `name` is the public one as text."""

    def __init__(self, kind: str) -> None:
        import nkeys

        prefixes = {
            "O": nkeys.PREFIX_BYTE_OPERATOR,
            "A": nkeys.PREFIX_BYTE_ACCOUNT,
            "U": nkeys.PREFIX_BYTE_USER,
        }
        seed = nkeys.encode_seed(os.urandom(32), prefixes[kind])
        self.seed = bytes(seed).decode()
        self._pair = nkeys.from_seed(bytearray(seed))
        self.name = bytes(self._pair.public_key).decode()

    def sign(self, subject: Key, claims: dict[str, Any]) -> str:
        """Make a JWT about another key."""
        body: dict[str, Any] = {
            "iat": int(time.time()),
            "iss": self.name,
            "name": "maniple",
            "sub": subject.name,
            "nats": claims,
        }
        digest = hashlib.sha256(json.dumps(body).encode()).digest()
        body["jti"] = base64.b32encode(digest).decode().rstrip("=")
        head = _encoded({"typ": "JWT", "alg": "ed25519-nkey"})
        text = f"{head}.{_encoded(body)}"
        signature = self._pair.sign(text.encode())
        return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def _encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
