"""C and C++ with Emscripten, for programs that want its libraries.

The compiler is `emcc` where it is found; with `image` in the manifest, the one in that container
image. What it writes is wrapped in a loader that answers as the generated one of WASI modules does.
"""

from __future__ import annotations

import json
import os
import re
from typing import Final, NamedTuple

from maniple.builders import loader
from maniple.builders.contract import Product, Recipe, Tools
from maniple.builders.sources import find_sources
from maniple.errors import AlgorithmError

ENDINGS: Final = (".c", ".cc", ".cpp", ".cxx")

_SETTINGS: Final = (
    "-sENVIRONMENT=worker",
    "-sMODULARIZE=1",
    "-sEXPORT_NAME=createProgram",
    "-sINVOKE_RUN=0",
    "-sEXIT_RUNTIME=1",
    "-sFORCE_FILESYSTEM=1",
    "-sALLOW_MEMORY_GROWTH=1",
    "-sEXPORTED_RUNTIME_METHODS=FS,callMain",
)
_LOADER_PARTS: Final = (*loader.MESSAGE_PARTS, "emscripten.js")
# Debian keeps Node's libraries where nobody else's node looks
_DEBIAN_NODE_PATH: Final = "/usr/share/nodejs"
_ENGINES: Final = ("podman", "docker")
_INSTALL: Final = (
    "install it (Debian: `apt-get install emscripten`), or have podman or docker and name an image"
    " of it in motivus.yml, such as `build: {image: emscripten/emsdk:3.1.6}`"
)


class EmscriptenBuilder:
    """Compiles with emcc, found here or in a container image."""

    def build(self, recipe: Recipe, tools: Tools) -> Product:
        """Compile all C and C++ sources to a module and its loader.

        Raises:
            CompilerError: the compiler refused.
            AlgorithmError: there are no sources, or no compiler.
        """
        sources = find_sources(recipe, ENDINGS, "C or C++")
        out = os.path.join(recipe.work, "emscripten")
        os.makedirs(out, exist_ok=True)
        for name in os.listdir(out):
            os.unlink(os.path.join(out, name))
        if recipe.image is None:
            compiler = _native(recipe, out, tools)
        else:
            compiler = _contained(recipe, out, recipe.image, tools)
        tools.run(
            [*compiler.words, *sources, *_flags(recipe, compiler)],
            folder=recipe.source,
            environment=compiler.environment,
        )
        if os.path.exists(os.path.join(out, "program.data")):
            raise AlgorithmError(
                "--preload-file leaves a .data file, which a package has no place for: name the"
                " folder in motivus.yml (build.filesystem), or use --embed-file"
            )
        return Product(
            wasm=_made(out, "program.wasm"),
            loader=_loader(recipe.name, _made(out, "program.js").decode()),
            compiler=compiler.about,
        )


class _Compiler(NamedTuple):
    """How a compiler is started, and what it calls our folders."""

    words: list[str]
    source: str
    out: str
    includes: list[str]
    environment: dict[str, str]
    about: str


def _native(recipe: Recipe, out: str, tools: Tools) -> _Compiler:
    emcc = tools.find("emcc", install=_INSTALL, override="MANIPLE_EMCC")
    environment = {}
    if os.path.isdir(_DEBIAN_NODE_PATH):
        known = tools.environment.get("NODE_PATH")
        environment["NODE_PATH"] = f"{known}:{_DEBIAN_NODE_PATH}" if known else _DEBIAN_NODE_PATH
    said = tools.ask([emcc, "--version"], folder=recipe.source, environment=environment) or ""
    version = re.search(r"\d+\.\d+\.\d+", said)
    return _Compiler(
        [emcc],
        recipe.source,
        out,
        list(recipe.include),
        environment,
        f"emcc {version.group() if version else ''}".strip(),
    )


def _contained(recipe: Recipe, out: str, image: str, tools: Tools) -> _Compiler:
    includes = {folder: f"/include/{number}" for number, folder in enumerate(recipe.include)}
    engine = _engine(image, tools)
    mounts = [(recipe.source, "/source:ro"), (out, "/out")]
    mounts += [(folder, f"{inside}:ro") for folder, inside in includes.items()]
    words = [engine, "run", "--rm", "--network=none", "--workdir=/source"]
    if os.path.basename(engine) == "docker":
        # podman's root is the user, docker's is the machine's
        words.append(f"--user={os.getuid()}:{os.getgid()}")
    for place, inside in mounts:
        words += ["--volume", f"{place}:{inside}"]
    return _Compiler(
        [*words, image, "emcc"], "/source", "/out", list(includes.values()), {}, f"emcc of {image}"
    )


def _engine(image: str, tools: Tools) -> str:
    for name in _ENGINES:
        try:
            return tools.find(name, install="")
        except AlgorithmError:
            continue
    raise AlgorithmError(
        f"the image {image} needs a container engine, and there is none:"
        " `apt-get install podman`, or leave build.image out of motivus.yml and"
        " `apt-get install emscripten`"
    )


def _flags(recipe: Recipe, compiler: _Compiler) -> list[str]:
    return [
        *(["-O0", "-g"] if recipe.debug else ["-O3"]),
        f"-ffile-prefix-map={compiler.source}=.",
        *(f"-I{folder}" for folder in compiler.includes),
        *_SETTINGS,
        *recipe.options,
        "-o",
        f"{compiler.out}/program.js",
    ]


def _made(out: str, name: str) -> bytes:
    try:
        with open(os.path.join(out, name), "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise AlgorithmError(
            f"Emscripten made no {name}: an option in motivus.yml (build.options) makes it leave"
            " its output elsewhere, such as -sSINGLE_FILE or -o"
        ) from None


def _loader(name: str, program: str) -> bytes:
    return loader.script(
        f"Runs the WebAssembly module of {name} in a Web Worker. Generated by maniple.",
        f"const NAME = {json.dumps(name)};\n",
        program,
        *map(loader.part, _LOADER_PARTS),
        strict=False,
    )
