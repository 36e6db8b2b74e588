"""Files that are not a healthy queue: each gets one line that tells what to do."""

import os
import random
import signal
import sqlite3
from pathlib import Path

import pytest

from maniple.errors import QueueError, StorageError
from maniple.queues.sqlite import SqliteQueue
from maniple.queues.sqlite_file import FORMAT


@pytest.fixture
def path(tmp_path):
    return tmp_path / "q.db"


def filled(path, count=5000):
    queue = SqliteQueue(str(path))
    queue.put({"n": n} for n in range(count))
    queue.close()


def refusal(path, kind=QueueError, create=True):
    with pytest.raises(kind) as caught:
        SqliteQueue(str(path), create=create)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_a_queue_that_does_not_exist_is_not_made_unasked(path):
    assert "maniple sweep" in refusal(path, create=False)
    assert not path.exists()


def test_a_missing_folder_is_named(tmp_path):
    assert f"no folder {tmp_path / 'no'}" in refusal(tmp_path / "no" / "q.db")


def test_a_folder_is_another_kind_of_queue(tmp_path):
    assert f"dir:{tmp_path}" in refusal(tmp_path)


def test_a_queue_needs_a_name():
    with pytest.raises(QueueError, match="needs a file"):
        SqliteQueue("")


@pytest.mark.parametrize("size", [1, 100, 5000, 100_000])
def test_a_file_of_something_else_is_left_as_it_is(path, size):
    data = random.Random(size).randbytes(size)
    path.write_bytes(data)
    assert "no SQLite file" in refusal(path)
    assert path.read_bytes() == data


def test_another_programs_database_is_left_as_it_is(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE cats (name)")
    connection.close()
    before = path.read_bytes()
    assert "not a maniple queue" in refusal(path)
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_queue(path):
    path.touch()
    assert "not a maniple queue" in refusal(path, create=False)
    filled(path, 3)
    assert path.stat().st_size > 0


def test_a_queue_of_a_newer_maniple_is_not_touched(path):
    filled(path, 3)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version={FORMAT + 1}")
    connection.close()
    assert f"format {FORMAT + 1}" in refusal(path)


def test_a_file_that_was_cut_off_is_reported_as_damaged(path):
    filled(path)
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)
    message = refusal(path, StorageError)
    assert "damaged" in message
    assert ".recover" in message


def test_a_page_that_was_overwritten_is_reported_as_damaged(path):
    filled(path)
    with open(path, "r+b") as file:
        for page in range(3, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    assert "is damaged" in refusal(path, StorageError)


def test_what_a_killed_writer_left_in_the_log_is_not_lost(path):
    pid = os.fork()
    if pid == 0:
        queue = SqliteQueue(str(path))
        queue.put(range(10))
        queue.ack(queue.lease(4, 99.0))
        queue._file.execute("BEGIN IMMEDIATE")
        queue._file.execute("DELETE FROM tasks")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert Path(f"{path}-wal").stat().st_size > 0
    queue = SqliteQueue(str(path), create=False)
    stats = queue.stats()
    assert (stats.done, stats.waiting) == (4, 6)
    queue.close()


def test_a_full_disk_is_said_and_nothing_is_half_written(path):
    queue = SqliteQueue(str(path))
    queue.put(range(100))
    pages = queue._file.read("PRAGMA page_count")[0][0]
    queue._file.read(f"PRAGMA max_page_count={pages + 2}")
    with pytest.raises(StorageError, match="disk is full"):
        queue.put(f"{n:0200}" for n in range(10_000))
    assert queue.stats().waiting == 100
    queue._file.read("PRAGMA max_page_count=1000000")
    assert queue.put(["goes on"]) == 1
    queue.close()


def test_processes_that_make_the_same_queue_at_once_all_open_it(path):
    start, go = os.pipe()
    pids = []
    for which in range(8):
        pid = os.fork()
        if pid == 0:
            os.close(go)
            os.read(start, 1)
            code = 1
            try:
                queue = SqliteQueue(str(path))
                queue.put([which, "common"])
                queue.close()
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    os.close(go)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 8
    os.close(start)
    queue = SqliteQueue(str(path))
    assert queue.stats().waiting == 9
    queue.close()
