"""A hub for tests of workers: a real server on a free port, whose every move a test decides."""

from __future__ import annotations

import socket
import threading
from collections import deque
from contextlib import suppress

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from maniple.algorithm.blobs import digest_of
from maniple.algorithm.call import Call, Code
from maniple.cluster.messages import (
    SUBPROTOCOL,
    Abort,
    Ask,
    Blob,
    Done,
    GiveBack,
    Run,
    Settled,
    Want,
    Welcome,
    WorkerHello,
    decode_from_worker,
    encode,
)
from small_algorithms import ADD
from support import PATIENCE, until


class WorkerHub:
    """Hands out calls to whoever asks, and notes what comes back.

    Attributes:
        answers: by task.
        settles: say `Settled` for each answer (a test may switch it off).
        welcomes: answer a hello (likewise).
        connections: how many there have been.
    """

    def __init__(self, port=0, tls=None):
        self.lock = threading.RLock()
        self.waiting = deque()
        self.leased = {}
        self.answers = {}
        self.heard = []
        self.blobs = {}
        self.settles = True
        self.welcomes = True
        self.first_word = None
        self.connections = 0
        self.open = {}
        self.asked = {}
        self.serial = 0
        self.submitted = 0
        self.uids = {}
        self.paths = []
        self.server = serve(
            self._serve,
            "127.0.0.1",
            port,
            subprotocols=[SUBPROTOCOL],
            compression=None,
            max_size=None,
            ssl=tls,
        )
        self.port = self.server.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"hub:ws://127.0.0.1:{self.port}/socket/websocket"

    def code(self, wasm=ADD, name="add@1"):
        digest = digest_of(wasm)
        self.blobs[digest] = wasm
        return Code(digest, name=name)

    def submit(self, *calls):
        with self.lock:
            for call in calls:
                self.submitted += 1
                self.waiting.append((f"task{self.submitted}", call))
            for connection in list(self.asked):
                self._push(connection)

    def calls(self, count, wasm=ADD):
        code = self.code(wasm)
        return [Call(code, b"[%d,1]" % n) for n in range(count)]

    def abort(self, task):
        with self.lock:
            token, (_, _, uid) = next(item for item in self.leased.items() if item[1][0] == task)
            del self.leased[token]
            self._connection(uid).send(encode(Abort(token)))

    def _connection(self, uid):
        return next((c for c in self.open if self.uids.get(c) == uid), None)

    def take_from_the_gone(self):
        """Have back what workers hold that have no connection."""
        with self.lock:
            for token, (task, call, uid) in list(self.leased.items()):
                if self._connection(uid) is None:
                    del self.leased[token]
                    self.waiting.append((task, call))
            for connection in list(self.asked):
                self._push(connection)

    def cut(self):
        """Drop all connections at a stroke, as a lost network does."""
        with self.lock:
            for connection in self.open:
                with suppress(OSError):
                    connection.socket.shutdown(socket.SHUT_RDWR)

    def of(self, kind):
        with self.lock:
            return [message for message in self.heard if isinstance(message, kind)]

    def until_answered(self, count):
        until(lambda: len(self.answers) >= count)
        return self.answers

    def _serve(self, connection):
        with self.lock:
            self.connections += 1
            self.open[connection] = None
            self.paths.append(connection.request.path)
        try:
            if self.first_word is not None:
                connection.send(encode(self.first_word))
                connection.close()
                return
            for data in connection:
                with self.lock:
                    self._take(connection, decode_from_worker(data))
        except ConnectionClosed:
            pass
        finally:
            with self.lock:
                del self.open[connection]
                self.asked.pop(connection, None)

    def _take(self, connection, message):
        self.heard.append(message)
        if isinstance(message, WorkerHello):
            self.uids[connection] = message.uid
            if self.welcomes:
                unknown = [token for token in message.holds if token not in self.leased]
                connection.send(encode(Welcome("user", unknown)))
                for token, (task, call, uid) in list(self.leased.items()):
                    if uid == message.uid and token not in message.holds:
                        del self.leased[token]
                        self.waiting.append((task, call))
        elif isinstance(message, Ask):
            self.asked[connection] = message.count
            self._push(connection)
        elif isinstance(message, Want):
            for digest in message.digests:
                connection.send(encode(Blob(digest, self.blobs.get(digest))))
        elif isinstance(message, Done):
            if message.token in self.leased and self.settles:
                task, _, _ = self.leased.pop(message.token)
                assert task not in self.answers, f"{task} was answered twice"
                self.answers[task] = message.answer
            if self.settles:
                connection.send(encode(Settled([message.token])))
        elif isinstance(message, GiveBack):
            for token in message.tokens:
                if token in self.leased:
                    task, call, _ = self.leased.pop(token)
                    self.waiting.append((task, call))

    def _push(self, connection):
        while self.asked.get(connection, 0) > 0 and self.waiting:
            self.asked[connection] -= 1
            task, call = self.waiting.popleft()
            self.serial += 1
            token = f"lease{self.serial}"
            self.leased[token] = (task, call, self.uids[connection])
            connection.send(encode(Run(token, task, 1, call)))

    def forget(self):
        """Lose all that was known of leases, as a hub that starts again does."""
        with self.lock:
            self.leased.clear()

    def close(self):
        self.server.shutdown()
        self.cut()
        self.thread.join(PATIENCE)
