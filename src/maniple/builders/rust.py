"""Rust with cargo: programs to WASI, crates with wasm-bindgen to a module and its JavaScript."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Sequence
from typing import Final

from maniple.builders.contract import Product, Recipe, Tools
from maniple.builders.rust_project import Project, Shape, locked_version, read_project
from maniple.builders.rust_toolchain import Cargo, Toolchain, find_toolchain, newest_cargo
from maniple.errors import AlgorithmError

WASI_TARGETS: Final = ("wasm32-wasip1", "wasm32-wasi")
PLAIN_TARGETS: Final = ("wasm32-unknown-unknown",)
_SAME_BYTES: Final = {
    "CARGO_INCREMENTAL": "0",
    "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "1",
    "CARGO_PROFILE_RELEASE_DEBUG": "false",
}
# a dependency's newest version may want a newer Rust than the one that compiles
_FITTING: Final = {"CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS": "fallback"}


class RustBuilder:
    """Compiles a crate."""

    def build(self, recipe: Recipe, tools: Tools) -> Product:
        """Compile (see the contract).

        Raises:
            CompilerError: cargo or rustc refused.
            AlgorithmError: there is no crate, or no Rust with the target.
        """
        project = read_project(recipe.source)
        targets = WASI_TARGETS if project.shape is Shape.PROGRAM else PLAIN_TARGETS
        toolchain = find_toolchain(tools, targets, recipe.source)
        newest = newest_cargo(tools, toolchain, recipe.source)
        module = _compile(recipe, project, toolchain, newest, tools)
        compiler = f"rustc {toolchain.version}"
        if project.shape is Shape.BINDGEN:
            from maniple.builders.bindgen import bind

            version = locked_version(_lock(recipe, toolchain, tools), "wasm-bindgen")
            if version is None:
                raise AlgorithmError(f"the Cargo.lock of {recipe.source} names no wasm-bindgen")
            wasm, loader = bind(recipe, module, version, newest, tools)
            return Product(wasm, loader, compiler=f"{compiler}, wasm-bindgen {version}")
        with open(module, "rb") as file:
            return Product(file.read(), compiler=compiler)


def _compile(
    recipe: Recipe, project: Project, toolchain: Toolchain, newest: Cargo, tools: Tools
) -> str:
    """Run cargo; return the path of the module."""
    target_dir = os.path.join(recipe.work, "cargo")
    environment = {
        **_SAME_BYTES,
        **_FITTING,
        "RUSTC": toolchain.rustc,
        "CARGO_TARGET_DIR": target_dir,
    }
    if project.shape is not Shape.BINDGEN and not recipe.debug:
        # wasm-bindgen reads what this takes away, and takes it away itself afterwards
        environment["CARGO_PROFILE_RELEASE_STRIP"] = "symbols"
    words = [toolchain.cargo.path, "build", "--target", toolchain.target]
    if not recipe.debug:
        words.append("--release")
    words += ["--lib"] if project.shape is not Shape.PROGRAM else ["--bin", project.artifact]
    crates: list[str] = []
    if project.has_dependencies:
        crates, settings = _fetch(recipe, toolchain, newest, environment, tools)
        words += ["--offline", *settings]
    flags = _flags(recipe, toolchain, crates)
    user = tools.environment.get("RUSTFLAGS")
    if user is None:
        words += ["--config", f"target.{toolchain.target}.rustflags={json.dumps(flags)}"]
    else:
        # cargo would take these only, and forget the setting
        environment["CARGO_ENCODED_RUSTFLAGS"] = "\x1f".join([*user.split(), *flags])
    tools.run([*words, *recipe.options], folder=recipe.source, environment=environment)
    profile = "debug" if recipe.debug else "release"
    return os.path.join(target_dir, toolchain.target, profile, f"{project.artifact}.wasm")


def _flags(recipe: Recipe, toolchain: Toolchain, crates: Sequence[str]) -> list[str]:
    """Keep the places of this machine out of the module: messages of panics hold paths."""
    places = [
        (os.path.join(toolchain.sysroot, "lib", "rustlib", "src", "rust"), "/rustc"),
        (recipe.source, "/source"),
        *((folder, "/crates") for folder in crates),
    ]
    return [f"--remap-path-prefix={place}={name}" for place, name in places]


def _fetch(
    recipe: Recipe,
    toolchain: Toolchain,
    newest: Cargo,
    environment: dict[str, str],
    tools: Tools,
) -> tuple[list[str], list[str]]:
    """Bring the crates here; return the folders they are in, and cargo's settings for them.

    An old cargo clones the registry's index. Where a newer one is at hand, it does the fetching,
    into a folder that the old one reads.
    """
    cargo = toolchain.cargo
    if cargo.is_sparse or not newest.is_sparse:
        words = [cargo.path, "fetch", "--target", toolchain.target]
        tools.run(words, folder=recipe.source, environment=environment)
        home = tools.environment.get("CARGO_HOME") or os.path.expanduser("~/.cargo")
        return sorted(glob.glob(f"{glob.escape(home)}/registry/src/*")), []
    folder = os.path.join(recipe.work, "crates")
    tools.run(
        [newest.path, "vendor", "--quiet", "--versioned-dirs", folder],
        folder=recipe.source,
        # the newest cargo goes with its own rustc, which ours is not
        environment=_FITTING,
    )
    settings = [
        *("--config", 'source.crates-io.replace-with="fetched"'),
        *("--config", f"source.fetched.directory={json.dumps(folder)}"),
    ]
    return [folder], settings


def _lock(recipe: Recipe, toolchain: Toolchain, tools: Tools) -> str:
    """Find the Cargo.lock, which in a workspace is above the crate."""
    words = [toolchain.cargo.path, "locate-project", "--workspace", "--message-format", "plain"]
    root = tools.ask(words, folder=recipe.source)
    folder = os.path.dirname(root.strip()) if root else recipe.source
    return os.path.join(folder, "Cargo.lock")
