"""Images side by side: degraded, restored, with notes, with the patches that decide, and with maps of numbers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.degradations.registry import CLEAN
from daclip_lab.figures.interpretability import overlay
from daclip_lab.figures.primitives import image_grid, strip, text_width
from daclip_lab.figures.style import GAP, WIDTH, area, canvas, picture, pixels_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from daclip_lab.embeddings.attribution import Attribution

BAR = 68
"""Pixels that a colour bar beside a map takes."""


def degradation_gallery(clean, degraded: Mapping[str, object], *, zoom: int = 1) -> "Figure":
    """A clean image and its degraded versions, each with its name, at native pixels.

    `clean` and the values of `degraded` are images of one size; `zoom` is a whole number.
    """
    caption = "One photo, untouched and degraded. What gives each of them away?"
    return strip([clean, *degraded.values()], [CLEAN, *degraded], zoom=zoom, caption=caption)


def restoration_triptychs(
    degraded: Sequence, restored: Sequence, clean: Sequence, labels: "pd.DataFrame"
) -> "Figure":
    """Before, after and the clean image, two triples to a row, at native pixels.

    `labels` has a row per triple: `degradation`, `psnr_input` and `psnr` in dB.
    """
    caption = (
        "Left: degraded. Middle: restored. Right: the clean photo, which the restorer never sees. "
        "PSNR in dB, higher is closer."
    )
    images: list = []
    titles = []
    for triple, line in zip(
        zip(degraded, restored, clean, strict=True), labels.itertuples(), strict=True
    ):
        gain = round(line.psnr - line.psnr_input, 1) + 0.0  # no "-0.0"
        images += triple
        titles += [f"{line.degradation}\n{line.psnr_input:.1f} dB",
                   f"restored\n{line.psnr:.1f} dB ({gain:+.1f})", "clean\n"]  # fmt: skip
    step = max(pixels_of(clean[0]).shape[1], text_width(titles)) + 4
    columns = 6 if 6 * step + 2 * GAP + 24 <= WIDTH else 3
    starts = range(0, len(images), columns)
    return image_grid([images[k : k + columns] for k in starts],
                      titles=[titles[k : k + columns] for k in starts],
                      gap=4, apart=[3], caption=caption)  # fmt: skip


def grid(
    rows: Mapping[str, Sequence],
    columns: Sequence[str],
    notes: Mapping[str, Sequence[str]],
    *,
    zoom: int = 1,
    caption: str = "",
) -> "Figure":
    """Images in rows and columns, a title for each and a note below every image.

    `rows` gives the images of a row, all of one size, under its title; `notes` the short texts below them.
    """
    return image_grid(list(rows.values()), titles=[columns], row_titles=list(rows),
                      notes=[notes[title] for title in rows], zoom=zoom, gap=6,
                      caption=caption)  # fmt: skip


def attribution_overlays(
    images: Sequence, attributions: Sequence["Attribution"], *, zoom: int = 1
) -> "Figure":
    """Images, and below each the patches that raise the probability of its label (orange) or lower it (violet)."""
    caption = (
        "Orange patches raise the probability of the predicted label, violet ones lower it; the stronger the colour, "
        "the more. The number is that probability."
    )
    shown = [pixels_of(image) for image in images]
    heat = [
        overlay(image, found.heat.numpy()) for image, found in zip(shown, attributions, strict=True)
    ]
    titles = [f"{found.label}, {np.exp(found.end):.0%}" for found in attributions]
    columns = max(1, (WIDTH - GAP) // (zoom * max(image.shape[1] for image in shown) + GAP))
    rows, above = [], []
    for k in range(0, len(shown), columns):
        part = slice(k, k + columns)
        rows += [shown[part], heat[part]]
        above += [titles[part], []]
    return image_grid(rows, titles=above, zoom=zoom, caption=caption)


def maps(
    panels: Mapping[str, object],
    unit: str,
    *,
    shared: bool = True,
    zoom: int = 1,
    caption: str = "",
) -> "Figure":
    """Images and maps of numbers (h, w) in one row; the scales of the maps begin at 0.

    `panels` gives under each title an image of that size, or an array of two dimensions, in `unit`. The maps have one
    scale (`shared`) or one each.
    """
    fields = {
        name: np.asarray(panel) for name, panel in panels.items() if np.asarray(panel).ndim == 2
    }
    # A few pixels far off would leave the rest of the map black.
    tops = {name: np.quantile(field, 0.995) or 1.0 for name, field in fields.items()}
    if shared:
        tops = dict.fromkeys(tops, max(tops.values()))
    with_bar = list(fields)[-1:] if shared else list(fields)
    height, width = (side * zoom for side in next(iter(fields.values())).shape)
    whole = GAP + len(panels) * (width + GAP) + BAR * len(with_bar)
    with canvas(whole, height + 74, caption) as figure:
        x, y = GAP, 36
        for name, panel in panels.items():
            if name in fields:
                axes = area(figure, x, y, width, height)
                field = fields[name].repeat(zoom, 0).repeat(zoom, 1)
                drawn = axes.imshow(field, cmap="magma", vmin=0, vmax=tops[name], aspect="auto",
                                    interpolation="nearest")  # fmt: skip
                axes.set_axis_off()
            else:
                axes = picture(figure, panel, x, y, zoom)
            axes.set_title(name, fontsize=9.5, pad=5)
            x += width + GAP
            if name in with_bar:
                bar = area(figure, x - 4, y, 12, height)
                figure.colorbar(drawn, cax=bar, extend="max")
                bar.set_title(unit, fontsize=8, pad=5)
                bar.tick_params(labelsize=8)
                x += BAR
    return figure
