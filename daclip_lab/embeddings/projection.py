"""Maps of embeddings, and how far to trust them.

A map squeezes hundreds of dimensions into two, and something must give. PCA is a projection: distances only shrink.
UMAP (McInnes et al., 1802.03426) and t-SNE (van der Maaten and Hinton, 2008) keep neighbours together, while the sizes
of their islands and the gaps between them mean little. So conclusions are drawn from numbers in the original space
(`probes`, `geometry`, `drift`); a map illustrates, and says beside itself how many of its neighbours are real.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.errors import InputError
from daclip_lab.files.parquet import read_parquet, write_parquet

METHODS = ("umap", "pca", "tsne")
FEWEST = 5
NEAREST = 5
"""Neighbours whose places decide where a new image goes on a map."""
LIBRARIES = {"umap": "umap-learn", "pca": "numpy", "tsne": "scikit-learn"}


@dataclass(frozen=True, eq=False, kw_only=True)
class EmbeddingMap:
    """Embeddings on a plane, with all that it takes to make the map again or to place others on it."""

    coordinates: np.ndarray
    """(n, 2) float64."""
    vectors: np.ndarray
    """(n, d), what was mapped."""
    images: tuple[str, ...]
    """n names, see `EmbeddingTable.rows`."""
    parameters: dict
    """method, seed, neighbours, the library that made it and its version, and the space of the table."""
    trustworthiness: float
    """See `trustworthiness`."""
    preservation: float
    """See `preservation`."""

    def place(self, vectors) -> np.ndarray:
        """Where other embeddings (m, d) of the same space go on this map: (m, 2); what is there does not move.

        PCA projects them. On the other maps a newcomer goes to the mean place of its five nearest neighbours in the
        original space, each weighted by one over its cosine distance; a row of the map itself lands on its own place.
        """
        vectors = _array(vectors)
        if vectors.shape[1] != self.vectors.shape[1]:
            raise InputError(
                f"embeddings of {vectors.shape[1]} dimensions on a map of {self.vectors.shape[1]}"
            )
        if self.parameters["method"] == "pca":
            centre = self.vectors.mean(0)
            return (vectors - centre) @ _directions(self.vectors - centre).T
        distances = 1 - _unit(vectors) @ _unit(self.vectors).T
        nearest = distances.argsort(1, kind="stable")[:, :NEAREST]
        weights = 1 / (np.take_along_axis(distances, nearest, 1).clip(0) + 1e-9)
        weights /= weights.sum(1, keepdims=True)
        return (weights[..., None] * self.coordinates[nearest]).sum(1)

    def save(self, path: str | Path) -> None:
        """Write the map as Parquet: the columns `image`, `x`, `y` and `vector`, and its parameters beside them."""
        told = {k: v for k, v in asdict(self).items() if isinstance(v, dict | float)}
        x, y = self.coordinates.T
        columns = {"image": np.array(self.images, object), "x": x, "y": y, "vector": self.vectors}
        write_parquet(path, columns, {"map": told})

    @staticmethod
    def load(path: str | Path) -> "EmbeddingMap":
        """Read a map that `save` wrote; an InputError names the file where it is none."""
        columns, provenance = read_parquet(path)
        if "map" not in provenance:
            raise InputError(f"{path} holds no map")
        return EmbeddingMap(
            coordinates=np.stack([columns["x"], columns["y"]], 1),
            vectors=columns["vector"],
            images=tuple(columns["image"]),
            **provenance["map"],
        )


def map_table(
    table: EmbeddingTable, space: str = "degradation", method: str = "umap", seed: int = 0
) -> EmbeddingMap:
    """The map of one of the spaces of a table, with how far it can be trusted.

    Args:
        method: one of `METHODS`.
        seed: see `embedding_map`.
    """
    vectors = table.embedding(space)
    places = embedding_map(vectors, method, seed)
    parameters = {
        "method": method,
        "seed": seed,
        "neighbours": _neighbours(len(table)),
        "space": space,
        LIBRARIES[method]: version(LIBRARIES[method]),
    }
    return EmbeddingMap(
        coordinates=places,
        vectors=vectors,
        images=tuple(table.rows.image),
        parameters=parameters,
        trustworthiness=trustworthiness(vectors, places),
        preservation=preservation(vectors, places),
    )


def embedding_map(vectors, method: str = "umap", seed: int = 0) -> np.ndarray:
    """Place embeddings on a plane.

    Args:
        vectors: (n, d) array or tensor, n at least 5.
        method: `"umap"` (cosine distance, up to 15 neighbours), `"tsne"` (cosine distance, a perplexity of up to 30) or
            `"pca"`. The first two start from PCA, which keeps the coarse order of their islands.
        seed: decides random choices; with the same seed, machine and versions the map is the same.

    Returns:
        (n, 2) float64 coordinates.

    Raises InputError for another shape or method, too few rows, or values that are not finite.
    """
    vectors = _checked(vectors)
    if method not in METHODS:
        raise InputError(f"method {method!r} is unknown: use one of {', '.join(METHODS)}")
    projected = (vectors - vectors.mean(0)) @ _directions(vectors - vectors.mean(0)).T
    if method == "pca":
        return projected
    start = (projected / max(abs(projected).max(), 1e-12)).astype(np.float32)
    if method == "umap":
        import umap

        # One job is what makes it repeatable.
        reducer = umap.UMAP(
            n_neighbors=_neighbours(len(vectors)),
            metric="cosine",
            init=10 * start,
            random_state=seed,
            n_jobs=1,
        )
    else:
        from sklearn.manifold import TSNE

        reducer = TSNE(
            perplexity=min(30, (len(vectors) - 1) / 3),
            metric="cosine",
            init=1e-4 * start,
            random_state=seed,
            n_jobs=1,
        )
    return reducer.fit_transform(vectors.astype(np.float32)).astype(np.float64)


def trustworthiness(vectors, coordinates, neighbours: int = 15) -> float:
    """How far one may trust that neighbours on a map (n, 2) are neighbours in the original space (n, d).

    1: all of them are; about 0.5: as good as a random map (Venna and Kaski, 2001). `neighbours` is the size of the
    neighbourhood, less than half of the rows.
    """
    from sklearn.manifold import trustworthiness as measure

    vectors, coordinates = _both(vectors, coordinates)
    neighbours = min(neighbours, (len(vectors) - 1) // 2)
    return float(measure(vectors, coordinates, n_neighbors=neighbours, metric="cosine"))


def preservation(vectors, coordinates, neighbours: int = 15) -> float:
    """The share (0..1) of the nearest neighbours in the original space (n, d) that are among those on the map (n, 2).

    A random map keeps `neighbours / (n - 1)` of them.
    """
    vectors, coordinates = _both(vectors, coordinates)
    k = min(neighbours, (len(vectors) - 1) // 2)
    unit = _unit(vectors)
    there = _nearest(-(unit @ unit.T), k)
    squares = (coordinates**2).sum(1)
    here = _nearest(squares[:, None] + squares - 2 * coordinates @ coordinates.T, k)
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(there, here, strict=True)]))


def silhouette(vectors, labels: Sequence[str]) -> float:
    """How well labels separate embeddings (n, d) in their original space, by cosine distance: -1..1.

    1: each class is a tight cluster of its own; 0: classes overlap; below 0: most vectors are nearer to another class
    (Rousseeuw, 1987). There must be at least 2 classes, and fewer classes than vectors. With an interval it is
    `geometry.class_silhouette`.
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


