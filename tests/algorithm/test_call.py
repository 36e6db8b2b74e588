import pytest

from maniple.algorithm.call import Answer, lean, whole


@pytest.mark.parametrize("stdout", [b"[1, 2]", b"[1, 2]\n", b"[1, 2]\n more"])
def test_what_was_printed_as_the_value_travels_once(stdout):
    answer = Answer(ok=True, value=b"[1, 2]", stdout=stdout)
    sent = lean(answer)
    assert sent.stdout == stdout[6:]
    assert whole(sent) == answer
    assert lean(sent) == sent


@pytest.mark.parametrize(
    "answer",
    [
        Answer(ok=True, value=b"1", stdout=b" 1"),
        Answer(ok=True, value=b"1"),
        Answer(ok=True, stdout=b"null"),
        Answer(ok=False, stdout=b"text", stderr=b"error", cause="exit 3"),
    ],
)
def test_other_output_travels_as_it_is(answer):
    assert lean(answer) == answer == whole(answer)
