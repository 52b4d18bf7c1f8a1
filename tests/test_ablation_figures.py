"""What a restorer is told: figures that say what their tables say, and two restorations under one slider."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt

from daclip_lab.ablation.study import VARIANTS, compared
from daclip_lab.figures import ablation
from daclip_lab.widgets.compare import Compare


def words(figure):
    return {text.get_text() for text in figure.findobj(plt.Text)}


@pytest.fixture
def table():
    rows = [
        ("both", "overall", 0.5, 0.25, 0.75),
        ("both", "hazy", 1.5, 1.0, 2.0),
        ("wrong word", "overall", -1.0, -1.25, -0.5),
        ("wrong word", "hazy", -2.0, -3.0, -1.0),
    ]
    return pd.DataFrame(rows, columns=["told", "degradation", "difference", "low", "high"])


def test_overall_differences_are_written_beside_their_intervals(table):
    said = words(ablation.differences(table, "nothing", "A caption."))
    assert said >= {"both", "+0.50 [+0.25, +0.75]", "-1.00 [-1.25, -0.50]", "A caption."}
    assert "difference to being told nothing (dB of PSNR)" in said


def test_every_degradation_has_its_row_and_every_way_its_name(table):
    said = words(ablation.differences_by_degradation(table, ["both"], "nothing"))
    assert said >= {"hazy", "overall", "both"} and not said & {"wrong word", "rainy"}


def test_bands_go_from_the_worst_to_the_best_seed():
    curves = pd.DataFrame(
        [("none", seed, step, step + seed) for seed in (0, 1, 3) for step in (0, 1, 2)],
        columns=["variant", "seed", "step", "gain"],
    )
    whole, end = ablation.curves_with_bands(curves).axes
    (band,) = whole.collections
    assert band.get_paths()[0].vertices[:, 1].max() == 5
    assert end.get_xlim()[0] < 1 < 2 < end.get_xlim()[1] and end.get_ylim()[0] > 0


def test_every_run_is_there_and_every_difference_has_two_intervals():
    columns = pd.MultiIndex.from_product([VARIANTS, [0, 1, 2]], names=["variant", "seed"])
    values = np.random.default_rng(0).normal(size=(4, 15))
    gains = pd.DataFrame(values, columns=columns)
    runs = gains.mean().unstack("variant")[list(VARIANTS)]
    figure = ablation.seeds_and_photos(runs, compared(gains, list("aabb")), "none")
    assert words(figure) >= {*VARIANTS, "seed 0", "seed 2", "95 % over seeds", "95 % over photos"}
    lines = figure.axes[1].findobj(plt.matplotlib.collections.LineCollection)
    assert len(lines) == 2 * (len(VARIANTS) - 1)


def test_the_explorer_shows_the_chosen_pair_and_keeps_the_divider():
    grey = {"nothing": 0.2, "both": 0.4, "oracle": 0.6}
    box = ablation.explorer(
        lambda way, name: torch.full((3, 8, 8), grey[way] + 0.1 * (name == "hazy")),
        list(grey),
        ["rainy", "hazy"],
        lambda left, right, name: f"{right} less {left} on {name}",
        {"left": "nothing", "right": "both", "degradation": "hazy"},
    )
    slider, sentence, _, right, _ = box.children
    assert isinstance(slider, Compare) and slider.labels == ["nothing", "both"]
    before = slider.after
    slider.position = 0.25
    right.value = "oracle"
    slider = box.children[0]
    assert slider.labels == ["nothing", "oracle"] and slider.after != before
    assert slider.position == 0.25 and sentence.value == "oracle less nothing on hazy"
