import xml.etree.ElementTree as ET

import pytest

from training.evaluation.charts import HEIGHT, LEFT, WIDTH, count, histogram, line_chart, ticks


def test_ticks_are_round_and_enclose_the_range() -> None:
    assert ticks(0.02, 0.28) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert ticks(2.97, 5.12) == pytest.approx([2.5, 3, 3.5, 4, 4.5, 5, 5.5])
    assert ticks(1, 200) == [0, 50, 100, 150, 200]
    for value in (0.0, 7.0, -3.0):
        found = ticks(value, value)
        assert found[0] < value < found[-1]


def test_counts_are_those_of_intervals() -> None:
    assert count([0, 0.05, 0.1, 0.35, 0.35], 0.1) == [2, 1, 0, 2]


def test_a_line_goes_through_its_points() -> None:
    chart = line_chart("A & <b>", {"train": [(0, 0.0), (10, 1.0)], "dev": [(5, 0.5)]}, "epoch")
    svg = ET.fromstring(chart)
    line, dot = svg.find("polyline[@class='line line0']"), svg.find("circle")
    assert line is not None
    assert dot is not None
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in line.attrib["points"].split())
    assert LEFT == x0 < x1 <= WIDTH
    assert 0 <= y1 < y0 <= HEIGHT  # more is higher
    assert float(dot.attrib["cx"]) == pytest.approx((x0 + x1) / 2, abs=0.1)
    assert float(dot.attrib["cy"]) == pytest.approx((y0 + y1) / 2, abs=0.1)
    assert svg.attrib["aria-label"] == "A & <b>. train: 0 at 0, 1 at 10; dev: 0.5 at 5, 0.5 at 5"
    assert [text.text for text in svg.findall("text") if "name" in text.attrib["class"]] == ["train", "dev"]


@pytest.mark.parametrize(("train", "dev"), [(1.0, 4.0), (4.0, 1.0), (2.0, 2.01), (0.0, 0.0)])
def test_a_name_stands_at_the_end_of_its_line(train: float, dev: float) -> None:
    lines = {"training": [(0, 5.0), (10, train)], "dev": [(0, 5.5), (10, dev)]}
    svg = ET.fromstring(line_chart("Loss", lines, "epoch"))
    ends = [
        float(line.attrib["points"].split(",")[-1])
        for line in svg.findall("polyline")
        if "line" in line.attrib["class"].split()
    ]
    names = [float(text.attrib["y"]) for text in svg.findall("text") if "name" in text.attrib["class"]]
    assert abs(names[0] - names[1]) >= 13  # they do not cover each other
    if abs(train - dev) > 1:
        for own, other, name in zip(ends, ends[::-1], names, strict=True):
            assert abs(name - own) < 20 < abs(name - other)
    else:
        assert (names[0] < names[1]) == (ends[0] <= ends[1])


def test_bars_are_as_high_as_their_counts() -> None:
    svg = ET.fromstring(histogram("CIDEr", [0.01, 0.02, 0.15], 0.1, "CIDEr"))
    heights = [float(bar.attrib["height"]) for bar in svg.findall("rect")]
    assert heights[1] > 10
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert [bar.findtext("title") for bar in svg.findall("rect")] == ["0 to 0.1: 2", "0.1 to 0.2: 1"]
    assert ET.fromstring(histogram("all the same", [0.0], 0.1, "CIDEr")).findall("rect")
