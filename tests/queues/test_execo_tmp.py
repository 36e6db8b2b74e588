from conformance.queue_suite import QueueConformance
from maniple.queues.execo import ExecoQueue


class TestExeco(QueueConformance):
    def make(self, tmp_path, **time):
        return ExecoQueue(str(tmp_path / "sweeps"), **time)
