"""The figures that show numbers: each takes data and returns a matplotlib Figure; none computes a result.

A colour always means the same degradation (see `style`).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.degradations.rules import NAMES
from daclip_lab.figures.style import (
    COLORS,
    GAP,
    INK,
    MARKERS,
    MUTED,
    PALE,
    WIDTH,
    area,
    canvas,
    percent,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TEN = 1 / len(NAMES)


def confusion_heatmap(confusion: "pd.DataFrame", n: "pd.Series | Mapping[str, int]") -> "Figure":
    """What was done (rows) against what was answered (columns).

    `confusion` holds shares that sum to 1 in each row, `n` the number of images of each row. Shares are written in
    percent; a cell that never occurs stays blank.
    """
    import seaborn as sns

    caption = (
        "Each row sums to 100 %. A perfect classifier fills the diagonal only; a dark cell beside it "
        "is a habit worth a look."
    )
    cell_width, cell_height = 64, 40
    left, above, below = 204, 32, 118
    wide, high = cell_width * len(confusion.columns), cell_height * len(confusion)
    share = confusion.to_numpy()
    written = np.where(share > 0, np.char.mod("%.0f", 100 * share), "")
    with canvas(left + wide + 40, above + high + below + 24, caption) as figure:
        axes = area(figure, left, above, wide, high)
        sns.heatmap(
            confusion,
            ax=axes,
            annot=written,
            fmt="",
            cmap=sns.light_palette("#1f4e8c", as_cmap=True),
            vmin=0,
            vmax=1,
            mask=share == 0,
            cbar=False,
            linewidths=1,
            linecolor="white",
            annot_kws={"fontsize": 10},
        )
        axes.set_facecolor("#f4f4f4")
        axes.set_xlabel("answer (share of the row, %)", labelpad=8)
        axes.set_ylabel("")
        # Above its names, where a table of a single row has room for it, too.
        axes.annotate("what was done (images)", (0, 1), (-6, 8), xycoords="axes fraction",
                      textcoords="offset points", ha="right")  # fmt: skip
        axes.set_xticks(axes.get_xticks(), list(confusion.columns), rotation=35, ha="right")
        rows = [f"{name} ({n[name]})" for name in confusion.index]
        axes.set_yticks(axes.get_yticks(), rows, rotation=0)
        axes.tick_params(length=0)
    return figure


def embedding_scatter(
    maps: Mapping[str, np.ndarray],
    labels: Sequence[str],
    severity: Sequence[float] | None = None,
) -> "Figure":
    """The same embeddings on one or more maps, side by side, a colour and a marker per degradation.

    `maps` gives coordinates (n, 2) under a title, such as {"UMAP": ..., "PCA": ...}; with `severity` (0..1) a stronger
    degradation is drawn larger.
    """
    labels = np.asarray(labels)
    present = [name for name in COLORS if name in labels]
    sizes = np.full(len(labels), 34.0) if severity is None else 12 + 48 * np.nan_to_num(severity)
    side = (WIDTH - 3 * GAP) // max(2, len(maps)) - 12
    caption = "Each mark is one image. Axes of a map have no unit: look at who is near whom."
    if severity is not None:
        caption += " Larger: more severe."
    with canvas(GAP + len(maps) * (side + 2 * GAP), side + 134, caption) as figure:
        for index, (title, places) in enumerate(maps.items()):
            axes = area(figure, GAP + index * (side + 2 * GAP), 30, side, side)
            for name in present:
                at = labels == name
                axes.scatter(
                    *places[at].T,
                    s=sizes[at],
                    c=COLORS[name],
                    marker=MARKERS[name],
                    edgecolors=INK,
                    linewidths=0.5,
                    alpha=0.85,
                    label=name,
                )
            axes.set(title=title, xticks=(), yticks=())
            axes.margins(0.04)
            axes.spines[:].set(visible=True, color=PALE)
        handles, names = axes.get_legend_handles_labels()
        key = figure.legend(
            handles,
            names,
            ncols=6,
            loc="upper center",
            bbox_to_anchor=(0.5, axes.get_position().y0),
            columnspacing=1.4,
            handletextpad=0.3,
        )
        for handle in key.legend_handles:
            handle.set_sizes([48])
    return figure


def training_curve(
    steps: "pd.DataFrame",
    held_out: "pd.Series",
    *,
    loss_chance: float,
    loss_floor: float = 0.0,
    total: int | None = None,
) -> "Figure":
    """A controller's training: accuracy on photos that it never trains on, and the loss of naming degradations.

    `steps` has a row per step (index: 1, 2, ...) with the column `degradation_loss`; `held_out` gives the accuracy
    (0..1) after some numbers of steps, 0 among them. `total` fixes the width of the axes while training goes on.
    """
    caption = (
        "Left: share of degradations named right, before and during training. "
        "Right: the loss, thin at each step and thick as a running mean."
    )
    end = total or max(len(steps), 1)
    with canvas(WIDTH, 350, caption) as figure:
        accuracy, loss = (area(figure, 72 + k * 444, 36, 340, 230) for k in (0, 1))
        accuracy.plot(held_out.index, held_out, "-o", color=COLORS["raindrop"], markersize=5)
        accuracy.set(ylim=(0, 1), ylabel="named right", title="Accuracy on held-out photos")
        percent(accuracy.yaxis)
        _level(accuracy, TEN, f"chance, {TEN:.0%}", end)
        if len(steps):
            values = steps.degradation_loss
            loss.plot(values.index, values, color=COLORS["raindrop"], alpha=0.3, linewidth=1)
            smooth = values.ewm(span=10).mean()
            loss.plot(values.index, smooth, color=COLORS["raindrop"])
            loss.set_ylim(loss_floor - 0.15, max(values.max(), loss_chance) * 1.08 + 0.1)
        loss.set(ylabel="loss (nats)", title="Loss of the degradation embedding")
        _level(loss, loss_chance, f"chance, {loss_chance:.2f}", end)
        _level(loss, loss_floor, f"floor, {loss_floor:.2f}", end)
        for axes in (accuracy, loss):
            axes.set(xlim=(-0.02 * end, 1.02 * end), xlabel="training step")
            axes.grid(axis="y")
            axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def accuracy_and_gain(table: "pd.DataFrame") -> "Figure":
    """Per degradation: how often it is named right by CLIP and by DA-CLIP, and what restoration gains.

    `table` is that of `analysis.evaluation`: rows are degradations and `overall`; columns `n`, `photos`, and
    `clip_accuracy`, `accuracy` and perhaps `psnr_gain` (dB), each with `_low` and `_high`.
    """
    rows = [name for name in (*NAMES, "overall") if name in table.index]
    shown = table.loc[rows]
    at = np.arange(len(rows))
    restored = "psnr_gain" in table
    photos, n = int(shown.photos.max()), int(shown.n.iloc[0])
    caption = (
        f"Means over {n} images of each degradation; lines: 95 % intervals over {photos} photos."
    )
    height = 30 * len(rows)
    with canvas(WIDTH if restored else 640, height + 118, caption) as figure:
        named = area(figure, 130, 34, 345 if restored else 480, height)
        _intervals(named, shown, "clip_accuracy", at - 0.16, hollow=True)
        _intervals(named, shown, "accuracy", at + 0.16, hollow=False)
        look = {"s": 46, "edgecolors": INK}
        named.scatter([], [], marker="s", c="white", label="CLIP alone", **look)
        named.scatter([], [], marker="o", c=INK, label="DA-CLIP", **look)
        named.axvline(TEN, color=MUTED, linestyle=":", linewidth=1.3, label=f"chance, {TEN:.0%}")
        named.set(xlim=(-0.03, 1.03), xlabel="named right, of ten")
        named.set_yticks(at, rows)
        percent(named.xaxis)
        named.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, borderpad=0.2)
        if restored:
            gain = area(figure, 515, 34, 345, height)
            _intervals(gain, shown, "psnr_gain", at, hollow=False)
            gain.axvline(0, color=MUTED, linestyle=":", linewidth=1.3)
            gain.set(xlabel="gain in PSNR by restoration (dB)")
            gain.set_yticks(at, [""] * len(rows))
            gain.set_title("left of the dotted line: worse than before", fontsize=9)
        for axes in figure.axes:
            axes.set_ylim(len(rows) - 0.4, -0.6)
            axes.grid(axis="x")
            axes.tick_params(axis="y", length=0)
            if rows[-1] == "overall":
                axes.axhline(len(rows) - 1.5, color=MUTED, linewidth=0.8)
    return figure


def _intervals(axes, table: "pd.DataFrame", measure: str, at: np.ndarray, *, hollow: bool) -> None:
    """One dot and one line per row: a mean and its interval."""
    for (name, line), y in zip(table.iterrows(), at, strict=True):
        color = COLORS.get(name, INK)
        low, high = line[f"{measure}_low"], line[f"{measure}_high"]
        axes.plot((low, high), (y, y), color=MUTED if hollow else INK, linewidth=1.4, zorder=2)
        axes.scatter(line[measure], y, s=46, marker="s" if hollow else "o", zorder=3,
                     c="white" if hollow else color, edgecolors=INK, linewidths=1)  # fmt: skip


def _level(axes, value: float, text: str, end: int) -> None:
    """A dotted line across the axes, with its name above its right end."""
    axes.axhline(value, color=MUTED, linestyle=":", linewidth=1.4)
    axes.annotate(text, (end, value), (0, 3), textcoords="offset points", ha="right", va="bottom",
                  fontsize=9, color=MUTED)  # fmt: skip
