"""All measures of an embedding table in one call: maps, probes, confusion, drift, misclassified images.

Measures that the table does not support, for want of labels, severities, clean partners, rows or images, are skipped,
and the reason is kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.data.image_io import ImageLike
from daclip_lab.embeddings import alignment, class_separation, paired_tests, probes, zero_shot
from daclip_lab.embeddings.attribution import Attribution, attribute
from daclip_lab.embeddings.layer_summary import LayerSummary, read_or_skip, summarize_layers
from daclip_lab.embeddings.projection import METHODS, EmbeddingMap, map_table
from daclip_lab.errors import InsufficientDataError
from daclip_lab.metrics.bootstrap import Estimate
from daclip_lab.pipeline.pipeline import Pipeline

ATTRIBUTED = 6
"""Misclassified images, and correctly classified ones, that get an attribution."""
ATTRIBUTION_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class TableSummary:
    """The measures of a table; None where the table does not support one, with the reason in `skipped`."""

    table: EmbeddingTable
    maps: dict[str, EmbeddingMap] | None
    """Of the degradation embeddings, by method."""
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
    """See `alignment.cosine_by_degradation`."""
    layers: LayerSummary | None
    controller: "pd.DataFrame | None"
    """See `paired_tests.clip_vs_daclip`."""
    weights: "pd.DataFrame | None"
    """Other weights (first) against these (second), see `paired_tests.weights_vs_weights`."""
    errors: "pd.DataFrame | None"
    """See `zero_shot.confident_errors`."""
    correct: "pd.DataFrame | None"
    """See `zero_shot.confident_correct`."""
    attributions: dict[int, Attribution]
    """Attributions of the predicted label for the first rows of `errors` and `correct`, by row number."""
    images: Sequence
    """The n images, for `read_image`: those given, else the names in the table."""
    skipped: dict[str, str]
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
    pipe: Pipeline | None = None,
    images: Sequence | None = None,
    clean: Sequence | None = None,
    against: EmbeddingTable | None = None,
    seed: int = 0,
) -> TableSummary:
    """Compute every measure that a table supports.

    Args:
        pipe: the weights that made the table, for the analysis of layers and attributions.
        images: the n images of the table, anything that `read_image` takes; None takes the files that it names.
        clean: their n clean partners.
        against: the same images embedded by other weights.
        seed: of the maps.

    Raises InputError where the two tables are not of the same images.
    """
    skipped: dict[str, str] = {}
    images = list(table.rows.image) if images is None else images

    def attempt(name: str, measure: Callable, *arguments) -> Any:
        try:
            return measure(*arguments)
        except InsufficientDataError as error:
            skipped[name] = str(error)
            return None

    weights = None
    if against is not None:
        weights = paired_tests.weights_vs_weights(against, table, attempt)
    errors = attempt("misclassified images", zero_shot.confident_errors, table)
    correct = attempt("correctly classified images", zero_shot.confident_correct, table)
    layers = attributions = None
    made, own = table.provenance.get("weights"), pipe and pipe.provenance["weights"]
    if pipe is not None and made == own:
        layers = summarize_layers(pipe, table, images, clean, attempt)
        shown = [
            k for rows in (errors, correct) if rows is not None for k in rows.index[:ATTRIBUTED]
        ]
        attributions = attempt("attributions", attribute_predictions, pipe, table, images, shown)
    elif pipe is not None:
        reason = (
            f"the table was made by weights {made}, and these are {own}: name those that made it"
        )
        skipped |= dict.fromkeys(("layer by layer", "attributions"), reason)
    by_class = "cosine to the clean image by degradation"
    return TableSummary(
        table=table,
        maps=attempt("maps", _maps, table, seed),
        confusion=attempt("confusion matrix", zero_shot.confusion, table),
        accuracy=attempt("zero-shot accuracy", zero_shot.accuracy, table),
        calibration=attempt("calibration", zero_shot.calibration, table),
        measures=_measures(table, attempt),
        severity=attempt("severity regression", probes.severity_regression, table),
        centroids=attempt(
            "centroid distances", class_separation.centroid_distances, table, "degradation"
        ),
        drift=attempt("drift over severity", alignment.content_drift, table),
        clean_cosine=attempt(by_class, alignment.cosine_by_degradation, table),
        layers=layers,
        controller=paired_tests.clip_vs_daclip(table, attempt),
        weights=weights,
        errors=errors,
        correct=correct,
        attributions=attributions or {},
        images=images,
        skipped=skipped,
    )


def attribute_predictions(
    pipe: Pipeline, table: EmbeddingTable, images: Sequence[ImageLike], rows: Sequence[int]
) -> dict[int, Attribution]:
    """The attribution of the stored prediction for some rows of a table of n images, by row number."""
    found = {}
    for k in tqdm(rows, "attributions", leave=False, delay=2):
        image, label = read_or_skip(images[k]), table.rows.predicted[k]
        found[int(k)] = attribute(pipe, image, label, steps=ATTRIBUTION_STEPS)
    return found


def _maps(table: EmbeddingTable, seed: int) -> dict[str, EmbeddingMap]:
    return {method: map_table(table, "degradation", method, seed) for method in METHODS}


def _measures(table: EmbeddingTable, attempt: Callable) -> "pd.DataFrame | None":
    measures: dict[str, Callable[[EmbeddingTable, str], Estimate]] = {
        "degradation, linear probe accuracy": probes.probe_accuracy,
        "degradation, k-NN probe accuracy": lambda t, s: probes.probe_accuracy(t, s, probe="knn"),
        "degradation, silhouette": class_separation.silhouette,
        "content, ridge regression R²": probes.content_r2,
        "cosine to the clean image": alignment.clean_cosine,
        "linear CKA with the clean images": alignment.clean_cka,
    }
    spaces = [space for space in ("clip", "content", "degradation") if space in table.spaces]

    def in_each_space(measure: Callable) -> dict[str, Any]:
        return {space: measure(table, space) for space in spaces}

    rows = {name: attempt(name, in_each_space, measure) for name, measure in measures.items()}
    retrieved = attempt("clean image retrieval", in_each_space, alignment.retrieval)
    for name in () if retrieved is None else ("R@1", "R@5", "median rank"):
        rows[f"clean image retrieval, {name}"] = {
            space: Estimate(*found.loc[name]) for space, found in retrieved.items()
        }
    rows = {name: row for name, row in rows.items() if row is not None}
    return pd.DataFrame.from_dict(rows, orient="index", columns=spaces) if rows else None
