"""Figures of studies show the numbers of the statistics, and say which differences are decided."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from simulated_study import DEGRADATIONS, METRIC, simulated, study_table

from daclip_lab.ablation.statistics import compare, compare_by_degradation, means
from daclip_lab.errors import InputError
from daclip_lab.figures.ablation.studies import guidance_curve, heat_map, study_figure
from daclip_lab.figures.primitives import figure_png
from daclip_lab.figures.style import WIDTH, size_of

TRUTH = {"nothing": 2.6, "CLIP's word": 2.6, "DA-CLIP's word": 4.8, "wrong word": 1.0}
EXTRA = ("DA-CLIP's word", "CLIP's word")
STRENGTHS = (0.5, 1, 1.5, 2)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def names(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def spans(axes):
    """The intervals drawn, from the top."""
    lines = [line for line in axes.collections if isinstance(line, LineCollection)]
    segments = [segment for line in lines for segment in line.get_segments()]
    return np.array([s[:, 0] for s in sorted(segments, key=lambda s: s[0][1])])


def guided(name="dropout", plain=False):
    parts = [
        study_table({name: 4 - 0.3 * (w - 1) ** 2}, metric=f"{METRIC}, w = {w:g}", rng=k)
        for k, w in enumerate(STRENGTHS)
        if not (plain and w == 1)
    ]
    if plain:
        parts.append(study_table({name: 4.0, "other": 3.0}, rng=9))
    return simulated({name: 0}, table=pd.concat(parts))


# ---- the figure of a study ----


def test_a_study_shows_means_differences_and_other_comparisons():
    results = simulated(TRUTH, comparisons=[EXTRA])
    figure = study_figure(results)
    left, right, below = figure.axes
    compared = compare(results.table, results.info, METRIC)
    assert names(left) == list(TRUTH)
    assert spans(left) == pytest.approx(means(results.table, METRIC)[["low", "high"]].to_numpy())
    ends = compared[["low_all", "high_all"]].to_numpy()
    assert spans(right) == pytest.approx(ends[:-1])
    assert spans(below) == pytest.approx(ends[-1:])
    assert names(below) == ["DA-CLIP's word − CLIP's word"]
    assert right.get_xlim() == below.get_xlim()


def test_what_is_decided_is_bold():
    results = simulated(TRUTH)
    right = study_figure(results).axes[1]
    found = {text.get_text(): text.get_weight() for text in right.texts}
    decided = compare(results.table, results.info, METRIC).decided
    assert decided.tolist() == ["not decided", "better", "worse"]
    assert list(found.values()) == ["normal", "normal", "bold", "bold"]
    assert next(iter(found)) == "baseline"


def test_every_seed_is_a_dot():
    results = simulated(TRUTH, seeds=3)
    left = study_figure(results).axes[0]
    dots = [c.get_offsets() for c in left.collections if not isinstance(c, LineCollection)]
    seeds = np.array([d[:, 0] for d in dots[:3]])
    mean = means(results.table, METRIC)["mean"].to_numpy()
    assert seeds.mean(0) == pytest.approx(mean)


def test_an_unfinished_study_is_drawn_as_far_as_it_goes():
    results = simulated(TRUTH, comparisons=[EXTRA])
    results.table = results.table[results.table.variant != "CLIP's word"]
    figure = study_figure(results)
    assert names(figure.axes[0]) == ["nothing", "DA-CLIP's word", "wrong word"]
    assert len(figure.axes) == 2
    results.table = results.table[results.table.variant == "nothing"]
    assert texts(study_figure(results).axes[1]) == ["baseline"]


def test_figures_fit_a_page():
    for figure in (study_figure(simulated(TRUTH, comparisons=[EXTRA])), guidance_curve(guided())):
        assert size_of(figure)[0] == WIDTH
        assert figure_png(figure)[:4] == b"\x89PNG"


# ---- heat maps ----


def cells(figure):
    (axes,) = figure.axes
    rows, columns = names(axes), [label.get_text() for label in axes.get_xticklabels()]
    grid = np.array(texts(axes)).reshape(len(rows), len(columns))
    return pd.DataFrame(grid, index=rows, columns=columns)


def test_a_heat_map_holds_means_with_intervals():
    table = study_table(TRUTH)
    shown = cells(heat_map(table, "variant", "degradation", METRIC))
    mean = means(table, METRIC, by="degradation").set_index(["variant", "degradation"])
    assert list(shown.index) == list(TRUTH)
    assert set(shown.columns) == set(DEGRADATIONS)
    row = mean.loc["nothing", "rainy"]
    expected = f"{row['mean']:.2f}\n± {row.high - row['mean']:.2f}"
    assert shown.loc["nothing", "rainy"] == expected
    turned = cells(heat_map(table, "degradation", "variant", METRIC))
    assert turned.loc["rainy", "nothing"] == expected


def test_a_heat_map_of_differences_is_white_where_nothing_is_decided():
    table = study_table(TRUTH)
    figure = heat_map(table, "variant", "degradation", METRIC, against="nothing")
    shown = cells(figure)
    pairs = [(name, "nothing") for name in TRUTH if name != "nothing"]
    found = compare_by_degradation(table, pairs, METRIC).set_index(["variant", "degradation"])
    row = found.loc["wrong word", "hazy"]
    reach = row.high_all - row.difference
    assert shown.loc["wrong word", "hazy"] == f"{row.difference:+.2f}\n± {reach:.2f}"
    colors = figure.axes[0].collections[0].get_facecolors().reshape(*shown.shape, 4)[..., :3]
    white = (colors > 0.98).all(-1)
    decided = found.decided.unstack("degradation").loc[shown.index, shown.columns]
    assert (white == (decided == "not decided").to_numpy()).all()
    assert white.any()
    assert not white.all()


@pytest.mark.parametrize("columns", ["seed", "metric", "photo"])
def test_other_axes_of_a_heat_map(columns):
    table = pd.concat([study_table(TRUTH, photos=4), study_table(TRUTH, photos=4, metric="other")])
    shown = cells(heat_map(table, "variant", columns, METRIC))
    assert list(shown.columns) == [str(name) for name in dict.fromkeys(table[columns])]
    part = table[(table[columns] == table[columns].iloc[0]) & (table.metric == METRIC)]
    mean = part[part.variant == "nothing"].value.mean()
    assert shown.iloc[0, 0].startswith(f"{mean:.2f}")


@pytest.mark.parametrize("axes", [("variant", "variant"), ("seed", "photo"), ("variant", "hue")])
def test_axes_that_make_no_heat_map_are_refused(axes):
    with pytest.raises(InputError, match="degradation"):
        heat_map(study_table(TRUTH, photos=3), *axes, METRIC)


# ---- guidance ----


@pytest.mark.parametrize("plain", [False, True])
def test_guidance_is_measured_against_the_same_network_without_it(plain):
    results = guided(plain=plain)
    (axes,) = guidance_curve(results).axes
    (line,) = [line for line in axes.lines if len(line.get_xdata()) == len(STRENGTHS)]
    assert list(line.get_xdata()) == list(STRENGTHS)
    values = results.table[results.table.variant == "dropout"].groupby("metric").value.mean()
    alone = values[METRIC if plain else f"{METRIC}, w = 1"]
    expected = [0 if w == 1 else values[f"{METRIC}, w = {w:g}"] - alone for w in STRENGTHS]
    assert list(line.get_ydata()) == pytest.approx(expected)


def test_no_guidance_is_refused():
    with pytest.raises(InputError, match="w = "):
        guidance_curve(simulated(TRUTH))
