"""What the child of a WASI sandbox puts around itself before it runs anything.

WebAssembly is the first wall: a module reaches only what wasmtime gives it. These walls hold if a
module should find a fault in that one: namespaces of its own (no network, no file system but the
private folder, no rights), a filter on system calls, and the kernel's limits. Each is put up where
the machine allows it; which ones stand is told to the parent.
"""

from __future__ import annotations

import ctypes
import os
import resource
from contextlib import suppress
from typing import Final

from maniple.algorithm import wasi_seccomp

BOX: Final = "/box"
_NEW_MOUNTS: Final = 0x00020000
_NEW_NAMES: Final = 0x04000000
_NEW_IPC: Final = 0x08000000
_NEW_USERS: Final = 0x10000000
_NEW_NETWORK: Final = 0x40000000
_MS_NOSUID: Final = 2
_MS_NODEV: Final = 4
_MS_NOEXEC: Final = 8
_MS_REMOUNT: Final = 32
_MS_REC: Final = 0x4000
_MS_PRIVATE: Final = 0x40000
_DETACH: Final = 2
_PLAIN: Final = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}
_COVERED: Final = ("/tmp", "/var/tmp", "/mnt", "/dev/shm")  # noqa: S108 - for this process alone
_PAGE: Final = 4096
_SPARE_PAGES: Final = 16
_SPARE_FILES: Final = 16
_DESCRIPTORS: Final = 4096


def libc() -> ctypes.CDLL:
    """Load the C library, with its error numbers kept."""
    return ctypes.CDLL(None, use_errno=True)


class PrivateMount:
    """The folder `BOX`: a file system in memory, seen by this process only, gone with it."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._libc = library
        self._size = (0, 0)

    def resize(self, disk: int, files: int) -> None:
        """Have the kernel hold the limits of a call, and a little more, so that passing shows.

        Args:
            disk: bytes, counted in whole pages.
            files: files and folders.

        Raises:
            OSError: there is more in it already.
        """
        if self._size == (disk, files):
            return
        pages = -(-disk // _PAGE) + _SPARE_PAGES
        options = f"size={pages * _PAGE},nr_inodes={files + _SPARE_FILES}"
        _mount(self._libc, "none", BOX, "tmpfs", _MS_REMOUNT | _PLAIN, options)
        self._size = (disk, files)


def enter(*, mount: bool) -> tuple[list[str], PrivateMount | None]:
    """Put up the walls; tell which ones stand, and the private folder if there is one.

    With `mount` false there is none, and the file system stays in reach.

    Must be called before any thread is started and after all modules are imported: the file
    system is out of reach after it.
    """
    library = libc()
    stand: list[str] = []
    private: PrivateMount | None = None
    if _leave(library):
        stand += ["user", "mount", "network", "ipc"]
        if mount:
            with suppress(OSError):
                _pivot(library)
                private = PrivateMount(library)
                stand.append("root")
    _limit()
    if wasi_seccomp.no_new_privileges(library):
        stand.append("privileges")
        if wasi_seccomp.install(library, _MS_REMOUNT | _PLAIN):
            stand.append("calls")
    return stand, private


def _leave(library: ctypes.CDLL) -> bool:
    """Go into namespaces of one's own; what can be seen of the machine stays as it was."""
    user, group = os.geteuid(), os.getegid()
    if library.unshare(_NEW_USERS | _NEW_MOUNTS | _NEW_NETWORK | _NEW_IPC | _NEW_NAMES) != 0:
        return False
    # without a map the process would be nobody, and could not even write to a file it makes
    with suppress(OSError):
        _write("/proc/self/setgroups", "deny")
    try:
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    except OSError:
        return False
    return True


def _pivot(library: ctypes.CDLL) -> None:
    """Exchange the file system for an empty one in memory that holds only `BOX`."""
    number = _PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError
    _mount(library, "none", "/", None, _MS_REC | _MS_PRIVATE, None)
    top = next(filter(os.path.isdir, _COVERED), "/proc")
    _mount(library, "none", top, "tmpfs", _PLAIN, "mode=700")
    os.mkdir(top + BOX, 0o700)
    _mount(library, "none", top + BOX, "tmpfs", _PLAIN, "mode=700")
    os.chdir(top)
    # pivot_root(".", "."): the old root comes to lie on the new one, and is taken away
    if library.syscall(number, b".", b".") != 0:
        raise OSError(ctypes.get_errno(), "pivot_root")
    if library.umount2(b".", _DETACH) != 0:
        raise OSError(ctypes.get_errno(), "umount2")
    os.chdir("/")


def _mount(
    library: ctypes.CDLL,
    source: str,
    target: str,
    kind: str | None,
    flags: int,
    options: str | None,
) -> None:
    result = library.mount(
        source.encode(),
        target.encode(),
        None if kind is None else kind.encode(),
        ctypes.c_ulong(flags),
        None if options is None else options.encode(),
    )
    if result != 0:
        raise OSError(ctypes.get_errno(), f"mount {target}")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _limit() -> None:
    """Set the kernel's limits that hold for every call."""
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
    ):
        with suppress(OSError, ValueError):
            hard = resource.getrlimit(what)[1]
            most_here = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(what, (most_here, most_here))
