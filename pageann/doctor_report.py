"""What :meth:`pageann.Index.doctor` hands back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pageann.types import format_bytes

__all__ = ["DataHealth", "DoctorReport", "GraphHealth"]


@dataclass(frozen=True, slots=True)
class GraphHealth:
    """The pages, and the edges between them: links, and representatives of vectors of other pages."""

    pages: int
    entry_pages: int
    """Pages from which all others should be reachable: one below each unit of the router's top level."""
    reached_pages: int
    lost_pages: tuple[int, ...]
    """The first of those that are not reachable."""
    vector_fill: float
    """Share of the places for vectors that are taken; so for links and representatives."""
    link_fill: float
    rep_fill: float
    byte_fill: float
    """Share of all bytes of all pages that mean something."""
    out_degree: float
    """Mean number of other pages that a page has edges to."""
    in_degree: tuple[tuple[str, int], ...]
    """How many other pages have edges to a page: least, percentiles, most."""
    pages_without_in_edges: int


@dataclass(frozen=True, slots=True)
class DataHealth:
    """The vectors."""

    duplicate_rows: int
    """Rows that equal an earlier one, byte for byte."""
    largest_group: int
    """Rows of the vector that comes most often."""
    norm_mean: float
    norm_deviation: float
    norm_least: float
    norm_most: float
    intrinsic_dim: float | None
    """Levina and Bickel's estimate; None where too few vectors differ."""
    contrast: float | None
    """Mean distance between two vectors over that to the tenth neighbour (root of l2; chord of cosine)."""
    near_rows: float | None
    """Rows to expect within 1.1 times the distance of the tenth neighbour."""
    sample: int
    """Vectors that the last three were estimated from."""


@dataclass(frozen=True, slots=True, repr=False)
class DoctorReport:
    """The health of an index: what was found out, and what to make of it."""

    path: str
    rows: int
    graph: GraphHealth
    data: DataHealth
    usual_units: float | None
    """Read units of a search for ten neighbours at recall 0.95, as calibrated; None where it is beyond."""
    findings: tuple[str, ...]
    """What is unusual, a sentence each; none: all is well."""
    memory_bytes: int
    """Most that the examination held, beside the budget of the index."""
    read_bytes: int

    def __repr__(self) -> str:
        graph, data = self.graph, self.data
        lines = [
            f"DoctorReport: {self.path}",
            f"  reachable    {graph.reached_pages:,} of {graph.pages:,} pages from {graph.entry_pages} entry "
            "pages of the router",
            f"  fill         vectors {graph.vector_fill:.1%}, links {graph.link_fill:.1%}, representatives "
            f"{graph.rep_fill:.1%}, bytes {graph.byte_fill:.1%}",
            f"  edges        {graph.out_degree:.1f} a page; pages with an edge to a page: "
            + ", ".join(f"{name} {count:,}" for name, count in graph.in_degree)
            + f"; none: {graph.pages_without_in_edges:,}",
            f"  duplicates   {data.duplicate_rows:,} of {self.rows:,} rows, at most {data.largest_group:,} "
            "of the same",
            f"  norms        {data.norm_mean:.6g} +- {data.norm_deviation:.3g}, {data.norm_least:.6g} to "
            f"{data.norm_most:.6g}",
        ]
        if data.intrinsic_dim is not None and data.contrast is not None and data.near_rows is not None:
            lines.append(
                f"  difficulty   intrinsic dimension {data.intrinsic_dim:.1f}, contrast {data.contrast:.2f}, "
                f"about {data.near_rows:,.0f} rows within 1.1 x the tenth distance"
            )
        units = "beyond calibration" if self.usual_units is None else f"{self.usual_units:.1f} units"
        lines.append(f"  reads        {units} at recall 0.95, k = 10")
        lines.append(
            f"  examined     {format_bytes(self.read_bytes)} read, {format_bytes(self.memory_bytes)} held"
        )
        lines += [f"  finding: {text}" for text in self.findings] or ["  nothing unusual"]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        plain = asdict(self)
        plain["graph"]["in_degree"] = dict(self.graph.in_degree)
        return plain
