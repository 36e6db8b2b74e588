"""A huey with one task that does nothing."""

from huey import SqliteHuey
from ticks import tick

huey = SqliteHuey("bench", filename="huey.db", results=False)


@huey.task()
def noop(x):  # noqa: ARG001 - a task has a param
    """Note that it ran."""
    tick("ticks")
