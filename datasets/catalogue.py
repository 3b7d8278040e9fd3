"""Public data sets of nearest-neighbour search: where they are, what they hold, and under which licence.

Addresses, sizes and licences were written down without being checked at their source: an address may be
wrong or have moved, a licence may be another one. Read the licence at the source before you use a set.
``verified`` tells which sets were fetched and read by us (none so far); listings say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pageann.errors import InvalidArgument

__all__ = ["CATALOGUE", "PublicSet", "RemoteFile", "find_set"]

BASE, QUERIES, TRUTH, ALL = "base", "queries", "truth", "all"
_BIN_HEADER_BYTES = 8


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file to fetch."""

    part: str
    """``base``, ``queries``, ``truth``, or ``all`` for one HDF5 file that holds the three."""
    url: str
    name: str
    """What it is called here; the suffix names its format."""
    whole_bytes: int = 0
    """Length of the remote file; 0 where it is not known exactly."""
    about_bytes: int = 0
    """Its length to two or three digits, where no exact one is published."""
    first_rows: int = 0
    """Only that many rows from the start are wanted; 0: the whole file."""
    sha256: str = ""
    """As published, in hex; empty where none is."""


@dataclass(frozen=True, slots=True)
class PublicSet:
    """A data set."""

    name: str
    rows: int
    dim: int
    dtype: str
    metric: str
    licence: str
    about: str
    files: tuple[RemoteFile, ...]
    verified: bool = False

    @property
    def fetched_bytes(self) -> int:
        """About how much a fetch of all files brings."""
        return sum(file_bytes(self, file) for file in self.files)


def file_bytes(entry: PublicSet, file: RemoteFile) -> int:
    """About how many bytes of ``file`` are fetched; 0 where nothing is known."""
    if file.first_rows:
        return _BIN_HEADER_BYTES + file.first_rows * entry.dim * np.dtype(entry.dtype).itemsize
    return file.whole_bytes or file.about_bytes


def find_set(name: str) -> PublicSet:
    """The set called ``name``; InvalidArgument naming those that there are."""
    for entry in CATALOGUE:
        if entry.name == name:
            return entry
    raise InvalidArgument(
        f"data set {name!r} is unknown; one of {', '.join(each.name for each in CATALOGUE)}"
    )


_HDF5_SITE = "http://ann-benchmarks.com"
_MEGABYTE = 1_000_000


def _hdf5(
    name: str, file: str, shape: tuple[int, int], metric: str, about: tuple[str, str, int]
) -> PublicSet:
    """A set in the HDF5 layout of ann-benchmarks; ``about`` is licence, origin, megabytes."""
    licence, origin, megabytes = about
    remote = RemoteFile(ALL, f"{_HDF5_SITE}/{file}.hdf5", f"{file}.hdf5", about_bytes=megabytes * _MEGABYTE)
    return PublicSet(name, *shape, "float32", metric, licence, origin, (remote,))


def _hdf5_sets() -> Iterator[PublicSet]:
    glove = "PDDL 1.0"
    yield _hdf5(
        "sift1m",
        "sift-128-euclidean",
        (1_000_000, 128),
        "l2",
        ("CC0", "SIFT descriptors of photographs", 501),
    )
    yield _hdf5(
        "gist1m",
        "gist-960-euclidean",
        (1_000_000, 960),
        "l2",
        ("CC0", "GIST descriptors of photographs", 3600),
    )
    for dim, megabytes in ((25, 121), (50, 235), (100, 463), (200, 918)):
        about = (glove, "word vectors of tweets", megabytes)
        yield _hdf5(f"glove-{dim}", f"glove-{dim}-angular", (1_183_514, dim), "cosine", about)
    yield _hdf5(
        "fashion-mnist",
        "fashion-mnist-784-euclidean",
        (60_000, 784),
        "l2",
        ("MIT", "pictures of clothes, pixel by pixel", 217),
    )
    yield _hdf5(
        "mnist", "mnist-784-euclidean", (60_000, 784), "l2", ("CC BY-SA 3.0", "handwritten digits", 217)
    )
    yield _hdf5(
        "nytimes",
        "nytimes-256-angular",
        (290_000, 256),
        "cosine",
        ("CC BY 4.0", "newspaper articles, reduced bags of words", 301),
    )
    yield _hdf5(
        "deep10m-angular",
        "deep-image-96-angular",
        (9_990_000, 96),
        "cosine",
        ("CC BY 4.0", "photographs through a convolutional network", 3600),
    )
    yield _hdf5(
        "lastfm", "lastfm-64-dot", (292_385, 65), "cosine", ("not stated", "listeners and artists", 135)
    )


_SLICES = {"10m": 10_000_000, "100m": 100_000_000, "1b": 1_000_000_000}
_BILLION_SITE = "https://dl.fbaipublicfiles.com/billion-scale-ann-benchmarks"
_DEEP_SITE = "https://storage.yandexcloud.net/yandex-research/ann-datasets"
_SPACEV_SITE = "https://comp21storage.z5.web.core.windows.net/comp21/spacev1b"


