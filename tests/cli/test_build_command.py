"""``pageann build`` hands every option on, shows how far it is, and stops cleanly.

Guarded: an option that is parsed and then forgotten; a Ctrl-C that leaves the user without a word.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.reference.exact_index import PHASES, ExactLibrary
from tests.reference.program import Program


@pytest.fixture
def base(tmp_path: Path, library: ExactLibrary) -> Path:
    path = tmp_path / "base.npy"
    np.save(path, library.index.vectors)
    return path


def test_defaults(program: Program, library: ExactLibrary, base: Path) -> None:
    outcome = program("build", base, "out.pageann")
    assert outcome.code == 0
    ((name, (vectors, index), options),) = library.calls
    assert (name, index, vectors.rows) == ("build", "out.pageann", 50)
    assert options == {
        "metric": "l2",
        "ids": None,
        "memory": None,
        "build_memory": None,
        "disk": None,
        "codes": "auto",
        "page_bytes": None,
        "seed": 0,
        "threads": None,
        "replace": True,
        "resume": True,
        "queries_sample": None,
    }


def test_every_option_reaches_the_library(program: Program, library: ExactLibrary, base: Path) -> None:
    ids = base.with_name("ids.npy")
    np.save(ids, np.arange(100, 150))
    given = (
        "--metric ip --memory 64MiB --build-memory 1200MiB --disk 2.5x --page-bytes 8KiB --seed 7 --threads 2"
    )
    given += " --codes rabitq --no-replace --no-resume --queries-sample asked.npy"
    assert program("build", base, "out.pageann", *given.split(), "--ids", ids).code == 0
    options = library.calls[0][2]
    assert np.array_equal(options.pop("ids"), np.arange(100, 150))
    assert options == {
        "metric": "ip",
        "memory": "64MiB",
        "build_memory": "1200MiB",
        "disk": "2.5x",
        "codes": "rabitq",
        "page_bytes": 8192,
        "seed": 7,
        "threads": 2,
        "replace": False,
        "resume": False,
        "queries_sample": "asked.npy",
    }


def test_report_on_stdout_and_progress_on_stderr(program: Program, library: ExactLibrary, base: Path) -> None:
    outcome = program("build", base, "out.pageann")
    assert "50 x 4 float32" in outcome.out
    assert "16 centroids" in outcome.out
    lines = outcome.err.splitlines()
    assert len(lines) == len(PHASES)
    assert lines[1] == "pageann: [2/3] packing 50% 10/s, 5 s left"


def test_json_report(program: Program, library: ExactLibrary, base: Path) -> None:
    report = json.loads(program("build", base, "out.pageann", "--json").out)
    assert (report["rows"], report["ledger"]["budget_bytes"]) == (50, 4 << 20)
    assert [phase["name"] for phase in report["phases"]] == list(PHASES)


def test_a_missing_input_names_it(program: Program, library: ExactLibrary) -> None:
    outcome = program("build", "nowhere.npy", "out.pageann")
    assert (outcome.code, library.calls) == (2, [])
    assert "nowhere.npy" in outcome.err


def test_a_bad_page_size_names_the_option(program: Program, library: ExactLibrary, base: Path) -> None:
    outcome = program("build", base, "out.pageann", "--page-bytes", "large")
    assert outcome.code == 2
    assert "page_bytes" in outcome.err


def test_first_interrupt_stops_at_the_next_report_of_progress(
    program: Program, library: ExactLibrary, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    _interrupt_in_phase_2(library, monkeypatch, times=1)
    outcome = program("build", base, "out.pageann")
    assert outcome.code == 130
    assert library.phases_reported == 2
    assert outcome.err.splitlines()[-3:] == [
        "pageann: stopping; nothing will be published (Ctrl-C again stops at once)",
        "pageann: the same command goes on from here",
        "pageann: cancelled; nothing was published",
    ]
    assert signal.getsignal(signal.SIGINT) is before


def test_second_interrupt_stops_at_once(
    program: Program, library: ExactLibrary, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _interrupt_in_phase_2(library, monkeypatch, times=2)
    outcome = program("build", base, "out.pageann")
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1] == "pageann: interrupted"


def _interrupt_in_phase_2(library: ExactLibrary, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Send SIGINT to this process just before the library reports its second phase."""
    build = library.build

    def interrupted_build(*arguments: Any, progress: Any, **options: Any) -> Any:
        def report(event: Any) -> bool:
            if event.phase_number == 2:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
            return bool(progress(event))

        return build(*arguments, progress=report, **options)

    monkeypatch.setattr(library, "build", interrupted_build)
