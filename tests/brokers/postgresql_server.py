"""A PostgreSQL server for tests: a cluster of its own, TLS and passwords included."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from brokers.server import MissingError, Server

USER = "maniple"
PASSWORD = "pa/ss word"
DATABASE = "sweeps"
STOP_SECONDS = 120.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "ssl": "on",
    "ssl_cert_file": "server.crt",
    "ssl_key_file": "server.key",
}


class PostgresqlServer(Server):
    """See the module. The server refuses root: it runs as `postgres` then."""

    name: ClassVar[str] = "postgresql"

    def __init__(self) -> None:
        super().__init__()
        self.data = self.folder / "data"
        self.ca = self.folder / "ca.crt"
        self._user: list[str] = []
        self._made = False

    def prepare(self) -> None:
        """Make the cluster, and the certificate of its server."""
        self._bin = _programs()
        if os.geteuid() == 0:
            try:
                account = pwd.getpwnam("postgres")
            except KeyError:
                raise MissingError("no user postgres: apt-get install postgresql") from None
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self.run(
            str(self._bin / "initdb"),
            *("--pgdata", str(self.data), "--auth=scram-sha-256", "--username=postgres"),
            *(f"--pwfile={secret}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"),
        )
        self.run(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(self.data / "server.key"), "-out", str(self.data / "server.crt")),
        )
        shutil.copy(self.data / "server.crt", self.ca)

    def run(self, *command: str) -> None:
        """Run a command as the server's user."""
        subprocess.run(
            [*self._user, *command], check=True, capture_output=True, cwd=self.folder, timeout=120
        )

    def command(self) -> list[str]:
        """Give the words that start the server in the foreground."""
        # changing the user clears the signal that ends it with us
        user = [*self._user, "--pdeathsig", "KILL"] if self._user else []
        settings = {**_SETTINGS, "port": self.port, "unix_socket_directories": self.folder}
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return [*user, str(self._bin / "postgres"), "-D", str(self.data), *options]

    def ready(self) -> bool:
        """Tell whether the server lets us in."""
        import psycopg

        with suppress(psycopg.OperationalError), self.connect("postgres"):
            return True
        return False

    def start(self) -> None:
        """Start it; make the user and the database the first time."""
        super().start()
        if not self._made:
            self._made = True
            with self.connect("postgres") as admin:
                admin.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'")
                admin.execute(f"CREATE DATABASE {DATABASE} OWNER {USER}")

    def connect(self, database: str = DATABASE, **options: Any) -> Any:
        """Connect as the administrator."""
        import psycopg

        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            password=PASSWORD,
            dbname=database,
            autocommit=True,
            connect_timeout=5,
            **options,
        )

    def stop(self, *, hard: bool = False) -> None:
        """End it; its processes have sessions of their own, and end with it."""
        process, self.process = self.process, None
        if process is None:
            return
        path = f"/proc/{process.pid}/task/{process.pid}/children"
        children: list[int] = []
        with suppress(OSError), open(path, encoding="ascii") as file:
            children = [int(word) for word in file.read().split()]
        # SIGTERM would wait for every client to leave
        process.send_signal(signal.SIGKILL if hard else signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            hard = True
        # they hold its shared memory, and no other server starts before they are gone
        deadline = time.monotonic() + STOP_SECONDS
        for pid in children:
            while _is_postgres(pid) and time.monotonic() < deadline:
                if hard:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.01)

    def url(
        self,
        name: str,
        *,
        port: int | None = None,
        user: str = USER,
        password: str = quote(PASSWORD, safe=""),
        database: str = DATABASE,
        **options: Any,
    ) -> str:
        """Give the URL of the queue of this name; `port=` leads through a proxy."""
        query = f"?{urlencode(options)}" if options else ""
        login = f"{user}:{password}"
        return f"postgresql://{login}@127.0.0.1:{port or self.port}/{database}/{name}{query}"


def _is_postgres(pid: int) -> bool:
    with suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        text = file.read()
        return "(postgres)" in text and text.rpartition(")")[2].split()[0] not in "ZX"
    return False


def _programs() -> Path:
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3])
    )
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    if initdb is None:
        raise MissingError("PostgreSQL's server is not installed: apt-get install postgresql")
    return Path(initdb).parent
