"""The numbers of a heat map: variants by degradations, metrics, seeds or photos, each with its interval.

The intervals are those of `ablation.statistics`, made of arrays instead of tables, so that another choice of axes is
there at once.
"""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import pandas as pd

from daclip_lab.ablation.statistics import Cell, better, simultaneous_level
from daclip_lab.degradations.registry import in_order
from daclip_lab.errors import InputError
from daclip_lab.metrics.crossed import LEVEL, Components, components, reaches

ALL = "all images"
"""The first column of each heat map; with metrics as columns there is none."""
AXES = ("degradation", "metric", "seed", "photo")
"""What the columns of a heat map can be."""
MANY = 150
"""Differences from which on their correlation is left out of account: their intervals are Bonferroni's."""

Values = tuple[str, str, pd.DataFrame]
"""Variant, column, and values by photo and seed."""


class Grids:
    """The results of a study as arrays, and the heat maps made of them, each made once.

    `variants`, `seeds`, `metrics`, `degradations` and `photos` are the names in order.
    """

    def __init__(self, table: pd.DataFrame, variants: Sequence[str] = ()):
        """Take the table of a study, see `ablation.results`; `variants` come first and in that order.

        Raises InputError for a table without rows, and where an image has two values of a metric in one run.
        """
        if table.empty:
            raise InputError("the results hold no values: no run has ended")
        names = ("variant", "seed", "metric", "degradation", "photo")
        codes: dict[str, np.ndarray] = {}
        found: dict[str, list] = {}
        for name in names:
            codes[name], unique = pd.factorize(table[name])
            found[name] = [*map(int if name == "seed" else str, unique)]
        present = [name for name in variants if name in found["variant"]]
        self.variants = [*dict.fromkeys([*present, *found["variant"]])]
        self.seeds = sorted(found["seed"])
        self.metrics, self.photos = found["metric"], sorted(found["photo"])
        self.degradations = [*in_order(found["degradation"])]
        for name, order in (
            ("variant", self.variants),
            ("seed", self.seeds),
            ("photo", self.photos),
        ):
            codes[name] = np.array([order.index(each) for each in found[name]])[codes[name]]

        keys = ["degradation", "photo", "image"]
        image = table.groupby(keys, sort=False, observed=True).ngroup().to_numpy()
        _, first = np.unique(image, return_index=True)
        order = np.argsort(codes["photo"][first], kind="stable")  # so that a photo's images adjoin
        self._image = np.argsort(order)[image]
        self._photo = codes["photo"][first][order]
        self._degradation = np.array(found["degradation"])[codes["degradation"][first]][order]
        self._codes, self._values = codes, table["value"].to_numpy(float)
        self._arrays, self._tables = cache(self._filled), cache(self._made)

    def _filled(self, metric: str) -> np.ndarray:
        """A metric by variant, seed and image; NaN where it was not measured."""
        rows = np.flatnonzero(self._codes["metric"] == self.metrics.index(metric))
        shape = (len(self.variants), len(self.seeds), len(self._photo))
        places = (self._codes["variant"][rows], self._codes["seed"][rows], self._image[rows])
        flat = np.ravel_multi_index(places, shape)
        if len(np.unique(flat)) < len(flat):
            raise InputError(f"an image has two values of {metric!r} in one run: wanted one")
        filled = np.full(shape, np.nan)
        filled.flat[flat] = self._values[rows]
        return filled

    def table(self, axis: str, metric: str, against: str = "") -> pd.DataFrame:
        """The means of all variants, or with `against` their paired differences to that variant.

        Returns a row for each cell that has values, with the columns variant, `axis`, mean or difference, low, high
        (the interval of that number alone), photos, seeds; for differences also low_all, high_all (intervals that hold
        together for all of `ALL`, of a seed, of a metric, and for all degradations or photos) and decided ("better",
        "worse", "not decided", by the latter).
        """
        return self._tables(axis, metric, against).copy()

    def columns(self, axis: str) -> list[str]:
        """The names of the columns, from the left."""
        own = {"degradation": self.degradations, "metric": self.metrics, "seed": self.seeds,
               "photo": self.photos}[axis]  # fmt: skip
        return [*([] if axis == "metric" else [ALL]), *map(str, own)]

    def _made(self, axis: str, metric: str, against: str = "") -> pd.DataFrame:
        cells = sorted(self._cells(axis, metric, against), key=lambda c: self.variants.index(c[0]))
        names, columns = [name for name, *_ in cells], [column for _, column, _ in cells]
        found = pd.DataFrame(
            [components(part.to_numpy()) for *_, part in cells], columns=Components._fields
        )
        parts = {name: found[name].to_numpy() for name in Components._fields[1:]}
        mean, reach = found["mean"], reaches(**parts)
        kind = "difference" if against else "mean"
        table = pd.DataFrame({"variant": names, axis: columns, kind: mean, "low": mean - reach,
                              "high": mean + reach})  # fmt: skip
        if against:
            reach = reaches(**parts, level=_levels(cells, axis, against))
            table["low_all"], table["high_all"] = mean - reach, mean + reach
            metrics = columns if axis == "metric" else [metric] * len(cells)
            sign = np.where([*map(better, mean, metrics)], "better", "worse")
            table["decided"] = np.where(mean.abs() > reach, sign, "not decided")
        return table.assign(photos=found["photos"], seeds=found["seeds"])

    def _cells(self, axis: str, metric: str, against: str) -> Iterator[Values]:
        """All cells that have values, column by column."""
        reference = self.variants.index(against) if against else None
        for column in self.columns(axis):
            values = self._arrays(column if axis == "metric" else metric)
            if reference is not None:
                values = values - values[reference]
            images, seeds = np.full(len(self._photo), True), np.full(len(self.seeds), True)
            if axis == "degradation" and column != ALL:
                images = self._degradation == column
            elif axis == "photo" and column != ALL:
                images = self._photo == self.photos.index(column)
            elif axis == "seed" and column != ALL:
                seeds = np.array(self.seeds) == int(column)
            part = values[:, seeds][:, :, images]
            for k, variant in enumerate(self.variants):
                if (
                    variant != against
                    and (found := _by_photo(part[k], self._photo[images])) is not None
                ):
                    yield variant, column, found


