"""What PageANN hands back: values, never handles.

**The contract of a result** (said here once; everything else refers to it). For q queries and k
asked for, ``ids`` and ``distances`` have the shape (q, k), also where q is 1. Within a row

- distances ascend, and equal distances stand in the order of row numbers; no row appears twice;
- every distance is exact: computed from the stored vector in the index's metric (``l2``: squared
  Euclidean, ``ip``: minus the inner product, ``cosine``: one minus the cosine), ranked before it is
  rounded to float32;
- ``counts`` says how many entries are real. The places after them are padding: id -1 (None where ids
  are strings), distance inf. Fewer than k means that the index holds fewer rows, or that the search
  was cut short, which ``complete`` tells.

A range search returns the flat form that faiss uses: the answers of query i are
``ids[lims[i]:lims[i + 1]]``, and nothing is padded.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pageann.types import format_bytes

__all__ = [
    "BuildReport",
    "Ledger",
    "LedgerItem",
    "Progress",
    "QueryStats",
    "RangeResult",
    "SearchResult",
    "StopReason",
]

Integers = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]
Booleans = NDArray[np.bool_]
Ids = NDArray[Any]


class StopReason(enum.IntEnum):
    """Why a search of one query ended."""

    CONVERGED = 0
    """No page left could better the answer at this effort."""
    MAX_PAGE_READS = 1
    """``max_page_reads`` was used up."""
    DEADLINE = 2
    """``deadline`` passed."""
    EXHAUSTED = 3
    """Every page that can be reached was read; the answer is that of an exact search."""

    @property
    def label(self) -> str:
        """The reason in words, as reports print it."""
        return self.name.lower().replace("_", " ")


class _Postponed:
    """The fields of a dataclass with slots, worked out when one of them is first looked at.

    Threads that look at the same time may each work them out; the first to have done so counts for all. No
    lock: signal handlers and forked processes may look too.
    """

    __slots__ = ("_work_out", "_worked_out")

    _work_out: Callable[[], Any]
    _worked_out: list[Any]

    if not TYPE_CHECKING:  # to which any name would be an attribute

        def __getattr__(self, name: str) -> Any:
            names = [field.name for field in fields(self)]
            if name not in names:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            if not self._worked_out:
                self._worked_out.append(self._work_out())
            first = self._worked_out[0]
            for each in names:
                object.__setattr__(self, each, getattr(first, each))
            return getattr(first, name)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class QueryStats(_Postponed):
    """What each query cost, in counted work and in time; every array has the shape (q,)."""

    reads: Integers
    """Device reads."""
    kib: Floats
    """KiB that those reads brought."""
    units: Floats
    """Read units: 1 for the first 4 KiB of a read, 0.5 for each further 4 KiB."""
    hops: Integers
    """Rounds of dependent reads."""
    codes_scored: Integers
    """Distances estimated from codes."""
    pinned_hits: Integers
    """Pages found in memory, where they were pinned when the index was opened."""
    shared_reads: Integers
    """Of ``reads``, those that the device made for another query, which had asked for the page just before.
    Depends on what else is searched at the time."""
    route_us: Floats
    """Microseconds spent in the router."""
    scan_us: Floats
    """Microseconds spent scoring codes and exact vectors."""
    read_us: Floats
    """Microseconds spent waiting for reads."""
    total_us: Floats
    """Microseconds from the start of the query to its answer."""
    effort: Integers
    """The effort that the query ran with; 0 for an exact search."""
    stopped: Integers
    """Values of :class:`StopReason`."""
    warnings: tuple[str, ...] = ()
    """Sentences about the whole call, such as a recall that the calibration cannot promise."""

    @classmethod
    def postponed(cls, work_out: Callable[[], QueryStats], warnings: tuple[str, ...]) -> QueryStats:
        """Statistics that ``work_out`` makes once a figure is looked at; many callers look at none.

        For a single query that saves its caller some 20 us of the 85 that a coroutine's call takes beside
        the search itself (photosift1m at 30 %, 64 coroutines).
        """
        stats = object.__new__(cls)
        object.__setattr__(stats, "_work_out", work_out)
        object.__setattr__(stats, "_worked_out", [])
        object.__setattr__(stats, "warnings", warnings)
        return stats

    def __len__(self) -> int:
        return len(self.reads)

    def __repr__(self) -> str:
        means = self.means()
        lines = [
            f"QueryStats: {len(self)} queries, effort {_span(self.effort)}, means of a query:",
            f"  reads {means['reads']:.2f}  KiB {means['kib']:.1f}  units {means['units']:.2f}"
            f"  hops {means['hops']:.2f}  codes scored {means['codes_scored']:.0f}"
            f"  pinned hits {means['pinned_hits']:.2f}  shared reads {means['shared_reads']:.2f}",
            f"  us: route {means['route_us']:.0f}  scan {means['scan_us']:.0f}"
            f"  read {means['read_us']:.0f}  total {means['total_us']:.0f}",
            "  stopped: " + ", ".join(f"{label} {count}" for label, count in self.stops().items()),
        ]
        return "\n".join(lines + [f"  warning: {text}" for text in self.warnings])

    def means(self) -> dict[str, float]:
        """Mean of every figure but ``stopped`` over the queries; 0 where there are none."""
        names = [each.name for each in fields(self) if each.name not in ("stopped", "warnings")]
        return {name: float(np.mean(getattr(self, name))) if len(self) else 0.0 for name in names}

    def stops(self) -> dict[str, int]:
        """How many queries ended for which reason, by the reason's label; reasons that occur only."""
        codes, counts = np.unique(self.stopped, return_counts=True)
        return {StopReason(code).label: int(count) for code, count in zip(codes, counts, strict=True)}

    def to_dict(self) -> dict[str, Any]:
        """The figures as lists of plain numbers, for JSON; reasons as labels."""
        figures: dict[str, Any] = {
            each.name: getattr(self, each.name).tolist() for each in fields(self) if each.name != "warnings"
        }
        figures["stopped"] = [StopReason(code).label for code in self.stopped.tolist()]
        figures["warnings"] = list(self.warnings)
        return figures

    @classmethod
    def concatenate(cls, parts: Sequence[QueryStats]) -> QueryStats:
        """The stats of several calls, of which there is at least one, in order; a warning is kept once."""
        names = [each.name for each in fields(cls) if each.name != "warnings"]
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        warnings = dict.fromkeys(text for part in parts for text in part.warnings)
        return cls(**columns, warnings=tuple(warnings))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SearchResult:
    """Ids and exact distances of the k nearest rows; unpacks as ``ids, distances``.

    Order, shapes and padding: the contract at the head of :mod:`pageann.results`.
    """

    ids: Ids
    """(q, k) int64, or object (str or None) where the index has string ids."""
    distances: Floats
    """(q, k) float32."""
    counts: Integers
    """(q,) int32: how many entries of a row are real."""
    stats: QueryStats | None
    """None when the search was asked to keep no statistics."""
    complete: Booleans
    """(q,) bool: False where a deadline or a limit on reads cut the search short."""

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter((self.ids, self.distances))

    def __len__(self) -> int:
        return len(self.counts)

    def __repr__(self) -> str:
        queries, k = self.ids.shape
        lines = [f"SearchResult: {queries} queries, k={k}{_shortfall(self.complete)}"]
        for number in range(min(queries, _SHOWN)):
            count = min(int(self.counts[number]), _SHOWN)
            pairs = zip(
                self.ids[number, :count].tolist(), self.distances[number, :count].tolist(), strict=True
            )
            shown = "  ".join(f"{name}:{distance:.6g}" for name, distance in pairs)
            lines.append(f"  [{number}] {shown}{'  ...' if self.counts[number] > count else ''}")
        return _report(lines, queries, self.stats)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RangeResult:
    """All rows nearer than a radius that the search found; ``lims`` cuts the flat arrays by query."""

    lims: Integers
    """(q + 1,) int64: query i owns ``[lims[i], lims[i + 1])``."""
    ids: Ids
    """(lims[q],) int64, or object (str) where the index has string ids."""
    distances: Floats
    """(lims[q],) float32, ascending within a query."""
    stats: QueryStats | None
    """None when the search was asked to keep no statistics."""
    complete: Booleans = field(default_factory=lambda: np.empty(0, np.bool_))
    """(q,) bool: False where a deadline or a limit on reads cut the search short; all True unless given."""

    def __post_init__(self) -> None:
        if len(self.complete) != len(self):
            object.__setattr__(self, "complete", np.ones(len(self), np.bool_))

    def __len__(self) -> int:
        return len(self.lims) - 1

    def __repr__(self) -> str:
        lines = [f"RangeResult: {len(self)} queries, {len(self.ids)} rows{_shortfall(self.complete)}"]
        for number in range(min(len(self), _SHOWN)):
            start, stop = int(self.lims[number]), int(self.lims[number + 1])
            last = min(stop, start + _SHOWN)
            pairs = zip(self.ids[start:last].tolist(), self.distances[start:last].tolist(), strict=True)
            shown = "  ".join(f"{name}:{distance:.6g}" for name, distance in pairs)
            lines.append(
                f"  [{number}] {stop - start} rows  {shown}{'  ...' if stop > last else ''}".rstrip()
            )
        return _report(lines, len(self), self.stats)


