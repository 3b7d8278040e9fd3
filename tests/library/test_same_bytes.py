"""The same input, options and seed give the same files, whatever the number of threads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.library.samples import CODES, TWO_TIER, WALK, Kind, build_sample

KINDS = {
    "codes": CODES,
    "walk": WALK,
    "two-tier": TWO_TIER,
    "integers": Kind(dtype="uint8", metric="ip", ids="int64"),
    "cosine": Kind(dtype="float16", metric="cosine", ids="str"),
    "several-leaves": Kind(rows=9000, dim=16, memory="200KiB"),
}


def digests(path: Path) -> dict[str, str]:
    """Digest of every file of an index, by its name."""
    return {
        file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


@pytest.mark.parametrize("name", KINDS)
def test_threads_change_no_byte(tmp_path: Path, name: str) -> None:
    build_sample(KINDS[name], tmp_path / "one", threads=1, seed=5)
    build_sample(KINDS[name], tmp_path / "two", threads=2, seed=5)
    one = digests(tmp_path / "one")
    assert len(one) >= 6
    assert digests(tmp_path / "two") == one


def test_another_seed_changes_the_pages(tmp_path: Path) -> None:
    build_sample(CODES, tmp_path / "one", seed=5)
    build_sample(CODES, tmp_path / "other", seed=6)
    one, other = digests(tmp_path / "one"), digests(tmp_path / "other")
    assert one["seg-000001/pages.bin"] != other["seg-000001/pages.bin"]


def test_memory_of_the_build_changes_no_byte(tmp_path: Path) -> None:
    build_sample(CODES, tmp_path / "roomy", seed=5)
    build_sample(CODES, tmp_path / "tight", seed=5, build_memory="64MiB")
    assert digests(tmp_path / "roomy") == digests(tmp_path / "tight")


def test_a_file_and_an_array_give_the_same_bytes(tmp_path: Path) -> None:
    import pageann

    sample = build_sample(CODES, tmp_path / "array", seed=5)
    np.save(tmp_path / "base.npy", sample.base)
    pageann.build(tmp_path / "base.npy", tmp_path / "file", memory=CODES.memory, seed=5, threads=1)
    blocks = (sample.base[first : first + 100] for first in range(0, 900, 100))
    pageann.build(blocks, tmp_path / "blocks", memory=CODES.memory, seed=5, threads=1, rows=900, dim=24)
    assert digests(tmp_path / "file") == digests(tmp_path / "array")
    assert digests(tmp_path / "blocks") == digests(tmp_path / "array")


def test_nothing_of_this_machine_is_stored(tmp_path: Path) -> None:
    import socket

    build_sample(CODES, tmp_path / "index")
    for file in (tmp_path / "index").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert str(tmp_path).encode() not in content
            assert socket.gethostname().encode() not in content or len(socket.gethostname()) < 5
