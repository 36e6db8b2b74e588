"""The drop-in package as Python sees it."""

import json
import logging
import pickle
import sys
import traceback

import pytest

from minionize import (
    Callback,
    Engine,
    EntryPoint,
    FuncCallback,
    ProcessCallback,
    minionize,
    minionizer,
)
from minionize.reporter import JsonReporter, NullReporter, StdoutReporter, create_reporter
from sweeps import make_sweep, run, status


class ListEngine(Engine):
    def __init__(self, *params):
        self.params = list(params)
        self.acked = []
        self.nacked = []

    def next(self):
        return self.params.pop(0) if self.params else None

    def ack(self, param):
        self.acked.append(param)

    def nack(self, param):
        self.nacked.append(param)


class Recorder(Callback):
    """Writes down its calls, and raises where it is told to."""

    def __init__(self, **raises):
        self.calls = []
        self.raises = raises

    def _note(self, name, param, *more):
        self.calls.append((name, param, *more))
        if name in self.raises:
            raise self.raises[name]

    def setup(self, param, engine):
        self._note("setup", param)

    def process(self, param, engine):
        self._note("process", param)

    def teardown(self, param, engine, exception):
        self._note("teardown", param, exception)


class Events:
    """A reporter of a user's: no base class, one method."""

    def __init__(self):
        self.events = []

    def report(self, event):
        self.events.append(event)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("MINION_ENGINE", "MINION_REPORTER", "DRY", "FILE_PATH", "FILE_DECODER"):
        monkeypatch.delenv(name, raising=False)


def test_setup_process_and_teardown_are_called_once_per_param_in_this_order():
    callback = Recorder()
    EntryPoint(callback, ListEngine("a", "b"), NullReporter()).run()
    assert callback.calls == [
        (name, param, *([None] if name == "teardown" else []))
        for param in "ab"
        for name in ("setup", "process", "teardown")
    ]


def test_the_callback_is_given_the_very_engine_and_param():
    engine = ListEngine(param := {"a": object()})
    seen = []

    class Mine(Callback):
        def process(self, param, engine):
            seen.append((param, engine))

    EntryPoint(Mine(), engine, NullReporter()).run()
    assert seen[0][0] is param
    assert seen[0][1] is engine


def test_a_param_is_acknowledged_once_whether_teardown_does_it_or_not():
    class Own(Callback):
        def teardown(self, param, engine, exception):
            engine.ack(param)

    for callback in (Callback(), Recorder(), Own()):
        engine = ListEngine(1, 2)
        EntryPoint(callback, engine, NullReporter()).run()
        assert (engine.acked, engine.nacked) == ([1, 2], [])


def test_a_teardown_may_give_its_param_back():
    class GiveBack(Callback):
        def teardown(self, param, engine, exception):
            engine.nack(param)

    engine = ListEngine(1)
    EntryPoint(GiveBack(), engine, NullReporter()).run()
    assert (engine.acked, engine.nacked) == ([], [1])


