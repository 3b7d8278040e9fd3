"""The catalogue is consistent, and a set that is fetched is what the catalogue says.

Guarded: an entry with a broken address or an impossible shape; the first rows of a file of a billion that
still claim to be a billion; a listing that passes a set off as tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest

from pageann.datasets import fetch as fetch_module
from pageann.datasets.catalogue import CATALOGUE, PublicSet, RemoteFile, file_bytes, find_set
from pageann.datasets.convert import convert
from pageann.datasets.fetch import fetch_set
from pageann.datasets.source import SUFFIXES, open_vectors
from pageann.errors import InvalidArgument, InvalidData
from pageann.types import Metric
from tests.datasets.faulty_server import Site, serving

BASE = np.random.default_rng(1).integers(0, 256, (500, 16), dtype=np.uint8)


@pytest.fixture
def site() -> Iterator[Site]:
    content = np.array([500, 16], "<u4").tobytes() + BASE.tobytes()
    with serving(Site(content)) as site:
        yield site


def entry_at(site: Site, dim: int = 16) -> PublicSet:
    files = tuple(
        RemoteFile(part, f"{site.address}/{part}", name)
        for part, name in (("base", "base.u8bin"), ("queries", "queries.u8bin"), ("truth", "truth.ibin"))
    )
    return PublicSet("tiny", 500, dim, "uint8", "l2", "none", "made up", files)


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_entries_are_consistent(entry: PublicSet) -> None:
    assert find_set(entry.name) is entry
    assert Metric.parse(entry.metric).label == entry.metric
    assert entry.licence
    parts = [file.part for file in entry.files]
    assert parts in (["all"], ["base", "queries", "truth"])
    for file in entry.files:
        address = urlparse(file.url)
        assert address.scheme in ("http", "https")
        assert address.netloc
        assert Path(file.name).suffix in SUFFIXES
        assert file.first_rows <= entry.rows
    base_bytes = file_bytes(entry, entry.files[0])
    raw_bytes = entry.rows * entry.dim * np.dtype(entry.dtype).itemsize
    assert 0.5 * raw_bytes < base_bytes < 2 * raw_bytes + (1 << 28)


def test_names_are_unique_and_families_are_there() -> None:
    names = [entry.name for entry in CATALOGUE]
    assert len(set(names)) == len(names)
    for family in (
        "sift",
        "gist",
        "glove",
        "deep",
        "bigann",
        "spacev",
        "fashion",
        "nytimes",
        "cohere",
        "openai",
    ):
        assert any(name.startswith(family) for name in names)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match="sift1m"):
        find_set("sift")


def test_a_whole_set(site: Site, tmp_path: Path) -> None:
    fetched = fetch_set(entry_at(site), tmp_path)
    assert [each.file.part for each in fetched] == ["base", "queries", "truth"]
    assert np.array_equal(open_vectors(tmp_path / "base.u8bin").mapped(None), BASE)


def test_the_first_rows_are_a_file_of_their_own(site: Site, tmp_path: Path) -> None:
    fetched = fetch_set(entry_at(site), tmp_path, rows=120)
    assert [each.file.name for each in fetched] == ["base.120.u8bin", "queries.u8bin"]
    assert np.array_equal(open_vectors(tmp_path / "base.120.u8bin").mapped(None), BASE[:120])
    again = fetch_set(entry_at(site), tmp_path, rows=120, parts=("base",))
    assert again[0].download.resumed_bytes == 8 + 120 * 16


def test_a_slice_in_the_catalogue(site: Site, tmp_path: Path) -> None:
    entry = entry_at(site)
    files = (replace(entry.files[0], first_rows=50, whole_bytes=8 + 500 * 16),)
    fetch_set(replace(entry, rows=50, files=files), tmp_path)
    assert open_vectors(tmp_path / "base.u8bin").rows == 50


def test_rows_of_another_file_are_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"says 500 x 16, wanted are 10 x 17"):
        fetch_set(entry_at(site, dim=17), tmp_path, rows=10, parts=("base",))
    assert not (tmp_path / "base.10.u8bin").exists()


@pytest.mark.parametrize("rows", [0, 501])
def test_impossible_rows_are_refused(site: Site, tmp_path: Path, rows: int) -> None:
    with pytest.raises(InvalidArgument, match="500"):
        fetch_set(entry_at(site), tmp_path, rows=rows)


def test_formats_without_a_header_to_change_are_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="cannot be fetched in part"):
        fetch_set(find_set("sift1m"), tmp_path, rows=10)


def test_a_part_of_no_base_is_a_mistake(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="add base to the parts"):
        fetch_set(entry_at(site), tmp_path, rows=10, parts=("truth",))


def test_parts_are_those_of_the_catalogue() -> None:
    assert set(fetch_module.PARTS) == {file.part for entry in CATALOGUE for file in entry.files} - {"all"}


FORMATS = (".npy", ".bvecs", ".u8bin", ".hdf5", ".parquet", ".arrow")


@pytest.mark.parametrize("first", FORMATS)
@pytest.mark.parametrize("second", FORMATS)
def test_every_format_into_every_other(tmp_path: Path, first: str, second: str) -> None:
    np.save(tmp_path / "start.npy", BASE)
    one, two = tmp_path / f"one{first}", tmp_path / f"two{second}"
    convert(tmp_path / "start.npy", one)
    done = convert(one, two, rows=70)
    assert (done.rows, done.dim, done.dtype) == (70, 16, "uint8")
    assert np.array_equal(open_vectors(two).mapped(None), BASE[:70])


def test_ids_go_along_where_there_is_room(tmp_path: Path) -> None:
    from pageann.datasets.writers import write_vectors

    names = [f"name {row}" for row in range(500)]
    write_vectors(tmp_path / "a.parquet", BASE, ids=names)
    assert convert(tmp_path / "a.parquet", tmp_path / "b.arrow", rows=9).ids_kept
    assert open_vectors(tmp_path / "b.arrow").ids == names[:9]
    done = convert(tmp_path / "a.parquet", tmp_path / "c.npy")
    assert (done.ids_kept, done.ids_dropped) == (False, True)


def test_neighbour_ids_are_converted_too(tmp_path: Path) -> None:
    np.save(tmp_path / "truth.npy", np.arange(20, dtype=np.int32).reshape(4, 5))
    convert(tmp_path / "truth.npy", tmp_path / "truth.ivecs")
    convert(tmp_path / "truth.ivecs", tmp_path / "truth.ibin")
    from pageann.datasets.truth_files import read_truth_ids

    assert np.array_equal(read_truth_ids(tmp_path / "truth.ibin"), np.arange(20).reshape(4, 5))


@pytest.mark.parametrize(
    ("options", "words"), [({"rows": 501}, "500"), ({"dtype": "florat"}, "element type")]
)
def test_mistakes_in_a_conversion(tmp_path: Path, options: dict[str, object], words: str) -> None:
    np.save(tmp_path / "a.npy", BASE)
    with pytest.raises(InvalidArgument, match=words):
        convert(tmp_path / "a.npy", tmp_path / "b.npy", **options)  # type: ignore[arg-type]


def test_the_input_itself_is_no_output(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", BASE)
    with pytest.raises(InvalidArgument, match="the input itself"):
        convert(tmp_path / "a.npy", tmp_path / "a.npy")
    assert np.array_equal(np.load(tmp_path / "a.npy"), BASE)
