"""Paired comparisons on the same images: CLIP against DA-CLIP, or one set of weights against another.

Some photos are hard for both sides. The difference on each image cancels that, so its interval is narrower than those
of the two sides suggest, and decides which side is better.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.embeddings.alignment import clean_cosines, partner_ranks
from daclip_lab.embeddings.class_separation import silhouette_values
from daclip_lab.embeddings.probes import probe_correct
from daclip_lab.embeddings.zero_shot import predictable
from daclip_lab.errors import InputError, InsufficientDataError
from daclip_lab.metrics.bootstrap import estimate_mean

if TYPE_CHECKING:
    import pandas as pd

TableSpace = tuple[EmbeddingTable, str]
"""A table and one of its spaces."""


def zero_shot_correct(table: EmbeddingTable, space: str) -> np.ndarray:
    """Whether the stored prediction is right: (n,) of 0 and 1, NaN for rows that the weights have no label for.

    The prediction is CLIP's for the space "clip", and DA-CLIP's for any other.
    """
    column = "clip_predicted" if space == "clip" else "predicted"
    if column not in table.rows:
        raise InsufficientDataError(f"the table has no column {column!r}")
    if not (known := predictable(table)).any():
        raise InsufficientDataError("no row has a label that the weights can predict")
    correct = (table.rows[column] == table.rows.degradation).to_numpy(float)
    return np.where(known, correct, np.nan)


def _retrieved(k: int) -> Callable[[EmbeddingTable, str], np.ndarray]:
    def retrieved(table: EmbeddingTable, space: str) -> np.ndarray:
        ranks = partner_ranks(table, space)
        return np.where(np.isnan(ranks), np.nan, ranks <= k)

    return retrieved


DEGRADATION_MEASURES = {
    "zero-shot accuracy": zero_shot_correct,
    "linear probe accuracy": probe_correct,
    "k-NN probe accuracy": lambda table, space: probe_correct(table, space, probe="knn"),
    "silhouette": silhouette_values,
}
"""How well a space separates degradations: (table, space) -> one value for each row."""
CONTENT_MEASURES = {
    "cosine to the clean image": clean_cosines,
    "clean image retrieval, R@1": _retrieved(1),
    "clean image retrieval, R@5": _retrieved(5),
}
"""How close a space is to the clean images: (table, space) -> one value for each row."""


def paired_difference(
    measure: Callable[[EmbeddingTable, str], np.ndarray], first: TableSpace, second: TableSpace
) -> dict[str, float]:
    """A measure of both sides, and its mean difference (second minus first) with a 95 % interval over photos.

    `measure` gives one value for each row, NaN where there is none. Returns first, second, difference, low, high, n and
    photos. Raises InputError where the tables are not of the same images, InsufficientDataError for too few rows.
    """
    check_same_images(first[0], second[0])
    a, b = measure(*first), measure(*second)
    difference = estimate_mean(b - a, first[0].rows.photo)
    both = ~np.isnan(b - a)  # one table may have a value where the other has none
    estimate = difference._asdict()
    del estimate["chance"]
    sides = {"first": float(a[both].mean()), "second": float(b[both].mean())}
    return sides | {"difference": estimate.pop("value")} | estimate


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
    return _compare(lambda space: (table, "clip"), lambda space: (table, space), attempt)


def weights_vs_weights(
    first: EmbeddingTable, second: EmbeddingTable, attempt: Callable = _call
) -> "pd.DataFrame | None":
    """The same images embedded by two sets of weights; see `clip_vs_daclip`."""
    return _compare(lambda space: (first, space), lambda space: (second, space), attempt)


def _compare(
    first: Callable[[str], TableSpace], second: Callable[[str], TableSpace], attempt: Callable
) -> "pd.DataFrame | None":
    """All measures of two sides; each side maps DA-CLIP's space to the table and space to measure."""
    import pandas as pd

    tables = first("content")[0], second("content")[0]
    measures = {name: (measure, "degradation") for name, measure in DEGRADATION_MEASURES.items()}
    if not all("predicted" in table.rows for table in tables):
        del measures["zero-shot accuracy"]
    if all(table.clean is not None for table in tables):
        measures |= {name: (measure, "content") for name, measure in CONTENT_MEASURES.items()}
    rows = {
        name: attempt(f"paired {name}", paired_difference, measure, first(space), second(space))
        for name, (measure, space) in measures.items()
    }
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
