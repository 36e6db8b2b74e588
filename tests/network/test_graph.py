"""A network is checked before it runs; each error names job and pipe."""

import pytest

from maniple.errors import UsageError
from maniple.network import Job, Network, Pipe


def network(*jobs):
    made = Network("n")
    for name, function, inputs, outputs in jobs:
        made.add(function, inputs=inputs, outputs=outputs, name=name)
    return made


def source():
    yield 1


def one(a):
    return a


def two(a, b):
    return a


def typed_source() -> str:
    return "x"


def typed_sink(a: bytes) -> None:
    pass


WRONG = {
    "no jobs": ((), "network n has no jobs"),
    "no reader": ((("s", source, [], ["p"]),), "pipe p: s writes it, no job reads it"),
    "no writer": ((("t", one, ["p"], []),), "pipe p: t reads it, no job writes it"),
    "two writers": (
        (("s", source, [], ["p"]), ("u", source, [], ["p"]), ("t", one, ["p"], [])),
        "pipe p has two writers, s and u",
    ),
    "two readers": (
        (("s", source, [], ["p"]), ("t", one, ["p"], []), ("u", one, ["p"], [])),
        "pipe p has two readers, t and u",
    ),
    "other kinds": (
        (("s", source, [], [Pipe("p", encoding="json")]), ("t", one, ["p"], [])),
        "pipe p: s writes Pipe('p', json), t reads Pipe('p', pickle)",
    ),
    "a cycle": (
        (("s", source, [], ["p"]), ("t", two, ["p", "back"], ["q"]), ("u", one, ["q"], ["back"])),
        "the jobs wait for each other: t -(q) -> u -(back) -> t",
    ),
    "too many inputs": (
        (("s", source, [], ["p", "q"]), ("t", one, ["p", "q"], [])),
        "job t: its function (a) does not take its inputs (p, q)",
    ),
    "optional only": (
        (("s", source, [], ["p"]), ("t", one, [Pipe("p", optional=True)], [])),
        "job t has optional inputs only (p)",
    ),
    "no pipes": ((("s", source, [], []),), "job s has neither inputs nor outputs"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_run_is_said_before_it_runs(case):
    jobs, said = WRONG[case]
    with pytest.raises(UsageError) as caught:
        network(*jobs).check()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_types_that_do_not_fit_are_said():
    def texts() -> str:
        return "x"

    made = network(("s", source, [], ["p"]), ("t", one, ["p"], ["q"]), ("u", typed_sink, ["q"], []))
    made.check()
    made = network(("s", source, [], ["p"]))
    made.add(lambda p: p, inputs=["p"], outputs=["q"], name="t")
    made.jobs[-1].function = _to_text
    made.add(typed_sink, inputs=["q"], name="u")
    with pytest.raises(UsageError, match="pipe q: t writes str, u reads bytes"):
        made.check()


def _to_text(p) -> str:
    return str(p)


def test_a_cycle_with_an_optional_pipe_may_run():
    network(
        ("s", source, [], ["p"]),
        ("t", two, ["p", Pipe("back", optional=True)], ["q"]),
        ("u", one, ["q"], ["back"]),
    ).check()


def test_jobs_of_the_same_name_are_numbered():
    made = network(("s", source, [], ["p"]), ("s", one, ["p"], ["q"]), ("s", one, ["q"], []))
    assert [job.name for job in made.jobs] == ["s", "s-2", "s-3"]


def test_what_is_no_job_is_said():
    with pytest.raises(UsageError, match="a job needs a function or a Job, not 3"):
        Network().add(3)
    with pytest.raises(UsageError, match=r"give its pipes to Job\(\.\.\.\)"):
        Network().add(Job(outputs=["p"]), outputs=["q"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"encoding": "xml"}, "no encoding 'xml': there are bytes, json, lines, pickle"),
        ({"blocks": 0}, "blocks must be at least 1, not 0"),
        ({"count": 0}, "count must be at least 1"),
    ],
)
def test_a_pipe_that_makes_no_sense_is_said(options, said):
    with pytest.raises(UsageError, match=f"pipe p: {said}"):
        Pipe("p", **options)
