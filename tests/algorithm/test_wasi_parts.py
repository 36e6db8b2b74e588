"""The parts of the WASI sandbox that need no process: the watch, the kept code, the folder."""

import io
import os

import pytest

from conformance.sandbox_suite import zip_with
from maniple.algorithm.call import Limits
from maniple.algorithm.ends import Over, over, size
from maniple.algorithm.wasi_folder import Folder, FolderError, parts_of
from maniple.algorithm.wasi_kept import KeptCode
from maniple.algorithm.wasi_watch import LOOK_SECONDS, Watch

# sentences


def test_limits_are_named_with_their_value():
    limits = Limits(seconds=1.5, memory=64 << 20, output=1000, disk=3 << 30, files=10)
    assert over(Over.TIME, limits).error == "ran longer than the time limit of 1.5 s, and was ended"
    assert "memory limit of 64 MiB" in over(Over.MEMORY, limits).error
    assert "output limit of 1000 bytes" in over(Over.OUTPUT, limits).error
    assert "disk limit of 3 GiB" in over(Over.DISK, limits).error
    assert "disk limit of 10 files" in over(Over.DISK, limits, files=True).error
    assert over(Over.DISK, limits).cause == "disk limit"
    assert size(1536) == "1536 bytes"


# the watch


def test_a_watch_ends_a_call_at_its_time_limit_and_not_before():
    watch = Watch(Limits(seconds=2))
    assert watch.decide(1e9, cancelled=False) is None
    assert watch.patience(0) is None
    watch.begin(100)
    assert watch.patience(100) == 2
    assert watch.decide(101.9, cancelled=False) is None
    assert watch.decide(102, cancelled=False).cause == "time limit"


def test_a_watch_without_a_limit_waits_for_ever():
    watch = Watch(Limits(seconds=None))
    watch.begin(0)
    assert watch.decide(1e12, cancelled=False) is None
    assert watch.patience(5) is None


def test_a_cancel_goes_before_all_else():
    watch = Watch(Limits(seconds=1))
    assert watch.decide(0, cancelled=True).cause == "cancelled"
    watch.begin(0)
    assert watch.decide(5, cancelled=True).cause == "cancelled"


def test_a_watch_looks_at_the_folder_now_and_then_while_the_guest_runs():
    watch = Watch(Limits(seconds=10, disk=100, files=3))
    watch.begin(0)
    assert not watch.wants_look(5)
    watch.started(5)
    assert not watch.wants_look(5)
    assert watch.patience(5) == pytest.approx(LOOK_SECONDS)
    assert watch.wants_look(5.1)
    assert not watch.wants_look(5.1)
    assert watch.used(100, 3) is None
    assert watch.used(101, 3).cause == "disk limit"
    assert "3 files" in watch.used(0, 4).error


# kept code


@pytest.fixture
def kept(tmp_path):
    return KeptCode(str(tmp_path / "kept"), "50.0-x86_64")


def test_code_is_found_again(kept, tmp_path):
    assert kept.find("ab" * 32) is None
    kept.keep("ab" * 32, b"code")
    assert kept.find("ab" * 32) == b"code"
    assert KeptCode(str(tmp_path / "kept"), "51.0-x86_64").find("ab" * 32) is None
    kept.drop("ab" * 32)
    assert kept.find("ab" * 32) is None
    assert os.listdir(tmp_path / "kept") == []


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_code_that_others_could_have_written_is_not_taken(kept, tmp_path, mode):
    kept.keep("ab" * 32, b"code")
    (path,) = (tmp_path / "kept").iterdir()
    path.chmod(mode)
    assert kept.find("ab" * 32) is None
    path.chmod(0o600)
    assert kept.find("ab" * 32) == b"code"
    (tmp_path / "kept").chmod(0o777)
    assert kept.find("ab" * 32) is None


def test_code_behind_a_link_is_not_taken(kept, tmp_path):
    kept.keep("ab" * 32, b"code")
    (path,) = (tmp_path / "kept").iterdir()
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert kept.find("ab" * 32) is None


def test_a_digest_cannot_lead_out_of_the_folder(kept):
    with pytest.raises(ValueError, match="no name for a file"):
        kept.find("../" * 3 + "x")


# the folder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "box").mkdir()
    return Folder(str(tmp_path / "box"))


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/a/b", ["a", "b"]),
        ("//a/./b/", ["a", "b"]),
        ("/..a/b..", ["..a", "b.."]),
        ("a", None),
        ("", None),
        ("/", None),
        ("/a/..", None),
        ("/../a", None),
        ("/a\0b", None),
    ],
)
def test_paths_of_a_guest_are_split_and_do_not_climb(path, parts):
    assert parts_of(path) == parts


def test_a_folder_is_filled_counted_and_emptied(folder):
    data = io.BytesIO(zip_with({"a/b/c": b"x" * 5000, "a/empty/": b""}))
    folder.fill(data, {"/a/b/d": b"y"}, Limits())
    held, files = folder.usage()
    assert held >= 5000
    assert files == 5
    assert folder.collect(["/a/b/d", "/a/b", "/none"], Limits()) == (
        {"/a/b/d": b"y"},
        ["/a/b", "/none"],
    )
    folder.empty()
    assert os.listdir(folder.root) == []
    assert os.path.isdir(folder.root)


def test_pipes_links_and_odd_names_are_removed_and_no_result(folder):
    os.mkfifo(f"{folder.root}/pipe")
    os.symlink("/etc/passwd", f"{folder.root}/link")
    os.makedirs(f"{folder.root}/\x010/in")
    os.makedirs(f"{folder.root}/x/\x010")
    open(f"{folder.root}/\x011", "w").close()
    assert folder.collect(["/pipe", "/link"], Limits()) == ({}, ["/pipe", "/link"])
    folder.empty()
    assert os.listdir(folder.root) == []


def test_what_the_zip_says_is_checked_before_anything_is_written(folder):
    for files, links in (({"ok": b"", "../x": b""}, {}), ({"ok": b""}, {"link": "ok"})):
        with pytest.raises(FolderError) as caught:
            folder.fill(io.BytesIO(zip_with(files, links)), {}, Limits())
        assert caught.value.end.cause == "bad file system"
        assert os.listdir(folder.root) == []
