"""What the builder writes must be what the format document says: the second reader reads it back.

Every vector once, in its slot, with its row number; links and representatives that name others; codes
that are those of the slots beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.datasets.synthetic import clustered
from pageann.index.builder import pages as builder_pages
from pageann.index.builder.coding import VectorCodes
from pageann.index.builder.pages import LinkMerger, PageLinks, write_pages
from pageann.index.builder.quantizer import train_quantizer
from pageann.storage.files import OsFiles
from pageann.storage.format import PageLayout
from pageann.types import DTYPES, Metric, dtype_code
from tests.reference.code_twin import lane_major_twin
from tests.reference.format_reader import crc32c, read_bundle, read_page_file
from tests.reference.link_twin import page_tells
from tests.reference.small_segment import build_small, small_shape
from tests.reference.vector_sets import SEEDS, continuous, inverse, permutation


def random_links(random: np.random.Generator, pages: int, rows: int, layout: PageLayout) -> PageLinks:
    """Any links and representatives, with anything behind their counts."""

    def numbers(below: int, width: int) -> NDArray[np.int32]:
        return random.integers(0, below, (pages, width)).astype(np.int32)

    def counts(width: int) -> NDArray[np.int32]:
        return random.integers(0, width + 1, pages).astype(np.int32)

    return PageLinks(
        numbers(pages, layout.link_capacity), counts(layout.link_capacity),
        numbers(rows, layout.rep_capacity), counts(layout.rep_capacity),
    )  # fmt: skip


def made_of(whole: PageLinks) -> Callable[[int, int], PageLinks]:
    """What hands out runs of pages of ``whole``."""

    def part(first: int, last: int) -> PageLinks:
        arrays = (whole.links, whole.link_counts, whole.reps, whole.rep_counts)
        return PageLinks(*(each[first:last] for each in arrays))

    return part


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    SEEDS, st.integers(1, 40), st.integers(1, 9), st.integers(1, 30), st.sampled_from(DTYPES),
    st.sampled_from([4, 8]), st.integers(0, 9), st.integers(0, 70), st.integers(1, 6), st.integers(1, 4),
)  # fmt: skip
def test_any_layout_is_read_back(
    tmp_path: Path, seed: int, rows: int, capacity: int, dim: int, dtype: np.dtype[Any], row_bytes: int,
    links: int, reps: int, code_bytes: int, block_pages: int,
) -> None:  # fmt: skip
    random = np.random.default_rng(seed)
    vectors = (random.standard_normal((rows, dim)) * 30 + 60).astype(dtype)
    layout = PageLayout(4096, capacity, dim, dtype_code(dtype), row_bytes, links, reps, code_bytes + 1, 9)
    order = permutation(seed, rows)
    pages = -(-rows // capacity)
    made = random_links(random, pages, rows, layout)
    quantizer = train_quantizer(continuous(1, 20, 8), 1, rotate=False, seed=0)
    codes = VectorCodes(
        quantizer, random.integers(0, 256, (rows, code_bytes + 1)).astype(np.uint8), 0.0, 1.0, 0.0
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder_pages, "_BLOCK_PAGES", block_pages)
        path = tmp_path / "pages.bin"
        entry = write_pages(
            OsFiles(), path, layout, lambda members: vectors[members], order, None, made_of(made), codes
        )
    content = path.read_bytes()
    assert (entry.bytes, entry.crc32c) == (len(content), crc32c(content))
    file = read_page_file(content)
    assert len(file.pages) == pages
    for number, page in enumerate(file.pages):
        members = order[number * capacity : (number + 1) * capacity]
        assert (page.rows == members).all()
        assert page.vectors.tobytes() == vectors[members].tobytes()
        assert page.links.tolist() == made.links[number, : made.link_counts[number]].tolist()
        slots = np.sort(made.reps[number, : made.rep_counts[number]])  # neighbours of one page together
        assert page.slots.tolist() == slots.tolist()
        assert (page.codes == codes.codes[slots]).all()


def test_pages_without_links_say_so(tmp_path: Path) -> None:
    vectors = continuous(1, 10, 4)
    layout = PageLayout.of_vectors(4096, 3, 4, vectors.dtype, 4, 5)
    write_pages(
        OsFiles(), tmp_path / "vectors.bin", layout, lambda members: vectors[members], permutation(1, 10)
    )
    file = read_page_file((tmp_path / "vectors.bin").read_bytes())
    assert [len(page.vectors) for page in file.pages] == [3, 3, 3, 1]
    assert all(len(page.links) == len(page.slots) == 0 for page in file.pages)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 60), st.integers(1, 7), st.integers(0, 8), st.integers(0, 12), st.integers(1, 3))
def test_links_are_merged_page_by_page_on_any_threads(
    seed: int, rows: int, capacity: int, links: int, reps: int, threads: int
) -> None:
    near = np.random.default_rng(seed).integers(0, rows, (rows, 7)).astype(np.int32)
    order = permutation(seed, rows)
    layout = PageLayout(4096, capacity, 4, 0, 4, links, reps, 3, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder_pages, "_MERGE_PAGES", 2)
        merger = LinkMerger(near, order, layout, threads)
        pages = -(-rows // capacity)
        made, later = merger.merge(0, pages), merger.merge(pages // 2, pages)
    assert (later.links == made.links[pages // 2 :]).all(), "blocks of pages may be merged one by one"
    assert (later.reps == made.reps[pages // 2 :]).all()
    for page in range(pages):
        expected = page_tells(near, inverse(order), order, capacity, page, 6, links, reps)
        assert made.links[page, : made.link_counts[page]].tolist() == expected[0]
        assert made.reps[page, : made.rep_counts[page]].tolist() == expected[1]


@pytest.mark.parametrize("width", [0, 3])
def test_heat_counts_the_pages_that_link_to_a_page(width: int) -> None:
    links = np.array([[1, 2, 2], [2, 0, 0], [0, 1, 1], [0, 0, 0]], np.int32)[:, :width]
    counts = np.array([2, 1, 2, 0], np.int32) if width else np.zeros(4, np.int32)
    made = PageLinks(links, counts, np.zeros((4, 0), np.int32), np.zeros(4, np.int32))
    assert made.heat(4).tolist() == ([1, 2, 2, 0] if width else [0, 0, 0, 0])


@pytest.mark.parametrize(
    ("dtype", "metric"),
    [("uint8", Metric.L2), ("int8", Metric.IP), ("float16", Metric.COSINE), ("float32", Metric.L2)],
)
def test_a_built_segment_holds_every_vector_as_given(dtype: str, metric: Metric, tmp_path: Path) -> None:
    vectors, _ = clustered(403, 9, dtype=dtype, queries=1, seed=2, clusters=8)
    shape = small_shape(9, capacity=5, group_pages=2, rep_bytes=3, rep_capacity=33, link_capacity=6)
    small = build_small(tmp_path / "segment", vectors, metric, shape)
    file = read_page_file((small.folder / "pages.bin").read_bytes())
    rows = np.concatenate([page.rows for page in file.pages])
    assert (rows == small.built.order).all()
    assert sorted(rows.tolist()) == list(range(403))
    assert np.concatenate([page.vectors for page in file.pages]).tobytes() == vectors[rows].tobytes()
    for number, page in enumerate(file.pages):
        assert len(page.vectors) == (5 if number < 80 else 3)
        assert number not in page.links
        assert (page.links < 81).all()
        assert len(set(page.links.tolist())) == len(page.links)
        assert (page.slots < 403).all()
        assert (page.slots // 5 != number).all(), "a page does not represent its own vectors"
        assert len(set(page.slots.tolist())) == len(page.slots)
    assert min(len(page.links) for page in file.pages) == 6, "no place for a link is left empty here"


def test_vectors_that_fill_a_page_are_stored_twice(tmp_path: Path) -> None:
    """Eight bits a dimension on the pages that are walked, within half a step; the exact ones apart."""
    vectors, _ = clustered(101, 12, queries=1, seed=2, clusters=8)
    shape = small_shape(12, capacity=6, quantised=True, exact_page_bytes=8192, exact_capacity=2)
    small = build_small(tmp_path / "segment", vectors, Metric.L2, shape)
    walked = read_page_file((small.folder / "pages.bin").read_bytes())
    exact = read_page_file((small.folder / "vectors.bin").read_bytes())
    assert (walked.header["page_bytes"], exact.header["page_bytes"]) == (4096, 8192)
    assert (walked.header["dtype_code"], exact.header["dtype_code"]) == (3, 0)
    order = small.built.order
    for file in (walked, exact):
        assert (np.concatenate([page.rows for page in file.pages]) == order).all()
    assert np.concatenate([page.vectors for page in exact.pages]).tobytes() == vectors[order].tobytes()
    _, arrays = read_bundle((small.folder / "router.bin").read_bytes())
    codes = np.concatenate([page.vectors for page in walked.pages]).astype(np.float32)
    stored = arrays["quantised_low"] + arrays["quantised_step"] * codes
    assert np.abs(stored - vectors[order]).max() <= 0.501 * float(arrays["quantised_step"].max())
    assert (np.abs(stored - vectors[order]) <= 0.501 * arrays["quantised_step"] + 1e-6).all()


def test_resident_files_hold_what_the_search_reads(tmp_path: Path) -> None:
    vectors, _ = clustered(403, 9, queries=1, seed=2, clusters=8)
    shape = small_shape(9, code_bytes=(4, 2), rep_bytes=3, rep_capacity=20, link_capacity=6)
    small = build_small(tmp_path / "segment", vectors, Metric.L2, shape)
    for name, width in (("codes-004.bin", 4), ("codes-002.bin", 2)):
        meta, arrays = read_bundle((small.folder / name).read_bytes())
        assert set(arrays) == {"codes", "rotation", "starts", "words"}
        assert set(meta) == {"low", "step", "error", "scale", "tag"}
        assert len(arrays["codes"]) == 101 * 4 * (width + 1) + 32, "with 32 bytes that scans may read"
        assert not arrays["codes"][-32:].any()
    meta, arrays = read_bundle((small.folder / "router.bin").read_bytes())
    assert meta["level_units"] == [101, 4]
    assert meta["level_offsets"] == [0, 128 * 6]
    assert sorted(arrays["pin_order"].tolist()) == list(range(101))
    heat = np.zeros(101, np.int64)
    for page in read_page_file((small.folder / "pages.bin").read_bytes()).pages:
        heat[page.links] += 1
    assert (np.diff(heat[arrays["pin_order"]]) <= 0).all(), "pages that most pages link to are pinned first"


def test_representatives_carry_the_codes_of_their_slots(tmp_path: Path) -> None:
    """A vector has one code wherever it is represented, and in the resident file of that width."""
    vectors, _ = clustered(403, 9, queries=1, seed=2, clusters=8)
    shape = small_shape(9, code_bytes=(3,), rep_bytes=3, rep_capacity=40, link_capacity=6)
    small = build_small(tmp_path / "segment", vectors, Metric.L2, shape, rotate=frozenset())
    _, arrays = read_bundle((small.folder / "codes-003.bin").read_bytes())
    codes = np.zeros((404, 4), np.uint8)
    for page in read_page_file((small.folder / "pages.bin").read_bytes()).pages:
        codes[page.slots] = page.codes
    named = np.asarray(codes.any(axis=1))
    assert named.sum() > 300
    resident = arrays["codes"][:-32]
    expected = lane_major_twin(codes, 4)
    places = lane_major_twin(np.repeat(named[:, None], 4, axis=1).astype(np.uint8), 4).astype(bool)
    assert (resident[places] == expected[places]).all()
