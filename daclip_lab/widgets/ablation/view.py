"""What an `AblationExplorer` shows, without the browser: the heat map as numbers and texts, and the crops of a cell."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from daclip_lab.ablation.statistics import better
from daclip_lab.errors import InputError
from daclip_lab.widgets.ablation.crops import Crops, degradation_of
from daclip_lab.widgets.ablation.grids import ALL, AXES, Grids

if TYPE_CHECKING:
    from daclip_lab.ablation.results import StudyResults

DIGITS = {"dB": 2, "%": 1}
"""After the point, by unit; three for others."""

PALE = 0.2
"""Share of its colour that a difference keeps that is not decided."""


class AblationView:
    """The heat maps of a study and the crops behind their cells."""

    def __init__(self, results: "StudyResults"):
        """Read results; raises InputError where they hold no values."""
        self.results, self.info = results, results.info
        self._about = {each["name"]: each.get("about", "") for each in self.info["variants"]}
        self.grids = Grids(results.table, list(self._about))
        self.crops = Crops(results, self.grids.variants, self.grids.seeds)

    # ---- choices ----

    @property
    def baseline(self) -> str:
        """The variant that others are compared with at first, or "" while it has no values."""
        name = self.info["baseline"]
        return name if name in self.grids.variants else ""

    @property
    def metric(self) -> str:
        """The metric that decides in this study, or the first while that has no values."""
        name = self.info["metric"]
        return name if name in self.grids.metrics else self.grids.metrics[0]

    def check(self, columns: str, metric: str, against: str) -> None:
        """Raise InputError for columns, a metric or a variant to compare with ("" for none) that there is not."""
        known = {
            "columns": AXES,
            "metric": self.grids.metrics,
            "against": ["", *self.grids.variants],
        }
        for (name, names), value in zip(known.items(), (columns, metric, against), strict=True):
            if value not in names:
                raise InputError(f"{name}={value!r}: use one of {', '.join(map(repr, names))}")

    def unit(self, metric: str) -> str:
        """The unit of a metric; "" where it is not known. Metrics of one first word have one unit."""
        same = metric.split()[:1] == self.info["metric"].split()[:1]
        return self.info["unit"] if same else ""

    # ---- the heat map ----

    def table(self, columns: str, metric: str, against: str) -> pd.DataFrame:
        """The numbers of a heat map, see `Grids`; errors are those of `check`."""
        self.check(columns, metric, against)
        return self.grids.table(columns, metric, against)

    def heat_map(self, columns: str, metric: str, against: str) -> dict[str, Any]:
        """What is drawn of a table: the names of rows and columns, and a cell for each of them, or None.

        A cell holds its number and interval as texts, `strength` from -1 (worse) over 0 to 1 (better) for its colour,
        and whether it is `pale`, a difference that is not decided. The row of `against` holds its means.
        """
        table = self.table(columns, metric, against)
        cells = self._cells(table, columns, metric, "difference" if against else "mean")
        if against:
            means = self.grids.table(columns, metric)
            own = means[means["variant"] == against]
            cells |= self._cells(own, columns, metric, "mean")
        names, shown = self.grids.columns(columns), self.grids.variants
        return {
            "title": self._title(columns, metric, against),
            "rows": [{"name": name, "about": self._about.get(name, "")} for name in shown],
            "columns": names,
            "cells": [[cells.get((variant, name)) for name in names] for variant in shown],
            "reference": against,
            "note": self._note(columns, against),
        }

    def _cells(
        self, table: pd.DataFrame, columns: str, metric: str, kind: str
    ) -> dict[tuple, dict]:
        """The cells of a heat map by variant and column."""
        if columns != "metric":
            table = table.assign(metric=metric)
        found = {}
        ends = ("low_all", "high_all") if kind == "difference" else ("low", "high")
        strengths = _strengths(table, columns, kind)
        for row, strength in zip(table.to_dict("records"), strengths, strict=True):
            digits = DIGITS.get(self.unit(row["metric"]), 3)
            number, low, high = (
                written(row[name], digits, sign=kind == "difference") for name in (kind, *ends)
            )
            pale = row.get("decided") == "not decided"
            found[row["variant"], row[columns]] = {
                "number": number,
                "interval": "" if np.isnan(row[ends[0]]) else f"[{low}, {high}]",
                "sample": f"{_count(row['seeds'], 'seed')}, {_count(row['photos'], 'photo')}",
                "strength": strength * (PALE if pale else 1),
                "pale": pale,
            }
        return found

    def _title(self, columns: str, metric: str, against: str) -> str:
        what = "all metrics" if columns == "metric" else metric
        unit = "" if columns == "metric" else self.unit(metric)
        of = f"{what} ({unit})" if unit else what
        return f"{of}: difference to “{against}”" if against else f"{of}: mean"

    def _note(self, columns: str, against: str) -> str:
        if not against:
            return (
                "In brackets: the 95 % interval of each mean. The darker, the better in its column. Means share the "
                "difficulty of the photos: intervals that overlap may belong to a difference that is decided."
            )
        family = f"for all {columns}s, as for all variants in the first column,"
        if columns in ("metric", "seed"):
            family = f"for all variants in a {columns}"
        return (
            f"In brackets: 95 % intervals, wide enough to hold {family} together. Blue: better, orange: worse, pale: "
            f"not decided. The row of “{against}” holds its means."
        )

    # ---- the crops ----

    def best(self, metric: str) -> str:
        """The variant with the best mean of a metric over all images."""
        table = self.grids.table("degradation", metric, "")
        whole = table[table["degradation"] == ALL].set_index("variant")["mean"]
        return str(whole.idxmin() if better(-1, metric) else whole.idxmax())

    def partner(self, variant: str, against: str, metric: str) -> str:
        """The variant to flip with: the one compared with, else the baseline, else the best, else any other."""
        others = [against, self.baseline, self.best(metric), *self.grids.variants]
        return next((name for name in others if name and name != variant), variant)

    def behind(
        self, variant: str, column: str, columns: str, partner: str, seed: int | None
    ) -> dict:
        """The crops behind a cell: `items` with pictures and gains of the variant and of its partner, and a `note`.

        Without a seed it is that of the column where columns are seeds, else the first that has kept crops.
        """
        kept = self.crops.seeds(variant)
        wanted = int(column) if columns == "seed" and column != ALL else seed
        chosen = wanted if wanted in kept else (kept[0] if kept else None)
        degradation = column if columns == "degradation" and column != ALL else ""
        items = [] if chosen is None else self.crops.of([variant, partner], chosen, degradation)
        return {
            "variant": variant,
            "column": column,
            "partner": partner,
            "seed": chosen,
            "seeds": kept,
            "note": self._kept_note(kept, chosen, wanted),
            "items": [
                {
                    "name": item.name,
                    "first": bool(degradation) and degradation_of(item.name) == degradation,
                    "pictures": [item.degraded, *item.restored, item.clean],
                    "gains": [
                        None if gain is None else f"{written(gain, 1, sign=True)} dB"
                        for gain in item.gains
                    ],
                }
                for item in items
            ],
        }

    def _kept_note(self, kept: list[int], chosen: int | None, wanted: int | None) -> str:
        if chosen is None:
            return "No crops of this variant are kept in these results."
        notes = []
        if wanted is not None and wanted != chosen:
            notes.append(f"Crops of seed {wanted} are not kept: these are of seed {chosen}.")
        elif len(kept) < len(self.grids.seeds):
            numbers = ", ".join(map(str, kept))
            notes.append(f"Crops of seed{'s' * (len(kept) > 1)} {numbers} only are kept.")
        notes.append("Gains are of the pictures shown, which are compressed.")
        return " ".join(notes)


def _strengths(table: pd.DataFrame, columns: str, kind: str) -> list[float]:
    """-1..1 for the colour of each row: of differences one scale for each metric, of means one for each column."""
    good = table[kind] * [1 if better(1, metric) else -1 for metric in table["metric"]]
    if kind == "difference":
        found = good / good.abs().groupby(table["metric"]).transform("max")
    else:
        groups = good.groupby(table[columns])
        lowest, highest = groups.transform("min"), groups.transform("max")
        found = (good - lowest) / (highest - lowest)
    return found.fillna(0).tolist()


def written(value: float, digits: int, *, sign: bool) -> str:
    """A number with so many digits after the point and a true minus sign; zero has no minus."""
    return f"{round(value, digits) + 0.0:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"
