"""Which Rust compiles for WebAssembly: the first on the path may have no such target."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from maniple.builders.contract import Tools
from maniple.errors import AlgorithmError

SPARSE: Final = (1, 70)
"""From this version on, cargo reads the registry's index over HTTP; before, it clones it."""

_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class Cargo(NamedTuple):
    """A cargo and its version."""

    path: str
    version: tuple[int, ...]

    @property
    def is_sparse(self) -> bool:
        """Whether it reads the registry's index over HTTP."""
        return self.version >= SPARSE


class Toolchain(NamedTuple):
    """A Rust that has the standard library of a target.

    Attributes:
        rustc: its path.
        version: of rustc, as text.
        sysroot: where its libraries are.
        target: the target that was found.
        cargo: the one that came with it.
    """

    rustc: str
    version: str
    sysroot: str
    target: str
    cargo: Cargo


def find_toolchain(tools: Tools, targets: Sequence[str], folder: str) -> Toolchain:
    """Find a Rust for one of some targets.

    `$RUSTC` is the only candidate where it is set; otherwise all on the path, and all of rustup.

    Args:
        tools: ask programs.
        targets: names of one and the same target, the newest first.
        folder: the project's, where a rust-toolchain.toml may name a toolchain.

    Raises:
        AlgorithmError: there is none; the message says what would bring one.
    """
    first: str | None = None
    for rustc in _candidates(tools):
        sysroot = (tools.ask([rustc, "--print", "sysroot"], folder=folder) or "").strip()
        if not sysroot:
            continue
        version = _version_of(tools.ask([rustc, "--version"], folder=folder))
        text = ".".join(map(str, version))
        for target in targets:
            if glob.glob(f"{glob.escape(sysroot)}/lib/rustlib/{target}/lib/libcore-*.rlib"):
                if first is not None:
                    tools.say(f"rustc {first} has no target {target}: {rustc} {text} compiles")
                return Toolchain(rustc, text, sysroot, target, _cargo_of(sysroot, tools, folder))
        first = first or text
    have = f"rustc {first} has no target {targets[0]}" if first else "there is no rustc"
    raise AlgorithmError(
        f"{have}: `rustup target add {targets[0]}`, or on Debian"
        " `apt-get install rustc cargo libstd-rust-dev-wasm32 lld`"
    )


def newest_cargo(tools: Tools, toolchain: Toolchain, folder: str) -> Cargo:
    """Find the newest cargo there is, to fetch crates or install tools with."""
    found = [toolchain.cargo]
    for path in _on_path("cargo", tools):
        version = _version_of(tools.ask([path, "--version"], folder=folder))
        if version:
            found.append(Cargo(path, version))
    return max(found, key=lambda cargo: cargo.version)


def _candidates(tools: Tools) -> Iterator[str]:
    named = tools.environment.get("RUSTC")
    if named:
        yield named
        return
    yield from _on_path("rustc", tools)
    home = tools.environment.get("RUSTUP_HOME") or os.path.join(
        tools.environment.get("HOME", ""), ".rustup"
    )
    yield from sorted(glob.glob(f"{glob.escape(home)}/toolchains/*/bin/rustc"), reverse=True)


def _on_path(program: str, tools: Tools) -> Iterator[str]:
    seen: set[str] = set()
    for folder in tools.environment.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder or ".", program)
        real = os.path.realpath(path)
        if real not in seen and os.access(path, os.X_OK):
            seen.add(real)
            yield path


def _cargo_of(sysroot: str, tools: Tools, folder: str) -> Cargo:
    own = os.path.join(sysroot, "bin", "cargo")
    named = tools.environment.get("CARGO")
    if not named and os.access(own, os.X_OK):
        path = own
    else:
        path = tools.find("cargo", install="on Debian `apt-get install cargo`", override="CARGO")
    return Cargo(path, _version_of(tools.ask([path, "--version"], folder=folder)))


def _version_of(said: str | None) -> tuple[int, ...]:
    found = _VERSION.search(said or "")
    return tuple(map(int, found.groups())) if found else ()
