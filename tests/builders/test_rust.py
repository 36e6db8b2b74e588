"""Rust: programs to WASI, crates with wasm-bindgen to a module and its JavaScript."""

import json
import os
import re
import shutil

import pytest

from classic_worker import in_chromium, in_deno, in_node, message_of
from maniple.algorithm.kind import Kind
from maniple.algorithm.package import read_package
from maniple.builders.build import build
from maniple.builders.contract import CompilerError
from maniple.builders.tool import Toolbox
from maniple.errors import AlgorithmError
from maniple.runners.algorithm import run_package
from projects import built, project
from rust import TEN_POINTS, copy_of_kmeans, kmeans_crate, need_target, tools_folder

CARGO = '[package]\nname = "thing"\nversion = "0.1.0"\nedition = "2021"\n'
CDYLIB = '\n[lib]\ncrate-type = ["cdylib"]\n'
PROGRAM = """\
use std::io::Read;
fn main() {
    let mut params = String::new();
    std::io::stdin().read_to_string(&mut params).unwrap();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let text = std::fs::read_to_string("/in.txt").unwrap();
    std::fs::write("/out.txt", text.to_uppercase()).unwrap();
    eprintln!("{}", words.join("+"));
    println!("{{\\"params\\": {params}}}");
}
"""


def crate(folder, main=None, lib=None, cargo=CARGO):
    files = {"Cargo.toml": cargo}
    if main is not None:
        files["src/main.rs"] = main
    if lib is not None:
        files["src/lib.rs"] = lib
    return project(folder, files, "mvrc")


# ---- programs


@pytest.fixture
def _wasi():
    need_target("wasm32-wasi")


@pytest.mark.usefixtures("_wasi")
def test_a_program_is_compiled_to_wasi(tmp_path):
    package = built(crate(tmp_path / "p", PROGRAM), tmp_path / "b").package
    assert package.kind is Kind.WASI
    answer = run_package(
        package,
        params=b'[1, "a"]',
        arguments=["x", "y z"],
        files={"/in.txt": b"hello"},
        results=["/out.txt"],
        cache=str(tmp_path / "c"),
    )
    assert answer.ok, answer
    assert json.loads(answer.value) == {"params": [1, "a"]}
    assert answer.stderr == b"x+y z\n"
    assert answer.files == {"/out.txt": b"HELLO"}


@pytest.mark.usefixtures("_wasi")
def test_a_program_has_the_same_digest_in_another_folder(tmp_path):
    source = 'fn main() { let n: Option<u8> = std::env::args().next().map(|_| 1); println!("{}", n.unwrap()); panic!("{}", file!()) }'
    first = built(crate(tmp_path / "p", source), tmp_path / "b")
    second = built(crate(tmp_path / "an other" / "place", source), tmp_path / "c d")
    assert first.digest == second.digest
    assert str(tmp_path).encode() not in first.package.wasm


@pytest.mark.usefixtures("_wasi")
def test_a_compiler_error_is_shown_as_rustc_prints_it(tmp_path):
    folder = crate(tmp_path / "p", "fn main() {\n    undeclared();\n}\n")
    shown = []
    with pytest.raises(CompilerError, match="cargo build ended with exit status 101"):
        build(str(folder), build_dir=str(tmp_path / "b"), tools=Toolbox(shown.append))
    said = b"".join(shown).decode()
    assert (
        "error[E0425]: cannot find function `undeclared` in this scope\n"
        " --> src/main.rs:2:5\n"
        "  |\n"
        "2 |     undeclared();\n"
        "  |     ^^^^^^^^^^ not found in this scope\n"
    ) in said


@pytest.mark.usefixtures("_wasi")
def test_a_build_leaves_only_cargos_lock_in_the_users_folder(tmp_path):
    folder = crate(tmp_path / "p", "fn main() {}")
    built(folder, tmp_path / "b")
    assert sorted(os.listdir(folder)) == ["Cargo.lock", "Cargo.toml", "motivus.yml", "src"]


