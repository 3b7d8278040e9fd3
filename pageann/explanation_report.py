"""An explanation as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pageann.explanation import Explanation, SearchRound, TrueNeighbour

__all__ = ["report"]

_MOST_ROUNDS = 40
"""Shown in full; of more, the first and the last ones."""
_MOST_NEIGHBOURS = 20


def report(explanation: Explanation) -> str:
    """Settings, cost, rounds, true neighbours and why the search stopped, as lines."""
    return "\n".join(_lines(explanation))


def _lines(explanation: Explanation) -> Iterator[str]:
    each = explanation
    asked = f"effort {each.effort:,}"
    if each.recall_asked is not None:
        asked = f"recall {each.recall_asked:g}, so {asked}"
    if each.max_page_reads is not None:
        asked += f", at most {each.max_page_reads:,} reads"
    yield f"{each.path}: {each.rows:,} rows, {each.metric}; k={each.k}, {asked}"
    yield from (f"warning: {text}" for text in each.warnings)
    yield f"router: {each.groups_scored:,} of {each.groups:,} groups were looked at"
    cost = each.cost
    yield (
        f"cost: {cost.reads:,} reads, {cost.kib:,.0f} KiB, {cost.units:g} units, {cost.hops} hops; "
        f"{cost.pinned_hits:,} pages from memory; {cost.codes_scored:,} codes scored"
    )
    yield (
        f"time: {cost.route_us:,.0f} us in the router, {cost.scan_us:,.0f} us on codes and vectors, "
        f"{cost.read_us:,.0f} us waiting for reads"
    )
    yield ""
    yield from _rounds(each)
    yield f"stopped: {each.stopped.label}: {each.stopped_because}"
    if each.truth is not None:
        yield ""
        yield from _truth(each)


def _rounds(explanation: Explanation) -> Iterator[str]:
    rows = [_round_cells(number, each) for number, each in enumerate(explanation.rounds)]
    head = ["round", "pages", "reads", "found", "of true", "k-th", "limit", "left", "asked for by"]
    if not rows:
        yield "no page was looked at"
        return
    shown = rows
    if len(rows) > _MOST_ROUNDS:
        half = _MOST_ROUNDS // 2
        shown = [*rows[:half], ["..."] + [""] * (len(head) - 1), *rows[-half:]]
    widths = [max(len(row[column]) for row in [head, *shown]) for column in range(len(head))]
    for row in [head, *shown]:
        cells = [cell.rjust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
        yield "  ".join([*cells, row[-1]]).rstrip()


def _round_cells(number: int, each: SearchRound) -> list[str]:
    origins = Counter(page.origin.value for page in each.pages)
    pinned = sum(page.pinned for page in each.pages)
    told = {page.told_by for page in each.pages if page.told_by is not None}
    words = ", ".join(f"{origin} {count}" for origin, count in origins.items())
    if told:
        words += " (told by page " + ", ".join(str(page) for page in sorted(told)) + ")"
    return [
        str(number),
        f"{len(each.pages)}" + (f" ({pinned} pinned)" if pinned else ""),
        f"{each.reads:,}",
        str(each.found),
        "-" if each.true_found is None else str(each.true_found),
        _number(each.kth_distance),
        _number(each.limit_after),
        f"{each.open_candidates:,}",
        words,
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _truth(explanation: Explanation) -> Iterator[str]:
    truth, missed = explanation.truth or (), explanation.missed
    yield f"true neighbours: {len(truth) - len(missed)} of {len(truth)} found"
    reasons = Counter(each.reason.value for each in missed if each.reason is not None)
    if reasons:
        yield "missed: " + ", ".join(f"{reason} {count}" for reason, count in reasons.items())
    shown = sorted(truth, key=lambda each: each.found)[:_MOST_NEIGHBOURS]
    for each in sorted(shown, key=lambda each: each.distance):
        yield f"  {_neighbour(each)}"
    if len(truth) > len(shown):
        yield f"  ... {len(truth) - len(shown)} more, of which {len(missed) - _count_missed(shown)} missed"


def _count_missed(shown: list[TrueNeighbour]) -> int:
    return sum(not each.found for each in shown)


def _neighbour(each: TrueNeighbour) -> str:
    where = f"page {each.page}, group {each.group_rank:,} of the router"
    if each.estimate is not None:
        where += f", estimated {each.estimate:.6g}"
        if each.estimate_rank is not None:
            where += f" (number {each.estimate_rank:,})"
    if each.reason is None:
        found = each.why if each.found_in is None else f"{each.why} in round {each.found_in}"
        return f"+ {each.id}  {each.distance:.6g}  {found}: {where}"
    return f"- {each.id}  {each.distance:.6g}  {each.reason.value}: {each.why} ({where})"
