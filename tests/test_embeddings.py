"""Maps of embeddings: the same again, true to the data, and refused where they would mean nothing."""

import numpy as np
import pytest
import torch

from daclip_lab.analysis.embeddings import METHODS, embedding_map, silhouette, trustworthiness
from daclip_lab.errors import InputError


def islands(rows=12, apart=4.0):
    """Three groups of vectors (3 rows, 16), and the name of each row's group."""
    rng = np.random.default_rng(0)
    centres = apart * np.eye(3, 16).repeat(rows, 0)
    return centres + rng.normal(size=centres.shape), np.repeat(list("abc"), rows)


@pytest.mark.parametrize("method", METHODS)
def test_a_map_has_two_coordinates_and_comes_out_the_same_again(method):
    vectors, _ = islands()
    places = embedding_map(vectors, method, seed=3)
    assert places.shape == (36, 2) and places.dtype == np.float64 and np.isfinite(places).all()
    assert np.array_equal(places, embedding_map(torch.tensor(vectors), method, seed=3))


def test_umap_keeps_neighbours():
    vectors, labels = islands(apart=12)
    places = embedding_map(vectors, "umap")
    nearest = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(nearest, np.inf)
    assert (labels[nearest.argmin(1)] == labels).all()
    shuffled = np.random.default_rng(0).permutation(places)
    assert trustworthiness(vectors, places, 5) > 0.8 > trustworthiness(vectors, shuffled, 5)


def test_pca_is_the_projection_on_the_widest_plane():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 4)) * [9, 3, 0.1, 0.1] + 7
    places = embedding_map(vectors, "pca")
    expected = vectors[:, :2] - vectors[:, :2].mean(0)
    for ours, theirs in zip(places.T, expected.T, strict=True):
        assert np.corrcoef(ours, theirs)[0, 1] > 0.99  # its largest direction counts upwards
    assert np.allclose(places.mean(0), 0)


def test_a_map_of_few_rows_works():
    assert embedding_map(islands(rows=2)[0], "umap").shape == (6, 2)


def test_silhouette_is_high_for_islands_and_low_without():
    vectors, labels = islands(apart=12)
    assert silhouette(vectors, labels) > 0.7
    mixed = np.random.default_rng(1).permutation(labels)
    assert silhouette(vectors, mixed) < 0.1


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((4, 8)), "4 embeddings are too few"),
        (np.full((9, 8), np.nan), "not finite"),
        (np.ones(9), "shape"),
        (np.ones((9, 1)), "shape"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_what_no_map_can_be_made_of_is_refused(vectors, message, method):
    with pytest.raises(InputError, match=message):
        embedding_map(vectors, method)


def test_other_mistakes_get_a_clear_line():
    vectors, labels = islands()
    with pytest.raises(InputError, match="'tsne' is unknown: use one of umap, pca"):
        embedding_map(vectors, "tsne")
    with pytest.raises(InputError, match="35 labels for 36 vectors"):
        silhouette(vectors, labels[1:])
    with pytest.raises(InputError, match="1 classes"):
        silhouette(vectors, ["a"] * 36)
    with pytest.raises(InputError, match="35 places for 36 vectors"):
        trustworthiness(vectors, vectors[1:, :2])
