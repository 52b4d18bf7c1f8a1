"""The pixels behind a table: which images are read again, and that they are followed as the pipeline sees them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from planted import changed, ideal_table

from daclip_lab.data.image_io import save_image
from daclip_lab.embeddings.internals import Source, attributions, evenly, inside, trace_images
from daclip_lab.embeddings.layers import TOWERS, trace
from daclip_lab.errors import InputError
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
def source(pipe, pairs):
    table = pipe.embed(pairs)
    return Source(pipe=pipe, table=table, images=table.rows.image, clean=table.rows.partner)


def loud(what, measure, *arguments):
    return measure(*arguments)


def test_images_are_taken_evenly_from_all_degradations():
    table = ideal_table().select(
        np.r_[:4, 2 * 20 : 120]
    )  # few rows of the first two labels are left
    chosen = table.rows.degradation[evenly(table, 30)].value_counts()
    assert chosen.sum() == 30 and chosen.min() >= 9
    rare = table.select((table.rows.degradation != "hazy") | (np.arange(len(table)) < 2))
    assert (evenly(rare, 20) < 2).sum() == 2  # all that there are of it
    assert list(evenly(table, 10**6)) == list(range(len(table)))
    unknown = changed(table, degradation=None, predicted=["hazy"] + ["noisy"] * (len(table) - 1))
    assert 0 in evenly(unknown, 2)


def test_an_image_of_many_views_is_their_mean(pipe, photo):
    images = [photo, photo[:, :32, :32], photo[:, :40]]
    pipe.settings = replace(pipe.settings, view="both")
    traced = trace_images(pipe, images, at_a_time=2)
    for k, image in enumerate(images):
        seen = trace(pipe.daclip, views(image, 32, "both", 4))
        for tower in TOWERS:
            mean = seen.features[tower].mean(2)
            np.testing.assert_allclose(traced.features[tower][:, :, k], mean, atol=1e-5)
        np.testing.assert_allclose(traced.injected[:, k], seen.injected.mean(1), rtol=1e-4)


def test_a_clean_image_needs_no_repair(source):
    found = inside(source, loud)
    assert (found.images, found.photos, found.chance) == (12, 6, 0.5)
    assert set(found.injection.label) == {"hazy", "noisy"}
    own = source.table.rows.degradation == "hazy"
    hazy = source.table.select(own)
    twice = source.table.join([hazy, hazy])  # enough rows to measure
    which = list(np.flatnonzero(own)) * 2
    images, clean = ([x[k] for k in which] for x in (source.images, source.clean))
    alone = Source(pipe=source.pipe, table=twice, images=images, clean=clean)
    reasons = []

    def tried(what, measure, *arguments):
        try:
            return measure(*arguments)
        except InputError as error:
            reasons.append(str(error))

    found = inside(alone, tried)
    plain = found.repair[found.repair.tower == "plain"]
    np.testing.assert_allclose(plain.cosine, 1, atol=1e-6)
    assert found.readability is None and "wanted at least 2" in reasons[0]


def test_the_answer_that_was_given_is_explained(source):
    found = attributions(source, [3, 7])
    assert [found[k].label for k in (3, 7)] == list(source.table.rows.predicted[[3, 7]])


def test_other_weights_are_no_source(pipe):
    table = ideal_table()
    with pytest.raises(InputError, match="name those that made it"):
        Source(pipe=pipe, table=table, images=table.rows.image)
