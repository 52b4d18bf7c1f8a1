"""Elements of a self-contained HTML page: tables, figures, and cards with an image. None loads anything."""

import base64
import html
import io
from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.data.image_io import ImageLike, read_image, to_pil
from daclip_lab.embeddings.attribution import Attribution
from daclip_lab.errors import InputError
from daclip_lab.figures.interpretability import overlay
from daclip_lab.figures.primitives import figure_png
from daclip_lab.figures.style import pixels_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

THUMBNAIL = 132
"""Pixels of the longer side of an image on a card."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 920px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em } h2 { font-size: 1.2em; margin-top: 2.2em } p, li { max-width: 48em }
table { border-collapse: collapse; font-size: 14px } td, th { padding: 3px 16px 3px 0; text-align: left }
th { font-weight: 600; vertical-align: bottom } tbody th { font-weight: 400 } tbody tr { border-top: 1px solid #e3e3e3 }
td { font-variant-numeric: tabular-nums; white-space: nowrap }
img { max-width: 100% } .wall { display: flex; flex-wrap: wrap; gap: 14px }
figure { margin: 0; width: 140px; font-size: 12px } figure img { display: block; margin-bottom: 3px }
figcaption { overflow-wrap: anywhere; line-height: 1.35 } nav a { margin-right: 1.1em; white-space: nowrap }
.none { width: 132px; height: 60px; background: #f4f4f4; color: #767676; padding: 4px; box-sizing: border-box }
.note { color: #5f5f5f }
"""


def table_html(table: "pd.DataFrame") -> str:
    """A table of texts and whole numbers; its index is the first column, without a header."""
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in ("", *table.columns))
    rows = (
        f"<tr><th>{html.escape(str(name))}</th>"
        + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
        + "</tr>"
        for name, cells in zip(table.index, table.astype(object).to_numpy(), strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def figure_html(figure: "Figure", alt: str) -> str:
    """A figure as an image with an alternative text."""
    return _image(figure_png(figure), alt)


def card(image: ImageLike, name: str, caption: str, attribution: Attribution | None = None) -> str:
    """Thumbnail, optional attribution overlay, caption and name. Without a readable image the card says so."""
    try:
        full = read_image(image)
        shown = _image(_png(to_pil(_thumbnail(full))), name)
        if attribution is not None:
            heat = _thumbnail(attribution.heat[None])[0].numpy()
            colored = overlay(pixels_of(_thumbnail(full)), heat)
            shown += _image(
                _png(to_pil(read_image(colored))), f"attribution of {attribution.label}"
            )
    except InputError:  # tables may name images that are not files, or not on this machine
        shown = '<div class="none">no image file</div>'
    text = f"{html.escape(caption)}<br>{html.escape(name)}"
    return f"<figure>{shown}<figcaption>{text}</figcaption></figure>"


def _thumbnail(image: Tensor) -> Tensor:
    """An image (c, h, w) shrunk by averaging to the size of a thumbnail."""
    shrink = THUMBNAIL / max(image.shape[-2:])
    if shrink >= 1:
        return image
    size = [max(1, round(side * shrink)) for side in image.shape[-2:]]
    return F.interpolate(image[None], size=size, mode="area")[0]


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _image(png: bytes, alt: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'
