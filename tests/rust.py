"""Rust for tests: what must be installed, and crates that several tests share."""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
from pathlib import Path

import pytest

from projects import ROOT, SERVERS, need, without

KMEANS = ROOT / "examples" / "kmeans-rust"
WASM_BINDGEN = "0.2.100"
TEN_POINTS = [
    [-2.7825343, -1.7604825, -5.5550113, -2.9752946, -2.7874138],
    [-2.9847919, -3.8209332, -2.1531757, -2.2710119, -2.3582877],
    [-3.0109320, -2.2366132, -2.8048492, -1.2632331, -4.5755581],
    [-2.8432186, -1.0383805, -2.2022826, -2.7435962, -2.0013399],
    [-2.6638082, -3.5520086, -1.3684702, -2.1562444, -1.3186447],
    [1.7409171, 1.9687576, 4.7162628, 4.5743537, 3.7905611],
    [3.2932369, 2.8508700, 2.5580937, 2.0437325, 4.2192562],
    [2.5843321, 2.8329818, 2.1329531, 3.2562319, 2.4878733],
    [2.1859638, 3.2880048, 3.7018615, 2.3641232, 1.6281994],
    [2.6201773, 0.9006588, 2.6774097, 1.8188620, 1.6076493],
]


def need_target(target: str) -> None:
    """Skip a test where no Rust here compiles for a target."""
    need("cargo", "cargo")
    places = ["/usr", *glob.glob(os.path.expanduser("~/.rustup/toolchains/*"))]
    if not any(glob.glob(f"{place}/lib/rustlib/{target}/lib/libcore-*") for place in places):
        without(f"no Rust has the target {target}: apt-get install libstd-rust-dev-wasm32")


def tools_folder() -> str:
    """Where wasm-bindgen is that scripts/brokers/rust installs; skips without it."""
    need_target("wasm32-unknown-unknown")
    named = os.environ.get("MANIPLE_TOOLS") or str(SERVERS / "tools")
    if not os.path.exists(f"{named}/wasm-bindgen-{WASM_BINDGEN}/bin/wasm-bindgen"):
        without("wasm-bindgen is not here: scripts/brokers/rust .servers")
    return named


def copy_of_kmeans(folder: Path) -> Path:
    shutil.copytree(KMEANS, folder, ignore=shutil.ignore_patterns("build", "target", "Cargo.lock"))
    return folder


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """Give the folder that all processes of this test run share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def kmeans_crate(factory: pytest.TempPathFactory) -> Path:
    """Give a copy of the example in Rust, built once for all tests."""
    from projects import built

    tools = tools_folder()
    folder = shared_folder(factory) / "kmeans-crate"
    with open(f"{folder}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            new = copy_of_kmeans(folder.with_name("kmeans-crate-new"))
            built(new, new / "build", MANIPLE_TOOLS=tools)
            new.rename(folder)
    return folder
