"""Who is near whom: the nearest rows of an embedding, and whether two embeddings of the same images agree about it.

The two may come from different weights: neighbours and cosines within each space are compared, so that the spaces need
have neither an orientation nor a dimension in common.
"""

from collections.abc import Iterator

import numpy as np

from daclip_lab.errors import InputError

AT_A_TIME = 1000
"""Rows whose cosines to all others are in memory at once."""


def nearest(vectors: np.ndarray, row: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k rows nearest to a row by cosine, without itself, and their cosines; fewer where there are not so many.

    `vectors` (n, d) have any length. Raises InputError for a row that is not there.
    """
    if not 0 <= row < len(vectors):
        raise InputError(f"row {row}: wanted 0 to {len(vectors) - 1}")
    unit = _unit(vectors)
    cosines = unit @ unit[row]
    cosines[row] = -np.inf
    found = np.argsort(-cosines, kind="stable")[: min(k, len(vectors) - 1)]
    return found, cosines[found]


def shared_neighbours(first: np.ndarray, second: np.ndarray, k: int = 10) -> np.ndarray:
    """The share (n,), 0..1, of each row's k nearest by cosine that are nearest in both spaces (n, d) and (n, e).

    Chance is k / (n - 1). Raises InputError where k is not less than n.
    """
    first, second = _both(first, second)
    if not 1 <= k < len(first):
        raise InputError(f"k={k}: wanted 1 to {len(first) - 1}")
    shares = np.empty(len(first))
    for part in _parts(len(first)):
        near = []
        for vectors in (first, second):
            cosines = vectors[part] @ vectors.T
            cosines[np.arange(len(cosines)), part] = -np.inf
            near.append(np.argpartition(-cosines, k - 1, axis=1)[:, :k])
        shares[part] = (near[0][:, :, None] == near[1][:, None, :]).any(2).mean(1)
    return shares


def same_geometry(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The correlation (n,), -1..1, of each row's cosines to all other rows in the two spaces (n, d) and (n, e).

    1: the row has the same relations to all others in both. Raises InputError for fewer than 3 rows.
    """
    first, second = _both(first, second)
    if len(first) < 3:
        raise InputError(f"{len(first)} rows: at least 3 have relations to compare")
    found = np.empty(len(first))
    for part in _parts(len(first)):
        a, b = (_to_others(vectors, part) for vectors in (first, second))
        scale = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        found[part] = (a * b).sum(1) / np.maximum(scale, 1e-12)
    return found


def cosine_drift(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """1 minus the cosine (n,), 0..2, of each row's two embeddings; NaN where the spaces differ in dimension.

    It means something where both spaces rest on the same CLIP; elsewhere `same_geometry` does.
    """
    first, second = _both(first, second)
    if first.shape != second.shape:
        return np.full(len(first), np.nan)
    return 1 - (first * second).sum(1)


def _to_others(vectors: np.ndarray, part: np.ndarray) -> np.ndarray:
    """The cosines (m, n - 1) of some rows to all others, less their mean."""
    cosines = vectors[part] @ vectors.T
    others = np.ones(cosines.shape, bool)
    others[np.arange(len(part)), part] = False
    cosines = cosines[others].reshape(len(part), -1)
    return cosines - cosines.mean(1, keepdims=True)


def _both(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(first) != len(second):
        raise InputError(f"{len(first)} and {len(second)} embeddings are not of the same images")
    return _unit(first), _unit(second)


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _parts(n: int) -> Iterator[np.ndarray]:
    for first in range(0, n, AT_A_TIME):
        yield np.arange(first, min(first + AT_A_TIME, n))
