"""Block-wise analysis: the blocks are those of DA-CLIP, and planted features give known measures."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from daclip_lab.embeddings.layers import (
    BlockFeatures,
    block_features,
    block_outputs,
    clean_cosine_by_block,
    injection_by_block,
    probe_by_block,
)
from daclip_lab.errors import InputError, InsufficientDataError
from daclip_lab.figures import interpretability
from daclip_lab.models.clip import project
from daclip_lab.models.daclip import DaCLIP

PHOTOS = np.repeat([f"photo {k}" for k in range(6)], 10)
LABELS = np.tile(["hazy", "noisy"], 30)


@pytest.fixture
def images():
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def planted():
    """Two blocks of features of 60 images: the second controller block shows the label, all else is noise."""
    rng = np.random.default_rng(0)
    features = BlockFeatures(*rng.normal(size=(3, 60, 2, 2, 8)), rng.uniform(size=(60, 2)))
    features.controller[LABELS == "hazy", 1, :, 0] += 8
    return features


# ---- block outputs ----


def test_the_last_blocks_give_both_embeddings(pipe, images):
    daclip = pipe.daclip
    blocks = block_outputs(daclip, images)
    content = F.normalize(project(daclip.clip.visual, blocks.controlled[-1]), dim=-1)
    degradation = F.normalize(project(daclip.controller.visual, blocks.controller[-1]), dim=-1)
    plain = F.normalize(project(daclip.clip.visual, blocks.clip[-1]), dim=-1)
    expected = daclip.encode_image(images)
    torch.testing.assert_close(content, expected.content)
    torch.testing.assert_close(degradation, expected.degradation)
    torch.testing.assert_close(plain, daclip.clip.encode_image(images))


def test_a_fresh_controller_injects_nothing(scale, images):
    # With gradients, torch computes attention in another way where an input needs one, and rounds differently.
    with torch.no_grad():
        blocks = block_outputs(DaCLIP(scale.build_clip()), images)
    for plain, controlled, injected in zip(
        blocks.clip, blocks.controlled, blocks.injected, strict=True
    ):
        assert not injected.any() and torch.equal(plain, controlled)


def test_the_first_controller_block_feeds_the_last_block_of_clip(scale, images):
    daclip = DaCLIP(scale.build_clip())
    torch.nn.init.ones_(daclip.controller.zeros[0].bias)
    shares = block_features(daclip, images).injected
    assert not shares[:, :-1].any() and (shares[:, -1] > 0).all()


def test_block_features_do_not_depend_on_the_batches(pipe, images):
    one, many = block_features(pipe.daclip, images), block_features(pipe.daclip, images, batch=2)
    assert one.controller.shape == one.clip.shape == one.controlled.shape == (5, 2, 2, 32)
    for ours, theirs in zip(one, many, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_correction_is_measured_against_what_it_is_added_to(pipe, images):
    blocks = block_outputs(pipe.daclip, images)
    before = pipe.daclip.clip.visual.transformer.resblocks[1](blocks.controlled[0])
    share = (blocks.injected[1].norm(dim=-1) / before.norm(dim=-1)).mean(1)
    np.testing.assert_allclose(block_features(pipe.daclip, images).injected[:, 1], share, rtol=1e-4)


# ---- the measures ----


def test_a_probe_reads_what_is_there_and_guesses_elsewhere(planted):
    table = probe_by_block(planted, LABELS, PHOTOS).set_index(["tower", "tokens", "block"])
    assert (table.loc["controller"].xs(2, level="block").accuracy > 0.98).all()
    others = table.drop([("controller", "class", 2), ("controller", "patches", 2)])
    assert len(others) == 10 and others.accuracy.between(0.2, 0.8).all()
    assert (table.low <= table.accuracy).all() and (table.accuracy <= table.high).all()


def test_neighbours_read_what_is_there_too(planted):
    table = probe_by_block(planted, LABELS, PHOTOS, probe="knn").set_index(["tower", "block"])
    assert table.loc[("controller", 2)].accuracy.min() > 0.7 > table.loc["clip"].accuracy.max()


def test_a_probe_cannot_cheat_by_knowing_the_photo():
    # Each photo has one label and its own features: nothing carries over to other photos.
    rng = np.random.default_rng(1)
    own = np.repeat(rng.normal(size=(6, 1, 2, 8)), 10, axis=0)
    labels = np.repeat(["hazy", "noisy"] * 3, 10)
    traced = BlockFeatures(own, own, own, np.ones((60, 1)))
    assert probe_by_block(traced, labels, PHOTOS).accuracy.max() < 0.9


def test_repair_is_complete_where_the_corrected_tower_sees_the_clean_image(planted):
    rng = np.random.default_rng(2)
    clean = planted._replace(clip=5 + rng.normal(size=(60, 2, 2, 8)))
    degraded = planted._replace(controlled=clean.clip)
    table = clean_cosine_by_block(degraded, clean, PHOTOS).groupby("tower").cosine
    assert table.min()["controlled"] == pytest.approx(1)
    # The common offset of all images, which would make everything alike, does not count.
    assert table.max()["clip"] < 0.3


def test_injection_is_averaged_for_each_label(planted):
    planted.injected[LABELS == "hazy", 0] = 0.5
    table = injection_by_block(planted, LABELS, PHOTOS).set_index(["label", "block"])
    assert table.loc[("hazy", 1), "share"] == pytest.approx(0.5)
    assert table.loc[("hazy", 1), "from_block"] == 2
    assert table.loc[("noisy", 2), "share"] == pytest.approx(planted.injected[1::2, 1].mean())
    assert (table.low <= table.share).all() and (table.share <= table.high).all()
    # One photo says nothing of others: there is a mean, and no interval.
    alone = injection_by_block(planted, LABELS, ["photo"] * 60)
    assert alone.share.notna().all() and alone.low.isna().all() and alone.high.isna().all()


def test_selected_images_are_those_images(planted):
    for some, every in zip(planted.select(LABELS == "hazy"), planted, strict=True):
        assert np.array_equal(some, every[::2])


def test_what_cannot_be_measured_is_refused(pipe, planted, images):
    with pytest.raises(InputError, match="5, 3, 16, 16"):
        block_features(pipe.daclip, images[..., :16, :16])
    with pytest.raises(InputError, match="59"):
        probe_by_block(planted, LABELS[:-1], PHOTOS)
    with pytest.raises(InsufficientDataError, match="'hazy'"):
        probe_by_block(planted, ["hazy"] * 60, PHOTOS)
    with pytest.raises(InsufficientDataError, match="'photo'"):
        probe_by_block(planted, LABELS, ["photo"] * 60)
    with pytest.raises(InsufficientDataError, match="0 rows"):
        probe_by_block(planted.select([]), [], [])
    with pytest.raises(InputError, match="5 clean"):
        clean_cosine_by_block(planted, block_features(pipe.daclip, images), PHOTOS)
    with pytest.raises(InsufficientDataError, match="'photo'"):
        clean_cosine_by_block(planted, planted, ["photo"] * 60)
    few = planted.select(np.arange(8, 14))
    with pytest.raises(InsufficientDataError, match="6 images"):
        clean_cosine_by_block(few, few, PHOTOS[8:14])
    with pytest.raises(InputError, match=r"controller: .* not finite"):
        block_features(pipe.daclip, images * np.nan)


# ---- the figures ----


def test_the_figures_draw_every_block(planted):
    read = probe_by_block(planted, LABELS, PHOTOS)
    near = clean_cosine_by_block(planted, planted, PHOTOS)
    figure = interpretability.block_curves(read, near, chance=0.5)
    assert [len(axes.collections) for axes in figure.axes] == [6, 4]  # intervals of each line
    for tables, count in (((read, None), 6), ((None, near), 4)):
        figure = interpretability.block_curves(*tables, chance=0.5)
        assert [len(axes.collections) for axes in figure.axes] == [count]
    figure = interpretability.injection_heatmap(injection_by_block(planted, LABELS, PHOTOS))
    written = [text.get_text() for text in figure.axes[0].texts]
    assert len(written) == 4
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["1  (2)", "2  (1)"]
