"""tests.yml: calls of an algorithm, and what must come of them."""

import pytest

from maniple.algorithm.call import Answer
from maniple.builders.cases import Case, judge, read_cases, same
from maniple.errors import AlgorithmError


def read(folder, text):
    (folder / "tests.yml").write_text(text)
    return read_cases(str(folder / "tests.yml"))


def refusal(folder, text):
    with pytest.raises(AlgorithmError) as caught:
        read(folder, text)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{folder}/")


def test_cases_are_read_and_those_without_a_name_are_numbered(tmp_path):
    first, second = read(
        tmp_path,
        "- {params: [[1, 2], a], value: null}\n- {name: words, arguments: \"-v 'a b'\", stdout: x}\n",
    )
    assert (first.name, first.params, first.value) == ("case 1", [[1, 2], "a"], None)
    assert (second.name, second.words) == ("words", ["-v", "a b"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "tests.yml holds no cases: such as `- {params: [1, 2], value: 3}`"),
        ("a: b", "tests.yml: Expected `array`, got `object`"),
        ("- {parms: []}", "tests.yml: Object contains unknown field `parms` - at `$[0]`"),
        ("- {params: 3}", "tests.yml: Expected `array`, got `int` - at `$[0].params`"),
        ('- {arguments: "\'"}', "tests.yml: No closing quotation"),
    ],
)
def test_each_wrong_case_has_its_sentence(tmp_path, text, message):
    assert refusal(tmp_path, text) == message


def test_broken_yaml_is_said_with_its_line(tmp_path):
    assert "line 1" in refusal(tmp_path, "- [")


def test_without_the_file_it_is_said_what_to_write(tmp_path):
    with pytest.raises(AlgorithmError, match="write a list of cases"):
        read_cases(str(tmp_path / "tests.yml"))


@pytest.mark.parametrize(
    ("wanted", "found", "tolerance", "equal"),
    [
        ([1, 2.0], [1.0, 2], 0, True),
        ([0.1 + 0.2], [0.3], 0, False),
        ([0.1 + 0.2], [0.3], 1e-9, True),
        ({"a": [1]}, {"a": [1.05]}, 0.1, True),
        ({"a": 1}, {"b": 1}, 0, False),
        ([1], [1, 2], 0, False),
        (True, 1, 0, False),
        ("1", 1, 0, False),
        (None, None, 0, True),
        ("a", "a", 0, True),
    ],
)
def test_values_are_compared_as_json_with_a_tolerance(wanted, found, tolerance, equal):
    assert same(wanted, found, tolerance) is equal


def test_an_answer_that_is_as_it_must_be_has_no_differences(tmp_path):
    (tmp_path / "want.txt").write_bytes(b"left")
    case = Case(value=[1], stdout="said\n", results={"/out": "want.txt"})
    answer = Answer(ok=True, value=b"[1]", stdout=b"said\n", files={"/out": b"left"})
    assert judge(case, answer, str(tmp_path)) == []


def test_each_difference_is_told(tmp_path):
    (tmp_path / "want.txt").write_bytes(b"left")
    case = Case(value=[1], stdout="said", results={"/out": "want.txt", "/gone": "want.txt"})
    answer = Answer(ok=True, value=b"[2]", stdout=b"else", files={"/out": b"other"})
    assert judge(case, answer, str(tmp_path)) == [
        "the value is [2], not [1]",
        'it printed "else", not "said"',
        "/out is not as want.txt",
        "it left no /gone",
    ]


def test_a_failure_is_a_difference_unless_it_must_fail(tmp_path):
    failure = Answer(ok=False, cause="exit 3", error="exit status 3", stderr=b"no points\n")
    assert judge(Case(value=1), failure, str(tmp_path)) == ["it failed: exit status 3"]
    assert judge(Case(fails="no points"), failure, str(tmp_path)) == []
    assert judge(Case(fails="exit 3"), failure, str(tmp_path)) == []
    (told,) = judge(Case(fails="time limit"), failure, str(tmp_path))
    assert told.startswith("it failed otherwise: exit 3")
    (told,) = judge(Case(fails="exit 3"), Answer(ok=True), str(tmp_path))
    assert told == "it did not fail, and must: exit 3"
