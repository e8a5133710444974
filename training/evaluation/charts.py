"""Charts as inline SVG, coloured by the style sheet of the page that they are in (`report.html`).

Each is an image with a title and a description for those who do not see it.
"""

import math
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from markupsafe import Markup

WIDTH, HEIGHT = 420, 240  # units of the view box; the page scales them
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 40  # room around the axes
TICKS = 5  # at most this many on an axis, about

NAME = 14  # height of a line's name

Point = tuple[float, float]


class Axes:
    """A drawing area with ticks; maps values to its coordinates."""

    def __init__(
        self, title: str, description: str, x: Sequence[float], y: Sequence[float], label: str
    ) -> None:
        """Draw axes on which all of `x` and `y` are; `label` names the values of x."""
        self.x_ticks, self.y_ticks = ticks(min(x), max(x)), ticks(min(y), max(y))
        self.x_range = min(*x, self.x_ticks[0]), max(*x, self.x_ticks[-1])
        self.y_range = min(*y, self.y_ticks[0]), max(*y, self.y_ticks[-1])
        self.svg = ET.Element("svg", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img")
        self.svg.set("aria-label", f"{title}. {description}")
        ET.SubElement(self.svg, "title").text = title
        for value in self.y_ticks:
            at = self.y(value)
            self.line("grid", (LEFT, at), (WIDTH - RIGHT, at))
            self.text("tick", (LEFT - 6, at + 4), f"{value:g}", "end")
        for value in self.x_ticks:
            self.text("tick", (self.x(value), HEIGHT - BOTTOM + 16), f"{value:g}", "middle")
        self.line("axis", (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM))
        self.text("tick", ((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6), label, "middle")

    def x(self, value: float) -> float:
        """Value → distance from the left edge."""
        return LEFT + _share(value, *self.x_range) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Value → distance from the upper edge."""
        return HEIGHT - BOTTOM - _share(value, *self.y_range) * (HEIGHT - TOP - BOTTOM)

    def line(self, kind: str, *points: Point) -> None:
        """Draw a line through points in coordinates; one point becomes a dot."""
        if len(points) == 1:
            ((x, y),) = points
            ET.SubElement(self.svg, "circle", {"class": kind, "cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "3"})
            return
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        ET.SubElement(self.svg, "polyline", {"class": kind, "points": path})

    def text(self, kind: str, at: Point, text: str, anchor: str) -> None:
        """Write text at coordinates."""
        place = {"x": f"{at[0]:.1f}", "y": f"{at[1]:.1f}", "text-anchor": anchor}
        ET.SubElement(self.svg, "text", {"class": kind, **place}).text = text

    def markup(self) -> Markup:
        """Return the image; ElementTree has escaped what is in it."""
        return Markup(ET.tostring(self.svg, encoding="unicode"))


def line_chart(title: str, series: Mapping[str, Sequence[Point]], label: str) -> Markup:
    """Draw named lines over the values of x that `label` names; each has at least one point."""
    points = [point for line in series.values() for point in line]
    ends = "; ".join(
        f"{name}: {line[0][1]:.3g} at {line[0][0]:g}, {line[-1][1]:.3g} at {line[-1][0]:g}"
        for name, line in series.items()
    )
    axes = Axes(title, ends, [x for x, _ in points], [y for _, y in points], label)
    for index, line in enumerate(series.values()):
        axes.line(f"line line{index}", *((axes.x(x), axes.y(y)) for x, y in line))
    if len(series) > 1:
        places = beside([axes.y(line[-1][1]) for line in series.values()])
        for index, (name, at) in enumerate(zip(series, places, strict=True)):
            axes.text(f"name name{index}", (WIDTH - RIGHT, at), name, "end")
    return axes.markup()


def beside(ends: Sequence[float]) -> list[float]:
    """Place the names of lines above the ends of theirs, apart from each other, in the same order."""
    places = [0.0] * len(ends)
    lowest = HEIGHT - BOTTOM - 4.0  # the next name may not be below that
    for index in sorted(range(len(ends)), key=lambda index: (ends[index], index), reverse=True):
        places[index] = lowest = min(ends[index] - 6, lowest)
        lowest -= NAME
    highest = TOP + 8.0
    for index in sorted(range(len(ends)), key=lambda index: places[index]):
        places[index] = max(places[index], highest)
        highest = places[index] + NAME
    return places


def histogram(title: str, values: Sequence[float], width: float, label: str) -> Markup:
    """Draw how many values (at least 0) lie in each interval of a width, the last one included."""
    counts = count(values, width)
    highest = max(range(len(counts)), key=counts.__getitem__)
    said = f"Most of them, {counts[highest]}, from {highest * width:g} to {(highest + 1) * width:g}"
    axes = Axes(title, said, [0, len(counts) * width], [0, max(counts)], label)
    for index, number in enumerate(counts):
        left, right, top = axes.x(index * width), axes.x((index + 1) * width), axes.y(number)
        place = {"x": left + 1, "y": top, "width": right - left - 2, "height": axes.y(0) - top}
        bar = ET.SubElement(axes.svg, "rect", {key: f"{value:.1f}" for key, value in place.items()})
        bar.set("class", "bar")
        interval = f"{index * width:g} to {(index + 1) * width:g}"
        ET.SubElement(bar, "title").text = f"{interval}: {number}"
    return axes.markup()


def count(values: Sequence[float], width: float) -> list[int]:
    """Count the values in [0, width), [width, 2 · width) … up to the highest."""
    counts = [0] * (1 + int(max(values) / width))
    for value in values:
        counts[int(value / width)] += 1
    return counts


def ticks(low: float, high: float) -> list[float]:
    """Choose round values that enclose a range, at steps of 1, 2 or 5 times a power of ten."""
    if low == high:
        low, high = low - abs(low or 1) / 2, high + abs(high or 1) / 2
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [index * step for index in range(first, last + 1)]


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low)
