"""The notebooks' figures show what they are given, fit a web page, and leave no figure open."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt

from daclip_lab.course.figures import (
    images,
    predictions,
    samplers,
    sde,
    spaces,
    steering,
    training,
    zero_shot,
)
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations.registry import DEGRADATIONS, LABELS
from daclip_lab.embeddings.projection import EmbeddingMap
from daclip_lab.figures.palette import COLORS

KINDS = [("posterior", "linspace"), ("dpmpp-2m", "logsnr")]


def image(height, width, seed=0):
    return torch.rand(3, height, width, generator=seeded(seed))


def texts(figure):
    return {text.get_text() for text in figure.findobj(plt.Text) if text.get_text()}


# ---- training ----


def levels():
    table = pd.DataFrame({"one": [2.0, 0.5], "other": [1.5, 0.0]}, index=[0.0, 9.0])
    return training.losses_over_certainty(
        table, {"one": (2.08, 0.4), "other": (1.5, 0.0)}, xlabel="certainty"
    )


def stages():
    table = pd.DataFrame(0.5, index=[*DEGRADATIONS, "overall"], columns=list(training.STAGES))
    return training.stages(table, table + 0.1, caption="Three of each.")


def costs():
    table = pd.DataFrame(
        {n: [30.0, 20.0 - k] for k, n in enumerate(DEGRADATIONS)}, index=[0.1, 1.0]
    )
    return sde.decibels_over_severity(table, caption="Means.")


def maps(shared=True):
    field = np.arange(800.0).reshape(20, 40)
    panels = {"whole": image(20, 40), "one": field, "other": field / 4}
    return images.maps(panels, "of 255", shared=shared, zoom=2)


def against():
    rows = [
        (measure, *kind, count, 0.1 * count, 0.05, 2.0)
        for measure in ("PSNR (dB)", "SSIM", "MS-SSIM")
        for kind in KINDS
        for count in (2, 5)
    ]
    columns = ["measure", "sampler", "timestep_spacing", "steps", "mean", "low", "high"]
    return samplers.against_one_step(pd.DataFrame(rows, columns=columns), "What to see.")


def predicted_clean():
    table = pd.DataFrame({"true": [20.0, 30], "own": [20.0, 19]}, index=[100, 50])
    return sde.predicted_clean(table)


def plane(frontier=None):
    rows = [(*kind, count, 20 + count, 9 - count) for kind in KINDS for count in (1, 5)]
    columns = ["sampler", "timestep_spacing", "steps", "distortion", "unlike"]
    return samplers.perception_distortion(pd.DataFrame(rows, columns=columns), frontier=frontier)


def words_for_degradations():
    columns = [*DEGRADATIONS, *steering.OTHERS]
    values = np.random.default_rng(0).normal(size=(10, len(columns)))
    return steering.steering_heatmap(pd.DataFrame(values, index=DEGRADATIONS, columns=columns))


ALL = [lambda: training.wiring(4), levels, stages, costs, maps, against,
       predicted_clean, plane, lambda: plane(np.array([[20, 8], [24, 2]])), words_for_degradations]  # fmt: skip


@pytest.mark.parametrize("make", ALL)
def test_a_figure_fits_a_web_page_and_nothing_reaches_over_its_edge(make):
    figure = make()
    width, height = figure.get_size_inches()
    assert width * figure.dpi <= 920 and not plt.get_fignums()
    assert np.allclose(figure.get_tightbbox().extents, (0, 0, width, height))


def test_the_last_control_leads_to_the_first_block():
    axes = training.wiring(3).axes[0]
    height = {
        text.get_text(): text.get_position()[1] if not hasattr(text, "xy") else text.xy[1]
        for text in axes.texts
    }
    crossing = [line for line in axes.lines if line.get_xdata()[-1] == 452]
    ends = {round(line.get_ydata()[0]): round(line.get_ydata()[1]) for line in crossing}
    lowest, highest = min(ends), max(ends)
    assert len(ends) == 3 and ends[highest] == lowest and ends[lowest] == highest
    assert {"controller, block 3", "CLIP, block 1"} <= set(height)


def test_every_loss_has_its_own_chance_and_floor():
    assert {"chance, 2.08", "floor, 0.40", "chance, 1.50", "floor, 0.00"} <= set(texts(levels()))


def test_decibels_are_listed_in_the_order_in_which_they_end():
    legend = costs().axes[0].get_legend()
    assert [text.get_text() for text in legend.texts] == list(DEGRADATIONS)
    colours = [plt.matplotlib.colors.to_hex(line.get_color()) for line in legend.get_lines()]
    assert colours == [COLORS[name] for name in DEGRADATIONS]


# ---- samplers ----


@pytest.mark.parametrize("shared", [True, False])
def test_maps_have_one_scale_or_one_each_and_it_begins_at_zero(shared):
    axes = {axes.get_title(loc="left"): axes for axes in maps(shared).axes}
    (low, high), (other_low, other_high) = (axes[k].images[0].get_clim() for k in ("one", "other"))
    assert low == other_low == 0
    assert high == pytest.approx(other_high * (1 if shared else 4))
    assert axes["one"].images[0].get_array().shape == (40, 80)


def test_time_runs_backwards_in_the_figure_of_predicted_images():
    left, right = predicted_clean().axes[0].get_xlim()
    assert left > right


# ---- embeddings ----


def made(seed):
    rng = np.random.default_rng(seed)
    return EmbeddingMap(
        coordinates=rng.standard_normal((12, 2)),
        vectors=rng.standard_normal((12, 4)),
        images=tuple(map(str, range(12))),
        parameters={},
        trustworthiness=0.5,
        preservation=0.25,
    )


def test_measures_stand_where_their_values_are_below_zero_too():
    rows = [
        {"measure": measure, "space": space, "value": value, "low": value - 0.1, "high": value + 0.1,
         "chance": chance}
        for measure, chance in (("one", 0.1), ("two", np.nan))
        for space, value in (("clip", -0.3), ("content", 0.4), ("degradation", 0.9))
    ]  # fmt: skip
    (axes,) = spaces.measures_by_space(pd.DataFrame(rows)).axes
    marks = [
        marks.get_offsets().data for marks in axes.collections if len(marks.get_offsets()) == 2
    ]
    assert [set(points[:, 0]) for points in marks] == [{-0.3}, {0.4}, {0.9}]
    low, high = axes.get_xlim()
    assert low < -0.4 and high > 1
    assert [text.get_text() for text in axes.get_yticklabels()] == ["one", "two"]


def test_severities_read_far_off_stay_inside_the_panels():
    table = pd.DataFrame(
        {
            "degradation": ["hazy", "hazy", "noisy", "noisy"],
            "severity": [0.1, 0.9, 0.1, 0.9],
            "mean": [0.2, 0.8, -0.4, 1.4],
            "low": [0.1, 0.7, -0.6, 1.2],
            "high": [0.3, 0.9, -0.2, 1.7],
        }
    )
    figure = spaces.severity_read(table, (0.4, 0.8))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["hazy", "noisy"]
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert low < -0.6 and high > 1.7
        right = axes.get_lines()[0].get_xydata()
        assert np.allclose(right[:, 0], right[:, 1])


# ---- zero-shot classification ----


def shares(rows):
    return pd.DataFrame(torch.rand(rows, 11, generator=seeded(1)).softmax(1), columns=LABELS)


def test_a_thumbnail_is_the_mean_of_whole_blocks():
    large = image(250, 330)
    small = predictions.thumbnail(large)
    assert small.shape == (83, 110, 3)
    np.testing.assert_allclose(small[1, 2], large[:, 3:6, 6:9].mean((1, 2)), atol=1e-6)
    np.testing.assert_array_equal(
        predictions.thumbnail(image(20, 30)), image(20, 30).permute(1, 2, 0)
    )


def test_a_folder_shows_the_three_likeliest_answers_of_each_image():
    table = shares(4)
    figure = predictions.folder_sheet([image(64, 64)] * 4, list("abcd"), table)
    told = [[text.get_text() for text in axes.texts] for axes in figure.axes[1::2]]
    assert told == [
        [f"{name}, {100 * value:.0f}" for name, value in line.nlargest(3).items()]
        for _, line in table.iterrows()
    ]


def test_both_degradations_of_a_mixture_are_coloured():
    truths = [["hazy", "noisy"], ["rainy", "snowy"]]
    figure = predictions.mixture_bars([image(32, 32)] * 2, shares(2), truths)
    for axes, two in zip(figure.axes[1::2], truths, strict=True):
        outlined = [
            name
            for name, bar in zip(LABELS, axes.patches, strict=True)
            if bar.get_edgecolor()[3] > 0
        ]
        assert outlined == two


def test_own_words_stand_beside_the_packages():
    one, many = shares(2), shares(2)[::-1]
    _, photo, table = predictions.own_words(image(32, 32), one, many, "hazy", "fog").axes
    for axes, values in ((photo, one), (table, many)):
        drawn = [bar.get_width() for bar in axes.patches]
        np.testing.assert_allclose(drawn, values.to_numpy().ravel())


def test_marks_of_the_bias_carry_their_bias_and_only_they():
    nothing = float("nan")
    curve = pd.DataFrame(
        {
            "alarms": [0.9, 0.5, 0.1],
            "misses": [0.1, 0.4, 0.8],
            "alarms_low": [nothing, 0.4, nothing],
            "alarms_high": [nothing, 0.6, nothing],
            "misses_low": [nothing, 0.3, nothing],
            "misses_high": [nothing, 0.5, nothing],
        },
        index=[-2.0, 1.0, 3.0],
    )
    (axes,) = zero_shot.alarms_and_misses({"DA-CLIP": curve}).axes
    assert [text.get_text() for text in axes.texts] == ["+1"]
    assert axes.texts[0].xy == (0.5, 0.4)


def test_the_worst_phrasing_of_each_degradation_is_written_out():
    table = pd.DataFrame(
        [("hazy", "foggy", "training", 0.8), ("hazy", "murky", "held out", 0.6)],
        columns=["degradation", "phrasing", "kind", "accuracy"],
    )
    (axes,) = zero_shot.phrasings(table, 0.81).axes
    assert [text.get_text() for text in axes.texts] == ["murky"]
    low, high = axes.get_xlim()
    assert low < 0.6 and high > 0.81
