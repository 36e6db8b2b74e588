"""`maniple run --algorithm`: a published algorithm over many params, on any queue."""

import json
import os
import signal

import pytest

from maniple import proctree
from maniple.algorithm.package import Package
from small_algorithms import loaded, need, shelve
from support import is_alive, minions, one_line, until

Q = "sqlite:q.db"
SHOW = loaded("show", "return [params, args];", "0.0.1")
SUM = loaded("sum", "return params.flat().reduce((a, b) => a + b, 0);")
ENDLESS = loaded("endless", "for (;;) {}")
FAILS = loaded(
    "fails",
    "stderr = say('the eleventh'); if (params[0] == 1) throw new Error('no such point'); return 7;",
)


ZIPPED = b"""
const zipped = async (found) => {
  const packed = new Blob([JSON.stringify(found)]).stream().pipeThrough(new CompressionStream('gzip'));
  const bytes = new Uint8Array(await new Response(packed).arrayBuffer());
  return btoa(String.fromCharCode(...bytes));
};
"""


@pytest.fixture(autouse=True)
def algorithms(shell):
    need("deno")
    shell.environment["MANIPLE_CACHE"] = str(shell.folder / "cache")
    shell.environment["MANIPLE_ALGORITHMS"] = str(shell.folder / "home")
    shelve(shell.folder, SHOW, SUM, ENDLESS, FAILS)


def results(shell, *words, code=0):
    """Run, and give the results in the order of the tasks."""
    done = shell.maniple("run", "--results", "r.jsonl", *words)
    assert done.returncode == code, done.stderr
    rows = [json.loads(line) for line in shell.lines("r.jsonl")]
    return [row["result"] for row in sorted(rows, key=lambda row: row["number"])]


def test_the_words_are_the_arguments_of_main(shell):
    assert results(shell, "x=1..3", "y=2", "--algorithm", "sum", "--", "{x}", "{y}", "10") == [
        13,
        14,
        15,
    ]


def test_a_param_alone_is_the_arguments_of_main(shell):
    (shell.folder / "p.jsonl").write_text('[1,[2,3]]\n5\n{"x":[1]}\n')
    assert results(shell, "p.jsonl", "--algorithm", "show@0.0.1") == [
        [[1, [2, 3]], []],
        [[5], []],
        [[{"x": [1]}], []],
    ]


def test_a_word_is_json_where_it_can_be_and_a_placeholder_alone_the_value_itself(shell):
    (shell.folder / "p.jsonl").write_text('{"t":"2","l":[1,{"a":null}],"n":1.5,"d":{"e":true}}\n')
    words = ["{t}", "{t}0", "{l}", "{n}", "{d.e}", "{d}", "[{n}, 2]", "text", "a{t}", "{{t}}",
             "{1}", "{#}", "{%}", "NaN", '"3"']  # fmt: skip
    ((params, _),) = results(shell, "p.jsonl", "-j", 1, "--algorithm", "show", "--", *words)
    assert params == [
        "2", 20, [1, {"a": None}], 1.5, True, {"e": True}, [1.5, 2], "text", "a2", "{t}",
        "2", 1, 1, "NaN", "3",
    ]  # fmt: skip


def test_a_param_that_no_word_mentions_comes_last(shell):
    ((params, _),) = results(shell, "x=1", "y=b", "--algorithm", "show", "--", "[0]")
    assert params == [[0], 1, "b"]


def test_an_algorithm_has_a_command_line_and_files_of_its_own(shell):
    (shell.folder / "in1.txt").write_text("content\n")
    cat = loaded("cat", "return [Object.keys(event.data.preload_files).sort(), args];")
    shelve(shell.folder, cat)
    ((files, args),) = results(
        shell, "x=1", "--algorithm", "cat", "--arg", "-n{x}", "--arg", "two words",
        "--file", "/data/in=in{x}.txt", "--",
    )  # fmt: skip
    assert files == ["/data/in"]
    assert args in (["-n1", "two words"], "-n1 two words")


