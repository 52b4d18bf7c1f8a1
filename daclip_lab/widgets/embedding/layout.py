"""The controls of an EmbeddingExplorer, and how they stand around its maps."""

import html
from collections.abc import Sequence

from daclip_lab.embeddings.projection import METHODS
from daclip_lab.errors import extra
from daclip_lab.figures.embeddings import TITLES
from daclip_lab.widgets.embedding.maps import EmbeddingMaps

with extra("notebooks"):
    import ipywidgets

QUALITY = (
    "Trustworthiness: how many neighbours on the map are real (1: all, 0.5: as on a random map). "
    "Preserved: the share of the 15 nearest neighbours in all dimensions that the map keeps."
)
WRAP = {"flex_flow": "row wrap", "width": "100%", "overflow": "visible"}


class Controls:
    """What can be chosen, typed and pressed."""

    def __init__(self, maps: EmbeddingMaps, color: str):
        choice = ipywidgets.Dropdown
        look: dict = {"style": {"description_width": "initial"}, "layout": {"width": "auto"}}
        (left, right), sources = maps.pair, maps.sources
        self.left = choice(options=sources, value=left, description="left map", **look)
        self.right = choice(options=sources, value=right, description="right map", **look)
        methods = [(TITLES[name], name) for name in METHODS]
        self.method = choice(options=methods, value=maps.method, description="method", **look)
        columns = maps.columns if color in maps.columns else [color, *maps.columns]
        self.color = choice(options=columns, value=color, description="colour", **look)
        look["layout"] = {"width": "110px"}
        row: dict = {"description": "row", "placeholder": "number", "continuous_update": False}
        self.row = ipywidgets.Text(**row, **look)
        self.none = ipywidgets.Button(description="Clear selection", layout={"width": "auto"})
        self.upload = ipywidgets.FileUpload(accept="image/*", description="Add a photo")
        if len(maps.pipes) < len(maps.tables):
            self.upload.disabled, self.upload.tooltip = True, "needs the weights: give `pipe`"
        look["layout"] = {"width": "160px"}
        kinds = {"placeholder": ".csv or .parquet", "description": "file"}
        self.file = ipywidgets.Text("rows.csv", **kinds, **look)
        self.save = ipywidgets.Button(
            description="Save rows", tooltip="the selected rows, or all", layout={"width": "auto"}
        )
        self.message = ipywidgets.HTML()

    def say(self, text: str) -> None:
        """Show a sentence; an empty one takes the last away."""
        self.message.value = f'<div role="status">{html.escape(text)}</div>' if text else ""


def arranged(
    controls: Controls, views: Sequence, notes: Sequence, panel: ipywidgets.Widget
) -> list:
    """The rows of the widget: maps beside the panel, or above it where the page is narrow."""
    column = {"flex": "1 1 300px", "min_width": "250px", "overflow": "hidden"}
    pairs = zip(notes, views, strict=True)
    maps = [ipywidgets.VBox([note, view], layout=column) for note, view in pairs]
    side = ipywidgets.Box([panel], layout={"flex": "1 1 250px", "min_width": "230px"})
    top = [controls.left, controls.right, controls.method, controls.color, controls.row]
    below = [controls.none, controls.upload, controls.file, controls.save, controls.message]
    left = [ipywidgets.HBox(maps, layout=WRAP), ipywidgets.HBox(below, layout=WRAP)]
    pair = ipywidgets.VBox(left, layout={"flex": "2.2 1 720px", "overflow": "visible"})
    return [ipywidgets.HBox(top, layout=WRAP), ipywidgets.HBox([pair, side], layout=WRAP)]
