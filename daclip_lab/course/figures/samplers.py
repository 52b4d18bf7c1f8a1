"""Samplers compared: more steps against one, and the perception-distortion plane."""

from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.figures.diffusion import LINE, SAMPLERS, SPACED, sampler_curve
from daclip_lab.figures.primitives import legend_below, reference_line
from daclip_lab.figures.style import WIDTH, above_caption, area, canvas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def against_one_step(table: "pd.DataFrame", caption: str = "") -> "Figure":
    """Difference of each number of steps to one step, on the same images: means and 95 % intervals.

    `table` has the columns measure, sampler, timestep_spacing, steps, and mean, low, high: differences, higher is
    better.
    """
    measures = list(dict.fromkeys(table.measure))
    kinds = table.drop_duplicates(LINE).shape[0]
    steps = sorted(table.steps.unique())
    with canvas(WIDTH, -(-len(measures) // 2) * 250 + 96, caption) as figure:
        for index, measure in enumerate(measures):
            row, column = divmod(index, 2)
            axes = area(figure, 78 + column * 440, 34 + row * 250, 345, 170)
            parts = table[table.measure == measure].groupby(LINE, sort=False)
            for number, ((sampler, spacing), part) in enumerate(parts):
                # Side by side, so that intervals do not hide each other.
                at = np.array([steps.index(count) for count in part.steps], float)
                at += 0.6 * ((number + 0.5) / kinds - 0.5)
                axes.vlines(at, part.low, part.high, color=SAMPLERS[sampler][0], linewidth=1.4)
                label = f"{sampler}, {SPACED[spacing]}"
                sampler_curve(axes, sampler, spacing, at, part["mean"], label)
            reference_line(axes, 0)
            axes.grid(axis="y")
            axes.set_xticks(range(len(steps)), [str(count) for count in steps])
            axes.set(xlim=(-0.5, len(steps) - 0.5), xlabel="steps (calls of the network)")
            axes.set_title(f"{measure}: difference to one step", fontsize=10)
        legend_below(figure, top=above_caption(figure, caption, -(-kinds // 2)), columns=2)
    return figure


def perception_distortion(table: "pd.DataFrame", caption: str = "") -> "Figure":
    """Distance to the clean photo (across) against distance to the statistics of clean photos (up).

    `table` has the columns sampler, timestep_spacing, steps, distortion and unlike, both in grey levels of 255.
    """
    with canvas(WIDTH, 430, caption) as figure:
        axes = area(figure, 84, 16, WIDTH - 336, 320)
        for (sampler, spacing), line in table.groupby(LINE, sort=False):
            label = f"{sampler},\n{SPACED[spacing]}"
            sampler_curve(axes, sampler, spacing, line.distortion, line.unlike, label)
            for _, point in line.iterrows():
                axes.annotate(f"{point.steps:g}", (point.distortion, point.unlike), (5, 5), fontsize=8,
                              textcoords="offset points", color=SAMPLERS[sampler][0])  # fmt: skip
        axes.set_xlabel("distance to the clean photo (RMS, of 255)  ← better")
        axes.set_ylabel("edges unlike those of photos (of 255)  ↓ better")
        axes.grid()
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), labelspacing=0.9)
    return figure
