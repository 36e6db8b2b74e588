"""Builds of algorithms: from sources and a motivus.yml to a package, one file per compiler."""

from __future__ import annotations

import importlib
from typing import Final

from maniple.builders.contract import Builder
from maniple.errors import UsageError

BUILDERS: Final = {
    "mvcc": "maniple.builders.zig:ZigBuilder",
    "emcc": "maniple.builders.emscripten:EmscriptenBuilder",
    "mvrc": "maniple.builders.rust:RustBuilder",
    "mvfc": "maniple.builders.fortran:FortranBuilder",
    "local": "maniple.builders.make:MakeBuilder",
}
"""Where each compiler of a motivus.yml is. `mvcc` becomes `emcc` where the manifest says
`target: emscripten`, or a source includes a header of Emscripten."""


def builder_of(compiler: str) -> Builder:
    """Make the builder for a compiler's name; one from another package is an entry point.

    Raises:
        UsageError: there is no such builder.
    """
    target = BUILDERS.get(compiler)
    if target is not None:
        module, _, name = target.partition(":")
        made: Builder = getattr(importlib.import_module(module), name)()
        return made
    from importlib.metadata import entry_points

    for entry in entry_points(group="maniple.builders", name=compiler):
        found: Builder = entry.load()()
        return found
    raise UsageError(f"no compiler {compiler!r}: there are {', '.join(BUILDERS)}")
