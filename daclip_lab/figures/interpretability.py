"""Figures of what happens inside: block by block and patch by patch.

Towers differ in colour and marker, class token and patch tokens in line style.
"""

from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.figures.palette import BLUE, INK, MUTED, ORANGE
from daclip_lab.figures.primitives import heatmap, legend_below, reference_line
from daclip_lab.figures.style import WIDTH, area, canvas, percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOWERS = {
    "controller": (ORANGE, "D", "controller"),
    "clip": (MUTED, "s", "CLIP alone"),
    "controlled": (BLUE, "o", "CLIP with corrections"),
}
LINES = {"class": "-", "patches": (0, (1, 1.2))}
TOKENS = {"class": "class token", "patches": "mean of the patches"}
MEASURES = {
    "accuracy": "accuracy of a linear probe for the degradation on each block's output, on held-out photos.",
    "cosine": "cosine to CLIP's features of the clean image at the same block, after subtracting the mean image.",
}


def block_curves(
    probes: "pd.DataFrame | None", cosines: "pd.DataFrame | None", *, chance: float
) -> "Figure":
    """Block by block: the accuracy of a degradation probe, and the cosine of the content to that of the clean image.

    Args:
        probes: columns tower, tokens, block (1..n), accuracy (0..1), low, high, those of
            `embeddings.layers.probe_by_block`; None omits the panel.
        cosines: the same with the column cosine (-1..1), those of `embeddings.layers.clean_cosine_by_block`; None omits
            the panel.
        chance: the accuracy of guessing.
    """
    tables = [table for table in (probes, cosines) if table is not None]
    measures = ["accuracy" if "accuracy" in table else "cosine" for table in tables]
    sides = ("Left: ", "Right: ") if len(tables) > 1 else ("Above: ",)
    caption = " ".join(
        side + MEASURES[measure] for side, measure in zip(sides, measures, strict=True)
    )
    blocks = tables[0].block.max()
    with canvas(WIDTH, 420, f"{caption} Lines: 95 % intervals over photos.") as figure:
        for k, (measure, table) in enumerate(zip(measures, tables, strict=True)):
            axes = area(figure, 84 + k * 440, 36, 340, 262)
            _per_block(axes, table, measure)
            if measure == "accuracy":
                reference_line(axes, chance, f"chance, {chance:.0%}")
                axes.set(ylim=(0, 1.02), ylabel="probe accuracy", title="Degradation")
                percent(axes.yaxis)
            else:
                axes.set(ylabel="cosine to the clean image", title="Content")
            axes.set(xlabel="after block", xlim=(0.8, blocks + 0.2))
            axes.set_xticks(range(1, blocks + 1))
            axes.grid(axis="y")
        shown = {tower for table in tables for tower in table.tower}
        for tower, (color, mark, name) in TOWERS.items():
            if tower in shown:
                axes.plot([], [], color=color, marker=mark, markeredgecolor=INK, label=name)
        for tokens, line in LINES.items():
            axes.plot([], [], color=INK, linestyle=line, label=TOKENS[tokens])
        legend_below(figure, top=340, columns=5)
    return figure


def _per_block(axes: "Axes", table: "pd.DataFrame", measure: str) -> None:
    for (tower, tokens), line in table.groupby(["tower", "tokens"], sort=False):
        color, mark, _ = TOWERS[tower]
        # Side by side, so that intervals do not hide each other.
        x = line.block + 0.05 * (list(TOWERS).index(tower) - 1) + 0.02 * (tokens == "class")
        axes.vlines(x, line.low, line.high, color=color, linewidth=1.2, alpha=0.6)
        axes.plot(x, line[measure], marker=mark, markersize=6, color=color, linewidth=1.6,
                  linestyle=LINES[tokens], markeredgecolor=INK, markeredgewidth=0.6)  # fmt: skip


def injection_heatmap(injection: "pd.DataFrame") -> "Figure":
    """Length of the injected corrections for each degradation (row) and block of the frozen tower (column).

    `injection` has the columns label, block and from_block (1..n) and share (length of the correction over that of the
    tokens it is added to), as `embeddings.layers.injection_by_block` makes it.
    """
    table = injection.pivot_table(index="label", columns="block", values="share", sort=False)
    source = injection.groupby("block").from_block.first()
    caption = (
        "Length of the correction, in percent of the length of the tokens that it is added to. The deepest block of "
        "the controller feeds the first block of CLIP."
    )
    wide, high = min(76, 640 // len(table.columns)) * len(table.columns), 30 * len(table)
    with canvas(max(150 + wide + 40, 560), high + 128, caption) as figure:
        axes = area(figure, 150, 34, wide, high)
        heatmap(axes, 100 * table, fmt=".0f", vmin=0)
        axes.set(xlabel="after block of CLIP  (from block of the controller)")
        axes.set_xticks(axes.get_xticks(), [f"{b}  ({source[b]})" for b in table.columns])
        axes.set_title("Injected (%)", pad=10)
    return figure


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """An image (h, w, 3) in [0, 1] in pale grey under its heat (h, w): orange above zero, violet below."""
    strength = np.clip(np.abs(heat) / max(np.quantile(np.abs(heat), 0.98), 1e-12), 0, 1)[..., None]
    grey = 0.35 + 0.5 * image.mean(2, keepdims=True)
    colour = np.where(heat[..., None] > 0, (0.90, 0.38, 0.0), (0.33, 0.15, 0.55))
    return (grey * (1 - 0.8 * strength) + colour * 0.8 * strength).astype(np.float32)
