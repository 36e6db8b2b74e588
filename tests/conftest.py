"""What holds for all tests."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from brokers.server import end_all

# a shell makes what it puts into the background deaf to Ctrl-C, with all that is started there
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# a machine that is busy with other tests takes its time for an example, and that is no fault
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(autouse=True)
def _hears_hangups():
    """Let what a test starts hear that its terminal is gone, also under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def _group(item):
    mark = item.get_closest_marker("xdist_group")
    return mark and (mark.args or tuple(mark.kwargs.values()))[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """End the servers of a group with its last test: idle ones take memory, and processors too."""
    try:
        return (yield)
    finally:
        if _group(item) and (nextitem is None or _group(nextitem) != _group(item)):
            end_all()


def pytest_xdist_auto_num_workers():
    """Half as many processes more than processors: tests wait much, for servers and clocks."""
    processors = len(os.sched_getaffinity(0))
    return max(processors, min(processors + (processors + 1) // 2, 8))
