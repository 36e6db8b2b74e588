"""C and C++ with Emscripten."""

import base64
import os
import stat

import pytest

from classic_worker import in_chromium, in_deno, in_node, in_sandbox, message_of
from maniple.algorithm.call import Call
from maniple.algorithm.kind import Kind
from maniple.builders.contract import CompilerError
from maniple.errors import AlgorithmError
from projects import built, built_and_said, need, project

PROGRAM = """
#include <emscripten.h>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include "half.h"

int main(int count, char **words) {
  std::string params, given, start;
  std::getline(std::cin, params);
  std::getline(std::ifstream("/in/given.txt"), given);
  std::getline(std::ifstream("/start.txt"), start);
  for (int i = 0; i < count; i++) std::cerr << words[i] << ";";
  std::ofstream("/out.txt") << given << "|" << start << std::string(70000, '.');
  try {
    if (half(7) == 3.5) throw std::runtime_error("caught");
  } catch (std::exception &error) {
    std::cerr << error.what();
  }
  std::cout << "{\\"params\\": " << params << ", \\"letter\\": \\"\\xC3\\xA4\\"}\\n";
  return count > 2 ? 5 : 0;
}
"""
FILES = {
    "main.cpp": PROGRAM,
    "half.h": 'extern "C" double half(double);\n',
    "parts/half.c": "double half(double x) { return x / 2; }\n",
    "fs/start.txt": "from the start",
}


@pytest.fixture(autouse=True)
def _emcc():
    need("emcc", "emscripten")


def cxx(folder):
    # exceptions cost code and time, so Emscripten wants to be asked for them
    return project(folder, FILES, "mvcc", filesystem="fs", options="-sDISABLE_EXCEPTION_CATCHING=0")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    need("emcc", "emscripten")
    return built(cxx(tmp_path_factory.mktemp("cxx") / "p"), tmp_path_factory.mktemp("build"))


@pytest.mark.parametrize("worker", [in_deno, in_chromium, in_node])
def test_a_program_gets_words_params_and_files_and_leaves_its_value_and_files(
    tmp_path, made, worker
):
    package = made.package
    assert package.kind is Kind.LOADER
    data = base64.b64encode(package.data).decode()
    reply = worker(
        tmp_path / "w",
        package.loader,
        message_of(
            package.wasm,
            params=[1, "größer"],
            arguments="'one word'",
            preload_files={"/in/given.txt": base64.b64encode(b"given").decode()},
            result_files={"/out.txt": "here", "/none.txt": "there"},
            data_link=f"data:application/zip;base64,{data}",
        ),
    )
    assert reply.value == {"params": [1, "größer"], "letter": "ä"}
    assert reply.stderr == b"thing;one word;caught"
    assert reply.files == {"/out.txt": b"given|from the start" + b"." * 70000}
    assert reply.exit_code == 0


def test_it_runs_in_the_sandbox_of_a_worker(tmp_path, made):
    call = Call(
        made.package.code,
        params=b"[2]",
        arguments=["word"],
        files={"/in/given.txt": b"given"},
        results=["/out.txt"],
    )
    answer = in_sandbox(tmp_path, made.package, call)
    assert (answer.ok, answer.value) == (True, b'{"params": [2], "letter": "\xc3\xa4"}'), answer
    assert answer.files == {"/out.txt": b"given|from the start" + b"." * 70000}
    assert answer.stderr == b"thing;word;caught"


C = "#include <emscripten.h>\n#include <stdio.h>\n#include <stdlib.h>\n"


def answer(tmp_path, body, **message):
    source = f"{C}int main(int count, char **words) {{ {body} }}\n"
    package = built(project(tmp_path / "p", {"main.c": source}, "mvcc"), tmp_path / "b").package
    return in_deno(tmp_path / "w", package.loader, message_of(package.wasm, **message))


def test_an_exit_code_and_what_was_printed_before_it_are_told(tmp_path):
    reply = answer(tmp_path, 'printf("half a li"); fprintf(stderr, "why"); exit(count + 1);')
    assert (reply.exit_code, reply.stdout, reply.stderr) == (2, b"half a li", b"why")
    assert reply.value is None


def test_an_abort_is_an_exit_code_and_a_line(tmp_path):
    reply = answer(tmp_path, 'printf("[1]\\n"); fflush(stdout); abort();')
    assert reply.exit_code == 134
    assert reply.stdout == b"[1]\n"
    assert b"abort" in reply.stderr.lower()


