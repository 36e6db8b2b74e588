import io
import zipfile
from pathlib import Path

import pytest

from maniple.algorithm.blobs import Blobs, digest_of
from maniple.algorithm.kind import MAGIC
from maniple.algorithm.package import Package, pack, read_package, unpack, zip_of
from maniple.algorithm.shelf import Shelf, cache_folder, home_folder
from maniple.errors import AlgorithmError, StorageError

DATA = zip_of({"hello.txt": b"hello"})
FULL = Package("kmeans", "0.0.1", MAGIC, b"onmessage = 1", DATA)
BARE = Package("fit-2d", "1.0.0-rc1", MAGIC + b"\0\0")


class TestPackage:
    @pytest.mark.parametrize("package", [FULL, BARE])
    def test_what_was_packed_is_unpacked(self, package):
        assert unpack(pack(package), "x.zip") == package

    def test_the_same_package_makes_the_same_bytes(self):
        assert pack(FULL) == pack(FULL)

    def test_it_holds_files_of_its_name_and_version(self):
        with zipfile.ZipFile(io.BytesIO(pack(FULL))) as archive:
            assert sorted(archive.namelist()) == [
                "kmeans-0.0.1.data.zip",
                "kmeans-0.0.1.js",
                "kmeans-0.0.1.wasm",
            ]

    def test_a_call_names_its_parts_by_digest(self):
        code = FULL.code
        assert code.name == "kmeans@0.0.1"
        assert code.digests == [digest_of(MAGIC), digest_of(b"onmessage = 1"), digest_of(DATA)]
        assert BARE.code.digests == [digest_of(BARE.wasm)]

    def test_files_in_a_folder_of_the_zip_are_found(self):
        data = zip_of({"build/a-1.0.wasm": MAGIC, "build/a-1.0.js": b"j"})
        assert unpack(data, "a.zip") == Package("a", "1.0", MAGIC, b"j")

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "not a package"),
            (b"PK nonsense", "not a package"),
            (zip_of({"readme": b""}), "holds no file NAME-VERSION.wasm"),
            (zip_of({"a b-1.wasm": b""}), "bad name"),
            (pack(FULL)[:-30], "not a package"),
        ],
    )
    def test_what_is_no_package_is_refused_in_one_line(self, data, message):
        with pytest.raises(AlgorithmError, match=message):
            unpack(data, "x.zip")

    def test_a_flipped_byte_is_noticed(self):
        whole = pack(Package("a", "1", MAGIC + bytes(range(256)) * 4))
        for at in range(len(whole)):
            data = bytearray(whole)
            data[at] ^= 0xFF
            try:
                package = unpack(bytes(data), "x.zip")
            except AlgorithmError as error:
                assert "\n" not in str(error)
            else:
                # a byte that says when or by whom; what is inside is whole
                assert package.wasm == MAGIC + bytes(range(256)) * 4

    def test_another_name_than_announced_is_refused(self):
        with pytest.raises(AlgorithmError, match=r"holds kmeans-0\.0\.1\.wasm, not kmeans-0\.0\.2"):
            unpack(pack(FULL), "x.zip", stem="kmeans-0.0.2")

    def test_a_zip_bomb_is_refused_before_it_is_unpacked(self, monkeypatch):
        monkeypatch.setattr("maniple.algorithm.package.LARGEST", 1000)
        with pytest.raises(AlgorithmError, match="larger than"):
            unpack(pack(Package("a", "1", MAGIC + bytes(2000))), "x.zip")

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(AlgorithmError, match=r"none\.zip: No such file"):
            read_package(str(tmp_path / "none.zip"))

    def test_its_parts_are_put_where_a_sandbox_reads_them(self, tmp_path):
        parts = FULL.unpack(Blobs(str(tmp_path / "blobs")), str(tmp_path / "cache"))
        assert Path(parts.wasm).read_bytes() == MAGIC
        assert Path(parts.loader).read_bytes() == b"onmessage = 1"
        assert Path(parts.data).read_bytes() == DATA
        bare = BARE.unpack(Blobs(str(tmp_path / "blobs")), str(tmp_path / "cache"))
        assert (bare.loader, bare.data) == (None, None)


