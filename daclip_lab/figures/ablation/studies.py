"""Figures of studies: what each variant reaches, how far that is from the baseline, and what is decided."""

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from daclip_lab.ablation.findings import amount, guidance, unit_of
from daclip_lab.ablation.power import Results
from daclip_lab.ablation.statistics import (
    better,
    compare,
    compare_by_degradation,
    means,
    seed_means,
)
from daclip_lab.degradations.registry import in_order
from daclip_lab.errors import InputError
from daclip_lab.figures.palette import BLUE, GREY, INK, MUTED, ORANGE, PALE_BLUE, looks
from daclip_lab.figures.primitives import (
    curve,
    heatmap,
    legend_below,
    name_rows,
    reference_line,
    text_width,
)
from daclip_lab.figures.style import WIDTH, above_caption, area, canvas, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DECIDED = {"better": BLUE, "worse": ORANGE, "not decided": GREY}
ROW = 26
"""Height of a row in pixels."""
COLUMNS = 30
"""Columns of a heat map at most."""
AXES = ("degradation", "metric", "seed", "photo")
"""What the columns of a heat map can be."""


def study_figure(results: Results, metric: str | None = None) -> "Figure":
    """The mean of each variant with each seed as a dot, and beside it the paired difference to the baseline.

    Differences are drawn with the intervals that hold for all comparisons at once; those that are decided are in colour
    and bold. Comparisons other than with the baseline stand below. `metric` is that which decides, unless given.
    """
    info, table = results.info, results.table
    metric = metric or info["metric"]
    unit = unit_of(metric, info)
    compared, mean = compare(table, info, metric), means(table, metric).set_index("variant")
    names = [v["name"] for v in info["variants"] if v["name"] in mean.index]
    to_baseline = compared[compared.against == info["baseline"]].set_index("variant")
    others = compared[compared.against != info["baseline"]]
    left = max(150, min(330, _left(names)))
    wide = (WIDTH - left - 24) // 2 - 62
    second = left + wide + 24
    pairs = [textwrap.shorten(f"{one} − {other}", (second - 20) // 7, placeholder=" …")
             for one, other in zip(others.variant, others.against, strict=True)]  # fmt: skip
    top, height = 58, ROW * len(names)
    below = top + height + 52
    caption = _caption(compared, metric)
    total = (below + ROW * len(pairs) + 44 if pairs else top + height + 40) + 46
    with canvas(WIDTH, total, caption) as figure:
        write(figure, 6, 6, info["question"], fontsize=12, weight="bold")
        axes = area(figure, left, top, wide, height)
        axes.set_title(f"{metric} ({unit})" if unit else metric, fontsize=10)
        _means(axes, names, mean, seed_means(table, metric))
        beside = area(figure, second, top, wide, height)
        beside.set_title(f"difference to “{info['baseline']}”", fontsize=10)
        _differences(beside, names, to_baseline, unit)
        beside.tick_params(axis="y", labelleft=False)
        if pairs:
            under = area(figure, second, below, wide, ROW * len(pairs))
            under.set_title("other comparisons", fontsize=10)
            _differences(under, pairs, others.set_axis(pairs), unit)
            limits = [axes.get_xlim() for axes in (beside, under)]
            for axes in (beside, under):
                axes.set_xlim(min(low for low, _ in limits), max(high for _, high in limits))
        last = figure.axes[-1]
        sides = "← worse        better →" if better(1, metric) else "← better        worse →"
        last.set_xlabel(sides, fontsize=9, color=MUTED)
        for label, color in DECIDED.items():
            last.scatter([], [], s=46, c=color, edgecolors=INK, linewidths=0.8, label=label)
        legend_below(figure, top=above_caption(figure, caption), columns=3)
    return figure


def _means(axes: "Axes", names: list[str], mean: pd.DataFrame, by_seed: pd.DataFrame) -> None:
    rows = mean.loc[names]
    places = np.arange(len(names))
    axes.hlines(places, rows.low, rows.high, color=INK, linewidth=1.4, zorder=2)
    if by_seed.shape[1] > 1:
        for values in by_seed.loc[names].to_numpy().T:
            axes.scatter(values, places, s=14, color=PALE_BLUE, edgecolors="none", zorder=3)
    axes.scatter(rows["mean"], places, s=46, marker="|", color=INK, linewidths=2.4, zorder=4)
    name_rows(axes, names)


def _differences(axes: "Axes", names: list[str], compared: pd.DataFrame, unit: str) -> None:
    """Dots with intervals, and the numbers to the right; a name without a comparison is the baseline's."""
    reference_line(axes, 0, vertical=True)
    look = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset pixels", "va": "center",
            "fontsize": 9}  # fmt: skip
    for y, name in enumerate(names):
        if name not in compared.index:
            axes.annotate("baseline", (1, y), (6, 0), color=MUTED, **look)
            continue
        row = compared.loc[name]
        color, sure = DECIDED[row.decided], row.decided != "not decided"
        axes.hlines(y, row.low_all, row.high_all, color=INK if sure else MUTED,
                    linewidth=2 if sure else 1.2, zorder=2)  # fmt: skip
        axes.scatter(row.difference, y, s=46, c=color, edgecolors=INK, linewidths=0.8, zorder=3)
        axes.annotate(amount(row.difference, unit), (1, y), (6, 0), color=INK if sure else MUTED,
                      weight="bold" if sure else "normal", **look)  # fmt: skip
    name_rows(axes, names)


