"""`maniple algorithm`: new, build, test, run, add, list, clean."""

import os
import subprocess
import sys

import pytest
import yaml

from projects import libf2c, need, project
from rust import tools_folder
from support import one_line

ADD = """\
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
    double a, b;
    if (argc > 1) {
        FILE *in = fopen("/in.txt", "r"), *out = fopen("/out.txt", "w");
        for (int c; in && (c = fgetc(in)) != EOF;) fputc(c + atoi(argv[1]), out);
        fputs("shifted\\n", stderr);
        return 0;
    }
    if (scanf("[%lf ,%lf]", &a, &b) != 2) { fputs("two numbers\\n", stderr); return 3; }
    if (a == b) for (;;);
    if (a > 1e9) {
        volatile char *room = malloc(200u << 20);
        if (!room) { fputs("no memory\\n", stderr); return 4; }
        room[7] = 1;
    }
    printf("%g\\n", a + b);
    return 0;
}
"""


@pytest.fixture
def algorithm(shell):
    """Run `maniple algorithm` in a folder of its own, with a shelf of its own."""
    shell.environment["MANIPLE_ALGORITHMS"] = str(shell.folder / "shelf")
    return lambda *words, **options: shell.maniple("algorithm", *words, **options)


@pytest.fixture
def add(shell, algorithm):
    """An algorithm in C, built."""
    project(shell.folder, {"main.c": ADD}, "mvcc")
    done = algorithm("build")
    assert done.returncode == 0, done.stderr
    return "build/thing-0.1.0.zip"


# ---- new


@pytest.mark.parametrize("language", ["c", "c++", "make", "fortran", "rust"])
def test_a_new_project_passes_its_tests_as_it_stands(shell, algorithm, language):
    environment = {}
    if language == "fortran":
        environment["MANIPLE_LIBF2C"] = libf2c()
    if language == "rust":
        environment["MANIPLE_TOOLS"] = tools_folder()
    if language == "make":
        need("make", "make")
    made = algorithm("new", "scale", "--language", language)
    assert made.returncode == 0, made.stderr
    assert made.stdout.endswith("made scale: try  cd scale && maniple algorithm test\n")
    folder = shell.folder / "scale"
    done = algorithm("test", cwd=folder, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("2 of 2 cases passed\n")
    assert "{{" not in "".join(path.read_text() for path in folder.glob("*.*"))


def test_what_is_said_about_a_new_project_goes_into_its_manifest(shell, algorithm):
    options = ["--description", 'Says "hi": twice', "--license", "MIT", "--url", "here"]
    assert algorithm("new", "greet", "--author", "Ann", *options).returncode == 0
    manifest = yaml.safe_load((shell.folder / "greet" / "motivus.yml").read_text())
    metadata = manifest["package"]["metadata"]
    assert metadata["short_description"] == 'Says "hi": twice'
    assert (metadata["license"], metadata["author"], metadata["url"]) == ("MIT", "Ann", "here")


def test_a_name_that_cargo_does_not_take_becomes_one_that_it_takes(shell, algorithm):
    assert algorithm("new", "2d.fit").returncode == 0
    assert 'name = "a2d-fit"' in (shell.folder / "2d.fit" / "Cargo.toml").read_text()


def test_a_folder_that_is_there_is_left_alone(shell, algorithm):
    (shell.folder / "mine").mkdir()
    (shell.folder / "mine" / "work.txt").write_text("work")
    done = algorithm("new", "mine")
    assert done.returncode == 2
    assert one_line(done.stderr) == (
        "maniple: mine is there already: choose another name, or remove it"
    )
    assert os.listdir(shell.folder / "mine") == ["work.txt"]


# ---- build, clean


def test_a_build_reports_sizes_and_digest(shell, add, algorithm):
    done = algorithm("build")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("thing@0.1.0 by zig ")
    assert [line.split()[0] for line in lines[1:]] == [
        "build/thing-0.1.0.wasm",
        "build/thing-0.1.0.js",
        "build/thing-0.1.0.zip",
        "sha256",
    ]


def test_a_compiler_error_is_printed_as_it_is_and_the_exit_code_is_1(shell, algorithm):
    project(shell.folder, {"main.c": "int main(void) { return x; }\n"}, "mvcc")
    done = algorithm("build")
    assert (done.returncode, done.stdout) == (1, "")
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "main.c"]
    alone = subprocess.run(zig, cwd=shell.folder, capture_output=True, text=True, check=False)
    assert done.stderr == alone.stderr + (
        "maniple: ziglang cc ended with exit status 1; what it said is above\n"
    )


def test_without_a_manifest_it_is_said_in_a_line(algorithm):
    done = algorithm("build")
    assert done.returncode == 2
    assert one_line(done.stderr).startswith("maniple: no motivus.yml: run this in the project's")


def test_clean_removes_the_build(shell, add, algorithm):
    done = algorithm("clean")
    assert (done.returncode, done.stdout) == (0, "removed build\n")
    assert sorted(os.listdir(shell.folder)) == ["main.c", "motivus.yml"]
    assert algorithm("clean").stdout == "there is no build\n"


# ---- test