class TestBlobs:
    def test_bytes_are_kept_by_their_digest(self, tmp_path):
        blobs = Blobs(str(tmp_path / "b"))
        digest = blobs.put(b"abc")
        assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert digest in blobs
        assert blobs.get(digest) == b"abc"
        assert blobs.put(b"abc") == digest
        assert blobs.get("0" * 64) is None

    @pytest.mark.parametrize("name", ["", "../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
    def test_what_is_no_digest_is_never_a_path(self, tmp_path, name):
        blobs = Blobs(str(tmp_path))
        with pytest.raises(ValueError, match="not a digest"):
            blobs.get(name)

    def test_a_folder_that_cannot_be_made_is_one_line(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError, match="Not a directory"):
            Blobs(str(tmp_path / "file" / "b")).put(b"abc")


class TestShelf:
    @pytest.fixture
    def shelf(self, tmp_path):
        return Shelf([str(tmp_path / "build"), str(tmp_path / "home")])

    def test_what_was_added_is_found_by_its_name(self, shelf):
        shelf.add(pack(FULL))
        shelf.add(pack(BARE))
        assert shelf.find("kmeans@0.0.1") == FULL
        assert shelf.find("fit-2d") == BARE
        assert list(shelf.names()) == ["fit-2d", "kmeans"]

    def test_without_a_version_the_latest_is_taken(self, shelf):
        for version in ("0.0.9", "0.0.10", "0.0.2"):
            shelf.add(pack(Package("a", version, MAGIC)))
        assert shelf.find("a").version == "0.0.10"

    def test_a_build_of_this_folder_comes_first(self, shelf, tmp_path):
        shelf.add(pack(FULL))
        (tmp_path / "build").mkdir()
        newer = Package("kmeans", "0.0.1", MAGIC + b"\0\0")
        (tmp_path / "build" / "kmeans-0.0.1.zip").write_bytes(pack(newer))
        (tmp_path / "build" / "kmeans-0.0.1.data.zip").write_bytes(DATA)
        assert shelf.find("kmeans") == newer

    def test_a_path_is_a_package_too(self, shelf, tmp_path):
        path = tmp_path / "else.zip"
        path.write_bytes(pack(FULL))
        assert shelf.find(str(path)) == FULL

    def test_a_version_never_changes(self, shelf):
        shelf.add(pack(FULL))
        shelf.add(pack(FULL))
        with pytest.raises(AlgorithmError, match="raise the version"):
            shelf.add(pack(Package("kmeans", "0.0.1", MAGIC + b"\0\0")))

    def test_who_is_not_here_is_told_with_who_is(self, shelf):
        with pytest.raises(AlgorithmError, match="no algorithm kmeans in"):
            shelf.find("kmeans")
        shelf.add(pack(FULL))
        with pytest.raises(AlgorithmError, match="there are: kmeans"):
            shelf.find("other")
        with pytest.raises(AlgorithmError, match=r"no version 9 of kmeans; there are: 0\.0\.1"):
            shelf.find("kmeans@9")

    def test_the_folders_are_the_users_own(self):
        assert home_folder({"MANIPLE_ALGORITHMS": "/a"}) == "/a"
        assert home_folder({"XDG_DATA_HOME": "/d"}) == "/d/maniple/algorithms"
        assert cache_folder({"MANIPLE_CACHE": "/c"}) == "/c"
        assert cache_folder({"XDG_CACHE_HOME": "/c"}) == "/c/maniple"
        assert home_folder({}).endswith("/.local/share/maniple/algorithms")
        assert cache_folder({}).endswith("/.cache/maniple")
