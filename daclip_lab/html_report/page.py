"""A report on a folder of images as one self-contained HTML page."""

import html
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.embeddings.layer_summary import MAX_CROPS, MAX_IMAGES, EmbeddedImages
from daclip_lab.embeddings.summary import ATTRIBUTED, TableSummary, summarize
from daclip_lab.embeddings.zero_shot import MAX_ERRORS
from daclip_lab.errors import InputError, InsufficientDataError
from daclip_lab.figures import classification, embeddings, interpretability, severity
from daclip_lab.files.storage import check_output, write_text
from daclip_lab.html_report import text
from daclip_lab.html_report.parts import STYLE, card, figure_html, table_html
from daclip_lab.pipeline.image_listing import listing
from daclip_lab.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    import pandas as pd

TITLE = "DA-CLIP embedding report"
NAMES = ("these weights", "other weights")
Section = tuple[str, str, str]
"""Title, explanation, and content in HTML."""


def report(
    pipe: Pipeline,
    images,
    out: str | Path,
    *,
    against: Pipeline | None = None,
    names: tuple[str, str] = NAMES,
    seed: int = 0,
) -> TableSummary:
    """Embed images, compute every measure that they support, and write all of it as one HTML page.

    Args:
        images: what `Pipeline.embed` takes, such as a folder; or a table that it made.
        out: the HTML file. It loads nothing from anywhere.
        against: other weights, which embed the same images for a paired comparison.
        names: how the page refers to the weights and to the other weights.
        seed: of the maps.

    Returns the content of the page. Measures that the images do not support are listed there with the reason.

    Raises InputError for images that cannot be read, an output folder that does not exist, or `against` with a table.
    """
    check_output(out)
    other = None
    if isinstance(images, EmbeddingTable):
        if against is not None:
            raise InputError("a table holds no images to embed with other weights: give the folder")
        table, shown, clean = images, list(images.rows.image), images.rows.partner
        clean = None if images.clean is None or clean.isna().any() else list(clean)
    else:
        # One listing for both: weights with other labels would read the folder's names differently.
        shown, clean, metadata = listing(images, labels=pipe.settings.labels)
        table = pipe.embed(list(shown), clean=clean, metadata=metadata)
        if against is not None:
            other = against.embed(list(shown), clean=clean, metadata=metadata)
    try:
        embedded, reason = EmbeddedImages(pipe=pipe, table=table, images=shown, clean=clean), None
    except InsufficientDataError as error:
        embedded, reason = None, str(error)
    summary = summarize(table, embedded=embedded, against=other, seed=seed)
    if reason is not None:
        summary.skipped.update(dict.fromkeys(("layer by layer", "attributions"), reason))
    # Plain ASCII, so that no browser can guess a wrong encoding.
    write_text(Path(out), page(summary, names).encode("ascii", "xmlcharrefreplace").decode())
    return summary


def page(summary: TableSummary, names: tuple[str, str] = NAMES) -> str:
    """The HTML of the page."""
    sections = [
        *_classification(summary),
        *_embeddings(summary),
        *_content(summary, names),
        *_images(summary),
        *_skipped(summary),
    ]
    links = (f'<a href="#s{k}">{html.escape(title)}</a>' for k, (title, *_) in enumerate(sections))
    results = "".join(f"<li>{html.escape(line)}" for line in text.key_results(summary, names))
    body = "\n".join(
        f'<h2 id="s{k}">{html.escape(title)}</h2>\n'
        + (f'<p class="note">{html.escape(note)}</p>\n' if note else "")
        + content
        for k, (title, note, content) in enumerate(sections)
    )
    table = summary.table
    weights = f"{names[0]} ({table.provenance.get('weights', 'unknown')})"
    provenance = (
        f"{len(table)} images of {table.rows.photo.nunique()} photos, embedded in {table.content.shape[1]} dimensions "
        f"by {weights}. In brackets: 95\u00a0% bootstrap intervals over photos, since crops of one photo are alike."
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title>\n'
        f"<style>{STYLE}</style></head><body><h1>{TITLE}</h1>\n<p>{html.escape(provenance)}</p>\n"
        f"<ul>{results}</ul>\n<nav>{' '.join(links)}</nav>\n{body}\n</body></html>\n"
    )


def _classification(summary: TableSummary) -> Iterator[Section]:
    if summary.prediction_counts is not None and not _labelled(summary):
        counts = table_html(summary.prediction_counts.to_frame("images"))
        yield "Predicted degradations", "", counts
    if summary.accuracy is not None:
        note = (
            "Zero-shot classification. An interval of zero width only means that all or none were correct: with n "
            "photos the true accuracy may still differ by about 3/n."
        )
        yield "Accuracy by degradation", note, table_html(text.accuracy_table(summary.accuracy))
    if summary.confusion is not None:
        counts = summary.table.rows.degradation.value_counts()
        figure = classification.confusion_heatmap(summary.confusion, counts)
        yield "Confusion matrix", "", figure_html(figure, "confusion matrix")
    if summary.calibration is not None:
        figure = classification.reliability({"DA-CLIP": summary.calibration})
        yield "Calibration", "", figure_html(figure, "reliability diagram")


