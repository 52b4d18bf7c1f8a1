"""Two-dimensional maps of embeddings, and measures of how faithful they are.

PCA is a linear projection: distances can only shrink. UMAP (McInnes et al., 1802.03426) and t-SNE (van der Maaten and
Hinton, 2008) preserve neighbourhoods, while the sizes of clusters and the gaps between them mean little. Conclusions
are therefore drawn in the original space (`probes`, `class_separation`, `alignment`); a map illustrates them.
"""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.errors import InputError, InsufficientDataError, extra
from daclip_lab.files.parquet import read_parquet, write_parquet

METHODS = ("umap", "pca", "tsne")
LIBRARIES = {"umap": "umap-learn", "pca": "scikit-learn", "tsne": "scikit-learn"}
MIN_VECTORS = 5
PLACED_BY = 5
"""Nearest neighbours that determine where `EmbeddingMap.place` puts a new embedding."""


@dataclass(frozen=True, eq=False, kw_only=True)
class EmbeddingMap:
    """Embeddings on a plane, with what is needed to repeat the map or to place other embeddings on it."""

    coordinates: np.ndarray
    """(n, 2) float64."""
    vectors: np.ndarray
    """(n, d), the embeddings."""
    images: tuple[str, ...]
    """n names, see `EmbeddingTable.rows`."""
    parameters: dict
    """Method, seed, number of neighbours, the library and its version, and the space of the table."""
    trustworthiness: float
    """See `trustworthiness`."""
    preservation: float
    """See `preservation`."""

    @extra("analysis")
    def place(self, vectors) -> np.ndarray:
        """Coordinates (m, 2) of other embeddings (m, d) of the same space; those of the map stay where they are.

        On a PCA map they are projected. On the other maps the place is the mean over the five nearest neighbours in the
        original space, weighted by the inverse of their cosine distances, so that a row of the map gets its own place.
        Raises InputError for another d.
        """
        from sklearn.neighbors import KNeighborsRegressor

        vectors = _array(vectors)
        if vectors.shape[1] != self.vectors.shape[1]:
            raise InputError(
                f"embeddings of {vectors.shape[1]} dimensions on a map of {self.vectors.shape[1]}"
            )
        if self.parameters["method"] == "pca":
            return _pca().fit(_array(self.vectors)).transform(vectors)
        neighbours = KNeighborsRegressor(PLACED_BY, weights="distance", metric="cosine")
        return neighbours.fit(self.vectors, self.coordinates).predict(vectors)

    def save(self, path: str | Path) -> None:
        """Write the map as Parquet: columns `image`, `x`, `y` and `vector`, with its parameters as metadata."""
        metadata = {k: v for k, v in asdict(self).items() if isinstance(v, dict | float)}
        x, y = self.coordinates.T
        columns = {"image": np.array(self.images, object), "x": x, "y": y, "vector": self.vectors}
        write_parquet(path, columns, {"map": metadata})

    @staticmethod
    def load(path: str | Path) -> "EmbeddingMap":
        """Read a map that `save` wrote. Raises InputError, naming the file, where it holds none."""
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
    """Map one of the spaces of a table; arguments and errors are those of `embedding_map`."""
    vectors = table.embedding(space)
    coordinates = embedding_map(vectors, method, seed)
    parameters = {
        "method": method,
        "seed": seed,
        "neighbours": _neighbours(len(table)),
        "space": space,
        LIBRARIES[method]: version(LIBRARIES[method]),
    }
    return EmbeddingMap(
        coordinates=coordinates,
        vectors=vectors,
        images=tuple(table.rows.image),
        parameters=parameters,
        trustworthiness=trustworthiness(vectors, coordinates),
        preservation=preservation(vectors, coordinates),
    )