def test_a_library_that_needs_nothing_is_called_with_numbers(tmp_path):
    need_target("wasm32-unknown-unknown")
    lib = '#[no_mangle]\npub extern "C" fn main(a: f64, b: f64) -> f64 { a * b }\n'
    package = built(crate(tmp_path / "p", lib=lib, cargo=CARGO + CDYLIB), tmp_path / "b").package
    assert package.kind is Kind.WASI
    answer = run_package(package, params=b"[6, 7]", cache=str(tmp_path / "c"))
    assert (answer.ok, json.loads(answer.value)) == (True, 42), answer


# ---- crates with wasm-bindgen


@pytest.fixture(scope="module")
def kmeans(tmp_path_factory):
    return kmeans_crate(tmp_path_factory)


@pytest.fixture
def package(kmeans):
    return read_package(str(kmeans / "build" / "kmeans-0.0.1.zip"))


def test_a_crate_with_wasm_bindgen_answers_in_the_sandbox(tmp_path, package):
    assert package.kind is Kind.LOADER
    params = json.dumps([TEN_POINTS, 2]).encode()
    answer = run_package(package, params=params, cache=str(tmp_path / "c"))
    assert answer.ok, answer
    assert json.loads(answer.value) == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("worker", [in_deno, in_chromium, in_node])
def test_its_loader_runs_wherever_the_earlier_platforms_did(tmp_path, package, worker):
    message = message_of(package.wasm, params=[TEN_POINTS, 2])
    reply = worker(tmp_path, package.loader, message)
    assert (reply.exit_code, reply.value) == (0, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1])


def test_what_it_throws_is_on_standard_error(tmp_path, package):
    answer = run_package(package, params=b"[[[1]], 2]", cache=str(tmp_path / "c"))
    assert (answer.ok, answer.cause) == (False, "exit 1")
    assert answer.stderr == b"the number of clusters must be between 1 and the 1 points\n"


def test_the_same_crate_has_the_same_digest_in_another_folder(tmp_path, package):
    folder = copy_of_kmeans(tmp_path / "an other")
    made = built(folder, tmp_path / "b c", MANIPLE_TOOLS=tools_folder())
    assert made.package.code == package.code
    for text in (str(tmp_path), os.path.expanduser("~"), "pytest"):
        assert text.encode() not in made.package.wasm


def test_what_rust_returns_becomes_json(tmp_path):
    """One crate with all kinds of arguments and results: a build takes its time."""
    lib = """\
use wasm_bindgen::prelude::*;
#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console)]
    fn log(text: &str);
}
#[wasm_bindgen]
pub fn main(what: &str, numbers: Vec<f64>) -> JsValue {
    log(&format!("asked for {what}"));
    match what {
        "numbers" => JsValue::from(js_sys::Float64Array::from(&numbers[..])),
        "large" => JsValue::from(1u64 << 40),
        "nothing" => JsValue::UNDEFINED,
        "text" => JsValue::from_str("\\u{e9}\\u{1f600}"),
        _ => panic!("what is {what}?"),
    }
}
"""
    folder = copy_of_kmeans(tmp_path / "p")
    (folder / "src" / "lib.rs").write_text(lib)
    package = built(folder, tmp_path / "b", MANIPLE_TOOLS=tools_folder()).package

    def ask(what):
        params = json.dumps([what, [1.5, -2]]).encode()
        return run_package(package, params=params, cache=str(tmp_path / "c"))

    for what, value in {
        "numbers": [1.5, -2],
        "large": 1 << 40,
        "nothing": None,
        "text": "é😀",
    }.items():
        answer = ask(what)
        assert answer.ok, answer
        assert json.loads(answer.value) == value
        assert answer.stdout == f"asked for {what}\n".encode()
    failed = ask("that")
    assert (failed.ok, failed.cause) == (False, "exit 1")
    assert b"unreachable" in failed.stderr


# ---- what may be missing


