"""The device probe reads the pages of a real file with the drivers of a search.

Guarded: a probe that reads the page cache without saying so, or that measures failed reads.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pageann.bench import device
from pageann.errors import StorageError

PAGE_BYTES = 4096


@pytest.fixture
def page_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(device, "_SINGLE_READS", 20)
    monkeypatch.setattr(device, "_DEEP_READS", 1024)
    path = tmp_path / "pages.bin"
    path.write_bytes(os.urandom(64 * PAGE_BYTES))
    return path


def test_figures_are_those_of_reads(page_file: Path) -> None:
    figures = device.probe_device(page_file, PAGE_BYTES)
    assert figures["driver"] in ("uring", "threads")
    assert (figures["read_bytes"], figures["depth"]) == (PAGE_BYTES, 64)
    assert 0 < figures["latency_us"]["p50"] <= figures["latency_us"]["p99"]
    assert figures["reads_per_second_at_depth"] > 100
    assert figures["cpu_us_per_read_at_depth"] > 0


def test_memory_file_system_is_named_as_such(page_file: Path) -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir():
        pytest.skip("no file system in memory here")
    copy = shared / f"pageann-probe-{os.getpid()}.bin"
    copy.write_bytes(page_file.read_bytes())
    try:
        assert device.probe_device(copy, PAGE_BYTES)["direct_io"] is False
    finally:
        copy.unlink()


def test_a_file_that_ends_within_a_page_is_read_up_to_its_last_whole_page(page_file: Path) -> None:
    page_file.write_bytes(page_file.read_bytes()[: 2 * PAGE_BYTES + 512])
    assert device.probe_device(page_file, PAGE_BYTES)["reads_per_second_at_depth"] > 100


def test_a_file_without_a_page_is_refused(page_file: Path) -> None:
    page_file.write_bytes(b"x" * 10)
    with pytest.raises(StorageError, match="too short"):
        device.probe_device(page_file, PAGE_BYTES)