@extra("analysis")
def embedding_map(vectors, method: str = "umap", seed: int = 0) -> np.ndarray:
    """Project embeddings to a plane.

    Args:
        vectors: (n, d) array or tensor, n and d at least 5 and 2.
        method: `"umap"` (cosine distance, 15 neighbours, fewer for few rows), `"tsne"` (cosine distance, perplexity 30,
            less for few rows), or `"pca"`. The first two are initialised with PCA.
        seed: of the random choices; the same seed, machine and library versions give the same map.

    Returns:
        (n, 2) float64 coordinates.

    Raises InputError for another shape or method, or values that are not finite, InsufficientDataError for too few rows
    or equal ones.
    """
    vectors = _checked(vectors)
    if method not in METHODS:
        raise InputError(f"method {method!r} is unknown: use one of {', '.join(METHODS)}")
    if not np.ptp(vectors, axis=0).any():
        raise InsufficientDataError("all embeddings are equal: a map of them has no shape")
    if method == "pca":
        return _pca().fit_transform(vectors)
    # n_jobs=1: several threads make the result depend on their timing.
    common = {"metric": "cosine", "init": "pca", "random_state": seed, "n_jobs": 1}
    if method == "umap":
        import umap

        reducer = umap.UMAP(n_neighbors=_neighbours(len(vectors)), **common)
    else:
        from sklearn.manifold import TSNE

        reducer = TSNE(perplexity=min(30, (len(vectors) - 1) / 3), **common)
    return reducer.fit_transform(vectors.astype(np.float32)).astype(np.float64)


@extra("analysis")
def trustworthiness(vectors, coordinates, neighbours: int = 15) -> float:
    r"""Whether neighbours on a map (n, 2) are neighbours in the original space (n, d), by cosine: 0..1.

    $1 - \frac{2}{nk(2n - 3k - 1)} \sum_i \sum_{j \in U_k(i)} (r(i, j) - k)$, where U_k(i) are the k nearest on the map
    that are not among the k nearest in the original space, and r is their rank there (Venna and Kaski, 2001). 1: all
    are; about 0.5: a random map. `neighbours` (k) is limited to less than half of the rows.

    Raises InputError for different numbers of rows, too few of them, or values that are not finite.
    """
    from sklearn.manifold import trustworthiness as measure

    vectors, coordinates = _both(vectors, coordinates)
    neighbours = min(neighbours, (len(vectors) - 1) // 2)
    return float(measure(vectors, coordinates, n_neighbors=neighbours, metric="cosine"))


@extra("analysis")
def preservation(vectors, coordinates, neighbours: int = 15) -> float:
    """The share (0..1) of the k nearest neighbours in the original space (n, d) that are among those on the map (n, 2).

    A random map preserves k / (n - 1) of them. `neighbours` and errors are those of `trustworthiness`.
    """
    from sklearn.neighbors import NearestNeighbors

    vectors, coordinates = _both(vectors, coordinates)
    k = min(neighbours, (len(vectors) - 1) // 2)
    original, mapped = (
        NearestNeighbors(n_neighbors=k, metric=metric).fit(x).kneighbors(return_distance=False)
        for x, metric in ((vectors, "cosine"), (coordinates, "euclidean"))
    )
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(original, mapped, strict=True)]))


def _both(vectors, coordinates) -> tuple[np.ndarray, np.ndarray]:
    vectors, coordinates = _checked(vectors), _checked(coordinates)
    if len(vectors) != len(coordinates):
        raise InputError(f"{len(coordinates)} coordinates for {len(vectors)} embeddings")
    return vectors, coordinates


def _array(vectors) -> np.ndarray:
    if isinstance(vectors, torch.Tensor):
        vectors = vectors.detach().cpu().double().numpy()
    array = np.asarray(vectors, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] < 2:
        raise InputError(f"embeddings of shape {array.shape}: expected (n, d) with d of at least 2")
    if not np.isfinite(array).all():
        raise InputError("the embeddings contain values that are not finite")
    return array


def _checked(vectors) -> np.ndarray:
    array = _array(vectors)
    if len(array) < MIN_VECTORS:
        raise InsufficientDataError(
            f"{len(array)} embeddings are too few for a map: at least {MIN_VECTORS} needed"
        )
    return array


def _neighbours(n: int) -> int:
    return min(15, n - 1)


def _pca():
    from sklearn.decomposition import PCA

    return PCA(2, svd_solver="full")
