"""A heat map of a study to choose from, and below it the crops behind a cell, to flip between two variants."""

import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from daclip_lab.errors import InputError, extra
from daclip_lab.files.storage import atomic_write, check_output
from daclip_lab.widgets.ablation.grids import AXES
from daclip_lab.widgets.ablation.page import page, strip
from daclip_lab.widgets.ablation.view import AblationView
from daclip_lab.widgets.static import StaticCopy, encode
from daclip_lab.widgets.worker import Worker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from daclip_lab.ablation.results import StudyResults

with extra("notebooks"):
    import anywidget
    import traitlets

SCRIPT = Path(__file__).parent / "ablation" / "explorer.js"


class AblationExplorer(StaticCopy, anywidget.AnyWidget):
    """The results of a study as a heat map with intervals; a click on a cell shows the crops behind it.

    The traits `columns`, `metric`, `against`, `partner` and `seed` can be set at any time; the view follows.

    Args:
        results: of any study, finished or not.
        columns: "degradation", "metric", "seed" or "photo"; the rows are the variants.
        metric: its name; by default the one that decides in this study. Metrics as columns show all.
        against: the variant that all are compared with, photo by photo and seed by seed, or "" for means; by default
            the baseline.

    Raises InputError for results without values, and for columns, a metric or a variant that there is not.
    """

    _esm = SCRIPT
    _css = SCRIPT.with_suffix(".css")
    choices = traitlets.Dict().tag(sync=True)
    columns = traitlets.Unicode(AXES[0]).tag(sync=True)
    metric = traitlets.Unicode().tag(sync=True)
    against = traitlets.Unicode().tag(sync=True)
    chosen = traitlets.List(traitlets.Unicode(), help="variant and column, or nothing").tag(
        sync=True
    )
    partner = traitlets.Unicode(help="the variant to flip with; '' chooses one").tag(sync=True)
    seed = traitlets.Int(None, allow_none=True, help="of the crops; None chooses one").tag(
        sync=True
    )
    heat = traitlets.Dict().tag(sync=True)
    crops = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        results: "StudyResults",
        *,
        columns: str = AXES[0],
        metric: str | None = None,
        against: str | None = None,
    ):
        self.view = view = AblationView(results)
        """The numbers, texts and crops that are shown."""
        metric = view.metric if metric is None else metric
        against = view.baseline if against is None else against
        view.check(columns, metric, against)
        self._drawing, self._stills = threading.RLock(), Worker()
        self._strip = cache(strip)
        choices = {"columns": AXES, "metrics": view.grids.metrics, "variants": view.grids.variants}
        super().__init__(
            choices={name: list(values) for name, values in choices.items()},
            columns=columns, metric=metric, against=against,
            heat=view.heat_map(columns, metric, against),
        )  # fmt: skip
        self.observe(self._redraw, ["columns", "metric", "against"])
        self.observe(lambda change: self._show_crops(), ["chosen", "partner", "seed"])

    # ---- what Python asks ----

    @property
    def table(self) -> pd.DataFrame:
        """The numbers shown, a row for each cell: see `widgets.ablation.grids.Grids`."""
        return self.view.table(self.columns, self.metric, self.against)

    @property
    def selection(self) -> pd.Series | None:
        """The row of `table` of the chosen cell; None where none is chosen or it has no difference."""
        table = self.table
        if not self.chosen:
            return None
        variant, column = self.chosen
        found = table[(table["variant"] == variant) & (table[self.columns] == column)]
        return found.iloc[0] if len(found) else None

    def select(self, variant: str, column: str | None = None) -> None:
        """Choose a cell, by default of the first column; raises InputError where there is none."""
        names = self.view.grids.columns(self.columns)
        self.chosen = [variant, names[0] if column is None else str(column)]

    def export_csv(self, path: str | Path) -> Path:
        """Write `table`; raises InputError for a path that cannot be written or does not end in .csv."""
        path = check_output(path, [".csv"])
        with atomic_write(path) as temporary:
            self.table.to_csv(temporary, index=False)
        return path

    def figure(self) -> "Figure":
        """The heat map as a matplotlib figure, without the column of all images."""
        from daclip_lab.figures.ablation.studies import heat_map

        return heat_map(self.view.results.table, "variant", self.columns, self.metric, self.against)

    def static_html(self) -> str:
        """The heat map, and a strip of the crops of the baseline and the best variant."""
        best = self.view.best(self.metric)
        pair = dict.fromkeys(name for name in (self.view.baseline, best) if name)
        return page(self.heat, self._strip(self.view.crops, tuple(pair)))

    def __repr__(self):
        return f"<AblationExplorer, {self.view.info['name']}: {self.heat['title']}>"

    # ---- what callbacks do ----

    @traitlets.validate("columns", "metric", "against", "partner")
    def _check_choice(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        if name == "partner":
            self.view.check(self.columns, self.metric, value)
        else:
            now = {each: getattr(self, each) for each in ("columns", "metric", "against")}
            self.view.check(**(now | {name: value}))
        return value

    @traitlets.validate("chosen")
    def _check_cell(self, proposal):
        value = proposal["value"]
        grids = self.view.grids
        if value:
            names = grids.variants, grids.columns(self.columns)
            if len(value) != 2:
                raise InputError(f"chosen={value!r}: wanted a variant and a column")
            for one, known in zip(value, names, strict=True):
                if one not in known:
                    raise InputError(f"chosen={one!r}: use one of {', '.join(map(repr, known))}")
        return value

    def _redraw(self, change) -> None:
        with self._drawing:
            columns = self.view.grids.columns(self.columns)
            if self.chosen and self.chosen[1] not in columns:
                self.chosen = [self.chosen[0], columns[0]]
            self.heat = self.view.heat_map(self.columns, self.metric, self.against)
            if change.name != "columns":
                self._show_crops()
        self._stills.start(self._still(), replace=True)

    def _still(self) -> Iterator[None]:
        self.refresh_static()
        yield

    def _show_crops(self) -> None:
        with self._drawing:
            if not self.chosen:
                self.crops = {}
                return
            variant, column = self.chosen
            partner = self.partner
            if partner in ("", variant):
                partner = self.view.partner(variant, self.against, self.metric)
            found = self.view.behind(variant, column, self.columns, partner, self.seed)
            for item in found["items"]:
                item["pictures"] = [
                    b"" if picture is None else encode(picture, "WEBP", lossless=True, method=0)
                    for picture in item["pictures"]
                ]
            self.crops = found
