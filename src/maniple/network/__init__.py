"""Networks: a graph of jobs joined by pipes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maniple.network.describe import load
from maniple.network.encoding import Fixed
from maniple.network.graph import Network
from maniple.network.job import Job
from maniple.network.live.run import JobError, simulate
from maniple.network.pipe import Pipe
from maniple.network.program import Program
from maniple.network.sinks import CSVSink

if TYPE_CHECKING:
    from maniple.network.algorithm import AlgorithmJob as AlgorithmJob

__all__ = [
    "AlgorithmJob",
    "CSVSink",
    "Fixed",
    "Job",
    "JobError",
    "Network",
    "Pipe",
    "Program",
    "load",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name != "AlgorithmJob":
        raise AttributeError(f"module 'maniple.network' has no attribute {name!r}")
    # most networks have none, and it takes as long to load as all the rest
    from maniple.network.algorithm import AlgorithmJob

    return AlgorithmJob
