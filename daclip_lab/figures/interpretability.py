"""The figures that look inside: block by block, patch by patch, and what steering does. Each takes data, computes none.

A colour always means the same degradation (see `style`); towers and strategies are told apart by ink, marker and line.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.figures.style import (
    COLORS,
    GAP,
    INK,
    MUTED,
    PALE,
    WIDTH,
    area,
    canvas,
    percent,
    picture,
    pixels_of,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from daclip_lab.embeddings.attribution import Attribution

TOWERS = {
    "controller": ("#c2570c", "D", "controller"),
    "plain": (MUTED, "s", "CLIP alone"),
    "controlled": ("#1f4e8c", "o", "CLIP with corrections"),
}
LINES = {"class": "-", "patches": (0, (1, 1.2))}
TOKENS = {"class": "class token", "patches": "mean of the patches"}


def readable_and_repaired(
    readability: "pd.DataFrame | None", repair: "pd.DataFrame | None", *, chance: float
) -> "Figure":
    """Block by block: how well the degradation can be read, and how near the content is to the clean image's.

    The tables are those of `analysis.layers`; the panel of one that is None stays away. `chance` is the share that
    guessing reads right.
    """
    tables = [table for table in (readability, repair) if table is not None]
    told = {
        "accuracy": "a linear probe reads the degradation off each block's output (photos that it never saw).",
        "cosine": "cosine to what CLIP makes of the clean image at the same block, the mean image taken off.",
    }
    sides = ("Left: ", "Right: ") if len(tables) > 1 else ("Above: ",)
    measures = ["accuracy" if "accuracy" in table else "cosine" for table in tables]
    caption = " ".join(side + told[measure] for side, measure in zip(sides, measures, strict=True))
    blocks = tables[0].block.max()
    with canvas(WIDTH, 420, f"{caption} Lines: 95 % intervals over photos.") as figure:
        for k, (measure, table) in enumerate(zip(measures, tables, strict=True)):
            axes = area(figure, 84 + k * 440, 36, 340, 262)
            _per_block(axes, table, measure)
            if measure == "accuracy":
                axes.axhline(chance, color=MUTED, linestyle=":", linewidth=1.3)
                axes.annotate(f"guessing, {chance:.0%}", (1, chance), (0, 3), fontsize=9,
                              textcoords="offset points", color=MUTED, va="bottom")  # fmt: skip
                axes.set(ylim=(0, 1.02), ylabel="degradation read right",
                         title="Where it becomes readable")  # fmt: skip
                percent(axes.yaxis)
            else:
                axes.set(ylabel="cosine to the clean image", title="Where the content is repaired")
            axes.set(xlabel="behind block", xlim=(0.8, blocks + 0.2))
            axes.set_xticks(range(1, blocks + 1))
            axes.grid(axis="y")
        shown = {tower for table in tables for tower in table.tower}
        handles = [
            axes.plot([], [], color=color, marker=mark, markeredgecolor=INK, label=name)[0]
            for tower, (color, mark, name) in TOWERS.items()
            if tower in shown
        ]
        handles += [
            axes.plot([], [], color=INK, linestyle=line, label=TOKENS[tokens])[0]
            for tokens, line in LINES.items()
        ]
        figure.legend(handles=handles, ncols=5, loc="upper center", columnspacing=1.4,
                      bbox_to_anchor=(0.5, axes.get_position().y0 - 0.1))  # fmt: skip
    return figure


def _per_block(axes, table: "pd.DataFrame", measure: str) -> None:
    for (tower, tokens), line in table.groupby(["tower", "tokens"], sort=False):
        color, mark, _ = TOWERS[tower]
        # Side by side, so that intervals do not hide each other.
        x = line.block + 0.05 * (list(TOWERS).index(tower) - 1) + 0.02 * (tokens == "class")
        axes.vlines(x, line.low, line.high, color=color, linewidth=1.2, alpha=0.6)
        axes.plot(x, line[measure], marker=mark, markersize=6, color=color, linewidth=1.6,
                  linestyle=LINES[tokens], markeredgecolor=INK, markeredgewidth=0.6)  # fmt: skip


def injection_heatmap(injection: "pd.DataFrame") -> "Figure":
    """How long the injected corrections are, for each degradation (row) and block of the frozen tower (column).

    The table is that of `analysis.layers.injection`.
    """
    import seaborn as sns

    table = injection.pivot_table(index="label", columns="block", values="share", sort=False)
    source = injection.groupby("block").from_block.first()
    caption = (
        "Length of the correction, in percent of the length of the tokens that it is added to. The deepest block of "
        "the controller feeds the first block of CLIP."
    )
    cell_width = min(76, 640 // len(table.columns))
    wide, high = cell_width * len(table.columns), 30 * len(table)
    with canvas(max(150 + wide + 40, 560), high + 128, caption) as figure:
        axes = area(figure, 150, 34, wide, high)
        sns.heatmap(
            100 * table,
            ax=axes,
            annot=True,
            fmt=".0f",
            cmap=sns.light_palette("#1f4e8c", as_cmap=True),
            vmin=0,
            cbar=False,
            linewidths=1,
            linecolor="white",
            annot_kws={"fontsize": 10},
        )
        axes.set(xlabel="behind block of CLIP  (from block of the controller)", ylabel="")
        axes.set_xticks(axes.get_xticks(), [f"{b}  ({source[b]})" for b in table.columns])
        axes.set_yticks(axes.get_yticks(), list(table.index), rotation=0)
        axes.set_title("Injected (%)", pad=10)
        axes.tick_params(length=0)
    return figure


def attribution_overlays(
    images: Sequence, attributions: Sequence["Attribution"], *, zoom: int = 1
) -> "Figure":
    """Images, and below each the patches that speak for its name (orange) or against it (violet)."""
    seen = [pixels_of(image) for image in images]
    height = max(image.shape[0] for image in seen) * zoom
    width = max(image.shape[1] for image in seen) * zoom
    columns = max(1, min(len(seen), (WIDTH - GAP) // (width + GAP)))
    rows = -(-len(seen) // columns)
    tall = 2 * height + 52
    caption = (
        "Orange patches speak for the answer, violet ones against it; the stronger the colour, the more. The number "
        "is the answer's probability."
    )
    with canvas(GAP + columns * (width + GAP), rows * tall + 30, caption) as figure:
        for index, (image, found) in enumerate(zip(seen, attributions, strict=True)):
            row, column = divmod(index, columns)
            x, y = GAP + column * (width + GAP), 24 + row * tall
            axes = picture(figure, image, x, y, zoom)
            axes.set_title(f"{found.label}, {np.exp(found.end):.0%}", fontsize=10, pad=4)
            picture(figure, overlay(image, found.heat.numpy()), x, y + height + 4, zoom)
    return figure


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """An image (h, w, 3) in pale grey under the colours of its heat (h, w): orange above zero, violet below."""
    strength = np.clip(np.abs(heat) / max(np.quantile(np.abs(heat), 0.98), 1e-12), 0, 1)[..., None]
    grey = 0.35 + 0.5 * image.mean(2, keepdims=True)
    colour = np.where(heat[..., None] > 0, (0.90, 0.38, 0.0), (0.33, 0.15, 0.55))
    return (grey * (1 - 0.8 * strength) + colour * 0.8 * strength).astype(np.float32)


def steering_heatmap(table: "pd.DataFrame") -> "Figure":
    """What the restorer gains when it is told a word (column) where a degradation was done (row), in dB of PSNR.

    The table is that of `analysis.arithmetic.steering_table`.
    """
    import seaborn as sns

    others = ["own", "negated", "nothing"]
    words = [name for name in table.columns if name not in others]
    caption = (
        "Blue: nearer to the clean photo than before; red: further away. A dark frame marks the word for what was "
        "really done. Right: the image's own embedding, its opposite, and neither of the two embeddings."
    )
    cell_width, cell_height, left = 47, 32, 136
    high = cell_height * len(table)
    look = {
        "annot": True,
        "fmt": ".1f",
        "cmap": sns.diverging_palette(14, 250, s=85, l=45, as_cmap=True),
        "vmin": -10,
        "vmax": 10,
        "cbar": False,
        "linewidths": 1,
        "linecolor": "white",
        "annot_kws": {"fontsize": 9},
    }
    wide = cell_width * len(words)
    with canvas(left + wide + 14 + 3 * 52 + 20, high + 184, caption) as figure:
        told = area(figure, left, 36, wide, high)
        rest = area(figure, left + wide + 14, 36, 3 * 52, high)
        shown = table.round(1) + 0.0  # no "-0.0"
        sns.heatmap(shown[words], ax=told, **look)
        sns.heatmap(shown[others], ax=rest, **look)
        for row, name in enumerate(table.index):
            if name in words:
                told.add_patch(_frame(words.index(name), row))
        told.set_xticks(told.get_xticks(), words, rotation=40, ha="right")
        told.set_yticks(told.get_yticks(), list(table.index), rotation=0)
        told.set(xlabel="", ylabel="what was done")
        rest.set(xlabel="", ylabel="", yticks=())
        rest.set_xticks(rest.get_xticks(), others, rotation=40, ha="right")
        told.set_title("Gain in PSNR (dB) when the restorer is told ...", pad=8)
        for axes in (told, rest):
            axes.tick_params(length=0)
    return figure


def _frame(column: int, row: int):
    from matplotlib.patches import Rectangle

    return Rectangle((column, row), 1, 1, fill=False, edgecolor=INK, linewidth=2, clip_on=False)


def mixture_gains(table: "pd.DataFrame", strategies: Mapping[str, str]) -> "Figure":
    """What helps against two degradations at once: a dot and a 95 % interval for each pair and strategy.

    The table is that of `analysis.arithmetic.mixture_table`; `strategies` says which to show, and in what words.
    """
    marks = ("o", "s", "D", "^", "v", "P", "X", "*")
    inks = ("#1f4e8c", MUTED, "#c2570c", INK, "#8a6fb0", "#007662", "#b08a00", "#761400")
    pairs = list(dict.fromkeys(table.pair))
    step = 14 * len(strategies) + 16
    caption = (
        "Means over crops that carry both degradations; lines: 95 % intervals over photos. Left of the dotted line: "
        "worse than before."
    )
    with canvas(WIDTH, step * len(pairs) + 112, caption) as figure:
        axes = area(figure, 204, 34, WIDTH - 464, step * len(pairs))
        for number, (key, words) in enumerate(strategies.items()):
            lines = table[table.strategy == key].set_index("pair").loc[pairs]
            y = np.arange(len(pairs)) + 0.8 * ((number + 0.5) / len(strategies) - 0.5)
            axes.hlines(y, lines.low, lines.high, color=inks[number], linewidth=1.4)
            axes.scatter(lines.gain, y, s=42, marker=marks[number], c=inks[number], zorder=3,
                         edgecolors=INK, linewidths=0.6, label=words)  # fmt: skip
        for edge in range(1, len(pairs)):
            axes.axhline(edge - 0.5, color=PALE, linewidth=1)
        axes.axvline(0, color=MUTED, linestyle=":", linewidth=1.3)
        axes.set(xlabel="gain in PSNR (dB)", ylim=(len(pairs) - 0.5, -0.5))
        axes.set_yticks(range(len(pairs)), pairs)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), title="told", alignment="left")
    return figure


def between_strip(
    degraded,
    restored: Sequence,
    shares: Sequence[float],
    gain: Sequence[float],
    ends: Sequence[str],
) -> "Figure":
    """Restorations of one image on the way from one degradation embedding to another, and their gain in PSNR (dB).

    `shares` (0..1) say how far on the way each is, and `ends` name where it starts and where it ends.
    """
    height, width = pixels_of(degraded).shape[:2]
    step, first = width + GAP, width + 3 * GAP
    whole = first + len(restored) * step
    caption = (
        f"Left: the degraded image. Then its restorations, told {ends[0]} (0 %), {ends[1]} (100 %) and what lies "
        "between. Below: what each gains over the degraded image."
    )
    with canvas(whole, height + 240, caption) as figure:
        picture(figure, degraded, GAP, 26).set_title("degraded", fontsize=10, pad=4)
        for index, (image, share) in enumerate(zip(restored, shares, strict=True)):
            axes = picture(figure, image, first + index * step, 26)
            axes.set_title(f"{share:.0%}", fontsize=10, pad=4)
        # Each point lies below its picture where the shares are even.
        curve = area(figure, first + width // 2, height + 44, (len(restored) - 1) * step, 120)
        curve.plot(shares, gain, color=MUTED, zorder=1)
        curve.scatter(shares, gain, c=INK, s=30, zorder=2)
        for name, place in zip(ends, (0, -1), strict=True):
            curve.scatter(shares[place], gain[place], s=80, c=COLORS.get(name, INK), zorder=3,
                          edgecolors=INK, clip_on=False)  # fmt: skip
        curve.axhline(0, color=MUTED, linestyle=":", linewidth=1.3)
        curve.set(xlabel=f"share of the way from {ends[0]} to {ends[1]}", ylabel="gain (dB)")
        curve.set_xlim(min(shares), max(shares))
        curve.margins(y=0.15)
        percent(curve.xaxis)
        curve.grid(axis="y")
    return figure
