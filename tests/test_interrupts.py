"""Signals that are held back are handled where they are heard, and none is forgotten."""

import signal
import subprocess
import sys
import threading

import pytest

from maniple.interrupts import HeldBack


@pytest.fixture(autouse=True)
def handlers():
    """Programs that raise at Ctrl-C and SIGTERM, and have no handler of SIGHUP."""

    def leave(number, _):
        raise SystemExit(128 + number)

    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGTERM: signal.signal(signal.SIGTERM, leave),
    }
    found = [signal.getsignal(number) for number in before]
    # execo, where another test has loaded it, interrupts the main thread when it cannot go on
    told = signal.set_wakeup_fd(-1)
    yield
    signal.set_wakeup_fd(told)
    assert [signal.getsignal(number) for number in before] == found
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_is_handled_where_it_is_heard():
    steps = []

    def block():
        with HeldBack() as signals:
            signal.raise_signal(signal.SIGINT)
            steps.append("started")
            with signals.heard():
                steps.append("never")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert steps == ["started"]


def test_a_signal_that_comes_while_it_is_heard_is_handled_at_once():
    steps = []

    def block():
        with HeldBack() as signals, signals.heard():
            signal.raise_signal(signal.SIGTERM)
            steps.append("never")

    with pytest.raises(SystemExit) as left:
        block()
    assert left.value.code == 128 + signal.SIGTERM
    assert steps == []


def test_a_signal_that_was_never_heard_is_handled_after_the_block():
    steps = []

    def block():
        with HeldBack():
            signal.raise_signal(signal.SIGINT)
            steps.append("done")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert steps == ["done"]


def test_further_signals_do_not_disturb_the_clearing_away():
    steps = []

    def block():
        with HeldBack() as signals:
            try:
                with signals.heard():
                    signal.raise_signal(signal.SIGINT)
            finally:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGTERM)
                with signals.heard():
                    steps.append("cleared")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert steps == ["cleared"]


def test_another_error_is_not_hidden_by_a_signal():
    def block():
        with HeldBack():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        block()


def test_a_handler_that_returns_is_called_each_time():
    heard = []
    signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        with HeldBack() as signals:
            with signals.heard():
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
                assert len(heard) == 2
            signal.raise_signal(signal.SIGINT)
            assert len(heard) == 2
        assert len(heard) == 3
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_another_thread_holds_nothing_back():
    errors = []

    def work():
        try:
            with HeldBack() as signals, signals.heard():
                pass
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []


def test_a_program_started_meanwhile_hears_its_signals():
    with HeldBack():
        ended = subprocess.run(
            [sys.executable, "-c", "import signal as s; s.raise_signal(s.SIGTERM)"], check=False
        )
    assert ended.returncode == -signal.SIGTERM
