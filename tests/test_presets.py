"""The three scales are complete, documented and frozen; `paper` is the paper, and `lab` is small enough to ship."""

import dataclasses

import pytest
import torch

from daclip_lab.errors import InputError
from daclip_lab.models import clip as clip_module
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.models.restorer import build_restorer
from daclip_lab.training import presets


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", ["smoke", "lab", "paper"])
def test_every_scale_is_found_by_its_name(name):
    scale = presets.named(name)
    assert scale.name == name
    assert scale == getattr(presets, name)()
    with pytest.raises(dataclasses.FrozenInstanceError):
        scale.steps = 3


def test_an_unknown_scale_is_refused_with_those_there_are():
    with pytest.raises(InputError, match=r"'huge' is unknown.*smoke.*lab.*paper"):
        presets.named("huge")


def test_the_environment_chooses_the_current_scale(monkeypatch):
    monkeypatch.delenv("DACLIP_LAB_SCALE", raising=False)
    assert presets.current().name == "lab"
    monkeypatch.setenv("DACLIP_LAB_SCALE", "smoke")
    assert presets.current().name == "smoke"
    monkeypatch.setenv("DACLIP_LAB_SCALE", "nope")
    with pytest.raises(InputError, match="'nope'"):
        presets.current()


def test_smoke_is_the_lab_made_small():
    smoke, lab = presets.smoke(), presets.lab()
    for name in ("clip", "words", "daclip", "restorer"):
        part = "clip_training" if name == "clip" else name
        assert type(getattr(smoke, part)) is type(getattr(lab, part))
        assert getattr(smoke, part).steps < getattr(lab, part).steps
    assert smoke.network.keys() == lab.network.keys()
    assert smoke.sde == lab.sde == presets.paper().sde


def test_building_is_a_function_of_the_seed(scale):
    before = torch.get_rng_state()
    for build in (scale.build_clip, scale.build_restorer):
        one, two, other = (build(seed).state_dict() for seed in (1, 1, 2))
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert any(not torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["smoke", "lab"])
def test_networks_are_trained_at_the_size_they_are_used_at(name):
    scale = presets.named(name)
    assert scale.clip_training.image_size == scale.clip.image_size
    assert scale.daclip.image_size == scale.clip.image_size
    assert scale.restorer.image_size == scale.clip.image_size
    assert 1 <= scale.steps <= scale.sde["steps"]
    assert 0 <= scale.caption_degradation_prob <= 1
    assert 0 <= scale.scene_prob <= 1


def test_lab_weights_in_half_precision_can_be_shipped():
    scale = presets.lab()
    with torch.device("meta"):
        clip = clip_module.Clip(scale.clip)
        restorer = build_restorer(scale.network, scale.clip.embed_dim)
        numbers = parameters(DaCLIP(clip)) + parameters(restorer)
    assert 2 * numbers < 25e6


def test_lab_departs_from_the_paper():
    scale = presets.lab()
    assert scale.daclip.multi_positive
    assert scale.view == "both"
    assert scale.sde == {"steps": 100, "sigma_max": 50 / 255, "schedule": "cosine", "eps": 0.005}


def test_paper_is_the_paper():
    """DA-CLIP, sections 4 and 5, and the authors' options files."""
    scale = presets.paper()
    daclip, restorer = scale.daclip, scale.restorer
    assert (scale.clip.embed_dim, scale.clip.image_size, scale.clip.vocabulary) == (512, 224, ())
    assert scale.pretrained == ("ViT-B-32", "laion2b_s34b_b79k")
    assert "front_end" not in scale.clip.vision
    assert scale.clip_training is None
    assert (daclip.batch_size, daclip.learning_rate, daclip.warmup) == (3136, 3e-5, 100)
    assert (daclip.betas, daclip.eps, daclip.weight_decay) == ((0.9, 0.98), 1e-6, 0.05)
    assert (scale.epochs, daclip.steps, daclip.ema_decay, daclip.max_grad_norm) == (
        50,
        800,
        0.0,
        None,
    )
    assert (daclip.multi_positive, daclip.alignment_weight, daclip.synonyms) == (False, 0.0, False)
    assert (restorer.steps, restorer.batch_size, restorer.image_size) == (700_000, 16, 256)
    assert (restorer.learning_rate, restorer.final_learning_rate, restorer.warmup) == (
        2e-4,
        1e-6,
        0,
    )
    assert (restorer.betas, restorer.weight_decay) == ((0.9, 0.99), 0.0)
    assert (restorer.ema_decay, restorer.ema_every, restorer.max_grad_norm) == (0.995, 10, None)
    assert not restorer.bf16
    assert (restorer.objective, restorer.t_max_prob, restorer.conditioning_dropout) == (
        "matching",
        0.0,
        0.0,
    )
    assert scale.sde == {"steps": 100, "sigma_max": 50 / 255, "schedule": "cosine", "eps": 0.005}
    assert (scale.view, scale.steps) == ("resize", 100)


def test_the_restorer_of_the_paper_is_its_unet():
    with torch.device("meta"):
        assert parameters(presets.paper().build_restorer()) == 48_975_747
