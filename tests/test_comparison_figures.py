"""Restorations side by side: pixels as they are, maps on one scale, and a slider that follows its controls."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

from daclip_lab.data.seeding import seeded
from daclip_lab.figures import sampler_comparison as figures
from daclip_lab.figures.severity import strip
from daclip_lab.widgets.live import compared

KINDS = [("posterior", "linspace"), ("dpmpp-2m", "logsnr")]


def image(seed, height=20, width=40):
    return (torch.rand(3, height, width, generator=seeded(seed)) * 255).round() / 255


def grid():
    rows = {"one": [image(k) for k in range(3)], "other": [image(k) for k in range(3, 6)]}
    return figures.grid(
        rows, ["degraded", "1 step", "5 steps"], {name: ["a", "b", "c"] for name in rows}
    )


def maps(shared=True):
    field = np.arange(800.0).reshape(20, 40)
    panels = {"whole": image(1), "one": field, "other": field / 4}
    return figures.maps(panels, "of 255", shared=shared, zoom=2)


def maps_apart():
    return maps(shared=False)


def against():
    rows = [
        (measure, *kind, count, 0.1 * count, 0.05, 2.0)
        for measure in ("PSNR (dB)", "SSIM", "MS-SSIM")
        for kind in KINDS
        for count in (2, 5)
    ]
    columns = ["measure", "sampler", "timestep_spacing", "steps", "mean", "low", "high"]
    return figures.against_one_step(pd.DataFrame(rows, columns=columns), "What to see.")


def foreseen():
    return figures.foreseen(pd.DataFrame({"true": [20.0, 30], "own": [20.0, 19]}, index=[100, 50]))


def plane():
    rows = [(*kind, count, 20 + count, 9 - count) for kind in KINDS for count in (1, 5)]
    columns = ["sampler", "timestep_spacing", "steps", "distortion", "unlike"]
    return figures.perception_distortion(pd.DataFrame(rows, columns=columns))


@pytest.mark.parametrize("make", [grid, maps, maps_apart, against, foreseen, plane])
def test_a_figure_fits_a_web_page_and_nothing_reaches_over_its_edge(make):
    figure = make()
    width, height = figure.get_size_inches()
    assert width * figure.dpi <= 920 and not plt.get_fignums()
    assert np.allclose(figure.get_tightbbox().extents, (0, 0, width, height))


def test_a_grid_shows_every_picture_at_its_own_pixels():
    figure, buffer = grid(), io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi)
    page = np.asarray(Image.open(buffer).convert("RGB"))
    for seed in range(6):
        wanted = (image(seed) * 255).round().byte().permute(1, 2, 0).numpy()
        corners = np.argwhere((page[:-19, :-39] == wanted[0, 0]).all(-1))
        assert any((page[y : y + 20, x : x + 40] == wanted).all() for y, x in corners)


@pytest.mark.parametrize("shared", [True, False])
def test_maps_have_one_scale_or_one_each_and_it_begins_at_zero(shared):
    axes = {axes.get_title(loc="left"): axes for axes in maps(shared).axes}
    (low, high), (other_low, other_high) = (axes[k].images[0].get_clim() for k in ("one", "other"))
    assert low == other_low == 0
    assert high == pytest.approx(other_high * (1 if shared else 4))
    assert axes["one"].images[0].get_array().shape == (40, 80)


def test_time_runs_backwards_in_the_figure_of_what_is_foreseen():
    left, right = foreseen().axes[0].get_xlim()
    assert left > right


def test_the_slider_follows_its_controls_and_the_divider_stays():
    def pair(seed, zoom):
        return image(seed), image(seed + zoom)

    def draw(seed=3, zoom=1):
        return strip(pair(seed, zoom), ["", ""])

    board = compared(pair, draw, labels=("left", "right"), seed=[1, 3], zoom=[1, 2])
    slider, picture, seed, _ = board.children
    assert slider.labels == ["left", "right"] and seed.value == 3
    before, shown = (slider.before, slider.after), picture.value
    slider.position = 0.2
    seed.value = 1
    fresh = board.children[0]
    assert fresh.position == 0.2
    assert fresh.before != before[0] and fresh.after != before[1]
    assert board.children[1].value != shown
    seed.value = 3
    assert (board.children[0].before, board.children[0].after) == before