@dataclass(frozen=True, slots=True)
class LedgerItem:
    """One thing that the memory budget is spent on."""

    name: str
    bytes: int
    note: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Ledger:
    """What a memory budget is spent on, item by item; ``str()`` is a table."""

    items: tuple[LedgerItem, ...]
    budget_bytes: int

    @property
    def total(self) -> int:
        """Bytes spent: the sum of the items."""
        return sum(item.bytes for item in self.items)

    def __str__(self) -> str:
        rows = [(item.name, format_bytes(item.bytes), item.note) for item in self.items]
        share = f"{self.total / self.budget_bytes:.1%}" if self.budget_bytes else "no budget"
        rows += [("total", format_bytes(self.total), share), ("budget", format_bytes(self.budget_bytes), "")]
        name_width = max(len(name) for name, _, _ in rows)
        size_width = max(len(size) for _, size, _ in rows)
        return "\n".join(
            f"{name:<{name_width}}  {size:>{size_width}}  {note}".rstrip() for name, size, note in rows
        )

    def __repr__(self) -> str:
        return f"Ledger:\n{self}"

    def to_dict(self) -> dict[str, Any]:
        """The ledger as plain values, for JSON."""
        items = [{"name": item.name, "bytes": item.bytes, "note": item.note} for item in self.items]
        return {"budget_bytes": self.budget_bytes, "total_bytes": self.total, "items": items}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build is; what the progress callback receives."""

    phase: str
    phase_number: int
    """1 for the first phase."""
    phase_count: int
    done: int
    total: int
    """In the phase's own unit (rows, pages); 0 where it is not known."""
    rate_per_second: float
    """Of that unit; 0 where it is not known."""
    eta_seconds: float
    """Until the end of this phase; inf where it is not known."""
    elapsed_seconds: float
    """Since the start of the build."""
    fraction: float = 0.0
    """How much of the whole build is done, by what its phases usually cost; it never falls."""
    note: str = ""
    """A sentence for the user, such as that an earlier build is gone on with; with one event each."""


