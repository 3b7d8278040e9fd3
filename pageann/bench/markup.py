"""Pieces of HTML that the sections of a report share."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape

from pageann.bench.plots import COLOURS

__all__ = ["Section", "counted", "figure", "table_of"]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading (text) and what stands below it (HTML)."""

    title: str
    body: str


def counted(count: int, word: str) -> str:
    """``1 client``, ``3 clients``."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def figure(title: str, note: str, legend: Sequence[str], plot: str) -> str:
    """A plot (SVG text) with its caption, and a legend in the order of the plot's colours."""
    marks = "".join(
        f'<span><i style="background:{COLOURS[number % len(COLOURS)]}"></i>{escape(name)}</span>'
        for number, name in enumerate(legend)
    )
    return (
        f"<figure><figcaption>{escape(title)}<small>{escape(note)}</small></figcaption>"
        f'<div class="legend">{marks}</div>{plot}</figure>\n'
    )


def table_of(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    best: Collection[tuple[int, int]] = (),
    kind: str = "figures",
) -> str:
    """A table of texts; the cells ``best``, as (row, column), stand out.

    ``kind`` is ``figures``, set to the right, or ``words``, set to the left and wrapped.
    """
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = [
        "<tr>" + "".join(_cell(cell, (row, column) in best) for column, cell in enumerate(cells)) + "</tr>"
        for row, cells in enumerate(rows)
    ]
    body = f"<thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="wide"><table class="{kind}">{body}</table></div>'


def _cell(text: str, stands_out: bool) -> str:
    mark = ' class="best"' if stands_out else ""
    return f"<td{mark}>{escape(text)}</td>"
