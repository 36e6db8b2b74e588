"""motivus.yml: what it may say, and the sentence for each wrong key."""

import pytest

from maniple.builders.manifest import manifest_of, read_manifest
from maniple.errors import AlgorithmError

WHOLE = """\
version: 1.0
build:
  compiler: mvcc
  source: src
  filesystem: ./data
  include: [headers]
  options: -O1 '-DNAME=a b'
package:
  name: kmeans
  version: 1.10
  metadata:
    short_description: groups of points
    license: MIT
    author: me
    url: ""
    upstream_url:
    long_description: README.md
"""


@pytest.fixture
def project(tmp_path):
    for name in ("src", "data", "headers"):
        (tmp_path / name).mkdir()
    (tmp_path / "README.md").write_text("# Groups\n\nof points\n")
    (tmp_path / "motivus.yml").write_text(WHOLE)
    return tmp_path


def refusal(text, folder="."):
    with pytest.raises(AlgorithmError) as caught:
        manifest_of(text, f"{folder}/motivus.yml")
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{folder}/")


def with_(build="compiler: mvcc", package="name: a, version: 1.0.0", top="version: 1.0"):
    return f"{top}\nbuild: {{{build}}}\npackage: {{{package}}}\n"


def test_a_whole_manifest_is_read_with_its_folders_made_absolute(project):
    manifest = read_manifest(str(project / "motivus.yml"))
    assert (manifest.name, manifest.folder) == ("kmeans", str(project))
    build = manifest.build
    assert build.compiler == "mvcc"
    assert build.source == str(project / "src")
    assert build.filesystem == str(project / "data")
    assert build.include == (str(project / "headers"),)
    assert build.options == ("-O1", "-DNAME=a b")


def test_a_folder_stands_for_the_file_in_it(project):
    assert read_manifest(str(project)).name == "kmeans"


def test_a_version_keeps_its_zeros(project):
    assert read_manifest(str(project)).version == "1.10"


def test_the_long_description_may_be_a_file(project):
    metadata = read_manifest(str(project)).metadata
    assert metadata["long_description"] == "# Groups\n\nof points\n"
    assert metadata["short_description"] == "groups of points"
    assert metadata["upstream_url"] == ""


def test_the_long_description_may_be_text():
    text = with_(package="name: a, version: 1.0.0, metadata: {long_description: see a.md for more}")
    assert manifest_of(text, "motivus.yml").metadata["long_description"] == "see a.md for more"


def test_what_is_not_said_has_defaults(tmp_path):
    manifest = manifest_of(with_(), f"{tmp_path}/motivus.yml")
    assert manifest.build.source == str(tmp_path)
    assert manifest.build.filesystem is None
    assert manifest.metadata == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "motivus.yml: must hold keys and values, such as `name: kmeans`"),
        ("a", "motivus.yml: must hold keys and values, such as `name: kmeans`"),
        ("a: [1", "motivus.yml, line 1: not YAML: expected ',' or ']', but got '<stream end>'"),
        ("build: {}\npackage: {}", "motivus.yml: version: missing"),
        (with_(top="version: 2.0"), "motivus.yml: version: 2.0 is a format not known here: write 1.0"),
        ("version: 1.0\npackage: {}", "motivus.yml: package.name: missing"),
        ("version: 1.0\nbuild: {}", "motivus.yml: package: missing"),
        (with_(package="name: a"), "motivus.yml: package.version: missing"),
        (with_(build=""), "motivus.yml: build.compiler: missing"),
        (with_(build="compilr: mvcc"), "motivus.yml: build.compilr: no such key; did you mean compiler?"),
        (with_(package="name: [a], version: 1"), "motivus.yml: package.name: must be text"),
        (with_(package="name: a, version: v1"), "motivus.yml: package.version: 'v1' must begin with a digit"),
        (
            with_(build="compiler: mvcc, target: windows"),
            "motivus.yml: build.target: 'windows' is neither wasi nor emscripten",
        ),
        (with_(build="compiler: mvcc, include: {a: b}"), "motivus.yml: build.include: must be a list of words"),
        (with_(build="compiler: mvcc, options: \"'\""), "motivus.yml: build.options: No closing quotation"),
        (with_(package="name: a, version: 1, metadata: [a]"), "motivus.yml: package.metadata: must hold keys and values, such as `name: kmeans`"),
        (
            with_(package="name: a, version: 1, metadata: {long_description: NO.md}"),
            "motivus.yml: package.metadata.long_description: there is no file NO.md: make it, or write the text here",
        ),
    ],
)  # fmt: skip
def test_each_wrong_key_has_its_sentence(text, message):
    assert refusal(text, ".") == message


def test_a_key_that_nobody_knows_is_refused_with_those_there_are():
    assert refusal(with_(top="version: 1.0\nzebra: 1")) == (
        "motivus.yml: zebra: no such key; there are version, build, package"
    )


def test_names_that_could_not_be_files_are_refused():
    message = refusal(with_(package="name: a/b, version: 1.0.0"))
    assert message.startswith("motivus.yml: package.name: bad name of an algorithm 'a/b'")


@pytest.mark.parametrize("key", ["source", "filesystem"])
def test_folders_that_are_not_there_are_named(tmp_path, key):
    message = refusal(with_(build=f"compiler: mvcc, {key}: nowhere"), tmp_path)
    assert message == f"motivus.yml: build.{key}: there is no folder {tmp_path}/nowhere"


def test_without_a_manifest_it_is_said_how_to_begin(tmp_path):
    with pytest.raises(AlgorithmError, match="run this in the project's folder"):
        read_manifest(str(tmp_path))
