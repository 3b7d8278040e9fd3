"""An explanation as one picture, in SVG that needs nothing else.

Three panels share the rounds, which go from left to right: the pages that were asked for, a cell each;
the distances, which show how the search closed in; and how much of the answer was known. Below them
stand the true neighbours. Hovering over anything says more.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from pageann.explanation import Explanation, TrueNeighbour, VisitedPage

__all__ = ["picture"]

_COLOURS = {
    "router": "#5b6ee1",
    "code": "#2a9d8f",
    "representative": "#e9a23b",
    "shortfall": "#b565a7",
    "record": "#4a6d8c",
}
_MEANINGS = {
    "router": "next in the router's ranking",
    "code": "estimated near from a code in memory",
    "representative": "estimated near from a code on another page",
    "shortfall": "taken because results were short",
    "record": "exact vector behind quantised pages",
}
_INK, _QUIET, _GRID = "#22303c", "#6b7a86", "#e3e8ec"
_FOUND, _MISSED, _BEST = "#2e8b57", "#d62839", "#1d6fd0"

_CELL, _STEP = 20, 24
_ROWS, _ROWS_OF_FEW, _FEW = 8, 4, 4
"""Cells of a round that stand one over the other: fewer where there are few rounds."""
_LEFT, _RIGHT, _LEAST_WIDTH = 84, 40, 980
_DISTANCE_HEIGHT, _FOUND_HEIGHT, _GAP = 170, 70, 50
_LINES_MEAN = (
    "a digit: rows of the answer on the page; blue: distance of the k-th result; "
    "dashed: up to which estimate a page is worth a read; at the right: distances of the true neighbours"
)
_MOST_MISSED = 12
_CHARACTERS = 132
"""Of a line of small text across the picture."""


def picture(explanation: Explanation) -> str:
    """The whole SVG document."""
    return _Picture(explanation).draw()


class _Picture:
    """Elements so far, and where the next panel begins."""

    def __init__(self, explanation: Explanation) -> None:
        self._explanation = explanation
        self._elements: list[str] = []
        self._y = 0.0
        self._rows = _ROWS if len(explanation.rounds) > _FEW else _ROWS_OF_FEW
        columns = [max(1, -(-len(each.pages) // self._rows)) for each in explanation.rounds]
        self._widths = [columns_wide * _STEP + 12.0 for columns_wide in columns]
        spare = _LEAST_WIDTH - _LEFT - _RIGHT - sum(self._widths)
        if spare > 0 and self._widths:
            self._widths = [width + spare / len(self._widths) for width in self._widths]
        self._width = max(_LEAST_WIDTH, _LEFT + sum(self._widths) + _RIGHT)
        self._starts = [_LEFT + sum(self._widths[:number]) for number in range(len(self._widths))]

    def draw(self) -> str:
        self._title()
        if self._explanation.rounds:
            self._cells()
            self._distances()
            self._found()
        self._legend()
        if self._explanation.truth is not None:
            self._neighbours()
        height = self._y + 16
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self._width:.0f} {height:.0f}" '
            f'width="{self._width:.0f}" height="{height:.0f}" '
            'font-family="system-ui, -apple-system, Segoe UI, DejaVu Sans, sans-serif" font-size="12">'
        )
        back = f'<rect width="{self._width:.0f}" height="{height:.0f}" fill="#ffffff"/>'
        return "\n".join([head, back, *self._elements, "</svg>"]) + "\n"

    def _text(
        self, x: float, y: float, text: str, *, size: int = 12, fill: str = _INK, anchor: str = "start",
        weight: str = "normal", inside: str = "",
    ) -> None:  # fmt: skip
        self._elements.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(text)}{inside}</text>'
        )

    def _line(self, points: Sequence[tuple[float, float]], colour: str, extra: str = "") -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._elements.append(f'<polyline points="{path}" fill="none" stroke="{colour}" {extra}/>')

    def _title(self) -> None:
        each = self._explanation
        recall = "" if each.recall is None else f", {each.recall:.0%} of the true neighbours"
        headline = (
            f"{len(each.rounds)} round{'s' * (len(each.rounds) != 1)}, {each.cost.reads:,} reads{recall}"
        )
        self._text(20, 32, headline, size=20, weight="600")
        asked = "" if each.recall_asked is None else f"recall {each.recall_asked:g}, "
        settings = f"{each.rows:,} rows, {each.metric}, k={each.k}, {asked}effort {each.effort:,}"
        self._text(20, 52, f"{each.path}: {settings}", fill=_QUIET)
        scored = (
            f"{each.groups_scored:,} of {each.groups:,} groups looked at, {each.cost.codes_scored:,} codes"
        )
        self._text(20, 69, f"{scored}; stopped: {each.stopped_because}", fill=_QUIET)
        self._y = 96.0

    def _cells(self) -> None:
        rounds = self._explanation.rounds
        self._text(20, self._y - 6, "pages", weight="600")
        tallest = max(min(self._rows, len(each.pages)) for each in rounds)
        for number, each in enumerate(rounds):
            middle = self._starts[number] + self._widths[number] / 2
            self._text(middle, self._y - 6, str(number), fill=_QUIET, anchor="middle", size=11)
            wide = max(1, -(-len(each.pages) // self._rows)) * _STEP
            for place, page in enumerate(each.pages):
                column, row = divmod(place, self._rows)
                self._cell(page, middle - wide / 2 + column * _STEP, self._y + row * _STEP)
        self._y += tallest * _STEP + _GAP

    def _cell(self, page: VisitedPage, x: float, y: float) -> None:
        colour = _COLOURS[page.origin.value]
        told = "" if page.told_by is None else f" of page {page.told_by}"
        what = (
            f"page {page.page}: {_MEANINGS[page.origin.value]}{told} (number {page.rank}, "
            f"{page.estimate:.6g}); {'in memory' if page.pinned else 'read'}; {page.vectors} vectors, "
            f"{page.hits} in the answer, {page.missed} missed"
        )
        look = f'fill="{colour}"' if not page.pinned else f'fill="#ffffff" stroke="{colour}" stroke-width="2"'
        faint = "" if page.hits or page.missed else ' opacity="0.55"'
        self._elements.append(
            f"<g{faint}><title>{escape(what)}</title>"
            f'<rect x="{x + 1:.1f}" y="{y + 1:.1f}" width="{_CELL - 2}" height="{_CELL - 2}" rx="4" {look}/>'
        )
        if page.hits:
            ink = colour if page.pinned else "#ffffff"
            self._text(
                x + _CELL / 2, y + 14, str(page.hits), size=11, fill=ink, anchor="middle", weight="700"
            )
        if page.missed:
            self._elements.append(
                f'<rect x="{x - 1:.1f}" y="{y - 1:.1f}" width="{_CELL + 2}" height="{_CELL + 2}" rx="6" '
                f'fill="none" stroke="{_MISSED}" stroke-width="2"/>'
            )
        self._elements.append("</g>")

    def _distances(self) -> None:
        """Estimates of pages, the k-th result and the limit of candidates, round by round."""
        rounds, truth = self._explanation.rounds, self._explanation.truth or ()
        values = [page.estimate for each in rounds for page in each.pages]
        values += [each.kth_distance for each in rounds if each.kth_distance is not None]
        values += [each.limit_after for each in rounds if each.limit_after is not None]
        values += [each.distance for each in truth]
        low, high = min(values), max(values)
        top, bottom = self._y, self._y + _DISTANCE_HEIGHT

        def height(value: float) -> float:
            return bottom - (value - low) / ((high - low) or 1.0) * _DISTANCE_HEIGHT

        self._text(20, top - 14, "distance", weight="600")
        for value in (low, (low + high) / 2, high):
            self._line([(_LEFT, height(value)), (self._width - _RIGHT, height(value))], _GRID)
            self._text(_LEFT - 6, height(value) + 4, f"{value:.6g}", size=10, fill=_QUIET, anchor="end")
        for each in truth:
            colour = _FOUND if each.found else _MISSED
            end = self._width - _RIGHT + (18 if not each.found else 10)
            self._line([(self._width - _RIGHT, height(each.distance)), (end, height(each.distance))], colour,
                       'stroke-width="2"')  # fmt: skip
        self._steps([each.limit_after for each in rounds], height, _QUIET, 'stroke-dasharray="4 3"')
        self._steps([each.kth_distance for each in rounds], height, _BEST, 'stroke-width="2"')
        for number, current in enumerate(rounds):
            inner = self._widths[number] - 12
            for place, page in enumerate(current.pages):
                x = self._starts[number] + 6 + inner * (place + 0.5) / len(current.pages)
                self._elements.append(
                    f'<circle cx="{x:.1f}" cy="{height(page.estimate):.1f}" r="{3.5 if page.hits else 2.2}" '
                    f'fill="{_COLOURS[page.origin.value]}" opacity="{1 if page.hits else 0.6}"/>'
                )
        self._y = bottom + _GAP

    def _steps(
        self, values: Sequence[float | None], height: Callable[[float], float], colour: str, extra: str
    ) -> None:
        """A line through the ends of the rounds that have a value."""
        points = []
        for number, value in enumerate(values):
            if value is not None:
                start = self._starts[number]
                points += [(start, height(value)), (start + self._widths[number], height(value))]
        if points:
            self._line(points, colour, extra)

    def _found(self) -> None:
        """How much of the answer, and of the truth, was known after each round."""
        each = self._explanation
        top, bottom = self._y, self._y + _FOUND_HEIGHT
        self._text(20, top - 14, "known so far, and reads", weight="600")
        most = max(1, len(each.ids), len(each.truth or ()))
        for share in (0, most):
            y = bottom - share / most * _FOUND_HEIGHT
            self._line([(_LEFT, y), (self._width - _RIGHT, y)], _GRID)
            self._text(_LEFT - 6, y + 4, str(share), size=10, fill=_QUIET, anchor="end")
        for number, current in enumerate(each.rounds):
            known = current.found if current.true_found is None else current.true_found
            width = min(40.0, self._widths[number] - 10)
            x = self._starts[number] + (self._widths[number] - width) / 2
            tall = known / most * _FOUND_HEIGHT
            self._elements.append(
                f'<rect x="{x:.1f}" y="{bottom - tall:.1f}" width="{width:.1f}" height="{tall:.1f}" '
                f'fill="{_FOUND}" opacity="0.75"/>'
            )
            self._text(
                x + width / 2, bottom + 13, f"{current.reads:,}", size=10, fill=_QUIET, anchor="middle"
            )
        self._text(_LEFT - 6, bottom + 13, "reads", fill=_QUIET, size=10, anchor="end")
        self._y = bottom + _GAP

    def _legend(self) -> None:
        used = {page.origin.value for _, page in self._explanation.pages()}
        entries = [(f'fill="{_COLOURS[name]}"', _MEANINGS[name]) for name in _COLOURS if name in used]
        if any(page.pinned for _, page in self._explanation.pages()):
            entries.append((f'fill="#ffffff" stroke="{_QUIET}" stroke-width="2"', "hollow: pinned in memory"))
        if any(page.missed for _, page in self._explanation.pages()):
            entries.append(
                (f'fill="#ffffff" stroke="{_MISSED}" stroke-width="2"', "holds a missed neighbour")
            )
        x = 20.0
        for look, words in entries:
            wide = 26 + 6.6 * len(words)
            if x + wide > self._width - 20 and x > 20:
                x, self._y = 20.0, self._y + 20
            self._elements.append(
                f'<rect x="{x:.1f}" y="{self._y:.1f}" width="12" height="12" rx="3" {look}/>'
            )
            self._text(x + 18, self._y + 10, words, size=11, fill=_QUIET)
            x += wide
        self._y += 22
        self._text(20, self._y + 8, _LINES_MEAN, size=11, fill=_QUIET)
        self._y += 30

    def _neighbours(self) -> None:
        """A chip for each true neighbour, then why the missed ones were missed."""
        truth, missed = self._explanation.truth or (), self._explanation.missed
        self._text(20, self._y + 4, "true neighbours, nearest first", weight="600")
        self._y += 16
        x = 20.0
        for number, each in enumerate(truth):
            if x + _STEP > self._width - 20:
                x, self._y = 20.0, self._y + _STEP
            self._chip(number, each, x)
            x += _STEP
        self._y += _STEP + 12
        for each in missed[:_MOST_MISSED]:
            self._reason(truth.index(each), each)
        if len(missed) > _MOST_MISSED:
            self._text(20, self._y + 4, f"... and {len(missed) - _MOST_MISSED} more", size=11, fill=_QUIET)
            self._y += 18

    def _chip(self, number: int, each: TrueNeighbour, x: float) -> None:
        what = f"{each.id}, {each.distance:.6g}, page {each.page}: {each.why}"
        colour = _FOUND if each.found else _MISSED
        self._elements.append(
            f'<g><title>{escape(what)}</title><rect x="{x:.1f}" y="{self._y:.1f}" width="{_CELL}" '
            f'height="{_CELL}" rx="10" fill="{colour}"/>'
        )
        self._text(x + _CELL / 2, self._y + 14, str(number + 1), size=10, fill="#ffffff", anchor="middle")
        self._elements.append("</g>")

    def _reason(self, number: int, each: TrueNeighbour) -> None:
        reason = "" if each.reason is None else each.reason.value
        lines = textwrap.wrap(f"{number + 1}. {each.id}: {reason}: {each.why}", _CHARACTERS)
        for place, line in enumerate(lines):
            self._text(
                20 + 14 * (place > 0), self._y + 4, line, size=11, fill=_MISSED if place == 0 else _INK
            )
            self._y += 16
        self._y += 2
