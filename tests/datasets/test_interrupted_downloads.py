"""A download survives the network, and never leaves a file that is not what was asked for.

Guarded: a fetch of many gigabytes that begins anew after a broken connection; two halves of different
files glued together; a truncated, swapped or damaged file under the right name.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pageann.datasets.download import Download, Downloaded, Patience, download
from pageann.errors import InvalidArgument, InvalidData, StorageError
from tests.datasets.faulty_server import Site, serving

CONTENT = np.random.default_rng(11).integers(0, 256, 900_000, dtype=np.uint8).tobytes()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site(CONTENT)) as site:
        yield site


def fetch(site: Site, folder: Path, *, tries: int = 3, timeout: float = 5.0, **options: object) -> Downloaded:
    what = Download(f"{site.address}/file.bin", folder / "file.bin", **options)  # type: ignore[arg-type]
    return download(what, patience=Patience(tries, timeout, 0.0, lambda seconds: None))


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_whole_file(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    what = Download(f"{site.address}/x", tmp_path / "deep" / "x", len(CONTENT), 0, site.sha256)
    done = download(what, progress=lambda *step: seen.append(step))
    assert done.path.read_bytes() == CONTENT
    assert (done.bytes, done.sha256, done.checked) == (len(CONTENT), site.sha256, True)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    assert leftovers(tmp_path / "deep") == {"x"}


def test_a_cut_connection_goes_on_where_it_ended(site: Site, tmp_path: Path) -> None:
    site.cut_after = [300_000, 200_000]
    assert fetch(site, tmp_path).path.read_bytes() == CONTENT
    assert site.asked == [None, "bytes=300000-", "bytes=500000-"]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(site: Site, tmp_path: Path) -> None:
    site.cut_after = [300_000, 0, 0, 0]
    with pytest.raises(StorageError, match=r"300,000 bytes are kept"):
        fetch(site, tmp_path)
    assert "file.bin" not in leftovers(tmp_path)
    done = fetch(site, tmp_path, sha256=site.sha256)
    assert (done.path.read_bytes(), done.resumed_bytes) == (CONTENT, 300_000)


def test_a_file_that_changed_meanwhile_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    site.cut_after = [300_000, 0, 0, 0]
    with pytest.raises(StorageError):
        fetch(site, tmp_path)
    site.content, site.tag = CONTENT[::-1], '"two"'
    assert fetch(site, tmp_path).path.read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("broken", ["no ranges", "no version"])
def test_a_server_that_cannot_resume_is_asked_for_everything(site: Site, tmp_path: Path, broken: str) -> None:
    site.cut_after = [300_000]
    site.ranges = broken != "no ranges"
    site.tag = None if broken == "no version" else site.tag
    assert fetch(site, tmp_path).path.read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_thrown_away(site: Site, tmp_path: Path) -> None:
    site.cut_after = [300_000, 0, 0, 0]
    with pytest.raises(StorageError):
        fetch(site, tmp_path)
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    assert fetch(site, tmp_path).path.read_bytes() == CONTENT


def test_a_part_of_another_address_is_not_used(site: Site, tmp_path: Path) -> None:
    site.cut_after = [300_000, 0, 0, 0]
    with pytest.raises(StorageError):
        fetch(site, tmp_path)
    what = Download(f"{site.address}/other", tmp_path / "file.bin")
    assert download(what).resumed_bytes == 0
    assert site.asked[-1] is None


def test_a_slow_server_is_left_and_asked_again(site: Site, tmp_path: Path) -> None:
    site.stall, site.stalls = threading.Event(), 1
    assert fetch(site, tmp_path, timeout=0.2).path.read_bytes() == CONTENT
    assert site.asked == [None, f"bytes={len(CONTENT) // 2}-"]


def test_a_server_that_stays_silent_is_given_up(site: Site, tmp_path: Path) -> None:
    site.stall, site.stalls = threading.Event(), 99
    site.content = b"x"  # half of it is nothing
    with pytest.raises(StorageError, match="did not answer in time"):
        fetch(site, tmp_path, timeout=0.05)
    assert len(site.asked) == 3


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.refusals = [503, 429]
    assert fetch(site, tmp_path).path.read_bytes() == CONTENT


def test_a_missing_file_is_not_asked_for_again(site: Site, tmp_path: Path) -> None:
    site.refusals = [404]
    with pytest.raises(StorageError, match="404"):
        fetch(site, tmp_path)
    assert len(site.asked) == 1


def test_pauses_grow_and_end(site: Site, tmp_path: Path) -> None:
    site.refusals = [503] * 9
    pauses: list[float] = []
    with pytest.raises(StorageError, match="503"):
        download(Download(f"{site.address}/x", tmp_path / "x"), patience=Patience(4, 5.0, 1.0, pauses.append))
    assert pauses == [1.0, 2.0, 4.0]


def test_a_wrong_checksum_leaves_nothing(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="published is 00"):
        fetch(site, tmp_path, sha256="00" * 32)
    assert leftovers(tmp_path) == set()


def test_a_wrong_length_is_refused_before_anything_is_kept(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"has 900,000 bytes, the catalogue says 900,001"):
        fetch(site, tmp_path, whole_bytes=len(CONTENT) + 1)
    assert leftovers(tmp_path) == set()


def test_a_server_that_promises_more_than_it_sends(site: Site, tmp_path: Path) -> None:
    site.stated_bytes, site.ranges = len(CONTENT) + 5, False
    with pytest.raises(StorageError, match=r"ended after 900,000 of 900,005"):
        fetch(site, tmp_path)
    assert "file.bin" not in leftovers(tmp_path)


def test_the_first_bytes_alone(site: Site, tmp_path: Path) -> None:
    site.cut_after = [40_000]
    assert fetch(site, tmp_path, first_bytes=100_000).path.read_bytes() == CONTENT[:100_000]
    assert site.asked == ["bytes=0-99999", "bytes=40000-99999"]


def test_the_first_bytes_from_a_server_without_ranges(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    assert fetch(site, tmp_path, first_bytes=100_000).path.read_bytes() == CONTENT[:100_000]


def test_more_than_there_is(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="ask for fewer"):
        fetch(site, tmp_path, first_bytes=len(CONTENT) + 1)


def test_what_is_there_is_kept_or_named(site: Site, tmp_path: Path) -> None:
    fetch(site, tmp_path)
    again = fetch(site, tmp_path, sha256=site.sha256)
    assert (again.resumed_bytes, len(site.asked)) == (len(CONTENT), 1)
    (tmp_path / "file.bin").write_bytes(b"something else")
    with pytest.raises(InvalidData, match="remove it and fetch again"):
        fetch(site, tmp_path, sha256=site.sha256)


@pytest.mark.parametrize("address", ["ftp://somewhere/x", "file:///etc/passwd", "x"])
def test_other_addresses_are_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(InvalidArgument, match="http"):
        download(Download(address, tmp_path / "x"))


def test_nobody_there(site: Site, tmp_path: Path) -> None:
    with serving(Site(b"")) as gone:
        address = gone.address
    with pytest.raises(StorageError, match="refused"):
        download(Download(address, tmp_path / "x"), patience=Patience(2, 1.0, 0.0, lambda seconds: None))
