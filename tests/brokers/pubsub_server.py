"""Pub/Sub for tests: Google's wire-level fake, in a small program whose endpoint opens and closes.

The fake keeps its messages in memory. Stopping it closes the endpoint only: for clients that is an
outage like any other, and the data outlive it. Its clock goes forward when it is told to.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

from brokers.server import MissingError, Server, free_port, listens, program

PROGRAM = Path(__file__).resolve().parents[2] / ".servers" / "pubsub" / "pstest"
PROJECT = "test-project"
CALLER = "minion@test-project.iam.example.com"


class PubsubServer(Server):
    """The fake.

    Attributes:
        ahead: seconds by which its clock is ahead of ours.
    """

    name: ClassVar[str] = "pubsub"

    def __init__(self) -> None:
        super().__init__()
        self.control = free_port()
        self.ahead = 0.0

    def prepare(self) -> None:
        if not PROGRAM.exists():
            raise MissingError("the fake of Pub/Sub is not built: scripts/brokers/pubsub .servers")

    def command(self) -> list[str]:
        return [str(PROGRAM), str(self.port), str(self.control)]

    def ready(self) -> bool:
        return listens(self.control) and listens(self.port)

    def tell(self, command: str, **words: Any) -> str:
        """Give the program a command; return what it says."""
        url = f"http://127.0.0.1:{self.control}/{command}?{urlencode(words)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.read().decode()

    def start(self) -> None:
        if self.process is None:
            super().start()
        else:
            self.tell("open")

    def stop(self, *, hard: bool = False) -> None:
        if self.process is not None:
            self.tell("close", **({"hard": 1} if hard else {}))

    def remove(self) -> None:
        super().stop(hard=True)
        super().remove()

    def advance(self, seconds: float) -> None:
        """Move its clock forward."""
        self.ahead = float(self.tell("advance", seconds=seconds))

    def url(self, name: str, **options: Any) -> str:
        """Give a URL; with `user=` and `password=`, one whose credentials are no good."""
        port = options.pop("port", self.port)
        user, password = options.pop("user", None), options.pop("password", None)
        if user is None:
            options["insecure"] = 1
        else:
            file = self.folder / "credentials.json"
            key = {"type": "service_account", "client_email": user, "private_key": password}
            file.write_text(json.dumps({**key, "token_uri": f"http://127.0.0.1:{port}/token"}))
            options["credentials"] = file
        query = urlencode({"endpoint": f"127.0.0.1:{port}", **options})
        return f"gcps://{PROJECT}/{name}/{name}?{query}"


class PubsubTlsServer(PubsubServer):
    """The fake behind TLS, for one service account.

    Attributes:
        ca: the file of its certificate.
        credentials: the file of the account's key.
    """

    def prepare(self) -> None:
        super().prepare()
        openssl = program("openssl", "openssl")
        words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
        words += " -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out ca.pem"
        subprocess.run(
            [openssl, *words.split()],
            cwd=self.folder,
            check=True,
            capture_output=True,
            timeout=60,
        )
        self.ca = str(self.folder / "ca.pem")
        self.credentials = self.account(CALLER)

    def account(self, caller: str) -> str:
        """Write the key of a service account; return its file."""
        file = self.folder / f"{caller.partition('@')[0]}.json"
        account = {
            "type": "service_account",
            "project_id": PROJECT,
            "client_email": caller,
            "private_key_id": "1",
            "private_key": (self.folder / "key.pem").read_text(),
            "token_uri": "http://127.0.0.1:1/token",
        }
        file.write_text(json.dumps(account))
        return str(file)

    def command(self) -> list[str]:
        files = [str(self.folder / "ca.pem"), str(self.folder / "key.pem")]
        return [*super().command(), *files, CALLER]

    def url(self, name: str, **options: Any) -> str:
        """Give a URL; `credentials=None` leaves them to the environment."""
        words = {"ca": self.ca, "credentials": self.credentials, **options}
        given = {key: word for key, word in words.items() if word is not None}
        query = urlencode({"endpoint": f"127.0.0.1:{self.port}", **given})
        return f"gcps://{PROJECT}/{name}/{name}?{query}"
