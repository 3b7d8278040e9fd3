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
    assert plan["usual_units"] == pytest.approx(report.usual_units, rel=0.5)


def test_a_plan_within_a_disk_allowance(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--memory", "100KiB", "--disk", "3.5x", "--threads", "1", "--json"]
    assert main(["plan", str(base), *options]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert main(["build", str(base), str(tmp_path / "index"), *options]) == 0
    report = json.loads(capsys.readouterr().out)
    assert "copies" in [phase["name"] for phase in plan["phases"]]
    assert [phase["name"] for phase in plan["phases"]] == [phase["name"] for phase in report["phases"]]
    assert report["index_bytes"] <= plan["index_bytes"] <= 3.5 * 3000 * 64
    assert {item["name"]: item["bytes"] for item in plan["ledger"]["items"]}["copies"] == 2 * 3000 + 4
    assert report["predicted"]["seconds"] == plan["seconds"]
    assert main(["plan", str(base), "--memory", "100KiB", "--disk", "1x"]) == 2
    assert capsys.readouterr().err.count("disk=") == 1


def test_the_build_tells_what_was_predicted(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Memory and size always; time and reads where a plan of the same build was made before."""
    plan = plan_build(base, memory="120KiB", threads=1)
    report = pageann.build(base, tmp_path / "index", memory="120KiB", threads=1)
    assert report.predicted is not None
    assert report.predicted.seconds == plan.seconds
    assert report.predicted.usual_units == plan.usual_units
    assert report.predicted.index_bytes == plan.index_bytes
    assert report.predicted.disk_bytes == plan.disk_bytes
    assert main(["build", str(base), str(tmp_path / "index"), "--memory", "120KiB", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line.startswith("    ")][-20:].count("time") == 1
    for words in ("predicted", "actual", "peak RSS"):
        assert words in out
    other = pageann.build(base, tmp_path / "index", memory="121KiB", threads=1)
    assert other.predicted is not None
    assert other.predicted.seconds is None
    assert other.predicted.peak_rss_bytes > 0


@pytest.mark.slow
def test_a_plan_has_the_shape_of_the_whole(base: Path, tmp_path: Path) -> None:
    """Samples of few rows would else spend their share of memory on what does not grow with rows."""
    vectors = np.load(base)
    np.save(tmp_path / "large.npy", np.concatenate([vectors + number for number in range(12)]))
    options = {"memory": "14%", "threads": 1}
    plan = plan_build(tmp_path / "large.npy", **options)
    report = pageann.build(tmp_path / "large.npy", tmp_path / "index", **options)
    assert plan.usual_units == pytest.approx(report.usual_units, rel=0.3)
    assert plan.index_bytes == pytest.approx(report.index_bytes, rel=0.25)


def test_a_plan_refuses_what_the_build_refuses(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(base), "--memory", "1KiB"]) == 2
    assert "memory" in capsys.readouterr().err
    with pytest.raises(pageann.BudgetTooSmall, match="build_memory"):
        plan_build(base, build_memory="1MiB")
    with pytest.raises(pageann.InvalidArgument):
        plan_build(base, metric="taxi")


def test_phases_are_stretched_to_all_rows(base: Path, tmp_path: Path) -> None:
    """Nearly in proportion, but for calibration, and codes once their training sample is full."""
    report = pageann.build(base, tmp_path / "index", memory="100KiB", threads=1)
    seconds = dict(report.phases)
    stretched = dict(_phases(report, 3_000_000, 16))
    assert stretched["pages"] == pytest.approx(1000 * seconds["pages"])
    assert 1000 * seconds["neighbours"] < stretched["neighbours"] < 1500 * seconds["neighbours"]
    assert seconds["codes"] < stretched["codes"] < 1000 * seconds["codes"]
    assert seconds["calibration"] < stretched["calibration"] < 10 * seconds["calibration"]
    assert dict(_phases(report, 3000, 16)) == pytest.approx(seconds)
