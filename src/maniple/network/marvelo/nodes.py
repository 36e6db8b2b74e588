"""Nodes of the framework MARVELO: the machines that jobs may run on."""

from __future__ import annotations

import fnmatch
import ipaddress
import os
from collections.abc import Sequence
from typing import ClassVar, Final

from maniple.errors import UsageError
from maniple.network.marvelo.place import NodeFacts

LOCAL_IPS: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class BaseNode:
    """A machine.

    Args:
        ip: its address.
        name: for people; the address by default.

    Attributes:
        GROUPS: names that jobs may ask for.
        MAX_JOBS: it has room for so many; 0: for any number.
    """

    GROUPS: ClassVar[str | Sequence[str]] = "ALL"
    MAX_JOBS: ClassVar[int] = 0

    def __init__(self, ip: str, name: str = "") -> None:
        self.ip = ip
        self.name = name or ip

    @property
    def groups(self) -> list[str]:
        """The groups as a list; every node is in ALL."""
        own = [self.GROUPS] if isinstance(self.GROUPS, str) else list(self.GROUPS)
        return own if "ALL" in own else [*own, "ALL"]

    @property
    def is_local(self) -> bool:
        """It is this machine."""
        if self.ip == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.ip).is_loopback
        except ValueError:
            return False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.ip!r}, {self.name!r})"


class MultiNode(BaseNode):
    """Many machines: an address with `*`."""

    def __init__(self, ip: str, name: str = "") -> None:
        super().__init__(ip, name)
        if "*" not in ip:
            raise UsageError(f"MultiNode({ip!r}): an address with a * is needed, as 192.168.0.*")

    def matches(self, ip: str) -> bool:
        """Tell whether an address is one of them."""
        return fnmatch.fnmatchcase(ip, self.ip)


class LocalNode(BaseNode):
    """This machine."""

    def __init__(self, ip: str = "127.0.0.1", name: str = "local") -> None:
        super().__init__(ip, name)


def facts_here(ip: str) -> NodeFacts:
    """Look at this machine."""
    count = os.cpu_count() or 1
    memory: dict[str, float] = {}
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            name, _, rest = line.partition(":")
            memory[name] = float(rest.split()[0])
    swap = memory.get("SwapTotal", 0.0)
    return NodeFacts(
        ip,
        cpu_free=max(0.0, 1 - os.getloadavg()[0] / count),
        memory_free=memory["MemAvailable"] / memory["MemTotal"],
        swap_used=1 - memory.get("SwapFree", 0.0) / swap if swap else 0.0,
        processors=count,
    )
