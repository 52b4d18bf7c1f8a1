"""Elements of a self-contained HTML page: tables, figures, and cards with an image. None loads anything."""

import base64
import html
import io
from typing import TYPE_CHECKING

import pandas as pd
from PIL import Image

from daclip_lab.data.image_io import ImageLike, read_image, to_pil
from daclip_lab.embeddings.attribution import Attribution
from daclip_lab.errors import InputError
from daclip_lab.figures.interpretability import overlay
from daclip_lab.figures.primitives import figure_png
from daclip_lab.figures.style import pixels_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THUMBNAIL = 132
"""Pixels of the longer side of an image on a card."""


def table_html(table: "pd.DataFrame") -> str:
    """A table of texts and whole numbers; its index is the first column, without a header."""
    with pd.option_context("display.max_colwidth", None):
        return table.rename_axis(None).to_html(border=0, justify="unset")


def figure_html(figure: "Figure", alt: str) -> str:
    """A figure as an image with an alternative text."""
    return _image(figure_png(figure), alt)


def card(image: ImageLike, name: str, caption: str, attribution: Attribution | None = None) -> str:
    """Thumbnail, attribution overlay, caption and name; a placeholder for an image that cannot be read."""
    try:
        full = read_image(image)
        shown = _thumbnail(full, name)
        if attribution is not None:
            heat = overlay(pixels_of(full), attribution.heat.numpy())
            shown += _thumbnail(heat, f"attribution of {attribution.label}")
    except InputError:  # tables may name images that are not files, or not on this machine
        shown = '<div class="none">no image file</div>'
    text = f"{html.escape(caption)}<br>{html.escape(name)}"
    return f"<figure>{shown}<figcaption>{text}</figcaption></figure>"


def _thumbnail(image: ImageLike, alt: str) -> str:
    small, buffer = to_pil(read_image(image)), io.BytesIO()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    small.save(buffer, "PNG", optimize=True)
    return _image(buffer.getvalue(), alt)


def _image(png: bytes, alt: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'
