import time
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maniple.stats import plot


@given(st.floats(1e-6, 1e9))
def test_ticks_are_round_few_and_reach_the_top(top):
    values = plot.ticks(top)
    assert values[0] == 0
    assert values[-1] >= top * (1 - 1e-6)
    assert 2 <= len(values) <= 6


def test_ticks_of_nothing_still_make_an_axis():
    assert plot.ticks(0) == [0.0, 1.0]


@pytest.mark.parametrize("span", [0.5, 7, 100, 4000, 50_000, 400_000, 4e7])
def test_moments_lie_in_the_span_and_are_few(span):
    start = time.mktime((2024, 5, 6, 7, 8, 9, 0, 0, -1))
    moments = plot.time_ticks(start, start + span)
    assert 1 <= len(moments) <= 9
    assert all(start <= at <= start + span for at, _ in moments)


def test_moments_are_round_in_local_time():
    start = time.mktime((2024, 5, 6, 7, 8, 9, 0, 0, -1))
    assert [text for _, text in plot.time_ticks(start, start + 40)][:2] == ["07:08:10", "07:08:15"]


def bars(**options):
    return plot.stacked_bars(
        [plot.Series("ok", "ok", [1, 0, 3]), plot.Series("bad", "bad", [0, 0, 1])],
        x_labels=[(0.0, "a<b")],
        y_label=str,
        title=lambda index: f"<{index}>",
        **options,
    )


def test_bars_are_well_formed_svg_with_escaped_text():
    root = ET.fromstring(bars(label='"q"', marks=[plot.Mark(0.5, "median")]))
    names = [node.tag.rpartition("}")[2] for node in root.iter()]
    assert names.count("rect") == 3
    assert "a<b" in [node.text for node in root.iter()]


def test_stacked_parts_stand_on_each_other():
    rects = [node for node in ET.fromstring(bars()).iter() if node.tag.endswith("rect")]
    below, above = rects[1], rects[2]
    assert float(above.get("y")) + float(above.get("height")) == pytest.approx(
        float(below.get("y")), abs=0.2
    )
    assert float(below.get("height")) == pytest.approx(3 * float(above.get("height")), abs=0.3)


def test_heat_rows_leave_idle_cells_out():
    picture = plot.heat_rows(
        [("m<1>", [0.0, 0.5, 1.0]), ("m2", [0, 0, 0])],
        x_labels=[],
        title=lambda row, column: f"{row},{column}",
    )
    cells = [node for node in ET.fromstring(picture).iter() if node.get("class") == "heat"]
    assert [cell.get("fill-opacity") for cell in cells] == ["0.56", "1.00"]
