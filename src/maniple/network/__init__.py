"""Networks: a graph of jobs joined by pipes."""

from maniple.network.graph import Network
from maniple.network.job import Job
from maniple.network.pipe import Pipe

__all__ = ["Job", "Network", "Pipe"]
