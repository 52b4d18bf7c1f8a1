"""The study of the controller: each variant differs from the lab's in the one part that it names."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from counting import finish
from torch.nn import functional as F

from daclip_lab.ablation.networks.controllers import build_controlled
from daclip_lab.ablation.studies import study
from daclip_lab.ablation.study import Context
from daclip_lab.ablation.tasks.controller import ControllerTrial
from daclip_lab.data.photos import Photos, sample_photos
from daclip_lab.errors import InputError
from daclip_lab.models.clip import Clip, project, tokens_of
from daclip_lab.models.front_end import FrontEnd
from daclip_lab.pipeline.loading import load

STUDY = study("controller")
VARIANTS = [variant.name for variant in STUDY.variants]
FRESH = ("fresh convolutions", "fresh patch embedding")
METRICS = {"accuracy", "accuracy, held-out words", "cosine gain", "gain at 32 px"}


def build(clip, *, order="reversed", initialisation="exact", front_end="copy", seed=0):
    choices = {"order": order, "initialisation": initialisation, "front_end": front_end}
    return build_controlled(clip, **choices, seed=seed).eval()


def build_variant(clip, name):
    trial = STUDY.trial_of(name)
    return build(
        clip, order=trial.order, initialisation=trial.initialisation, front_end=trial.front_end
    )


def images(n=3):
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def fill(daclip):
    """Random values in the control layers, the same for every controller of one size."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in daclip.controller.zeros.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return daclip


@pytest.fixture
def clip(scale):
    """A small CLIP, whose last layer norm is not at its start."""
    clip = scale.build_clip(seed=7)
    with torch.no_grad():
        for parameter in clip.visual.ln_post.parameters():
            generator = torch.Generator().manual_seed(3)
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return clip.eval()


@pytest.fixture(scope="module")
def context(weights, tmp_path_factory):
    return Context(
        pipe=load(weights),
        train=sample_photos("train"),
        test=Photos(sample_photos("test").paths[:3]),
        device=torch.device("cpu"),
        cache=tmp_path_factory.mktemp("cache"),
    )


def tiny(trial):
    """A trial at the size of the tiny pipeline's CLIP."""
    small = trial.smoke()
    recipe, bank = replace(small.recipe, image_size=32), replace(small.bank, size=32)
    return replace(small, recipe=recipe, bank=bank)


# ---- where a training starts ----


@torch.no_grad()
@pytest.mark.parametrize("name", VARIANTS)
def test_a_controller_starts_at_clip_to_the_bit_unless_its_control_layers_do_not_start_at_zero(
    clip, name
):
    content = build_variant(clip, name).encode_image(images()).content
    cosine = F.cosine_similarity(content, clip.encode_image(images()))
    if name in ("random layers", "authors' initialisation"):
        assert cosine.max() < 0.999
    else:
        assert torch.equal(content, clip.encode_image(images()))


@torch.no_grad()
@pytest.mark.parametrize("name", VARIANTS)
def test_a_controller_starts_with_clips_degradation_embedding_where_its_tower_is_a_copy(clip, name):
    degradation = build_variant(clip, name).encode_image(images()).degradation
    same = torch.equal(degradation, clip.encode_image(images()))
    assert same == (name not in (*FRESH, "authors' initialisation"))


def test_the_authors_initialisation_puts_ln_post_into_the_first_control_layer(clip):
    controller = build(clip, initialisation="authors").controller
    first, *others = controller.zeros
    norm = clip.visual.ln_post
    assert all(torch.equal(row, norm.weight) for row in first.weight)
    assert torch.equal(first.bias, norm.bias)
    assert not any(parameter.any() for layer in others for parameter in layer.parameters())
    own = controller.visual.ln_post
    assert torch.equal(own.weight, torch.ones_like(own.weight)) and not own.bias.any()


@torch.no_grad()
def test_of_the_authors_control_layer_the_bias_alone_matters_at_the_start(clip):
    """Its rows are equal: it adds one number to all channels, which the layer norm behind the last block removes."""
    daclip = build(clip, initialisation="authors")
    before = daclip.encode_image(images()).content
    torch.nn.init.zeros_(daclip.controller.zeros[0].weight)
    torch.testing.assert_close(before, daclip.encode_image(images()).content, atol=1e-5, rtol=0)
    torch.nn.init.zeros_(daclip.controller.zeros[0].bias)
    assert torch.equal(daclip.encode_image(images()).content, clip.encode_image(images()))


# ---- the order of controls ----


@torch.no_grad()
def test_in_straight_order_each_block_of_the_controller_controls_the_same_block_of_clip(clip):
    daclip = fill(build(clip, order="straight"))
    pixels = clip.normalize(images())
    own, tokens = tokens_of(daclip.controller.visual, pixels), tokens_of(clip.visual, pixels)
    for copied, zero, block in zip(
        daclip.controller.visual.transformer.resblocks,
        daclip.controller.zeros,
        clip.visual.transformer.resblocks,
        strict=True,
    ):
        own = copied(own)
        tokens = block(tokens) + zero(own)
    expected = F.normalize(project(clip.visual, tokens), dim=-1)
    found = daclip.encode_image(images())
    torch.testing.assert_close(found.content, expected)
    other = fill(build(clip)).encode_image(images())
    assert (other.content - found.content).abs().max() > 1e-3
    assert torch.equal(other.degradation, found.degradation)


