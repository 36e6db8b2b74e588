"""The registry over HTTP, as the earlier platform's programs use it."""

import json

import httpx
import pytest

from maniple.algorithm.blobs import Blobs, digest_of
from maniple.algorithm.package import Package, pack
from maniple.algorithm.shelf import Shelf
from maniple.errors import StorageError
from maniple.hub.registry import AlgorithmForm, ShelfRegistry

ALGORITHMS = "/api/package_registry/algorithms/"
HEADERS = {"Authorization": "Bearer any"}


def module(mark):
    """Make a module of its own: an empty custom section with a mark in it."""
    return b"\0asm\1\0\0\0\0" + bytes([1 + len(mark), len(mark)]) + mark


@pytest.fixture
def client(hub):
    with httpx.Client(base_url=hub.url, headers=HEADERS, trust_env=False, timeout=60) as client:
        yield client


def add(client, name, **more):
    form = {"name": name, "is_public": True, "cost": 1.5, "charge_schema": "PER_MINUTE", **more}
    return client.post(ALGORITHMS, json={"algorithm": form})


def push(client, key, package, version=None, metadata=None):
    version = version or package.version
    form = json.dumps({"name": version, "metadata": metadata or {}})
    files = {"package": (f"{package.name}-{package.version}.zip", pack(package))}
    return client.post(f"{ALGORITHMS}{key}/versions", data={"version": form}, files=files)


def test_an_algorithm_is_published_shown_and_changed(client):
    answer = add(client, "first")
    assert answer.status_code == 201
    algorithm = answer.json()["data"]
    assert algorithm.pop("inserted_at")
    key = algorithm.pop("id")
    assert algorithm == {
        "name": "first",
        "is_public": True,
        "cost": 1.5,
        "charge_schema": "PER_MINUTE",
        "versions": [],
    }
    shown = client.get(f"{ALGORITHMS}{key}").json()["data"]
    assert shown["name"] == "first"
    change = {"algorithm": {"cost": 2, "is_public": False}}
    assert client.put(f"{ALGORITHMS}{key}", json=change).json()["data"]["cost"] == 2
    assert client.get(f"{ALGORITHMS}{key}").json()["data"]["is_public"] is False
    assert client.get(f"{ALGORITHMS}{key}").json()["data"]["charge_schema"] == "PER_MINUTE"


def test_algorithms_are_listed_all_or_by_name(client):
    add(client, "listed-a")
    add(client, "listed-b")
    for path in (ALGORITHMS, ALGORITHMS.rstrip("/")):
        names = {each["name"] for each in client.get(path).json()["data"]}
        assert {"listed-a", "listed-b"} <= names
    found = client.get(ALGORITHMS, params={"name": "listed-b"}).json()["data"]
    assert [each["name"] for each in found] == ["listed-b"]
    assert client.get(ALGORITHMS, params={"name": "nothing"}).json() == {"data": []}


def test_a_version_is_pushed_and_its_parts_can_be_fetched(client):
    key = add(client, "parts").json()["data"]["id"]
    package = Package("parts", "0.0.1", module(b"p"), b"// js", None)
    answer = push(client, key, package, metadata={"license": "MIT"})
    assert answer.status_code == 201
    version = answer.json()["data"]
    assert version["name"] == "0.0.1"
    assert version["metadata"] == {"license": "MIT"}
    assert version["inserted_at"]
    assert version["hash"] == digest_of(pack(package))
    assert client.get(version["wasm_url"]).content == package.wasm
    assert client.get(version["loader_url"]).content == b"// js"
    assert version["data_url"] is None
    listed = client.get(f"{ALGORITHMS}{key}/versions").json()["data"]
    assert listed == [version]
    shown = client.get(f"{ALGORITHMS}{key}").json()["data"]
    assert shown["versions"] == [version]


def test_versions_are_in_their_order_and_a_name_finds_the_latest(client):
    key = add(client, "order").json()["data"]["id"]
    for version in ("0.0.10", "0.0.9", "0.0.2"):
        push(client, key, Package("order", version, module(version.encode())))
    (found,) = client.get(ALGORITHMS, params={"name": "order"}).json()["data"]
    names = [version["name"] for version in found["versions"]]
    assert names == ["0.0.2", "0.0.9", "0.0.10", "latest"]
    assert found["versions"][-1]["hash"] == found["versions"][-2]["hash"]
    assert "latest" not in {
        version["name"] for version in client.get(f"{ALGORITHMS}{key}/versions").json()["data"]
    }


