"""Every queue that comes with Maniple passes the conformance suite."""

from conformance.queue_suite import QueueConformance
from maniple.queues.folder import FolderQueue
from maniple.queues.memory import MemoryQueue
from maniple.queues.sqlite import SqliteQueue


class TestMemory(QueueConformance):
    def make(self, tmp_path, **time):
        return MemoryQueue(**time)


class TestFolder(QueueConformance):
    def make(self, tmp_path, **time):
        return FolderQueue(str(tmp_path / "q"), **time)


class TestSqlite(QueueConformance):
    def make(self, tmp_path, **time):
        return SqliteQueue(str(tmp_path / "q.db"), **time)