def _both(vectors, coordinates) -> tuple[np.ndarray, np.ndarray]:
    vectors, coordinates = _checked(vectors), _checked(coordinates)
    if len(vectors) != len(coordinates):
        raise InputError(f"{len(coordinates)} places for {len(vectors)} vectors: wanted as many")
    return vectors, coordinates


def _array(vectors) -> np.ndarray:
    if isinstance(vectors, torch.Tensor):
        vectors = vectors.detach().cpu().double().numpy()
    array = np.asarray(vectors, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] < 2:
        raise InputError(f"embeddings of shape {array.shape}: wanted (n, d) with d of at least 2")
    if not np.isfinite(array).all():
        raise InputError("the embeddings hold values that are not finite: wanted numbers only")
    return array


def _checked(vectors) -> np.ndarray:
    array = _array(vectors)
    if len(array) < FEWEST:
        raise InputError(f"{len(array)} embeddings are too few for a map: wanted at least {FEWEST}")
    return array


def _neighbours(n: int) -> int:
    return min(15, n - 1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _nearest(distances: np.ndarray, k: int) -> np.ndarray:
    np.fill_diagonal(distances, np.inf)
    return distances.argpartition(k - 1, axis=1)[:, :k]


def _directions(centred: np.ndarray) -> np.ndarray:
    """The two widest directions (2, d) of vectors whose mean is zero."""
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:2]
    # The sign of a direction is arbitrary: its largest entry is made positive.
    largest = np.take_along_axis(directions, abs(directions).argmax(1)[:, None], 1)
    return directions * np.sign(largest)
