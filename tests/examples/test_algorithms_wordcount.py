"""The example in C++: a preloaded file in, files of results out."""

import base64
import csv
import io
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from classic_worker import in_chromium, in_deno, message_of
from loop_back import drive, loop_back
from maniple.algorithm.kind import Kind
from projects import built, cases_pass

EXAMPLE = Path(__file__).parents[2] / "examples" / "wordcount-cpp"
TEXT = (EXAMPLE / "text.txt").read_text()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wordcount") / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("build", ".motivus"))
    return folder


@pytest.fixture(scope="module")
def made(project):
    return built(project, project / "build")


def counted():
    words = re.findall(r"[^\W\d_]+", TEXT.lower())
    common = set((EXAMPLE / "filesystem" / "common.txt").read_text().split())
    ranked = Counter(word for word in words if word not in common)
    first = sorted(ranked.items(), key=lambda item: (-item[1], item[0]))[:5]
    return words, ranked, first


def rows(text):
    return [(word, int(count)) for word, count in list(csv.reader(io.StringIO(text)))[1:]]


def test_its_cases_pass(project):
    cases_pass(project)


@pytest.mark.parametrize("worker", [in_deno, in_chromium])
def test_it_counts_in_a_browser_too(tmp_path, made, worker):
    package = made.package
    assert package.kind is Kind.WASI
    paths = ["/results/words.csv", "/results/lengths.csv"]
    reply = worker(
        tmp_path,
        package.loader,
        message_of(
            package.wasm,
            arguments=["/text", "5"],
            preload_files={"/text": base64.b64encode(TEXT.encode()).decode()},
            result_files=dict.fromkeys(paths, "here"),
            data_link=f"data:application/zip;base64,{base64.b64encode(package.data).decode()}",
        ),
    )
    words, ranked, first = counted()
    assert reply.value == {"words": len(words), "different": len(ranked), "first": first[0][0]}
    assert rows(reply.files[paths[0]].decode()) == first
    lengths = Counter(str(len(word)) for word in words)
    assert dict(rows(reply.files[paths[1]].decode())) == lengths


def test_its_driver_leaves_the_files_where_it_was_told(tmp_path, project, made):
    with loop_back(project, tmp_path / "shelf") as environment:
        printed = drive(
            project / "driver.py",
            str(project / "text.txt"),
            "deep/results",
            folder=tmp_path,
            environment=environment,
        )
    words, ranked, first = counted()
    assert printed.startswith(f"{len(words)} words, {len(ranked)} different")
    assert rows((tmp_path / "deep" / "results" / "words.csv").read_text()) == first
    assert (tmp_path / "deep" / "results" / "lengths.csv").exists()


def test_it_is_built_to_the_same_bytes_in_another_folder(tmp_path, project, made):
    again = tmp_path / "again"
    shutil.copytree(project, again, ignore=shutil.ignore_patterns("build", ".motivus"))
    assert built(again, tmp_path / "b").digest == made.digest
