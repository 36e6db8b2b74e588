"""Fortran 77 through f2c and zig."""

from pathlib import Path

import pytest

from classic_worker import in_chromium, in_deno, message_of
from maniple.algorithm.kind import Kind
from maniple.builders.contract import CompilerError
from maniple.errors import AlgorithmError
from projects import built, built_and_said, libf2c, project

PROGRAMS = Path(__file__).parent / "programs"

HELLO = """      PROGRAM HELLO
      WRITE (*,*) 7
      END
"""


@pytest.fixture(autouse=True)
def _runtime(monkeypatch):
    monkeypatch.setenv("MANIPLE_LIBF2C", libf2c())


def answer(tmp_path, files, keys=None, worker=in_deno, **message):
    package = built(project(tmp_path / "p", files, "mvfc", **(keys or {})), tmp_path / "b").package
    assert package.kind is Kind.WASI
    return worker(tmp_path / "w", package.loader, message_of(package.wasm, **message))


READER = """      PROGRAM READER
      INTEGER N
      DOUBLE PRECISION X, Y(2, 3)
      CHARACTER*30 T, U
      LOGICAL L, M
      REAL Z
      Z = 9.5
      READ (*,*) N, X
      READ (*,*) ((Y(I, J), J = 1, 3), I = 1, 2)
      READ (*,*) T
      READ (*,*) U, L, M
      READ (*,*) Z
      WRITE (*, 100) N, X, Y(2, 1), T, U, L, M, Z
  100 FORMAT ('[', I5, ',', 1PE24.16E3, ',', 1PE24.16E3, ',"', A, '","',
     + A, '","', L1, L1, '",', 0PF10.4, ']')
      END
"""


@pytest.mark.parametrize("worker", [in_deno, in_chromium])
def test_params_are_records_to_read_and_the_value_is_json_to_print(tmp_path, worker):
    text = 'it\'s "größer" \\ 𝄞, [no list]'
    params = [3, -0.1, [[1, 2, 3], [4.5e3, 5, 6]], "plain", text, True, False, None]
    reply = answer(tmp_path, {"reader.f": READER}, worker=worker, params=params)
    assert reply.stderr == b""
    assert reply.stdout.decode() == (
        "[    3,-1.0000000000000001E-001, 4.5000000000000000E+003,"
        f'"plain{" " * 25}","{text.encode()[:30].decode()}","TF",    9.5000]\n'
    )


def test_standard_input_that_is_no_list_is_read_as_it_is(tmp_path):
    source = """      PROGRAM RAW
      CHARACTER*10 WORD
      READ (*, '(A)') WORD
      WRITE (*, *) WORD
      END
"""
    reply = answer(tmp_path, {"raw.f": source}, params={"a": [1]})
    assert reply.value == {"a": [1]}


def test_the_whole_library_works_and_no_call_of_it_mismatches(tmp_path):
    folder = project(tmp_path / "p", {"all.f": (PROGRAMS / "all.f").read_text()}, "mvfc")
    made, said = built_and_said(folder, tmp_path / "b")
    assert "warning" not in said
    message = message_of(
        made.package.wasm, arguments=["one", "two"], result_files=["/direct.dat", "/listed.txt"]
    )
    reply = in_deno(tmp_path / "w", made.package.loader, message)
    # what the same program prints when f2c and a native compiler made it
    assert reply.stdout.decode().splitlines() == (PROGRAMS / "all.txt").read_text().splitlines()
    assert reply.exit_code == 3
    assert reply.files["/listed.txt"] == b" listed  2 words\n"
    assert len(reply.files["/direct.dat"]) == 24


def test_a_common_block_of_several_files_is_one_block_as_large_as_the_largest(tmp_path):
    files = {
        "main.f": """      PROGRAM MAIN
      COMMON /ONE/ X, N
      COMMON A
      COMMON /SET/ Q(2)
      X = 2.5
      N = 3
      CALL FILL
      WRITE (*, '(A, 4(F8.3, A))') '[', X, ',', A, ',', Q(1), ',',
     + Q(2), ']'
      END
      BLOCK DATA
      COMMON /SET/ Q(2)
      DATA Q /7.0, 8.0/
      END
""",
        "deep/fill.f": """      SUBROUTINE FILL
      COMMON /ONE/ Y, M
      COMMON B, C(1000)
      COMMON /SET/ R, T
      B = Y + M + R
      DO 10 I = 1, 1000
        C(I) = -1.0
   10 CONTINUE
      Y = 4.0
      T = T + 1
      END
""",
    }
    assert answer(tmp_path, files).value == [4.0, 12.5, 7.0, 9.0]


