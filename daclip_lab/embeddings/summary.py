"""All measures of an embedding table in one call: maps, probes, confusion, drift, misclassified images.

Measures that the table does not support, for want of labels, severities, clean partners, rows or images, are skipped,
and the reason is kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.degradations.registry import CLEAN, in_order
from daclip_lab.embeddings import zero_shot
from daclip_lab.embeddings.alignment import (
    clean_cka,
    clean_cosine,
    clean_cosines,
    content_drift,
    retrieval,
)
from daclip_lab.embeddings.attribution import Attribution, attribute
from daclip_lab.embeddings.class_separation import centroid_distances, silhouette
from daclip_lab.embeddings.layer_summary import (
    EmbeddedImages,
    LayerSummary,
    read_or_skip,
    summarize_layers,
)
from daclip_lab.embeddings.paired_tests import (
    check_same_images,
    clip_vs_daclip,
    weights_vs_weights,
)
from daclip_lab.embeddings.probes import content_r2, probe_accuracy, severity_regression
from daclip_lab.embeddings.projection import METHODS, EmbeddingMap, map_table
from daclip_lab.errors import InsufficientDataError
from daclip_lab.metrics.bootstrap import MIN_ROWS, Estimate, estimate_mean

if TYPE_CHECKING:
    import pandas as pd

ATTRIBUTED = 6
"""Misclassified images, and correctly classified ones, that get an attribution."""
ATTRIBUTION_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class TableSummary:
    """The measures of a table; None where the table does not support one, with the reason in `skipped`."""

    table: EmbeddingTable
    maps: dict[str, EmbeddingMap] | None
    """Of the degradation embeddings, by method."""
    prediction_counts: "pd.Series | None"
    """Number of images per predicted label."""
    confusion: "pd.DataFrame | None"
    """See `zero_shot.confusion`."""
    accuracy: "pd.DataFrame | None"
    """See `zero_shot.accuracy`."""
    calibration: "pd.DataFrame | None"
    """See `zero_shot.calibration`."""
    measures: "pd.DataFrame | None"
    """`Estimate`s: a row for each measure, a column for each of the spaces clip, content and degradation."""
    severity: "pd.DataFrame | None"
    """See `probes.severity_regression`."""
    centroids: "pd.DataFrame | None"
    """See `class_separation.centroid_distances`."""
    drift: "pd.DataFrame | None"
    """See `alignment.content_drift`."""
    clean_cosine: "pd.DataFrame | None"
    """The cosine to the clean image of each degradation and `overall` (rows) for "CLIP alone" and "DA-CLIP", and their
    paired "difference" (columns): `Estimate`s."""
    layers: LayerSummary | None
    controller: "pd.DataFrame | None"
    """See `paired_tests.clip_vs_daclip`."""
    weights: "pd.DataFrame | None"
    """Other weights (first) against these (second), see `paired_tests.weights_vs_weights`."""
    errors: "pd.DataFrame | None"
    """See `zero_shot.confident_errors`."""
    correct: "pd.DataFrame | None"
    """See `zero_shot.confident_correct`."""
    attributions: dict[int, Attribution] = field(default_factory=dict)
    """Attributions of the predicted label for the first rows of `errors` and `correct`, by row number."""
    images: Sequence = ()
    """The n images, for `read_image`: those given, else the names in the table."""
    skipped: dict[str, str] = field(default_factory=dict)
    """The reason for each measure that was skipped, by name of the measure."""

    def skipped_by_reason(self) -> dict[str, list[str]]:
        """The names of the skipped measures, grouped by reason."""
        reasons: dict[str, list[str]] = {}
        for name, reason in self.skipped.items():
            reasons.setdefault(reason, []).append(name)
        return reasons


def summarize(
    table: EmbeddingTable,
    *,
    embedded: EmbeddedImages | None = None,
    against: EmbeddingTable | None = None,
    seed: int = 0,
) -> TableSummary:
    """Compute every measure that a table supports.

    Args:
        embedded: the images and weights behind the table, for the analysis of layers and attributions.
        against: the same images embedded by other weights.
        seed: of the maps.

    Raises InputError where the two tables are not of the same images.
    """
    skipped: dict[str, str] = {}
    if against is not None:
        check_same_images(against, table)

    def attempt(name: str, measure: Callable, *arguments) -> Any:
        try:
            return measure(*arguments)
        except InsufficientDataError as error:
            skipped[name] = str(error)
            return None

    errors = attempt("misclassified images", zero_shot.confident_errors, table)
    correct = attempt("correctly classified images", zero_shot.confident_correct, table)
    attributions = None
    if embedded is not None:
        shown = [
            k for rows in (errors, correct) if rows is not None for k in rows.index[:ATTRIBUTED]
        ]
        attributions = attempt("attributions", attribute_predictions, embedded, shown)
    return TableSummary(
        table=table,
        maps=attempt(
            "maps", lambda: {m: map_table(table, "degradation", m, seed) for m in METHODS}
        ),
        prediction_counts=table.rows.predicted.value_counts()
        if "predicted" in table.rows
        else None,
        confusion=attempt("confusion matrix", zero_shot.confusion, table),
        accuracy=attempt("zero-shot accuracy", zero_shot.accuracy, table),
        calibration=attempt("calibration", zero_shot.calibration, table),
        measures=_measures(table, attempt),
        severity=attempt("severity regression", severity_regression, table),
        centroids=attempt("centroid distances", centroid_distances, table, "degradation"),
        drift=attempt("drift over severity", content_drift, table),
        clean_cosine=attempt("cosine to the clean image by degradation", _cosine_by_class, table),
        layers=None if embedded is None else summarize_layers(embedded, attempt),
        controller=clip_vs_daclip(table, attempt),
        weights=None if against is None else weights_vs_weights(against, table, attempt),
        errors=errors,
        correct=correct,
        attributions=attributions or {},
        images=list(table.rows.image) if embedded is None else embedded.images,
        skipped=skipped,
    )


def attribute_predictions(embedded: EmbeddedImages, rows: Sequence[int]) -> dict[int, Attribution]:
    """The attribution of the stored prediction for some rows of a table, by row number."""
    pipe, images, predicted = embedded.pipe, embedded.images, embedded.table.rows.predicted
    return {
        int(k): attribute(pipe, read_or_skip(images[k]), predicted[k], steps=ATTRIBUTION_STEPS)
        for k in tqdm(rows, "attributions", leave=False, delay=2)
    }


def _measures(table: EmbeddingTable, attempt: Callable) -> "pd.DataFrame | None":
    import pandas as pd

    measures: dict[str, Callable[[EmbeddingTable, str], Estimate]] = {
        "degradation, linear probe accuracy": probe_accuracy,
        "degradation, k-NN probe accuracy": lambda t, s: probe_accuracy(t, s, probe="knn"),
        "degradation, silhouette": silhouette,
        "content, ridge regression R²": content_r2,
        "cosine to the clean image": clean_cosine,
        "linear CKA with the clean images": clean_cka,
    }
    spaces = [space for space in ("clip", "content", "degradation") if space in table.spaces]

    def in_each_space(measure: Callable) -> dict[str, Any]:
        return {space: measure(table, space) for space in spaces}

    rows = {name: attempt(name, in_each_space, measure) for name, measure in measures.items()}
    retrieved = attempt("clean image retrieval", in_each_space, retrieval)
    for name in () if retrieved is None else ("R@1", "R@5", "median rank"):
        rows[f"clean image retrieval, {name}"] = {
            space: Estimate(*found.loc[name]) for space, found in retrieved.items()
        }
    rows = {name: row for name, row in rows.items() if row is not None}
    return pd.DataFrame.from_dict(rows, orient="index", columns=spaces) if rows else None


def _cosine_by_class(table: EmbeddingTable) -> "pd.DataFrame":
    import pandas as pd

    clip, content = (clean_cosines(table, space) for space in ("clip", "content"))
    photos, labels = table.rows.photo.to_numpy(), table.rows.degradation.to_numpy()
    rows = {}
    for name in (*in_order(filter(None, labels)), "overall"):
        own = labels != CLEAN if name == "overall" else labels == name
        large = own.sum() >= MIN_ROWS and len(set(photos[own])) > 1
        if name != CLEAN and (large or name == "overall"):
            rows[name] = {
                "CLIP alone": estimate_mean(clip[own], photos[own]),
                "DA-CLIP": estimate_mean(content[own], photos[own]),
                "difference": estimate_mean((content - clip)[own], photos[own]),
            }
    return pd.DataFrame.from_dict(rows, orient="index")
