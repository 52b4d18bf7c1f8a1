"""Paired comparisons on the same images: CLIP against DA-CLIP, or one set of weights against another.

Some photos are hard for both sides. The difference on each image cancels that, so its interval is narrower than those
of the two sides suggest, and decides which side is better.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.embeddings.alignment import clean_cosines, partner_ranks
from daclip_lab.embeddings.class_separation import silhouette_values
from daclip_lab.embeddings.probes import probe_correct
from daclip_lab.embeddings.zero_shot import predictable
from daclip_lab.errors import InputError, InsufficientDataError
from daclip_lab.metrics.bootstrap import estimate_mean

TableSpace = tuple[EmbeddingTable, str]
"""A table and one of its spaces."""
Measure = Callable[[EmbeddingTable, str], np.ndarray]
"""(table, space) -> one value for each row (n,), NaN where there is none; higher is better."""


def zero_shot_correct(table: EmbeddingTable, space: str) -> np.ndarray:
    """Whether the stored prediction is right: (n,) of 0 and 1, NaN for rows that the weights have no label for.

    The prediction is CLIP's for the space "clip", and DA-CLIP's for any other.
    """
    column = "clip_predicted" if space == "clip" else "predicted"
    if column not in table.rows:
        raise InsufficientDataError(f"the table has no column {column!r}")
    if not (known := predictable(table)).any():
        raise InsufficientDataError("no row has a label that the weights can predict")
    return np.where(known, table.rows[column] == table.rows.degradation, np.nan)


def _retrieved(table: EmbeddingTable, space: str, k: int) -> np.ndarray:
    ranks = partner_ranks(table, space)
    return np.where(np.isnan(ranks), np.nan, ranks <= k)


DEGRADATION_MEASURES: dict[str, Measure] = {
    "zero-shot accuracy": zero_shot_correct,
    "linear probe accuracy": probe_correct,
    "k-NN probe accuracy": lambda table, space: probe_correct(table, space, probe="knn"),
    "silhouette": silhouette_values,
}
"""How well a space separates degradations."""
CONTENT_MEASURES: dict[str, Measure] = {
    "cosine to the clean image": clean_cosines,
    "clean image retrieval, R@1": lambda table, space: _retrieved(table, space, 1),
    "clean image retrieval, R@5": lambda table, space: _retrieved(table, space, 5),
}
"""How close a space is to the clean images."""


def paired_difference(measure: Measure, first: TableSpace, second: TableSpace) -> dict[str, float]:
    """A measure of both sides, and its mean difference (second minus first) with a 95 % interval over photos.

    Returns first, second, difference, low, high, n and photos, of the rows that have a value on both sides. Raises
    InputError where the tables are not of the same images, InsufficientDataError for too few rows.
    """
    check_same_images(first[0], second[0])
    a, b = measure(*first), measure(*second)
    estimate = estimate_mean(b - a, first[0].rows.photo)
    both = ~np.isnan(b - a)
    return {
        "first": float(a[both].mean()),
        "second": float(b[both].mean()),
        "difference": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
        "photos": estimate.photos,
    }


def _call(_name: str, measure: Callable, *arguments) -> Any:
    return measure(*arguments)


def clip_vs_daclip(table: EmbeddingTable, attempt: Callable = _call) -> "pd.DataFrame | None":
    """What the controller adds: CLIP alone (first) against DA-CLIP (second), see `paired_difference`.

    DA-CLIP's degradation embedding is measured for degradations, its content embedding for content, and CLIP's for
    both. Content is measured where the table has clean partners.

    Args:
        attempt: calls each measure as (name, function, *arguments); where it returns None, the measure is left out.

    Returns a row for each measure; None without any.
    """
    return _compare(table, table, attempt, first_space="clip")


def weights_vs_weights(
    first: EmbeddingTable, second: EmbeddingTable, attempt: Callable = _call
) -> "pd.DataFrame | None":
    """The same images embedded by two sets of weights; see `clip_vs_daclip`."""
    return _compare(first, second, attempt)


def _compare(
    first: EmbeddingTable, second: EmbeddingTable, attempt: Callable, first_space: str | None = None
) -> "pd.DataFrame | None":
    """All measures of two tables, in the same space, or in `first_space` of the first."""
    measures = {name: (measure, "degradation") for name, measure in DEGRADATION_MEASURES.items()}
    if not ("predicted" in first.rows and "predicted" in second.rows):
        del measures["zero-shot accuracy"]
    if first.clean is not None and second.clean is not None:
        measures |= {name: (measure, "content") for name, measure in CONTENT_MEASURES.items()}
    rows = {}
    for name, (measure, space) in measures.items():
        sides = (first, first_space or space), (second, space)
        rows[name] = attempt(f"paired {name}", paired_difference, measure, *sides)
    rows = {name: row for name, row in rows.items() if row is not None}
    return pd.DataFrame.from_dict(rows, orient="index") if rows else None


def check_same_images(first: EmbeddingTable, second: EmbeddingTable) -> None:
    """Raise InputError for two tables whose rows are not the same images in the same order."""
    if len(first) != len(second):
        raise InputError(
            f"tables of {len(first)} and {len(second)} rows are not of the same images"
        )
    for column in ("image", "photo", "degradation"):
        a, b = (table.rows[column].fillna("").to_numpy() for table in (first, second))
        if (a != b).any():
            row = int((a != b).argmax())
            raise InputError(
                f"row {row} has the {column} {a[row]!r} in one table and {b[row]!r} in the other: "
                "expected the same images in the same order"
            )
