"""Attributions sum to the change of the log-probability, and lie in the degraded half of an image."""

import pytest
import torch
from torch.nn import functional as F

import daclip_lab as lab
from daclip_lab.data.seeding import seeded, uniform
from daclip_lab.degradations.apply import degrade
from daclip_lab.embeddings.attribution import _to_pixels, attribute
from daclip_lab.errors import InputError


@pytest.mark.parametrize("size", [(32, 32), (40, 70), (20, 50), (17, 16)])
def test_shares_add_up_to_the_change_of_the_answer(pipe, photo, size):
    image = F.interpolate(photo[None], size=size)[0]
    found = attribute(pipe, image, "hazy", steps=32)
    assert found.heat.shape == size
    assert found.heat.sum().item() == pytest.approx(found.end - found.start, abs=2e-3)
    assert found.end == pytest.approx(pipe.classify(image).apply("log").hazy, abs=1e-4)


def test_the_most_probable_answer_is_explained_unless_another_is_named(pipe, photo):
    assert attribute(pipe, photo).label == pipe.classify(photo).idxmax()
    assert attribute(pipe, photo, "snowy").label == "snowy"


def test_patches_lie_where_they_were_seen():
    image = torch.zeros(3, 64, 96)
    one = torch.zeros(6, 16)
    one[1, 2] = 1.0  # the second of 2 x 3 crops, first row, third patch
    heat = _to_pixels(one, image, 32, "crops")
    assert heat[:8, 32 + 16 : 32 + 24].sum() == pytest.approx(1) == heat.sum().item()
    whole = torch.zeros(1, 16)
    whole[0, 0] = 1.0  # the upper left patch of the resized centre: the middle 64 x 64 of the image
    heat = _to_pixels(whole, image, 32, "resize")
    assert heat[:16, 16:32].sum() == pytest.approx(1, abs=0.05)  # the rest by bicubic overlap
    assert heat.sum().item() == pytest.approx(1)


def test_a_label_that_is_none_and_no_steps_are_refused(pipe, photo):
    with pytest.raises(InputError, match="'foggy'"):
        attribute(pipe, photo, "foggy")
    with pytest.raises(InputError, match="steps=0"):
        attribute(pipe, photo, steps=0)


@pytest.fixture(scope="module")
def halves():
    """Crops of the bundled test photos, degraded in their left or right half only: image, name, that half."""
    photos, made = lab.sample_photos("test"), []
    for k in range(len(photos)):
        for index, name in enumerate(lab.DEGRADATIONS):
            generator = seeded(5, k, index)
            clean = photos[k][:, 100:164, 100 + 8 * index : 164 + 8 * index]
            degraded = degrade(clean, name, uniform(generator, 0.5, 1.0), generator)
            half = slice(0, 32) if (k + index) % 2 else slice(32, 64)
            image = clean.clone()
            image[..., half] = degraded[..., half]
            made.append((image, name, half))
    return made


def test_the_degraded_half_speaks_for_its_degradation(halves):
    pipe, hits = lab.load("lab"), []
    for image, name, half in halves:
        heat = attribute(pipe, image, name, steps=4).heat
        hits.append((heat[:, half].sum() > heat.sum() - heat[:, half].sum()).item())
    assert sum(hits) >= 0.7 * len(hits)
