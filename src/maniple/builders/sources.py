"""Which files of a folder a compiler is given."""

from __future__ import annotations

import os
from collections.abc import Sequence

from maniple.builders.contract import Recipe
from maniple.errors import AlgorithmError


def find_sources(recipe: Recipe, endings: Sequence[str], language: str) -> list[str]:
    """List the sources below the source folder, but for the build's own and hidden folders.

    A folder of files for the algorithm (`filesystem`) that is not the source folder itself holds no
    sources either.

    Args:
        recipe: what is built.
        endings: of the names, such as `.c`.
        language: for the message.

    Returns:
        Paths relative to `recipe.source`, in order.

    Raises:
        AlgorithmError: there are none.
    """
    skipped = {recipe.build_dir, recipe.work, recipe.filesystem} - {recipe.source}
    found = []
    for folder, below, names in os.walk(recipe.source):
        below[:] = sorted(
            name
            for name in below
            if not name.startswith(".") and os.path.join(folder, name) not in skipped
        )
        found += [
            os.path.relpath(os.path.join(folder, name), recipe.source)
            for name in sorted(names)
            if name.endswith(tuple(endings)) and not name.startswith(".")
        ]
    if not found:
        raise AlgorithmError(
            f"no {language} sources in {recipe.source}: there is no file {', '.join(endings)};"
            " name their folder in motivus.yml, build.source"
        )
    return found
