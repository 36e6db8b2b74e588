"""Drivers: a user's programs that send tasks to a cluster and await what comes of them.

>>> import maniple
>>> with maniple.connect() as cluster:  # doctest: +SKIP
...     cluster.run("kmeans@0.0.1", [[1.0, 2.0, 9.0]], 2)
[0, 0, 1]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maniple.driver.algorithms import LocalAlgorithm as LocalAlgorithm
    from maniple.driver.algorithms import local as local
    from maniple.driver.blocking import BlockingCluster as BlockingCluster
    from maniple.driver.cluster import Cluster as Cluster
    from maniple.driver.connect import connect as connect
    from maniple.driver.inputs import Inputs as Inputs
    from maniple.driver.reply import AlgorithmFailedError as AlgorithmFailedError
    from maniple.driver.reply import Reply as Reply

_PUBLIC = {
    "AlgorithmFailedError": "reply",
    "BlockingCluster": "blocking",
    "Cluster": "cluster",
    "Inputs": "inputs",
    "LocalAlgorithm": "algorithms",
    "Reply": "reply",
    "connect": "connect",
    "local": "algorithms",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"maniple.driver.{_PUBLIC[name]}"), name)
    # a module of the same name is set here by its import: the function is to win
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
