"""Two-dimensional maps of embeddings, and measures of how faithful they are.

PCA is a linear projection: distances can only shrink. UMAP (McInnes et al., 1802.03426) and t-SNE (van der Maaten and
Hinton, 2008) preserve neighbourhoods, while the sizes of clusters and the gaps between them mean little. Conclusions
are therefore drawn in the original space (`probes`, `class_separation`, `alignment`); a map illustrates them.
"""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.errors import InputError, InsufficientDataError, extra
from daclip_lab.files.parquet import read_parquet, write_parquet

LIBRARIES = {"umap": "umap-learn", "pca": "scikit-learn", "tsne": "scikit-learn"}
METHODS = tuple(LIBRARIES)
MIN_VECTORS = 5
NEIGHBOURS = 15
"""Neighbours that UMAP and the measures of a map look at; fewer where there are few rows."""


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

        vectors = _array(vectors, least=1)
        if vectors.shape[1] != self.vectors.shape[1]:
            raise InputError(
                f"embeddings of {vectors.shape[1]} dimensions on a map of {self.vectors.shape[1]}"
            )
        if self.parameters["method"] == "pca":
            return _pca().fit(_array(self.vectors)).transform(vectors)
        neighbours = KNeighborsRegressor(5, weights="distance", metric="cosine")
        return neighbours.fit(self.vectors, self.coordinates).predict(vectors)

    def save(self, path: str | Path) -> None:
        """Write the map as Parquet: columns `image`, `x`, `y` and `vector`, with its parameters as metadata."""
        x, y = self.coordinates.T
        columns = {"image": np.array(self.images, object), "x": x, "y": y, "vector": self.vectors}
        fields = ("parameters", "trustworthiness", "preservation")
        write_parquet(path, columns, {"map": {name: getattr(self, name) for name in fields}})

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
    return EmbeddingMap(
        coordinates=coordinates,
        vectors=vectors,
        images=tuple(table.rows.image),
        parameters={
            "method": method,
            "seed": seed,
            "neighbours": min(NEIGHBOURS, len(table) - 1),
            "space": space,
            LIBRARIES[method]: version(LIBRARIES[method]),
        },
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
    vectors = _array(vectors)
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

        reducer = umap.UMAP(n_neighbors=min(NEIGHBOURS, len(vectors) - 1), **common)
    else:
        from sklearn.manifold import TSNE

        reducer = TSNE(perplexity=min(30, (len(vectors) - 1) / 3), **common)
    return reducer.fit_transform(vectors.astype(np.float32)).astype(np.float64)


@extra("analysis")
def trustworthiness(vectors, coordinates, neighbours: int = NEIGHBOURS) -> float:
    r"""Whether neighbours on a map (n, 2) are neighbours in the original space (n, d), by cosine: 0..1.

    $1 - \frac{2}{nk(2n - 3k - 1)} \sum_i \sum_{j \in U_k(i)} (r(i, j) - k)$, where U_k(i) are the k nearest on the map
    that are not among the k nearest in the original space, and r is their rank there (Venna and Kaski, 2001). 1: all
    are; about 0.5: a random map. `neighbours` (k) is limited to less than half of the rows.

    Raises InputError for different numbers of rows, too few of them, or values that are not finite.
    """
    from sklearn.manifold import trustworthiness as measure

    vectors, coordinates, k = _map_of(vectors, coordinates, neighbours)
    return float(measure(vectors, coordinates, n_neighbors=k, metric="cosine"))


@extra("analysis")
def preservation(vectors, coordinates, neighbours: int = NEIGHBOURS) -> float:
    """The share (0..1) of the k nearest neighbours in the original space (n, d) that are among those on the map (n, 2).

    A random map preserves k / (n - 1) of them. `neighbours` and errors are those of `trustworthiness`.
    """
    from sklearn.neighbors import NearestNeighbors

    vectors, coordinates, k = _map_of(vectors, coordinates, neighbours)
    original, mapped = (
        NearestNeighbors(n_neighbors=k, metric=metric).fit(x).kneighbors(return_distance=False)
        for x, metric in ((vectors, "cosine"), (coordinates, "euclidean"))
    )
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(original, mapped, strict=True)]))


def _map_of(vectors, coordinates, neighbours: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Both as arrays of the same length, and the number of neighbours to compare: less than half of the rows."""
    vectors, coordinates = _array(vectors), _array(coordinates)
    if len(vectors) != len(coordinates):
        raise InputError(f"{len(coordinates)} coordinates for {len(vectors)} embeddings")
    return vectors, coordinates, min(neighbours, (len(vectors) - 1) // 2)


def _array(vectors, least: int = MIN_VECTORS) -> np.ndarray:
    """An array or tensor (n, d) as float64 on the CPU; see `embedding_map` for the errors."""
    if isinstance(vectors, torch.Tensor):
        vectors = vectors.detach().cpu().double().numpy()
    array = np.asarray(vectors, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] < 2:
        raise InputError(f"embeddings of shape {array.shape}: expected (n, d) with d of at least 2")
    if not np.isfinite(array).all():
        raise InputError("the embeddings contain values that are not finite")
    if len(array) < least:
        raise InsufficientDataError(f"{len(array)} embeddings: at least {least} needed")
    return array


def _pca():
    from sklearn.decomposition import PCA

    return PCA(2, svd_solver="full")
