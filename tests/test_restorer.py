"""A restorer of one's own needs a class, a name and nothing else."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from daclip_lab.data.training_pairs import Synthetic
from daclip_lab.errors import InputError
from daclip_lab.models import restorer as registry
from daclip_lab.models.restorer import Restorer, build_restorer, register_restorer
from daclip_lab.pipeline.loading import load
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.training.restoration import train_restorer


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_factories", dict(registry._factories))


class Own(nn.Module):
    """A convolution whose output the degradation embedding shifts."""

    prediction_type = "epsilon"
    uses_unnormalized_embeddings = False
    multiple = 1

    def __init__(self, *, embed_dim, kernel=3):
        super().__init__()
        self.convolution = nn.Conv2d(6, 3, kernel, padding=kernel // 2)
        self.shift = nn.Linear(embed_dim, 3)

    def prepare(self, content, degradation):
        return 0 if degradation is None else self.shift(degradation)[:, :, None, None]

    def forward(self, state, degraded, t, conditions):
        return self.convolution(torch.cat([state, degraded], 1)) + conditions


def test_a_registered_restorer_is_trained_saved_loaded_and_restores(pipe, scale, photo, tmp_path):
    register_restorer("own")(Own)
    network = {"kind": "own", "kernel": 5}
    net = build_restorer(network, scale.clip.embed_dim, seed=1)
    assert isinstance(net, Own) and isinstance(net, Restorer)
    before = net.convolution.weight.detach().clone()
    recipe = replace(scale.restorer, steps=2, ema_decay=0.0)
    source = Synthetic(photos=None)
    assert len(list(train_restorer(net, pipe.daclip, pipe.sde, source, recipe))) == 2
    assert not torch.equal(net.convolution.weight, before)

    settings = replace(pipe.settings, network=network)
    Pipeline(settings, daclip=pipe.daclip, restorer=net).save(tmp_path / "own")
    again = load(tmp_path / "own")
    assert torch.equal(again.restorer.convolution.weight, net.convolution.weight)
    assert again.restore(photo, steps=2).size == (80, 72)


def test_the_librarys_restorers_follow_the_interface(scale):
    for network in (scale.network, {"kind": "unet", "channels": 32, "multipliers": (1, 2)}):
        assert isinstance(build_restorer(network, 16), Restorer)


def test_weights_depend_on_the_seed_alone(scale):
    before = torch.get_rng_state()
    one, two, other = (build_restorer(scale.network, 16, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(before, torch.get_rng_state())


def test_what_is_no_restorer_is_refused():
    with pytest.raises(InputError, match=r"'resnet'.*nafnet, unet"):
        build_restorer({"kind": "resnet"}, 8)
    with pytest.raises(InputError, match="colour"):
        build_restorer({"kind": "nafnet", "colour": 1}, 8)
    register_restorer("bare")(lambda embed_dim: nn.Identity())
    with pytest.raises(InputError, match="prepare"):
        build_restorer({"kind": "bare"}, 8)

    class Other(Own):
        prediction_type = "velocity"

    register_restorer("other")(Other)
    with pytest.raises(InputError, match="'velocity'"):
        build_restorer({"kind": "other"}, 8)
    with pytest.raises(InputError, match="'nafnet'"):
        register_restorer("nafnet")(Own)
