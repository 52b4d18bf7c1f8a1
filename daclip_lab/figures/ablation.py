"""What a restorer gains from what it is told: differences with intervals, curves with bands, seeds side by side.

Each function takes data and returns a matplotlib Figure; none computes a result. What a restorer is told has always the
same colour and marker, here and in the words of `LOOKS`.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from daclip_lab.degradations.rules import NAMES
from daclip_lab.figures.style import INK, MUTED, PALE, WIDTH, area, canvas
from daclip_lab.widgets.compare import compare

if TYPE_CHECKING:
    import ipywidgets
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = {
    "none": ("white", "s"),
    "nothing": ("white", "s"),
    "degradation": ("#c2570c", "D"),
    "content": ("#1f4e8c", "v"),
    "both": ("#8a6fb0", "o"),
    "oracle": ("#222222", "*"),
    "wrong word": ("#f0b36b", "X"),
    "another content": ("#9dbbe0", "P"),
}
"""The colour and the marker of what a restorer is told."""


def differences(table: "pd.DataFrame", against: str, caption: str = "") -> "Figure":
    """The overall difference of each way to tell a restorer to one of them: a dot and a 95 % interval for each.

    `table` is that of `analysis.telling.paired_differences`, of differences in dB.
    """
    lines = table[table.degradation == "overall"].reset_index(drop=True)
    height = 34 * len(lines)
    with canvas(WIDTH, height + 96, caption) as figure:
        axes = area(figure, 150, 12, WIDTH - 310, height)
        for y, line in lines.iterrows():
            _dot(axes, line.told, line.difference, line.low, line.high, y)
            text = f"{line.difference:+.2f} [{line.low:+.2f}, {line.high:+.2f}]"
            axes.annotate(text, (1, y), (8, 0), xycoords=axes.get_yaxis_transform(), va="center",
                          textcoords="offset points", fontsize=9)  # fmt: skip
        _rows(axes, list(lines.told))
        _zero(axes)
        axes.set_xlabel(f"difference to being told {against} (dB of PSNR)")
    return figure


def differences_by_degradation(
    table: "pd.DataFrame", told: Sequence[str], against: str, caption: str = ""
) -> "Figure":
    """The same differences for each degradation, of some ways to tell side by side in one row each."""
    names = [name for name in (*NAMES, "overall") if name in set(table.degradation)]
    step = 14 + 13 * len(told)
    with canvas(WIDTH, step * len(names) + 124, caption) as figure:
        axes = area(figure, 150, 40, WIDTH - 180, step * len(names))
        for number, way in enumerate(told):
            lines = table[table.told == way].set_index("degradation").loc[names]
            offset = 0.74 * ((number + 0.5) / len(told) - 0.5)
            for y, (_, line) in enumerate(lines.iterrows()):
                _dot(axes, way, line.difference, line.low, line.high, y + offset, first=y == 0)
        _rows(axes, names)
        _zero(axes)
        for edge in range(1, len(names)):
            axes.axhline(edge - 0.5, color=PALE, linewidth=1)
        axes.set_xlabel(f"difference to being told {against} (dB of PSNR)")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(told), borderpad=0.1,
                    handletextpad=0.3)  # fmt: skip
    return figure


def curves_with_bands(curves: "pd.DataFrame", caption: str = "") -> "Figure":
    """How each variant learns: the mean over seeds and a band from the worst to the best of them.

    `curves` has the columns variant, seed, step and gain (dB), those of `analysis.ablation.Ablation`.
    """
    variants = list(dict.fromkeys(curves.variant))
    with canvas(WIDTH, 360, caption) as figure:
        whole, end = (area(figure, 64 + k * 420, 36, 350, 240) for k in (0, 1))
        for axes in (whole, end):
            for variant in variants:
                color, mark = LOOKS[variant]
                line = MUTED if color == "white" else color
                steps = curves[curves.variant == variant].groupby("step").gain
                low, mean, high = steps.min(), steps.mean(), steps.max()
                axes.fill_between(mean.index, low, high, color=line, alpha=0.16, lw=0)
                axes.plot(mean.index, mean, color=line, marker=mark, markersize=6, linewidth=1.6,
                          markerfacecolor=color, markeredgecolor=INK, markeredgewidth=0.6,
                          label=variant)  # fmt: skip
            axes.set_xlabel("training step")
            axes.grid(axis="y")
        whole.axhline(0, color=MUTED, linestyle=":", linewidth=1.3)
        whole.set(title="The whole training", ylabel="gain in PSNR (dB)")
        late = curves[curves.step >= 0.5 * curves.step.max()]
        room = 0.08 * (late.gain.max() - late.gain.min()) + 1e-3
        end.set(title="Its second half, enlarged", xlim=(late.step.min() - 1, late.step.max() + 1))
        end.set_ylim(late.gain.min() - room, late.gain.max() + room)
        whole.legend(loc="upper left")
    return figure


def seeds_and_photos(
    gains: "pd.DataFrame", table: "pd.DataFrame", against: str, caption: str = ""
) -> "Figure":
    """Every run, and what the runs say of the differences: two intervals, over seeds and over photos.

    Args:
        gains: the mean gain (dB) of each run, a row per seed and a column per variant.
        table: that of `analysis.ablation.compared`.
    """
    height = 46 * len(gains.columns)
    over = {
        "over seeds": {"color": INK, "linewidth": 1.4},
        "over photos": {"color": "#c9c9c9", "linewidth": 4},
    }
    with canvas(WIDTH, height + 122, caption) as figure:
        runs = area(figure, 104, 40, 330, height)
        apart = area(figure, 474, 40, 380, height)
        places = range(len(gains.columns))
        for (seed, line), dashes in zip(gains.iterrows(), cycle(("-", "--", ":"))):
            runs.plot(line, places, color=MUTED, linewidth=1.3, linestyle=dashes, zorder=1,
                      label=f"seed {seed}")  # fmt: skip
        for y, variant in zip(places, gains.columns, strict=True):
            color, mark = LOOKS[variant]
            runs.scatter(gains[variant], [y] * len(gains), c=color, marker=mark, s=46,
                         edgecolors=INK, linewidths=0.8, zorder=2)  # fmt: skip
            if variant == against:
                apart.scatter(0, y, s=46, c=color, marker=mark, edgecolors=INK, linewidths=0.8)
                continue
            line = table.loc[variant]
            apart.hlines(y - 0.14, line.seed_low, line.seed_high, **over["over seeds"])
            apart.hlines(y + 0.18, line.photo_low, line.photo_high, **over["over photos"])
            apart.scatter(gains[variant] - gains[against], [y - 0.14] * len(gains), s=22, c=color,
                          edgecolors=INK, linewidths=0.6, zorder=2)  # fmt: skip
            apart.scatter(line.difference, y + 0.18, s=60, c=color, marker=mark, edgecolors=INK,
                          linewidths=0.8, zorder=3)  # fmt: skip
        for axes in (runs, apart):
            _rows(axes, list(gains.columns))
        _zero(apart)
        apart.set_yticks(places, [""] * len(places))
        runs.set_xlabel("gain in PSNR (dB)")
        runs.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderpad=0.1)
        apart.set_xlabel(f"difference to {against} (dB)")
        for name, look in over.items():
            apart.plot([], [], label=f"95 % {name}", **look)
        apart.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0.1)
    return figure


def explorer(
    pictures: Callable[[str, str], object],
    ways: Sequence[str],
    degradations: Sequence[str],
    say: Callable[[str, str, str], str],
    start: Mapping[str, str],
) -> "ipywidgets.VBox":
    """Two ways to tell a restorer under the slider, for the degradation that one chooses.

    Args:
        pictures: gives the image restored under (way, degradation).
        say: gives the sentence below it, for (left way, right way, degradation).
        start: the first choice of `left`, `right` and `degradation`.
    """
    import ipywidgets

    options = {"left": ways, "right": ways, "degradation": degradations}
    controls = {
        name: ipywidgets.Dropdown(options=list(values), value=start[name], description=name)
        for name, values in options.items()
    }
    sentence = ipywidgets.Label()
    box = ipywidgets.VBox()

    def show(_change=None) -> None:
        left, right, name = (control.value for control in controls.values())
        slider = compare(pictures(left, name), pictures(right, name), labels=(left, right))
        if box.children:
            slider.position = box.children[0].position
        sentence.value = say(left, right, name)
        box.children = (slider, sentence, *controls.values())

    for control in controls.values():
        control.observe(show, names="value")
    show()
    return box


def _dot(
    axes: "Axes", way: str, value: float, low: float, high: float, y: float, first: bool = False
) -> None:
    """A mean and its interval, in the look of what was told."""
    color, mark = LOOKS[way]
    axes.hlines(y, low, high, color=INK, linewidth=1.2, zorder=2)
    axes.scatter(value, y, s=80 if mark == "*" else 46, c=color, marker=mark, edgecolors=INK,
                 linewidths=0.7, zorder=3, label=way if first else None)  # fmt: skip


def _rows(axes: "Axes", names: Sequence[str]) -> None:
    """Names along the left edge, from top to bottom."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _zero(axes: "Axes") -> None:
    axes.axvline(0, color=MUTED, linestyle=":", linewidth=1.3, zorder=1)
