"""Codes and router that are wrong by one bit would make a search quietly worse, never fail.

So a bundle must refuse to give out an array, its meta or its directory if any byte of them changed,
and the same arrays must always give the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pageann.errors import DamagedIndex, FormatTooNew, InvalidArgument, StorageError
from pageann.storage.bundle import Bundle, BundleWriter
from pageann.storage.checksum import crc32c
from pageann.storage.files import OsFiles

ARRAYS = {
    "codes": np.random.default_rng(1).integers(0, 256, (50, 7), np.uint8),
    "half": np.random.default_rng(2).standard_normal((3, 4, 5)).astype(np.float16),
    "empty": np.zeros((0, 8), np.int64),
    "one": np.array(2.5),
    "flags": np.array([True, False, True]),
}
DTYPES = [np.dtype(name) for name in ("?", "i1", "u2", "i4", "u8", "f2", "f4", "f8", ">f4", ">i8")]


def write(path: Path, arrays: dict[str, np.ndarray], meta: dict[str, object]) -> tuple[int, int]:
    """Write a bundle; what its writer says of it."""
    with BundleWriter(OsFiles(), path, meta) as writer:
        for name, array in arrays.items():
            writer.write(name, array)
        return writer.close()


def read_all(path: Path) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    """All that a bundle gives out."""
    with Bundle.open(path) as bundle:
        return bundle.meta, {name: bundle.read(name) for name in bundle.names()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A bundle of :data:`ARRAYS`."""
    write(tmp_path / "codes.bin", ARRAYS, {"centroid_count": np.int64(5), "scale": 0.1})
    return tmp_path / "codes.bin"


def test_arrays_and_meta_come_back(path: Path) -> None:
    meta, arrays = read_all(path)
    assert meta == {"centroid_count": 5, "scale": 0.1}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in arrays.items():
        assert array.dtype == ARRAYS[name].dtype
        np.testing.assert_array_equal(array, ARRAYS[name])
        assert array.flags.writeable
        assert array.ctypes.data % 64 == 0 or array.size == 0
    with Bundle.open(path) as bundle:
        assert bundle.array_bytes("codes") == 350
        assert (bundle.shape("half"), bundle.dtype("half")) == ((3, 4, 5), np.float16)
        assert "codes" in bundle
        assert "router" not in bundle


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=5), hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, min_side=0))
    )
)
def test_any_arrays_come_back(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, np.ndarray]
) -> None:
    path = tmp_path_factory.mktemp("bundle") / "arrays.bin"
    said = write(path, arrays, {})
    data = path.read_bytes()
    assert said == (len(data), crc32c(data))
    for name, array in read_all(path)[1].items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.shape == arrays[name].shape


def test_the_way_of_writing_leaves_no_trace(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.bin"
    with BundleWriter(OsFiles(), other, {"scale": 0.1, "centroid_count": 5}) as writer:
        for name, array in ARRAYS.items():
            writer.begin(name, array.dtype, array.shape)
            for block in np.array_split(array.reshape(-1), 3):
                writer.append(block)
        writer.close()
    assert other.read_bytes() == path.read_bytes()


def test_every_flipped_bit_that_carries_meaning_is_found(path: Path) -> None:
    data = path.read_bytes()
    with Bundle.open(path) as bundle:
        entries = [bundle._entries[name] for name in bundle.names()]
    meaning = np.zeros(len(data), bool)
    meaning[:64] = True
    for entry in entries:
        meaning[entry.offset : entry.offset + entry.bytes] = True
    meaning[data.rindex(b'{"arrays"') :] = True
    assert meaning.mean() > 0.8
    for byte in np.flatnonzero(meaning):
        damaged = bytearray(data)
        damaged[byte] ^= 1 << (byte % 8)
        path.write_bytes(damaged)
        with pytest.raises(DamagedIndex) as caught:
            read_all(path)
        assert caught.value.file == str(path)


def test_check_finds_what_read_finds(path: Path) -> None:
    data = bytearray(path.read_bytes())
    with Bundle.open(path) as bundle:
        for name in bundle.names():
            bundle.check(name)
        offset = bundle._entries["codes"].offset
    data[offset + 349] ^= 1
    path.write_bytes(data)
    with Bundle.open(path) as bundle:
        with pytest.raises(DamagedIndex, match="codes"):
            bundle.check("codes")
        bundle.check("half")


def test_every_truncation_and_extension_is_found(path: Path) -> None:
    data = path.read_bytes()
    for length in [*range(0, len(data), 7), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(DamagedIndex):
            read_all(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(DamagedIndex):
        read_all(path)


def test_an_unfinished_bundle_is_refused(tmp_path: Path) -> None:
    with BundleWriter(OsFiles(), tmp_path / "codes.bin", {}) as writer:
        writer.write("codes", ARRAYS["codes"])
    with pytest.raises(DamagedIndex):
        Bundle.open(tmp_path / "codes.bin")


@pytest.mark.parametrize("offset", [8, 12])
def test_a_newer_bundle_is_refused_as_such(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] = 2
    data[60:64] = crc32c(data[:60]).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(FormatTooNew, match="upgrade"):
        Bundle.open(path)


def test_an_array_that_is_missing_is_damage_and_a_file_that_is_missing_is_not(path: Path) -> None:
    with Bundle.open(path) as bundle, pytest.raises(DamagedIndex, match="router"):
        bundle.read("router")
    with pytest.raises(StorageError, match=r"router\.bin"):
        Bundle.open(path.with_name("router.bin"))


def test_an_open_bundle_outlives_its_removal(path: Path) -> None:
    with Bundle.open(path) as bundle:
        path.unlink()
        np.testing.assert_array_equal(bundle.read("codes"), ARRAYS["codes"])


def test_a_writer_refuses_what_could_not_be_read_back(tmp_path: Path) -> None:
    with BundleWriter(OsFiles(), tmp_path / "codes.bin", {}) as writer:
        with pytest.raises(InvalidArgument, match="after begin"):
            writer.append(np.zeros(3))
        with pytest.raises(InvalidArgument, match="type"):
            writer.write("names", np.array(["a", "b"]))
        writer.begin("codes", np.uint8, (2, 3))
        with pytest.raises(InvalidArgument, match="not float32"):
            writer.append(np.zeros((2, 3), np.float32))
        writer.append(np.zeros((1, 3), np.uint8))
        with pytest.raises(InvalidArgument, match="more elements"):
            writer.append(np.zeros((2, 3), np.uint8))
        with pytest.raises(InvalidArgument, match="3 of 6 bytes"):
            writer.close()
        writer.append(np.zeros((1, 3), np.uint8))
        with pytest.raises(InvalidArgument, match="already"):
            writer.write("codes", np.zeros(1))
