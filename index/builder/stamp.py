"""Tell builds apart: a number for input and options, and a stamp that also knows the code."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.datasets.base import block_rows_for
from pageann.datasets.ids import IdValues
from pageann.datasets.validate import check_block
from pageann.index.builder.residency import Residency
from pageann.jit import source_stamp
from pageann.storage.canonical import canonical_json
from pageann.storage.checksum import crc32c
from pageann.types import Metric

__all__ = ["build_stamp", "input_tag", "read_input"]


def read_input(vectors: npt.NDArray[Any], metric: Metric, name: str, residency: Residency) -> int:
    """CRC32C of all vectors, read once; InvalidData, with the row, for what cannot be indexed."""
    crc = 0
    step = block_rows_for(vectors.shape[1])
    for first in range(0, len(vectors), step):
        block = np.ascontiguousarray(vectors[first : first + step])
        check_block(block, metric, first, name)
        crc = crc32c(block, crc)
        residency.check()
    return crc


def input_tag(vectors: npt.NDArray[Any], ids: IdValues | None, settings: Mapping[str, Any], crc: int) -> int:
    """The tag of a segment: a number that differs for different input or options."""
    id_crc = 0
    if ids is not None:
        id_crc = crc32c(canonical_json(ids) if isinstance(ids, list) else np.ascontiguousarray(ids))
    facts = canonical_json(
        {**settings, "crc": crc, "ids": id_crc, "shape": list(vectors.shape), "dtype": str(vectors.dtype)}
    )
    return int.from_bytes(hashlib.blake2b(facts, digest_size=8).digest(), "little")


def build_stamp(tag: int, segment_name: str) -> str:
    """What must be the same for one build to go on with another: input, options, code, place."""
    digest = hashlib.blake2b(f"{tag:016x} {segment_name} {np.__version__}".encode(), digest_size=16)
    digest.update(source_stamp().encode())
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):  # calibration runs the search
        digest.update(path.read_bytes())
    return digest.hexdigest()
