"""Layer summary of the images behind a table: which images are analysed, through the views that the pipeline uses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from planted import changed, ideal_table

from daclip_lab.data.image_io import save_image
from daclip_lab.embeddings import layer_summary
from daclip_lab.embeddings.layer_summary import balanced_rows, image_features, summarize_layers
from daclip_lab.embeddings.layers import TOWERS, block_features
from daclip_lab.embeddings.summary import attribute_predictions
from daclip_lab.errors import InsufficientDataError
from daclip_lab.models.clip import views


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, photo):
    """Twelve pairs of small images in two degradations; what is called hazy is the clean image itself."""
    folder = tmp_path_factory.mktemp("pairs")
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    for k in range(6):
        clean = photo[:, 4 * k : 4 * k + 40, 3 * k : 3 * k + 44]
        noisy = (clean + 0.2 * noise[:, :40, :44]).clamp(0, 1)
        for name, image in (("hazy", clean), ("noisy", noisy)):
            for part, pixels in (("LQ", image), ("GT", clean)):
                place = folder / name / part
                place.mkdir(parents=True, exist_ok=True)
                save_image(pixels, place / f"{name}{k}.png")
    return folder


@pytest.fixture
def table(pipe, pairs):
    return pipe.embed(pairs)


def call(name, measure, *arguments):
    return measure(*arguments)


def test_images_are_taken_evenly_from_all_degradations():
    table = ideal_table().select(
        np.r_[:4, 2 * 20 : 120]
    )  # few rows of the first two labels are left
    chosen = table.rows.degradation[balanced_rows(table, 30)].value_counts()
    assert chosen.sum() == 30 and chosen.min() >= 9
    rare = table.select((table.rows.degradation != "hazy") | (np.arange(len(table)) < 2))
    assert (balanced_rows(rare, 20) < 2).sum() == 2  # all that there are of it
    assert list(balanced_rows(table, 10**6)) == list(range(len(table)))
    unknown = changed(table, degradation=None, predicted=["hazy"] + ["noisy"] * (len(table) - 1))
    assert 0 in balanced_rows(unknown, 2)


def test_an_image_of_many_views_is_their_mean(pipe, photo, monkeypatch):
    images = [photo, photo[:, :32, :32], photo[:, :40]]
    pipe.settings = replace(pipe.settings, view="both")
    monkeypatch.setattr(layer_summary, "AT_A_TIME", 2)
    features = image_features(pipe, images)
    for k, image in enumerate(images):
        seen = block_features(pipe.daclip, views(image, 32, "both", 4))
        for tower in TOWERS:
            mean = getattr(seen, tower).mean(0)
            np.testing.assert_allclose(getattr(features, tower)[k], mean, atol=1e-5)
        np.testing.assert_allclose(features.injected[k], seen.injected.mean(0), rtol=1e-4)


def test_the_features_of_a_clean_image_have_cosine_one(pipe, table):
    found = summarize_layers(pipe, table, table.rows.image, table.rows.partner, call)
    assert (found.images, found.photos, found.chance) == (12, 6, 0.5)
    assert set(found.injection.label) == {"hazy", "noisy"}
    hazy = table.of("hazy")
    twice = table.join([hazy, hazy])  # enough rows to measure
    reasons = []

    def attempt(name, measure, *arguments):
        try:
            return measure(*arguments)
        except InsufficientDataError as error:
            reasons.append(str(error))

    found = summarize_layers(pipe, twice, twice.rows.image, twice.rows.partner, attempt)
    alone = found.clean_cosine[found.clean_cosine.tower == "clip"]
    np.testing.assert_allclose(alone.cosine, 1, atol=1e-6)
    assert found.probe is None and "hazy" in reasons[0]


def test_the_stored_prediction_is_attributed(pipe, table):
    found = attribute_predictions(pipe, table, table.rows.image, [3, 7])
    assert [found[k].label for k in (3, 7)] == list(table.rows.predicted[[3, 7]])
