"""The library: ``build``, ``open`` and :class:`Index`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
import numpy.typing as npt

from pageann.errors import InvalidArgument
from pageann.explanation import Explanation
from pageann.index.machine import usable_cores
from pageann.index.search.opened import OpenedIndex, Quality
from pageann.results import BuildReport, Ledger, RangeResult, SearchResult
from pageann.storage.arrays import ALONE
from pageann.types import ByteSize, Metric, parse_bytes

if TYPE_CHECKING:
    from pageann.doctor_report import DoctorReport
    from pageann.index.builder.progress import ProgressCallback
    from pageann.revision_reports import OptimizeReport, TuneReport
    from pageann.storage.verify import Damage

__all__ = ["Index", "build", "open", "optimize", "tune", "verify", "warmup"]

DEFAULT_RECALL = 0.95
MAX_K = 100_000
LEAST_DEFAULT_BYTES = 4 << 20
"""A share of a small set is too little for anything; nobody who states no budget means that."""


def _threads(threads: int | None) -> int:
    if threads is None:
        return usable_cores()
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
        raise InvalidArgument(f"threads={threads!r}: give a number of threads of at least 1")
    return int(threads)


def build(
    vectors: Any,
    path: str | Path,
    *,
    metric: str | Metric = "l2",
    ids: Any = None,
    memory: str | int | ByteSize | None = None,
    build_memory: str | int | ByteSize | None = None,
    disk: str | int | ByteSize | None = None,
    codes: str = "auto",
    page_bytes: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
    replace: bool = True,
    resume: bool = True,
    rows: int | None = None,
    dim: int | None = None,
    column: str | None = None,
    id_column: str | None = None,
    dataset: str | None = None,
    queries_sample: Any = None,
) -> BuildReport:
    """Build an index of ``vectors`` at ``path`` and publish it; returns what was made.

    ``vectors`` is a path, an array, Arrow data, or an iterator of blocks with ``rows`` and ``dim``
    (see :func:`pageann.datasets.source.open_vectors`): n x dim of float32, float16, int8 or uint8.
    ``ids`` are n different integers or strings (default: row numbers). ``memory`` is the RAM that an
    open index may take, as bytes or as a share of the raw vectors (default: 30 %, at least 4 MiB);
    the layout on disk depends on it, and any other budget can be opened too. ``build_memory`` bounds
    the build (default: three quarters of free RAM). ``disk`` is what the index may take on disk, as bytes or
    as a multiple of the raw vectors (``2.5x``): what is left of it pays for second copies of vectors, which
    save reads (default: no copies). ``codes`` is the family of the codes that stay in memory: ``pq4``,
    ``pq8``, ``rabitq`` or ``sq8``; ``auto`` measures on a sample of the vectors which of them orders best for
    what it costs. ``progress`` hears of each phase and cancels by returning False.

    With ``resume`` a build that was stopped, by a signal, a lost disk or ``progress``, is gone on with by
    the next call with the same arguments; what it leaves until then lies in the folder at ``path``.
    A leftover of another input or other options is removed, and ``progress`` is told.

    ``queries_sample`` (q, dim), an array or a path, are queries to build for where they do not lie as
    the vectors do (questions among answers, texts among pictures): 50 at least and better 1,000; up to
    2,000 of them are used, spread over all. Recall is then calibrated on them, codes are corrected by
    the offset that they share, and the pages near them are pinned first.

    The same input, options and seed give the same bytes. An index at ``path`` is replaced once the
    new one is complete (``replace=False``: refused). Raises InvalidData, InvalidArgument,
    BudgetTooSmall, IndexExists, IndexLocked, StorageError, BuildCancelled.
    """
    from pageann.datasets.source import open_vectors
    from pageann.index.builder.pipeline import BuildOptions, build_index
    from pageann.index.builder.query_sample import check_sample
    from pageann.index.code_families import parse_family

    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**31:
        raise InvalidArgument(f"seed={seed!r}: give a number from 0 to 2^31 - 1")
    source = open_vectors(vectors, rows=rows, dim=dim, column=column, id_column=id_column, dataset=dataset)
    options = BuildOptions(
        metric=Metric.parse(metric),
        memory=parse_bytes("30%" if memory is None else memory),
        least_memory_bytes=LEAST_DEFAULT_BYTES if memory is None else 0,
        build_memory=None if build_memory is None else parse_bytes(build_memory, option="build_memory"),
        page_bytes=page_bytes,
        disk_bytes=None if disk is None else parse_bytes(disk, option="disk").resolve(source.bytes),
        codes=parse_family(codes),
        seed=int(seed),
        threads=_threads(threads),
        replace=replace,
        resume=resume,
    )
    if queries_sample is not None:
        sample = check_sample(_rows_of(queries_sample), source.dim, source.dtype, options.metric)
        options = dataclasses.replace(options, queries_sample=sample)
    return build_index(source, Path(path), ids, options, progress)


def _rows_of(queries: Any) -> Any:
    """Query vectors of a path as an array; anything else as it is."""
    if not isinstance(queries, (str, Path)):
        return queries
    from pageann.datasets.source import open_vectors

    return open_vectors(queries).mapped(None)


def open(  # shadows the built-in on purpose: callers write pageann.open
    path: str | Path,
    *,
    memory: str | int | ByteSize | None = None,
    io: str = "auto",
    threads: int | None = None,
    shared: str | None = None,
) -> Index:
    """Open the index at ``path`` for searching.

    ``memory`` is what it may hold in RAM, as bytes or as a share of the raw vectors (default: what it
    was built for). ``io`` is ``auto``, ``uring``, ``threads`` or ``aio``. ``shared`` is the address of a
    :class:`SharedArrays`: ``memory`` is then what all processes that share may hold together, and what
    does not change is held once. Raises IndexNotFound, DamagedIndex, FormatTooNew, BudgetTooSmall,
    StorageError.
    """
    budget = None if memory is None else parse_bytes(memory)
    if shared is None:
        holding = ALONE
    else:
        from pageann.storage.shared import join

        holding = join(shared)
    return Index(OpenedIndex.open(Path(path), budget, io, _threads(threads), holding))


class Index:
    """An open, immutable index. Use it from any number of threads and coroutines; close it, or use ``with``.

    A later build at the same path does not change it: it keeps the version that it opened.
    """

    def __init__(self, opened: OpenedIndex) -> None:
        self._opened = opened

    @property
    def path(self) -> Path:
        """Where the index lies."""
        return self._opened.path

    @property
    def rows(self) -> int:
        """Number of vectors."""
        return self._opened.entry.rows

    @property
    def dim(self) -> int:
        """Elements of a vector."""
        return self._opened.entry.dim

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the stored vectors."""
        return np.dtype(self._opened.entry.dtype)

    @property
    def metric(self) -> str:
        """``l2``, ``ip`` or ``cosine``."""
        return self._opened.entry.metric

    @property
    def ledger(self) -> Ledger:
        """What the memory budget is spent on."""
        return self._opened.plan.ledger

    def __len__(self) -> int:
        return self.rows

    def __repr__(self) -> str:
        return f"<pageann.Index {self.path}: {self.rows:,} x {self.dim} {self.dtype}, {self.metric}>"

    @overload
    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        recall: float | None = None,
        effort: int | None = None,
        exact: bool = False,
        radius: None = None,
        deadline: float | None = None,
        max_page_reads: int | None = None,
        stats: bool = True,
    ) -> SearchResult: ...

    @overload
    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        recall: float | None = None,
        effort: int | None = None,
        exact: bool = False,
        radius: float,
        deadline: float | None = None,
        max_page_reads: int | None = None,
        max_results: int | None = None,
        stats: bool = True,
    ) -> RangeResult: ...

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        recall: float | None = None,
        effort: int | None = None,
        exact: bool = False,
        radius: float | None = None,
        deadline: float | None = None,
        max_page_reads: int | None = None,
        max_results: int | None = None,
        stats: bool = True,
    ) -> SearchResult | RangeResult:
        """The k nearest rows of each query: ``ids, distances = index.search(queries)``.

        ``queries`` is (q, dim) or (dim,), of any real type. Say how hard to look by at most one of
        ``recall`` (mean recall to reach on queries like the calibration sample; default 0.95),
        ``effort`` (about how many candidates are worth a look) and ``exact`` (read everything). With
        ``radius`` all rows within that distance that a search of that quality finds come back as a
        RangeResult.
        ``max_results`` is the most rows that such a search may find, of all queries together: more raise
        InvalidArgument as soon as they are found.
        ``deadline`` (seconds from now) and ``max_page_reads`` end a query early with its best so far.
        The contract of results is in :mod:`pageann.results`.
        """
        if max_results is not None and radius is None:
            raise InvalidArgument("max_results bounds what a radius finds: give a radius too, or k alone")
        call = self._opened.plan_call(
            queries,
            _require_k(k),
            _quality(recall, effort, exact),
            radius,
            _absolute(deadline),
            max_page_reads,
        )
        if call.radius is not None:
            return self._opened.search_range(call, stats, _require_max_results(max_results))
        return self._opened.search(call, stats)

    async def asearch(
        self,
        query: Any,
        k: int = 10,
        *,
        recall: float | None = None,
        effort: int | None = None,
        deadline: float | None = None,
        max_page_reads: int | None = None,
        stats: bool = True,
    ) -> SearchResult:
        """:meth:`search` for coroutines; calls that wait are answered together."""
        call = self._opened.plan_call(
            query, _require_k(k), _quality(recall, effort, False), None, _absolute(deadline), max_page_reads
        )
        return await self._opened.asearch(call, stats)

    def explain(
        self,
        query: Any,
        k: int = 10,
        *,
        recall: float | None = None,
        effort: int | None = None,
        max_page_reads: int | None = None,
        truth: bool = True,
    ) -> Explanation:
        """How :meth:`search` answers one query, with the same options, and why it misses what it misses.

        ``query`` is (dim,) or (1, dim). Searches step by step with memory of its own beside the
        budget; with ``truth`` every page is read once more, to find the true neighbours.
        ``print(index.explain(query))`` shows a report, ``.to_svg()`` draws a picture.
        """
        call = self._opened.plan_call(
            query, _require_k(k), _quality(recall, effort, False), None, 0, max_page_reads
        )
        return self._opened.explain(call, truth)

    def get(self, ids: Any) -> npt.NDArray[Any]:
        """The stored vectors (m, dim) of ``ids``, byte for byte as given; UnknownId for any other."""
        return self._opened.get(ids)

    def export(self, path: str | Path) -> None:
        """Write all vectors, in the order of the input, to a file whose suffix names the format."""
        self._opened.export(Path(path))

    def describe(self) -> dict[str, Any]:
        """Everything that ``pageann inspect`` shows, as plain values."""
        return self._opened.describe()

    def doctor(self) -> DoctorReport:
        """How sound the page graph is, and how hard the vectors are to search: ``print(index.doctor())``.

        Reads all pages once or twice in blocks, holds 64 MiB at most beside the budget (of a very
        large index some 44 bytes a page), and searches for 256 of the vectors. Raises DamagedIndex,
        StorageError, IndexClosed.
        """
        return self._opened.doctor()

    def stats(self) -> dict[str, Any]:
        """Counts since the index was opened: queries, reads, KiB."""
        return self._opened.totals()

    def close(self) -> None:
        """Free memory and files; searches that run are finished first. A second call does nothing."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _require_k(k: int) -> int:
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= MAX_K:
        raise InvalidArgument(f"k={k!r}: give a number from 1 to {MAX_K:,}")
    return int(k)


def _require_max_results(count: int | None) -> int | None:
    if count is None:
        return None
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
        raise InvalidArgument(f"max_results={count!r}: give a number of at least 1")
    return int(count)


def _quality(recall: float | None, effort: int | None, exact: bool) -> Quality:
    if (recall is not None) + (effort is not None) + bool(exact) > 1:
        raise InvalidArgument("recall, effort and exact exclude each other; give one of them")
    if exact:
        return Quality(exact=True)
    if effort is not None:
        if isinstance(effort, bool) or not isinstance(effort, (int, np.integer)) or effort < 1:
            raise InvalidArgument(f"effort={effort!r}: give a number of candidates of at least 1")
        return Quality(effort=int(effort))
    wanted = DEFAULT_RECALL if recall is None else recall
    if isinstance(wanted, bool) or not isinstance(wanted, (int, float, np.number)) or not 0 < wanted <= 1:
        raise InvalidArgument(f"recall={recall!r}: give a share above 0, up to 1")
    return Quality(recall=float(wanted))


def _absolute(deadline: float | None) -> int:
    """The deadline on the clock of ``time.monotonic_ns``; 0 for none."""
    if deadline is None:
        return 0
    if isinstance(deadline, bool) or not isinstance(deadline, (int, float, np.number)) or not deadline > 0:
        raise InvalidArgument(f"deadline={deadline!r}: give seconds from now, above 0")
    return time.monotonic_ns() + max(1, int(min(float(deadline), 1e9) * 1e9))


def verify(path: str | Path) -> list[Damage]:
    """Every damage found by checking every byte of the index at ``path``; empty where it is sound."""
    from pageann.storage.verify import verify as verify_files

    return verify_files(Path(path))


def tune(
    path: str | Path,
    queries: Any,
    *,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> TuneReport:
    """Fit what ``recall=`` means to your own queries, and publish that as a new version of the index.

    ``queries`` is (q, dim), 50 at least and better 1,000; up to 2,000 of them are used, spread over
    all. Their true neighbours are found by reading everything once; then recall is measured at many
    efforts, for k of 1, 10 and 100 and every width of codes that a budget may hold. Vectors and pages
    stay; an index that is open keeps the curves that it has. ``progress`` as in :func:`build`.

    Raises InvalidArgument, IndexNotFound, IndexLocked, DamagedIndex, StorageError, BuildCancelled.
    """
    from pageann.index.search.tune import tune_index

    return tune_index(Path(path), queries, _threads(threads), progress)


def optimize(
    path: str | Path,
    queries: Any,
    *,
    memory: str | int | ByteSize | None = None,
    recall: float | None = None,
    k: int = 10,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> OptimizeReport:
    """Pin the pages that your queries visit most, if that saves reads.

    ``queries`` (q, dim) is a log of at least 50, better thousands; up to 10,000 of them are searched
    for ``k`` neighbours at ``recall`` (default 0.95), spread over all. Four fifths of them decide the
    order in which pages are pinned, the last fifth says what it saves at the budget ``memory``
    (default: what the index was built for). Only if it surely saves something is it published, as a
    new version. ``progress`` as in :func:`build`.

    Raises InvalidArgument, IndexNotFound, IndexLocked, DamagedIndex, BudgetTooSmall, StorageError,
    BuildCancelled.
    """
    from pageann.index.search.optimize import OptimizeOptions, optimize_index

    options = OptimizeOptions(
        None if memory is None else parse_bytes(memory),
        _require_k(k),
        _quality(recall, None, False),
        _threads(threads),
    )
    return optimize_index(Path(path), queries, options, progress)


def warmup(dtypes: Iterable[str] | None = None) -> float:
    """Compile all kernels that building and searching need, or load them from the cache; returns seconds."""
    from pageann.index.warmup import warm_kernels

    return warm_kernels(dtypes)
