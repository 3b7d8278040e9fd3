"""An open index: a segment with its plan, calibration, ids and engine, behind the public API."""

from __future__ import annotations

import errno
import threading
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from pageann.datasets.validate import check_queries
from pageann.errors import DamagedIndex, IndexClosed, InvalidArgument, StorageError
from pageann.explanation import Explanation
from pageann.index.search.calibration_file import read_calibration
from pageann.index.search.effort import Calibration
from pageann.index.search.engine import Answers, CallOptions, Engine
from pageann.index.search.ids import IdMap
from pageann.index.search.load import LoadedSegment, load_segment
from pageann.index.search.outcome import exact_stats, padded_result, range_result, stats_of
from pageann.index.search.planner import OpenPlan, plan_open, raw_bytes
from pageann.index.search.records import RecordReader
from pageann.index.search.sizing import Sizing
from pageann.index.search.visits import Lease, Visits
from pageann.index.search.within import rows_within
from pageann.index.search.workspace import WorkspaceFacts
from pageann.index.segment_files import IDS_FILE, PAGES_FILE
from pageann.results import QueryStats, RangeResult, SearchResult
from pageann.storage.arrays import ALONE, Holding
from pageann.storage.directory import IndexDirectory
from pageann.storage.files import storage_errors
from pageann.storage.io.probe import Choice, probe
from pageann.storage.manifest import Manifest, SegmentEntry
from pageann.types import ByteSize, Metric, format_bytes

if TYPE_CHECKING:
    from pageann.doctor_report import DoctorReport
    from pageann.index.search.explain_steps import SteppedSearch

__all__ = ["CallPlan", "OpenedIndex", "Quality"]

_UNLIMITED_READS = 1 << 40
_DEFAULT_SLOTS_PER_WORKER = 32
_MOST_KNOWN_OPTIONS = 64
_MOST_AIO_QUERIES = 64
"""Coroutines of one thread: more only wait for each other."""
_CAREFUL_RECALL = 0.99
"""Of the searches of an examination."""
_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Quality:
    """How hard to look: one of the three."""

    recall: float = 0.0
    effort: int = 0
    exact: bool = False


@dataclass(frozen=True, slots=True)
class CallPlan:
    """A checked call."""

    queries: npt.NDArray[np.float32]
    integral: bool
    k: int
    quality: Quality
    radius: float | None
    deadline_ns: int
    max_reads: int


