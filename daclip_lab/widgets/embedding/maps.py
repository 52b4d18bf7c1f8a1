"""Maps of one table of embeddings, or of two of the same rows: places, neighbours, selections, comparisons, export."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.data.image_io import ImageLike, read_image
from daclip_lab.embeddings import neighbours
from daclip_lab.embeddings.paired_tests import check_same_images
from daclip_lab.embeddings.projection import METHODS, EmbeddingMap, embedding_map, map_table
from daclip_lab.errors import InputError
from daclip_lab.figures.palette import UNKNOWN
from daclip_lab.files.parquet import write_parquet
from daclip_lab.files.storage import atomic_write, check_output
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.widgets.embedding.drawing import NEW, Coloring, coloring, linked_maps
from daclip_lab.widgets.embedding.images import square

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPACES = {"content": "content", "degradation": "degradation", "clip": "CLIP alone"}
"""The spaces of a table that are mapped, with their names here."""
NAMES = ("image", "partner", "caption")
"""Columns that are no good colours."""
EXPORTS = (".csv", ".parquet", ".svg")
MEASURED = 3000
"""Rows up to which the quality of a map is measured, which takes memory for all pairs of rows."""
SHARED, DRIFT = "shared neighbours", "drift"
"""Columns that compare the two maps which are seen."""
K = 10
"""Neighbours that are shown and compared."""


class EmbeddingMaps:
    """The spaces of a table on planes, and those of another table of the same images beside them.

    A source is a space of a table: "content", "degradation" or "CLIP alone"; of two tables with the table's name before
    it, such as "lab: content". May be used by several threads.
    """

    def __init__(
        self,
        table: EmbeddingTable,
        against: EmbeddingTable | None = None,
        *,
        names: tuple[str, str] = ("first", "second"),
        pipes: Sequence[Pipeline] = (),
        method: str = "pca",
        seed: int = 0,
    ):
        """Take the same images embedded once or twice.

        Args:
            table, against: rows of the same images in the same order; the facts are those of `table`.
            names: of the two tables.
            pipes: those that embedded the tables; needed to `place` photos.
            method: "pca", "umap" or "tsne".
            seed: of the random choices of a map.

        Raises InputError for tables of other images, equal names, or another method.
        """
        if method not in METHODS:
            raise InputError(f"method {method!r} is unknown: use one of {', '.join(METHODS)}")
        self.method, self.seed, self.pipes = method, seed, list(pipes)
        self.tables = [table] if against is None else [table, against]
        if against is not None:
            check_same_images(table, against)
            if names[0] == names[1]:
                raise InputError(f"both tables are named {names[0]!r}: wanted two names")
        prefixes = [""] if against is None else [f"{name}: " for name in names]
        self._spaces = {
            prefix + words: (number, space)
            for number, (prefix, one) in enumerate(zip(prefixes, self.tables, strict=True))
            for space, words in SPACES.items()
            if space in one.spaces
        }
        self.pair: tuple[str, str] = (
            f"{prefixes[0]}content",
            "degradation" if against is None else f"{prefixes[1]}content",
        )
        """The two sources to begin with: content and degradation of one table, or the content of both."""
        self._own = len(table)
        self._maps: dict[tuple[str, str], EmbeddingMap] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sources(self) -> tuple[str, ...]:
        """What can be mapped."""
        return tuple(self._spaces)

    @property
    def rows(self) -> pd.DataFrame:
        """The facts about each row, those placed later at the end."""
        return self.tables[0].rows

    def vectors(self, source: str) -> np.ndarray:
        """The embeddings (n, d) of a source."""
        number, space = self._where(source)
        return self.tables[number].embedding(space)

    def _where(self, source: str) -> tuple[int, str]:
        if source not in self._spaces:
            raise InputError(f"source {source!r} is unknown: use one of {', '.join(self.sources)}")
        return self._spaces[source]

    # ---- places ----

    def made(self, source: str) -> EmbeddingMap:
        """The map of a source by the present method, without the photos placed later; made once."""
        number, space = self._where(source)
        with self._lock:
            key = source, self.method
            if key not in self._maps:
                table = self.tables[number].select(np.arange(self._own))
                self._maps[key] = _made(table, space, self.method, self.seed)
            return self._maps[key]

    def coordinates(self, source: str) -> np.ndarray:
        """The places (n, 2) of all rows on the map of a source; photos placed later do not move the others."""
        made = self.made(source)
        later = self.vectors(source)[self._own :]
        places = made.coordinates
        return np.concatenate([places, made.place(later)]) if len(later) else places

    def unit_coordinates(self, source: str) -> np.ndarray:
        """`coordinates`, moved and scaled (both axes alike) to fill [-1, 1]."""
        places = self.coordinates(source)
        own = places[: self._own]
        low, high = own.min(0), own.max(0)
        return ((places - (low + high) / 2) / max((high - low).max() / 2, 1e-12)).clip(-1.2, 1.2)

    def quality(self, source: str) -> str:
        """Trustworthiness of a map and the share of neighbours it preserves, in words; "" for very many rows."""
        made = self.made(source)
        if np.isnan(made.trustworthiness):
            return ""
        return f"trustworthiness {made.trustworthiness:.2f}, preserved {made.preservation:.0%}"

    def place(self, image: ImageLike, name: str = "photo") -> int:
        """Embed a new photo and put it on every map, see `EmbeddingMap.place`. Returns its row.

        On PCA maps it is projected; elsewhere it lies at the weighted mean of the places of its five nearest rows. With
        the table of the bundled photos it is shrunk to a square as they are.
        Raises InputError without a pipeline for each table.
        """
        if len(self.pipes) < len(self.tables):
            raise InputError("to place a photo, give the pipeline of each table: `pipe`")
        side = self.tables[0].provenance.get("square")
        pixels = read_image(image) if side is None else square(image, side)
        facts = pd.DataFrame({"image": [name], "photo": [name], "degradation": [NEW]})
        tables = []
        for table, pipe in zip(self.tables, self.pipes, strict=True):
            found = pipe.embed_batch([pixels], facts)
            clip = found.clip if table.clip is not None else None
            joined = EmbeddingTable.join([replace(table, clean=None), replace(found, clip=clip)])
            tables.append(joined)
        with self._lock:
            self.tables = tables
            return len(self) - 1

    # ---- neighbours and comparisons ----

    def neighbours(self, row: int, source: str, k: int = K) -> pd.DataFrame:
        """The k rows nearest to a row by cosine in the space of a source: `row`, `cosine`, and the facts."""
        found, cosines = neighbours.nearest(self.vectors(source), row, k)
        return self.rows.iloc[found].reset_index(drop=True).assign(row=found, cosine=cosines)

    def drift(self, first: str | None = None, second: str | None = None) -> pd.DataFrame:
        """The facts with `drift` and `geometry` between two sources, by default `pair`.

        See `embeddings.neighbours`: `cosine_drift` (NaN where the spaces differ in dimension) and `same_geometry`.
        """
        a, b = self._both(first, second)
        drift, geometry = neighbours.cosine_drift(a, b), neighbours.same_geometry(a, b)
        return self.rows.assign(drift=drift, geometry=geometry)

    def neighbour_overlap(
        self, k: int = K, first: str | None = None, second: str | None = None
    ) -> pd.DataFrame:
        """The facts with `overlap` between two sources, by default `pair`: see `shared_neighbours`."""
        return self.rows.assign(overlap=neighbours.shared_neighbours(*self._both(first, second), k))

    def _both(self, first: str | None, second: str | None) -> tuple[np.ndarray, np.ndarray]:
        return self.vectors(first or self.pair[0]), self.vectors(second or self.pair[1])

    # ---- selections and colours ----

    def select(self, rows: ArrayLike) -> pd.DataFrame:
        """The facts about some rows, by row number; raises InputError for one that is not there."""
        chosen = np.asarray(rows, dtype=int)
        if len(chosen) and not (chosen.min() >= 0 and chosen.max() < len(self)):
            raise InputError(f"rows {chosen.min()} to {chosen.max()}: wanted 0 to {len(self) - 1}")
        return self.rows.iloc[chosen]

    def counts(self, rows: ArrayLike, column: str = "degradation") -> pd.Series:
        """How many of some rows have each value of a column, the commonest first."""
        return self.select(rows)[column].fillna(UNKNOWN).value_counts()

    @property
    def columns(self) -> list[str]:
        """What the list of colours offers: columns with two values or more, and comparisons of two sources."""
        known = [name for name in self.rows if name not in NAMES]
        own = [name for name in known if self.rows[name].nunique(dropna=False) > 1]
        return [*own, SHARED, DRIFT]

    def coloring(
        self, column: str, first: str | None = None, second: str | None = None
    ) -> Coloring:
        """The categories of one of `columns`, with one more for photos placed later.

        Comparisons are between two sources, by default `pair`.
        """
        if column == SHARED:
            values = self.neighbour_overlap(min(K, len(self) - 1), first, second).overlap
        elif column == DRIFT:
            values = pd.Series(neighbours.cosine_drift(*self._both(first, second)))
        elif column in self.rows:
            values = self.rows[column]
        else:
            raise InputError(f"column {column!r} is unknown: use one of {', '.join(self.columns)}")
        return coloring(values, len(self) - self._own)

    # ---- figure and files ----

    def figure(
        self,
        color: str = "degradation",
        sources: Sequence[str] | None = None,
        selected: ArrayLike = (),
    ) -> "Figure":
        """The maps of two sources, by default `pair`, in the colours of a column; others than `selected` are pale."""
        sources = tuple(sources or self.pair)
        places = {
            f"{source}, {self.method.upper()}": self.coordinates(source) for source in sources
        }
        colors = self.coloring(color, sources[0], sources[-1])
        notes = [self.quality(source) for source in sources]
        return linked_maps(places, colors, title=color, selected=selected, notes=notes)

    def export(
        self,
        path: str | Path,
        rows: ArrayLike | None = None,
        *,
        color: str = "degradation",
        sources: Sequence[str] | None = None,
    ) -> Path:
        """Write rows (by default all) with their places as CSV or Parquet, or the figure as SVG, by the extension.

        Raises InputError for another extension or a place that cannot be written to.
        """
        path, sources = check_output(path, EXPORTS), tuple(sources or self.pair)
        if path.suffix == ".svg":
            import matplotlib

            figure = self.figure(color, sources, () if rows is None else rows)
            # A fixed salt: the same maps give the same bytes.
            with matplotlib.rc_context({"svg.hashsalt": "maps"}), atomic_write(path) as part:
                figure.savefig(part, format="svg", metadata={"Date": None})
            return path
        table = self.select(np.arange(len(self)) if rows is None else rows)
        for source in sources:
            places = self.coordinates(source)[table.index.to_numpy()]
            table = table.assign(
                **{f"{source} {axis}": places[:, k] for k, axis in enumerate("xy")}
            )
        if path.suffix == ".csv":
            with atomic_write(path) as part:
                table.to_csv(part, index_label="row")
        else:
            columns = {"row": table.index.to_numpy(), **{name: table[name] for name in table}}
            made_by = {"method": self.method, "seed": self.seed}
            write_parquet(path, columns, self.tables[0].provenance | {"maps": made_by})
        return path


def _made(table: EmbeddingTable, space: str, method: str, seed: int) -> EmbeddingMap:
    """The map of a space; its quality is not measured where there are very many rows."""
    if len(table) <= MEASURED:
        return map_table(table, space, method, seed)
    vectors = table.embedding(space)
    return EmbeddingMap(
        coordinates=embedding_map(vectors, method, seed),
        vectors=vectors,
        images=tuple(table.rows.image),
        parameters={"method": method, "seed": seed, "space": space},
        trustworthiness=np.nan,
        preservation=np.nan,
    )
