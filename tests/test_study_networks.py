"""Networks of studies: ways in which the degradation can enter, and what a network can predict."""

import pytest
import torch
from torch import nn

from daclip_lab.ablation.networks.prediction import clean_from_velocity, velocity
from daclip_lab.ablation.studies import study
from daclip_lab.diffusion.samplers import denoiser
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.models.restorer import build_restorer

DIM = 128
INJECTIONS = ("scale and shift", "prompt", "cross-attention", "concatenation")
SMALL = {"width": 8, "encoder": (1,), "middle": 1, "decoder": (1,), "conditioning_dim": 16}


def network(name: str, variant: str) -> dict:
    return study(name).trial_of(variant).network


def small(name: str, variant: str) -> nn.Module:
    return build_restorer({**network(name, variant), **SMALL}, DIM, seed=1)


def size(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    state, degraded = (torch.rand(2, 3, 20, 24, generator=generator) for _ in range(2))
    embedding = nn.functional.normalize(torch.randn(2, DIM, generator=generator), dim=1)
    return state, degraded, torch.tensor([7, 60]), embedding


def test_all_injections_have_as_many_parameters_within_some_per_cent():
    sizes = [size(build_restorer(network("injection", name), DIM)) for name in INJECTIONS]
    assert max(sizes) < 1.06 * min(sizes)


def test_nafnet_and_unet_of_the_backbone_study_have_as_many_parameters():
    names = ("NAFNet", "U-Net, equal parameters", "U-Net, equal time")
    sizes = [size(build_restorer(network("backbone", name), DIM)) for name in names]
    assert max(sizes) < 1.02 * min(sizes)


@pytest.mark.parametrize("name", INJECTIONS)
def test_an_untrained_network_returns_the_degraded_image_under_any_embedding(name, images):
    state, degraded, t, embedding = images
    net = small("injection", name)
    for degradation in (None, embedding):
        torch.testing.assert_close(
            net(state, degraded, t, net.prepare(None, degradation)), degraded, rtol=0, atol=0
        )


@pytest.mark.parametrize("name", INJECTIONS)
def test_zeros_are_no_embedding(name, images, randomize):
    state, degraded, t, embedding = images
    net = randomize(small("injection", name), seed=2)
    zeros = torch.zeros_like(embedding)

    def restored(content, degradation):
        return net(state, degraded, t, net.prepare(content, degradation))

    torch.testing.assert_close(restored(None, None), restored(zeros, zeros))
    torch.testing.assert_close(restored(embedding, None), restored(embedding, zeros))


@pytest.mark.parametrize("name", INJECTIONS)
def test_the_embedding_of_an_image_reaches_its_output_and_no_other(name, images, randomize):
    state, degraded, t, embedding = images
    net = randomize(small("injection", name), seed=2)
    own = net(state, degraded, t, net.prepare(None, embedding))
    other = torch.stack([embedding[0], -embedding[1]])
    changed = net(state, degraded, t, net.prepare(None, other))
    torch.testing.assert_close(own[0], changed[0])
    assert (own[1] - changed[1]).abs().max() > 1e-5


@pytest.mark.parametrize("name", INJECTIONS)
def test_one_row_of_conditions_serves_all_images(name, images, randomize):
    state, degraded, t, embedding = images
    net = randomize(small("injection", name), seed=2)
    one = net(state, degraded, t, net.prepare(None, embedding[:1]))
    all_same = net(state, degraded, t, net.prepare(None, embedding[:1].expand(2, -1)))
    torch.testing.assert_close(one, all_same)


@pytest.mark.parametrize("t", [1, 30, 100])
def test_the_velocity_and_the_clean_image_follow_from_each_other(t):
    sde, generator = MeanRevertingSDE(), torch.Generator().manual_seed(0)
    clean, degraded = (torch.rand(2, 3, 4, 4, generator=generator).double() for _ in range(2))
    noise = torch.randn(2, 3, 4, 4, generator=generator).double()
    times = torch.tensor([t, t])
    v = velocity(sde, clean, degraded, noise, times)
    state = sde.diffuse(clean, degraded, times, noise)
    torch.testing.assert_close(clean_from_velocity(sde, state, degraded, v, times), clean)


def test_the_velocity_turns_from_noise_to_the_clean_image():
    """At t = 0 it is the noise, in units of the image; at T almost the negative of the clean image's distance."""
    sde = MeanRevertingSDE()
    clean, degraded = torch.full((1, 3, 2, 2), 0.9), torch.full((1, 3, 2, 2), 0.4)
    noise = torch.ones(1, 3, 2, 2)
    at_start, at_end = (
        velocity(sde, clean, degraded, noise, torch.tensor([t])) for t in (0, sde.steps)
    )
    torch.testing.assert_close(at_start, torch.full_like(clean, 50 / 255))
    torch.testing.assert_close(at_end, torch.full_like(clean, -0.5), atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", ["noise", "velocity"])
def test_an_untrained_network_predicts_neither_noise_nor_velocity(name, images):
    state, degraded, *_ = images
    sde, net = MeanRevertingSDE(), small("target", name)
    predicted = denoiser(net, sde, degraded, net.prepare(None, None))(state, 30)
    alpha = sde.alpha[30].float()
    factor = {"noise": 1 / alpha, "velocity": alpha}[name]
    torch.testing.assert_close(predicted, degraded + factor * (state - degraded))


def test_the_unet_that_predicts_the_clean_image_lengthens_embeddings(images):
    state, degraded, t, embedding = images
    clean = build_restorer(network("backbone", "U-Net, equal parameters"), DIM, seed=1)
    noise = build_restorer(
        {**network("backbone", "U-Net, equal parameters"), "kind": "unet"}, DIM, seed=1
    )
    expected = degraded + noise(state, degraded, t, noise.prepare(None, DIM**0.5 * embedding))
    torch.testing.assert_close(clean(state, degraded, t, clean.prepare(None, embedding)), expected)
