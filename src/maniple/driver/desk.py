"""What both forms of a cluster share: the connection, the algorithms, how tasks are made."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import TypedDict

from maniple.algorithm.call import Limits
from maniple.driver.address import HubAddress
from maniple.driver.algorithms import Algorithm, Algorithms, Resolved
from maniple.driver.inputs import Files, Inputs, Order, Results, limits_of, order_of
from maniple.driver.link import Link
from maniple.driver.registry import Registry


class Options(TypedDict, total=False):
    """What may be said of a call beside its params.

    Attributes:
        arguments: as typed on a command line: text, or a list of words.
        files: what the call finds in its file system: absolute path there to a path here (a file,
            or a folder with all that is in it) or to bytes.
        results: the files to bring back: absolute path there to a path here, whose folders are
            made; or to None, or as a list, to have them as bytes in the reply only.
        time_limit: seconds that it may run; default: an hour; `math.inf`: no limit.
        memory, disk, output: bytes that it may use; default: 1 GiB, 1 GiB, 16 MiB.
    """

    arguments: str | Iterable[object]
    files: Files | None
    results: Results | None
    time_limit: float | None
    memory: int | None
    disk: int | None
    output: int | None


class Recipe:
    """How the tasks of one algorithm are made.

    Args:
        algorithm: as the user names it.
        options: the same for all of them.

    Raises:
        UsageError: an option is wrong.
    """

    def __init__(self, algorithm: Algorithm, options: Options) -> None:
        self.algorithm = algorithm
        self._common = Inputs(
            arguments=options.pop("arguments", ()),
            files=options.pop("files", None),
            results=options.pop("results", None),
        )
        limits: dict[str, float | int | None] = dict(options)  # type: ignore[arg-type]
        self._limits: Limits = limits_of(**limits)  # type: ignore[arg-type]

    def order(self, resolved: Resolved, item: object) -> Order:
        """Make a task: a tuple is the params, `Inputs` all inputs, anything else the one param.

        Raises:
            ParamError: a param cannot be written as JSON.
            UsageError: a file cannot be read.
        """
        if isinstance(item, Inputs):
            inputs = item.over(self._common)
        else:
            inputs = Inputs(*(item if isinstance(item, tuple) else (item,))).over(self._common)
        order = order_of(resolved.code, inputs, self._limits)
        if resolved.data_link is None:
            return order
        return Order(order.call, order.landings, data_link=resolved.data_link)


class Desk:
    """One connection to a hub.

    Args:
        address: of the hub.
        reconnect: seconds for which a lost connection is tried again.
    """

    def __init__(self, address: HubAddress, reconnect: float) -> None:
        self.link = Link(address, reconnect=reconnect)
        self.algorithms = Algorithms(Registry(address), self.link.parts)
        weakref.finalize(self, self.link.stop).atexit = False