@dataclass(frozen=True, slots=True)
class _Billion:
    """A set of a billion vectors, of which any first part can be fetched."""

    name: str
    dim: int
    dtype: str
    metric: str
    licence: str
    about: str
    base: str
    queries: str
    suffix: str
    truths: tuple[tuple[str, str], ...]
    """Slice and address of its truth: ids, then distances."""

    def sets(self) -> Iterator[PublicSet]:
        """One entry a slice."""
        whole = _BIN_HEADER_BYTES + 10**9 * self.dim * np.dtype(self.dtype).itemsize
        for label, truth in self.truths:
            rows = _SLICES[label]
            first_rows = 0 if label == "1b" else rows
            files = (
                RemoteFile(BASE, self.base, f"base.{label}{self.suffix}", whole, first_rows=first_rows),
                RemoteFile(QUERIES, self.queries, f"queries{self.suffix}"),
                RemoteFile(TRUTH, truth, f"truth.{label}.ibin"),
            )
            name = f"{self.name}-{label}"
            yield PublicSet(name, rows, self.dim, self.dtype, self.metric, self.licence, self.about, files)


_BILLIONS = (
    _Billion(
        "bigann", 128, "uint8", "l2", "CC0", "SIFT descriptors of a billion photographs",
        f"{_BILLION_SITE}/bigann/base.1B.u8bin", f"{_BILLION_SITE}/bigann/query.public.10K.u8bin", ".u8bin",
        (("10m", f"{_BILLION_SITE}/GT_10M/bigann-10M"), ("100m", f"{_BILLION_SITE}/GT_100M/bigann-100M"),
         ("1b", f"{_BILLION_SITE}/bigann/GT.public.1B.ibin")),
    ),
    _Billion(
        "deep", 96, "float32", "l2", "CC BY 4.0", "photographs through a convolutional network",
        f"{_DEEP_SITE}/DEEP/base.1B.fbin", f"{_DEEP_SITE}/DEEP/query.public.10K.fbin", ".fbin",
        (("10m", f"{_BILLION_SITE}/GT_10M/deep-10M"), ("100m", f"{_BILLION_SITE}/GT_100M/deep-100M"),
         ("1b", f"{_DEEP_SITE}/deep_new_groundtruth.public.10K.bin")),
    ),
    _Billion(
        "spacev", 100, "int8", "l2", "O-UDA", "web documents and searches",
        f"{_SPACEV_SITE}/spacev1b_base.i8bin", f"{_SPACEV_SITE}/query.i8bin", ".i8bin",
        (("10m", f"{_SPACEV_SITE}/msspacev-gt-10M"), ("100m", f"{_SPACEV_SITE}/msspacev-gt-100M"),
         ("1b", f"{_SPACEV_SITE}/public_query_gt100.bin")),
    ),
    _Billion(
        "text2image", 200, "float32", "ip", "CC BY 4.0", "pictures, searched for by texts",
        f"{_DEEP_SITE}/T2I/base.1B.fbin", f"{_DEEP_SITE}/T2I/query.public.100K.fbin", ".fbin",
        (("10m", f"{_BILLION_SITE}/GT_10M/text2image-10M"),
         ("100m", f"{_BILLION_SITE}/GT_100M/text2image-100M"),
         ("1b", f"{_DEEP_SITE}/t2i_new_groundtruth.public.100K.bin")),
    ),
)  # fmt: skip

_EMBEDDING_SITE = "https://s3.us-west-2.amazonaws.com/assets.zilliz.com/benchmark"


def _embeddings(name: str, folder: str, rows: int, dim: int, licence: str, about: str) -> PublicSet:
    """Parquet files of text embeddings: columns ``id`` and ``emb``; the truth names ids."""
    files = tuple(
        RemoteFile(part, f"{_EMBEDDING_SITE}/{folder}/{file}", file, about_bytes=size)
        for part, file, size in (
            (BASE, "train.parquet", rows * dim * 4),
            (QUERIES, "test.parquet", 1000 * dim * 4),
            (TRUTH, "neighbors.parquet", 0),
        )
    )
    return PublicSet(name, rows, dim, "float32", "cosine", licence, about, files)


CATALOGUE: tuple[PublicSet, ...] = (
    *_hdf5_sets(),
    *(entry for each in _BILLIONS for entry in each.sets()),
    _embeddings(
        "cohere-100k", "cohere_small_100k", 100_000, 768, "Apache-2.0", "Wikipedia through Cohere's model"
    ),
    _embeddings(
        "cohere-1m", "cohere_medium_1m", 1_000_000, 768, "Apache-2.0", "Wikipedia through Cohere's model"
    ),
    _embeddings("openai-50k", "openai_small_50k", 50_000, 1536, "ODC-BY", "web pages through OpenAI's model"),
    _embeddings(
        "openai-500k", "openai_medium_500k", 500_000, 1536, "ODC-BY", "web pages through OpenAI's model"
    ),
)
"""Every set, small ones first within a family."""
