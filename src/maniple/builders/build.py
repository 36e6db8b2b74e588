"""The front door of builds: from a motivus.yml to a package on disk."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from typing import Final

import msgspec

from maniple.algorithm.blobs import digest_of
from maniple.algorithm.kind import Kind
from maniple.algorithm.package import Package, pack
from maniple.algorithm.shelf import BUILD_FOLDER
from maniple.builders import builder_of
from maniple.builders.contract import Product, Recipe, Tools
from maniple.builders.filesystem import files_of, zip_filesystem
from maniple.builders.manifest import FILE, Manifest, read_manifest
from maniple.builders.tool import Toolbox
from maniple.errors import AlgorithmError, StorageError

WORK: Final = ".work"
"""The folder inside the build's where compilers keep objects from build to build."""

_KIB: Final = 1024
_EMSCRIPTEN: Final = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*[<"]emscripten[./]', re.MULTILINE)
_C_FILES: Final = (".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".hxx")


class Built(msgspec.Struct, frozen=True):
    """What a build made.

    Attributes:
        package: the module, its loader and its file system.
        path: of `NAME-VERSION.zip`.
        sizes: path of each file written, to its bytes.
        digest: SHA-256 of the zip, in hexadecimal: the same sources give the same.
        compiler: what made it, such as `zig 0.17.0`.
    """

    package: Package
    path: str
    sizes: dict[str, int]
    digest: str
    compiler: str


def build(
    manifest_path: str = FILE,
    *,
    build_dir: str = BUILD_FOLDER,
    debug: bool = False,
    echo: Callable[[str], object] = print,
    tools: Tools | None = None,
) -> Built:
    """Compile an algorithm and write its package.

    Args:
        manifest_path: of motivus.yml, or the folder it is in.
        build_dir: takes `NAME-VERSION.wasm`, `.js`, `.data.zip` (where a file system is named),
            and `.zip` of them.
        debug: with symbols and without optimisation.
        echo: takes the lines of the report.
        tools: run the compilers.

    Raises:
        CompilerError: the compiler refused; what it said has gone to standard error.
        AlgorithmError: the manifest is wrong, or a compiler is missing.
        StorageError: the package cannot be written.
    """
    manifest = read_manifest(manifest_path)
    return build_of(manifest, build_dir=build_dir, debug=debug, echo=echo, tools=tools)


def build_of(
    manifest: Manifest,
    *,
    build_dir: str = BUILD_FOLDER,
    debug: bool = False,
    echo: Callable[[str], object] = print,
    tools: Tools | None = None,
) -> Built:
    """Compile what a manifest says; see `build`."""
    folder = os.path.abspath(build_dir)
    if folder == manifest.folder or manifest.folder.startswith(folder + os.sep):
        raise AlgorithmError(f"the build folder {build_dir} holds the project: name another one")
    tools = tools or Toolbox(say=echo)
    builder = builder_of(compiler_of(manifest, folder))
    recipe = Recipe(
        name=manifest.name,
        version=manifest.version,
        source=manifest.build.source,
        build_dir=folder,
        work=os.path.join(folder, WORK),
        filesystem=manifest.build.filesystem,
        include=manifest.build.include,
        options=manifest.build.options,
        image=manifest.build.image,
        debug=debug,
    )
    try:
        os.makedirs(recipe.work, exist_ok=True)
        product = builder.build(recipe, tools)
        package = _package(recipe, product)
        built = _write(package, recipe, build_dir, product.compiler)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise StorageError(f"cannot build in {build_dir}: {error.strerror}{where}") from None
    for line in report(built):
        echo(line)
    return built


def compiler_of(manifest: Manifest, build_dir: str) -> str:
    """Choose the builder: `mvcc` is zig to WASI, or Emscripten where it is needed.

    It is needed where the manifest says `target: emscripten` or names an `image` of it, or a
    source includes a header that only Emscripten has.
    """
    build = manifest.build
    if build.compiler != "mvcc" or build.target == "wasi":
        return build.compiler
    if build.target == "emscripten" or build.image or _includes_emscripten(build.source, build_dir):
        return "emcc"
    return build.compiler


def _includes_emscripten(source: str, build_dir: str) -> bool:
    for path in files_of(source, without=(build_dir,)):
        if path.lower().endswith(_C_FILES):
            with open(os.path.join(source, path), "rb") as file:
                if _EMSCRIPTEN.search(file.read()):
                    return True
    return False


def clean(build_dir: str = BUILD_FOLDER) -> bool:
    """Remove what builds made; return whether there was something.

    Raises:
        AlgorithmError: that is no folder of builds.
        StorageError: it cannot be removed.
    """
    if not os.path.isdir(build_dir):
        return False
    entries = os.listdir(build_dir)
    if entries and WORK not in entries:
        raise AlgorithmError(
            f"{build_dir} is not removed: no build of ours has been there (it has no {WORK})"
        )
    try:
        shutil.rmtree(build_dir)
    except OSError as error:
        raise StorageError(
            f"cannot remove {build_dir}: {error.strerror} ({error.filename})"
        ) from None
    return True


def report(built: Built) -> list[str]:
    """Say what was built, in lines: each file with its size, and the package's digest."""
    package = built.package
    by = f" by {built.compiler}" if built.compiler else ""
    kind = "WASI" if package.kind is Kind.WASI else "run by its loader"
    width = max(map(len, built.sizes))
    lines = [f"{package.name}@{package.version}{by}: {kind}"]
    lines += [f"  {path:{width}}  {_size(size):>10}" for path, size in built.sizes.items()]
    lines.append(f"  sha256 {built.digest}")
    return lines


def _package(recipe: Recipe, product: Product) -> Package:
    data = product.data
    if data is None and recipe.filesystem is not None:
        data = zip_filesystem(recipe.filesystem, without=(recipe.build_dir,))
    loader = product.loader
    if loader is None:
        from maniple.builders.loader import wasi_loader

        loader = wasi_loader(recipe.name)
    package = Package(recipe.name, recipe.version, product.wasm, loader, data)
    if product.loader is None and package.kind is not Kind.WASI:
        # says what the module imports that nothing brings
        Package(recipe.name, recipe.version, product.wasm).kind  # noqa: B018 - it raises
    return package


def _write(package: Package, recipe: Recipe, build_dir: str, compiler: str) -> Built:
    """Write the files, each whole or not at all; what an earlier build left over goes."""
    zipped = pack(package)
    parts = {
        ".wasm": package.wasm,
        ".js": package.loader,
        ".data.zip": package.data,
        ".zip": zipped,
    }
    sizes: dict[str, int] = {}
    for ending, data in parts.items():
        name = recipe.stem + ending
        path = os.path.join(recipe.build_dir, name)
        if data is None:
            if os.path.exists(path):
                os.unlink(path)
            continue
        new = os.path.join(recipe.work, f"{name}.{os.getpid()}")
        with open(new, "wb") as file:
            file.write(data)
        os.replace(new, path)
        sizes[os.path.join(build_dir, name)] = len(data)
    path = os.path.join(build_dir, f"{recipe.stem}.zip")
    return Built(package, path, sizes, digest_of(zipped), compiler)


def _size(size: int) -> str:
    return f"{size} B" if size < _KIB else f"{size / _KIB:,.1f} KiB"
