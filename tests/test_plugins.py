"""Backends are found by their names, ours without a look at the installed packages."""

import sys
import tomllib
from pathlib import Path

import pytest

from maniple import plugins
from maniple.errors import MissingExtraError, UsageError

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def test_the_entry_points_are_the_built_in_backends():
    declared = {g: t for g, t in PROJECT["entry-points"].items() if g.startswith("maniple.")}
    assert declared == plugins.BUILT_IN


@pytest.mark.parametrize(
    ("group", "name"),
    [(group, name) for group, table in plugins.BUILT_IN.items() for name in table],
)
def test_every_built_in_backend_loads(group, name):
    assert isinstance(plugins.find(group, name), type)


def test_an_unknown_name_lists_those_that_there_are():
    with pytest.raises(UsageError, match=r"no backend 'redsi' among the queues.*memory,.* sqlite"):
        plugins.find("maniple.queues", "redsi")


def test_every_extra_that_an_error_names_exists():
    assert set(plugins.EXTRAS.values()) <= set(PROJECT["optional-dependencies"])
    assert "pip install 'maniple[execo]'" in str(plugins.missing_extra("execo", "the queue"))


def test_of_several_libraries_all_that_are_missing_are_said_in_one_line():
    plugins.need_all({"msgspec": "msgspec"}, "motivus", "a cluster")
    with pytest.raises(MissingExtraError) as error:
        plugins.need_all({"a": "no_a", "msgspec": "msgspec", "b": "no_b"}, "motivus", "a cluster")
    text = "a cluster needs a and b: pip install 'maniple[motivus]' brings all"
    assert str(error.value) == text


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Another package, installed: it adds one good backend and one whose library is missing."""
    (tmp_path / "other_maniple_backends.py").write_text("class Good: pass\n")
    (tmp_path / "other_broken.py").write_text("import a_library_that_is_not_there\n")
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[maniple.queues]\ngood = other_maniple_backends:Good\nbroken = other_broken:Bad\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("other_maniple_backends", None)


@pytest.mark.usefixtures("package")
def test_another_package_can_add_a_backend():
    assert plugins.find("maniple.queues", "good").__name__ == "Good"
    assert "good" in plugins.names("maniple.queues")


@pytest.mark.usefixtures("package")
def test_a_backend_without_its_library_says_what_is_missing():
    with pytest.raises(MissingExtraError, match="a_library_that_is_not_there"):
        plugins.find("maniple.queues", "broken")
