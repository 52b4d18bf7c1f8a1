"""All that a table of embeddings has to say, in one call: maps, measures, confusion, drift and mistakes.

What it cannot say, for want of labels, severities, clean partners, enough rows or the images themselves, is left out,
with the reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.embeddings.alignment import clean_cosine, clean_cosines, content_drift, retrieval
from daclip_lab.embeddings.attribution import Attribution
from daclip_lab.embeddings.internals import Inside, Source, attributions, inside
from daclip_lab.embeddings.paired_tests import clip_and_daclip, same_images, two_weights
from daclip_lab.embeddings.predictions import (
    accuracy,
    calibration,
    confusion,
    mistakes,
    surest,
    well_known,
)
from daclip_lab.embeddings.probes import content_read, probe_accuracy, severity_regression
from daclip_lab.embeddings.projection import METHODS, EmbeddingMap, map_table
from daclip_lab.embeddings.similarity import centre_distances, class_silhouette, clean_cka
from daclip_lab.embeddings.table_columns import photos_of
from daclip_lab.errors import InputError
from daclip_lab.metrics.bootstrap import Estimate, estimate_mean

if TYPE_CHECKING:
    import pandas as pd

EXPLAINED = 6
"""Mistakes, and right answers, for which it is shown which patches speak for them."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found in a table; None where it cannot tell, and `skipped` says why."""

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
    drift_of_each: "pd.DataFrame | None"
    """The cosine to the clean partner of each degradation, for CLIP alone and DA-CLIP, and how much more it is: paired
    `Estimate`s."""
    inside: Inside | None
    """Block by block."""
    controller: "pd.DataFrame | None"
    """CLIP alone (first) against DA-CLIP (second), see `paired.paired`: a row for each measure."""
    weights: "pd.DataFrame | None"
    """Other weights (first) against these (second), likewise."""
    mistakes: "pd.DataFrame | None"
    """The rows that are called wrongly, the surest first; without labels, the rows of which DA-CLIP is least sure."""
    right: "pd.DataFrame | None"
    """Of each degradation the row that is called right most surely; the surest degradations first."""
    attributions: dict[int, Attribution] = field(default_factory=dict)
    """Which patches speak for the answer, for the first rows of `mistakes` and `right`, by number of the row."""
    images: Sequence = ()
    """The images (n) of the table's rows, for `read_image`; the names in the table unless they were given."""
    skipped: dict[str, str] = field(default_factory=dict)
    """What could not be measured: under each reason, a list in words."""


def findings(
    table: EmbeddingTable,
    *,
    source: Source | None = None,
    against: EmbeddingTable | None = None,
    seed: int = 0,
) -> Findings:
    """Measure everything that a table can tell.

    Args:
        source: the images and the weights behind the table, for what only they can tell: block by block and patch by
            patch.
        against: the same images, embedded by other weights.
        seed: decides the maps.

    Raises InputError where the two tables are not of the same images.
    """
    skipped: dict[str, str] = {}
    if against is not None:
        same_images(against, table)

    def tried(what: str, measure: Callable, *arguments, **options) -> Any:
        try:
            return measure(*arguments, **options)
        except InputError as error:
            also = skipped.get(reason := str(error), "")
            if what not in also.split(", "):
                skipped[reason] = f"{also}, {what}" if also else what
            return None

    def map_of(method: str) -> EmbeddingMap:
        return map_table(table, "degradation", method, seed)

    maps = tried("maps", lambda: {method: map_of(method) for method in METHODS})
    wrong = tried("mistakes", mistakes, table)
    right = tried("right answers", surest, table)
    explained = None
    if source is not None:
        shown = [k for rows in (wrong, right) if rows is not None for k in rows.index[:EXPLAINED]]
        explained = tried("patch by patch", attributions, source, shown)
    return Findings(
        table=table,
        maps=maps,
        answers=table.rows.predicted.value_counts() if "predicted" in table.rows else None,
        confusion=tried("confusion", confusion, table),
        accuracy=tried("accuracy of each degradation", accuracy, table),
        calibration=tried("calibration", calibration, table),
        measures=_measures(table, tried),
        severity=tried("severity", severity_regression, table),
        centres=tried("distances of class centres", centre_distances, table, "degradation"),
        drift=tried("drift over severity", content_drift, table),
        drift_of_each=tried("drift of each degradation", _drift_of_each, table),
        inside=None if source is None else inside(source, tried),
        controller=clip_and_daclip(table, tried),
        weights=None if against is None else two_weights(against, table, tried),
        mistakes=wrong,
        right=right,
        attributions=explained or {},
        images=list(table.rows.image) if source is None else source.images,
        skipped=skipped,
    )


def _frame(rows: dict[str, dict]) -> "pd.DataFrame | None":
    import pandas as pd

    return pd.DataFrame.from_dict(rows, orient="index") if rows else None


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


def _drift_of_each(table: EmbeddingTable) -> "pd.DataFrame":
    plain, content = (clean_cosines(table, space) for space in ("plain", "content"))
    degraded = (table.rows.degradation != CLEAN).to_numpy()
    each, photos = well_known(table) | {"overall": degraded}, photos_of(table)
    each.pop(CLEAN, None)
    return _frame(
        {
            label: {
                "CLIP alone": estimate_mean(plain[own], photos[own]),
                "DA-CLIP": estimate_mean(content[own], photos[own]),
                "difference": estimate_mean((content - plain)[own], photos[own]),
            }
            for label, own in each.items()
        }
    )
