"""What a Cargo.toml says about how its crate becomes a module."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

from maniple.errors import AlgorithmError


class Shape(Enum):
    """The three ways to write an algorithm in Rust.

    `PROGRAM`: `fn main()`, compiled to WASI. `BINDGEN`: `#[wasm_bindgen] pub fn main(...)` in a
    cdylib; wasm-bindgen makes its JavaScript. `NUMBERS`: a cdylib that needs nothing, with
    `#[no_mangle] pub extern "C" fn main(...)` of numbers.
    """

    PROGRAM = "program"
    BINDGEN = "wasm-bindgen"
    NUMBERS = "numbers"


class Project(NamedTuple):
    """A crate.

    Attributes:
        shape: how it is compiled.
        artifact: what cargo calls the module: the name of the program or of the library.
        has_dependencies: whether crates must be fetched.
    """

    shape: Shape
    artifact: str
    has_dependencies: bool


def read_project(folder: str) -> Project:
    """Read a crate's Cargo.toml.

    Raises:
        AlgorithmError: there is none, or nothing in it can become a module.
    """
    path = os.path.join(folder, "Cargo.toml")
    try:
        with open(path, "rb") as file:
            tree = tomllib.load(file)
    except FileNotFoundError:
        raise AlgorithmError(
            f"no Cargo.toml in {folder}: name the crate's folder in build.source of motivus.yml"
        ) from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AlgorithmError(f"cannot read {path}: {error}") from None
    package = tree.get("package")
    if not isinstance(package, Mapping) or not isinstance(package.get("name"), str):
        raise AlgorithmError(
            f"{path} describes no package: name the folder of one of its crates in build.source"
        )
    name: str = package["name"]
    dependencies = set(_dependencies(tree))
    library = tree.get("lib")
    library = library if isinstance(library, Mapping) else {}
    kinds = library.get("crate-type", library.get("crate_type", []))
    needed = bool(dependencies) or "workspace" in tree or "workspace" in package
    if "cdylib" in kinds:
        shape = Shape.BINDGEN if "wasm-bindgen" in dependencies else Shape.NUMBERS
        return Project(shape, str(library.get("name", name)).replace("-", "_"), needed)
    program = _program(tree, folder, name)
    if program is None:
        raise AlgorithmError(
            f"{path}: there is no src/main.rs, and the library is no cdylib: write"
            ' `crate-type = ["cdylib"]` below [lib]'
        )
    return Project(Shape.PROGRAM, program, needed)


def locked_version(lock: str, crate: str) -> str | None:
    """Find which version of a crate a Cargo.lock names; None where it names none."""
    try:
        with open(lock, "rb") as file:
            tree = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError):
        return None
    for package in tree.get("package", []):
        if package.get("name") == crate:
            return str(package.get("version"))
    return None


def _dependencies(tree: Mapping[str, Any]) -> Iterator[str]:
    for section in ("dependencies", "build-dependencies"):
        for key, value in tree.get(section, {}).items():
            yield value.get("package", key) if isinstance(value, Mapping) else key
    for target in tree.get("target", {}).values():
        if isinstance(target, Mapping):
            yield from _dependencies(target)


def _program(tree: Mapping[str, Any], folder: str, name: str) -> str | None:
    programs = [str(entry["name"]) for entry in tree.get("bin", []) if "name" in entry]
    default = tree["package"].get("default-run")
    if default:
        return str(default)
    if name in programs or os.path.exists(os.path.join(folder, "src", "main.rs")):
        return next((bin_ for bin_ in programs if bin_ == name), programs[0] if programs else name)
    return programs[0] if programs else None
