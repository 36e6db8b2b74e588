"""What tests of networks share: running one, sources, sinks."""

import io
import os
from contextlib import contextmanager

from maniple.network.live.console import Console
from maniple.network.live.run import LocalRun


@contextmanager
def silent(network, shown=None):
    """A console that shows nothing, or shows it in a file of bytes."""
    console = Console([job.name for job in network.jobs], shown)
    try:
        yield console
    finally:
        console.close()


def run(network, **options):
    """Run a network; return what its jobs printed."""
    shown = io.BytesIO()
    with silent(network, shown) as console:
        LocalRun(network, console, **options).run()
    return shown.getvalue().decode()


def counting(number):
    def count():
        yield from range(number)

    return count


def writing(path):
    """A sink that writes each value down at once."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(value):
        os.write(file, f"{value}\n".encode())

    return write


def lines(path):
    return [int(line) for line in path.read_text().split()]
