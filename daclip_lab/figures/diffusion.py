"""Figures of samplers: quality against the number of steps."""

from typing import TYPE_CHECKING

from daclip_lab.figures.palette import BLUE, INK, MUTED, SALMON
from daclip_lab.figures.primitives import curve, legend_below, reference_line
from daclip_lab.figures.style import WIDTH, area, canvas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAMPLERS = {
    "posterior": (BLUE, "o"),
    "dpmpp-2m-sde": ("#4e9dff", "D"),
    "ddim": ("#761400", "s"),
    "dpmpp-2m": (SALMON, "^"),
    "euler-maruyama": (MUTED, "X"),
}
"""The colour and the marker of each sampler."""
LINES = {"linspace": "-", "logsnr": (0, (1.5, 1.5))}
SPACED = {"linspace": "steps even in time", "logsnr": "steps even in log-SNR"}
LOWER = ("LPIPS", "sliced Wasserstein")
"""The measures that are better when lower."""
LINE = ["sampler", "timestep_spacing"]
"""The columns whose values make a line."""


def tradeoff(table: "pd.DataFrame") -> "Figure":
    """Every measure against the number of steps, a line for each sampler and timestep spacing.

    `table` has the columns sampler, timestep_spacing ("linspace" or "logsnr"), steps, and one for each measure; a row
    whose sampler is "input" holds the images before restoration. Higher is better, except for `LOWER`.
    """
    measures = [name for name in table.columns if name not in (*LINE, "steps")]
    caption = (
        "Each line is a sampler. Dotted grey: the images before restoration. Below 100 steps, Euler-Maruyama as the "
        "authors wrote it takes steps too small for the times it skips and leaves the noise in: it may lie outside "
        "of the frame."
    )
    rows = -(-len(measures) // 2)
    restored = table[table.sampler != "input"]
    steps = sorted(restored.steps.unique())
    with canvas(WIDTH, rows * 300 + 120, caption) as figure:
        for index, measure in enumerate(measures):
            row, column = divmod(index, 2)
            axes = area(figure, 78 + column * 440, 34 + row * 300, 345, 220)
            reference_line(axes, table.loc[table.sampler == "input", measure].iloc[0])
            for (sampler, spacing), line in restored.groupby(LINE, sort=False):
                sampler_curve(axes, sampler, spacing, line.steps, line[measure])
            # The frame fits the samplers that work: the baseline may leave it.
            framed = table.loc[table.sampler != "euler-maruyama", measure]
            margin = 0.15 * max(framed.max() - framed.min(), 1e-3)
            axes.set_ylim(framed.min() - margin, framed.max() + margin)
            step_axis(axes, steps)
            axes.set(ylabel=measure, xlabel="steps (calls of the network)")
            better = "lower is better" if measure in LOWER else "higher is better"
            axes.set_title(f"{measure}: {better}")
        for sampler, (color, mark) in SAMPLERS.items():
            if sampler in set(table.sampler):
                axes.plot([], [], color=color, marker=mark, label=sampler)
        for spacing, style in LINES.items():
            axes.plot([], [], color=INK, linestyle=style, label=SPACED[spacing])
        legend_below(figure, top=rows * 300 + 8, columns=4)
    return figure


def sampler_curve(axes: "Axes", sampler: str, spacing: str, x, y, label: str | None = None) -> None:
    """A line in the colour, marker and line style of a sampler and a timestep spacing."""
    color, marker = SAMPLERS[sampler]
    curve(axes, x, y, color=color, marker=marker, linestyle=LINES[spacing], label=label)


def step_axis(axes: "Axes", steps: list[int]) -> None:
    """A logarithmic axis with a tick at each number of steps."""
    axes.set_xscale("log")
    axes.set_xticks(steps, [str(count) for count in steps])
    axes.minorticks_off()
    axes.grid(axis="y")
