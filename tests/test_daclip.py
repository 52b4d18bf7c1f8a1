"""DA-CLIP has the authors' numbers, starts as CLIP exactly, and hands its corrections over in reversed order."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from daclip_lab.models.clip import Clip, ClipConfig
from daclip_lab.models.daclip import DaCLIP, Pooling
from daclip_lab.models.losses import info_nce


@pytest.fixture(scope="module")
def arrays():
    with np.load(Path(__file__).parent / "assets" / "daclip.npz") as file:
        found = {
            key: torch.from_numpy(np.asarray(file[key])) for key in file.files if key != "config"
        }
        return found, json.loads(str(file["config"]))


@pytest.fixture(scope="module")
def authors(arrays):
    """A DaCLIP with the weights of the reference, its names translated into ours."""
    found, config = arrays
    clip = Clip(
        ClipConfig(
            embed_dim=config["embed_dim"],
            vision=config["vision_cfg"],
            text=config["text_cfg"],
            mean=(0, 0, 0),  # the reference image is already normalised
            std=(1, 1, 1),
        )
    )
    ours = {"logit_scale": found["w.logit_scale"]}
    for name, value in found.items():
        if name.startswith("w.clip."):
            ours["clip.model." + name.removeprefix("w.clip.")] = value
        elif name.startswith("w.visual_control.transformer.zero_modules."):
            ours["controller.zeros." + name.split("zero_modules.")[1]] = value
        elif name.startswith("w.visual_control."):
            rest = name.removeprefix("w.visual_control.")
            rest = rest.replace("transformer.transformer.", "transformer.")
            ours["controller.visual." + rest] = value
    daclip = DaCLIP(clip)
    pooling = {k: v for k, v in daclip.state_dict().items() if ".pooling." in k}
    daclip.load_state_dict(ours | pooling, strict=True)
    return daclip.eval()


def images(n=3, size=32):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def fresh(scale):
    return DaCLIP(scale.build_clip(seed=7)).eval()


def test_features_equal_the_reference(authors, arrays):
    found, _ = arrays
    with torch.no_grad():
        content, degradation = authors.encode_image(found["image"])
        ours = {
            "image_features": content,
            "image_degra_features": degradation,
            "text_features": authors.clip.encode_tokens(found["caption"]),
            "text_degra_features": authors.clip.encode_tokens(found["degradation"]),
            "plain_image_features": authors.clip.encode_image(found["image"]),
            "logit_scale": authors.scale,
        }
    for name, value in ours.items():
        torch.testing.assert_close(value, found[name], atol=1e-5, rtol=0)


def test_both_losses_equal_the_reference(authors, arrays):
    """From images and tokens to the two numbers that training minimises."""
    found, _ = arrays
    with torch.no_grad():
        content, degradation = authors.encode_image(found["image"])
        caption, words = (
            authors.clip.encode_tokens(found[name]) for name in ("caption", "degradation")
        )
        losses = [
            info_nce(content, caption, authors.scale),
            info_nce(degradation, words, authors.scale),
        ]
    wanted = [found["content_loss"], found["degradation_loss"]]
    torch.testing.assert_close(torch.stack(losses), torch.stack(wanted), atol=1e-5, rtol=0)


def test_the_reference_is_really_controlled(arrays):
    found, _ = arrays
    assert (found["image_features"] - found["plain_image_features"]).abs().max() > 0.01


def test_features_may_keep_the_lengths_of_clips_projection(fresh, authors, arrays):
    with torch.no_grad():
        features = fresh.encode_image(images(), normalize=False)
        plain = fresh.clip.model.encode_image(fresh.clip.normalize(images()))
        lengths = plain.norm(dim=1)
        assert (lengths - 1).abs().min() > 0.1
        for feature in features:
            torch.testing.assert_close(feature, plain, atol=1e-5, rtol=0)
        controlled = authors.encode_image(arrays[0]["image"], normalize=False)
    for feature, name in zip(controlled, ("image_features", "image_degra_features"), strict=True):
        torch.testing.assert_close(
            feature, arrays[0][name] * feature.norm(dim=1, keepdim=True), atol=1e-4, rtol=0
        )


def test_before_training_it_equals_clip_exactly(fresh):
    with torch.no_grad():
        plain = fresh.clip.encode_image(images())
        content, degradation = fresh.encode_image(images())
    assert torch.equal(content, plain)
    assert torch.equal(degradation, plain)
    assert torch.equal(fresh.scale, fresh.clip.scale)


def test_the_copy_has_every_tensor_under_its_own_name(fresh):
    frozen, copied = fresh.clip.visual.state_dict(), fresh.controller.visual.state_dict()
    assert frozen.keys() == copied.keys()
    for name, value in frozen.items():
        assert torch.equal(value, copied[name]), name
        assert value.data_ptr() != copied[name].data_ptr(), name
    for layer in fresh.controller.zeros:
        assert not layer.weight.any()
        assert not layer.bias.any()


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_the_last_controller_block_corrects_after_the_first_frozen_block(authors, arrays, layer):
    """Control from controller block k enters after frozen block n - 1 - k: blocks up to that one see no difference."""
    found, _ = arrays
    inputs = {}
    blocks = authors.clip.visual.transformer.resblocks
    handles = [
        block.register_forward_pre_hook(lambda _, args, i=i: inputs.setdefault(i, args[0].clone()))
        for i, block in enumerate(blocks)
    ]
    bias = authors.controller.zeros[layer].bias
    kept = bias.detach().clone()
    try:
        with torch.no_grad():
            authors.encode_image(found["image"])
            before = dict(inputs)
            inputs.clear()
            bias += 0.5
            authors.encode_image(found["image"])
    finally:
        with torch.no_grad():
            bias.copy_(kept)
        for handle in handles:
            handle.remove()
    changed = [i for i in before if not torch.equal(before[i], inputs[i])]
    enters_after = len(blocks) - 1 - layer
    assert changed == list(range(enters_after + 1, len(blocks)))


def test_only_the_controller_and_the_temperature_learn(fresh, randomize):
    trainable = {name for name, p in fresh.named_parameters() if p.requires_grad}
    assert trainable == {
        name for name, _ in fresh.named_parameters() if not name.startswith("clip.")
    }
    randomize(fresh.controller)
    content, degradation = fresh.encode_image(images())
    text = fresh.encode_text(["hazy", "rainy", "clean"])
    content = content + fresh.controller.pooling(torch.randn(3, 2, content.shape[1]))
    (fresh.scale * (content * text + degradation * text)).sum().backward()
    for name, p in fresh.named_parameters():
        if name.startswith("clip."):
            assert p.grad is None, name
        else:
            assert p.grad is not None, name
            assert torch.isfinite(p.grad).all(), name


def test_building_on_a_clip_leaves_its_weights_alone(scale):
    clip = scale.build_clip(seed=7)
    before = {name: value.clone() for name, value in clip.state_dict().items()}
    DaCLIP(clip)
    assert all(torch.equal(before[name], value) for name, value in clip.state_dict().items())


def test_building_touches_no_global_randomness(scale):
    clip = scale.build_clip()
    before = torch.get_rng_state()
    DaCLIP(clip)
    assert torch.equal(before, torch.get_rng_state())


def test_control_changes_the_content_but_not_the_degradation(fresh, randomize):
    with torch.no_grad():
        content, degradation = fresh.encode_image(images())
        randomize(fresh.controller.zeros)
        controlled, same = fresh.encode_image(images())
    assert torch.equal(degradation, same)
    assert (controlled - content).abs().max() > 1e-3
    torch.testing.assert_close(controlled.norm(dim=1), torch.ones(3))


# ---- pooling ----


def features(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def test_untrained_pooling_is_the_mean_of_directions():
    mean = F.normalize(F.normalize(features(4, 7, 16), dim=-1).mean(1), dim=-1)
    torch.testing.assert_close(Pooling(16)(features(4, 7, 16)), mean)


def test_pooling_prefers_views_with_a_high_score(randomize):
    pooling = randomize(Pooling(16), std=100.0)
    views = features(7, 16)
    best = (views @ pooling.score).argmax()
    with torch.no_grad():
        pooling.whole.zero_()
        torch.testing.assert_close(pooling(views), F.normalize(views[best], dim=0))
        pooling.whole.fill_(1e6)  # the first view is the whole image, or is not
        torch.testing.assert_close(pooling(views), F.normalize(views[0], dim=0))
        best_crop = pooling(views, whole_first=False)
    torch.testing.assert_close(best_crop, F.normalize(views[best], dim=0))


def test_pooling_ignores_the_order_of_crops_and_one_view_is_itself(randomize):
    pooling, views = randomize(Pooling(16), std=1.0), features(7, 16)
    turned = torch.cat([views[:1], views[1:].flip(0)])
    with torch.no_grad():
        torch.testing.assert_close(pooling(views), pooling(turned))
        assert (pooling(views) - pooling(views.flip(0))).abs().max() > 1e-4
        torch.testing.assert_close(pooling(views[:1]), F.normalize(views[:1], dim=1)[0])