def test_a_version_never_changes(client):
    key = add(client, "fixed").json()["data"]["id"]
    package = Package("fixed", "1.0.0", module(b"a"))
    assert push(client, key, package).status_code == 201
    assert push(client, key, package).status_code == 201
    answer = push(client, key, Package("fixed", "1.0.0", module(b"b")))
    assert answer.status_code == 422
    assert "a version never changes" in answer.json()["errors"]["package"][0]
    (version,) = client.get(f"{ALGORITHMS}{key}/versions").json()["data"]
    assert client.get(version["wasm_url"]).content == package.wasm


def test_a_package_on_the_shelf_is_published_by_that(hub, client):
    folder = hub.folder / "build"
    folder.mkdir(exist_ok=True)
    package = Package("shelved", "0.0.1", module(b"s"), None, b"zip")
    (folder / "shelved-0.0.1.zip").write_bytes(pack(package))
    (folder / "damaged-0.0.1.zip").write_bytes(b"no zip")
    (found,) = client.get(ALGORITHMS, params={"name": "shelved"}).json()["data"]
    version = found["versions"][0]
    assert version["code"] == {
        "wasm": digest_of(package.wasm),
        "loader": None,
        "data": digest_of(b"zip"),
    }
    assert client.get(version["data_url"]).content == b"zip"
    # the earlier client cannot do without a loader
    assert client.get(version["loader_url"]).text.startswith("//")
    assert push(client, found["id"], package).status_code == 201


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"name": "../x"}, "name"),
        ({"name": ""}, "name"),
        ({"charge_schema": "PER_LIFE"}, "charge_schema"),
        ({"cost": -1}, "cost"),
        ({"cost": "much"}, "algorithm"),
        ({"name": "taken"}, "name"),
    ],
)
def test_what_cannot_be_an_algorithm_is_refused_by_field(client, form, field):
    add(client, "taken")
    answer = add(client, form.pop("name", "wrong"), **form)
    assert answer.status_code == 422
    assert list(answer.json()["errors"]) == [field]


def test_what_cannot_be_a_version_is_refused_by_field(client):
    key = add(client, "refused").json()["data"]["id"]
    package = Package("refused", "0.0.1", module(b"r"))
    for answer, field in (
        (push(client, key, package, version="0.0.2"), "package"),
        (push(client, key, package, version="../1"), "name"),
        (push(client, key, Package("other", "0.0.1", module(b"o"))), "package"),
        (client.post(f"{ALGORITHMS}{key}/versions", data={"version": "{}"}), "package"),
        (client.post(f"{ALGORITHMS}{key}/versions", json={}), "version"),
        (client.post(ALGORITHMS, content=b"{"), "algorithm"),
        (client.post(ALGORITHMS, json={}), "algorithm"),
        (client.put(f"{ALGORITHMS}{key}", json={"algorithm": {"cost": []}}), "algorithm"),
    ):
        assert answer.status_code == 422, answer.text
        assert list(answer.json()["errors"]) == [field]
    assert client.get(f"{ALGORITHMS}{key}/versions").json() == {"data": []}


def test_what_is_not_there_is_not_found(client):
    for path in (
        "nothing",
        f"{ALGORITHMS}nothing",
        "/blobs/x",
        f"/blobs/{'0' * 64}",
        "/blobs/..%2fx",
    ):
        answer = client.get(path)
        assert answer.status_code == 404
        assert list(answer.json()["errors"]) == ["detail"]


def test_everyone_is_the_local_user(client):
    user = client.get("/api/user").json()["data"]
    assert set(user) == {"uuid", "is_guest"}
    assert client.get("/api/account/user", headers={"Authorization": ""}).json()["data"]["uuid"]
    token = client.post("/auth/guest").json()["token"]
    answer = client.get("/api/user", headers={"Authorization": f"Bearer {token}"})
    assert answer.json()["data"]["uuid"] == user["uuid"]
    key = add(client, "owned").json()["data"]["id"]
    (owner,) = client.get(f"{ALGORITHMS}{key}/users").json()["data"]
    assert (owner["uuid"], owner["role"]) == (user["uuid"], "OWNER")
    answer = client.post(f"{ALGORITHMS}{key}/users", json={"user": {"email": "x", "role": "USER"}})
    assert answer.status_code == 422
    assert client.get("/api/account/application_tokens").json() == {"data": []}
    assert client.post("/api/account/personal_access_tokens").json()["data"]["value"]


def test_the_front_page_says_what_is_going_on(client):
    assert client.get("/").text.startswith("maniple hub: workers ")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    registry = ShelfRegistry(Shelf([str(blocked)]), Blobs(str(tmp_path / "blobs")))
    with pytest.raises(StorageError, match=f"cannot write to {blocked}: "):
        registry.add(AlgorithmForm("x"))
