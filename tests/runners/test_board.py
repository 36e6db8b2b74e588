"""The memory that a function's process shares with its minion."""

import os

from maniple.runners.board import ROOM, SLOTS, Board, Mark


def test_a_slot_tells_how_its_task_ended():
    board = Board()
    assert board.read(7)[0] == Mark.FREE
    board.running(7, 1.5)
    assert board.read(7) == (Mark.RUNNING, 0, 1.5, 0.0)
    board.ended(7, Mark.DONE, 1.5, 2.5, b"result")
    assert board.read(7) == (Mark.DONE, 6, 1.5, 2.5)
    assert board.payload(7, 6) == b"result"
    board.free(7)
    assert board.read(7)[0] == Mark.FREE
    board.close()


def test_neighbours_do_not_touch_each_other():
    board = Board()
    for index in range(SLOTS):
        board.ended(index, Mark.DONE, index, index + 1.0, bytes([index]) * ROOM)
    for index in range(SLOTS):
        assert board.read(index) == (Mark.DONE, ROOM, index, index + 1.0)
        assert board.payload(index, ROOM) == bytes([index]) * ROOM
    board.close()


def test_what_is_read_while_it_is_written_is_whole_or_not_there():
    board = Board()
    rounds = 10_000
    pid = os.fork()
    if pid == 0:
        for turn in range(1, rounds + 1):
            board.ended(turn % 2, Mark.DONE, turn, turn, b"%d" % turn)
            while board.read(turn % 2)[0] != Mark.FREE:
                os.sched_yield()
        os._exit(0)
    torn = []
    for turn in range(1, rounds + 1):
        spins = 0
        while (found := board.read(turn % 2))[0] == Mark.FREE:
            spins += 1
            if spins % 200 == 0:
                os.sched_yield()
        _, length, start, end = found
        if (start, end, board.payload(turn % 2, length)) != (turn, turn, b"%d" % turn):
            torn.append(turn)
        board.free(turn % 2)
    assert os.waitpid(pid, 0)[1] == 0
    assert torn == []
    board.close()
