"""Bytes of code must buy accuracy, the rotation must keep distances, and training must be repeatable."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.index.builder.parallel import one_blas_thread
from pageann.index.builder.quantizer import Quantizer, train_quantizer
from tests.reference.code_twin import WORDS, Codebook
from tests.reference.vector_sets import SEEDS, continuous, whole_numbers


def correlated(seed: int, rows: int, dim: int) -> NDArray[np.float32]:
    """Rows with a few strong directions across all dimensions, and a mean."""
    random = np.random.default_rng(seed)
    strengths = (np.arange(1, dim + 1) ** -1.0).astype(np.float32)
    mixing = np.linalg.qr(random.standard_normal((dim, dim)))[0].astype(np.float32)
    return np.asarray(continuous(seed, rows, dim) * strengths @ mixing + 0.3, np.float32)


def trained(sample: NDArray[np.float32], code_bytes: int, *, rotate: bool = True, seed: int = 0) -> Quantizer:
    with one_blas_thread():
        return train_quantizer(sample, code_bytes, rotate=rotate, seed=seed)


def error(quantizer: Quantizer, rows: NDArray[np.float32]) -> float:
    """Mean squared distance of rows to what their codes stand for."""
    gap = rows - quantizer.decode(quantizer.encode(rows))
    return float((gap.astype(np.float64) ** 2).sum(axis=1).mean())


@pytest.mark.parametrize("rotate", [False, True])
def test_the_error_falls_with_the_bytes(rotate: bool) -> None:
    sample, others = correlated(1, 3000, 24), correlated(1, 4000, 24)[3000:]
    errors = [error(trained(sample, code_bytes, rotate=rotate), others) for code_bytes in (1, 2, 4, 8, 12)]
    spread = float(others.var(axis=0).sum())
    assert errors[0] < spread
    for few, more in itertools.pairwise(errors):
        assert more < 0.95 * few


def test_a_rotation_errs_less_on_correlated_dimensions() -> None:
    sample = correlated(2, 3000, 24)
    assert error(trained(sample, 4), sample) < 0.7 * error(trained(sample, 4, rotate=False), sample)


@pytest.mark.parametrize("dim", [1, 2, 17, 64, 96])
def test_the_rotation_keeps_distances(dim: int) -> None:
    sample = correlated(3, 400, dim)
    quantizer = trained(sample, 8)
    matrix = quantizer.rotation.astype(np.float64) * quantizer.scale
    assert matrix @ matrix.T == pytest.approx(np.eye(dim), abs=1e-3)
    rotated = quantizer.rotate(sample)
    assert (rotated**2).sum(axis=1) == pytest.approx((sample**2).sum(axis=1), rel=2e-3)
    assert quantizer.unrotate(rotated) == pytest.approx(sample, abs=1e-3 * float(np.abs(sample).max()))


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 40), st.integers(1, 24), st.integers(1, 16), st.booleans())
def test_codes_of_any_shape(seed: int, rows: int, dim: int, code_bytes: int, rotate: bool) -> None:
    """Few rows, odd dims, more bytes than the dimensions can use."""
    sample = continuous(seed, rows, dim)
    quantizer = trained(sample, code_bytes, rotate=rotate, seed=seed)
    parts = min(2 * code_bytes, dim)
    assert quantizer.parts == parts
    assert quantizer.code_bytes == (parts + 1) // 2
    lengths = np.diff(quantizer.starts)
    assert (quantizer.starts[0], quantizer.starts[-1]) == (0, dim)
    assert (lengths > 0).all()
    assert quantizer.codewords.shape == (WORDS * dim,)
    assert np.isfinite(quantizer.codewords).all()
    words = np.split(quantizer.codewords, WORDS * quantizer.starts[1:-1])
    book = Codebook([part.reshape(WORDS, -1) for part in words])
    codes = quantizer.encode(sample)
    assert codes.shape == (rows, quantizer.code_bytes)
    assert (quantizer.decode_rotated(codes) == book.decode(codes)).all()
    if rotate:
        assert quantizer.rotation.shape == (dim, dim)
    else:
        assert quantizer.rotation.size == 0
        assert (quantizer.decode(codes) == book.decode(codes)).all()


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("distinct", [1, 2, 5, 12])
def test_few_distinct_vectors_are_coded_without_error(distinct: int, rotate: bool) -> None:
    points = whole_numbers(5, distinct, 8, np.float32, values=50)
    sample = points[np.random.default_rng(1).integers(0, distinct, 500)]
    assert error(trained(sample, 2, rotate=rotate), sample) < 1e-3 * max(1.0, float(sample.var(axis=0).sum()))


def test_training_is_repeatable_and_follows_its_seed() -> None:
    sample = correlated(4, 1000, 12)
    first, again, other = trained(sample, 3), trained(sample, 3), trained(sample, 3, seed=1)
    for name in ("rotation", "starts", "codewords"):
        assert (getattr(first, name) == getattr(again, name)).all()
    assert first.scale == again.scale
    assert (first.codewords != other.codewords).any()


@pytest.mark.parametrize("rotate", [False, True])
def test_more_rows_than_are_sampled(rotate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training on a sample serves the rest nearly as well as training on all."""
    rows = correlated(6, 4000, 16)
    whole = error(trained(rows, 4, rotate=rotate), rows)
    monkeypatch.setattr("pageann.index.builder.quantizer._SAMPLE_ROWS", 1000)
    quantizer: Any = trained(rows, 4, rotate=rotate)
    assert error(quantizer, rows) < 1.25 * whole


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rotate", [False, True])
def test_codewords_are_not_lost_among_equal_vectors(seed: int, rotate: bool) -> None:
    """Nine tenths of the sample are zeros: nearly all codewords must end up among the other tenth."""
    sample = continuous(seed, 3000, 8)
    others = sample[2700:]
    sample[:2700] = 0
    alone = error(trained(others, 4, rotate=rotate), others)
    assert error(trained(sample, 4, rotate=rotate), sample) < 2.1 * 0.1 * alone
