"""Fortran 77 through f2c: Fortran to C, and that with zig to WASI.

A program reads its params with `READ(*,*)`, a record each (see fortran_runtime/main.c), and prints
its value as JSON with a FORMAT. Its run-time library, libf2c, is compiled with it (zig keeps the
objects): Debian has that for the machine itself only, so its sources are needed
(`maniple.builders.fortran_library`).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import Final

from maniple.builders.contract import Product, Recipe, Tools
from maniple.builders.fortran_library import unpacked_library
from maniple.builders.sources import find_sources
from maniple.builders.zig import TARGET, zig_environment, zig_version
from maniple.errors import AlgorithmError

ENDINGS: Final = (".f", ".for", ".f77")

_ZIG: Final = (sys.executable, "-m", "ziglang")
_COMMON: Final = "_com.c"
_COMMON_BLOCK: Final = re.compile(r"^(struct \{.*^\}) (\w+);", re.DOTALL | re.MULTILINE)
_C_FLAGS: Final = (
    *TARGET,
    # f2c writes declarations without prototypes, which later standards read otherwise
    "-std=gnu89",
    # one memory under several types is what EQUIVALENCE and COMMON are
    "-fno-strict-aliasing",
    "-fno-sanitize=all",
    # what it warns of is f2c's doing, not the user's
    "-w",
    "-DSkip_f2c_Undefs",
    "-DNON_UNIX_STDIO",
    "-DUSE_CLOCK",
    "-DINTEGER_STAR_8",
    "-DSIGNED_ZEROS",
    "-D_WASI_EMULATED_SIGNAL",
    "-D_WASI_EMULATED_PROCESS_CLOCKS",
)
_LIBRARIES: Final = ("-lwasi-emulated-signal", "-lwasi-emulated-process-clocks")


class FortranBuilder:
    """Compiles with f2c and zig."""

    def build(self, recipe: Recipe, tools: Tools) -> Product:
        """Compile all Fortran sources, one of which holds the main program.

        Options of the manifest go to f2c, such as `-u` (no type is implied by a name).

        Raises:
            CompilerError: f2c refused, or the program is not complete.
            AlgorithmError: there are no sources, no compiler, or no run-time library.
            MissingExtraError: zig is not installed.
        """
        sources = find_sources(recipe, ENDINGS, "Fortran 77")
        f2c = tools.find("f2c", install="apt-get install f2c", override="MANIPLE_F2C")
        version = zig_version(tools, recipe.work)
        library = unpacked_library(tools.environment)
        work = os.path.join(recipe.work, "fortran")
        shutil.rmtree(work, ignore_errors=True)
        folders = [os.path.join(work, str(number)) for number in range(len(sources))]
        for source, out in zip(sources, folders, strict=True):
            os.makedirs(out)
            words = [f2c, *recipe.options, *_translation(recipe, source, out)]
            tools.run(words, folder=recipe.source)
        _join_commons(folders, work)
        tools.run(
            [
                *_ZIG,
                "cc",
                *_C_FLAGS,
                *(["-O0", "-g"] if recipe.debug else ["-O3", "-s"]),
                f"-ffile-prefix-map={work}=.",
                f"-I{library.folder}",
                *_c_files(work),
                *library.sources,
                *_LIBRARIES,
                "-o",
                "program.wasm",
            ],
            folder=work,
            environment=zig_environment(tools, recipe.work),
        )
        with open(os.path.join(work, "program.wasm"), "rb") as file:
            return Product(wasm=file.read(), compiler=f"f2c and zig {version}")


def _translation(recipe: Recipe, source: str, out: str) -> list[str]:
    """Give f2c's words for writing the C of one file into a folder of its own."""
    path = f"./{source}"
    if not source.endswith(".f"):
        # f2c knows Fortran by this ending only
        stem = os.path.splitext(os.path.basename(source))[0]
        path = os.path.join(out, f"{stem}.f")
        shutil.copyfile(os.path.join(recipe.source, source), path)
    beside = os.path.dirname(os.path.join(recipe.source, source))
    includes = [f"-I{folder}" for folder in (beside, recipe.source, *recipe.include)]
    # common blocks go to files of their own: a block has one definition, and not one in each file
    return ["-A", "-ec", *includes, f"-d{out}", path]


def _join_commons(folders: list[str], work: str) -> None:
    """Define each common block once, as large as the largest of its declarations.

    A weak definition, so that one that DATA gives values to wins.

    Raises:
        AlgorithmError: f2c has written something else than a block.
    """
    blocks: dict[str, list[str]] = {}
    for folder in folders:
        for name in sorted(os.listdir(folder)):
            if not name.endswith(_COMMON):
                continue
            path = os.path.join(folder, name)
            with open(path, encoding="latin-1") as file:
                found = _COMMON_BLOCK.search(file.read())
            if found is None:
                raise AlgorithmError(
                    f"f2c wrote no common block to {name}: is it the f2c of netlib?"
                )
            blocks.setdefault(found.group(2), []).append(found.group(1))
            os.unlink(path)
    for block, declared in blocks.items():
        parts = [f"{text} part{number};" for number, text in enumerate(dict.fromkeys(declared))]
        with open(os.path.join(work, f"{block}com.c"), "w", encoding="latin-1") as file:
            lines = ['#include "f2c.h"', "__attribute__((weak)) union {", *parts, f"}} {block};"]
            file.write("\n".join(lines) + "\n")


def _c_files(work: str) -> list[str]:
    return sorted(
        os.path.relpath(os.path.join(folder, name), work)
        for folder, _, names in os.walk(work)
        for name in names
        if name.endswith(".c")
    )
