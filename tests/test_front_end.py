"""A front end folds exactly, and DA-CLIP with one still starts as CLIP and leaves the frozen tower alone."""

from dataclasses import replace

import pytest
import torch
from torch.nn import BatchNorm2d

from daclip_lab.errors import InputError
from daclip_lab.models.clip import Clip
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.models.front_end import FrontEnd, fold_all, folded_copy, is_folded


def images(n=5, size=32):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def clip(scale):
    """A CLIP whose batch norms have statistics and weights other than the initial ones."""
    clip = scale.build_clip(seed=3).train()
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        clip.encode_image(torch.rand(8, 3, 32, 32, generator=generator))
    with torch.no_grad():
        for module in clip.modules():
            if isinstance(module, BatchNorm2d):
                module.weight.copy_(1 + 0.3 * torch.randn(module.weight.shape, generator=generator))
                module.bias.copy_(0.3 * torch.randn(module.bias.shape, generator=generator))
    return clip.eval()


@pytest.mark.parametrize(
    ("patch", "channels"), [(4, (8, 12)), (8, (8, 12, 16)), (8, (4, 8, 12, 16)), (16, (4, 4, 8, 8))]
)
def test_there_is_a_vector_for_each_patch(patch, channels):
    assert FrontEnd(40, patch, channels)(images(2)).shape == (2, 40, 32 // patch, 32 // patch)


@pytest.mark.parametrize(
    ("patch", "channels"), [(32, (8, 12, 16)), (14, (8, 12, 16)), (2, (8, 8, 8))]
)
def test_channels_that_do_not_fit_the_patch_are_refused(scale, patch, channels):
    vision = scale.clip.vision | {"image_size": 4 * patch, "patch_size": patch}
    with pytest.raises(InputError, match="front_end"):
        Clip(replace(scale.clip, vision=vision | {"front_end": list(channels)}))


def test_folding_changes_nothing(clip):
    folded = folded_copy(clip)
    with torch.no_grad():
        before, after = (each.visual.conv1(images()) for each in (clip, folded))
    torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-5)
    assert is_folded(folded.state_dict()) and not is_folded(clip.state_dict())
    assert not any(isinstance(module, BatchNorm2d) for module in folded.modules())
    assert folded_copy(folded) is folded is fold_all(folded)


def test_before_training_the_content_is_clips_in_training_mode_too(clip):
    daclip = DaCLIP(clip)
    with torch.no_grad():
        alone = clip.encode_image(images())
        for embedding in daclip.eval().encode_image(images()):
            assert torch.equal(embedding, alone)
        assert torch.equal(daclip.train().encode_image(images()).content, alone)


def test_the_frozen_tower_keeps_its_statistics_and_the_controller_learns_its_own(clip):
    daclip = DaCLIP(clip).train()
    before = {name: value.clone() for name, value in clip.state_dict().items()}
    daclip.encode_image(images()).degradation[:, 0].sum().backward()
    assert not clip.training and daclip.controller.training
    assert all(torch.equal(before[name], value) for name, value in clip.state_dict().items())
    front = "visual.conv1.layers.0.norm.running_mean"
    assert not torch.equal(before["model." + front], daclip.controller.state_dict()[front])


@pytest.mark.parametrize("folded", [True, False])
def test_every_layer_learns_with_batch_norm_and_without(clip, folded):
    front = (folded_copy(clip) if folded else clip).visual.conv1.train().requires_grad_(True)
    front(images()).square().mean().backward()
    for name, parameter in front.named_parameters():
        assert parameter.grad.any(), name
