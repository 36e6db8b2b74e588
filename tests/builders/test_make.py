"""The compiler `local`: the user's own Makefile."""

import pytest

from classic_worker import in_deno, message_of
from maniple.algorithm.kind import Kind
from maniple.builders.contract import CompilerError
from maniple.errors import AlgorithmError
from projects import built, built_and_said, need, project

# a WASI module of one function that does nothing, and one that wants its own loader
WASI = r"'\0asm\1\0\0\0\1\4\1\140\0\0\3\2\1\0\7\12\1\6_start\0\0\12\4\1\2\0\13'"
FOREIGN = r"'\0asm\1\0\0\0\1\4\1\140\0\0\2\11\1\3env\1f\0\0'"


@pytest.fixture(autouse=True)
def _make():
    need("make", "make")


def makefile(*commands):
    return {"Makefile": "all:\n" + "".join(f"\t@{command}\n" for command in commands)}


def test_a_wasi_module_gets_the_generated_loader(tmp_path):
    files = makefile(f"printf {WASI} > $(OUT)/$(NAME).wasm")
    package = built(project(tmp_path / "p", files, "local"), tmp_path / "b").package
    assert package.kind is Kind.WASI
    reply = in_deno(tmp_path / "w", package.loader, message_of(package.wasm))
    assert (reply.exit_code, reply.value) == (0, None)


def test_the_projects_own_loader_is_kept(tmp_path):
    files = makefile(
        f"printf {FOREIGN} > $(OUT)/$(NAME).wasm",
        "echo 'onmessage = () => postMessage({body: 1});' > $(OUT)/$(NAME).js",
    )
    package = built(project(tmp_path / "p", files, "local"), tmp_path / "b").package
    assert package.kind is Kind.LOADER
    assert package.loader == b"onmessage = () => postMessage({body: 1});\n"


def test_a_second_build_does_not_take_the_generated_loader_for_the_projects_own(tmp_path):
    files = makefile(f"printf {WASI} > $(NAME).wasm")
    folder = project(tmp_path / "p", files, "local")
    first = built(folder, tmp_path / "b")
    (tmp_path / "b" / "thing-0.1.0.js").write_text("changed")
    assert built(folder, tmp_path / "b").digest == first.digest


@pytest.mark.parametrize(
    "where", ["$(NAME).wasm", "$(NAME)-$(VERSION).wasm", "$(OUT)/$(NAME)-$(VERSION).wasm"]
)
def test_the_module_may_be_left_in_the_source_folder_and_have_the_version(tmp_path, where):
    folder = project(tmp_path / "p", makefile(f"printf {WASI} > {where}"), "local")
    assert built(folder, tmp_path / "b").package.kind is Kind.WASI


def test_options_are_words_of_make(tmp_path):
    files = makefile("false") | {
        "other.mk": f"all:\n\t@false\nmine:\n\t@echo $(FLAVOUR)\n\t@printf {WASI} > $(OUT)/$(NAME).wasm\n"
    }
    folder = project(tmp_path / "p", files, "local", options="-f other.mk mine FLAVOUR=sweet")
    _, said = built_and_said(folder, tmp_path / "b")
    assert said == "sweet\n"


def test_a_make_above_has_no_say(tmp_path):
    files = makefile("echo level $(MAKELEVEL), flags $(MAKEFLAGS)", f"printf {WASI} > $(NAME).wasm")
    folder = project(tmp_path / "p", files, "local")
    _, said = built_and_said(folder, tmp_path / "b", MAKEFLAGS="n", MAKELEVEL="3")
    assert said.startswith("level 0")


def test_what_make_printed_is_shown_and_its_failure_is_the_builds(tmp_path):
    folder = project(tmp_path / "p", makefile("echo 'kernel.c:3: odd'; exit 4"), "local")
    said = []
    from maniple.builders.build import build
    from maniple.builders.tool import Toolbox

    with pytest.raises(CompilerError, match="make ended with exit status 2"):
        build(str(folder), build_dir=str(tmp_path / "b"), tools=Toolbox(said.append))
    assert b"".join(said).startswith(b"kernel.c:3: odd\nmake: *** [Makefile:2: all] Error 4\n")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"main.c": ""}, r"no Makefile in .*p, which the compiler `local` runs"),
        (makefile("true"), r"left no thing\.wasm: let it write \$\(OUT\)/\$\(NAME\)\.wasm"),
        (
            makefile(f"printf {FOREIGN} > $(OUT)/$(NAME).wasm"),
            "imports env, which its JavaScript loader must bring",
        ),
        (makefile("echo text > $(OUT)/$(NAME).wasm"), "not a WebAssembly module"),
    ],
)
def test_what_is_missing_is_named(tmp_path, files, said):
    with pytest.raises(AlgorithmError, match=said):
        built(project(tmp_path / "p", files, "local"), tmp_path / "b")


def test_without_make_it_is_said_what_to_install(tmp_path):
    folder = project(tmp_path / "p", makefile("true"), "local")
    with pytest.raises(AlgorithmError, match="make is not installed: apt-get install make"):
        built(folder, tmp_path / "b", PATH="/nowhere")
