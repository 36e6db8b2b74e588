"""Podman with everything of its own in one folder: images, containers, state, runtime, socket."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from brokers.server import MissingError, Server, program

IMAGE = "localhost/maniple-test:1"
PACKAGES = "podman runc conmon busybox-static"
STORAGE = """[storage]
driver = "vfs"
graphroot = "{folder}/images"
runroot = "{folder}/run"
"""
# what works in a container and in a small virtual machine, too: no systemd, no limits to raise,
# locks in files; the runtime keeps its state here and not in /run
CONTAINERS = """[containers]
default_ulimits = []
http_proxy = false
[network]
network_config_dir = "{folder}/networks"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
tmp_dir = "{folder}/state"
volume_path = "{folder}/volumes"
[engine.runtimes]
runc = ["{folder}/runc"]
"""
# images may be fetched from a registry that a test starts on the server's port
REGISTRIES = """unqualified-search-registries = []
[[registry]]
location = "127.0.0.1:{port}"
insecure = true
"""
RUNTIME = '#!/bin/sh\nexec {runc} --root {folder}/runtime "$@"\n'


class _Unix(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("podman", timeout=30)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self._path)


class PodmanServer(Server):
    """The service of Podman on a socket, with one small image."""

    name: ClassVar[str] = "podman"

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / "s"

    @property
    def host(self) -> str:
        """What DOCKER_HOST must be."""
        return f"unix://{self.socket}"

    def prepare(self) -> None:
        """Write the configuration and import an image made of busybox."""
        if os.getuid():
            raise MissingError("containers need root here: run the tests as root")
        program("podman", PACKAGES)
        program("conmon", PACKAGES)
        runc = program("runc", PACKAGES)
        busybox = program("busybox", PACKAGES)
        wrapper = self.folder / "runc"
        wrapper.write_text(RUNTIME.format(runc=runc, folder=self.folder))
        wrapper.chmod(0o755)
        for name, text in (
            ("storage", STORAGE),
            ("containers", CONTAINERS),
            ("registries", REGISTRIES),
        ):
            written = text.format(folder=self.folder, port=self.port)
            (self.folder / f"{name}.conf").write_text(written)
        self.environment.update(
            CONTAINERS_REGISTRIES_CONF=str(self.folder / "registries.conf"),
            CONTAINERS_CONF=str(self.folder / "containers.conf"),
            CONTAINERS_STORAGE_CONF=str(self.folder / "storage.conf"),
        )
        for name in ("DOCKER_HOST", "CONTAINER_HOST", "XDG_RUNTIME_DIR"):
            self.environment.pop(name, None)
        self.podman("import", "-", IMAGE, input=tree(busybox))

    def command(self) -> list[str]:
        """Give the words that start the service."""
        return ["podman", "system", "service", "--time", "0", self.host]

    def ready(self) -> bool:
        """Tell whether it answers."""
        with suppress(OSError):
            return self.ask("GET", "/_ping") is not None
        return False

    def ask(self, method: str, path: str) -> Any:
        """Ask the service; None when it says no."""
        connection = _Unix(self.socket)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status >= 300:
                return None
            return json.loads(body) if body.startswith((b"[", b"{")) else body
        finally:
            connection.close()

    def containers(self, **labels: str) -> list[dict[str, Any]]:
        """List all containers, ended ones too, that have these labels."""
        filters = {"label": [f"{name}={value}" for name, value in labels.items()]}
        where = f"/v1.41/containers/json?all=1&filters={quote(json.dumps(filters))}"
        found: list[dict[str, Any]] = self.ask("GET", where)
        return found

    def podman(self, *words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run podman's own command over the same containers."""
        return subprocess.run(
            ["podman", *words],
            env=self.environment,
            timeout=300,
            check=True,
            capture_output=True,
            **options,
        )

    def runtime(self) -> list[str]:
        """List what the runtime below Podman knows of."""
        with suppress(FileNotFoundError):
            return os.listdir(self.folder / "runtime")
        return []

    def monitors(self) -> list[int]:
        """List the processes that watch containers of ours."""
        mine = str(self.folder).encode()
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                with suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
                    if words[0].endswith(b"conmon") and any(mine in word for word in words):
                        found.append(int(name))
        return found

    def remove(self) -> None:
        """End everything and leave nothing: no container, mount, control group or process."""
        with suppress(subprocess.SubprocessError, OSError):
            self.podman("rm", "--all", "--force", "--time", "0")
        self.stop()
        for pid in self.monitors():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while self.monitors() and time.monotonic() < deadline:
            time.sleep(0.02)
        with open("/proc/self/mounts", encoding="utf-8") as file:
            mounts = [line.split()[1] for line in file]
        for mount in reversed(mounts):
            if mount.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
        groups = Path("/sys/fs/cgroup")
        for parent in [groups / "libpod_parent", *groups.glob("*/libpod_parent")]:
            # only empty ones can be removed
            for group in [*parent.glob("*/"), parent]:
                with suppress(OSError):
                    group.rmdir()
        shutil.rmtree(self.folder, ignore_errors=True)


def tree(busybox: str) -> bytes:
    """Write a root file system as a tar archive: busybox under all its names."""
    listed = subprocess.run([busybox, "--list"], capture_output=True, check=True, text=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, mode in {
            "bin": 0o755,
            "dev": 0o755,
            "etc": 0o755,
            "proc": 0o755,
            "sys": 0o755,
            "tmp": 0o1777,
        }.items():
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            tar.addfile(folder)
        tar.add(busybox, "bin/busybox")
        for name in listed.stdout.split():
            if name != "busybox":
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        users = b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"
        file = tarfile.TarInfo("etc/passwd")
        file.size = len(users)
        tar.addfile(file, io.BytesIO(users))
    return packed.getvalue()
