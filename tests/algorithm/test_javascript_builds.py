"""Packages that Maniple's own builders make run in the sandbox for JavaScript."""

import json
import shutil

import pytest

from javascript_calls import calling
from maniple.builders.loader import wasi_loader
from projects import ROOT, SERVERS, built, need, project, without

POINTS = """
-2.7825343 -1.7604825 -5.5550113 -2.9752946 -2.7874138
-2.9847919 -3.8209332 -2.1531757 -2.2710119 -2.3582877
-3.0109320 -2.2366132 -2.8048492 -1.2632331 -4.5755581
-2.8432186 -1.0383805 -2.2022826 -2.7435962 -2.0013399
-2.6638082 -3.5520086 -1.3684702 -2.1562444 -1.3186447
 1.7409171  1.9687576  4.7162628  4.5743537  3.7905611
 3.2932369  2.8508700  2.5580937  2.0437325  4.2192562
 2.5843321  2.8329818  2.1329531  3.2562319  2.4878733
 2.1859638  3.2880048  3.7018615  2.3641232  1.6281994
 2.6201773  0.9006588  2.6774097  1.8188620  1.6076493
"""

PROGRAM = r"""
#include <stdio.h>
int main(int count, char **words) {
  char params[100] = "", given[100] = "", start[100] = "";
  fgets(params, sizeof params, stdin);
  FILE *file = fopen("/in/given.txt", "r");
  if (file) { fgets(given, sizeof given, file); fclose(file); }
  file = fopen("/start.txt", "r");
  if (file) { fgets(start, sizeof start, file); fclose(file); }
  file = fopen("/result.txt", "w");
  fprintf(file, "%s|%s", given, start);
  fclose(file);
  for (int i = 1; i < count; i++) fprintf(stderr, "%s;", words[i]);
  printf("{\"params\": %s}\n", params);
  return count > 3 ? 5 : 0;
}
"""


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    with calling(tmp_path_factory.mktemp("javascript")) as caller:
        yield caller


@pytest.mark.parametrize("compiler", ["mvcc", "emcc"])
def test_a_c_program_gets_and_leaves_all_it_should(call, tmp_path, compiler):
    if compiler == "emcc":
        need("emcc", "emscripten")
    program = PROGRAM if compiler == "mvcc" else f"#include <emscripten.h>\n{PROGRAM}"
    sources = {"main.c": program, "fs/start.txt": "from the start"}
    folder = project(tmp_path / "p", sources, "mvcc", filesystem="fs")
    package = built(folder, tmp_path / "build").package
    loader = package.loader or wasi_loader("thing")
    fields = {
        "wasm": package.wasm,
        "data": package.data,
        "files": {"/in/given.txt": b"given"},
        "results": ["/result.txt", "/none.txt"],
    }
    answer = call(loader.decode(), [1, "a"], arguments=["one word", "two"], **fields)
    assert answer.ok, answer
    assert json.loads(answer.value) == {"params": [1, "a"]}
    assert answer.files == {"/result.txt": b"given|from the start"}
    assert answer.missing == ["/none.txt"]
    assert answer.stderr == b"one word;two;"
    answer = call(loader.decode(), [], arguments=["1", "2", "3"], **fields)
    assert (answer.ok, answer.cause, answer.exit_code) == (False, "exit 5", 5)


def test_the_k_means_of_rust_and_wasm_bindgen_answers(call, tmp_path):
    need("cargo", "cargo")
    tools = SERVERS / "tools"
    if not list(tools.glob("wasm-bindgen-*")) and shutil.which("wasm-bindgen") is None:
        without(f"wasm-bindgen is not installed, and not in {tools}")
    folder = ROOT / "examples" / "kmeans-rust"
    package = built(folder, tmp_path / "build", MANIPLE_TOOLS=str(tools)).package
    data = [[float(word) for word in line.split()] for line in POINTS.strip().splitlines()]
    for _ in range(2):
        value = call.value(package.loader.decode(), [data, 2], wasm=package.wasm)
        assert value == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
