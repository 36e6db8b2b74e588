import pytest

from maniple.algorithm.reference import Reference, parse_reference, split_stem, version_key
from maniple.errors import AlgorithmError


def test_a_name_alone_means_the_latest_version():
    assert parse_reference("kmeans") == Reference("kmeans", None)
    assert str(parse_reference("kmeans")) == "kmeans"


def test_a_name_with_a_version_means_that_one():
    assert parse_reference("kmeans@0.0.1") == Reference("kmeans", "0.0.1")
    assert str(parse_reference("kmeans@0.0.1")) == "kmeans@0.0.1"


@pytest.mark.parametrize("text", ["", "@1", "a@", "../a", "a/b", "a@../1", "-a", "a b", "a" * 129])
def test_what_could_not_stand_in_a_files_name_is_refused_in_one_line(text):
    with pytest.raises(AlgorithmError, match="of an algorithm") as caught:
        parse_reference(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stem", "name", "version"),
    [
        ("kmeans-0.0.1", "kmeans", "0.0.1"),
        ("fit-2d-1.0.0", "fit-2d", "1.0.0"),
        ("a-b-1.0.0-rc1", "a-b", "1.0.0-rc1"),
        ("x-3", "x", "3"),
    ],
)
def test_a_files_name_says_name_and_version(stem, name, version):
    assert split_stem(stem) == Reference(name, version)


@pytest.mark.parametrize("stem", ["kmeans", "-1.0", "a-b"])
def test_other_names_say_neither(stem):
    assert split_stem(stem) is None


def test_versions_are_ordered_as_people_do():
    order = ["0.0.9", "0.0.10", "0.1", "1.0.0-rc1", "1.0.0", "1.0.1"]
    assert sorted(order[3:] + order[:3], key=version_key) == order
