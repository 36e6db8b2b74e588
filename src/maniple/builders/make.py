"""The user's own Makefile, for any compiler that is not known here.

`make` runs in the source folder with these variables:

| variable | what |
| --- | --- |
| `NAME`, `VERSION` | of the package |
| `OUT` | the folder to leave `$(NAME).wasm` in, and `$(NAME).js` where the module needs one |
| `DEBUG` | `1` for a build with symbols, else empty |
| `PYTHON` | the interpreter that runs this, where `$(PYTHON) -m ziglang cc` is a compiler |

What is not in `OUT` is looked for in the source folder and in the build folder, and may be called
`$(NAME)-$(VERSION)` too.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from maniple.algorithm.kind import kind_of
from maniple.builders.contract import Product, Recipe, Tools
from maniple.errors import AlgorithmError

_MAKEFILES: Final = ("GNUmakefile", "makefile", "Makefile")
# a make above this one must not say how this one is run
_FIRST_MAKE: Final = {"MAKEFLAGS": "", "MAKELEVEL": "0"}


class MakeBuilder:
    """Runs make, and takes the module that it leaves."""

    def build(self, recipe: Recipe, tools: Tools) -> Product:
        """Run `make` in the source folder.

        A loader is kept where one is left; without one, the module must be WASI's.

        Raises:
            CompilerError: make failed.
            AlgorithmError: there is no Makefile or no make, or it left no module that can be run.
        """
        if not any(os.path.exists(os.path.join(recipe.source, name)) for name in _MAKEFILES):
            raise AlgorithmError(
                f"no Makefile in {recipe.source}, which the compiler `local` runs: write one that"
                " makes $(OUT)/$(NAME).wasm"
            )
        make = tools.find("make", install="apt-get install make", override="MANIPLE_MAKE")
        out = os.path.join(recipe.work, "make")
        os.makedirs(out, exist_ok=True)
        variables = {
            "OUT": out,
            "NAME": recipe.name,
            "VERSION": recipe.version,
            "DEBUG": "1" if recipe.debug else "",
            "PYTHON": sys.executable,
        }
        tools.run(
            [make, *recipe.options, *(f"{name}={value}" for name, value in variables.items())],
            folder=recipe.source,
            environment=_FIRST_MAKE,
        )
        for stem in _stems(recipe, out):
            wasm = _read(f"{stem}.wasm")
            if wasm is not None:
                loader = _read(f"{stem}.js")
                kind_of(wasm, loader=loader is not None)
                return Product(wasm=wasm, loader=loader, compiler="make")
        raise AlgorithmError(
            f"the Makefile in {recipe.source} left no {recipe.name}.wasm: let it write"
            " $(OUT)/$(NAME).wasm"
        )


def _stems(recipe: Recipe, out: str) -> list[str]:
    places = [
        (out, recipe.name),
        (out, recipe.stem),
        (recipe.source, recipe.name),
        (recipe.source, recipe.stem),
        # not with the version: those there are of the build before, its generated loader among them
        (recipe.build_dir, recipe.name),
    ]
    return [os.path.join(place, name) for place, name in places]


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