def _embeddings(summary: TableSummary) -> Iterator[Section]:
    if summary.maps is not None:
        labelled = _labelled(summary)
        rows = summary.table.rows
        labels = rows.degradation if labelled else rows.get("predicted", rows.degradation)
        note = (
            f"Colour: the {'label' if labelled else 'prediction'} of an image. Distances on a map are not reliable; "
            "the tables below measure in the original space."
        )
        figure = embeddings.map_panels(summary.maps, list(labels))
        yield "Maps of the degradation embeddings", note, figure_html(figure, "maps")
    if summary.measures is not None:
        note = (
            "clip: CLIP without the controller; content and degradation: the two embeddings of DA-CLIP. The "
            "degradation should be predictable from the degradation embedding, and the content of the clean image from "
            "the content embedding. Probes are tested on photos that they were not trained on."
        )
        yield "Probes and similarity", note, table_html(text.measure_table(summary.measures))
    if summary.severity is not None:
        note = "Ridge regression within each degradation. R²: 1 is exact, 0 is no better than predicting the mean."
        yield "Severity", note, table_html(text.severity_table(summary.severity))
    if summary.centroids is not None:
        note = (
            "Classes with near centroids in the degradation space are more likely to be confused."
        )
        yield "Nearest class centroids", note, table_html(text.centroid_table(summary.centroids))
    if (layers := summary.layers) is not None:
        note = (
            f"{layers.images} images of {layers.photos} photos (at most {MAX_IMAGES}, balanced over degradations), "
            f"with up to {MAX_CROPS} crops of each besides the whole image, through every block of both towers."
        )
        figures = [interpretability.injection_heatmap(layers.injection)]
        tables = layers.probe, layers.clean_cosine
        if any(table is not None for table in tables):
            figures.insert(0, interpretability.block_curves(*tables, chance=layers.chance))
        shown = "\n".join(figure_html(figure, "layer by layer") for figure in figures)
        yield "Layer by layer", note, shown


def _content(summary: TableSummary, names: tuple[str, str]) -> Iterator[Section]:
    shown = []
    if summary.drift is not None:
        figure = severity.over_severity(
            summary.drift,
            ylabel="cosine to the clean image",
            caption="Higher is closer to CLIP's embedding of the clean image.",
        )
        shown.append(figure_html(figure, "drift over severity"))
    if summary.clean_cosine is not None:
        shown.append(table_html(text.cosine_table(summary.clean_cosine)))
    if shown:
        note = (
            "Cosine between the embedding of the degraded image and CLIP's embedding of its clean partner; 1 is no "
            "drift. DA-CLIP: the content embedding."
        )
        yield "Content drift", note, "\n".join(shown)
    note = (
        "Paired differences on the same images (second column minus first). A difference is undecided where its "
        "interval contains 0. Degradations: in the degradation embedding; content: in the content embedding."
    )
    sides = (summary.controller, *text.MODELS), (summary.weights, names[1], names[0])
    for table, first, second in sides:
        if table is not None:
            shown = table_html(text.paired_table(table, first, second))
            yield f"{first} against {second}", note, shown


def _images(summary: TableSummary) -> Iterator[Section]:
    note = ""
    if summary.attributions:
        note = (
            " Below an image: its attribution by integrated gradients. Orange patches support the prediction, violet "
            "ones oppose it; colours are scaled for each image."
        )
    if summary.errors is not None and len(summary.errors):
        title = "Most confident errors" if _labelled(summary) else "Least confident predictions"
        limits = f"Up to {MAX_ERRORS}, the first {ATTRIBUTED} with attributions.{note}"
        yield title, limits, _wall(summary, summary.errors)
    if summary.correct is not None and len(summary.correct) and summary.attributions:
        limits = f"One of each degradation, at most {ATTRIBUTED}.{note}"
        shown = _wall(summary, summary.correct.head(ATTRIBUTED))
        yield "Most confident correct predictions", limits, shown


def _wall(summary: TableSummary, rows: "pd.DataFrame") -> str:
    cards = []
    for row in rows.itertuples():
        truth = f"{row.degradation}, " if row.degradation is not None else ""
        caption = f"{truth}classified as {row.predicted} ({row.probability:.0%})"
        attribution = summary.attributions.get(row.Index)
        cards.append(card(summary.images[row.Index], Path(row.image).name, caption, attribution))
    return f'<div class="wall">{"".join(cards)}</div>'


def _skipped(summary: TableSummary) -> Iterator[Section]:
    note = (
        "Folders named like a degradation give labels; pairs <degradation>/LQ and <degradation>/GT give clean "
        "partners, too; a table that `daclip-lab embed --protocol` made has severities."
    )
    lines = [
        f'<li>{html.escape(reason)}<br><span class="note">{html.escape(", ".join(measures))}</span>'
        for reason, measures in summary.skipped_by_reason().items()
    ]
    if lines:
        yield "Skipped measures", note, f"<ul>{''.join(lines)}</ul>"


def _labelled(summary: TableSummary) -> bool:
    return bool(summary.table.rows.degradation.notna().any())
