"""The mean-reverting SDE in one dimension, and what each degradation costs in PSNR."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.figures.diffusion import LINE, SPACED, sampler_curve, step_axis
from daclip_lab.figures.palette import BLUE, INK, ORANGE, SALMON, color_of, marker_of
from daclip_lab.figures.primitives import curve
from daclip_lab.figures.style import WIDTH, area, canvas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def schedule(alpha: np.ndarray, sigma: np.ndarray) -> "Figure":
    """The share of the clean image and the standard deviation of the noise at t = 0..T.

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
    with canvas(WIDTH, 372, caption) as figure:
        for k, (title, (times, paths)) in enumerate(panels.items()):
            axes = area(figure, 62 + k * (wide + 30), 36, wide, 240)
            axes.imshow((density / density.max(0)) ** 0.6, cmap="Greys", vmax=1.6, aspect="auto",
                        origin="lower", extent=(-0.5, end + 0.5, values[0], values[-1]))  # fmt: skip
            axes.plot(times, paths, color=ORANGE if k else BLUE, linewidth=0.9, alpha=0.8)
            axes.axhline(degraded, color=INK, linestyle=":", linewidth=1.2)
            axes.set(title=title, xlabel="time t", ylim=(values[0], values[-1]), xlim=(0, end))
            axes.set_ylabel("" if k else "value of the pixel")
            axes.tick_params(axis="y", labelleft=not k)
    return figure


def ends(values: np.ndarray, exact: np.ndarray, reached: Mapping[str, np.ndarray]) -> "Figure":
    """The final states of samplers (histograms), against the exact density (n,) of clean pixels at `values` (n,)."""
    wide = (WIDTH - 60 - 24 * len(reached)) // len(reached)
    caption = "Histograms: pixels after the last step. Line: the exact density of clean pixels."
    with canvas(WIDTH, 250, caption) as figure:
        for k, (title, states) in enumerate(reached.items()):
            axes = area(figure, 40 + k * (wide + 24), 40, wide, 140)
            axes.hist(states, bins=np.linspace(values[0], values[-1], 90), density=True,
                      color=SALMON)  # fmt: skip
            axes.plot(values, exact, color=INK, linewidth=1.4)
            axes.set(ylim=(0, 1.25 * exact.max()), yticks=(), xlim=(values[0], values[-1]))
            axes.set_title(title, fontsize=10)
            axes.set_xlabel("value of the pixel")
    return figure


def denoisers(
    values: np.ndarray, exact: Mapping[int, np.ndarray], learned: Mapping[int, np.ndarray],
    density: Mapping[int, np.ndarray],
) -> "Figure":  # fmt: skip
    """The best estimate of the clean pixel given the state, exact and learned, at some times (keys).

    All arrays are (n,), over the states `values`.
    """
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
            axes.plot(values, learned[t], color=ORANGE, linestyle=(0, (3, 1.5)), label="learned")
            axes.set(title=f"t = {t}", xlabel="state", ylim=(0, 1.05))
            axes.tick_params(axis="y", labelleft=not k)
            if k == 0:
                axes.set_ylabel("estimate of the clean pixel")
                axes.legend(loc="upper left")
    return figure


def over_steps(table: "pd.DataFrame", measure: str, caption: str = "") -> "Figure":
    """A measure against the number of steps, both on logarithmic axes.

    `table` has the columns sampler, timestep_spacing, steps and the measure.
    """
    with canvas(720, 430, caption) as figure:
        axes = area(figure, 84, 20, 420, 330)
        for (sampler, spacing), line in table.groupby(LINE, sort=False):
            name = sampler if spacing == "linspace" else f"{sampler}, {SPACED[spacing].split()[-1]}"
            sampler_curve(axes, sampler, spacing, line.steps, line[measure], name)
        axes.set(yscale="log", xlabel="steps", ylabel=measure)
        step_axis(axes, sorted(table.steps.unique()))
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def decibels_over_severity(table: "pd.DataFrame", caption: str = "") -> "Figure":
    """PSNR (dB) to the clean image over severity, a line for each degradation.

    `table` has the severities as its index and a column for each degradation.
    """
    with canvas(WIDTH, 366, caption) as figure:
        axes = area(figure, 64, 16, WIDTH - 264, 280)
        for name in table.iloc[-1].sort_values(ascending=False).index:
            curve(axes, table.index, table[name], color=color_of(name), marker=marker_of(name),
                  label=name, linewidth=2, markersize=7)  # fmt: skip
        axes.set(xlabel="severity", ylabel="PSNR to the clean image (dB)", xlim=(0, 1.03))
        axes.grid(axis="y")
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), title="best to worst at the end",
                    alignment="left", labelspacing=0.7)  # fmt: skip
    return figure


def predicted_clean(table: "pd.DataFrame", caption: str = "") -> "Figure":
    """PSNR (dB) of the clean image that the network predicts at each time, from T down.

    `table` has the times as its index and a column for each kind of state that the network is given.
    """
    with canvas(WIDTH, 330, caption) as figure:
        axes = area(figure, 96, 16, WIDTH - 118, 190)
        for (name, values), (color, mark) in zip(
            table.items(), ((BLUE, "o"), (ORANGE, "s")), strict=True
        ):
            curve(axes, table.index, values, color=color, marker=mark, label=name, linewidth=2)
        axes.invert_xaxis()
        axes.set_xlabel("time t of the state (restoration goes to the right)")
        axes.set_ylabel("PSNR of the\npredicted image (dB)")
        axes.grid(axis="y")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=2, columnspacing=2.5)
    return figure