def test_files_may_be_embedded_and_not_preloaded(tmp_path):
    files = {"main.c": f'{C}int main() {{ puts(fopen("/a.txt", "r") ? "1" : "2"); }}', "a.txt": "a"}
    folder = project(tmp_path / "p", files, "mvcc", options="--embed-file a.txt@/a.txt")
    package = built(folder, tmp_path / "b").package
    assert in_deno(tmp_path / "w", package.loader, message_of(package.wasm)).value == 1
    folder = project(tmp_path / "p", files, "mvcc", options="--preload-file a.txt")
    with pytest.raises(AlgorithmError, match=r"--preload-file leaves a \.data file"):
        built(folder, tmp_path / "b")


def test_the_same_sources_give_the_same_digest_in_another_folder(tmp_path, made):
    second = built(cxx(tmp_path / "else" / "where"), tmp_path / "else" / "build")
    assert made.digest == second.digest
    assert made.compiler.startswith("emcc ")


def test_the_target_in_the_manifest_chooses_it_too(tmp_path):
    folder = project(
        tmp_path / "p", {"a.c": "int main() { return 0; }"}, "mvcc", target="emscripten"
    )
    assert built(folder, tmp_path / "b").compiler.startswith("emcc ")


def test_an_error_of_the_compiler_is_shown_as_it_was_printed(tmp_path):
    from maniple.builders.build import build
    from maniple.builders.tool import Toolbox

    said = []
    folder = project(tmp_path / "p", {"bad.c": f"{C}int main() {{ return x; }}\n"}, "mvcc")
    with pytest.raises(CompilerError, match="emcc ended with exit status 1"):
        build(str(folder), build_dir=str(tmp_path / "b"), tools=Toolbox(said.append))
    assert b"bad.c:4:21: error: use of undeclared identifier 'x'" in b"".join(said)


def test_without_emcc_it_is_said_how_to_get_it(tmp_path):
    with pytest.raises(AlgorithmError, match=r"emcc is not installed: .*image: emscripten/emsdk"):
        built(cxx(tmp_path / "p"), tmp_path / "b", PATH="/nowhere")


def engine(folder, name):
    """An engine that runs the compiler of this machine, and shows its own words first."""
    folder.mkdir()
    path = folder / name
    path.write_text(f"""#!/bin/sh
echo "$@"
while [ "$1" != an/image ]; do
  case $1 in
  --volume) volumes="$volumes $2"; shift ;;
  esac
  shift
done
shift
for volume in $volumes; do
  place=${{volume%%:*}}
  case $volume in *:/source:ro) source=$place ;; *:/out) out=$place ;; esac
done
cd "$source"
for word; do
  shift
  case $word in /out/*) word=$out${{word#/out}} ;; esac
  set -- "$@" "$word"
done
PATH={os.environ["PATH"]} NODE_PATH=/usr/share/nodejs exec "$@"
""")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(folder)


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_an_image_stands_in_for_a_compiler_that_is_not_here(tmp_path, name):
    files = {"main.c": f"{C}int main() {{ puts(VALUE); }}", "inc/value.h": ""}
    folder = project(
        tmp_path / "p", files, "mvcc", image="an/image", include="[inc]", options="-DVALUE='\"8\"'"
    )
    made, said = built_and_said(folder, tmp_path / "b", PATH=engine(tmp_path / "bin", name))
    words = said.split()
    assert words[:4] == ["run", "--rm", "--network=none", "--workdir=/source"]
    assert (f"--user={os.getuid()}:{os.getgid()}" in words) == (name == "docker")
    assert f"{folder}:/source:ro" in words
    assert f"{folder}/inc:/include/0:ro" in words
    assert "-I/include/0" in words
    assert made.compiler == "emcc of an/image"
    package = made.package
    assert in_deno(tmp_path / "w", package.loader, message_of(package.wasm)).value == 8


def test_an_image_without_an_engine_is_said(tmp_path):
    folder = project(tmp_path / "p", {"a.c": C}, "mvcc", image="an/image")
    with pytest.raises(AlgorithmError, match="the image an/image needs a container engine"):
        built(folder, tmp_path / "b", PATH="/nowhere")