def _by_photo(values: np.ndarray, photo: np.ndarray) -> pd.DataFrame | None:
    """Values by seed and image, images of one photo side by side, as values by photo and seed; None without any.

    As in `ablation.statistics`: the seeds that have any value, and of them the images that all have; the mean over
    photos is the mean over images.
    """
    seeds = ~np.isnan(values).all(1)
    values = values[seeds]
    images = ~np.isnan(values).any(0)
    values, photo = values[:, images], photo[images]
    if not values.size:
        return None
    level = values.mean(1, keepdims=True)
    starts = np.flatnonzero(np.r_[True, photo[1:] != photo[:-1]])
    rest = np.add.reduceat(values - level, starts, axis=1)
    by_photo = (level + rest * (len(starts) / values.shape[1])).T
    return pd.DataFrame(by_photo, index=photo[starts], columns=np.flatnonzero(seeds))


def _levels(cells: Sequence[Values], axis: str, against: str) -> np.ndarray:
    """The level of each cell's interval, so that those of its family hold together with 95 % confidence."""
    apart = axis in ("metric", "seed")
    families = [column if apart or column == ALL else "" for _, column, _ in cells]
    levels = {}
    for family in set(families):
        parts: dict[Cell, pd.DataFrame] = {
            (variant, against, column): part
            for (variant, column, part), own in zip(cells, families, strict=True)
            if own == family
        }
        levels[family] = LEVEL / len(parts) if len(parts) > MANY else simultaneous_level(parts)
    return np.array([levels[family] for family in families])
