"""The front door: from a motivus.yml to a package on disk."""

import hashlib
import os

import pytest

from maniple.algorithm.kind import Kind
from maniple.algorithm.package import read_package
from maniple.builders.build import build, clean, compiler_of
from maniple.builders.manifest import read_manifest
from maniple.builders.tool import Toolbox
from maniple.errors import AlgorithmError, UsageError
from projects import need, project

# a WASI module of one function that does nothing
WASI = r"'\0asm\1\0\0\0\1\4\1\140\0\0\3\2\1\0\7\12\1\6_start\0\0\12\4\1\2\0\13'"
MAKEFILE = {"Makefile": f"all:\n\t@printf {WASI} > $(OUT)/$(NAME).wasm\n"}


@pytest.fixture
def folder(tmp_path):
    need("make", "make")
    files = {**MAKEFILE, "data/a.txt": "a"}
    return project(tmp_path / "p", files, "local", filesystem="data")


def made(folder, build_dir, lines=None):
    echo = (lambda _: None) if lines is None else lines.append
    return build(str(folder), build_dir=str(build_dir), echo=echo)


def test_a_build_writes_the_parts_and_the_package_of_them(folder, tmp_path):
    built = made(folder, tmp_path / "b")
    names = sorted(name for name in os.listdir(tmp_path / "b") if not name.startswith("."))
    assert names == [
        "thing-0.1.0.data.zip",
        "thing-0.1.0.js",
        "thing-0.1.0.wasm",
        "thing-0.1.0.zip",
    ]
    package = read_package(built.path)
    assert package == built.package
    assert (package.name, package.version, package.kind) == ("thing", "0.1.0", Kind.WASI)
    assert package.wasm == (tmp_path / "b" / "thing-0.1.0.wasm").read_bytes()
    assert package.data == (tmp_path / "b" / "thing-0.1.0.data.zip").read_bytes()


def test_sizes_and_digest_are_reported(folder, tmp_path):
    lines = []
    built = made(folder, tmp_path / "b", lines)
    assert lines[0] == "thing@0.1.0 by make: WASI"
    assert lines[1].split() == [
        str(tmp_path / "b" / "thing-0.1.0.wasm"),
        str(len(built.package.wasm)),
        "B",
    ]
    assert lines[-1] == f"  sha256 {built.digest}"
    with open(built.path, "rb") as file:
        assert hashlib.sha256(file.read()).hexdigest() == built.digest
    assert built.sizes[built.path] == os.path.getsize(built.path)


def test_the_same_sources_give_the_same_digest_anywhere_at_any_time(folder, tmp_path):
    first = made(folder, tmp_path / "b").digest
    assert made(folder, tmp_path / "b").digest == first
    for path in (folder / "Makefile", folder / "data" / "a.txt"):
        os.utime(path, (10**9, 10**9))
    moved = folder.rename(tmp_path / "some where else")
    assert made(moved, tmp_path / "c").digest == first


def test_a_build_folder_inside_the_file_system_is_not_part_of_it(tmp_path):
    need("make", "make")
    folder = project(tmp_path / "p", MAKEFILE, "local", filesystem=".")
    first = made(folder, folder / "build").digest
    assert made(folder, folder / "build").digest == first


def test_what_an_earlier_build_left_over_goes(folder, tmp_path):
    made(folder, tmp_path / "b")
    text = (folder / "motivus.yml").read_text()
    (folder / "motivus.yml").write_text(text.replace("  filesystem: data\n", ""))
    assert made(folder, tmp_path / "b").package.data is None
    assert not (tmp_path / "b" / "thing-0.1.0.data.zip").exists()


def test_a_failed_build_leaves_the_last_package_as_it_was(folder, tmp_path):
    built = made(folder, tmp_path / "b")
    (folder / "Makefile").write_text("all:\n\t@false\n")
    with pytest.raises(AlgorithmError):
        build(
            str(folder),
            build_dir=str(tmp_path / "b"),
            echo=lambda _: None,
            tools=Toolbox(lambda _: None),
        )
    assert read_package(built.path) == built.package


def test_clean_removes_what_builds_made_and_nothing_else(folder, tmp_path):
    made(folder, tmp_path / "b")
    assert clean(str(tmp_path / "b"))
    assert not (tmp_path / "b").exists()
    assert not clean(str(tmp_path / "b"))
    with pytest.raises(AlgorithmError, match="no build of ours has been there"):
        clean(str(folder))
    assert (folder / "Makefile").exists()


def test_a_build_folder_that_holds_the_project_is_refused(folder):
    for build_dir in (folder, folder.parent):
        with pytest.raises(AlgorithmError, match="holds the project: name another one"):
            made(folder, build_dir)


def test_a_compiler_that_nobody_knows_is_refused(tmp_path):
    folder = project(tmp_path / "p", {"a.cob": ""}, "cobol")
    with pytest.raises(UsageError, match="no compiler 'cobol': there are mvcc, emcc, mvrc, mvfc"):
        made(folder, tmp_path / "b")


@pytest.mark.parametrize(
    ("source", "keys", "compiler"),
    [
        ("#include <stdio.h>", {}, "mvcc"),
        ("  #  include <emscripten/val.h>", {}, "emcc"),
        ('#include "emscripten.h"', {}, "emcc"),
        ("// #include <emscripten.h>", {}, "mvcc"),
        ("#include <stdio.h>", {"target": "emscripten"}, "emcc"),
        ("#include <emscripten.h>", {"target": "wasi"}, "mvcc"),
        ("#include <stdio.h>", {"image": "some/emsdk:1"}, "emcc"),
    ],
)
def test_emscripten_compiles_what_asks_for_it(tmp_path, source, keys, compiler):
    folder = project(tmp_path / "p", {"main.c": source + "\n"}, "mvcc", **keys)
    assert compiler_of(read_manifest(str(folder)), str(tmp_path / "b")) == compiler
