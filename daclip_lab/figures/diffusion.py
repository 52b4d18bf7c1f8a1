"""The mean-reverting SDE in one dimension: where a pixel goes, and how well samplers bring it back.

Each function takes data and returns a matplotlib Figure; none computes a result.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.figures.style import INK, MUTED, WIDTH, area, canvas
from daclip_lab.figures.tradeoff import LINES, LOOKS, SPACED

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def schedule(alpha: np.ndarray, sigma: np.ndarray) -> "Figure":
    """What is left of the clean image and how much noise there is, at t = 0..T.

    `alpha` and `sigma` are (T+1,); sigma is in image units.
    """
    caption = (
        "Left: the share of the difference between clean and degraded that is still in the state. Right: the standard "
        "deviation of the noise in it, in grey levels of 255."
    )
    with canvas(WIDTH, 300, caption) as figure:
        for k, (values, title) in enumerate(((alpha, "alpha"), (255 * sigma, "sigma bar"))):
            axes = area(figure, 72 + k * 444, 36, 340, 180)
            axes.plot(values, color=INK)
            axes.set(title=title, xlabel="time t", xlim=(0, len(values) - 1), ylim=(0, None))
            axes.grid(axis="y")
    return figure


def there_and_back(
    values: np.ndarray,
    density: np.ndarray,
    forward: np.ndarray,
    backward: Mapping[str, tuple[Sequence[int], np.ndarray]],
    degraded: float,
) -> "Figure":
    """The exact density of a pixel at every time (grey), and paths through it: forward, and back by some samplers.

    Args:
        values: (n,) values of the pixel.
        density: (n, T+1), exact.
        forward: (T+1, paths).
        backward: for each sampler its times, T down to 0, and the states there, (times, paths).
        degraded: the value that the SDE reverts to.
    """
    end = density.shape[1] - 1
    panels = {"forward": (range(end + 1), forward), **backward}
    wide = (WIDTH - 70 - 30 * (len(panels) - 1) - 16) // len(panels)
    caption = (
        "Grey: where the exact process is at each time, darker is likelier. Lines: single pixels. Dotted: the value of "
        "the degraded pixel, to which all revert. Time runs to the right in the first panel, to the left in the others."
    )
    shade = (density / density.max(0)) ** 0.6
    with canvas(WIDTH, 372, caption) as figure:
        for k, (title, (times, paths)) in enumerate(panels.items()):
            axes = area(figure, 62 + k * (wide + 30), 36, wide, 240)
            axes.imshow(
                shade,
                cmap="Greys",
                vmax=1.6,
                aspect="auto",
                origin="lower",
                extent=(-0.5, end + 0.5, values[0], values[-1]),
            )
            axes.plot(times, paths, color="#c2570c" if k else "#1f4e8c", linewidth=0.9, alpha=0.8)
            axes.axhline(degraded, color=INK, linestyle=":", linewidth=1.2)
            axes.set(title=title, xlabel="time t", ylim=(values[0], values[-1]), xlim=(0, end))
            if k == 0:
                axes.set_ylabel("value of the pixel")
            else:
                axes.set_yticklabels([])
    return figure


def ends(values: np.ndarray, exact: np.ndarray, reached: Mapping[str, np.ndarray]) -> "Figure":
    """Where samplers end (histograms), against the exact density of clean pixels (line)."""
    wide = (WIDTH - 60 - 24 * len(reached)) // len(reached)
    caption = "Histograms: pixels after the last step. Line: the exact density of clean pixels."
    with canvas(WIDTH, 250, caption) as figure:
        for k, (title, states) in enumerate(reached.items()):
            axes = area(figure, 40 + k * (wide + 24), 40, wide, 140)
            axes.hist(states, bins=np.linspace(values[0], values[-1], 90), density=True,
                      color="#eb8976")  # fmt: skip
            axes.plot(values, exact, color=INK, linewidth=1.4)
            axes.set(ylim=(0, 1.25 * exact.max()), yticks=(), xlim=(values[0], values[-1]))
            axes.set_title(title, fontsize=10)
            axes.set_xlabel("value of the pixel")
    return figure


def denoisers(
    values: np.ndarray, exact: Mapping[int, np.ndarray], learned: Mapping[int, np.ndarray],
    density: Mapping[int, np.ndarray],
) -> "Figure":  # fmt: skip
    """The best estimate of the clean pixel given the state, exact and learned, at some times (keys)."""
    wide = (WIDTH - 70 - 30 * len(exact)) // len(exact)
    caption = (
        "Horizontal: the state. Vertical: the estimate of the clean pixel. Grey: how often a state occurs at that "
        "time. Where it never occurs, nothing was learned."
    )
    with canvas(WIDTH, 320, caption) as figure:
        for k, t in enumerate(exact):
            axes = area(figure, 56 + k * (wide + 30), 36, wide, 200)
            axes.fill_between(values, 0, density[t] / density[t].max(), color="#dddddd")
            axes.plot(values, exact[t], color=INK, label="exact")
            axes.plot(values, learned[t], color="#c2570c", linestyle=(0, (3, 1.5)), label="learned")
            axes.set(title=f"t = {t}", xlabel="state", ylim=(0, 1.05))
            if k == 0:
                axes.set_ylabel("estimate of the clean pixel")
                axes.legend(loc="upper left")
            else:
                axes.set_yticklabels([])
    return figure


def over_steps(table: "pd.DataFrame", measure: str, caption: str = "") -> "Figure":
    """A measure against the number of steps, both on logarithmic axes.

    `table` has columns sampler, spacing, steps and the measure.
    """
    with canvas(720, 430, caption) as figure:
        axes = area(figure, 84, 20, 420, 330)
        for (sampler, timestep_spacing), line in table.groupby(
            ["sampler", "timestep_spacing"], sort=False
        ):
            _line(axes, sampler, timestep_spacing, line.steps, line[measure])
        steps = sorted(table.steps.unique())
        axes.set(xscale="log", yscale="log", xlabel="steps", ylabel=measure)
        axes.set_xticks(steps, [str(count) for count in steps])
        axes.minorticks_off()
        axes.grid(axis="y")
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def _line(axes: "Axes", sampler: str, timestep_spacing: str, x, y) -> None:
    color, mark = LOOKS[sampler]
    name = (
        sampler
        if timestep_spacing == "linspace"
        else f"{sampler}, {SPACED[timestep_spacing].split()[-1]}"
    )
    axes.plot(x, y, color=color, marker=mark, markersize=6, linestyle=LINES[timestep_spacing],
              markeredgecolor=MUTED, markeredgewidth=0.5, label=name)  # fmt: skip