def fake(folder, name, text):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def refusal(folder, tmp_path, said=None, **variables):
    tools = Toolbox(
        lambda _: None,
        say=(lambda _: None) if said is None else said.append,
        environment={"PATH": "/nowhere", "HOME": str(tmp_path / "home"), **variables},
    )
    with pytest.raises(AlgorithmError) as caught:
        build(str(folder), build_dir=str(tmp_path / "b"), echo=lambda _: None, tools=tools)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_without_rust_the_commands_that_bring_it_are_said(tmp_path):
    message = refusal(crate(tmp_path / "p", "fn main() {}"), tmp_path)
    assert message == (
        "there is no rustc: `rustup target add wasm32-wasip1`, or on Debian"
        " `apt-get install rustc cargo libstd-rust-dev-wasm32 lld`"
    )


def test_a_rust_without_the_target_is_named(tmp_path):
    bin_ = tmp_path / "bin"
    fake(bin_, "rustc", f"case $1 in --print) echo {tmp_path};; *) echo rustc 1.99.0;; esac")
    folder = crate(tmp_path / "p", lib="", cargo=CARGO + CDYLIB)
    message = refusal(folder, tmp_path, PATH=f"{bin_}:/usr/bin:/bin", RUSTC=str(bin_ / "rustc"))
    assert message.startswith("rustc 1.99.0 has no target wasm32-unknown-unknown: `rustup target")


@pytest.mark.usefixtures("_wasi")
def test_another_rust_on_the_path_compiles_where_the_first_lacks_the_target(tmp_path):
    bin_ = tmp_path / "bin"
    fake(bin_, "rustc", f"case $1 in --print) echo {tmp_path};; *) echo rustc 1.99.0;; esac")
    said = []
    path = f"{bin_}:{os.environ['PATH']}"
    tools = Toolbox(lambda _: None, say=said.append, environment={**os.environ, "PATH": path})
    folder = crate(tmp_path / "p", "fn main() {}")
    build(str(folder), build_dir=str(tmp_path / "b"), echo=lambda _: None, tools=tools)
    assert re.match(
        r"rustc 1\.99\.0 has no target wasm32-wasi\S*: /\S+/rustc [\d.]+ compiles", said[0]
    )


def test_without_wasm_bindgen_it_is_installed_and_if_that_fails_the_commands_are_said(tmp_path):
    tools_folder()
    bin_ = tmp_path / "bin"
    # the newest cargo installs; this one cannot
    fake(
        bin_,
        "cargo",
        'case $1 in --version) echo cargo 1.999.0;; install) echo "error: no network"; exit 101;;'
        f' *) exec {shutil.which("cargo")} "$@";; esac',
    )
    folder = copy_of_kmeans(tmp_path / "p")
    said = []
    message = refusal(
        folder,
        tmp_path,
        said,
        PATH=f"{bin_}:{os.environ['PATH']}",
        HOME=os.environ["HOME"],
        MANIPLE_TOOLS=str(tmp_path / "tools"),
    )
    root = tmp_path / "tools" / "wasm-bindgen-0.2.100"
    assert f"installing wasm-bindgen 0.2.100 with cargo into {root}: some minutes, once" in said
    assert message == (
        "this crate needs wasm-bindgen 0.2.100, and cargo could not install it (above):"
        " `cargo install wasm-bindgen-cli --version =0.2.100 --locked` with a newer Rust"
        f" (`rustup update`), or put that version's wasm-bindgen into {root}/bin"
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"x": ""}, "no Cargo.toml in FOLDER: name the crate's folder in build.source"),
        ({"Cargo.toml": "a ="}, "cannot read FOLDER/Cargo.toml: "),
        ({"Cargo.toml": "[workspace]\n"}, "FOLDER/Cargo.toml describes no package"),
        (
            {"Cargo.toml": CARGO, "src/lib.rs": ""},
            "FOLDER/Cargo.toml: there is no src/main.rs, and the library is no cdylib: write",
        ),
    ],
)
def test_each_crate_that_cannot_be_a_module_has_its_sentence(tmp_path, files, message):
    folder = project(tmp_path / "p", files, "mvrc")
    said = refusal(folder, tmp_path)
    assert said.replace(str(folder), "FOLDER").startswith(message)
