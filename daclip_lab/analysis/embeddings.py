"""Maps of embeddings, and how far to trust them.

A map squeezes hundreds of dimensions into two, and something must give. PCA is a projection: distances only shrink.
UMAP (McInnes et al., 1802.03426) keeps neighbours together, while the sizes of its islands and the gaps between them
mean little. So conclusions are drawn from numbers in the original space, such as the silhouette; a map illustrates.
"""

from collections.abc import Sequence

import numpy as np
import torch

from daclip_lab.errors import InputError

METHODS = ("umap", "pca")
FEWEST = 5


def embedding_map(vectors, method: str = "umap", seed: int = 0) -> np.ndarray:
    """Place embeddings on a plane.

    Args:
        vectors: (n, d) array or tensor, n at least 5.
        method: `"umap"` (cosine distance, up to 15 neighbours) or `"pca"`.
        seed: decides UMAP's random choices; with the same seed, machine and versions the map is the same.

    Returns:
        (n, 2) float64 coordinates.

    Raises InputError for another shape or method, too few rows, or values that are not finite.
    """
    vectors = _checked(vectors)
    if method == "pca":
        return _pca(vectors)
    if method != "umap":
        raise InputError(f"method {method!r} is unknown: use one of {', '.join(METHODS)}")
    import umap

    neighbours = min(15, len(vectors) - 1)
    # Starting from PCA keeps the coarse order of the islands; one job is what makes it repeatable.
    reducer = umap.UMAP(
        n_neighbors=neighbours, metric="cosine", init=_start(vectors), random_state=seed, n_jobs=1
    )
    return reducer.fit_transform(vectors.astype(np.float32)).astype(np.float64)


def trustworthiness(vectors, coordinates, neighbours: int = 15) -> float:
    """How far one may trust that neighbours on a map (n, 2) are neighbours in the original space (n, d).

    1: all of them are; about 0.5: as good as a random map (Venna and Kaski, 2001). `neighbours` is the size of the
    neighbourhood, at most half of the rows.
    """
    from sklearn.manifold import trustworthiness as measure

    vectors, coordinates = _checked(vectors), _checked(coordinates)
    if len(vectors) != len(coordinates):
        raise InputError(f"{len(coordinates)} places for {len(vectors)} vectors: wanted as many")
    neighbours = min(neighbours, (len(vectors) - 1) // 2)
    return float(measure(vectors, coordinates, n_neighbors=neighbours, metric="cosine"))


def silhouette(vectors, labels: Sequence[str]) -> float:
    """How well labels separate embeddings (n, d) in their original space, by cosine distance: -1..1.

    1: each class is a tight cluster of its own; 0: classes overlap; below 0: most vectors are nearer to another class
    (Rousseeuw, 1987). There must be at least 2 classes, and fewer classes than vectors.
    """
    from sklearn.metrics import silhouette_score

    vectors = _checked(vectors)
    classes = len(set(labels))
    if len(labels) != len(vectors):
        raise InputError(f"{len(labels)} labels for {len(vectors)} vectors: wanted as many")
    if not 2 <= classes < len(vectors):
        raise InputError(
            f"{classes} classes among {len(vectors)} vectors: wanted 2 to {len(vectors) - 1}"
        )
    return float(silhouette_score(vectors, np.asarray(labels), metric="cosine"))


def _checked(vectors) -> np.ndarray:
    if isinstance(vectors, torch.Tensor):
        vectors = vectors.detach().cpu().double().numpy()
    array = np.asarray(vectors, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] < 2:
        raise InputError(f"embeddings of shape {array.shape}: wanted (n, d) with d of at least 2")
    if len(array) < FEWEST:
        raise InputError(f"{len(array)} embeddings are too few for a map: wanted at least {FEWEST}")
    if not np.isfinite(array).all():
        raise InputError("the embeddings hold values that are not finite: wanted numbers only")
    return array


def _pca(vectors: np.ndarray) -> np.ndarray:
    _, _, directions = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    directions = directions[:2]
    # The sign of a direction is arbitrary: its largest entry is made positive.
    largest = np.take_along_axis(directions, abs(directions).argmax(1)[:, None], 1)
    return (vectors - vectors.mean(0)) @ (directions * np.sign(largest)).T


def _start(vectors: np.ndarray) -> np.ndarray:
    start = _pca(vectors)
    return (10 * start / max(abs(start).max(), 1e-12)).astype(np.float32)
