"""A filter on system calls for the child of a WASI sandbox: what it never needs is refused.

See seccomp(2) and Linux's Documentation/userspace-api/seccomp_filter.rst; the program is classic
BPF (filter of `struct sock_filter`), and the numbers are those of the kernel's tables. On other
architectures there is no filter; the guest's own walls do not depend on it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final, NamedTuple


class _Machine(NamedTuple):
    audit: int
    denied: tuple[int, ...]
    clone: int
    clone3: int
    tgkill: int
    prlimit: int
    mount: int


_EVERYWHERE: Final = (424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 438, 440, 442)
"""pidfd_send_signal, io_uring_*, open_tree, move_mount, fs*, pidfd_*, process_madvise,
mount_setattr: numbered alike on all machines."""

# fmt: off
_MACHINES: Final = {
    "x86_64": _Machine(
        audit=0xC000003E,
        # socket connect socketpair fork vfork execve kill ptrace syslog rt_sigqueueinfo personality
        # modify_ldt pivot_root chroot acct settimeofday umount2 swapon swapoff reboot sethostname
        # setdomainname iopl ioperm init_module delete_module quotactl tkill clock_settime
        # kexec_load add_key request_key keyctl unshare rt_tgsigqueueinfo perf_event_open
        # open_by_handle_at setns process_vm_readv process_vm_writev kcmp finit_module
        # kexec_file_load bpf execveat userfaultfd memfd_secret
        denied=(41, 42, 53, 57, 58, 59, 62, 101, 103, 129, 135, 154, 155, 161, 163, 164, 166, 167,
                168, 169, 170, 171, 172, 173, 175, 176, 179, 200, 227, 246, 248, 249, 250, 272,
                297, 298, 304, 308, 310, 311, 312, 313, 320, 321, 322, 323, 447, *_EVERYWHERE),
        clone=56, clone3=435, tgkill=234, prlimit=302, mount=165,
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        # umount2 pivot_root chroot quotactl acct personality unshare kexec_load init_module
        # delete_module clock_settime syslog ptrace kill tkill rt_sigqueueinfo reboot settimeofday
        # socket socketpair connect add_key request_key keyctl execve swapon swapoff
        # rt_tgsigqueueinfo perf_event_open open_by_handle_at setns process_vm_readv
        # process_vm_writev kcmp finit_module bpf execveat userfaultfd kexec_file_load memfd_secret
        denied=(39, 41, 51, 60, 89, 92, 97, 104, 105, 106, 112, 116, 117, 129, 130, 138, 142, 170,
                198, 199, 203, 217, 218, 219, 221, 224, 225, 240, 241, 265, 268, 270, 271, 272,
                273, 280, 281, 282, 294, 447, *_EVERYWHERE),
        clone=220, clone3=435, tgkill=131, prlimit=261, mount=40,
    ),
}
# fmt: on

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000
_ERROR: Final = 0x00050000
_NUMBER_AT: Final = 0
_AUDIT_AT: Final = 4
_FIRST_ARGUMENT_AT: Final = 16  # the lower half of each, on these little-endian machines
_ARGUMENT: Final = 8
_X32: Final = 0x40000000
_CLONE_THREAD: Final = 0x10000


def filter_program(machine: str, pid: int, mount_flags: int) -> bytes | None:
    """Write the filter; None for a machine that has none here.

    Args:
        machine: as `os.uname` calls it.
        pid: of the process it is for, which may signal itself (abort(3) does) and nobody else.
        mount_flags: with which `mount` is allowed: to resize what is mounted.
    """
    about = _MACHINES.get(machine)
    if about is None:
        return None
    refuse = _op(_RETURN, _ERROR | errno.EPERM)
    code = [
        _op(_LOAD, _AUDIT_AT),
        _op(_EQUAL, about.audit, 1, 0),
        _op(_RETURN, _KILL),
        _op(_LOAD, _NUMBER_AT),
        _op(_AT_LEAST, _X32, 0, 1),
        _op(_RETURN, _KILL),
        # glibc falls back to clone, whose flags can be seen
        _op(_EQUAL, about.clone3, 0, 1),
        _op(_RETURN, _ERROR | errno.ENOSYS),
    ]
    for number in about.denied:
        code += [_op(_EQUAL, number, 0, 1), refuse]
    for number, argument, test, value in (
        (about.clone, 0, _ANY_BIT, _CLONE_THREAD),
        (about.tgkill, 0, _EQUAL, pid),
        (about.prlimit, 0, _EQUAL, 0),
        (about.mount, 3, _EQUAL, mount_flags),
    ):
        code += [
            _op(_EQUAL, number, 0, 4),
            _op(_LOAD, _FIRST_ARGUMENT_AT + _ARGUMENT * argument),
            _op(test, value, 1, 0),
            refuse,
            _op(_RETURN, _ALLOW),
        ]
    return b"".join([*code, _op(_RETURN, _ALLOW)])


def _op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def no_new_privileges(libc: ctypes.CDLL) -> bool:
    """Give up ever gaining rights by starting a program."""
    return bool(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)


def install(libc: ctypes.CDLL, mount_flags: int) -> bool:
    """Put the filter on this process, for good; tell whether it holds.

    Needs `no_new_privileges` before, or rights in the user namespace.
    """
    program = filter_program(os.uname().machine, os.getpid(), mount_flags)
    if program is None:
        return False
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog
    head = ctypes.create_string_buffer(
        struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    )
    return bool(
        libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.c_void_p(ctypes.addressof(head)), 0, 0)
        == 0
    )
