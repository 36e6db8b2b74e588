"""The command that starts a sandbox for JavaScript: deno with no permissions, under bubblewrap.

deno gives a script nothing of the machine unless it is told to; bubblewrap gives deno itself
nothing: no network, no other process, no file but its own binary and our scripts, all read-only.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from maniple.errors import MissingExtraError
from maniple.plugins import missing_extra

SCRIPTS: Final = ("javascript_host.js", "javascript_globals.js", "javascript_requests.js")
_HERE: Final = os.path.dirname(os.path.abspath(__file__))
_ENVIRONMENT: Final = {
    "DENO_DIR": "/dev/null/none",  # a folder that nobody can make: deno does without caches
    "DENO_NO_UPDATE_CHECK": "1",
    "DENO_NO_PROMPT": "1",
    "NO_COLOR": "1",
    "TZ": "UTC",
    "LANG": "C.UTF-8",
}
_NOBODY: Final = "65534"
_LIBRARY: Final = re.compile(r"(?:=> )?(/\S+) \(0x[0-9a-f]+\)")
_ASK_SECONDS: Final = 10.0

# Node's own modules would bring back what the global scope hides: other workers, V8's flags, the
# process. What a browser does not have cannot be missed.
_NODE_MODULES: Final = (
    "_http_agent _http_common _http_incoming _http_outgoing _http_server _stream_duplex"
    " _stream_passthrough _stream_readable _stream_transform _stream_writable _tls_common _tls_wrap"
    " assert assert/strict async_hooks buffer child_process cluster console constants crypto dgram"
    " diagnostics_channel dns dns/promises domain events fs fs/promises http http2 https inspector"
    " inspector/promises module net os path path/posix path/win32 perf_hooks process punycode"
    " querystring readline readline/promises repl sea sqlite stream stream/consumers"
    " stream/promises stream/web string_decoder sys test test/reporters timers timers/promises tls"
    " trace_events tty url util util/types v8 vm wasi worker_threads zlib"
)


class Confinement(StrEnum):
    """What stands around deno, which itself has no permission at all.

    `BUBBLEWRAP`: namespaces of its own. `DENO`: nothing more (bubblewrap is missing, or the system
    does not let it work).
    """

    BUBBLEWRAP = "bubblewrap"
    DENO = "deno"


def find_deno() -> str:
    """Find the deno binary: of its wheel, beside the interpreter, or in the search path.

    Raises:
        MissingExtraError: there is none.
    """
    for candidate in (_of_wheel(), os.path.join(os.path.dirname(sys.executable), "deno")):
        if candidate is not None and os.access(candidate, os.X_OK):
            return os.path.realpath(candidate)
    found = shutil.which("deno")
    if found is None:
        raise no_deno()
    return os.path.realpath(found)


def no_deno() -> MissingExtraError:
    """Build the error for a machine without deno."""
    return missing_extra("deno", "a module with a JavaScript loader")


def _of_wheel() -> str | None:
    try:
        return str(importlib.import_module("deno").find_deno_bin())
    except (ImportError, FileNotFoundError, AttributeError):
        return None


def deno_words(deno: str, host: str, *, heap: int) -> list[str]:
    """Make deno's command line.

    Args:
        deno: its binary.
        host: the host script.
        heap: bytes that JavaScript's heap may have.
    """
    blocked = 'data:text/javascript,throw new Error("Node modules are not in the sandbox")'
    imports = json.dumps({"imports": {f"node:{name}": blocked for name in _NODE_MODULES.split()}})
    return [
        deno,
        "run",
        "--quiet",
        "--no-prompt",
        "--no-remote",
        "--no-npm",
        "--no-config",
        "--no-lock",
        "--no-code-cache",
        "--no-check",
        f"--import-map=data:application/json,{imports}",
        f"--v8-flags=--max-old-space-size={max(16, heap >> 20)}",
        host,
    ]


class Starter:
    """Makes the whole command, for one machine and one way of confinement.

    Args:
        confinement: what to put around deno.
        deno: its binary.
        bwrap: bubblewrap's, for `Confinement.BUBBLEWRAP`.
    """

    def __init__(self, confinement: Confinement, deno: str, bwrap: str | None = None) -> None:
        self.confinement = confinement
        self._deno = deno
        if confinement is Confinement.BUBBLEWRAP:
            self._before = _bubblewrap(bwrap or "bwrap", deno)
            self._inside = "/deno", f"/{SCRIPTS[0]}"
        else:
            self._before = _end_with_parent()
            self._inside = deno, os.path.join(_HERE, SCRIPTS[0])

    def command(self, *, heap: int) -> list[str]:
        """Make the words, for a JavaScript heap of so many bytes."""
        deno, host = self._inside
        return [*self._before, *deno_words(deno, host, heap=heap)]

    @property
    def environment(self) -> dict[str, str]:
        """All that the sandbox sees of an environment."""
        return dict(_ENVIRONMENT)


def _bubblewrap(bwrap: str, deno: str) -> list[str]:
    words = [
        bwrap,
        "--unshare-all",
        "--unshare-user",
        "--uid",
        _NOBODY,
        "--gid",
        _NOBODY,
        "--hostname",
        "sandbox",
        "--die-with-parent",
        "--new-session",
        "--as-pid-1",
        "--cap-drop",
        "ALL",
        "--clearenv",
    ]
    for name, value in _ENVIRONMENT.items():
        words += ["--setenv", name, value]
    for path, place in _files(deno):
        words += ["--ro-bind", path, place]
    return [*words, "--remount-ro", "/", "--chdir", "/"]


def _files(deno: str) -> list[tuple[str, str]]:
    scripts = [(os.path.join(_HERE, name), f"/{name}") for name in SCRIPTS]
    return [(deno, "/deno"), *((path, path) for path in _libraries(deno)), *scripts]


def _libraries(deno: str) -> Sequence[str]:
    """List what the dynamic linker loads for deno; whole folders where it cannot be asked."""
    try:
        said = subprocess.run(
            ["ldd", deno], capture_output=True, text=True, timeout=_ASK_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        said = ""
    found = _LIBRARY.findall(said)
    if found:
        return list(dict.fromkeys(found))
    return [path for path in ("/usr/lib", "/usr/lib64", "/lib", "/lib64") if os.path.isdir(path)]


def _end_with_parent() -> list[str]:
    """Have the kernel end deno with us, where util-linux is there to ask for it."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    return [setpriv, "--pdeathsig", "KILL", "--no-new-privs"]
