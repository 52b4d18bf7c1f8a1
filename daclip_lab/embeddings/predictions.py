"""What images are called, by the answers that a table of embeddings keeps, against what was done to them."""

from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.data.pairs import in_order
from daclip_lab.embeddings.table_columns import photos_of
from daclip_lab.embeddings.zero_shot import reliability
from daclip_lab.errors import InputError
from daclip_lab.metrics.bootstrap import MIN_ROWS, estimate_mean

if TYPE_CHECKING:
    import pandas as pd

MOST_MISTAKES = 24
ANSWERS = {"CLIP alone": "clip_predicted", "DA-CLIP": "predicted"}
"""The columns of a table that keep the answers of CLIP alone and of DA-CLIP."""


def accuracy(table: EmbeddingTable) -> "pd.DataFrame":
    """How often CLIP alone and DA-CLIP name each degradation right, and `overall`: `Estimate`s.

    A degradation with fewer than 10 rows, or of one photo, counts for `overall` only; one that the weights cannot name
    counts nowhere. Raises InputError where too few rows are left.
    """
    import pandas as pd

    _labelled(table)
    labels, photos, known = table.provenance.get("labels"), photos_of(table), nameable(table)
    chance = 1 / len(labels) if labels else float("nan")
    right = {
        tower: (table.rows[column] == table.rows.degradation).to_numpy(float)
        for tower, column in ANSWERS.items()
        if column in table.rows
    }
    each = {label: own for label, own in well_known(table).items() if known[own].all()}
    rows = {
        label: {tower: estimate_mean(values[own], photos[own], chance) for tower, values in right.items()}
        for label, own in (each | {"overall": known}).items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def confusion(table: EmbeddingTable) -> "pd.DataFrame":
    """What was done (rows) against DA-CLIP's answers, as shares of the row."""
    import pandas as pd

    rows = _labelled(table)
    counts = pd.crosstab(rows.degradation, rows.predicted)
    order = table.provenance.get("labels", [])
    done = sorted(counts.index, key=lambda x: (order.index(x) if x in order else len(order), x))
    answers = [label for label in order if label in counts.columns or label in done]
    counts = counts.reindex(index=done, columns=answers or list(counts.columns), fill_value=0)
    return counts.div(counts.sum(axis=1), axis=0)


def calibration(table: EmbeddingTable) -> "pd.DataFrame":
    """How sure DA-CLIP's answers are against how often they are right, see `zero_shot.reliability`."""
    _labelled(table)
    rows = table.rows[nameable(table)]
    if len(rows) < MIN_ROWS:
        raise InputError(f"{len(rows)} answers are too few: wanted at least {MIN_ROWS}")
    right = (rows.predicted == rows.degradation).to_numpy(float)
    return reliability(rows.probability.to_numpy(), right)


def mistakes(table: EmbeddingTable) -> "pd.DataFrame":
    """Up to 24 rows that are called wrongly, the surest first; without labels, those of which DA-CLIP is least sure."""
    rows = _answered(table)
    if rows.degradation.notna().any():
        wrong = rows[nameable(table) & (rows.predicted != rows.degradation)]
        return wrong.sort_values("probability", ascending=False).head(MOST_MISTAKES)
    return rows.sort_values("probability").head(MOST_MISTAKES)


def surest(table: EmbeddingTable) -> "pd.DataFrame":
    """Of each degradation the row that is called right most surely; the surest first."""
    rows = _labelled(table)
    right = rows[rows.predicted == rows.degradation].sort_values("probability", ascending=False)
    return right.drop_duplicates("degradation")


def nameable(table: EmbeddingTable) -> np.ndarray:
    """Whether the weights know the label of a row (n,): of any other no answer could be right."""
    labels, done = table.provenance.get("labels"), table.rows.degradation
    return (done.isin(labels) if labels else done.notna()).to_numpy()


def well_known(table: EmbeddingTable) -> dict[str, np.ndarray]:
    """The rows (n,), as a mask, of each degradation that has 10 or more, of several photos."""
    photos, done = photos_of(table), table.rows.degradation.to_numpy()
    masks = {label: done == label for label in in_order(filter(None, done))}
    return {
        label: own
        for label, own in masks.items()
        if own.sum() >= MIN_ROWS and len(set(photos[own])) > 1
    }


def _answered(table: EmbeddingTable) -> "pd.DataFrame":
    if "predicted" not in table.rows:
        raise InputError("these weights name no degradation")
    return table.rows


def _labelled(table: EmbeddingTable) -> "pd.DataFrame":
    """The rows that have both a label and an answer."""
    rows = _answered(table)
    rows = rows[rows.degradation.notna()]
    if not len(rows):
        raise InputError("no row has a label")
    return rows
