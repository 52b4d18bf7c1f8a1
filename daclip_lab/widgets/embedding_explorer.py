"""Two linked maps of embeddings to point at: the image below the mouse, its neighbours, and what a lasso encloses.

The maps are drawn by jupyter-scatter (WebGL); what is known about the rows stands beside them.
"""

import html
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.data.image_io import ImageLike
from daclip_lab.data.photos import Photos
from daclip_lab.errors import InputError, extra
from daclip_lab.pipeline.loading import load
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.widgets.embedding import panel
from daclip_lab.widgets.embedding.images import RowImages, bundled_table
from daclip_lab.widgets.embedding.layout import QUALITY, Controls, arranged
from daclip_lab.widgets.embedding.maps import EmbeddingMaps
from daclip_lab.widgets.embedding.still import still
from daclip_lab.widgets.static import StaticCopy
from daclip_lab.widgets.worker import Worker

with extra("notebooks"):
    import ipywidgets

GALLERY = 60
"""Images that the gallery of a selection shows at most."""
PREPARED = 400
"""Rows up to which all thumbnails are made at once."""
COLUMNS = 6
"""Columns besides the present colour that the static copy knows."""
AT_A_TIME = 12
"""Images that are added to the gallery at once."""


class EmbeddingExplorer(StaticCopy, ipywidgets.VBox):
    """Content and degradation maps of a table side by side, or two tables of the same images.

    `selected` holds the rows that are selected on the maps.
    """

    def __init__(
        self,
        table: EmbeddingTable | None = None,
        pipe: Pipeline | None = None,
        *,
        against: EmbeddingTable | Pipeline | None = None,
        names: tuple[str, str] = ("first", "second"),
        photos: Photos | str | Path | None = None,
        method: str = "pca",
        color: str = "degradation",
        seed: int = 0,
    ):
        """Show a table.

        Args:
            table: by default the bundled photos in all ten degradations, embedded now by `pipe` (some seconds).
            pipe: the weights that embedded the table; needed to drop a photo on the maps. By default, without a table,
                the lab's.
            against: a second table of the same images in the same order, or weights that embed them again.
            names: of the two tables.
            photos: those that the images were made of, or their folder; by default the bundled ones.
            method: "pca", "umap" or "tsne".
            color: the column that colours the marks.
            seed: of the random choices of a map.

        Raises InputError for tables of other images, an unknown method or column.
        """
        if table is None:
            pipe = pipe or load()
            table = bundled_table(pipe)
        self._images = RowImages(table, photos)
        pipes = [] if pipe is None else [pipe]
        if isinstance(against, Pipeline):
            pipes.append(against)
            against = self._images.embedded(against)
        self.maps = EmbeddingMaps(
            table, against, names=names, pipes=pipes, method=method, seed=seed
        )
        """The places, neighbours and comparisons that are shown."""
        self._coloring = self.maps.coloring(color)
        self._rows: tuple[int, ...] = ()
        self._lock, self._painting = threading.Lock(), threading.Lock()
        # `_work` draws anew and gives way to a newer choice; `_tasks` are photos and files, which must not.
        self._hovers, self._clicks, self._early = Worker(), Worker(), Worker()
        self._work, self._tasks = Worker(), Worker()
        self._maps = [
            panel.MapView(self.maps.unit_coordinates(source), self._coloring)
            for source in self.maps.pair
        ]
        self._views = [each.widget for each in self._maps]
        self._notes = [ipywidgets.HTML() for _ in self._views]
        self._panel, self._controls = panel.Panel(), Controls(self.maps, color)
        super().__init__(arranged(self._controls, self._views, self._notes, self._panel))
        self._describe()
        self._connect()
        if len(self.maps) <= PREPARED:
            self._early.start(self._prepare(), on_end=self._ended)

    # ---- what Python asks ----

    @property
    def selected(self) -> pd.DataFrame:
        """The facts about the selected rows, by row number."""
        return self.maps.select(self._rows)

    def select(self, rows: ArrayLike) -> None:
        """Select rows by number, on both maps; raises InputError for one that is not there."""
        chosen = self.maps.select(rows).index.to_numpy()
        for view in self._views:
            view.selection = chosen.astype(np.uint32)
        self._choose(tuple(chosen.tolist()))

    def place(self, image: ImageLike, name: str = "photo") -> int:
        """Put a new photo on the maps and select it; returns its row. Errors are those of `EmbeddingMaps.place`."""
        row = self.maps.place(image, name)
        self._images.add(image)
        self._recolor()
        self.select([row])
        return row

    def drift(self) -> pd.DataFrame:
        """`EmbeddingMaps.drift` between the two maps that are seen."""
        return self.maps.drift(*self.sources)

    def neighbour_overlap(self, k: int = 10) -> pd.DataFrame:
        """`EmbeddingMaps.neighbour_overlap` between the two maps that are seen."""
        return self.maps.neighbour_overlap(k, *self.sources)

    def figure(self):
        """The two maps as a matplotlib figure; where rows are selected the others are pale."""
        return self.maps.figure(self._controls.color.value, self.sources, self._rows)

    def export(self, path: str | Path) -> Path:
        """Write the selected rows (all, if none are) as CSV or Parquet, or the figure as SVG, by the extension."""
        rows = self._rows or None
        return self.maps.export(path, rows, color=self._controls.color.value, sources=self.sources)

    def static_html(self) -> str:
        """The maps as HTML that needs nothing else."""
        places = {source: self.maps.unit_coordinates(source) for source in self.sources}
        color, rows = self._controls.color.value, self.maps.rows
        own = [name for name in self.maps.columns if name in rows and name != color]
        colorings = {color: self._coloring}
        colorings |= {name: self.maps.coloring(name) for name in own[:COLUMNS]}
        return still(places, colorings, rows, self._images.thumbnails(PREPARED))

    @property
    def sources(self) -> tuple[str, str]:
        """The sources of the two maps that are seen, see `EmbeddingMaps`."""
        return self._controls.left.value, self._controls.right.value

    def _connect(self) -> None:
        """Let the two maps follow each other, and everything else follow them and the controls."""
        first, second = self._views
        for name in ("selection", "hovering"):
            ipywidgets.jslink((first, name), (second, name))
        for view in self._views:
            view.observe(lambda change: self._hover(change.new), "hovering")
            view.observe(lambda change: self._choose(panel.numbers(change.new)), "selection")
        controls = self._controls
        for control in (controls.left, controls.right, controls.method, controls.color):
            control.observe(lambda change: self._start(self._redraw()), "value")
        controls.row.observe(lambda change: self._row_typed(change.new), "value")
        controls.none.on_click(lambda button: self.select([]))
        controls.save.on_click(lambda _: self._start(self._save(), self._tasks))
        controls.upload.observe(lambda _: self._start(self._take_upload(), self._tasks), "value")
        self._panel.on_msg(lambda _, content, buffers: self._asked(content))

    # ---- what callbacks start ----

    def _start(self, work: Iterator[str], worker: Worker | None = None) -> None:
        """Do slow work in a thread, and say so, and in the end what it yielded last."""

        def job() -> Iterator[None]:
            self._controls.say("working …")
            said = ""
            for said in work:  # noqa: B007
                yield
            self._controls.say(said)

        (worker or self._work).start(job(), on_end=self._ended, replace=True)

    def _ended(self, stopped: bool, error: Exception | None) -> None:
        if error is not None:
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            self._controls.say(f"{kind}{error}")

    def _asked(self, content: dict) -> None:
        if "row" in content:
            self.select([content["row"]])
        elif "category" in content:
            self.select(np.flatnonzero(self._coloring.codes == content["category"]))

    def _row_typed(self, text: str) -> None:
        if text.isdecimal() and int(text) < len(self.maps):
            self.select([int(text)])
        elif text:
            self._controls.say(f"row {text}: wanted a number from 0 to {len(self.maps) - 1}")

    def _hover(self, row: int | None) -> None:
        if row is None or row < 0:
            row = self._rows[0] if self._rows else None
        if row is not None:
            self._hovers.start(self._show_point(row), on_end=self._ended, replace=True)

    def _choose(self, rows: tuple[int, ...]) -> None:
        with self._lock:
            if rows == self._rows:
                return
            self._rows = rows
        self._controls.row.value = str(rows[0]) if len(rows) == 1 else ""
        self._clicks.start(self._show_choice(rows), on_end=self._ended, replace=True)
        self._hover(None)

    # ---- work, in threads ----

    def _prepare(self) -> Iterator[None]:
        """Make all thumbnails, for the static copy."""
        for row in range(len(self.maps)):
            self._images.thumbnail(row)
            yield
        self.refresh_static()

    def _redraw(self) -> Iterator[str]:
        self.maps.method = self._controls.method.value
        for source in self.sources:
            self.maps.made(source)
            yield ""
        self._recolor()
        yield ""

    def _recolor(self) -> None:
        """Show the present places and colours."""
        with self._painting:
            self._coloring = self.maps.coloring(self._controls.color.value, *self.sources)
            for shown, source in zip(self._maps, self.sources, strict=True):
                shown.paint(self.maps.unit_coordinates(source), self._coloring)
            self._describe()
        self._clicks.start(self._show_choice(self._rows), on_end=self._ended, replace=True)
        self.refresh_static()

    def _take_upload(self) -> Iterator[str]:
        for file in self._controls.upload.value:
            try:
                self.place(bytes(file["content"]), Path(file["name"]).stem)
            except InputError as error:
                raise InputError(f"{file['name']} was not added: {error}") from None
            yield ""

    def _save(self) -> Iterator[str]:
        if self._controls.file.value.endswith(".svg"):
            raise InputError("a figure is drawn in a cell: explorer.export('maps.svg')")
        path = self.export(self._controls.file.value)
        yield f"{len(self._rows) or len(self.maps)} rows are in {path}"

    def _describe(self) -> None:
        """Write what the maps and their colours are."""
        for note, source in zip(self._notes, self.sources, strict=True):
            quality = f'<small title="{QUALITY}">{self.maps.quality(source)}</small>'
            text = f"<b>{html.escape(source)}</b><br>{quality}"
            note.value = f'<div style="line-height: 1.4">{text}</div>'
        title, items = self._controls.color.value, panel.chips(self._coloring)
        self._panel.legend = {"title": title, "items": items}

    def _show_point(self, row: int) -> Iterator[None]:
        self._panel.point = panel.point(row, self.maps.rows.iloc[row], self._images)
        yield

    def _show_choice(self, rows: tuple[int, ...]) -> Iterator[None]:
        """The neighbours of a single row, or the gallery of several."""
        found = []
        for source in dict.fromkeys(self.sources) if len(rows) == 1 else ():
            near = self.maps.neighbours(rows[0], source)
            pairs = zip(near.row, near.cosine, strict=True)
            items = [self._tile(row, f"{cosine:.2f}") for row, cosine in pairs]
            found.append({"title": f"nearest in {source}, by cosine", "items": items})
            yield
        self._panel.neighbours = found
        shown = rows[:GALLERY] if len(rows) > 1 else ()
        title = f"{len(rows)} rows selected" if shown else ""
        if shown and len(shown) < len(rows):
            title += f", the first {len(shown)} of them:"
        counts = panel.chips(self._coloring, np.asarray(rows, int)) if shown else []
        tiles: list[dict] = []
        for first in range(0, max(1, len(shown)), AT_A_TIME):
            tiles = tiles + [self._tile(row) for row in shown[first : first + AT_A_TIME]]
            self._panel.gallery = {"title": title, "counts": counts, "items": tiles}
            yield

    def _tile(self, row: int, mark: str = "") -> dict:
        return panel.tile(row, self.maps.rows.iloc[row], self._coloring, self._images, mark)
