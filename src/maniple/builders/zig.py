"""C and C++ to WASI with zig, whose wheel holds a whole compiler."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from typing import Final

from maniple.algorithm.shelf import cache_folder
from maniple.builders.contract import Product, Recipe, Tools
from maniple.builders.sources import find_sources
from maniple.builders.zig_cxx import FLAGS, ZIG, cxx_library
from maniple.plugins import missing_extra

C: Final = (".c",)
CXX: Final = (".cpp", ".cc", ".cxx", ".c++", ".C")
TARGET: Final = ("-target", "wasm32-wasi", "-mcpu=generic+simd128")

# by itself LLVM vectorises no loop that adds up floating-point numbers in their order, and joins no
# two rounds of one for WebAssembly: k-means in C takes 1.7 times as long without
_VECTORS: Final = ("-force-ordered-reductions=true", "-force-vector-interleave=2")
_OPTIMISED: Final = ("-O3", *(word for each in _VECTORS for word in ("-mllvm", each)), "-s")
_DEBUG: Final = ("-O0", "-g")
# clock(), signal(), mmap() and getpid() as far as WASI's C library can make them up; nothing of
# them is in a module that does not call them
_NAMES: Final = ("process-clocks", "signal", "mman", "getpid")
_EMULATED: Final = tuple(f"-D_WASI_EMULATED_{name.upper().replace('-', '_')}" for name in _NAMES)
_LIBRARIES: Final = tuple(f"-lwasi-emulated-{name}" for name in _NAMES)
_LINKING: Final = ("-l", "-L", "-Wl,")


class ZigBuilder:
    """Compiles all C and C++ files of a folder to one WASI module."""

    def build(self, recipe: Recipe, tools: Tools) -> Product:
        """Compile (see the contract).

        Raises:
            CompilerError: zig refused.
            AlgorithmError: there are no sources.
            MissingExtraError: zig is not installed.
        """
        version = zig_version(tools, recipe.work)
        environment = zig_environment(tools, recipe.work)
        sources = find_sources(recipe, (*C, *CXX), "C or C++")
        in_cxx = [path for path in sources if not path.endswith(C)]
        module = os.path.join(recipe.work, f"{recipe.stem}.wasm")
        linking = [word for word in recipe.options if word.startswith(_LINKING)]
        if in_cxx:
            library = cxx_library(tools, version, environment)
            parts = [*_objects(recipe, sources, tools, environment), library]
            words = [*ZIG, "cc", *FLAGS[:3], "-g" if recipe.debug else "-s"]
        else:
            # one call for all: zig compiles them side by side
            parts = [*_compiling(recipe), *map(_as_file, sources)]
            words = [*ZIG, "cc", *TARGET]
        words += [*parts, *_LIBRARIES, *linking, "-o", module]
        tools.run(words, folder=recipe.source, environment=environment)
        with open(module, "rb") as file:
            return Product(file.read(), compiler=f"zig {version}")


def _objects(
    recipe: Recipe, sources: list[str], tools: Tools, environment: dict[str, str]
) -> list[str]:
    """Compile each file to an object; the C++ library is ours, and zig would link its own."""
    folder = os.path.join(recipe.work, "objects")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    made = []
    for number, source in enumerate(sources):
        language = ["cc", *TARGET] if source.endswith(C) else ["c++", *FLAGS]
        path = os.path.join(folder, f"{number}.o")
        words = [*ZIG, *language, *_compiling(recipe), "-c", _as_file(source), "-o", path]
        tools.run(words, folder=recipe.source, environment=environment)
        made.append(path)
    return made


def _compiling(recipe: Recipe) -> list[str]:
    return [
        *_level(recipe),
        # what the compiler writes of a path into the module must not be where it was built
        f"-ffile-prefix-map={recipe.source}=.",
        # __DATE__ is that of SOURCE_DATE_EPOCH, and so no error
        "-Wno-date-time",
        *_EMULATED,
        *(f"-I{folder}" for folder in (recipe.source, *recipe.include)),
        *(word for word in recipe.options if not word.startswith(_LINKING)),
    ]


def _level(recipe: Recipe) -> tuple[str, ...]:
    return _DEBUG if recipe.debug else _OPTIMISED


def zig_version(tools: Tools, folder: str) -> str:
    """Say which zig this is.

    Raises:
        MissingExtraError: it is not installed.
    """
    if find_spec("ziglang") is None:
        raise missing_extra("ziglang", "compiling C and C++")
    return (tools.ask([*ZIG, "version"], folder=folder) or "of unknown version").strip()


def zig_environment(tools: Tools, work: str) -> dict[str, str]:
    """Give the variables with which zig leaves its traces in our cache only."""
    cache = os.path.join(cache_folder(tools.environment), "zig")
    return {
        "ZIG_GLOBAL_CACHE_DIR": tools.environment.get("ZIG_GLOBAL_CACHE_DIR") or cache,
        "ZIG_LOCAL_CACHE_DIR": os.path.join(work, "zig"),
    }


def _as_file(path: str) -> str:
    """Keep a file whose name begins with a dash from being an option."""
    return f"./{path}" if path.startswith("-") else path
