"""Plots as SVG text, drawn by hand: a report needs no plotting package and no script to be read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["COLOURS", "Axis", "Bars", "Point", "Series", "bar_plot", "line_plot"]

COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#7a5c00",
    "#56b4e9",
    "#6a3d9a",
    "#555555",
    "#e69f00",
    "#a50026",
)
"""Told apart by most people with a colour vision deficiency; shapes differ as well."""

_WIDTH, _HEIGHT = 560, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 16, 14, 46
_TICKS = 6
_BAR_HEIGHT, _GROUP_GAP, _LABEL_WIDTH = 15, 9, 190


@dataclass(frozen=True, slots=True)
class Point:
    """One mark; ``note`` is shown when a pointer rests on it."""

    x: float
    y: float
    note: str


@dataclass(frozen=True, slots=True)
class Series:
    """Marks that are joined by a line, in the order of x."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows; ``log`` for values above 0 that differ by factors."""

    label: str
    log: bool = False


@dataclass(frozen=True, slots=True)
class Bars:
    """A group of bars below one label: ``(name of the value, value)``."""

    label: str
    values: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def place(self, value: float) -> float:
        """The pixel of ``value``."""
        share = (self._shaped(value) - self._shaped(self.low)) / (
            self._shaped(self.high) - self._shaped(self.low)
        )
        return self.start + share * (self.end - self.start)

    def _shaped(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def ticks(self) -> list[float]:
        """Round values inside the scale."""
        return _log_ticks(self.low, self.high) if self.log else _even_ticks(self.low, self.high)


def line_plot(series: Sequence[Series], x: Axis, y: Axis) -> str:
    """Lines with marks, as one ``<svg>``; every series has its own colour and shape."""
    points = [point for one in series for point in one.points]
    across = _scale([point.x for point in points], x.log, _LEFT, _WIDTH - _RIGHT)
    up = _scale([point.y for point in points], y.log, _HEIGHT - _BOTTOM, _TOP)
    parts = [*_frame(across, up, x, y)]
    for number, one in enumerate(series):
        parts.extend(_drawn(one, number, across, up))
    title = escape(f"{y.label} against {x.label}")
    return _svg(_HEIGHT, title, parts)


def bar_plot(groups: Sequence[Bars], label: str, write: Callable[[float], str]) -> str:
    """Horizontal bars, a group a label, each with its value written beside it."""
    most = max((value for group in groups for _, value in group.values), default=0.0) or 1.0
    room = _WIDTH - _LABEL_WIDTH - 90
    parts: list[str] = []
    top = 8.0
    for group in groups:
        parts.append(
            _text(_LABEL_WIDTH - 8, top + _BAR_HEIGHT * len(group.values) / 2 + 4, group.label, "end")
        )
        for number, (name, value) in enumerate(group.values):
            colour = COLOURS[number % len(COLOURS)]
            width = max(1.0, value / most * room)
            parts.append(
                f'<rect x="{_LABEL_WIDTH}" y="{top:.1f}" width="{width:.1f}" height="{_BAR_HEIGHT - 2}"'
                f' fill="{colour}"><title>{escape(f"{group.label}, {name}: {write(value)}")}</title></rect>'
            )
            parts.append(_text(_LABEL_WIDTH + width + 5, top + _BAR_HEIGHT - 4, write(value), "start"))
            top += _BAR_HEIGHT
        top += _GROUP_GAP
    return _svg(int(top) + 4, escape(label), parts)


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{title}"'
        f' xmlns="http://www.w3.org/2000/svg">\n{body}\n</svg>'
    )


def _frame(across: _Scale, up: _Scale, x: Axis, y: Axis) -> Iterator[str]:
    """Grid, tick labels and the names of both axes."""
    for value in across.ticks():
        place = across.place(value)
        yield f'<line class="grid" x1="{place:.1f}" y1="{_TOP}" x2="{place:.1f}" y2="{_HEIGHT - _BOTTOM}"/>'
        yield _text(place, _HEIGHT - _BOTTOM + 16, _number(value), "middle")
    for value in up.ticks():
        place = up.place(value)
        yield f'<line class="grid" x1="{_LEFT}" y1="{place:.1f}" x2="{_WIDTH - _RIGHT}" y2="{place:.1f}"/>'
        yield _text(_LEFT - 7, place + 4, _number(value), "end")
    yield _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, x.label, "middle", "axis")
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    yield (
        f'<text class="axis" text-anchor="middle" transform="translate(13 {middle:.0f}) rotate(-90)">'
        f"{escape(y.label)}</text>"
    )


def _drawn(series: Series, number: int, across: _Scale, up: _Scale) -> Iterator[str]:
    colour = COLOURS[number % len(COLOURS)]
    ordered = sorted(series.points, key=lambda point: point.x)
    places = [(across.place(point.x), up.place(point.y)) for point in ordered]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for (a, b), point in zip(places, ordered, strict=True):
        yield f'<g fill="{colour}">{_mark(number, a, b)}<title>{escape(point.note)}</title></g>'


def _mark(number: int, x: float, y: float) -> str:
    """A circle, a square, a triangle or a diamond."""
    if number % 4 == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    if number % 4 == 1:
        return f'<rect x="{x - 3.6:.1f}" y="{y - 3.6:.1f}" width="7.2" height="7.2"/>'
    corners = ((0, -5), (4.6, 3.6), (-4.6, 3.6)) if number % 4 == 2 else ((0, -5), (5, 0), (0, 5), (-5, 0))
    return f'<polygon points="{" ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in corners)}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _scale(values: Sequence[float], log: bool, start: float, end: float) -> _Scale:
    """A scale that holds ``values`` with a little room on both sides."""
    if log:
        low, high = min(values) / 1.25, max(values) * 1.25
        return _Scale(low, high, start, end, True)
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    lowest = max(0.0, low - room) if low >= 0 else low - room
    return _Scale(lowest, high + room, start, end, False)


def _even_ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Fewer to a power of ten, the more powers there are."""
    factors: tuple[float, ...] = (1,)
    if high / low < 1000:
        factors = (1, 2, 5) if high / low > 8 else (1, 1.5, 2, 3, 4, 5, 7)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [
        factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high
    ]


def _number(value: float) -> str:
    """``25,000``, ``0.95``, ``3``."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