@torch.no_grad()
def test_with_one_block_both_orders_are_the_same(scale):
    config = replace(scale.clip, vision=scale.clip.vision | {"layers": 1})
    torch.manual_seed(0)
    clip = Clip(config).eval()
    straight, backwards = (
        fill(build(clip, order=order)).encode_image(images()) for order in ("straight", "reversed")
    )
    assert torch.equal(straight.content, backwards.content)
    assert not torch.equal(straight.content, clip.encode_image(images()))


# ---- front ends and random values ----


@pytest.mark.parametrize("name", FRESH)
def test_behind_a_fresh_front_end_all_is_a_copy(clip, name):
    fresh = build_variant(clip, name).controller
    kinds = {"fresh convolutions": FrontEnd, "fresh patch embedding": torch.nn.Conv2d}
    assert type(fresh.visual.conv1) is kinds[name]
    assert tokens_of(fresh.visual, images()).shape == tokens_of(clip.visual, images()).shape
    original = clip.visual.state_dict()
    behind = {k: v for k, v in fresh.visual.state_dict().items() if not k.startswith("conv1.")}
    assert behind.keys() == {k for k in original if not k.startswith("conv1.")}
    assert all(torch.equal(value, original[key]) for key, value in behind.items())


@pytest.mark.parametrize(
    "choice", [{"initialisation": "random"}, *({"front_end": name} for name in FRESH)]
)
def test_random_values_depend_on_the_seed_alone(clip, choice):
    before = torch.get_rng_state()
    first, again, other = (
        torch.cat([p.flatten() for p in build(clip, **choice, seed=seed).parameters()])
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("choice", ["order", "initialisation", "front_end"])
def test_unknown_choices_are_refused(clip, choice):
    with pytest.raises(InputError, match="'sideways'"):
        build(clip, **{choice: "sideways"})


def test_fresh_convolutions_need_a_clip_that_has_some(scale):
    vision = {key: value for key, value in scale.clip.vision.items() if key != "front_end"}
    clip = Clip(replace(scale.clip, vision=vision))
    with pytest.raises(InputError, match="fresh convolutions"):
        build(clip, front_end="fresh convolutions")
    build(clip, front_end="fresh patch embedding")


# ---- runs ----


def test_every_variant_changes_one_thing():
    trials = [STUDY.trial_of(name) for name in VARIANTS]
    assert trials[0] == STUDY.trial == STUDY.trial_of(STUDY.baseline)
    assert all(len(variant.change) == 1 for variant in STUDY.variants[1:])
    assert all(one != other for k, one in enumerate(trials) for other in trials[:k])
    assert STUDY.metric in METRICS and STUDY.unit == "%"


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_runs_and_gives_the_metrics(context, name):
    shares, measured = finish(tiny(STUDY.trial_of(name)).run(0, context))
    assert shares == sorted(shares) and shares[0] > 0 and shares[-1] <= 1
    table = measured.table
    assert list(table.columns) == ["image", "photo", "degradation", "metric", "value"]
    assert set(table.metric) == METRICS and np.isfinite(table.value).all()
    assert table.groupby("metric").image.nunique().eq(20).all() and len(table) == 20 * len(METRICS)
    assert set(table[table.metric.str.startswith("accuracy")].value) <= {0.0, 100.0}
    assert len(measured.crops) == 8
    assert all(
        c.shape == (3, 128, 128) and c.min() >= 0 and c.max() <= 1 for c in measured.crops.values()
    )


def test_a_controller_that_learned_nothing_gains_no_cosine(context):
    trial = tiny(ControllerTrial())
    still = replace(trial, recipe=replace(trial.recipe, learning_rate=1e-12))
    tables = [finish(each.run(0, context))[1].table for each in (still, trial)]
    gains = [table[table.metric == "cosine gain"].value.abs().max() for table in tables]
    assert gains[0] < 1e-6 < 1e-5 < gains[1]


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(context):
    trial = tiny(STUDY.trial_of("fresh convolutions"))
    first, again, other = (finish(trial.run(seed, context))[1] for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first.table, again.table, check_exact=True)
    assert all(torch.equal(first.crops[name], again.crops[name]) for name in first.crops)
    assert not np.array_equal(first.table.value, other.table.value)


def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(context, tmp_path):
    trial = tiny(STUDY.trial_of("random layers"))
    whole = finish(trial.run(0, context))[1]
    stopped = trial.run(0, replace(context, run=tmp_path))
    for _ in range(2):
        next(stopped)
    stopped.close()
    shares, resumed = finish(trial.run(0, replace(context, run=tmp_path)))
    assert shares[0] == pytest.approx(0.9)  # the third step of three
    pd.testing.assert_frame_equal(whole.table, resumed.table, check_exact=True)


def test_a_run_leaves_the_shipped_weights_as_they_are(context):
    before = {k: v.clone() for k, v in context.pipe.daclip.state_dict().items()}
    finish(tiny(ControllerTrial()).run(0, context))
    after = context.pipe.daclip.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
