"""The builder contract: what a compiler's backend is asked for, and what it gives back.

A builder turns a folder of sources into one WebAssembly module. All else is the front door's
(`maniple.builders.build`): the manifest, the file system's zip, the generated loader, the package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from maniple.errors import AlgorithmError, Exit


class CompilerError(AlgorithmError):
    """A compiler refused the sources; what it said has been shown as it said it."""

    exit_code = Exit.SOME_FAILED


class Recipe(msgspec.Struct, frozen=True):
    """What is to be built. All folders are absolute, and exist.

    Attributes:
        name, version: of the package.
        source: the folder with the sources (`build.source` of the manifest).
        build_dir: where the front door puts the result; a user's own Makefile may write there too.
        work: a folder for objects and the like, inside `build_dir`; kept from build to build, so
            that what is in it may be used again.
        filesystem: the folder that calls start with as `/`; the front door zips it.
        include: more folders to look for headers in.
        options: more words for the compiler, as the user wrote them.
        image: a container image that holds the compiler, for a machine that does not.
        debug: with symbols and without optimisation.
    """

    name: str
    version: str
    source: str
    build_dir: str
    work: str
    filesystem: str | None = None
    include: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    image: str | None = None
    debug: bool = False

    @property
    def stem(self) -> str:
        """What the files of the package are called: `NAME-VERSION`."""
        return f"{self.name}-{self.version}"


class Product(msgspec.Struct, frozen=True):
    """What a builder made.

    Attributes:
        wasm: the module.
        loader: the JavaScript that it needs beside it. None: it is a WASI module, and the front
            door puts the generated loader beside it.
        data: the file system's zip, where the builder has made it itself. None: the front door
            zips `Recipe.filesystem`.
        compiler: what made it, in a few words for the report: `zig 0.17.0`.
    """

    wasm: bytes
    loader: bytes | None = None
    data: bytes | None = None
    compiler: str = ""


class Tools(Protocol):
    """Finds and runs compilers (`maniple.builders.tool.Toolbox`)."""

    environment: Mapping[str, str]

    def say(self, line: str) -> None:
        """Tell the user what is being done, in a line."""
        ...

    def find(self, program: str, *, install: str, override: str | None = None) -> str:
        """Find a program; return its path.

        Args:
            program: its name in the search path.
            install: what to do when it is not there, such as `apt-get install emscripten`.
            override: an environment variable that may name another one.

        Raises:
            AlgorithmError: it is not there.
        """
        ...

    def run(
        self,
        words: Sequence[str],
        *,
        folder: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Run a compiler in a folder; what it prints, on either stream, is shown as it comes.

        Args:
            words: the program and its arguments; no shell reads them.
            folder: where it runs.
            environment: variables on top of ours; `SOURCE_DATE_EPOCH` is always set.

        Raises:
            CompilerError: it ended with another status than 0.
            AlgorithmError: it cannot be started.
        """
        ...

    def ask(
        self,
        words: Sequence[str],
        *,
        folder: str,
        environment: Mapping[str, str] | None = None,
    ) -> str | None:
        """Run a program and return what it printed on standard output; None when it failed."""
        ...


@runtime_checkable
class Builder(Protocol):
    """Compiles with one compiler. Made without arguments.

    The same sources give the same bytes, wherever the folder is and whenever it is built.
    """

    def build(self, recipe: Recipe, tools: Tools) -> Product:
        """Compile.

        Raises:
            CompilerError: the compiler refused.
            AlgorithmError: there are no sources, or no compiler.
        """
        ...
