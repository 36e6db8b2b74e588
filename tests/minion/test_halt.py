import pytest

from maniple.errors import UsageError
from maniple.minion.halt import FEW_TASKS, Halt


@pytest.mark.parametrize(
    ("text", "halt"),
    [
        ("never", Halt()),
        ("first", Halt(1)),
        ("7", Halt(7)),
        ("10%", Halt(share=0.1)),
        ("0.5%", Halt(share=0.005)),
    ],
)
def test_a_policy_is_read(text, halt):
    assert Halt.parse(text) == pytest.approx(halt) if halt.share else Halt.parse(text) == halt


@pytest.mark.parametrize("text", ["", "0", "-1", "0%", "101%", "nan%", "inf%", "1.5", "always"])
def test_what_is_no_policy_is_refused(text):
    with pytest.raises(UsageError, match="first, never"):
        Halt.parse(text)


def test_never_is_never_reached():
    assert not Halt().reached(10**6, 10**6, more=False)


def test_a_number_counts_failed_tasks():
    assert not Halt(3).reached(2, 10, more=True)
    assert Halt(3).reached(3, 10, more=True)


def test_a_share_is_one_of_all_tasks():
    assert not Halt(share=0.5).reached(4, 10, more=False)
    assert Halt(share=0.5).reached(5, 10, more=False)
    assert not Halt(share=0.5).reached(0, 0, more=False)


def test_while_tasks_are_still_coming_the_first_few_are_not_judged_by_a_share():
    assert not Halt(share=0.5).reached(5, 5, more=True)
    assert Halt(share=0.5).reached(FEW_TASKS // 2, 60, more=True)
