"""What a build will take on this machine, before it is begun."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pageann.types import ByteSize, Metric, format_bytes, parse_bytes

if TYPE_CHECKING:
    from pageann.results import Ledger

__all__ = ["BuildPlan", "plan_build"]


@dataclass(frozen=True, slots=True, repr=False)
class BuildPlan:
    """Estimated time, memory and disk of a build, and the ledger of the index it would make."""

    rows: int
    dim: int
    dtype: str
    metric: str
    seconds: float
    phases: tuple[tuple[str, float], ...]
    """Name and seconds of each phase, in order."""
    peak_rss_bytes: int
    """Of the process that builds."""
    build_memory_bytes: int
    """The budget that the build would keep to."""
    least_build_memory_bytes: int
    """The smallest budget that works."""
    disk_bytes: int
    """Most that lies on the disk at one time."""
    index_bytes: int
    """Size of the index, about."""
    ledger: Ledger
    """Of the index, opened with the memory it is built for."""
    usual_units: float | None
    """Read units of a search for ten neighbours at recall 0.95, without pinned pages; None: not reached."""
    probe_seconds: float
    """What finding this out took."""

    def __repr__(self) -> str:
        lines = [
            f"BuildPlan: {self.rows:,} x {self.dim} {self.dtype}, {self.metric}",
            f"  time     about {self.seconds:.0f} s, by a sample that took {self.probe_seconds:.0f} s",
            *(f"    {name:<20} {seconds:8.1f} s" for name, seconds in self.phases),
            f"  memory   peak RSS about {format_bytes(self.peak_rss_bytes)} with a build memory of "
            f"{format_bytes(self.build_memory_bytes)}, at least "
            f"{format_bytes(self.least_build_memory_bytes)}",
            f"  disk     up to {format_bytes(self.disk_bytes)}, of which the index is "
            f"{format_bytes(self.index_bytes)}",
            "  reads    "
            + (
                "recall 0.95 is not reached"
                if self.usual_units is None
                else f"about {self.usual_units:.1f} units"
            )
            + " at recall@10 0.95, without pinned pages",
            "  memory of the open index",
            *(f"    {line}" for line in str(self.ledger).splitlines()),
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values, for JSON."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        plain["phases"] = [{"name": name, "seconds": seconds} for name, seconds in self.phases]
        plain["ledger"] = self.ledger.to_dict()
        return plain


def plan_build(
    vectors: Any,
    *,
    metric: str | Metric = "l2",
    memory: str | int | ByteSize | None = None,
    build_memory: str | int | ByteSize | None = None,
    disk: str | int | ByteSize | None = None,
    codes: str = "auto",
    page_bytes: int | None = None,
    threads: int | None = None,
    column: str | None = None,
    dataset: str | None = None,
) -> BuildPlan:
    """Predict what :func:`pageann.build` with these arguments would take.

    Two small samples of the input are built in a temporary folder, which takes some ten seconds with warm
    kernels. The plan is remembered with the compiled kernels, and the build reports it beside what it
    took. Raises what the build would refuse: BudgetTooSmall, InvalidArgument.
    """
    from pageann.api import LEAST_DEFAULT_BYTES
    from pageann.datasets.source import open_vectors
    from pageann.index.builder.forecast import forecast_build
    from pageann.index.builder.options import BuildOptions
    from pageann.index.code_families import parse_family
    from pageann.index.machine import usable_cores

    source = open_vectors(vectors, column=column, dataset=dataset)
    options = BuildOptions(
        metric=Metric.parse(metric),
        memory=parse_bytes("30%" if memory is None else memory),
        least_memory_bytes=LEAST_DEFAULT_BYTES if memory is None else 0,
        build_memory=None if build_memory is None else parse_bytes(build_memory, option="build_memory"),
        page_bytes=page_bytes,
        disk_bytes=None if disk is None else parse_bytes(disk, option="disk").resolve(source.bytes),
        codes=parse_family(codes),
        seed=0,
        threads=usable_cores() if threads is None else threads,
        replace=False,
        resume=False,
    )
    found = forecast_build(source, options)
    return BuildPlan(
        rows=found.rows,
        dim=found.dim,
        dtype=found.dtype,
        metric=found.metric,
        seconds=found.seconds,
        phases=found.phases,
        peak_rss_bytes=found.peak_rss_bytes,
        build_memory_bytes=found.build_memory_bytes,
        least_build_memory_bytes=found.needs.memory_bytes,
        disk_bytes=found.needs.disk_bytes,
        index_bytes=found.needs.index_bytes,
        ledger=found.ledger,
        usual_units=found.usual_units,
        probe_seconds=found.probe_seconds,
    )
