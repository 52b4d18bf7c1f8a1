"""Restorations side by side: pictures, maps of where they differ, and what more steps win and lose.

Each function takes data and returns a matplotlib Figure; none computes a result. Pixels are shown as they are, each a
whole number of screen pixels wide; samplers have the looks of `tradeoff_figures`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.figures.style import (
    DPI,
    GAP,
    INK,
    MUTED,
    WIDTH,
    area,
    canvas,
    caption_lines,
    picture,
    pixels_of,
)
from daclip_lab.figures.tradeoff import LINES, LOOKS, SPACED

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAT = "magma"
BAR = 68
"""Pixels across that a scale beside a map takes."""


def grid(
    rows: Mapping[str, Sequence],
    columns: Sequence[str],
    notes: Mapping[str, Sequence[str]],
    *,
    zoom: int = 1,
    caption: str = "",
) -> "Figure":
    """Pictures in rows and columns, a title for each and a note below every picture.

    `rows` gives the pictures of a row, all of one size, under its title; `notes` the short texts below them.
    """
    height, width = (side * zoom for side in pixels_of(next(iter(rows.values()))[0]).shape[:2])
    left, top = 18 + 7 * max(map(len, rows)), 26
    across, down = max(width, 84) + 6, height + 22
    with canvas(left + len(columns) * across, top + len(rows) * down + 30, caption) as figure:
        for row, (title, pictures) in enumerate(rows.items()):
            x, y = left, top + row * down
            for column, image, note in zip(columns, pictures, notes[title], strict=True):
                axes = picture(figure, image, x, y, zoom)
                axes.annotate(note, (0, 0), (0, -4), xycoords="axes fraction", va="top",
                              textcoords="offset pixels", fontsize=9, color=MUTED)  # fmt: skip
                if row == 0:
                    axes.set_title(column, fontsize=10, pad=5)
                if x == left:
                    axes.annotate(title, (0, 0.5), (-8, 0), xycoords="axes fraction", ha="right",
                                  textcoords="offset pixels", va="center", fontsize=10)  # fmt: skip
                x += across
    return figure


def maps(
    panels: Mapping[str, object],
    unit: str,
    *,
    shared: bool = True,
    zoom: int = 1,
    caption: str = "",
) -> "Figure":
    """Pictures and maps of numbers (h, w) in one row; the scales of the maps begin at 0.

    `panels` gives under each title a picture of that size, or an array of two dimensions, in `unit`. The maps have one
    scale (`shared`) or one each.
    """
    fields = {
        name: np.asarray(panel) for name, panel in panels.items() if np.asarray(panel).ndim == 2
    }
    # A few pixels far off would leave the rest of the map black.
    tops = {name: np.quantile(field, 0.995) or 1.0 for name, field in fields.items()}
    if shared:
        tops = dict.fromkeys(tops, max(tops.values()))
    with_bar = list(fields)[-1:] if shared else list(fields)
    height, width = (side * zoom for side in next(iter(fields.values())).shape)
    whole = GAP + len(panels) * (width + GAP) + BAR * len(with_bar)
    with canvas(whole, height + 74, caption) as figure:
        x, y = GAP, 36
        for name, panel in panels.items():
            if name in fields:
                axes = area(figure, x, y, width, height)
                field = fields[name].repeat(zoom, 0).repeat(zoom, 1)
                drawn = axes.imshow(
                    field,
                    cmap=HEAT,
                    vmin=0,
                    vmax=tops[name],
                    interpolation="nearest",
                    aspect="auto",
                )
                axes.set_axis_off()
            else:
                axes = picture(figure, panel, x, y, zoom)
            axes.set_title(name, fontsize=9.5, pad=5)
            x += width + GAP
            if name in with_bar:
                bar = area(figure, x - 4, y, 12, height)
                figure.colorbar(drawn, cax=bar, extend="max")
                bar.set_title(unit, fontsize=8, pad=5)
                bar.tick_params(labelsize=8)
                x += BAR
    return figure


def against_one_step(table: "pd.DataFrame", caption: str = "") -> "Figure":
    """How far each number of steps is from one step, on the same images: means and 95 % intervals.

    `table` has the columns measure, sampler, spacing, steps, mean, low and high: differences, higher is better.
    """
    measures = list(dict.fromkeys(table.measure))
    kinds = list(dict.fromkeys(zip(table.sampler, table.timestep_spacing, strict=True)))
    steps = sorted(table.steps.unique())
    rows = -(-len(measures) // 2)
    with canvas(WIDTH, rows * 250 + 96, caption) as figure:
        for index, measure in enumerate(measures):
            row, column = divmod(index, 2)
            axes = area(figure, 78 + column * 440, 34 + row * 250, 345, 170)
            for number, (sampler, timestep_spacing) in enumerate(kinds):
                part = table[(table.measure == measure) & (table.sampler == sampler)]
                part = part[part.timestep_spacing == timestep_spacing]
                at = np.array([steps.index(count) for count in part.steps], float)
                # Side by side, so that intervals do not hide each other.
                at += 0.6 * ((number + 0.5) / len(kinds) - 0.5)
                color, mark = LOOKS[sampler]
                axes.vlines(at, part.low, part.high, color=color, linewidth=1.4)
                axes.plot(at, part["mean"], color=color, marker=mark, markersize=6, linewidth=1,
                          linestyle=LINES[timestep_spacing], markeredgecolor=INK, markeredgewidth=0.6,
                          label=f"{sampler}, {SPACED[timestep_spacing]}")  # fmt: skip
            _zero(axes)
            axes.set_xticks(range(len(steps)), [str(count) for count in steps])
            axes.set(xlim=(-0.5, len(steps) - 0.5), xlabel="steps (calls of the network)")
            axes.set_title(f"{measure}: difference to one step", fontsize=10)
        _legend_above_caption(figure, caption, columns=2)
    return figure


def foreseen(table: "pd.DataFrame", caption: str = "") -> "Figure":
    """How good the clean image is that the network foresees at each time on the way, from 100 down.

    `table` has the times as its index and a column of PSNRs (dB) for each kind of state that the network was given.
    """
    looks = (("#1f4e8c", "o"), ("#c2570c", "s"))
    with canvas(WIDTH, 330, caption) as figure:
        axes = area(figure, 96, 16, WIDTH - 118, 190)
        for (name, values), (color, mark) in zip(table.items(), looks, strict=True):
            axes.plot(table.index, values, color=color, marker=mark, markeredgecolor=INK,
                      markeredgewidth=0.6, label=name)  # fmt: skip
        axes.invert_xaxis()
        axes.set(xlabel="time t of the state (restoring goes to the right)")
        axes.set_ylabel("PSNR of the\nforeseen image (dB)")
        axes.grid(axis="y")
        _legend_above_caption(figure, caption, columns=2)
    return figure


def perception_distortion(table: "pd.DataFrame", caption: str = "") -> "Figure":
    """Distance to the one clean photo (across) against distance to how clean photos look (up), for numbers of steps.

    `table` has the columns sampler, spacing, steps, distortion and unlike, both in grey levels of 255.
    """
    with canvas(WIDTH, 430, caption) as figure:
        axes = area(figure, 84, 16, WIDTH - 336, 320)
        for (sampler, timestep_spacing), line in table.groupby(
            ["sampler", "timestep_spacing"], sort=False
        ):
            color, mark = LOOKS[sampler]
            axes.plot(line.distortion, line.unlike, color=color, marker=mark, markersize=7,
                      linestyle=LINES[timestep_spacing], linewidth=1.2, markeredgecolor=INK,
                      markeredgewidth=0.6, label=f"{sampler},\n{SPACED[timestep_spacing]}")  # fmt: skip
            for _, point in line.iterrows():
                axes.annotate(f"{point.steps:g}", (point.distortion, point.unlike), (5, 5),
                              textcoords="offset points", fontsize=8, color=color)  # fmt: skip
        axes.set_xlabel("distance to the clean photo (RMS, of 255)  ← better")
        axes.set_ylabel("edges unlike those of photos (of 255)  ↓ better")
        axes.grid()
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), labelspacing=0.9)
    return figure


def _zero(axes: "Axes") -> None:
    axes.axhline(0, color=MUTED, linestyle=":", linewidth=1.4)
    axes.grid(axis="y")


def _legend_above_caption(figure: "Figure", caption: str, columns: int) -> None:
    """The lines of the first axes, named between the panels and the caption."""
    width, height = (figure.get_size_inches() * DPI).round()
    above = 6 + 16 * max(1, len(caption_lines(caption, int(width))))
    figure.legend(*figure.axes[0].get_legend_handles_labels(), ncols=columns, loc="lower center",
                  bbox_to_anchor=(0.5, above / height), columnspacing=2.5)  # fmt: skip
