"""Paired comparisons: two sets of weights, or CLIP and DA-CLIP, on the same images.

Some photos are hard for both sides. The difference on each image leaves that out, so its interval is narrower than the
two intervals of the sides suggest, and says what they cannot: which side is better.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.embeddings.alignment import clean_cosines, partner_ranks
from daclip_lab.embeddings.probes import probed_right
from daclip_lab.embeddings.similarity import silhouettes
from daclip_lab.embeddings.table_columns import labels_of, photos_of
from daclip_lab.errors import InputError
from daclip_lab.metrics.bootstrap import estimate_mean

if TYPE_CHECKING:
    import pandas as pd

Side = tuple[EmbeddingTable, str]
"""A table and one of its spaces."""


def named_right(table: EmbeddingTable, space: str) -> np.ndarray:
    """Whether the answer kept in the table is right: (n,) of 0 and 1, NaN where nobody knows.

    CLIP's answer for the space "plain", DA-CLIP's for any other.
    """
    column = "clip_predicted" if space == "plain" else "predicted"
    labels = labels_of(table)
    if column not in table.rows:
        raise InputError(f"the table has no column {column!r}: embed with weights that name labels")
    known = np.isin(
        labels.astype(str), table.provenance.get("labels", sorted(set(labels) - {None}))
    )
    return np.where(known, (table.rows[column].to_numpy() == labels).astype(float), np.nan)


def _found(k: int):
    def found(table: EmbeddingTable, space: str) -> np.ndarray:
        ranks = partner_ranks(table, space)
        return np.where(np.isnan(ranks), np.nan, ranks <= k)

    return found


def _cosines(table: EmbeddingTable, space: str) -> np.ndarray:
    clean = (table.rows.degradation == CLEAN).to_numpy()
    return np.where(clean, np.nan, clean_cosines(table, space))


OF_DEGRADATION = {
    "named right, zero-shot": named_right,
    "read right by a linear probe": probed_right,
    "read right by its neighbours": lambda table, space: probed_right(table, space, probe="knn"),
    "silhouette": silhouettes,
}
"""Measures of how well a space tells degradations apart, one value for each row."""
OF_CONTENT = {
    "cosine to the clean partner": _cosines,
    "clean partner found, R@1": _found(1),
    "clean partner found, R@5": _found(5),
}
"""Measures of how near a space is to the clean images, one value for each row."""


def paired(measure, first: Side, second: Side) -> dict[str, float]:
    """A measure of both sides, and the mean difference (second less first) with its 95 % interval over photos.

    measure: gives one value for each row of (table, space), such as those of `OF_DEGRADATION`. Raises InputError where
    the two tables are not of the same images.
    """
    same_images(first[0], second[0])
    a, b = measure(*first), measure(*second)
    difference = estimate_mean(b - a, photos_of(first[0]))
    both = ~np.isnan(b - a)  # one side may know what the other does not
    return {
        "first": float(a[both].mean()),
        "second": float(b[both].mean()),
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "n": difference.n,
        "photos": difference.photos,
    }


def _simply(_what: str, measure: Callable, *arguments) -> Any:
    return measure(*arguments)


def clip_and_daclip(table: EmbeddingTable, tried: Callable = _simply) -> "pd.DataFrame | None":
    """What the controller adds: CLIP alone (first) against DA-CLIP (second), a row for each measure.

    Degradations are read off the degradation embedding, the content off the content embedding, and both off CLIP's.
    Measures that compare with clean partners are there where the table has them.

    tried: calls each measure as (what it is, function, *arguments), and may give None instead of raising.
        Where it gives nothing else, there is no table.
    """
    return _table(lambda space: (table, "plain"), lambda space: (table, space), tried)


def two_weights(
    first: EmbeddingTable, second: EmbeddingTable, tried: Callable = _simply
) -> "pd.DataFrame | None":
    """Two sets of weights (first, second) on the same images, a row for each measure; `tried` as above."""
    return _table(lambda space: (first, space), lambda space: (second, space), tried)


def _table(first: Callable, second: Callable, tried: Callable) -> "pd.DataFrame | None":
    """All measures of both sides: functions that give the `Side` on which a space is judged."""
    import pandas as pd

    tables = [side("content")[0] for side in (first, second)]
    measures = {name: (measure, "degradation") for name, measure in OF_DEGRADATION.items()}
    if not all("predicted" in table.rows for table in tables):
        del measures["named right, zero-shot"]
    if all(table.clean is not None for table in tables):
        measures |= {name: (measure, "content") for name, measure in OF_CONTENT.items()}
    rows = {
        name: tried("part of the paired comparisons", paired, measure, first(space), second(space))
        for name, (measure, space) in measures.items()
    }
    rows = {name: row for name, row in rows.items() if row is not None}
    return pd.DataFrame(list(rows.values()), index=list(rows)) if rows else None


def same_images(first: EmbeddingTable, second: EmbeddingTable) -> None:
    """Refuse two tables whose rows are not the same images in the same order."""
    if len(first) != len(second):
        raise InputError(f"tables of {len(first)} and {len(second)} rows: wanted the same images")
    for column in ("image", "photo", "degradation"):
        a, b = (table.rows[column].fillna("").to_numpy() for table in (first, second))
        if (a != b).any():
            row = int((a != b).argmax())
            raise InputError(
                f"row {row} is of {column} {a[row]!r} in one table and {b[row]!r} in the other: "
                "wanted the same images in the same order"
            )
