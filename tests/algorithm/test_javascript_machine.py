"""Machines that lack something: what still works there, and what is said."""

import shutil
import sys

import pytest

from javascript_calls import calling
from maniple.algorithm import javascript_command
from maniple.algorithm.javascript import JavascriptSandbox
from maniple.algorithm.javascript_command import Confinement, find_deno
from maniple.errors import AlgorithmError, MissingExtraError


def test_without_bubblewrap_deno_alone_must_do_unless_more_is_asked_for(monkeypatch, tmp_path):
    real = shutil.which
    monkeypatch.setattr(
        "maniple.algorithm.javascript_pool.shutil.which",
        lambda name: None if name == "bwrap" else real(name),
    )
    with calling(tmp_path) as caller:
        assert caller.sandbox.confinement is Confinement.DENO
        assert caller.says("1") == 1
    with (
        calling(tmp_path, confinement=Confinement.BUBBLEWRAP) as caller,
        pytest.raises(AlgorithmError, match=r"bubblewrap \(bwrap\) is not installed"),
    ):
        caller.says("1")


def test_where_bubblewrap_does_not_work_deno_alone_must_do(monkeypatch, tmp_path):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: no permission to create a namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    real = shutil.which
    monkeypatch.setattr(
        "maniple.algorithm.javascript_pool.shutil.which",
        lambda name: str(broken) if name == "bwrap" else real(name),
    )
    with calling(tmp_path) as caller:
        assert caller.sandbox.confinement is Confinement.DENO
    with calling(tmp_path, confinement=Confinement.BUBBLEWRAP) as caller:
        for _ in range(2):
            with pytest.raises(AlgorithmError, match="does not start here: .*no permission"):
                caller.says("1")


def test_without_deno_the_error_names_the_extra(monkeypatch):
    def none(*_):
        raise javascript_command.no_deno()

    monkeypatch.setattr("maniple.algorithm.javascript_pool.find_deno", none)
    sandbox = JavascriptSandbox()
    with pytest.raises(MissingExtraError, match=r"pip install 'maniple\[algorithm\]'"):
        _ = sandbox.confinement
    sandbox.close()


def test_deno_is_found_beside_the_interpreter_or_in_the_path(monkeypatch, tmp_path):
    monkeypatch.setattr(javascript_command, "_of_wheel", lambda: None)
    program = tmp_path / "deno"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert find_deno() == str(program)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "elsewhere" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_deno() == str(program)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingExtraError):
        find_deno()
