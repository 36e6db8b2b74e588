"""C and C++ to WASI with zig."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from classic_worker import in_chromium, in_deno, message_of
from maniple.algorithm.kind import Kind
from maniple.builders.build import build
from maniple.builders.contract import CompilerError
from maniple.builders.tool import Toolbox
from maniple.errors import AlgorithmError
from maniple.runners.algorithm import run_package
from projects import built, built_and_said, project, without

ECHO = """\
#include <stdio.h>
int main(int argc, char **argv) {
    char text[1000];
    size_t size = fread(text, 1, sizeof text, stdin);
    fprintf(stderr, "%s\\n", argc > 1 ? argv[1] : "-");
    printf("{\\"got\\": %.*s}\\n", (int)size, text);
    return argc - 1;
}
"""
THROWING = """\
#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>
struct Guard { ~Guard() { std::puts("unwound"); } };
static int check(int n) { Guard guard; if (n > 2) throw std::runtime_error("too many"); return n; }
int main() {
    try { check(3); } catch (const std::exception &error) { std::puts(error.what()); }
    try { throw 42; } catch (int n) { std::printf("%d\\n", n); }
    try { std::map<int, int>{}.at(7); } catch (const std::out_of_range &) { std::puts("range"); }
    try { (void)std::stoi("x"); } catch (const std::invalid_argument &) { std::puts("stoi"); }
    try {
        try { throw std::string("again"); } catch (...) { throw; }
    } catch (const std::string &text) { std::puts(text.c_str()); }
}
"""
THROWN = b"unwound\ntoo many\n42\nrange\nstoi\nagain\n"


@pytest.fixture(autouse=True)
def _zig():
    if find_spec("ziglang") is None:
        without("zig is not installed: pip install ziglang")


def test_a_program_in_c_gets_params_and_arguments_and_gives_a_value(tmp_path):
    folder = project(tmp_path / "p", {"main.c": ECHO}, "mvcc")
    package = built(folder, tmp_path / "b").package
    assert package.kind is Kind.WASI
    answer = run_package(package, params=b"[1, 2]", cache=str(tmp_path / "c"))
    assert (answer.ok, json.loads(answer.value), answer.stderr) == (True, {"got": [1, 2]}, b"-\n")
    answer = run_package(package, arguments=["word"], cache=str(tmp_path / "c"))
    assert (answer.ok, answer.cause, answer.stderr) == (False, "exit 1", b"word\n")


def test_all_files_are_compiled_c_as_c_and_cpp_as_cpp(tmp_path):
    files = {
        "main.cpp": '#include "two.h"\n#include <iostream>\nint main() { std::cout << two() << three(); }\n',
        "lib/two.h": 'extern "C" { int two(void); }\nint three();\n',
        # no C++ compiler takes this
        "lib/two.c": "int two(void) { int class = 2; void *p = 0; int *q = p; return q ? 0 : class; }\n",
        "lib/three.cc": "int three() { return nullptr ? 0 : 3; }\n",
        "build/old.c": "#error left over\n",
        ".hidden/x.c": "#error hidden\n",
    }
    folder = project(tmp_path / "p", files, "mvcc", include="[lib]")
    answer = run_package(built(folder, folder / "build").package, cache=str(tmp_path / "c"))
    assert answer.stdout == b"23"


def test_options_are_words_of_the_compiler(tmp_path):
    files = {"main.c": "#include <stdio.h>\nint main(void) { puts(NAME); }\n"}
    folder = project(tmp_path / "p", files, "mvcc", options="""["-DNAME=\\"a b\\"", "-lm"]""")
    answer = run_package(built(folder, tmp_path / "b").package, cache=str(tmp_path / "c"))
    assert answer.stdout == b"a b\n"


@pytest.mark.parametrize("ending", ["c", "cpp"])
def test_the_same_sources_give_the_same_digest_in_another_folder(tmp_path, ending):
    files = {
        f"main.{ending}": "#include <assert.h>\n#include <stdio.h>\n#include <time.h>\n"
        'int main(int argc, char **argv) { assert(argc); printf("%s %s %s", __FILE__, __DATE__, __TIME__); }\n'
    }
    first = built(project(tmp_path / "p", files, "mvcc"), tmp_path / "b")
    second = built(project(tmp_path / "an other" / "place", files, "mvcc"), tmp_path / "c d")
    assert first.digest == second.digest
    assert str(tmp_path).encode() not in first.package.wasm


def test_a_compiler_error_is_shown_as_the_compiler_printed_it(tmp_path):
    files = {"main.c": "int main(void) {\n    return undeclared;\n}\n"}
    folder = project(tmp_path / "p", files, "mvcc")
    shown = []
    with pytest.raises(CompilerError, match="ziglang cc ended with exit status 1"):
        build(str(folder), build_dir=str(tmp_path / "b"), tools=Toolbox(shown.append))
    alone = subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "main.c"],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    assert b"undeclared" in alone.stderr
    assert b"".join(shown) == alone.stderr


def test_a_warning_is_shown_too(tmp_path):
    files = {"main.c": "#warning think of it\nint main(void) { return 0; }\n"}
    _, said = built_and_said(project(tmp_path / "p", files, "mvcc"), tmp_path / "b")
    assert "main.c:1:2: warning: think of it" in said


def test_a_debug_build_has_symbols_and_runs(tmp_path):
    folder = project(tmp_path / "p", {"main.c": ECHO}, "mvcc")
    quick = built(folder, tmp_path / "b").package.wasm
    slow = build(str(folder), build_dir=str(tmp_path / "b"), debug=True, echo=lambda _: None)
    assert len(slow.package.wasm) > 2 * len(quick)
    assert b".debug_info" in slow.package.wasm
    answer = run_package(slow.package, params=b"[7]", cache=str(tmp_path / "c"))
    assert json.loads(answer.value) == {"got": [7]}


@pytest.fixture(scope="module")
def throwing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("throwing")
    return built(project(folder / "p", {"main.cpp": THROWING}, "mvcc"), folder / "b").package


def test_exceptions_of_cpp_are_thrown_and_caught(tmp_path, throwing):
    assert throwing.kind is Kind.WASI
    answer = run_package(throwing, cache=str(tmp_path / "c"))
    assert (answer.ok, answer.stdout) == (True, THROWN), answer


@pytest.mark.parametrize("worker", [in_deno, in_chromium])
def test_exceptions_of_cpp_are_thrown_and_caught_in_a_browser(tmp_path, throwing, worker):
    reply = worker(tmp_path, throwing.loader, message_of(throwing.wasm))
    assert (reply.exit_code, reply.stdout) == (0, THROWN), reply


def test_an_exception_that_nobody_catches_fails_the_call(tmp_path):
    files = {"main.cpp": '#include <stdexcept>\nint main() { throw std::runtime_error("no"); }\n'}
    package = built(project(tmp_path / "p", files, "mvcc"), tmp_path / "b").package
    answer = run_package(package, cache=str(tmp_path / "c"))
    assert (answer.ok, answer.cause) == (False, "trap")


def test_files_and_folders_are_the_librarys(tmp_path):
    files = {
        "main.cpp": "#include <filesystem>\n#include <fstream>\n#include <iostream>\n"
        "namespace fs = std::filesystem;\n"
        "int main() {\n"
        '    fs::create_directories("/out/deep");\n'
        '    std::string line; std::getline(std::ifstream("/in.txt"), line);\n'
        '    std::ofstream("/out/deep/a.txt") << line << "!";\n'
        '    fs::copy_file("/out/deep/a.txt", "/out/b.txt");\n'
        '    for (auto &entry : fs::recursive_directory_iterator("/out"))\n'
        "        if (entry.is_regular_file()) std::cout << entry.file_size();\n"
        "}\n"
    }
    package = built(project(tmp_path / "p", files, "mvcc"), tmp_path / "b").package
    answer = run_package(
        package,
        files={"/in.txt": b"hello\n"},
        results=["/out/deep/a.txt", "/out/b.txt"],
        cache=str(tmp_path / "c"),
    )
    assert answer.stdout == b"66", answer
    assert answer.files == {"/out/deep/a.txt": b"hello!", "/out/b.txt": b"hello!"}


def test_deep_recursion_and_large_arrays_fit_on_the_stack(tmp_path):
    files = {
        "main.c": "#include <stdio.h>\n"
        "int deep(int n) { volatile char room[1024]; room[0] = 1; return n ? deep(n - 1) + room[0] : 0; }\n"
        "int main(void) { volatile char big[4 << 20]; big[7] = 1;"
        ' printf("%d", deep(2000) + big[7]); }\n'
    }
    package = built(project(tmp_path / "p", files, "mvcc"), tmp_path / "b").package
    assert run_package(package, cache=str(tmp_path / "c")).stdout == b"2001"


def test_clocks_and_signals_are_made_up(tmp_path):
    files = {
        "main.c": "#include <signal.h>\n#include <stdio.h>\n#include <time.h>\n#include <unistd.h>\n"
        'static void caught(int n) { printf("%d", n); }\n'
        "int main(void) { signal(SIGUSR1, caught); raise(SIGUSR1);"
        " return clock() == (clock_t)-1 || getpid() <= 0; }\n"
    }
    package = built(project(tmp_path / "p", files, "mvcc"), tmp_path / "b").package
    answer = run_package(package, cache=str(tmp_path / "c"))
    assert (answer.ok, answer.stdout) == (True, b"10"), answer


def test_without_sources_it_is_said_where_they_were_looked_for(tmp_path):
    folder = project(tmp_path / "p", {"main.rs": ""}, "mvcc")
    with pytest.raises(AlgorithmError, match=rf"no C or C\+\+ sources in {folder}"):
        built(folder, tmp_path / "b")


def test_a_build_leaves_nothing_in_the_users_folder(tmp_path):
    folder = project(tmp_path / "p", {"main.c": ECHO}, "mvcc")
    built(folder, tmp_path / "b")
    assert sorted(os.listdir(folder)) == ["main.c", "motivus.yml"]
