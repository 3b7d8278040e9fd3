"""How hard a set of vectors is to search, from a sample of it and the neighbours of that.

Intrinsic dimension is the maximum-likelihood estimate of Levina and Bickel (NIPS 2004), averaged over
points as MacKay and Ghahramani propose (2005): the mean of ln(T_k / T_j) over the neighbours j < k, T_j
being the distance of the j-th, is 1 / m where the number of neighbours grows with the m-th power of the
distance. Contrast is the relative contrast of He, Kumar and Chang (ICML 2012), taken at the tenth
neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["NEIGHBOURS", "Difficulty", "estimate_difficulty"]

NEIGHBOURS = 32
"""Asked for of each vector of the sample, itself and its duplicates among them."""
_FEWEST = 5
_RANK = 10
_NEAR = 1.1


@dataclass(frozen=True, slots=True)
class Difficulty:
    """Of a set of vectors; None where too few of them differ."""

    intrinsic_dim: float | None = None
    contrast: float | None = None
    near_rows: float | None = None
    """Rows to expect within 1.1 times the distance of the tenth neighbour: 10 x 1.1^m, at most all."""


def estimate_difficulty(
    vectors: npt.NDArray[np.float32], distances: npt.NDArray[np.float64], rows: int
) -> Difficulty:
    """From ``vectors`` (s, dim) and the Euclidean ``distances`` (s, k) of their neighbours, ascending.

    Distances of 0 belong to the vector itself and its duplicates, and are left out; inf is padding.
    ``rows`` is the size of the whole set.
    """
    inverses, tenths = [], []
    for each in distances:
        near = each[(each > 0) & np.isfinite(each)]
        if len(near) >= _FEWEST:
            inverses.append(float(np.log(near[-1] / near[:-1]).mean()))
            tenths.append(float(near[min(_RANK, len(near)) - 1]))
    if not inverses or np.mean(inverses) <= 0:
        return Difficulty()
    dim = 1.0 / float(np.mean(inverses))
    near_rows = min(float(rows), _RANK * _NEAR**dim)
    return Difficulty(dim, _mean_distance(vectors) / float(np.mean(tenths)), near_rows)


def _mean_distance(vectors: npt.NDArray[np.float32]) -> float:
    """Of two different vectors of the sample."""
    wide = vectors.astype(np.float64)
    wide = wide - wide.mean(axis=0)
    squares = np.einsum("ij,ij->i", wide, wide)
    between = np.maximum(squares[:, None] + squares - 2 * wide @ wide.T, 0)
    upper = np.triu_indices(len(wide), 1)
    return float(np.sqrt(between[upper]).mean()) if len(wide) > 1 else 0.0
