"""A hub in a process of its own, without workers, and the drivers and workers that tests play."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Self

from websockets.sync.client import ClientConnection, connect

from maniple.algorithm.call import Answer
from maniple.cluster.messages import (
    DRIVER_PATH,
    SUBPROTOCOL,
    WORKER_PATH,
    Ask,
    Done,
    DriverHello,
    Run,
    Welcome,
    WorkerHello,
    decode_to_driver,
    decode_to_worker,
    encode,
)

PATIENCE = 60.0
MODULE = b"\0asm\1\0\0\0"
PROGRAM = """
import sys
from maniple.hub.server import listen, run_hub
listener = listen("127.0.0.1", 0)
run_hub(listener, "127.0.0.1", ready=lambda: print(listener.getsockname()[1], flush=True))
"""


class Hub:
    """A running hub."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: v for name, v in os.environ.items() if not name.startswith("MANIPLE_")}
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={
                **kept,
                "MANIPLE_CACHE": str(folder / "cache"),
                "MANIPLE_ALGORITHMS": str(folder / "shelf"),
            },
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the hub did not start"
        self.port = int(line)
        self.url = f"http://localhost:{self.port}"

    def socket(self, path: str, **options: object) -> AbstractContextManager[ClientConnection]:
        options.setdefault("compression", None)
        options.setdefault("max_size", None)
        return connect(
            f"ws://localhost:{self.port}{path}",
            open_timeout=PATIENCE,
            close_timeout=1.0,
            **options,
        )

    def driver(self, session: str, tasks: list[str] | None = None) -> Peer:
        return Peer(self, DRIVER_PATH, DriverHello(session, tasks or []), decode_to_driver)

    def worker(self, uid: str, holds: list[str] | None = None) -> Peer:
        hello = WorkerHello(uid, f"name of {uid}", holds or [])
        return Peer(self, WORKER_PATH, hello, decode_to_worker)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.communicate()


class Peer:
    """A driver or worker that speaks our protocol, step by step."""

    def __init__(self, hub: Hub, path: str, hello: object, decode: object) -> None:
        self._opened = ExitStack()
        self._socket = self._opened.enter_context(hub.socket(path, subprotocols=[SUBPROTOCOL]))
        self._decode = decode
        self.say(hello)
        self.welcome = self.hear(Welcome)

    def say(self, message: object) -> None:
        self._socket.send(encode(message))

    def raw(self, frame: str | bytes) -> None:
        self._socket.send(frame)

    def hear(self, kind: type, timeout: float = PATIENCE):
        """Wait for the next message of a kind; what comes before it is passed over."""
        while True:
            message = self._decode(self._socket.recv(timeout))
            if isinstance(message, kind):
                return message

    def answer(self, value: bytes = b"1", **more: object) -> Run:
        """As a worker: ask for a task and answer it."""
        self.say(Ask(1))
        run = self.hear(Run)
        self.say(Done(run.token, Answer(ok=True, value=value, **more)))
        return run

    def close(self) -> None:
        self._opened.close()

    def cut(self) -> None:
        """End the connection without a word."""
        self._socket.socket.shutdown(2)
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
