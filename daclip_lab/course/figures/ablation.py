"""Ablations of the conditioning: differences with intervals, learning curves with bands, seeds side by side.

Each kind of conditioning has the colour and the marker of `LOOKS`.
"""

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from daclip_lab.degradations.registry import in_order
from daclip_lab.figures.palette import (
    BLUE,
    GREY,
    INK,
    MUTED,
    ORANGE,
    PALE_BLUE,
    PALE_ORANGE,
    VIOLET,
)
from daclip_lab.figures.primitives import Dots, curve, dot_intervals, name_rows, reference_line
from daclip_lab.figures.style import WIDTH, area, canvas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LOOKS = {
    "none": ("white", "s"),
    "degradation": (ORANGE, "D"),
    "content": (BLUE, "v"),
    "both": (VIOLET, "o"),
    "oracle": (INK, "*"),
    "wrong word": (PALE_ORANGE, "X"),
    "another content": (PALE_BLUE, "P"),
}
"""The colour and the marker of each kind of conditioning."""


def differences(table: "pd.DataFrame", against: str, caption: str = "") -> "Figure":
    """The overall difference of each kind of conditioning to one of them: a dot and a 95 % interval for each.

    `table` is that of `ablation.conditioning.paired_differences`: columns conditioning, degradation, difference, low
    and high (dB).
    """
    table = table.rename(columns={"difference": "value"})
    lines = table[table.degradation == "overall"].set_index("conditioning")
    height = 34 * len(lines)
    with canvas(WIDTH, height + 96, caption) as figure:
        axes = area(figure, 150, 12, WIDTH - 310, height)
        series = [Dots(lines.loc[[name]], None, *LOOKS[name]) for name in lines.index]
        dot_intervals(axes, list(lines.index), series, spread=0)
        for y, line in enumerate(lines.itertuples()):
            text = f"{line.value:+.2f} [{line.low:+.2f}, {line.high:+.2f}]"
            axes.annotate(text, (1, y), (8, 0), xycoords=axes.get_yaxis_transform(), va="center",
                          textcoords="offset points", fontsize=9)  # fmt: skip
        reference_line(axes, 0, vertical=True)
        axes.set_xlabel(f'difference to conditioning "{against}" (dB of PSNR)')
    return figure


def differences_by_degradation(
    table: "pd.DataFrame", kinds: Sequence[str], against: str, caption: str = ""
) -> "Figure":
    """The same differences for each degradation, some kinds of conditioning side by side in one row each."""
    present = set(table.degradation)
    names = [*in_order(present - {"overall"}), *({"overall"} & present)]
    height = (14 + 13 * len(kinds)) * len(names)
    lines = table.rename(columns={"difference": "value"}).set_index("degradation")
    with canvas(WIDTH, height + 124, caption) as figure:
        axes = area(figure, 150, 40, WIDTH - 180, height)
        dot_intervals(axes, names, [
            Dots(lines[lines.conditioning == kind], kind, *LOOKS[kind]) for kind in kinds
        ])  # fmt: skip
        reference_line(axes, 0, vertical=True)
        axes.set_xlabel(f'difference to conditioning "{against}" (dB of PSNR)')
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(kinds), borderpad=0.1,
                    handletextpad=0.3)  # fmt: skip
    return figure


def curves_with_bands(curves: "pd.DataFrame", caption: str = "") -> "Figure":
    """Learning curves of variants: the mean over seeds and a band from the worst to the best of them.

    `curves` has the columns variant, seed, step and gain (dB), those of `ablation.study.Ablation`.
    """
    with canvas(WIDTH, 360, caption) as figure:
        whole, end = (area(figure, 64 + k * 420, 36, 350, 240) for k in (0, 1))
        for axes in (whole, end):
            for variant in dict.fromkeys(curves.variant):
                color, marker = LOOKS[variant]
                steps = curves[curves.variant == variant].groupby("step").gain
                line = MUTED if color == "white" else color
                axes.fill_between(steps.min().index, steps.min(), steps.max(), color=line,
                                  alpha=0.16, lw=0)  # fmt: skip
                curve(axes, steps.mean().index, steps.mean(), color=color, ink=line, marker=marker,
                      label=variant)  # fmt: skip
            axes.set_xlabel("training step")
            axes.grid(axis="y")
        reference_line(whole, 0)
        whole.set(title="The whole training", ylabel="gain in PSNR (dB)")
        late = curves[curves.step >= 0.5 * curves.step.max()]
        margin = 0.08 * (late.gain.max() - late.gain.min()) + 1e-3
        end.set(title="Its second half, enlarged", xlim=(late.step.min() - 1, late.step.max() + 1))
        end.set_ylim(late.gain.min() - margin, late.gain.max() + margin)
        whole.legend(loc="upper left")
    return figure


def seeds_and_photos(
    gains: "pd.DataFrame", table: "pd.DataFrame", against: str, caption: str = ""
) -> "Figure":
    """Every run, and the differences with two intervals, over seeds and over photos.

    Args:
        gains: the mean gain (dB) of each run, a row per seed and a column per variant.
        table: that of `ablation.study.differences_to`: a row per variant; columns difference, seed_low, seed_high,
            photo_low and photo_high (dB).
    """
    variants, height = list(gains.columns), 46 * len(gains.columns)
    over = {
        "over seeds": {"color": INK, "linewidth": 1.4},
        "over photos": {"color": GREY, "linewidth": 4},
    }
    with canvas(WIDTH, height + 122, caption) as figure:
        runs, apart = area(figure, 104, 40, 330, height), area(figure, 474, 40, 380, height)
        places = range(len(variants))
        for (seed, line), dashes in zip(gains.iterrows(), cycle(("-", "--", ":"))):
            runs.plot(line, places, color=MUTED, linewidth=1.3, linestyle=dashes, zorder=1,
                      label=f"seed {seed}")  # fmt: skip
        for y, variant in zip(places, variants, strict=True):
            color, marker = LOOKS[variant]
            look = {"c": color, "edgecolors": INK}
            runs.scatter(gains[variant], [y] * len(gains), marker=marker, s=46, linewidths=0.8,
                         zorder=2, **look)  # fmt: skip
            if variant == against:
                apart.scatter(0, y, s=46, marker=marker, linewidths=0.8, **look)
                continue
            line = table.loc[variant]
            apart.hlines(y - 0.14, line.seed_low, line.seed_high, **over["over seeds"])
            apart.hlines(y + 0.18, line.photo_low, line.photo_high, **over["over photos"])
            apart.scatter(gains[variant] - gains[against], [y - 0.14] * len(gains), s=22,
                          linewidths=0.6, zorder=2, **look)  # fmt: skip
            apart.scatter(line.difference, y + 0.18, s=60, marker=marker, linewidths=0.8, zorder=3,
                          **look)  # fmt: skip
        name_rows(runs, variants)
        name_rows(apart, [""] * len(variants))
        reference_line(apart, 0, vertical=True)
        runs.set_xlabel("gain in PSNR (dB)")
        runs.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderpad=0.1)
        apart.set_xlabel(f"difference to {against} (dB)")
        for name, look in over.items():
            apart.plot([], [], label=f"95 % {name}", **look)
        apart.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0.1)
    return figure