class OpenedIndex:
    """See :class:`pageann.Index`, which is its public face."""

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        segment: LoadedSegment,
        plan: OpenPlan,
        calibration: Calibration,
        ids: IdMap,
        choice: Choice,
        threads: int,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.entry = segment.entry
        self.plan = plan
        self._segment = segment
        self._calibration = calibration
        self._tuning = calibration.tuning(plan.residence.code_bytes)
        self._facts = WorkspaceFacts.of_parameters(segment.resident.parameters)
        self._ids = ids
        self._ids_lease = Lease(ids.close)
        self._records = RecordReader.of_segment(segment)
        self._choice = choice
        self._threads = threads
        self._closed = False
        self._lock = threading.Lock()
        self._visits = Visits()
        self._known_options: dict[tuple[Any, ...], tuple[CallOptions, tuple[str, ...]]] = {}
        """Settings that calls have had lately, which depend on nothing but these."""
        self._totals = {"queries": 0, "reads": 0, "kib": 0.0}
        self._workers, slots = self._crew_size()
        self._sizing = Sizing(
            self._tuning,
            self._facts,
            segment.shape.group_slots,
            plan.width,
            plan.scratch_bytes // self._workers,
            plan.scratch_bytes,
        )
        self._engine = Engine(
            segment, choice.driver, workers=self._workers, slots=slots, scratch_bytes=plan.scratch_bytes
        )

    @classmethod
    def open(
        cls, path: Path, memory: ByteSize | None, io: str, threads: int, holding: Holding = ALONE
    ) -> Self:
        """Open the current version; a reader that loses it to a new one opens that."""
        directory = IndexDirectory(path)
        return directory.open_current(
            lambda manifest: cls._open(directory, manifest, memory, io, threads, holding)
        )

    @classmethod
    def _open(
        cls,
        directory: IndexDirectory,
        manifest: Manifest,
        memory: ByteSize | None,
        io: str,
        threads: int,
        holding: Holding,
    ) -> Self:
        entry = manifest.segments[0]
        folder = directory.file_path(entry, PAGES_FILE).parent
        _require_files(folder, entry)
        calibration = read_calibration(folder, entry)
        built_for = int(manifest.options["memory_bytes"])
        budget = built_for if memory is None else memory.resolve(raw_bytes(entry))
        plan = plan_open(entry, budget, threads, calibration.tunings, holding.processes)
        choice = probe(folder / PAGES_FILE, io)
        segment = load_segment(folder, entry, plan.residence, holding.take)
        try:
            ids = IdMap.open(
                folder / IDS_FILE,
                entry.meta["ids"],
                entry.rows,
                entry.tag,
                resident=plan.ids_resident,
                take=holding.take,
            )
            try:
                return cls(directory.path, manifest, segment, plan, calibration, ids, choice, threads)
            except BaseException:
                ids.close()
                raise
        except BaseException:
            segment.close()
            raise

    @cached_property
    def metric(self) -> Metric:
        """How vectors are compared."""
        return Metric.parse(self.entry.metric)

    def _crew_size(self) -> tuple[int, int]:
        """(workers, queries in flight) that the scratch was planned for."""
        size = self._tuning.size(10, 40, self._segment.shape.group_slots, self.plan.width)
        one = self._facts.bytes(1, size)
        if self._choice.driver == "aio":
            return 1, max(1, min(_MOST_AIO_QUERIES, self.plan.scratch_bytes // one))
        workers = self.plan.workers
        return workers, _DEFAULT_SLOTS_PER_WORKER * workers

    def plan_call(
        self,
        queries: Any,
        k: int,
        quality: Quality,
        radius: float | None,
        deadline_ns: int,
        max_reads: int | None,
    ) -> CallPlan:
        """Check what a call asks for. Raises InvalidArgument or IndexClosed."""
        self._require_open()
        if max_reads is not None and not (_is_number(max_reads, int, np.integer) and max_reads >= 1):
            raise InvalidArgument(f"max_page_reads={max_reads!r}: give a number of at least 1")
        if radius is not None and not (
            _is_number(radius, int, float, np.integer, np.floating) and np.isfinite(radius)
        ):
            raise InvalidArgument(f"radius={radius!r}: give a finite distance")
        values, integral = check_queries(queries, self.entry.dim, self.entry.dtype, self.metric)
        limit = _UNLIMITED_READS if max_reads is None else int(max_reads)
        return CallPlan(
            values, integral, k, quality, None if radius is None else float(radius), deadline_ns, limit
        )

    def search(self, call: CallPlan, stats: bool) -> SearchResult:
        """Answer a k-nearest call."""
        if call.quality.exact:
            return self._exact(call, stats)
        options, warnings = self._options(call, call.k)
        with self._ids_lease:
            answers = self._engine.run(call.queries, options)
            return self._result(answers, call.k, options, warnings, stats)

    async def asearch(self, call: CallPlan, stats: bool) -> SearchResult:
        """Answer a k-nearest call of a coroutine."""
        options, warnings = self._options(call, call.k)
        with self._ids_lease:
            answers = await self._engine.arun(call.queries, options)
            return self._result(answers, call.k, options, warnings, stats)

    def search_range(self, call: CallPlan, stats: bool, max_results: int | None = None) -> RangeResult:
        """All rows within a radius: k-nearest calls with growing k until the last row lies outside."""
        assert call.radius is not None
        if call.quality.exact:
            raise InvalidArgument("radius cannot be combined with exact; give recall or effort")
        efforts: list[tuple[int, tuple[str, ...]]] = []

        def search(pending: npt.NDArray[np.int64], k: int, most_reads: int) -> Answers:
            options, warnings = self._options(replace(call, max_reads=most_reads), k)
            efforts.append((options.size.effort, warnings))
            return self._engine.run(call.queries[pending], options)

        most = len(call.queries) * self.entry.rows if max_results is None else max_results
        with self._ids_lease:
            within = rows_within(
                len(call.queries), call.radius, self.entry.rows, call.max_reads, most, search
            )
            ids, reads, kib = self._ids.ids_of_rows(
                np.concatenate([near for near, _ in within.found] or [_NO_ROWS])
            )
        measured = stats_of(within.counters, *efforts[-1], id_reads=reads, id_kib=kib)
        self._count(len(call.queries), int(measured.reads.sum()), float(measured.kib.sum()))
        return range_result(within.found, ids, measured, keep_stats=stats)

    def _options(self, call: CallPlan, k: int) -> tuple[CallOptions, tuple[str, ...]]:
        """Settings for k nearest rows, within the memory that is planned for queries in flight."""
        asked = (k, call.quality, call.max_reads, call.integral)
        known = self._known_options.get(asked)
        if known is None:
            known = self._options_of(replace(call, deadline_ns=0), k)
            if len(self._known_options) >= _MOST_KNOWN_OPTIONS:
                self._known_options.clear()
            self._known_options[asked] = known
        options, warnings = known
        return (replace(options, deadline_ns=call.deadline_ns) if call.deadline_ns else options), warnings

    def _options_of(self, call: CallPlan, k: int) -> tuple[CallOptions, tuple[str, ...]]:
        """The same, worked out."""
        kept = min(k, self.entry.rows)
        warnings: tuple[str, ...] = ()
        if call.quality.effort:
            effort = call.quality.effort
        else:
            effort, warning = self._calibration.effort_for(
                call.quality.recall, kept, self.plan.residence.code_bytes
            )
            warnings = (warning,) if warning else ()
        least = self._tuning.rerank(kept) if self._facts.quantised else 1
        effort = min(max(effort, least), self.entry.rows)
        size = self._sizing.widest(kept, effort)
        if size is None and not call.quality.effort:
            size = self._sizing.most_careful(kept, min(least, effort), effort)
            if size is not None:
                warnings += (
                    f"recall {call.quality.recall:g} may be missed: this memory budget leaves room for "
                    f"effort {size.effort}, not {effort}; open the index with more memory",
                )
        if size is None:
            needed = self._sizing.least_bytes(kept, effort)
            asked = f"k={k}" if call.radius is None else f"radius={call.radius:g} with {k} rows inside"
            raise InvalidArgument(
                f"{asked} at effort {effort} takes {format_bytes(needed)} for one query, and this memory "
                f"budget leaves {format_bytes(self.plan.scratch_bytes)}; ask for less, or open the index "
                "with more memory"
            )
        options = CallOptions(
            size,
            size.width,
            size.width,
            self._tuning.rerank(kept),
            call.max_reads,
            call.deadline_ns,
            call.integral,
            self._tuning.walk_pages(size.effort),
        )
        return options, warnings

    def _result(
        self, answers: Answers, k: int, options: CallOptions, warnings: tuple[str, ...], stats: bool
    ) -> SearchResult:
        ids, reads, kib = self._ids.ids_of_rows(answers.rows)
        page_reads, page_bytes = answers.reads
        self._count(len(answers.rows), page_reads + reads, page_bytes / 1024 + kib)
        measured = None
        if stats:
            effort = options.size.effort
            measured = QueryStats.postponed(
                partial(stats_of, answers.counters, effort, warnings, id_reads=reads, id_kib=kib), warnings
            )
        return padded_result(answers, ids, k, measured)

    def _exact(self, call: CallPlan, stats: bool) -> SearchResult:
        """Read everything."""
        kept = min(call.k, self.entry.rows)
        with self._visits.inside():
            rows, distances = self._records.exact_scan(
                call.queries, kept, self.metric, integral=call.integral, threads=self._threads
            )
            ids, _, _ = self._ids.ids_of_rows(rows)
        layout = self._records.layout
        measured = exact_stats(len(rows), self._records.page_count, layout.page_bytes)
        answers = Answers.unanswered(len(rows), kept)
        answers.rows[:], answers.distances[:], answers.counts[:] = rows, distances, (rows >= 0).sum(axis=1)
        self._count(len(rows), 0, 0.0)
        return padded_result(answers, ids, call.k, measured if stats else None)

    def explain(self, call: CallPlan, truth: bool) -> Explanation:
        """How the one query of a k-nearest call is answered; with ``truth``, beside an exact scan."""
        from pageann.index.search.explain import Asked, explain_query

        if len(call.queries) != 1:
            raise InvalidArgument(f"{len(call.queries)} queries: explain takes one; pass one row of them")
        options, warnings = self._options(call, call.k)
        asked = Asked(
            query=call.queries[0],
            k=min(call.k, self.entry.rows),
            recall=call.quality.recall or None,
            max_page_reads=None if call.max_reads == _UNLIMITED_READS else call.max_reads,
            options=options,
            warnings=warnings,
            path=str(self.path),
        )
        records = self._records if truth else None
        with self._visits.inside():
            return explain_query(self._segment, self._ids, records, asked, self._threads)

    def stepped(self, call: CallPlan) -> SteppedSearch:
        """What searches for queries of a k-nearest call step by step; the caller closes it."""
        from pageann.index.search.explain_steps import SteppedSearch

        return SteppedSearch(self._segment, self._options(call, call.k)[0])

    @property
    def page_count(self) -> int:
        """Pages that may be pinned."""
        return self._segment.shape.page_count(self.entry.rows)

    def get(self, ids: Any) -> npt.NDArray[Any]:
        """The stored vectors of ``ids``."""
        self._require_open()
        with self._visits.inside():
            rows = self._ids.rows_of_ids(ids)
            return self._records.vectors_of_slots(self._ids.slots_of_rows(rows))

    def export(self, path: Path) -> None:
        """Write all vectors in row order."""
        self._require_open()
        with self._visits.inside():
            self._records.export(path)

    def totals(self) -> dict[str, Any]:
        """Counts since opening."""
        with self._lock:
            return dict(self._totals)

    def describe(self) -> dict[str, Any]:
        """All facts, as plain values."""
        from pageann.index.search.description import describe_index

        return describe_index(
            self.path, self.manifest, self._segment, self.plan, self._calibration, self._choice, self._ids
        )

    def doctor(self) -> DoctorReport:
        """Examine pages and vectors."""
        from pageann.index.search.examination import examine

        self._require_open()

        def near(queries: npt.NDArray[np.float32], k: int) -> npt.NDArray[Any]:
            call = self.plan_call(queries, k, Quality(recall=_CAREFUL_RECALL), None, 0, None)
            return self.search(call, False).distances

        with self._visits.inside():
            return examine(str(self.path), self._segment, self._records, self._calibration, near)

    def close(self) -> None:
        """Close engine and files once running calls have ended."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._engine.close()
        self._visits.close()
        self._ids_lease.give_up()
        self._segment.close()

    def _require_open(self) -> None:
        if self._closed:
            raise IndexClosed(f"{self.path}: this index was closed; open it again")

    def _count(self, queries: int, reads: int, kib: float) -> None:
        with self._lock:
            self._totals["queries"] += queries
            self._totals["reads"] += reads
            self._totals["kib"] += kib


def _is_number(value: object, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def _require_files(folder: Path, entry: SegmentEntry) -> None:
    """Refuse a segment that lacks a file, or has one of another length than listed."""
    for name, listed in sorted(entry.files.items()):
        path = folder / name
        try:
            with storage_errors("measure", path):
                found = path.stat().st_size
        except StorageError as error:
            if error.errno != errno.ENOENT:
                raise
            what = "is missing"
        else:
            if found == listed.bytes:
                continue
            what = f"is {found} bytes long instead of {listed.bytes}"
        raise DamagedIndex(f"{path}: {what}; restore a copy of the index or build it again", str(path))
