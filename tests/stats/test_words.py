import time

import pytest

from maniple.stats import words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (1.5e-6, "1.5 µs"),
        (0.000999, "999 µs"),
        (0.0009999, "1 ms"),
        (0.25, "250 ms"),
        (0.99999, "1 s"),
        (12.34, "12.3 s"),
        (59.99, "1m 00s"),
        (245, "4m 05s"),
        (3599.9, "1h 00m"),
        (7800, "2h 10m"),
        (86399, "1d 0h"),
        (273600, "3d 4h"),
    ],
)
def test_durations_carry_three_digits_and_never_sixty_of_anything(seconds, text):
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0, "0/s"), (1234.5, "1,234/s"), (36.24, "36.2/s"), (0.5, "30/min"), (0.001, "3.6/h")],
)
def test_rates_use_the_unit_that_keeps_them_above_one(rate, text):
    assert words.rate(rate) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0, "0 %"), (0.00001, "0.1 %"), (0.5, "50.0 %"), (0.99999, "99.9 %"), (1, "100 %")],
)
def test_only_a_whole_is_a_hundred_per_cent_and_only_nothing_is_zero(fraction, text):
    assert words.percent(fraction) == text


def test_a_part_of_nothing_is_nothing():
    assert words.share(0, 0) == "0 %"


def test_counts_have_separators_and_unknown_ones_a_question_mark():
    assert (words.count(1234567), words.count(None)) == ("1,234,567", "?")


def test_moments_show_their_day_where_the_span_is_a_day_or_more():
    at = time.mktime((2024, 5, 6, 7, 8, 9, 0, 0, -1))
    assert words.clock(at) == "07:08:09"
    assert words.clock(at, span=90000) == time.strftime("%d %b 07:08", time.localtime(at))
    assert words.moment(at) == "2024-05-06 07:08:09"


def test_text_is_made_one_safe_line_and_cut():
    assert words.printable("a\x1b[31mb\n\tc") == "a [31mb c"
    assert words.printable("abcdef", 4) == "abc…"
