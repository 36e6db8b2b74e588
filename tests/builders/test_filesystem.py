"""The zip of the files that a call starts with."""

import io
import os
import zipfile

import pytest

from maniple.builders.filesystem import zip_filesystem
from maniple.errors import AlgorithmError


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "files"
    for path, text in {
        "b.txt": "b",
        "a/deep/c.txt": "c",
        ".git/config": "x",
        "build/old": "y",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "empty").mkdir()
    (root / "target").mkdir()
    (root / "target" / "object").write_text("z")
    return root


def entries(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_it_holds_files_and_empty_folders_but_nothing_that_tools_made(folder):
    found = entries(zip_filesystem(str(folder), without=[str(folder / "build")]))
    assert found == {"a/deep/c.txt": b"c", "b.txt": b"b", "empty/": b""}


def test_the_same_files_give_the_same_bytes_whenever_they_were_written(folder):
    first = zip_filesystem(str(folder))
    for path in folder.rglob("*"):
        os.utime(path, (10**9, 10**9))
        path.chmod(0o700)
    assert zip_filesystem(str(folder)) == first


def test_a_link_to_a_file_inside_is_followed(folder):
    (folder / "link").symlink_to("b.txt")
    assert entries(zip_filesystem(str(folder)))["link"] == b"b"


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd"])
def test_a_link_that_leads_out_is_refused(folder, target):
    (folder.parent / "secret").write_text("secret")
    (folder / "link").symlink_to(target)
    with pytest.raises(AlgorithmError, match="link of the file system .* leads out of it"):
        zip_filesystem(str(folder))


def test_a_link_to_a_folder_outside_is_not_entered(folder):
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "secret").write_text("secret")
    (folder / "way").symlink_to("../other")
    assert not [name for name in entries(zip_filesystem(str(folder))) if "secret" in name]
