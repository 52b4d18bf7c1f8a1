"""Figures of the studies without training: gains by conditioning, one photo restored each way, samplers in a plane."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from daclip_lab.ablation.power import Results
from daclip_lab.ablation.results import StudyResults
from daclip_lab.ablation.statistics import compare, means
from daclip_lab.errors import InputError
from daclip_lab.figures.diffusion import SAMPLERS
from daclip_lab.figures.palette import BLUE, GREY, INK, MUTED, ORANGE, VIOLET
from daclip_lab.figures.primitives import (
    curve,
    legend_below,
    name_rows,
    reference_line,
    strip,
    text_width,
)
from daclip_lab.figures.style import WIDTH, above_caption, area, canvas, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAINS = ("gain at 64 px", "gain at 256 px")
SOURCES = {
    "nothing": "white",
    "plain CLIP": ORANGE,
    "DA-CLIP": BLUE,
    "the truth": INK,
    "something false": GREY,
}
"""Where a conditioning comes from, and its colour."""
ROW = 26
"""Height of a row in pixels."""
WAYS = ("nothing", "CLIP's embedding", "DA-CLIP's embeddings", "true word")
"""The variants of the strip: with the degraded and the clean crop they fill the width of a page."""
GUIDANCE = "guidance, one step"


def source_of(conditioning: str) -> str:
    """Which of `SOURCES` a conditioning, or a variant named after it, comes from."""
    starts = {
        "CLIP's": "plain CLIP",
        "DA-CLIP's": "DA-CLIP",
        "true": "the truth",
        "wrong": "something false",
        "another": "something false",
    }
    return starts.get(conditioning.split(" ", 1)[0], "nothing")


def to_baseline(results: Results, metric: str) -> pd.DataFrame:
    """By variant the mean of a metric, and where the paired difference to the baseline puts it: low and high.

    The interval begins at the mean of the baseline and holds for all comparisons of the study at once; `decided` is
    that of `compare`. The baseline itself has no interval.
    """
    found = means(results.table, metric).set_index("variant")[["mean"]]
    compared = compare(results.table, results.info, metric)
    compared = compared[compared.against == results.info["baseline"]].set_index("variant")
    return found.assign(
        low=compared.mean_against + compared.low_all,
        high=compared.mean_against + compared.high_all,
        decided=compared.decided,
    )


def conditioning_bars(results: Results, metrics: Sequence[str] = GAINS) -> "Figure":
    """The gain under each conditioning as a bar, coloured by where it comes from; a panel for each metric of the table.

    Intervals are those of the paired difference to the baseline (a dotted line), for all comparisons at once; a bar's
    number is bold where that difference is decided. Raises InputError where the table has none of the metrics.
    """
    info, table = results.info, results.table
    metrics = [metric for metric in metrics if metric in set(table.metric)]
    if not metrics:
        raise InputError(f"metrics {', '.join(dict.fromkeys(table.metric))}: wanted a gain")
    names = [v["name"] for v in info["variants"] if v["name"] in set(table.variant)]
    left, height = 20 + int(1.08 * text_width(names)), ROW * len(names)
    wide = (WIDTH - left) // len(metrics) - 56
    caption = (
        f"Mean over photos. Whiskers: difference to “{info['baseline']}” on the same images (dotted line), with"
        " intervals that hold for all comparisons at once with 95 % confidence; bold: decided."
    )
    with canvas(WIDTH, 58 + height + 96, caption) as figure:
        write(figure, 6, 6, info["question"], fontsize=12, weight="bold")
        for number, metric in enumerate(metrics):
            axes = area(figure, left + number * (wide + 56), 58, wide, height)
            axes.set_title(f"{metric} ({info['unit']})", fontsize=10)
            _bars(axes, names, results, metric)
            axes.tick_params(axis="y", labelleft=number == 0)
        present = {source_of(name) for name in names}
        for source, color in SOURCES.items():
            if source in present:
                axes.scatter([], [], marker="s", c=color, edgecolors=INK, label=source)
        legend_below(figure, top=above_caption(figure, caption), columns=len(SOURCES))
    return figure


def _bars(axes: "Axes", names: list[str], results: Results, metric: str) -> None:
    found = to_baseline(results, metric)
    rows = found.reindex(names)
    colors = [SOURCES[source_of(name)] for name in names]
    axes.barh(range(len(names)), rows["mean"], 0.72, color=colors, edgecolor=INK, linewidth=0.8)
    reference_line(axes, 0, vertical=True)
    if results.info["baseline"] in found.index:
        axes.axvline(found["mean"][results.info["baseline"]], color=MUTED, linestyle=":", zorder=3)
    # White around grey, so that they are seen on a bar of any colour.
    for width, color in ((4, "white"), (1.8, MUTED)):
        axes.hlines(range(len(names)), rows.low, rows.high, color=color, linewidth=width, zorder=4)
    for y, row in enumerate(rows.itertuples()):
        sure = row.decided in ("better", "worse")
        text = "" if pd.isna(row.mean) else f"{row.mean + 0.0:.2f}"
        axes.annotate(text, (1, y), (6, 0), va="center", xycoords=axes.get_yaxis_transform(),
                      textcoords="offset pixels", fontsize=9,
                      weight="bold" if sure else "normal")  # fmt: skip
    name_rows(axes, names)


def restored_each_way(
    results: StudyResults,
    crop: str = "lake-low-light",
    variants: Sequence[str] = WAYS,
    seed: int = 0,
    caption: str = "",
) -> "Figure":
    """A crop of a bundled photo: degraded, clean, and as each of some variants restored it.

    Raises InputError for a crop, a variant or a seed that the results do not have.
    """
    names = ["degraded", "clean", *variants]
    images = [results.crop(name, seed, crop) for name in names]
    titles = [textwrap.fill(name, 18) for name in names]
    return strip(images, titles, first=2, caption=caption)


def perception_distortion(results: Results) -> "Figure":
    """The metric that decides (across) against the distance of patches (up): a line for each sampler, one for guidance.

    Marks are numbered by their steps, those of guidance by w. Whiskers are intervals of the paired difference to the
    baseline, for all comparisons at once. The plane is that of Blau and Michaeli, 1711.06077. Raises InputError where
    the table has no metric whose name starts with "distance".
    """
    baseline, unit, gain = (results.info[key] for key in ("baseline", "unit", "metric"))
    metrics = list(dict.fromkeys(map(str, results.table.metric)))
    distance = next((metric for metric in metrics if metric.startswith("distance")), None)
    if distance is None:
        raise InputError(f"metrics {', '.join(metrics)}: wanted a distance beside {gain!r}")
    across, up = (to_baseline(results, metric) for metric in (gain, distance))
    caption = (
        f"Numbers: steps, or w of guidance. Whiskers: difference to “{baseline}” on the same images, with intervals"
        " that hold for all comparisons at once with 95 % confidence. The best place is the lower right corner."
    )
    with canvas(WIDTH, 448, caption) as figure:
        axes = area(figure, 84, 16, WIDTH - 306, 340)
        # The frame fits the marks: whiskers of a few photos would squeeze them.
        axes.scatter(across["mean"], up["mean"], s=0)
        axes.margins(0.12)
        axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
        for name, line in _lines(results.info, list(up.index)).items():
            color, marker = SAMPLERS.get(name, (VIOLET, "P"))
            x, y = across.loc[line.values()], up.loc[line.values()]
            curve(axes, x["mean"], y["mean"], color=color, marker=marker, label=name)
            axes.hlines(y["mean"], x.low, x.high, color=color, linewidth=0.8, alpha=0.6)
            axes.vlines(x["mean"], y.low, y.high, color=color, linewidth=0.8, alpha=0.6)
            for number, place in zip(line, zip(x["mean"], y["mean"], strict=True), strict=True):
                if line[number] != baseline:
                    axes.annotate(f"{number:g}", place, (5, 5), textcoords="offset points",
                                  color=color, fontsize=8)  # fmt: skip
        if baseline in up.index:
            axes.scatter(across["mean"][baseline], up["mean"][baseline], s=150, marker="*",
                         c="white", edgecolors=INK, zorder=5, label=baseline)  # fmt: skip
        axes.set(xlabel=f"{gain} ({unit})  → better", ylabel=f"{distance}  ↓ better")
        axes.grid()
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), labelspacing=0.9)
    return figure


def _lines(info: dict, present: list[str]) -> dict[str, dict[float, str]]:
    """By sampler its variants, by steps; those of guidance, by w. At 1 all lines pass the baseline."""
    lines: dict[str, dict[float, str]] = {}
    for variant in info["variants"]:
        change, name = variant["change"], variant["name"]
        if name in present and "sampler" in change:
            lines.setdefault(change["sampler"], {})[change["steps"]] = name
        elif name in present and "guidance" in change:
            lines.setdefault(GUIDANCE, {})[change["guidance"]] = name
    start = {1: info["baseline"]} if info["baseline"] in present else {}
    return {key: dict(sorted((start | line).items())) for key, line in lines.items()}
