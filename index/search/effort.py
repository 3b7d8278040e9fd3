"""Recall by number: the stored curve of recall against effort, and the effort that it answers with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pageann.index.search.tuning import Tuning

__all__ = ["Calibration", "Curve", "CurvePoint"]

_USUAL_K = 10
_USUAL_RECALL = 0.95


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What one effort gave on the calibration sample: means over its queries."""

    effort: int
    recall: float
    recall_low: float
    """Lower end of the 95 % confidence interval of the mean recall."""
    reads: float
    units: float
    hops: float
    codes: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of ascending effort for one k and one width of resident codes."""

    k: int
    code_bytes: int
    points: tuple[CurvePoint, ...]

    def effort_for(self, recall: float) -> tuple[int, bool]:
        """(least effort whose recall, at the low end, is ``recall``; whether the curve reaches it)."""
        before: CurvePoint | None = None
        for point in self.points:
            if point.recall_low >= recall:
                if before is None or point.recall_low <= before.recall_low:
                    return point.effort, True
                share = (recall - before.recall_low) / (point.recall_low - before.recall_low)
                return int(before.effort + share * (point.effort - before.effort) + 0.999), True
            before = point
        return self.points[-1].effort, False

    def cost_at(self, recall: float, cost: Callable[[CurvePoint], float]) -> float | None:
        """What a mean recall costs, between the points around it; None where it is not reached."""
        before: CurvePoint | None = None
        for point in self.points:
            if point.recall >= recall:
                if before is None or point.recall <= before.recall:
                    return cost(point)
                share = (recall - before.recall) / (point.recall - before.recall)
                return cost(before) + share * (cost(point) - cost(before))
            before = point
        return None


@dataclass(frozen=True, slots=True)
class Calibration:
    """All that was measured when the index was built."""

    sample: int
    """Held-out queries: rows of the index, each left out of its own answer."""
    memory_bytes: int
    tunings: Mapping[int, Tuning]
    """By width of resident codes; 0: none."""
    curves: tuple[Curve, ...]

    def tuning(self, code_bytes: int) -> Tuning:
        """The tuning for a width of resident codes."""
        return self.tunings[code_bytes]

    def effort_for(self, recall: float, k: int, code_bytes: int) -> tuple[int, str]:
        """(effort, warning or "") for a recall at ``k``; between calibrated ks the more careful counts."""
        curves = sorted((c for c in self.curves if c.code_bytes == code_bytes), key=lambda c: c.k)
        if not curves:
            effort = max(4 * k, int(k / max(1e-3, 1.0 - recall)))
            return effort, f"no calibration for this memory budget; effort {effort} is a guess"
        below = [c for c in curves if c.k <= k][-1:] or curves[:1]
        above = [c for c in curves if c.k >= k][:1] or curves[-1:]
        answers = [c.effort_for(recall) for c in (*below, *above)]
        effort = max(found for found, _ in answers)
        if k > curves[-1].k:
            effort = max(effort, round(answers[-1][0] * k / curves[-1].k))
            return effort, f"k={k} is beyond the largest calibrated k={curves[-1].k}; recall may differ"
        if not all(reached for _, reached in answers):
            return effort, f"recall {recall:g} is beyond what calibration reached at k={k}"
        return effort, ""

    def usual_units(self, code_bytes: int) -> float | None:
        """Read units of a search at recall@10 0.95, with nothing pinned; None where no curve reaches it."""
        for curve in self.curves:
            if curve.k == _USUAL_K and curve.code_bytes == code_bytes:
                return curve.cost_at(_USUAL_RECALL, lambda point: point.units)
        return None

    def to_json(self) -> dict[str, Any]:
        """As the file holds it."""
        return {
            "version": 1,
            "sample": self.sample,
            "memory_bytes": self.memory_bytes,
            "tunings": {str(width): tuning.to_json() for width, tuning in sorted(self.tunings.items())},
            "curves": [
                {"k": c.k, "code_bytes": c.code_bytes, "points": [asdict(p) for p in c.points]}
                for c in self.curves
            ],
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Calibration:
        """Read back :meth:`to_json`."""
        curves: Sequence[Mapping[str, Any]] = fields["curves"]
        return cls(
            fields["sample"],
            fields["memory_bytes"],
            {int(width): Tuning.from_json(tuning) for width, tuning in fields["tunings"].items()},
            tuple(
                Curve(c["k"], c["code_bytes"], tuple(CurvePoint(**p) for p in c["points"])) for c in curves
            ),
        )
