"""Jobs: what runs at the nodes of the graph."""

from maniple.network.marvelo.head import Head
from maniple.network.marvelo.jobs import (
    BaseJob,
    CSVSinkJob,
    DynamicExecutableJob,
    DynamicMARVELOJob,
    ExecutableJob,
    InteractiveJob,
    LocalJob,
    MARVELOJob,
    PythonJob,
)

__all__ = [
    "BaseJob",
    "CSVSinkJob",
    "DynamicExecutableJob",
    "DynamicMARVELOJob",
    "ExecutableJob",
    "Head",
    "InteractiveJob",
    "LocalJob",
    "MARVELOJob",
    "PythonJob",
]
