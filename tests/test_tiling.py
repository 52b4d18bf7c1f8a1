"""Tiles cover every image, blend without a trace, and bound what the network sees at a time."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from daclip_lab.cli import main
from daclip_lab.diffusion.samplers import SAMPLERS, denoiser, sample
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.diffusion.tiling import TILE, WHOLE, Tiled, in_tiles, windows
from daclip_lab.errors import InputError


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Local(nn.Module):
    """A network that looks six pixels far, halves on the way, and is conditioned on one number per image."""

    multiple = 2

    def __init__(self, prediction_type="sample"):
        super().__init__()
        self.prediction_type, self.seen = prediction_type, []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.down = nn.Conv2d(6, 8, 4, stride=2, padding=1)
            self.up = nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1)

    def forward(self, state, degraded, t, given):
        self.seen.append(tuple(state.shape[-2:]))
        h, w = state.shape[-2:]
        x = torch.cat([state, degraded], 1)
        x = nn.functional.pad(x, (0, w % 2, 0, h % 2), mode="replicate")
        return degraded + given * self.up(self.down(x).tanh())[..., :h, :w] / (1 + t[0])


# ---- the tiles of a line ----


@pytest.mark.parametrize("extent", [1, 63, 64, 65, 100, 111, 112, 113, 500, 1000])
@pytest.mark.parametrize(("tile", "multiple"), [(64, 16), (70, 16), (64, 1), (33, 8)])
def test_tiles_cover_a_line_with_weights_that_sum_to_one(extent, tile, multiple):
    found = windows(extent, tile, multiple)
    total = torch.zeros(extent)
    for place, weights in found:
        assert place.start % multiple == 0
        assert len(weights) == place.stop - place.start <= tile
        assert (weights >= 0).all()
        total[place] += weights
    torch.testing.assert_close(total, torch.ones(extent))
    assert found[0][0].start == 0 and found[-1][0].stop == extent
    for (place, _), (following, _) in pairwise(found):
        assert place.stop - following.start >= (tile - tile % multiple) // 4


def test_pixels_next_to_a_cut_are_dropped():
    (_, first), (place, last) = windows(100, 64, 1)
    assert place.start == 36  # they share 28 pixels
    assert not first[-5:].any() and not last[:5].any()
    assert first[0] == last[-1] == 1
    assert (first[:36] == 1).all()


# ---- blending ----


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon"])
@pytest.mark.parametrize(("h", "w"), [(150, 201), (40, 333), (131, 64)])
@pytest.mark.parametrize("sampler", ["posterior", "dpmpp-2m"])
@torch.inference_mode()
def test_tiled_equals_whole_where_the_network_looks_no_further_than_the_margin(
    h, w, sampler, prediction_type
):
    net, sde, degraded = Local(prediction_type), MeanRevertingSDE(), noise(2, 3, h, w).sigmoid()

    def restored(network):
        path = sample(
            denoiser(network, sde, degraded, torch.tensor(0.3)),
            sde,
            degraded,
            steps=6,
            generator=torch.Generator().manual_seed(1),
            **SAMPLERS[sampler],
        )
        return [step.state for step in path]

    # A third of the quarter of 96 pixels is dropped: 8.
    for tiled, whole in zip(restored(Tiled(net, h, w, 96)), restored(net), strict=True):
        torch.testing.assert_close(
            tiled, whole, atol=1e-3 if prediction_type == "epsilon" else 1e-5, rtol=0
        )


@torch.inference_mode()
def test_no_call_sees_more_than_a_tile():
    net = Local()
    tiled = Tiled(net, 300, 500, 100)
    image = noise(1, 3, 300, 500)
    tiled(image, image, torch.tensor([5]), torch.tensor(1.0))
    assert max(max(seen) for seen in net.seen) == 100
    assert len(net.seen) == len(list(tiled.cut(image))) == 4 * 7


@torch.inference_mode()
def test_every_tile_may_have_its_own_conditions():
    net, image, t = Local(), noise(1, 3, 64, 200), torch.tensor([5])
    tiled = Tiled(net, 64, 200, 80)
    given = [torch.tensor(float(k)) for k in range(len(list(tiled.cut(image))))]
    several = tiled(image, image, t, given)
    for number in (0, -1):
        alone = net(image, image, t, given[number])
        edge = (..., slice(0, 30) if number == 0 else slice(-30, None))
        torch.testing.assert_close(several[edge], alone[edge], atol=1e-5, rtol=0)


def test_tiles_of_the_laboratorys_network_agree_about_its_means(pipe):
    """Tiles much smaller than the default: still the same picture to the eye."""
    image = noise(1, 3, 100, 150).mul(0.2).add(0.5).clamp(0, 1)
    whole, tiled = (list(pipe.trajectory(image, steps=2, tile=tile))[-1] for tile in (0, 96))
    assert 0 < (whole.state - tiled.state).abs().max() < 0.02


# ---- when there are tiles ----


def test_only_large_images_are_tiled_by_default():
    net, side = Local(), int(WHOLE**0.5)
    assert in_tiles(net, side, side) is net
    assert in_tiles(net, side, side + 1).cut is not None
    assert in_tiles(net, 6000, 4000, 0) is net
    assert len(list(in_tiles(net, 64, 64, 32).cut(noise(1, 3, 64, 64)))) == 9
    cut = list(in_tiles(net, 4000, 6000).cut(torch.empty(1, 1, 1, 1).expand(1, 3, 4000, 6000)))
    assert max(max(part.shape[-2:]) for part in cut) == TILE


@pytest.mark.parametrize("tile", [-1, 3, 7])
def test_tiles_that_are_too_small_are_refused(tile):
    with pytest.raises(InputError, match=f"tile={tile}: wanted at least 8"):
        in_tiles(Local(), 100, 100, tile)


# ---- at the front door ----


def test_restoring_in_tiles_keeps_the_size_and_the_seed(pipe):
    image = noise(3, 70, 170).sigmoid()
    runs = [np.asarray(pipe.restore(image, steps=2, tile=64, seed=s)) for s in (0, 0, 1)]
    assert runs[0].shape == (70, 170, 3)
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])


def test_tiles_can_be_embedded_by_themselves(pipe, monkeypatch):
    image, sizes = noise(3, 70, 170).sigmoid(), []
    conditioning = pipe.conditioning

    def counted(images, *others):
        sizes.append(tuple(images.shape[-2:]))
        return conditioning(images, *others)

    monkeypatch.setattr(pipe, "conditioning", counted)
    for options, wanted in (({}, 1), ({"tile": 64}, 1), ({"tile": 64, "embed_tiles": True}, 8)):
        sizes.clear()
        pipe.restore(image, steps=2, **options)
        assert len(sizes) == wanted
        assert (sizes == [(70, 170)]) == (wanted == 1)


@pytest.mark.parametrize("tile", [0, 32])
def test_a_compiled_network_restores_alike(pipe, tile):
    image = noise(3, 32, 72).sigmoid()
    before = np.asarray(pipe.restore(image, steps=2, tile=tile)).astype(int)
    pipe.restorer.compile(backend="eager")
    assert np.abs(np.asarray(pipe.restore(image, steps=2, tile=tile)) - before).max() <= 1


def test_the_command_line_hands_spacing_and_tiles_on(pipe, weights, photo_folder, tmp_path, capsys):
    source, target = str(photo_folder / "cup.png"), str(tmp_path / "r.png")

    def run(*options):
        return main(["restore", source, "-o", target, "--weights", str(weights), *options])

    settings = {"steps": 3, "sampler": "dpmpp-2m-sde", "timestep_spacing": "logsnr", "tile": 64}
    options = [
        part
        for key, value in settings.items()
        for part in (f"--{key.replace('_', '-')}", str(value))
    ]
    assert run(*options, "--embed-tiles") == 0
    wanted = np.asarray(pipe.restore(source, embed_tiles=True, **settings))
    assert np.array_equal(np.asarray(Image.open(target)), wanted)
    capsys.readouterr()
    for options, said in (
        (("--timestep-spacing", "log"), "'log'"),
        (("--tile", "20"), "tile=20: wanted at least 32 pixels, or 0 for none"),
        (("--tile", "-1"), "tile=-1"),
    ):
        assert run(*options) == 2
        given = capsys.readouterr()
        assert said in given.err and given.err.count("\n") == 1 and not given.out
