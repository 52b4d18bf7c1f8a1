"""The parts of an EmbeddingExplorer: a map drawn by jupyter-scatter, and the panel that stands beside the maps."""

from pathlib import Path

import numpy as np
import pandas as pd

from daclip_lab.errors import extra
from daclip_lab.widgets.embedding.drawing import LEGEND, Coloring, words
from daclip_lab.widgets.embedding.images import RowImages, shrunk

with extra("notebooks"):
    import anywidget
    import jscatter
    import traitlets

HEIGHT = 400
"""Of a map, in CSS pixels."""
HELP = (
    "Point at a mark to see its image, click it for its neighbours. Drag to move, scroll to zoom. To select many, "
    "press the lasso button and draw around them, or click a colour. A double click clears the selection."
)


NAMES = {"clip_predicted": "CLIP alone"}
"""Columns that have other names here."""


class Panel(anywidget.AnyWidget):
    """What is known about the rows; it sends {"row": k} or {"category": k} when one is clicked."""

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    legend: traitlets.Dict = traitlets.Dict({"title": "", "items": []}).tag(sync=True)
    point: traitlets.Dict = traitlets.Dict(
        {"title": "", "items": [], "note": HELP, "picture": b""}
    ).tag(sync=True)
    neighbours: traitlets.List = traitlets.List().tag(sync=True)
    gallery: traitlets.Dict = traitlets.Dict({"title": "", "counts": [], "items": []}).tag(
        sync=True
    )


class MapView:
    """A map drawn by jupyter-scatter."""

    def __init__(self, places: np.ndarray, colors: Coloring):
        """Show points (n, 2) in [-1, 1]."""
        look: dict = {"opacity": 0.9, "size": 7}
        if len(places) >= 600:  # else jupyter-scatter finds opacities by the density that is seen
            look = {"opacity": 0.8, "size": 4} if len(places) < 5000 else {}
        scale = (-1.1, 1.1)
        data, shades = _painted(places, colors)
        self._scatter = jscatter.Scatter(
            data=data, x="x", y="y", x_scale=scale, y_scale=scale,
            color_by="color", color_map=shades, color_selected="#d62728",
            # White in a dark theme, too: the colours of the degradations are chosen for it.
            background_color="white", axes=False, height=HEIGHT, camera_distance=1.1,
            transition_points_duration=600, **look,
        )  # fmt: skip
        self.widget = self._scatter.show(["pan_zoom", "lasso", "lasso_type", "divider", "reset"])

    def paint(self, places: np.ndarray, colors: Coloring) -> None:
        """Show other points or colours; the points move there where their number stays the same."""
        data, shades = _painted(places, colors)
        self._scatter.data(data, animate=True)
        self._scatter.color(by="color", map=shades)


def _painted(places: np.ndarray, colors: Coloring) -> tuple[pd.DataFrame, list[str]]:
    """Points with their categories, and the colours of these.

    Without categories that no row has: jupyter-scatter drops them, but not their colours.
    """
    used, codes = np.unique(colors.codes, return_inverse=True)
    names = pd.Categorical.from_codes(codes, [colors.names[code] for code in used])
    table = pd.DataFrame({"x": places[:, 0], "y": places[:, 1], "color": names})
    return table, [colors.colors[code] for code in used]


def numbers(selection: np.ndarray | None) -> tuple[int, ...]:
    """The rows that a map has selected."""
    return () if selection is None else tuple(np.asarray(selection).astype(int).tolist())


def chips(colors: Coloring, rows: np.ndarray | None = None) -> list[dict]:
    """The categories of some rows, by default all, with how many rows each has; those of some rows by frequency."""
    codes = colors.codes if rows is None else colors.codes[rows]
    counts = np.bincount(codes, minlength=len(colors.names))
    order = range(len(counts)) if rows is None else np.argsort(-counts, kind="stable")
    found = [
        {
            "name": colors.names[code],
            "color": colors.colors[code],
            "count": int(counts[code]),
            "code": int(code),
        }
        for code in order
        if counts[code]
    ]
    more = len(found) - LEGEND
    rest = [{"name": f"and {more} more", "color": "#e3e3e3", "code": -1}] if more > 0 else []
    return found[:LEGEND] + rest


def point(row: int, facts: pd.Series, images: RowImages) -> dict:
    """What the panel shows of the row in question."""
    picture = images.picture(row)
    return {
        "title": f"row {row}: {words(facts)}",
        "items": [
            [NAMES.get(name, name), f"{value:.3g}" if isinstance(value, float) else str(value)]
            for name, value in facts.items()
            if name not in ("image", "partner", "photo") and not pd.isna(value)
        ],
        "note": "" if picture else "The photo is not at hand: give `photos` to see the image.",
        "picture": shrunk(picture, 264) if picture else b"",
    }


def tile(row: int, facts: pd.Series, colors: Coloring, images: RowImages, mark: str = "") -> dict:
    """What the panel shows of a row among others: a thumbnail with a mark below it, else its words."""
    color = colors.colors[colors.codes[row]]
    picture = images.thumbnail(row)
    return {
        "row": int(row),
        "words": words(facts),
        "color": color,
        "mark": mark,
        "picture": picture,
    }
