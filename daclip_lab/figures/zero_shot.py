"""Figures of asking with words: ways of asking, single phrasings, the bias on "clean", temperatures.

Each function takes data and returns a matplotlib Figure; none computes a result.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from daclip_lab.data.training_pairs import LABELS
from daclip_lab.figures.style import COLORS, INK, MUTED, PALE, WIDTH, area, canvas, percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INKS = {"DA-CLIP": "#1f4e8c", "CLIP alone": "#c2570c"}
KINDS = {
    "training": {"marker": "o", "s": 40, "edgecolors": INK, "linewidths": 0.6, "alpha": 0.85},
    "held out": {"marker": "D", "s": 36, "c": "white", "edgecolors": INK, "linewidths": 1.4},
}


def ways_of_asking(table: "pd.DataFrame", against: str, caption: str = "") -> "Figure":
    """The accuracy of some ways of asking, and on the same images their differences to one of them (`against`).

    `table` has a row per way and the columns value, low, high (shares) and difference, difference_low,
    difference_high (percentage points); dots with 95 % intervals.
    """
    names = list(table.index)
    height = 34 * len(names)
    with canvas(WIDTH, height + 112, caption) as figure:
        accuracy, difference = (area(figure, 208 + k * 345, 30, 315, height) for k in (0, 1))
        for y, (name, line) in enumerate(table.iterrows()):
            _dot(accuracy, line.value, line.low, line.high, y)
            if name != against:
                _dot(difference, line.difference, line.difference_low, line.difference_high, y)
        difference.axvline(0, color=MUTED, linestyle=":", linewidth=1.4)
        accuracy.set(title="Each by itself", xlabel="named right")
        percent(accuracy.xaxis)
        difference.set(
            title=f"Difference to “{against}”", xlabel="percentage points, image by image"
        )
        for axes, labels in ((accuracy, names), (difference, [""] * len(names))):
            axes.set_yticks(range(len(names)), labels)
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x")
    return figure


def phrasings(table: "pd.DataFrame", level: float, caption: str = "") -> "Figure":
    """The accuracy over all images when one degradation is asked for with a single phrasing, a mark for each.

    `table` has the columns degradation, phrasing, kind ("training" or "held out") and accuracy (0..1); `level` is the
    accuracy with all phrasings. The phrasing that does worst for a degradation is written beside its mark.
    """
    names = [name for name in LABELS if name in set(table.degradation)]
    step = 32
    with canvas(WIDTH, step * len(names) + 122, caption) as figure:
        axes = area(figure, 130, 40, WIDTH - 160, step * len(names))
        for y, name in enumerate(names):
            part = table[table.degradation == name]
            for kind, look in KINDS.items():
                own = part[part.kind == kind]
                axes.scatter(own.accuracy, [y] * len(own), **{"c": COLORS[name]} | look, zorder=3)
            worst = part.loc[part.accuracy.idxmin()]
            axes.annotate(worst.phrasing, (worst.accuracy, y), (-8, 0), va="center", ha="right",
                          textcoords="offset points", fontsize=9, color=INK)  # fmt: skip
            axes.axhline(y + 0.5, color=PALE, linewidth=1)
        for kind, look in KINDS.items():
            axes.scatter([], [], **{"c": MUTED} | look, label=f"{kind} phrasing")
        axes.axvline(level, color=MUTED, linestyle=":", linewidth=1.4, label="all phrasings")
        low, high = table.accuracy.min(), max(table.accuracy.max(), level)
        room = max(high - low, 0.01)
        axes.set(xlim=(low - 0.35 * room, high + 0.05 * room), ylim=(len(names) - 0.5, -0.5))
        axes.set_xlabel("named right, of all images and all answers")
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.get_major_locator().set_params(steps=(1, 2, 5, 10))
        percent(axes.xaxis)
        axes.grid(axis="x")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderpad=0.2)
    return figure


def alarms_and_misses(curves: Mapping[str, "pd.DataFrame"], caption: str = "") -> "Figure":
    """Clean images that are called degraded against degraded ones that are called clean, as a bias on "clean" grows.

    `curves` holds for "DA-CLIP" and "CLIP alone" a row per bias (the index, in nats) with the columns alarms and misses
    (shares); rows that also have alarms_low, alarms_high, misses_low, misses_high (else NaN) are marked with their 95 %
    intervals, and their bias is written beside the mark.
    """
    with canvas(560, 496, caption) as figure:
        axes = area(figure, 76, 18, 460, 390)
        for name, curve in curves.items():
            ink = INKS[name]
            axes.plot(curve.alarms, curve.misses, color=ink, linewidth=1.6, label=name)
            marked = curve.dropna()
            axes.hlines(marked.misses, marked.alarms_low, marked.alarms_high, color=INK, lw=1.2)
            axes.vlines(marked.alarms, marked.misses_low, marked.misses_high, color=INK, lw=1.2)
            axes.scatter(marked.alarms, marked.misses, s=46, c=ink, edgecolors=INK, zorder=3)
            for bias, line in marked.iterrows():
                axes.annotate(f"{bias:+g}" if bias else "0", (line.alarms, line.misses), (6, 5),
                              textcoords="offset points", fontsize=9)  # fmt: skip
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set_xlabel("false alarms: clean images called degraded")
        axes.set_ylabel("misses: degraded images called clean")
        for axis in (axes.xaxis, axes.yaxis):
            percent(axis)
        axes.grid()
        axes.legend(loc="upper right")
    return figure


def temperatures(
    curves: "pd.DataFrame", fitted: Mapping[str, float], guessing: float, caption: str = ""
) -> "Figure":
    """The mean loss (nats) of the right answers over the temperature that divides the logits; a star at the best one.

    `curves` has the temperatures as its index and the columns "DA-CLIP" and "CLIP alone", `fitted` the best of each;
    `guessing` is the loss of an answer that holds all labels equally likely. What is far above it is cut off.
    """
    with canvas(560, 344, caption) as figure:
        axes = area(figure, 76, 18, 460, 240)
        for name in curves:
            axes.plot(curves.index, curves[name], color=INKS[name], label=name)
            nearest = abs(curves.index.to_numpy() - fitted[name]).argmin()
            axes.scatter(fitted[name], curves[name].iloc[nearest], s=170, marker="*",
                         c=INKS[name], edgecolors=INK, zorder=3)  # fmt: skip
        axes.set(xscale="log", xlabel="temperature", ylabel="loss (nats)")
        ticks = (0.25, 0.5, 1, 2, 4, 8, 16)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks((), minor=True)
        axes.set_xlim(curves.index[0], curves.index[-1])
        axes.set_ylim(0, 1.5 * guessing)
        axes.axvline(1, color=MUTED, linestyle=":", linewidth=1.4)
        axes.axhline(guessing, color=MUTED, linestyle="--", linewidth=1.2, label="guessing")
        axes.grid(axis="y")
        axes.legend(loc="lower right")
    return figure


def _dot(axes: "Axes", value: float, low: float, high: float, y: float) -> None:
    """A dot with its 95 % interval."""
    axes.plot((low, high), (y, y), color=INK, linewidth=1.4, zorder=2)
    axes.scatter(value, y, s=46, color=INKS["DA-CLIP"], edgecolors=INK, zorder=3)