def test_each_case_is_judged_and_the_exit_code_tells(shell, add, algorithm):
    (shell.folder / "in.txt").write_text("HAL")
    (shell.folder / "want.txt").write_text("IBM")
    (shell.folder / "tests.yml").write_text(
        "- {name: sum, params: [1, 2], value: 3}\n"
        "- {name: shift, arguments: '1', files: {/in.txt: in.txt}, results: {/out.txt: want.txt}}\n"
        "- {name: refuses, params: [a], fails: two numbers}\n"
        "- {name: wrong, params: [1, 2], value: 4}\n"
    )
    done = algorithm("test")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-6:] == [
        "  ok      sum",
        "  ok      shift",
        "  ok      refuses",
        "  failed  wrong",
        "          the value is 3, not 4",
        "3 of 4 cases passed",
    ]
    done = algorithm("test", "--time-limit", "60")
    (shell.folder / "tests.yml").write_text("- {params: [1, 2], value: 3}\n")
    assert algorithm("test").returncode == 0


def test_a_case_that_does_not_end_is_ended(shell, add, algorithm):
    (shell.folder / "tests.yml").write_text("- {params: [1, 1], value: 2}\n")
    done = algorithm("test", "--time-limit", "500ms")
    assert done.returncode == 1
    assert "time limit" in done.stdout


# ---- run


def test_one_call_prints_its_value(add, algorithm):
    done = algorithm("run", add, "1.5", "-4")
    assert (done.returncode, done.stdout, done.stderr) == (0, "-2.5\n", "")


def test_an_algorithm_is_found_in_the_build_folder_by_its_name(add, algorithm):
    assert algorithm("run", "thing", "1", "2").stdout == "3\n"
    assert algorithm("run", "thing@0.1.0", "1", "2").stdout == "3\n"
    done = algorithm("run", "other", "1")
    assert done.returncode == 2
    assert one_line(done.stderr).endswith("; there are: thing")


def test_arguments_and_files_go_in_and_files_come_out(shell, add, algorithm):
    (shell.folder / "hal.txt").write_text("HAL")
    words = ["--arg", "1", "--file", "/in.txt=hal.txt", "--result", "/out.txt=deep/out.txt"]
    done = algorithm("run", add, *words, "--result", "/none=none")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "shifted\nmaniple: warning: it left no /none\n"
    assert (shell.folder / "deep" / "out.txt").read_text() == "IBM"


def test_a_param_that_is_no_json_is_text(add, algorithm):
    done = algorithm("run", add, "hello")
    assert (done.returncode, done.stdout) == (1, "")
    said, failed = done.stderr.splitlines()
    assert said == "two numbers"
    assert failed.startswith("maniple: thing@0.1.0 failed: ")


def test_the_limits_of_a_call_hold(add, algorithm):
    done = algorithm("run", add, "1", "1", "--time-limit", "300ms")
    assert done.returncode == 1
    assert "time limit" in one_line(done.stderr)
    assert algorithm("run", add, "2e9", "1", "--memory", "1g").stdout == "2e+09\n"
    done = algorithm("run", add, "2e9", "1", "--memory", "100m")
    assert done.returncode == 1
    assert "memory" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--file", "in.txt=in.txt"], "--file 'in.txt=in.txt': write /PATH/THERE=PATH-HERE"),
        (["--result", "/out"], "--result '/out': write /PATH/THERE=PATH-HERE"),
        (["--file", "/a=gone"], "--file '/a=gone': cannot read gone: No such file or directory"),
        (["--memory", "much"], "--memory"),
    ],
)
def test_each_misuse_of_run_is_said_in_a_line(add, algorithm, words, message):
    done = algorithm("run", add, *words)
    assert done.returncode == 2
    assert message in one_line(done.stderr)


def test_a_file_that_is_no_package_is_refused(shell, algorithm):
    (shell.folder / "x.zip").write_text("x")
    done = algorithm("run", "./x.zip")
    assert done.returncode == 2
    assert one_line(done.stderr).startswith("maniple: x.zip: not a package")


# ---- add, list


def test_a_package_that_is_added_is_found_from_everywhere(shell, add, algorithm):
    assert algorithm("add", add).stdout == "added thing@0.1.0\n"
    elsewhere = shell.folder / "elsewhere"
    elsewhere.mkdir()
    assert algorithm("run", "thing", "1", "2", cwd=elsewhere).stdout == "3\n"
    done = algorithm("list", cwd=elsewhere)
    assert done.stdout == f"thing@0.1.0  {shell.folder}/shelf/thing-0.1.0.zip\n"


def test_a_version_that_was_added_never_changes(shell, add, algorithm):
    assert algorithm("add", add).returncode == 0
    assert algorithm("add", add).returncode == 0
    (shell.folder / "main.c").write_text("int main(void) { return 1; }\n")
    assert algorithm("build").returncode == 0
    done = algorithm("add", add)
    assert done.returncode == 2
    assert "a version never changes: raise the version" in one_line(done.stderr)


def test_an_empty_shelf_is_said_to_be_empty(shell, algorithm):
    assert algorithm("list").stdout == f"no algorithms in build or {shell.folder}/shelf\n"
