"""Networks: a graph of jobs joined by pipes."""

from maniple.network.describe import load
from maniple.network.encoding import Fixed
from maniple.network.graph import Network
from maniple.network.job import Job
from maniple.network.live.run import JobError, simulate
from maniple.network.pipe import Pipe
from maniple.network.program import Program
from maniple.network.sinks import CSVSink

__all__ = ["CSVSink", "Fixed", "Job", "JobError", "Network", "Pipe", "Program", "load", "simulate"]
