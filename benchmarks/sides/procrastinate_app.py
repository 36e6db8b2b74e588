"""A procrastinate task that does nothing, on the PostgreSQL at BENCH_URL."""

import os

import procrastinate
from ticks import tick

app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=os.environ["BENCH_URL"]),
    import_paths=["procrastinate_app"],
)


@app.task
async def noop(x):  # noqa: ARG001 - a task has a param
    """Note that it ran."""
    tick("ticks")


def fill(tasks):
    """Make the tables and put the tasks, many with each statement."""
    connector = procrastinate.SyncPsycopgConnector(conninfo=os.environ["BENCH_URL"])
    with app.replace_connector(connector) as ours, ours.open():
        ours.schema_manager.apply_schema()
        ours.configure_task("procrastinate_app.noop").batch_defer(
            *({"x": number} for number in range(tasks))
        )