def test_includes_other_endings_and_options_of_f2c(tmp_path):
    files = {
        "main.for": "      PROGRAM MAIN\n      include 'size.inc'\n      write (*,*) msize\n      end\n",
        "inc/size.inc": "      integer mSize\n      parameter (msize = 12)\n",
    }
    assert answer(tmp_path, files, {"include": "[inc]"}).value == 12
    files["main.for"] = "      program main\n      x = 1\n      end\n"
    folder = project(tmp_path / "q", files, "mvfc", options="-u")
    with pytest.raises(CompilerError):
        built(folder, tmp_path / "c")


def test_a_number_for_exit_is_the_exit_code_and_a_run_time_error_is_told(tmp_path):
    source = """      PROGRAM ENDS
      INTEGER N
      READ (*,*) N
      IF (N .GT. 0) CALL EXIT(N)
      OPEN (10, FILE='/none', STATUS='OLD')
      END
"""
    reply = answer(tmp_path, {"ends.f": source}, params=[5])
    assert reply.exit_code == 5
    package = built(tmp_path / "p", tmp_path / "b").package
    reply = in_deno(tmp_path / "w", package.loader, message_of(package.wasm, params=[0]))
    assert reply.exit_code == 134
    assert b"open: No such file or directory\napparent state: unit 10 named /none" in reply.stderr


def test_the_same_sources_give_the_same_digest_in_another_folder(tmp_path):
    first = built(project(tmp_path / "p", {"hello.f": HELLO}, "mvfc"), tmp_path / "b")
    second = built(
        project(tmp_path / "elsewhere" / "deep", {"hello.f": HELLO}, "mvfc"),
        tmp_path / "elsewhere" / "build",
        MANIPLE_CACHE=str(tmp_path / "cache"),
    )
    assert first.digest == second.digest
    assert first.compiler.startswith("f2c and zig")


def test_an_error_of_f2c_is_shown_as_it_was_printed(tmp_path):
    from maniple.builders.build import build
    from maniple.builders.tool import Toolbox

    said = []
    folder = project(
        tmp_path / "p", {"bad.f": "      PROGRAM BAD\n      X = (1\n      END\n"}, "mvfc"
    )
    with pytest.raises(CompilerError, match="f2c ended with exit status 1"):
        build(str(folder), build_dir=str(tmp_path / "b"), tools=Toolbox(said.append))
    assert b"Error on line 2 of ./bad.f: unbalanced parentheses" in b"".join(said)


def test_a_program_without_its_main_part_is_the_linkers_error(tmp_path):
    source = "      SUBROUTINE LONELY\n      END\n"
    with pytest.raises(CompilerError, match="ziglang cc ended"):
        built(project(tmp_path / "p", {"lonely.f": source}, "mvfc"), tmp_path / "b")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PATH": "/nowhere"}, "f2c is not installed: apt-get install f2c"),
        (
            {"MANIPLE_LIBF2C": "", "MANIPLE_CACHE": "{tmp}/none"},
            "it is not in .*/none: run `apt-get",
        ),
        (
            {"MANIPLE_LIBF2C": "{tmp}", "MANIPLE_CACHE": "{tmp}/c"},
            r"\$MANIPLE_LIBF2C names .*not: run",
        ),
        (
            {"MANIPLE_LIBF2C": "{tmp}/p/hello.f", "MANIPLE_CACHE": "{tmp}/c"},
            "is not the libf2c2_20140711.orig.tar.xz that is known here: its SHA-256 is",
        ),
    ],
)
def test_what_is_missing_is_named_with_what_to_do(tmp_path, variables, said):
    folder = project(tmp_path / "p", {"hello.f": HELLO}, "mvfc")
    variables = {name: value.format(tmp=tmp_path) for name, value in variables.items()}
    with pytest.raises(AlgorithmError, match=said):
        built(folder, tmp_path / "b", **variables)


def test_sources_of_another_fortran_are_not_taken_for_this_one(tmp_path):
    with pytest.raises(AlgorithmError, match=r"no Fortran 77 sources in .*\.f, \.for, \.f77"):
        built(project(tmp_path / "p", {"new.f90": "end\n"}, "mvfc"), tmp_path / "b")