def _caption(compared: pd.DataFrame, metric: str) -> str:
    if compared.empty:
        return "Fewer than two variants have results."
    seeds, photos = compared.seeds.min(), compared.photos.min()
    dots = f"; pale dots: seeds ({seeds})" if seeds > 1 else ""
    return (
        f"Left: mean over {photos} photos with its own 95 % interval{dots}. Right: differences,"
        f" paired by image and seed, so that what photos share cancels; intervals hold for all {len(compared)}"
        " comparisons at once with 95 % confidence, and a difference is decided (bold) where its interval leaves out 0."
    )


def heat_map(
    table: pd.DataFrame, rows: str, columns: str, metric: str, against: str = ""
) -> "Figure":
    """A number with its 95 % interval in each cell: means, or paired differences to a variant.

    Args:
        table: the columns `ablation.results.COLUMNS`.
        rows, columns: "variant" and one of "degradation", "metric", "seed", "photo", in either order.
        metric: what the cells hold, unless it is an axis.
        against: the variant to subtract; "" shows the means. Intervals of differences then hold for all degradations,
            else for each column, at once, and cells whose interval holds 0 are white.

    Raises InputError for other axes.
    """
    axis = columns if rows == "variant" else rows
    if {rows, columns} != {"variant", axis} or axis not in AXES:
        raise InputError(f"axes {rows!r}, {columns!r}: use 'variant' and one of {', '.join(AXES)}")
    cells = _cells(table, axis, metric, against)
    names = {"variant": list(dict.fromkeys(table.variant.astype(str))),
             axis: list(dict.fromkeys(cells[axis]))}  # fmt: skip
    if axis == "degradation":
        names[axis] = list(in_order(names[axis]))
    grid = {
        key: cells.pivot(index=rows, columns=columns, values=key)
        for key in ("value", "text", "decided")
    }
    present = [name for name in names[rows] if name in grid["value"].index]
    grid = {key: part.reindex(present, columns=names[columns]) for key, part in grid.items()}
    grid["value"] = grid["value"].astype(float)
    more = max(0, grid["value"].shape[1] - COLUMNS)
    values, texts, decided = (grid[key].iloc[:, :COLUMNS] for key in ("value", "text", "decided"))
    left, count = _left(present), values.shape[1]
    wide = max(44, (WIDTH - left - 12) // count)
    notes = [f"{metric}: " if axis != "metric" else "", "mean", "; ± half of the 95 % interval"]
    if against:
        notes[1] = f"difference to “{against}”, paired by image and seed; white: not decided"
    if more:
        notes.append(f"; {more} more columns are left out")
    heads = [textwrap.fill(str(name), max(6, wide // 6), break_long_words=False) for name in values]
    top = 20 + 14 * max(head.count("\n") + 1 for head in heads)
    size = max(WIDTH, left + wide * count + 12), top + 36 * len(present) + 34
    with canvas(*size, f"{''.join(notes)}.") as figure:
        axes = area(figure, left, top, wide * count, 36 * len(present))
        look = {"texts": texts.fillna(""), "annot_kws": {"fontsize": 8}}
        if against:
            shown = values.where(decided != "not decided", 0.0)
            reach = float(np.nanmax(np.abs(shown.to_numpy()), initial=0.0)) or 1.0
            heatmap(axes, shown, cmap=_diverging(), vmin=-reach, vmax=reach, **look)
        else:
            heatmap(axes, values, **look)
        axes.xaxis.tick_top()
        axes.set_xticks(axes.get_xticks(), heads, rotation=0, fontsize=8)
    return figure


def _cells(table: pd.DataFrame, axis: str, metric: str, against: str) -> pd.DataFrame:
    """Columns variant, `axis`, value, text and decided ("" for means)."""
    table = table.astype({"variant": str})
    pairs = [(name, against) for name in dict.fromkeys(table.variant) if name != against]
    if against and axis == "degradation":
        found = compare_by_degradation(table, pairs, metric)
    else:
        parts = []
        for name in dict.fromkeys(table[axis]):
            part, of = table[table[axis] == name], str(name) if axis == "metric" else metric
            if of in set(part.metric):
                made = compare(part, pairs, of) if against else means(part, of)
                parts.append(made.assign(**{axis: str(name)}))
        found = pd.concat(parts)
    value = "difference" if against else "mean"
    low, high = ("low_all", "high_all") if against else ("low", "high")
    reaches = (found[high] - found[low]) / 2
    texts = [
        f"{round(number, 2) + 0.0:{'+' if against else ''}.2f}"
        + ("" if np.isnan(reach) else f"\n± {reach:.2f}")
        for number, reach in zip(found[value], reaches, strict=True)
    ]
    decided = found.decided if against else ""
    found = found.assign(value=found[value], text=texts, decided=decided)
    return found[["variant", axis, "value", "text", "decided"]]


def guidance_curve(results: Results) -> "Figure":
    """What guidance of strength w changes against w = 1 (none), for each variant and metric measured under it.

    Metrics are named like "gain at 64 px, w = 1.5"; the same without w counts as w = 1. Intervals hold for all
    strengths of a curve at once. Raises InputError where no metric names a strength.
    """
    found = guidance(results.table)
    if found.empty:
        raise InputError(
            "nothing was measured under guidance: no metric ends in ', w = ' and a number"
        )
    panels = list(dict.fromkeys(found.metric))
    known = [variant["name"] for variant in results.info["variants"]]
    names = [name for name in known if name in set(found["name"])]
    wide = (WIDTH - 70 * len(panels) - 14) // len(panels)
    caption = (
        "The restorer predicts u + w (c − u), with u the prediction without the condition and c with it. Differences"
        " are paired by image and seed; intervals hold for all points of a curve at once with 95 % confidence."
    )
    with canvas(WIDTH, 332, caption) as figure:
        for number, metric in enumerate(panels):
            axes = area(figure, 72 + number * (wide + 70), 30, wide, 200)
            unit = unit_of(metric, results.info)
            title = f"{metric}: difference to w = 1{f' ({unit})' if unit else ''}"
            axes.set(title=title, xlabel="strength of guidance, w")
            axes.grid(axis="y")
            reference_line(axes, 0)
            for name, (color, marker) in zip(names, looks(names).values(), strict=True):
                part = found[(found["name"] == name) & (found.metric == metric)]
                curve(axes, part.w, part.difference, part.low_all, part.high_all, color=color,
                      marker=marker, label=name)  # fmt: skip
        legend_below(figure, top=above_caption(figure, caption), columns=3)
    return figure


def _left(names: list[str]) -> int:
    """Where axes begin whose rows have these names, in pixels."""
    return 20 + int(1.08 * text_width(names))


def _diverging():
    import seaborn as sns

    return sns.blend_palette([ORANGE, "white", BLUE], as_cmap=True)