def test_result_files_land_where_asked(shell):
    leaves = loaded("leaves", "return zipped({data: 1, '/out/a.txt': btoa('left ' + params[0])});")
    loader = leaves.loader.replace(
        b"postMessage({ body: value,", b"postMessage({ body: await value,"
    )
    loader = loader.replace(b"onmessage = (event)", ZIPPED + b"onmessage = async (event)")
    shelve(shell.folder, Package("leaves", "1", leaves.wasm, loader))
    done = shell.maniple(
        "run", "x=1..2", "--algorithm", "leaves", "--result", "/out/a.txt=deep/er/{x}.txt",
        "--result", "/out/b.txt=b-{x}", "--", "{x}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (shell.folder / "deep" / "er" / "2.txt").read_text() == "left 2"
    assert 'task 1 ({"x":1}) left no /out/b.txt' in done.stderr
    assert not list(shell.folder.glob("b-*"))


def test_a_failed_call_is_a_failed_task_with_its_reason(shell):
    shell.maniple("sweep", "x=1..2", "-q", Q)
    done = shell.maniple("run", "-q", Q, "--algorithm", "fails", "--", "{x}")
    assert done.returncode == 1
    assert "no such point" in done.stderr
    assert "the eleventh" in done.stderr
    stats = shell.stats()
    assert (stats["done"], stats["failed"]) == (1, 1)


def test_limits_hold(shell):
    done = shell.maniple(
        "run",
        "x=1",
        "--algorithm",
        "endless",
        "--time-limit",
        "300ms",
        "--memory",
        "200m",
        "--",
        "{x}",
    )
    assert done.returncode == 1
    assert "time limit of 0.3 s" in done.stderr


def test_a_package_may_be_named_by_its_file(shell):
    assert results(shell, "x=4", "--algorithm", "build/sum-1.zip", "--", "{x}") == [4]


def test_what_would_be_called_can_be_shown(shell):
    done = shell.maniple(
        "run", "x=1", "y=a b", "--algorithm", "show", "--arg", "-v", "--result", "/o={x}.txt",
        "--dry-run", "--", "{x}", "{y}",
    )  # fmt: skip
    assert done.stdout == "show@0.0.1 1 '\"a b\"' --arg -v --result /o=1.txt\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x=1", "--algorithm", "kmeans"], "no algorithm kmeans in"),
        (["x=1", "--algorithm", "show@2"], "no version 2 of show"),
        (["x=1", "--algorithm", "show", "--", "{y}"], "{y}"),
        (["x=1", "--algorithm", "show", "--file", "in=out", "--", "{x}"], "THERE=HERE"),
        (["x=1", "--algorithm", "show", "--file", "/in=gone", "--", "{x}"], "cannot read gone"),
        (["x=1", "--algorithm", "show", "--result", "/o=a", "--result", "/o=b"], "named twice"),
        (["x=1", "--algorithm", "show", "--shell", "--", "{x}"], "--shell is for commands"),
        (["x=1", "--algorithm", "show", "--image", "debian", "--", "{x}"], "do not go together"),
        (["x=1", "--algorithm", "show", "--output", "live"], "--output live"),
        (["x=1", "--algorithm", "show", "--cpus", "2"], "--cpus is for containers"),
        (["x=1", "--algorithm", "show", "--memory", "many"], "--memory"),
        (["x=1", "--arg", "a", "--", "true"], "--arg is for algorithms"),
    ],
)
def test_what_makes_no_sense_is_told_before_any_task_runs(shell, words, said):
    done = shell.maniple("run", *words)
    assert done.returncode == 2
    assert said in one_line(done.stderr)


def test_a_param_leads_no_result_out_of_its_folder(shell):
    (shell.folder / "p.jsonl").write_text('{"n":"good"}\n{"n":"../../stolen"}\n')
    done = shell.maniple(
        "run", "p.jsonl", "--algorithm", "show", "--result", "/o=out/{n}", "--", "{n}"
    )
    assert done.returncode == 1
    assert "is not in" in done.stderr


def test_ctrl_c_gives_back_what_runs(shell):
    shell.maniple("sweep", "x=1..4", "-q", Q)
    process = shell.start("run", "-q", Q, "-j", 2, "--algorithm", "endless", "--", "{x}")
    until(lambda: shell.stats()["leased"] >= 2)
    code, in_time = shell.interrupt(process, signal.SIGINT)
    assert code == 130

    def given_back():
        stats = shell.stats()
        return (stats["waiting"], stats["leased"], stats["failed"]) == (4, 0, 0)

    assert given_back() if in_time else until(given_back)


def test_a_killed_minion_is_replaced_and_leaves_no_sandbox(shell):
    shell.maniple("sweep", "x=1..2", "-q", Q)
    process = shell.start(
        "run", "-q", Q, "-j", 1, "--lease", "1s", "--algorithm", "endless", "--", "{x}"
    )
    until(lambda: shell.stats()["leased"] >= 1)
    (first,) = minions(process.pid)
    below = until(lambda: proctree.descendants(first))
    os.kill(first, signal.SIGKILL)
    until(lambda: minions(process.pid) not in ([], [first]))
    until(lambda: not any(map(is_alive, below)))
    os.killpg(process.pid, signal.SIGKILL)
    until(lambda: not shell.alive())
    assert shell.stats()["done"] == 0
