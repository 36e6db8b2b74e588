"""The whole C++ library for WASI: with exceptions, <fstream> and <filesystem>.

What zig links for WASI by itself has none of the three, but its wheel holds the sources. They are
compiled once per version of zig and kept as an archive in our cache folder; a module takes from it
what it uses. Exceptions are those of WebAssembly (the standard's, with `exnref`).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Final, NamedTuple

from maniple.algorithm.shelf import cache_folder
from maniple.builders.contract import Tools
from maniple.errors import AlgorithmError

ZIG: Final = (sys.executable, "-m", "ziglang")
FLAGS: Final = (
    *("-target", "wasm32-wasi", "-mcpu=generic+simd128+exception_handling"),
    *("-fwasm-exceptions", "-mllvm", "-wasm-use-legacy-eh=false"),
    *("-U_LIBCPP_HAS_FILESYSTEM", "-D_LIBCPP_HAS_FILESYSTEM=1"),
)
"""Of every C++ source that is linked with the archive."""

_OWN: Final = (
    *("-std=c++23", "-O2", "-w", "-fvisibility=hidden", "-fvisibility-inlines-hidden"),
    *("-D_LIBCPP_BUILDING_LIBRARY", "-DLIBCXX_BUILDING_LIBCXXABI"),
    *("-D_LIBCXXABI_BUILDING_LIBRARY", "-D_LIBCXXABI_HAS_NO_THREADS"),
    # the names of types would come from a reader of mangled names of 130 KiB
    *("-DLIBCXXABI_NON_DEMANGLING_TERMINATE", "-D_LIBCPP_REMOVE_TRANSITIVE_INCLUDES"),
)
_UNWIND: Final = (
    *("-O2", "-w", "-D_LIBUNWIND_HAS_NO_THREADS", "-D_LIBUNWIND_IS_NATIVE_ONLY"),
    "-D_LIBUNWIND_HIDE_SYMBOLS",
)
_NO_THREADS: Final = frozenset(
    {
        "atomic.cpp",
        "barrier.cpp",
        "condition_variable.cpp",
        "condition_variable_destructor.cpp",
        "future.cpp",
        "mutex.cpp",
        "mutex_destructor.cpp",
        "shared_mutex.cpp",
        "thread.cpp",
    }
)
_OTHERS: Final = frozenset(
    {"new.cpp", "strstream.cpp", "random_shuffle.cpp", "int128_builtins.cpp"}
)
_ABI: Final = (
    *("abort_message", "cxa_aux_runtime", "cxa_default_handlers", "cxa_demangle"),
    *("cxa_exception", "cxa_exception_storage", "cxa_guard", "cxa_handlers", "cxa_personality"),
    *("cxa_vector", "cxa_virtual", "fallback_malloc", "private_typeinfo", "stdlib_exception"),
    *("stdlib_new_delete", "stdlib_stdexcept", "stdlib_typeinfo"),
)
# WASI has no such calls; the library then copies by reading and writing
_SHIM: Final = """\
#ifndef MANIPLE_SHIM
#define MANIPLE_SHIM
#include <errno.h>
#include <stddef.h>
#include <sys/sendfile.h>
#include <sys/types.h>
static inline ssize_t no_sendfile(int, int, off_t*, size_t) {
    errno = EINVAL;
    return -1;
}
#define sendfile no_sendfile
static inline ssize_t copy_file_range(int, off_t*, int, off_t*, size_t, unsigned) {
    errno = ENOSYS;
    return -1;
}
#endif
"""
# what is thrown: the unwinder of LLVM leaves the definition to who links
_TAG: Final = """\
    .globl __cpp_exception
    .tagtype __cpp_exception i32
__cpp_exception:
"""
_FORM: Final = 3
"""Raised when the way in which the archive is made changes."""


class _Source(NamedTuple):
    path: str
    flags: tuple[str, ...]
    language: str = "c++"


def cxx_library(tools: Tools, version: str, environment: Mapping[str, str]) -> str:
    """Return the path of the archive, made where it is not there yet.

    Args:
        tools: run zig.
        version: of zig.
        environment: variables for zig.

    Raises:
        CompilerError: zig cannot compile its own sources.
        AlgorithmError: the archive cannot be kept.
    """
    place = os.path.join(cache_folder(tools.environment), f"c++-zig-{version}-{_FORM}")
    archive = os.path.join(place, "libc++.a")
    if os.path.exists(archive):
        return archive
    try:
        os.makedirs(place, exist_ok=True)
        with open(os.path.join(place, "lock"), "wb") as lock:
            # several builds at once wait for the first
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.exists(archive):
                tools.say(f"compiling the C++ library of zig {version} for WASI: a minute, once")
                with tempfile.TemporaryDirectory(dir=place) as folder:
                    os.replace(_make(tools, folder, environment), archive)
    except OSError as error:
        raise AlgorithmError(
            f"cannot keep the C++ library in {place}: {error.strerror} (MANIPLE_CACHE may name"
            " another folder)"
        ) from None
    return archive


def _make(tools: Tools, folder: str, environment: Mapping[str, str]) -> str:
    shim, tag = os.path.join(folder, "shim.h"), os.path.join(folder, "tag.S")
    for path, text in ((shim, _SHIM), (tag, _TAG)):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def compiled(numbered: tuple[int, _Source]) -> str:
        number, source = numbered
        name = f"{number}-{os.path.basename(source.path)}.o"
        driver = "c++" if source.language == "c++" else "cc"
        words = [*ZIG, driver, *FLAGS, *source.flags, "-c", source.path, "-o", name]
        # zig's own traces are as large as the library, and of no use after it is made
        own = {**environment, "ZIG_LOCAL_CACHE_DIR": os.path.join(folder, "zig")}
        tools.run(words, folder=folder, environment=own)
        return name

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        objects = list(pool.map(compiled, enumerate(_sources(shim, tag))))
    words = [*ZIG, "ar", "rcsD", "libc++.a", *objects]
    tools.run(words, folder=folder, environment=environment)
    shutil.rmtree(os.path.join(folder, "zig"), ignore_errors=True)
    return os.path.join(folder, "libc++.a")


def _sources(shim: str, tag: str) -> Iterator[_Source]:
    spec = find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise AlgorithmError("zig's wheel holds no library: pip install --force-reinstall ziglang")
    root = os.path.join(os.path.dirname(spec.origin), "lib")
    cxx, abi, unwind = (os.path.join(root, name) for name in ("libcxx", "libcxxabi", "libunwind"))
    includes = [os.path.join(cxx, "src"), os.path.join(cxx, "libc"), os.path.join(abi, "src")]
    includes.append(os.path.join(unwind, "include"))
    flags = (*_OWN, "-include", shim, *(f"-I{path}" for path in includes))
    for below in ("src", "src/filesystem", "src/ryu"):
        for name in sorted(os.listdir(os.path.join(cxx, below))):
            if name.endswith(".cpp") and name not in _NO_THREADS | _OTHERS:
                yield _Source(os.path.join(cxx, below, name), flags)
    for stem in _ABI:
        yield _Source(os.path.join(abi, "src", f"{stem}.cpp"), flags)
    unwinder = (*_UNWIND, *(f"-I{os.path.join(unwind, name)}" for name in ("include", "src")))
    yield _Source(os.path.join(unwind, "src", "Unwind-wasm.c"), unwinder, "c")
    yield _Source(tag, (), "c")
