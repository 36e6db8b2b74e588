"""What a container writes is passed on even where the engine does not tell of its end."""

import socket

from maniple.callback import container as subject


class Container:
    """One whose end nobody tells: its connection stays open."""

    def __init__(self):
        self.status = "running"
        self.ours, self.theirs = socket.socketpair()

    def attach_socket(self, params):
        return self.ours

    def reload(self):
        self.status = "exited"


def test_the_end_that_an_engine_forgets_to_tell_is_found_by_looking(monkeypatch, capsys):
    monkeypatch.setattr(subject, "QUIET_SECONDS", 0.01)
    container = Container()
    container.theirs.sendall(b"\x01\0\0\0\0\0\0\x04word\x02\0\0\0\0\0\0\x05error")
    output = subject._Output(container, {"stdout": 1, "stderr": 0}, terminal=False)
    output.follow()
    output.close()
    container.theirs.close()
    assert capsys.readouterr().out == "word"
    assert output.aside == b"error"
