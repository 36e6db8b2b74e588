"""`maniple sweep`: every form of params reaches a queue, and nothing twice."""

import json

import pytest

from support import one_line

Q = "sqlite:q.db"


def params(shell, url=Q):
    lines = shell.maniple("queue", "export", "-q", url).stdout.splitlines()
    return [json.loads(line)["param"] for line in lines]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["x=1..3"], [{"x": 1}, {"x": 2}, {"x": 3}]),
        (["x=1..2", "y=a,b"], [{"x": x, "y": y} for x in (1, 2) for y in "ab"]),
        (["x=0..10:5"], [{"x": 0}, {"x": 5}, {"x": 10}]),
        (["x=0..1:0.5"], [{"x": 0.0}, {"x": 0.5}, {"x": 1.0}]),
        (["x=log:1..100:3"], [{"x": 1.0}, {"x": 10.0}, {"x": 100.0}]),
        (["x=lin:0..1:3"], [{"x": 0.0}, {"x": 0.5}, {"x": 1.0}]),
        (["--zip", "x,y", "x=1,2", "y=a,b"], [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}]),
        (["--text", "x=1,2"], [{"x": "1"}, {"x": "2"}]),
        (["params.csv"], [{"a": 1, "b": "u v"}, {"a": 2, "b": "w"}]),
        (["params.jsonl"], [{"a": [1, None]}, "text", 7]),
        (["params.yaml"], [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]),
        (["lines.txt"], ["one", "two words"]),
        (["x=1,2", "lines.txt"], [{"x": 1}, {"x": 2}, "one", "two words"]),
    ],
)
def test_each_form_of_params_reaches_the_queue(shell, words, expected):
    (shell.folder / "params.csv").write_text('a,b\n1,"u v"\n2,w\n')
    (shell.folder / "params.jsonl").write_text('{"a":[1,null]}\n"text"\n7\n')
    (shell.folder / "params.yaml").write_text("a: [1, 2]\nb: x\n")
    (shell.folder / "lines.txt").write_text("one\ntwo words\n")
    result = shell.maniple("sweep", *words, "-q", Q)
    assert result.returncode == 0, result.stderr
    assert params(shell) == expected


def test_random_samples_are_the_same_for_the_same_seed(shell):
    words = ["x=uniform:0..1", "n=randint:1..9", "--samples", 4]
    for url, seed in (("sqlite:a.db", 1), ("sqlite:b.db", 1), ("sqlite:c.db", 2)):
        assert shell.maniple("sweep", *words, "--seed", seed, "-q", url).returncode == 0
    a, b, c = (params(shell, f"sqlite:{name}.db") for name in "abc")
    assert len(a) == 4
    assert a == b != c


@pytest.mark.parametrize("words", [[], ["-"]])
def test_without_params_or_with_a_dash_lines_of_standard_input_are_read(shell, words):
    result = shell.maniple("sweep", *words, "-q", Q, input="a\nb c\n\na\n")
    assert result.stdout == "2 tasks added to sqlite:q.db; 1 was there already\n"
    assert params(shell) == ["a", "b c"]


@pytest.mark.parametrize("url", [Q, "dir:q"])
def test_filled_twice_adds_nothing_and_a_larger_sweep_adds_what_is_new(shell, url):
    said = [
        shell.maniple("sweep", word, "-q", url).stdout for word in ("x=1..5", "x=1..5", "x=1..7")
    ]
    assert said == [
        f"5 tasks added to {url}\n",
        f"0 tasks added to {url}; 5 were there already\n",
        f"2 tasks added to {url}; 5 were there already\n",
    ]


def test_what_is_done_is_not_added_again(shell):
    shell.maniple("sweep", "x=1..3", "-q", Q)
    assert shell.maniple("run", "-q", Q, "--", "true").returncode == 0
    assert shell.maniple("sweep", "x=1..4", "-q", Q).stdout.startswith("1 task added")


def test_two_sweeps_at_once_on_one_queue_add_each_param_once(shell):
    both = [shell.start("sweep", "x=1..20000", "-q", Q) for _ in range(2)]
    ends = [shell.finish(process) for process in both]
    assert [code for code, _, _ in ends] == [0, 0]
    assert sum(int(out.split()[0]) for _, out, _ in ends) == 20_000
    assert shell.stats()["waiting"] == 20_000


def test_the_default_queue_comes_from_the_environment_or_is_a_file_here(shell):
    shell.maniple("sweep", "x=1", env={"MANIPLE_QUEUE": "sqlite:named.db"})
    shell.maniple("sweep", "x=1")
    assert (shell.folder / "named.db").exists()
    assert (shell.folder / "maniple.db").exists()


def test_a_dry_run_prints_the_params_and_makes_no_queue(shell):
    result = shell.maniple("sweep", "x=1,2", "y=a", "-q", Q, "--dry-run")
    assert result.stdout == '{"x":1,"y":"a"}\n{"x":2,"y":"a"}\n'
    assert not list(shell.folder.iterdir())


def test_quiet_says_nothing(shell):
    result = shell.maniple("sweep", "x=1", "--quiet")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["x=1.."], "x=1..10"),
        (["missing.csv"], "nor a file"),
        (["x=1", "-q", "q.db"], "sqlite:q.db"),
        (["x=1", "-q", "nosuch:q"], "sqlite"),
        (["x=1", "-q", "sqlite:nowhere/q.db"], "no folder nowhere"),
        (["x=1", "-", "-q", Q], "alone"),
        (["x=1", "--", "true"], "maniple run"),
        (["x=1", "--samples", "3"], "random"),
        (["x=1", "--zip", "x,z"], "no axis 'z'"),
        ([f"x{n}=1" for n in range(1000)], "give a file"),
    ],
)
def test_a_slip_is_one_line_and_exit_code_2(shell, words, hint):
    result = shell.maniple("sweep", *words)
    assert result.returncode == 2
    assert hint in one_line(result.stderr)


def test_a_bad_line_in_the_middle_of_a_file_is_named(shell):
    (shell.folder / "p.jsonl").write_text('1\n2\n{"a":\n')
    result = shell.maniple("sweep", "p.jsonl")
    assert result.returncode == 2
    assert "p.jsonl:3" in one_line(result.stderr)
