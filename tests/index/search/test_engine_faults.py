"""A page that cannot be used is an error that names it, and concerns no other call.

Damage is done to a copy of the files; errors and short reads come from the fault tables of the drivers.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pageann.errors import DamagedIndex, StorageError
from pageann.index.kernels import state
from pageann.index.search.load import LoadedSegment
from pageann.index.segment_files import PAGES_FILE, VECTORS_FILE
from pageann.storage.format import (
    LINK_COUNT_OFFSET,
    REP_COUNT_OFFSET,
    VECTOR_COUNT_OFFSET,
    PageLayout,
)
from pageann.storage.io.faults import Fault, FaultKind
from pageann.storage.pages import seal_pages
from tests.index.search.engines import Sample, assert_same, running
from tests.reference.small_segment import build_small, small_shape

PAGE = 5


@contextmanager
def damaged_copy(
    sample: Sample, folder: Path, name: str, damage: Callable[[Path], None]
) -> Iterator[LoadedSegment]:
    """A copy of the sample, opened and then damaged."""
    copy = folder / "copy"
    shutil.copytree(sample.small.folder, copy)
    segment = sample.load(copy)
    damage(copy / name)
    yield segment
    segment.close()


def rewrite_page(path: Path, layout: PageLayout, change: Callable[[NDArray[np.uint8]], None]) -> None:
    """Change page PAGE and give it a right checksum again, as a faulty writer would."""
    with path.open("r+b") as file:
        file.seek(layout.page_offset(PAGE))
        page = np.frombuffer(bytearray(file.read(layout.page_bytes)), np.uint8).reshape(1, -1)
        change(page[0])
        seal_pages(page, PAGE, np.uint64(layout.tag))
        file.seek(layout.page_offset(PAGE))
        file.write(page.tobytes())


def flip_byte(path: Path, offset: int) -> None:
    """One changed byte."""
    with path.open("r+b") as file:
        file.seek(offset)
        old = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([old ^ 1]))


def far_from_page(sample: Sample, segment: LoadedSegment) -> NDArray[np.float32]:
    """Queries that do not read page PAGE; there are some."""
    with running(segment, "threads") as engine:
        kept = []
        for number in range(len(sample.asked)):
            query = sample.asked[number : number + 1]
            try:
                engine.run(query, sample.options(effort=150))
            except DamagedIndex:
                continue
            kept.append(query)
    assert 0 < len(kept) < len(sample.asked)
    return np.concatenate(kept)


@pytest.mark.parametrize("name", [PAGES_FILE, VECTORS_FILE])
def test_a_changed_byte_names_file_and_page_and_the_engine_goes_on(
    two_steps: Sample, tmp_path: Path, driver: str, name: str
) -> None:
    layout = two_steps.load().layouts[name]
    offset = layout.page_offset(PAGE) + 100
    with (
        damaged_copy(two_steps, tmp_path, name, lambda path: flip_byte(path, offset)) as segment,
        running(segment, driver) as engine,
    ):
        with pytest.raises(DamagedIndex, match=f"{name}: page {PAGE} is damaged") as caught:
            engine.run(two_steps.asked, two_steps.whole())
        assert caught.value.file == str(tmp_path / "copy" / name)
        assert caught.value.page == PAGE
        unharmed = far_from_page(two_steps, segment)
        assert (engine.run(unharmed, two_steps.options(effort=150)).counts == 10).all()


@pytest.mark.parametrize("name", [PAGES_FILE, VECTORS_FILE])
def test_a_file_cut_short_after_opening(two_steps: Sample, tmp_path: Path, driver: str, name: str) -> None:
    layout = two_steps.load().layouts[name]

    def cut(path: Path) -> None:
        with path.open("r+b") as file:
            file.truncate(layout.page_offset(PAGE))

    with (
        damaged_copy(two_steps, tmp_path, name, cut) as segment,
        running(segment, driver) as engine,
        pytest.raises(DamagedIndex, match=f"{name}: page [0-9]+ is missing: the file is cut short"),
    ):
        engine.run(two_steps.asked, two_steps.whole())


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (VECTOR_COUNT_OFFSET, 17),
        (VECTOR_COUNT_OFFSET, 65535),
        (LINK_COUNT_OFFSET, 7),
        (REP_COUNT_OFFSET, 41),
        (REP_COUNT_OFFSET, 65535),
    ],
)
def test_counts_beyond_the_places_of_a_page(
    sample_of: Callable[[str], Sample], tmp_path: Path, driver: str, offset: int, value: int
) -> None:
    walk = sample_of("walk")
    layout = walk.load().layouts[PAGES_FILE]

    def change(page: NDArray[np.uint8]) -> None:
        page[offset : offset + 2] = np.frombuffer(np.uint16(value).tobytes(), np.uint8)

    with (
        damaged_copy(walk, tmp_path, PAGES_FILE, lambda path: rewrite_page(path, layout, change)) as segment,
        running(segment, driver) as engine,
        pytest.raises(DamagedIndex, match=f"page {PAGE} is damaged: it claims more entries"),
    ):
        engine.run(walk.asked, walk.whole())


@pytest.mark.parametrize("number", [700, 2**31, 2**32 - 1])
@pytest.mark.parametrize("what", ["row", "slot"])
def test_rows_and_slots_that_do_not_exist(
    sample_of: Callable[[str], Sample], tmp_path: Path, driver: str, what: str, number: int
) -> None:
    walk = sample_of("walk")
    layout = walk.load().layouts[PAGES_FILE]
    at = layout.rows_offset if what == "row" else layout.rep_slots_offset

    def change(page: NDArray[np.uint8]) -> None:
        page[at : at + 4] = np.frombuffer(np.uint32(number).tobytes(), np.uint8)

    with (
        damaged_copy(walk, tmp_path, PAGES_FILE, lambda path: rewrite_page(path, layout, change)) as segment,
        running(segment, driver) as engine,
        pytest.raises(DamagedIndex, match=f"page {PAGE} is damaged: it (names|tells).*does not have"),
    ):
        engine.run(walk.asked, walk.whole())


def test_an_error_of_the_device_names_file_page_and_reason(
    codes: Sample, segment: LoadedSegment, driver: str
) -> None:
    offset = segment.layouts[PAGES_FILE].page_offset(PAGE)
    faults = [Fault(FaultKind.ERROR, errno.EIO, offset=offset)]
    with running(segment, driver, workers=1, faults=faults) as engine:
        with pytest.raises(StorageError, match=f"{PAGES_FILE}: page {PAGE} cannot be read: EIO") as caught:
            engine.run(codes.asked, codes.whole())
        assert caught.value.errno == errno.EIO
        assert (engine.run(codes.asked, codes.whole()).counts == 10).all()


def test_reads_that_come_in_pieces_are_continued(codes: Sample, segment: LoadedSegment, driver: str) -> None:
    with running(segment, driver) as engine:
        expected = engine.run(codes.asked, codes.options())
    layout = segment.layouts[PAGES_FILE]
    faults = [Fault(FaultKind.SHORT, 512, offset=layout.page_offset(page)) for page in range(44)]
    with running(segment, driver, faults=faults) as engine:
        assert_same(engine.run(codes.asked, codes.options()), expected)


def test_pieces_of_large_pages_are_put_together(tmp_path: Path, codes: Sample, driver: str) -> None:
    shape = small_shape(16, page_bytes=16384, capacity=64, code_bytes=(8,))
    small = build_small(tmp_path / "large", codes.small.vectors, codes.kind.metric, shape)
    segment = small.load(code_bytes=8)
    faults = [Fault(FaultKind.SHORT, 4096, times=30), Fault(FaultKind.SHORT, 8192, times=30)]
    with running(segment, driver) as engine:
        expected = engine.run(codes.asked, codes.options())
    with running(segment, driver, faults=faults) as engine:
        assert_same(engine.run(codes.asked, codes.options()), expected)
    segment.close()


def test_transient_errors_are_tried_again(codes: Sample, segment: LoadedSegment, driver: str) -> None:
    faults = [Fault(FaultKind.ERROR, errno.EAGAIN, times=7), Fault(FaultKind.ERROR, errno.EINTR, times=7)]
    with running(segment, driver) as engine:
        expected = engine.run(codes.asked, codes.options())
    with running(segment, driver, faults=faults) as engine:
        assert_same(engine.run(codes.asked, codes.options()), expected)


def test_an_error_that_stays_transient_is_an_error(
    codes: Sample, segment: LoadedSegment, driver: str
) -> None:
    offset = segment.layouts[PAGES_FILE].page_offset(PAGE)
    faults = [Fault(FaultKind.ERROR, errno.EAGAIN, offset=offset, times=-1)]
    with (
        running(segment, driver, faults=faults) as engine,
        pytest.raises(StorageError, match=f"page {PAGE} cannot be read: EAGAIN"),
    ):
        engine.run(codes.asked, codes.whole())


def test_slow_reads_change_nothing(codes: Sample, segment: LoadedSegment, driver: str) -> None:
    with running(segment, driver) as engine:
        expected = engine.run(codes.asked, codes.options())
    with running(segment, driver, faults=[Fault(FaultKind.DELAY, 2000, times=10)]) as engine:
        answers = engine.run(codes.asked, codes.options())
    assert_same(answers, expected)
    assert answers.counters[:, state.N_READ_NS].max() >= 2_000_000
