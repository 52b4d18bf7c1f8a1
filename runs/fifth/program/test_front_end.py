"""What must stay exactly true with convolutions before the transformer; for the main tree's tests."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from daclip_lab import presets
from daclip_lab.models.clip import Clip
from daclip_lab.models.daclip import DaCLIP, Pooling
from daclip_lab.models.front_end import BesidePatches, FrontEnd, fold_all, folded_copy, is_folded

VISION = {"image_size": 64, "patch_size": 16, "width": 64, "layers": 3, "head_width": 32,
          "front_end": [8, 16, 24, 32]}  # fmt: skip


@pytest.fixture
def clip():
    torch.manual_seed(0)
    clip = Clip(replace(presets.lab().clip, vision=VISION)).train()
    for _ in range(3):  # statistics and weights that are not those of the start
        clip.encode_image(torch.rand(8, 3, 64, 64))
    for module in clip.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1, 0.3)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    return clip.eval()


@pytest.mark.parametrize(("patch", "side"), [(8, 8), (16, 4)])
def test_a_front_end_gives_a_vector_for_each_patch(patch, side):
    assert FrontEnd(40, patch)(torch.rand(2, 3, 64, 64)).shape == (2, 40, side, side)
    with pytest.raises(ValueError, match="stride"):
        FrontEnd(40, 32)


def test_folding_changes_nothing(clip):
    x = torch.rand(5, 3, 64, 64)
    with torch.no_grad():
        before = clip.visual.conv1(x)
        folded = folded_copy(clip)
        after = folded.visual.conv1(x)
    assert torch.allclose(before, after, atol=1e-5)
    assert is_folded(folded.state_dict()) and not is_folded(clip.state_dict())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    fold_all(folded)  # a second time does nothing
    assert torch.equal(folded.visual.conv1(x), after)


def test_an_untrained_controller_changes_nothing(clip):
    daclip, x = DaCLIP(clip).eval(), torch.rand(5, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(daclip.encode_image(x).content, clip.encode_image(x))
        assert torch.equal(daclip.encode_image(x).degradation, clip.encode_image(x))
        daclip.train()
        assert torch.allclose(daclip.encode_image(x).content, clip.encode_image(x), atol=1e-6)


def test_the_frozen_tower_stays_frozen_in_training(clip):
    daclip = DaCLIP(clip).train()
    before = {k: t.clone() for k, t in clip.state_dict().items()}
    own = daclip.controller.visual.conv1.layers[0].norm.running_mean.clone()
    daclip.encode_image(torch.rand(5, 3, 64, 64)).degradation.sum().backward()
    assert all(torch.equal(before[k], t) for k, t in clip.state_dict().items())
    assert not torch.equal(own, daclip.controller.visual.conv1.layers[0].norm.running_mean)
    assert all(p.grad is None for p in clip.parameters())


def test_beside_patches_starts_as_the_patches_alone():
    patches = torch.nn.Conv2d(3, 64, 8, 8, bias=False)
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(BesidePatches(patches, (8, 16, 24, 32))(x), patches(x))


def test_pooling_starts_as_the_mean_of_directions():
    features = torch.randn(4, 7, 16)
    mean = F.normalize(F.normalize(features, dim=-1).mean(1), dim=-1)
    assert torch.allclose(Pooling(16)(features), mean, atol=1e-6)
