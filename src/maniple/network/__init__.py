"""Networks: a graph of jobs joined by pipes."""

from maniple.network.describe import load
from maniple.network.graph import Network
from maniple.network.job import Job
from maniple.network.pipe import Pipe
from maniple.network.sinks import CSVSink

__all__ = ["CSVSink", "Job", "Network", "Pipe", "load"]
