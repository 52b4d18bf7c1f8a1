"""Zero-shot classification: prompt ensembles, single phrasings, a bias on "clean", temperatures."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from daclip_lab.degradations.registry import in_order
from daclip_lab.figures.palette import BLUE, INK, MUTED, ORANGE, PALE, color_of
from daclip_lab.figures.primitives import Dots, dot_intervals, name_rows, reference_line
from daclip_lab.figures.style import WIDTH, area, canvas, percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

INKS = {"DA-CLIP": BLUE, "CLIP alone": ORANGE}
KINDS = {
    "training": {"marker": "o", "s": 40, "edgecolors": INK, "linewidths": 0.6, "alpha": 0.85},
    "held out": {"marker": "D", "s": 36, "c": "white", "edgecolors": INK, "linewidths": 1.4},
}


def ways_of_asking(table: "pd.DataFrame", against: str, caption: str = "") -> "Figure":
    """The accuracy of some sets of prompts, and on the same images their differences to one of them (`against`).

    `table` has a row per set and the columns value, low, high (shares) and difference, difference_low,
    difference_high (percentage points); dots with 95 % intervals.
    """
    names, height = list(table.index), 34 * len(table)
    columns = {"difference": "value", "difference_low": "low", "difference_high": "high"}
    apart = table[list(columns)].rename(columns=columns).drop(against)
    with canvas(WIDTH, height + 112, caption) as figure:
        accuracy, difference = (area(figure, 208 + k * 345, 30, 315, height) for k in (0, 1))
        dot_intervals(accuracy, names, [Dots(table)])
        accuracy.set(title="Each by itself", xlabel="accuracy")
        percent(accuracy.xaxis)
        dot_intervals(difference, names, [Dots(apart)])
        difference.set(title=f"Difference to “{against}”", yticklabels=[""] * len(names),
                       xlabel="percentage points, image by image")  # fmt: skip
        reference_line(difference, 0, vertical=True)
    return figure


def phrasings(table: "pd.DataFrame", level: float, caption: str = "") -> "Figure":
    """The accuracy over all images when one degradation has a single phrasing as its prompt, a mark for each.

    `table` has the columns degradation, phrasing, kind ("training" or "held out") and accuracy (0..1); `level` is the
    accuracy with all phrasings. The phrasing with the lowest accuracy is written beside its mark.
    """
    names, step = in_order(table.degradation), 32
    with canvas(WIDTH, step * len(names) + 122, caption) as figure:
        axes = area(figure, 130, 40, WIDTH - 160, step * len(names))
        for y, name in enumerate(names):
            part = table[table.degradation == name]
            for kind, look in KINDS.items():
                own = part[part.kind == kind]
                axes.scatter(own.accuracy, [y] * len(own), **{"c": color_of(name)} | look, zorder=3)
            worst = part.loc[part.accuracy.idxmin()]
            axes.annotate(worst.phrasing, (worst.accuracy, y), (-8, 0), va="center", ha="right",
                          textcoords="offset points", fontsize=9, color=INK)  # fmt: skip
            axes.axhline(y + 0.5, color=PALE, linewidth=1)
        for kind, look in KINDS.items():
            axes.scatter([], [], **{"c": MUTED} | look, label=f"{kind} phrasing")
        reference_line(axes, level, vertical=True, label="all phrasings")
        low, high = table.accuracy.min(), max(table.accuracy.max(), level)
        span = max(high - low, 0.01)
        name_rows(axes, names)
        axes.set(xlim=(low - 0.35 * span, high + 0.05 * span), xlabel="accuracy on all images")
        axes.xaxis.get_major_locator().set_params(steps=(1, 2, 5, 10))
        percent(axes.xaxis)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderpad=0.2)
    return figure


def alarms_and_misses(curves: Mapping[str, "pd.DataFrame"], caption: str = "") -> "Figure":
    """False alarms on clean images against misses on degraded ones, as a bias on the logit of "clean" grows.

    `curves` holds for "DA-CLIP" and "CLIP alone" a row per bias (the index, in nats) with the columns alarms and misses
    (shares); rows that also have alarms_low, alarms_high, misses_low, misses_high (else NaN) are marked with their 95 %
    intervals, and their bias is written beside the mark.
    """
    with canvas(560, 496, caption) as figure:
        axes = area(figure, 76, 18, 460, 390)
        for name, curve in curves.items():
            axes.plot(curve.alarms, curve.misses, color=INKS[name], linewidth=1.6, label=name)
            marked = curve.dropna()
            axes.hlines(marked.misses, marked.alarms_low, marked.alarms_high, color=INK, lw=1.2)
            axes.vlines(marked.alarms, marked.misses_low, marked.misses_high, color=INK, lw=1.2)
            axes.scatter(marked.alarms, marked.misses, s=46, c=INKS[name], edgecolors=INK, zorder=3)
            for bias, line in marked.iterrows():
                axes.annotate(f"{bias:+g}" if bias else "0", (line.alarms, line.misses), (6, 5),
                              textcoords="offset points", fontsize=9)  # fmt: skip
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set_xlabel("false alarms: clean images classified as degraded")
        axes.set_ylabel("misses: degraded images classified as clean")
        for axis in (axes.xaxis, axes.yaxis):
            percent(axis)
        axes.grid()
        axes.legend(loc="upper right")
    return figure


def temperatures(
    curves: "pd.DataFrame", fitted: Mapping[str, float], guessing: float, caption: str = ""
) -> "Figure":
    """The mean cross-entropy (nats) over the temperature that divides the logits; a star at the best one.

    `curves` has the temperatures as its index and the columns "DA-CLIP" and "CLIP alone", `fitted` the best of each;
    `guessing` is the loss of equal probabilities for all labels. What is far above it is cut off.
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
        reference_line(axes, 1, vertical=True)
        axes.axhline(guessing, color=MUTED, linestyle="--", linewidth=1.2, label="guessing")
        axes.grid(axis="y")
        axes.legend(loc="lower right")
    return figure
