"""``pageann plan`` must refuse what the build would refuse, and name what the build would report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import pageann
from pageann.cli.main import main
from pageann.datasets.synthetic import clustered
from pageann.index.builder.forecast import _phases
from pageann.plan import plan_build


@pytest.fixture
def base(tmp_path: Path) -> Path:
    vectors, _ = clustered(3000, 16, queries=1, seed=3)
    np.save(tmp_path / "base.npy", vectors)
    return tmp_path / "base.npy"


def test_a_plan_names_what_the_build_reports(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(base), "--memory", "100KiB", "--threads", "1", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    report = pageann.build(base, tmp_path / "index", memory="100KiB", threads=1)
    assert [phase["name"] for phase in plan["phases"]] == [name for name, _ in report.phases]
    assert plan["seconds"] == pytest.approx(sum(phase["seconds"] for phase in plan["phases"]))
    assert (plan["rows"], plan["dim"], plan["dtype"]) == (3000, 16, "float32")
    assert plan["index_bytes"] == pytest.approx(report.index_bytes, rel=0.25)
    assert plan["index_bytes"] < plan["disk_bytes"]
    assert plan["least_build_memory_bytes"] <= plan["build_memory_bytes"]
    assert plan["ledger"]["budget_bytes"] == 100 << 10
    assert list(tmp_path.glob("*.tmp")) == []


def test_a_plan_refuses_what_the_build_refuses(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(base), "--memory", "1KiB"]) == 2
    assert "memory" in capsys.readouterr().err
    with pytest.raises(pageann.BudgetTooSmall, match="build_memory"):
        plan_build(base, build_memory="1MiB")
    with pytest.raises(pageann.InvalidArgument):
        plan_build(base, metric="taxi")


def test_phases_are_stretched_to_all_rows(base: Path, tmp_path: Path) -> None:
    """All in proportion but calibration, and codes once their training sample is full."""
    report = pageann.build(base, tmp_path / "index", memory="100KiB", threads=1)
    seconds = dict(report.phases)
    stretched = dict(_phases(report, 3_000_000, 16))
    assert stretched["neighbours"] == pytest.approx(1000 * seconds["neighbours"])
    assert seconds["codes"] < stretched["codes"] < 1000 * seconds["codes"]
    assert seconds["calibration"] < stretched["calibration"] < 10 * seconds["calibration"]
    assert dict(_phases(report, 3000, 16)) == pytest.approx(seconds)
