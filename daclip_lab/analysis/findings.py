"""All that a table of embeddings has to say, in one call: maps, measures, confusion, drift and mistakes.

What a table cannot say, for want of labels, severities, clean partners or enough rows, is left out, with the reason.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from daclip_lab.analysis.drift import clean_cosine, content_drift, retrieval
from daclip_lab.analysis.embeddings import METHODS, EmbeddingMap, map_table
from daclip_lab.analysis.estimates import FEWEST, Estimate, mean, photos_of
from daclip_lab.analysis.geometry import centre_distances, class_silhouette, clean_cka
from daclip_lab.analysis.paired import clip_and_daclip, named_right, same_images, two_weights
from daclip_lab.analysis.probes import content_read, probe_accuracy, severity_regression
from daclip_lab.analysis.zero_shot import reliability
from daclip_lab.data.tables import EmbeddingTable
from daclip_lab.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

MOST_MISTAKES = 24


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found in a table; None where it cannot tell, and `left_out` says why."""

    table: EmbeddingTable
    maps: dict[str, EmbeddingMap] | None
    """By method, of the degradation embeddings."""
    answers: "pd.Series | None"
    """How many images were called what."""
    confusion: "pd.DataFrame | None"
    """What was done (rows) against DA-CLIP's answers, as shares of the row."""
    accuracy: "pd.DataFrame | None"
    """How often CLIP alone and DA-CLIP name each degradation right: `Estimate`s."""
    calibration: "pd.DataFrame | None"
    """How sure DA-CLIP's answers are against how often they are right, see `zero_shot.reliability`."""
    measures: "pd.DataFrame | None"
    """`Estimate`s: a row for each measure, a column for each of the spaces plain, content and degradation."""
    severity: "pd.DataFrame | None"
    """See `probes.severity_regression`."""
    centres: "pd.DataFrame | None"
    """See `geometry.centre_distances`."""
    drift: "pd.DataFrame | None"
    """See `drift.content_drift`."""
    controller: "pd.DataFrame | None"
    """CLIP against DA-CLIP, see `paired.clip_and_daclip`."""
    weights: "pd.DataFrame | None"
    """Other weights (first) against these (second), see `paired.two_weights`."""
    mistakes: "pd.DataFrame | None"
    """The rows that are called wrongly, the surest first; without labels, the rows of which DA-CLIP is least sure."""
    left_out: dict[str, str] = field(default_factory=dict)
    """What could not be measured: under each reason, a list in words."""


def findings(
    table: EmbeddingTable, *, against: EmbeddingTable | None = None, seed: int = 0
) -> Findings:
    """Measure everything that a table can tell.

    Args:
        against: the same images, embedded by other weights.
        seed: decides the maps.

    Raises InputError where the two tables are not of the same images.
    """
    left_out: dict[str, str] = {}
    if against is not None:
        same_images(against, table)

    def tried(what: str, measure: Callable, *arguments, **options) -> Any:
        try:
            return measure(*arguments, **options)
        except InputError as error:
            reason = str(error)
            left_out[reason] = f"{left_out[reason]}, {what}" if reason in left_out else what
            return None

    def map_of(method: str) -> EmbeddingMap:
        return map_table(table, "degradation", method, seed)

    maps = tried("maps", lambda: {method: map_of(method) for method in METHODS})
    return Findings(
        table=table,
        maps=maps,
        answers=table.rows.called.value_counts() if "called" in table.rows else None,
        confusion=tried("confusion", _confusion, table),
        accuracy=tried("accuracy of each degradation", _accuracy, table),
        calibration=tried("calibration", _calibration, table),
        measures=_measures(table, tried),
        severity=tried("severity", severity_regression, table),
        centres=tried("distances of class centres", centre_distances, table, "degradation"),
        drift=tried("drift over severity", content_drift, table),
        controller=tried("CLIP against DA-CLIP", clip_and_daclip, table),
        weights=None
        if against is None
        else tried("other weights against these", two_weights, against, table),
        mistakes=tried("mistakes", _mistakes, table),
        left_out=left_out,
    )


def _measures(table: EmbeddingTable, tried: Callable) -> "pd.DataFrame | None":
    import pandas as pd

    def found(name: str) -> Callable:
        return lambda table, space: Estimate(*retrieval(table, space).loc[name])

    kinds: dict[str, Callable] = {
        "degradation read by a linear probe": probe_accuracy,
        "degradation read by neighbours": lambda t, s: probe_accuracy(t, s, probe="knn"),
        "silhouette of the degradations": class_silhouette,
        "content read (R²)": content_read,
        "cosine to the clean partner": clean_cosine,
        "clean partner found, R@1": found("R@1"),
        "clean partner found, R@5": found("R@5"),
        "rank of the clean partner (median)": found("median rank"),
        "linear CKA with the clean images": clean_cka,
    }
    spaces = [space for space in ("plain", "content", "degradation") if space in table.spaces]
    rows = {}
    for name, measure in kinds.items():
        cells = tried(name, lambda m=measure: {space: m(table, space) for space in spaces})
        if cells is not None:
            rows[name] = cells
    return pd.DataFrame.from_dict(rows, orient="index", columns=spaces) if rows else None


def _labelled(table: EmbeddingTable) -> "pd.DataFrame":
    """The rows that have both a label and an answer."""
    if "called" not in table.rows:
        raise InputError("these weights name no degradation")
    rows = table.rows[table.rows.degradation.notna()]
    if not len(rows):
        raise InputError("no row has a label")
    return rows


def _confusion(table: EmbeddingTable) -> "pd.DataFrame":
    import pandas as pd

    rows = _labelled(table)
    counts = pd.crosstab(rows.degradation, rows.called)
    order = table.about.get("labels", [])
    done = sorted(counts.index, key=lambda x: (order.index(x) if x in order else len(order), x))
    answers = [label for label in order if label in counts.columns or label in done]
    counts = counts.reindex(index=done, columns=answers or list(counts.columns), fill_value=0)
    return counts.div(counts.sum(axis=1), axis=0)


def _calibration(table: EmbeddingTable) -> "pd.DataFrame":
    _labelled(table)
    right = named_right(table, "degradation")
    known = np.isfinite(right)
    return reliability(table.rows.probability.to_numpy()[known], right[known])


def _accuracy(table: EmbeddingTable) -> "pd.DataFrame":
    import pandas as pd

    _labelled(table)
    labels, photos = table.rows.degradation.to_numpy(), photos_of(table)
    chance = 1 / len(table.about["labels"]) if table.about.get("labels") else float("nan")
    rows = {}
    towers = {"CLIP alone": "plain", "DA-CLIP": "degradation"}
    right = {tower: named_right(table, space) for tower, space in towers.items()}
    for label in (*dict.fromkeys(label for label in labels if label is not None), "overall"):
        own = labels == label if label != "overall" else np.ones(len(table), bool)
        if np.isfinite(right["DA-CLIP"][own]).sum() >= FEWEST:
            rows[label] = {t: mean(r[own], photos[own], chance) for t, r in right.items()}
    if not rows:
        raise InputError(f"no degradation has {FEWEST} rows")
    return pd.DataFrame.from_dict(rows, orient="index")


def _mistakes(table: EmbeddingTable) -> "pd.DataFrame":
    if "called" not in table.rows:
        raise InputError("these weights name no degradation")
    rows = table.rows
    if rows.degradation.notna().any():
        wrong = rows[rows.degradation.notna() & (rows.called != rows.degradation)]
        return wrong.sort_values("probability", ascending=False).head(MOST_MISTAKES)
    return rows.sort_values("probability").head(MOST_MISTAKES)
