"""The page docs/minionize.md does what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from maniple.callback.command import HELP
from maniple.settings import ALIASES, VARIABLES, read_settings
from sweeps import clean_environment, make_sweep, run, sweep

PAGE = (Path(__file__).parents[2] / "docs" / "minionize.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_commands_do_what_their_comments_say(tmp_path):
    make_sweep(tmp_path / "sweeps", sweep({"x": [1], "y": ["a"]}))
    said = [
        subprocess.run(
            ["sh", "-c", line],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for line in blocks("sh")[0].splitlines()
    ]
    assert said[0] == "echo hello {'x': 1, 'y': 'a'}\n"
    assert said[1] == "hello {x: 1, y: a}\n"
    assert "attempt" in said[2]
    assert said[3:] == ["", "1\n2\n3\n"]


def test_the_configuration_file_runs(tmp_path):
    (tmp_path / ".minionize.yml").write_text(blocks("yaml")[0])
    (tmp_path / "params.txt").write_text("1\n")
    assert run("minionize", cwd=tmp_path).stdout == "hello 1\n"


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, "--x 1\nworked on {'x': 2}\n"), (2, "18\n16\n16\n")],
)
def test_the_programs_run(tmp_path, number, said):
    (tmp_path / "script.py").write_text(blocks("python")[number])
    stop = "minionizer(Echo()).run()"
    if number == 1:
        # both of its runs take everything there is
        text = (tmp_path / "script.py").read_text()
        again = "import os; os.environ['FILE_PATH'] = 'second'\n"
        (tmp_path / "script.py").write_text(
            text.replace("minionizer(Func", again + "minionizer(Func")
        )
        assert stop in text
    (tmp_path / "first").write_text('{"x": 1}\n' if number == 1 else '{"x": 1}\n{"x": 2}\n')
    (tmp_path / "second").write_text('{"x": 2}\n')
    variables = {"MINION_ENGINE": "file", "FILE_PATH": "first", "FILE_DECODER": "json"}
    ran = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == said


def test_every_setting_is_on_the_page():
    for name in (*VARIABLES.values(), "DRY"):
        assert f"`{name}`" in PAGE
    for key in (*ALIASES, "engine", "command", "reporter", "retries", "lease", "file_path"):
        assert f"`{key}`" in PAGE


def test_the_defaults_on_the_page_are_the_defaults():
    defaults = read_settings({})
    for field, variable in VARIABLES.items():
        value = getattr(defaults, field)
        (row,) = [
            row for row in PAGE.splitlines() if row.startswith("|") and f"`{variable}`" in row
        ]
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        assert not shown or shown in row


def test_the_help_fits_a_terminal():
    assert all(len(line) <= 80 for line in HELP.splitlines())
