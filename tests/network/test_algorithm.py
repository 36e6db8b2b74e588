"""Algorithms as jobs of a network."""

import array

import pytest

from maniple.algorithm.call import Limits
from maniple.errors import AlgorithmError, UsageError
from maniple.network import AlgorithmJob, Network, load
from maniple.network.live.run import JobError
from networks import counting, run
from small_algorithms import FOREIGN, loaded, need, shelve

TWICE = loaded("twice", "return params[0] * 2;", "0.0.1")
BOTH = loaded("both", "return [params[0] + params[1], params.length];")
TOTAL = loaded("total", "return params[0].reduce((a, b) => a + b, 0);")
FAILS = loaded("fails", "if (params[0] === 2) throw new Error('no such point'); return params[0];")
WORDS = loaded("words", "return args;")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    need("deno")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MANIPLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MANIPLE_ALGORITHMS", str(tmp_path / "home"))


def show(value):
    print(value)


def test_each_block_is_a_call_and_its_value_the_next_block(tmp_path):
    shelve(tmp_path, TWICE)
    network = Network()
    network.add(counting(4), outputs=["n"])
    network.add(AlgorithmJob("twice@0.0.1", ["n"], ["m"]))
    network.add(show, inputs=["m"])
    assert network.jobs[1].name == "twice"
    assert [line.split()[-1] for line in run(network).splitlines()] == ["0", "2", "4", "6"]


def test_several_inputs_are_the_arguments_and_several_outputs_a_list():
    network = Network()
    network.add(counting(3), outputs=["a"])
    network.add(counting(3), outputs=["b"], name="second")
    network.add(AlgorithmJob(BOTH, ["a", "b"], ["sum", "count"]))
    network.add(print, inputs=["sum", "count"], name="show")
    assert [line.split()[-2:] for line in run(network).splitlines()] == [
        ["0", "2"],
        ["2", "2"],
        ["4", "2"],
    ]


def test_arrays_go_as_lists():
    numpy = pytest.importorskip("numpy")

    def arrays():
        yield numpy.arange(4)
        yield numpy.float64(1.5) * numpy.ones(2)
        yield array.array("d", [1, 2])

    network = Network()
    network.add(arrays, outputs=["a"])
    network.add(AlgorithmJob(TOTAL, ["a"], ["sum"]))
    network.add(show, inputs=["sum"])
    assert [line.split()[-1] for line in run(network).splitlines()] == ["6", "3", "3"]


def test_a_source_calls_once_and_takes_words():
    network = Network()
    network.add(AlgorithmJob(WORDS, outputs=["w"], arguments=["-n", 3]))
    network.add(show, inputs=["w"])
    assert "-n" in run(network)


def failure(network):
    with pytest.raises(JobError) as error:
        run(network)
    text = str(error.value)
    assert "\n" not in text
    assert not error.value.trace
    return text


def chain(job):
    network = Network()
    network.add(counting(5), outputs=["n"])
    network.add(job)
    network.add(show, inputs=["m"])
    return network


def test_a_call_that_fails_ends_the_network_with_what_it_said():
    text = failure(chain(AlgorithmJob(FAILS, ["n"], ["m"])))
    assert text.startswith("job fails failed")
    assert "no such point" in text


def test_a_call_that_takes_too_long_ends_the_network():
    endless = loaded("endless", "for (;;) {}")
    text = failure(chain(AlgorithmJob(endless, ["n"], ["m"], limits=Limits(seconds=0.2))))
    assert "time limit of 0.2 s" in text


def test_a_value_that_does_not_fit_the_outputs_is_told():
    network = Network()
    network.add(counting(2), outputs=["n"])
    network.add(AlgorithmJob(TWICE, ["n"], ["m", "o"]))
    network.add(lambda m, o: None, inputs=["m", "o"], name="sink")
    assert "has 2 outputs, and gave int: a list of 2 is needed" in failure(network)


def test_a_block_that_json_cannot_hold_is_told():
    def sets():
        yield float("nan")

    network = Network()
    network.add(sets, outputs=["n"])
    network.add(AlgorithmJob(TWICE, ["n"], ["m"]))
    network.add(show, inputs=["m"])
    assert "twice@0.0.1 cannot be called: param cannot be encoded: NaN" in failure(network)


def test_what_is_missing_is_told_where_the_network_is_made(tmp_path):
    with pytest.raises(AlgorithmError, match="no algorithm kmeans"):
        AlgorithmJob("kmeans", ["n"], ["m"])
    with pytest.raises(AlgorithmError, match="loader must bring"):
        AlgorithmJob(type(TWICE)("bare", "1", FOREIGN), ["n"], ["m"])


def test_a_description_names_algorithms(tmp_path):
    shelve(tmp_path, TWICE, WORDS)
    (tmp_path / "given.py").write_text("def numbers():\n    yield from range(3)\n")
    (tmp_path / "network.yaml").write_text(
        """
jobs:
  numbers: {run: "given:numbers", outputs: n}
  double: {algorithm: twice@0.0.1, inputs: n, outputs: m, with: {limits: {seconds: 90}}}
  sink: {csv: out.csv, inputs: m}
"""
    )
    network = load("network.yaml")
    assert network.jobs[1].limits == Limits(seconds=90)
    run(network)
    assert (tmp_path / "out.csv").read_text() == "m\n0\n2\n4\n"


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("{algorithm: gone, inputs: n}", "job double: no algorithm gone"),
        ("{algorithm: twice, inputs: n, with: {limits: {second: 5}}}", "no key 'second'"),
        ("{algorithm: twice, inputs: n, with: {limits: {seconds: x}}}", "double, limits: Expected"),
        ("{algorithm: twice, inputs: n, with: {rounds: 5}}", "double, with:"),
        ("{algorithm: twice, program: x, inputs: n}", "algorithm: NAME@VERSION"),
    ],
)
def test_a_description_that_makes_no_sense_is_told(tmp_path, job, said):
    shelve(tmp_path, TWICE)
    (tmp_path / "network.yaml").write_text(f"jobs:\n  double: {job}\n")
    with pytest.raises(UsageError) as error:
        load("network.yaml")
    assert said in str(error.value)