@dataclass(frozen=True, slots=True)
class BuildPrediction:
    """What was expected of a build: by its input and options alone, and by a plan if one was made before."""

    peak_rss_bytes: int
    disk_bytes: int
    """Most that lies on the disk at one time."""
    index_bytes: int
    seconds: float | None = None
    usual_units: float | None = None
    """As in :class:`BuildReport`."""


@dataclass(frozen=True, slots=True, repr=False)
class BuildReport:
    """What a build made, and what it took."""

    rows: int
    dim: int
    dtype: str
    metric: str
    page_count: int
    page_bytes: int
    capacity: int
    """Vectors a page."""
    index_bytes: int
    """Size of all files of the index."""
    seconds: float
    phases: tuple[tuple[str, float], ...]
    """Name and seconds of each phase, in order."""
    peak_rss_bytes: int
    ledger: Ledger
    """Of the memory budget that the index was built for."""
    packing: Mapping[str, float] = field(default_factory=dict)
    """Figures of the packing, such as ``residual_energy``."""
    usual_units: float | None = None
    """Read units of a search for ten neighbours at recall 0.95, without pinned pages; None: not reached."""
    predicted: BuildPrediction | None = None
    """What was expected of this build before it began."""

    def __repr__(self) -> str:
        lines = [
            f"BuildReport: {self.rows:,} x {self.dim} {self.dtype}, {self.metric}",
            f"  pages    {self.page_count:,} x {format_bytes(self.page_bytes)}, {self.capacity} vectors each",
            f"  on disk  {format_bytes(self.index_bytes)}",
            f"  took     {self.seconds:.1f} s, peak RSS {format_bytes(self.peak_rss_bytes)}",
        ]
        lines += [f"    {name:<20} {seconds:8.1f} s" for name, seconds in self.phases]
        if self.packing:
            lines.append(
                "  packing  " + ", ".join(f"{name} {value:.6g}" for name, value in self.packing.items())
            )
        if self.usual_units is not None:
            lines.append(f"  reads    {self.usual_units:.1f} units at recall@10 0.95, without pinned pages")
        if self.predicted is not None:
            lines += _comparison(self, self.predicted)
        lines.append("  memory it was built for")
        lines += [f"    {line}" for line in str(self.ledger).splitlines()]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        plain["phases"] = [{"name": name, "seconds": seconds} for name, seconds in self.phases]
        plain["ledger"] = self.ledger.to_dict()
        plain["packing"] = {name: float(value) for name, value in self.packing.items()}
        plain["predicted"] = None if self.predicted is None else asdict(self.predicted)
        return plain


def _comparison(report: BuildReport, predicted: BuildPrediction) -> list[str]:
    """Lines of predicted against actual."""
    rows = [
        ("peak RSS", format_bytes(predicted.peak_rss_bytes), format_bytes(report.peak_rss_bytes)),
        ("index", format_bytes(predicted.index_bytes), format_bytes(report.index_bytes)),
    ]
    if predicted.seconds is not None:
        rows.insert(0, ("time", f"{predicted.seconds:.0f} s", f"{report.seconds:.0f} s"))
    if predicted.usual_units is not None and report.usual_units is not None:
        rows.append(("reads", f"{predicted.usual_units:.1f} units", f"{report.usual_units:.1f} units"))
    table = [("", "predicted", "actual"), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(3)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in table]
    return [f"    {line}".rstrip() for line in lines]


_SHOWN = 5
"""Queries, and neighbours of each, that a repr shows."""


def _shortfall(complete: Booleans) -> str:
    cut = int(np.count_nonzero(~complete))
    return f", {cut} cut short" if cut else ""


def _span(values: Integers) -> str:
    if len(values) == 0:
        return "-"
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"


def _report(lines: list[str], queries: int, stats: QueryStats | None) -> str:
    if queries > _SHOWN:
        lines.append(f"  ... {queries - _SHOWN} more")
    if stats is not None:
        lines += [f"  {line}" for line in repr(stats).splitlines()]
    return "\n".join(lines)