@pytest.mark.parametrize(
    "error", [ValueError("broken"), SystemExit(0), SystemExit("text"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("step", ["setup", "process"])
def test_an_exception_is_logged_handed_to_teardown_and_the_loop_goes_on(step, error, caplog):
    callback, engine, reporter = Recorder(**{step: error}), ListEngine(1, 2), Events()
    EntryPoint(callback, engine, reporter).run()
    assert [call for call in callback.calls if call[0] == "teardown"] == [
        ("teardown", 1, error),
        ("teardown", 2, error),
    ]
    assert (("process", 1) in callback.calls) == (step == "process")
    assert engine.acked == [1, 2]
    record = caplog.records[0]
    assert record.levelno == logging.ERROR
    assert "_note" in "".join(traceback.format_exception(*record.exc_info))
    assert type(error).__name__ in reporter.events[0].error
    assert reporter.events[0].cause == type(error).__name__


def test_an_exception_of_teardown_is_logged_and_recorded_and_the_param_acknowledged(caplog):
    engine, reporter = ListEngine(1, 2), Events()
    EntryPoint(Recorder(teardown=OSError("late")), engine, reporter).run()
    assert engine.acked == [1, 2]
    assert len(caplog.records) == 2
    assert "late" in reporter.events[0].error


def test_an_event_holds_what_happened():
    times = iter(range(100))
    reporter = Events()
    entry = EntryPoint(
        Callback(), ListEngine("a"), reporter, uid="me", clock=lambda: float(next(times))
    )
    entry.run()
    (event,) = reporter.events
    assert (event.uid, event.generation, event.param, event.error) == ("me", 1, "a", None)
    assert [step.name for step in event.atomic_actions] == ["next", "setup", "process", "teardown"]
    assert (event.start, event.end) == (0.0, event.atomic_actions[-1].end)


@pytest.mark.parametrize("error", [RuntimeError("full"), SystemExit(1), KeyboardInterrupt()])
def test_a_reporter_that_fails_never_stops_the_work(error):
    class Broken:
        def report(self, event):
            raise error

    engine = ListEngine(1, 2)
    EntryPoint(Callback(), engine, Broken()).run()
    assert engine.acked == [1, 2]


def test_an_engine_of_any_class_with_the_three_methods_will_do():
    class Duck:
        def __init__(self):
            self.acked = []
            self.params = [1, 2]

        def next(self):
            return self.params.pop(0) if self.params else None

        def ack(self, param):
            self.acked.append(param)

        def nack(self, param):
            raise AssertionError

    duck = Duck()
    EntryPoint(Callback(), duck, NullReporter()).run()
    assert duck.acked == [1, 2]


def test_a_process_callback_runs_its_command_through_the_shell(tmp_path):
    class MyProcessCallback(ProcessCallback):
        def to_cmd(self, param):
            return f"echo {param['arg1']} | tr a-z A-Z > {param['arg2']}"

    EntryPoint(MyProcessCallback(), ListEngine({"arg1": "hi", "arg2": "out"}), None).run()
    assert (tmp_path / "out").read_text() == "HI\n"


@pytest.mark.parametrize(
    ("command", "cause"),
    [("exit 3", "exit 3"), ("kill -9 $$", "SIGKILL"), (b"true", "TypeError"), ("\0", "ValueError")],
)
def test_a_command_that_fails_is_an_exception(command, cause):
    class Failing(ProcessCallback):
        def to_cmd(self, param):
            return command

    reporter = Events()
    EntryPoint(Failing(), ListEngine(1), reporter).run()
    assert reporter.events[0].cause == cause


def test_minionizer_takes_everything_from_the_environment(tmp_path):
    make_sweep(tmp_path / "sweeps", [("a", 1), ("b", 2)])
    found = []
    minionizer(FuncCallback(found.append)).run()
    assert sorted(found) == [("a", 1), ("b", 2)]
    assert status(tmp_path / "sweeps").done == {("a", 1), ("b", 2)}


def test_an_entry_point_runs_again_when_there_is_more(tmp_path, monkeypatch):
    from maniple.urls import open_queue

    monkeypatch.setenv("MINION_ENGINE", "sqlite:q.db")
    queue = open_queue("sqlite:q.db")
    found = []
    entry = minionizer(FuncCallback(found.append))
    for param in (1, 2):
        queue.put([param])
        entry.run()
    assert found == [1, 2]
    queue.close()


def test_a_dry_run_writes_the_calls(tmp_path, monkeypatch, capsys):
    make_sweep(tmp_path / "sweeps", [1])
    monkeypatch.setenv("DRY", "1")

    def never(param):
        raise AssertionError

    minionizer(FuncCallback(never)).run()
    assert capsys.readouterr().out == "never(1)\n"


def test_a_dry_run_gives_every_param_back_to_an_engine_of_ones_own(capsys):
    engine = ListEngine(1, 2)
    EntryPoint(Recorder(), engine, None, dry=True).run()
    assert capsys.readouterr().out == "1\n2\n"
    assert (engine.acked, engine.nacked) == ([], [1, 2])


def test_reporters_are_made_by_name(tmp_path, monkeypatch):
    assert isinstance(create_reporter("stdout"), StdoutReporter)
    assert isinstance(create_reporter(), NullReporter)
    monkeypatch.setenv("MINION_REPORTER", "json")
    monkeypatch.setenv("REPORTER_JSON_DIRECTORY", "there")
    reporter = create_reporter()
    assert isinstance(reporter, JsonReporter)
    assert reporter.directory == "there"


class Thing:
    def __repr__(self):
        return "a thing"


def test_events_are_read_back_as_one_table():
    engine = ListEngine({"x": 1}, Thing())
    EntryPoint(Recorder(process=ValueError("no")), engine, JsonReporter("there")).run()
    EntryPoint(Callback(), ListEngine(3), JsonReporter("there")).run()
    table = JsonReporter("there").to_pandas()
    assert list(table.param) == [{"x": 1}, "a thing", 3]
    assert list(table.generation) == [1, 2, 1]
    assert table.uid.nunique() == 2
    assert list(table.error.isna()) == [False, False, True]
    assert table.atomic_actions[0][0]["name"] == "next"


@minionize
def double(param):
    """Double it."""
    return param * 2


def test_a_decorated_function_is_still_that_function():
    assert double(3) == 6
    assert (double.__name__, double.__doc__) == ("double", "Double it.")
    assert pickle.loads(pickle.dumps(double)) is double


SCRIPT = """
from minionize import minionize

@minionize
def work(param):
    print("work", param)

if __name__ == "__main__":
    work{call}()
"""


@pytest.mark.parametrize("call", ["", ".run"])
def test_a_decorated_function_runs_over_the_engine_of_the_environment(tmp_path, call):
    import subprocess

    from sweeps import clean_environment

    (tmp_path / "script.py").write_text(SCRIPT.format(call=call))
    ran = subprocess.run(
        [sys.executable, "script.py"],
        input="1\n2\n",
        capture_output=True,
        text=True,
        env=clean_environment(MINION_ENGINE="file"),
        cwd=tmp_path,
        check=True,
    )
    assert ran.stdout == "work 1\nwork 2\n", ran.stderr


def test_a_user_sees_events_as_json(tmp_path):
    run("minionize", "true", cwd=tmp_path, MINION_ENGINE="file", MINION_REPORTER="json", stdin="1")
    (file,) = (tmp_path / "minion-report").iterdir()
    wanted = ["uid", "generation", "start", "end", "param", "error", "atomic_actions", "nodename"]
    assert set(wanted) <= set(json.loads(file.read_text()))
