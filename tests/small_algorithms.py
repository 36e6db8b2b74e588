"""Algorithms for tests: as small as can be, made here without any compiler."""

from __future__ import annotations

import importlib.util
import os

import pytest

from maniple.algorithm.package import Package, pack

ADD = bytes.fromhex(
    "0061736d0100000001070160027f7f017f03020100070801046d61696e00000a09010700200020016a0b"
)
"""A module that exports `main`: (i32, i32) -> i32, their sum."""

FOREIGN = bytes.fromhex(
    "0061736d01000000010401600000020c0103656e7604746861740000"
    "03020100070801046d61696e00010a040102000b"
)
"""A module that imports `env.that`: its loader must bring it."""

_LOADER = """
onmessage = (event) => {
  const { params, arguments: args } = event.data;
  const say = (text) => btoa(text);
  let stdout = null, stderr = null;
  const main = (params, args) => { BODY };
  const value = main(params, args);
  postMessage({ body: value, stdout, stderr });
};
"""


def loaded(name, body, version="1"):
    """A package with a JavaScript loader; `body` returns the value of `params` and `args`."""
    return Package(name, version, FOREIGN, _LOADER.replace("BODY", body).encode())


def adding():
    """A package that wasmtime runs: two numbers in, their sum out."""
    return Package("add", "1.0.0", ADD)


def shelve(folder, *packages):
    """Put packages where `maniple` looks for them below a folder."""
    build = folder / "build"
    build.mkdir(exist_ok=True)
    for package in packages:
        (build / f"{package.name}-{package.version}.zip").write_bytes(pack(package))


def need(library):
    """Skip a test where a library is missing; in CI none may be."""
    if importlib.util.find_spec(library) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{library} is not installed")
        pytest.skip(f"{library} is not installed")
