"""A full disk and a read-only folder: one clear line, a right exit code, and nothing is lost."""

import pytest

from support import MANIPLE

PREPARE = "mount -t tmpfs -o size={size} none {folder} && cd {folder}"


@pytest.fixture
def disk(shell):
    """Run a script in a file system of a given size, in a mount namespace of its own."""
    if shell.command("unshare", "-m", "sh", "-c", f"mount -t tmpfs none {shell.folder}").returncode:
        pytest.skip("mounting in a namespace of one's own is not permitted here")

    # the journal of SQLite takes up to 32 MB, where each task is written by itself
    def run(script, size="64m"):
        (shell.folder / "disk").mkdir(exist_ok=True)
        prepared = PREPARE.format(size=size, folder=shell.folder / "disk")
        script = script.replace("maniple ", f'"{MANIPLE}" ')
        return shell.command("unshare", "-m", "sh", "-c", f"{prepared}\n{script}")

    return run


FILL = "cat /dev/zero > filler 2> /dev/null"


def after(text, mark):
    """Give what was printed after a line."""
    return text.split(f"{mark}\n", 1)[1]


@pytest.mark.parametrize(
    "url",
    ["sqlite:q.db", pytest.param("dir:q", marks=pytest.mark.soak)],  # waits for a lease of 30 s
)
def test_a_sweep_onto_a_full_disk_says_so_and_can_be_repeated(disk, url):
    result = disk(
        f"maniple sweep x=1..100 -q {url} --quiet; {FILL}\n"
        f"maniple sweep x=1..200000 -q {url}; echo code $?; rm filler\n"
        f"maniple sweep x=1..300 -q {url} --quiet; echo code $?\n"
        f"maniple run -q {url} --no-report -j 2 -- sh -c 'echo {{x}} >> ../log'; echo code $?"
    )
    assert "Traceback" not in result.stderr
    assert result.stdout.split("code ")[1:] == ["3\n", "0\n", "0\n"], result.stderr
    assert (
        len([line for line in result.stderr.splitlines() if "full" in line or "space" in line]) == 1
    )


@pytest.mark.parametrize("url", ["sqlite:q.db", "dir:q"])
def test_a_disk_that_fills_up_during_a_run_stops_it_and_nothing_is_lost(disk, shell, url):
    result = disk(
        f"maniple sweep x=1..300 -q {url} --quiet\n"
        f"maniple run -q {url} --results r.jsonl -j 2 -- sh -c '[ {{x}} != 50 ] || {FILL}; sleep 0.002'\n"
        "echo code $?; rm filler\n"
        f"maniple run -q {url} --results r.jsonl -j 2 -- true; echo code $?\n"
        f"maniple status -q {url} --json | tr -d ' \\n' | grep -o '\"queue\":{{[^}}]*}}'\n"
        "grep -o '\"x\":[0-9]*' r.jsonl | sort -u | wc -l"
    )
    codes = [part.split("\n")[0] for part in result.stdout.split("code ")[1:]]
    assert codes == ["3", "0"], result.stderr
    assert "Traceback" not in result.stderr
    assert '"done":300' in result.stdout
    assert result.stdout.split()[-1] == "300"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("sweep x=1..5 -q sqlite:new.db", {2, 3}),
        ("sweep x=1..9 -q sqlite:q.db", {2, 3}),
        ("sweep x=1..9 -q dir:q", {2, 3}),
        ("run -q sqlite:q.db --no-report -- true", {2, 3}),
        ("run -q dir:q --no-report -- true", {2, 3}),
        ("run -q sqlite:q.db -- true", {2, 3}),
        ("run x=1 --results r.csv -- true", {3}),
        ("run x=1 --output-dir logs -- true", {3}),
        ("queue retry -q sqlite:q.db", {2, 3}),
        ("queue export -q dir:q -o out.csv", {3}),
    ],
)
def test_a_read_only_folder_is_one_line(disk, words, code):
    result = disk(
        "maniple sweep x=1..3 -q sqlite:q.db --quiet; maniple sweep x=1..3 -q dir:q --quiet\n"
        f"mount -o remount,ro . ; echo go >&2; maniple {words}"
    )
    said = after(result.stderr, "go")
    assert result.returncode in code, said
    assert len(said.splitlines()) == 1, said
    assert said.startswith("maniple: ")


def test_params_on_the_line_need_no_writable_folder(disk):
    result = disk("mount -o remount,ro .; maniple run x=1..3 -j 1 --quiet -- echo")
    assert (result.returncode, result.stdout) == (0, "1\n2\n3\n"), result.stderr
