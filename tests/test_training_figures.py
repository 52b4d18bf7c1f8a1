"""Figures of a controller and its training: which line leads where, and which levels are drawn."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from daclip_lab.degradations.rules import NAMES
from daclip_lab.figures import training as figures
from daclip_lab.figures.severity import decibels_over_severity
from daclip_lab.figures.style import COLORS


def levels():
    table = pd.DataFrame({"one": [2.0, 0.5], "other": [1.5, 0.0]}, index=[0.0, 9.0])
    return figures.losses_over_certainty(
        table, {"one": (2.08, 0.4), "other": (1.5, 0.0)}, xlabel="certainty"
    )


def curves(content_from=3, steps=4):
    losses = pd.DataFrame({"degradation_loss": np.linspace(4, 1, steps)}, index=range(1, steps + 1))
    exams = pd.DataFrame({"accuracy": [0.2, 0.6], "cosine": [0.7, 0.8]}, index=[0, max(1, steps)])
    return figures.controller_curves(
        losses, exams, loss_chance=1.9, loss_floor=0.1, total=6, content_from=content_from
    )


def stages():
    table = pd.DataFrame(0.5, index=[*NAMES, "overall"], columns=list(figures.STAGES))
    return figures.stages(table, table + 0.1, caption="Three of each.")


def costs():
    table = pd.DataFrame({n: [30.0, 20.0 - k] for k, n in enumerate(NAMES)}, index=[0.1, 1.0])
    return decibels_over_severity(table, caption="Means.")


def texts(figure):
    return [text.get_text() for text in figure.findobj(plt.Text) if text.get_text()]


@pytest.mark.parametrize("make", [lambda: figures.wiring(4), levels, curves, stages, costs])
def test_a_figure_fits_a_web_page_and_nothing_reaches_over_its_edge(make):
    figure = make()
    width, height = figure.get_size_inches()
    assert width * figure.dpi <= 920 and not plt.get_fignums()
    assert np.allclose(figure.get_tightbbox().extents, (0, 0, width, height))


def test_the_last_control_leads_to_the_first_block():
    axes = figures.wiring(3).axes[0]
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


def test_curves_show_levels_and_where_the_content_begins():
    figure = curves()
    assert {"chance, 10%", "chance, 1.90", "floor, 0.10", "CLIP, 0.70"} <= set(texts(figure))
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert dashed[0].get_xdata()[0] == 3
    assert not any("dashed" in text for text in texts(curves(content_from=None)))


def test_curves_can_be_drawn_before_the_first_step():
    assert len(curves(steps=0).axes) == 3


def test_decibels_are_listed_in_the_order_in_which_they_end():
    legend = costs().axes[0].get_legend()
    assert [text.get_text() for text in legend.texts] == list(NAMES)
    colours = [plt.matplotlib.colors.to_hex(line.get_color()) for line in legend.get_lines()]
    assert colours == [COLORS[name] for name in NAMES]
