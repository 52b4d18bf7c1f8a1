"""Samplers compared: more steps against one, and the perception-distortion plane."""

from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.figures.diffusion import LINE, SAMPLERS, SPACED, sampler_curve
from daclip_lab.figures.palette import MUTED, PALE
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


def perception_distortion(
    table: "pd.DataFrame",
    caption: str = "",
    *,
    across: str = "distance to the clean photo (RMS, of 255)",
    up: str = "edges unlike those of photos (of 255)",
    frontier: np.ndarray | None = None,
) -> "Figure":
    """Distance to the clean image (across) against distance of the distributions (up): Blau and Michaeli, 1711.06077.

    Args:
        table: columns sampler, timestep_spacing, steps, distortion and unlike, in the units that the labels name.
        frontier: (n, 2) distortions and distances that no method can be below, where they are known.
    """
    with canvas(WIDTH, 430, caption) as figure:
        axes = area(figure, 84, 16, WIDTH - 336, 320)
        if frontier is not None:
            axes.fill_between(*frontier.T, color=PALE, zorder=0)
            axes.plot(*frontier.T, color=MUTED, zorder=1, label="limit of every method")
        for (sampler, spacing), line in table.groupby(LINE, sort=False):
            label = f"{sampler},\n{SPACED[spacing]}"
            sampler_curve(axes, sampler, spacing, line.distortion, line.unlike, label)
        axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # places on the page are now final
        labelled: list[np.ndarray] = []
        for point in table.itertuples():
            place = axes.transData.transform((point.distortion, point.unlike))
            # Numbers of marks side by side would overlap: only the first is written.
            if all(np.abs(place - other).max() > 14 for other in labelled):
                labelled.append(place)
                axes.annotate(f"{point.steps:g}", (point.distortion, point.unlike), (5, 5), fontsize=8,
                              textcoords="offset points", color=SAMPLERS[point.sampler][0])  # fmt: skip
        axes.set_xlabel(f"{across}  ← better")
        axes.set_ylabel(f"{up}  ↓ better")
        axes.grid()
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), labelspacing=0.9)
    return figure
