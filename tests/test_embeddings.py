"""Maps of embeddings: the same again, true to the data, and refused where they would mean nothing."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.embeddings.projection import (
    METHODS,
    EmbeddingMap,
    embedding_map,
    map_table,
    preservation,
    trustworthiness,
)
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


def test_preservation_counts_the_neighbours_that_are_kept():
    angles = np.linspace(0, 1.5, 21)
    arc = np.stack([np.cos(angles), np.sin(angles)], 1)
    assert preservation(arc, arc, 4) == 1
    swapped = arc[np.random.default_rng(0).permutation(21)]
    assert preservation(arc, swapped, 4) < 0.5
    # A line has the same neighbours as the arc, whatever its scale.
    assert preservation(arc, np.stack([5 * angles, 0 * angles], 1), 4) == 1


def test_pca_is_the_projection_on_the_widest_plane():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 4)) * [9, 3, 0.1, 0.1] + 7
    places = embedding_map(vectors, "pca")
    expected = vectors[:, :2] - vectors[:, :2].mean(0)
    for ours, theirs in zip(places.T, expected.T, strict=True):
        assert abs(np.corrcoef(ours, theirs)[0, 1]) > 0.99
    assert np.allclose(places.mean(0), 0)


def test_a_map_of_few_rows_works():
    assert embedding_map(islands(rows=2)[0], "umap").shape == (6, 2)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((4, 8)), "4 embeddings"),
        (np.ones((9, 8)), "equal"),
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
    vectors, _ = islands()
    with pytest.raises(InputError, match=r"'lle'.*umap, pca, tsne"):
        embedding_map(vectors, "lle")
    with pytest.raises(InputError, match=r"35 .* 36"):
        trustworthiness(vectors, vectors[1:, :2])


# ---- a map that is kept ----


@pytest.fixture(scope="module")
def table():
    vectors, labels = islands(apart=12)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    names = [f"{label} {k}" for k, label in enumerate(labels)]
    rows = pd.DataFrame({"image": names, "degradation": labels})
    return EmbeddingTable(rows=rows, content=vectors[::-1], degradation=vectors)


@pytest.fixture(scope="module", params=METHODS)
def made(request, table):
    return map_table(table, method=request.param, seed=4)


def test_a_map_comes_back_from_its_file_with_its_parameters(made, table, tmp_path):
    assert made.trustworthiness > 0.7 and 0.3 < made.preservation <= 1
    made.save(tmp_path / "map.parquet")
    again = EmbeddingMap.load(tmp_path / "map.parquet")
    assert np.array_equal(again.coordinates, made.coordinates)
    assert again.parameters == made.parameters and again.images == made.images
    assert again.parameters["seed"] == 4 and again.parameters["space"] == "degradation"
    assert (again.trustworthiness, again.preservation) == (made.trustworthiness, made.preservation)
    assert np.array_equal(again.place(table.content), made.place(table.content))


def test_neighbours_are_kept(made, table):
    places, labels = made.coordinates, table.rows.degradation.to_numpy()
    nearest = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(nearest, np.inf)
    assert (labels[nearest.argmin(1)] == labels).all()
    shuffled = np.random.default_rng(0).permutation(places)
    assert made.trustworthiness > 0.7 > trustworthiness(table.degradation, shuffled)


def test_newcomers_go_to_their_like(made, table):
    np.testing.assert_allclose(made.place(table.degradation), made.coordinates, atol=1e-2)
    rng = np.random.default_rng(5)
    near = table.degradation + rng.normal(scale=0.02, size=table.degradation.shape)
    places = made.place(torch.tensor(near))
    nearest = np.linalg.norm(places[:, None] - made.coordinates, axis=-1).argmin(1)
    labels = table.rows.degradation.to_numpy()
    assert (labels[nearest] == labels).mean() > 0.95


def test_a_file_that_holds_no_map_and_another_space_are_refused(table, tmp_path):
    table.save(tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet"):
        EmbeddingMap.load(tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"8 .* 16"):
        map_table(table, method="pca").place(np.ones((2, 8)))
    with pytest.raises(InputError, match="'clip'"):
        map_table(table, "clip")
    with pytest.raises(InputError, match="3 embeddings"):
        map_table(
            replace(
                table,
                rows=table.rows[:3],
                content=table.content[:3],
                degradation=table.degradation[:3],
            )
        )
