"""A report on a folder of images as one self-contained HTML page."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template

import pandas as pd

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.embeddings.summary import ATTRIBUTED, TableSummary, summarize
from daclip_lab.errors import InputError
from daclip_lab.figures import classification, embeddings, interpretability, severity
from daclip_lab.files.storage import check_output, write_text
from daclip_lab.html_report import text
from daclip_lab.html_report.parts import card, figure_html, table_html
from daclip_lab.html_report.text import NOTES
from daclip_lab.pipeline.image_listing import listing
from daclip_lab.pipeline.pipeline import Pipeline

NAMES = ("these weights", "other weights")
PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>DA-CLIP embedding report</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 920px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em } h2 { font-size: 1.2em; margin-top: 2.2em } p, li { max-width: 48em }
table { border-collapse: collapse; font-size: 14px } td, th { padding: 3px 16px 3px 0; text-align: left }
th { font-weight: 600; vertical-align: bottom } tbody th { font-weight: 400 } tbody tr { border-top: 1px solid #e3e3e3 }
td { font-variant-numeric: tabular-nums; white-space: nowrap }
img { max-width: 100% } .wall { display: flex; flex-wrap: wrap; gap: 14px }
figure { margin: 0; width: 140px; font-size: 12px } figure img { display: block; margin-bottom: 3px }
figcaption { overflow-wrap: anywhere; line-height: 1.35 } nav a { margin-right: 1.1em; white-space: nowrap }
.none { width: 132px; height: 60px; background: #f4f4f4; color: #767676; padding: 4px; box-sizing: border-box }
.note { color: #5f5f5f } .note:empty { display: none }
</style></head><body><h1>DA-CLIP embedding report</h1>
<p>$provenance</p>
<ul>$results</ul>
<nav>$links</nav>
$sections
</body></html>
""")
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
    summary = summarize(table, pipe=pipe, images=shown, clean=clean, against=other, seed=seed)
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
    lines = text.key_results(summary, names)
    return PAGE.substitute(
        provenance=escape(text.provenance(summary.table, names[0])),
        results="".join(f"<li>{escape(line)}" for line in lines),
        links=" ".join(f'<a href="#s{k}">{escape(s[0])}</a>' for k, s in enumerate(sections)),
        sections="\n".join(
            f'<h2 id="s{k}">{escape(title)}</h2>\n<p class="note">{escape(note)}</p>\n{content}'
            for k, (title, note, content) in enumerate(sections)
        ),
    )


def _classification(summary: TableSummary) -> Iterator[Section]:
    rows = summary.table.rows
    if "predicted" in rows and not _labelled(summary):
        counts = rows.predicted.value_counts().to_frame("images")
        yield "Predicted degradations", "", table_html(counts)
    if summary.accuracy is not None:
        table = text.accuracy_table(summary.accuracy)
        yield "Accuracy by degradation", NOTES["accuracy"], table_html(table)
    if summary.confusion is not None:
        counts = rows.degradation.value_counts()
        figure = classification.confusion_heatmap(summary.confusion, counts)
        yield "Confusion matrix", "", figure_html(figure, "confusion matrix")
    if summary.calibration is not None:
        figure = classification.reliability({"DA-CLIP": summary.calibration})
        yield "Calibration", "", figure_html(figure, "reliability diagram")


def _embeddings(summary: TableSummary) -> Iterator[Section]:
    if summary.maps is not None:
        rows = summary.table.rows
        by_label = _labelled(summary) or "predicted" not in rows
        labels = rows.degradation if by_label else rows.predicted
        figure = embeddings.map_panels(summary.maps, list(labels))
        yield "Maps of the degradation embeddings", NOTES["maps"], figure_html(figure, "maps")
    if summary.measures is not None:
        table = text.measure_table(summary.measures)
        yield "Probes and similarity", NOTES["measures"], table_html(table)
    if summary.severity is not None:
        yield "Severity", NOTES["severity"], table_html(text.severity_table(summary.severity))
    if summary.centroids is not None:
        table = text.centroid_table(summary.centroids)
        yield "Nearest class centroids", NOTES["centroids"], table_html(table)
    if (layers := summary.layers) is not None:
        figures = [interpretability.injection_heatmap(layers.injection)]
        tables = layers.probe, layers.clean_cosine
        if any(table is not None for table in tables):
            figures.insert(0, interpretability.block_curves(*tables, chance=layers.chance))
        note = f"{layers.images} images of {layers.photos} photos. {NOTES['layers']}"
        yield "Layer by layer", note, "\n".join(figure_html(f, "layer by layer") for f in figures)


def _content(summary: TableSummary, names: tuple[str, str]) -> Iterator[Section]:
    shown = ""
    if summary.drift is not None:
        figure = severity.over_severity(summary.drift, ylabel="cosine to the clean image")
        shown += figure_html(figure, "drift over severity")
    if summary.clean_cosine is not None:
        shown += table_html(text.cosine_table(summary.clean_cosine))
    if shown:
        yield "Content drift", NOTES["drift"], shown
    sides = (summary.controller, *text.MODELS), (summary.weights, names[1], names[0])
    for table, first, second in sides:
        if table is not None:
            table = text.paired_table(table, first, second)
            yield f"{first} against {second}", NOTES["paired"], table_html(table)


def _images(summary: TableSummary) -> Iterator[Section]:
    errors, correct = summary.errors, summary.correct
    note = NOTES["attributions"] if summary.attributions else ""
    if errors is not None and len(errors):
        title = "Most confident errors" if _labelled(summary) else "Least confident predictions"
        yield title, f"{NOTES['errors']} {note}", _wall(summary, errors)
    if correct is not None and len(correct) and summary.attributions:
        shown = _wall(summary, correct.head(ATTRIBUTED))
        yield "Most confident correct predictions", f"{NOTES['correct']} {note}", shown


def _wall(summary: TableSummary, rows: "pd.DataFrame") -> str:
    cards = []
    for row in rows.itertuples():
        truth = "" if row.degradation is None else f", labelled {row.degradation}"
        caption = f"classified as {row.predicted} ({row.probability:.0%}){truth}"
        attribution = summary.attributions.get(row.Index)
        cards.append(card(summary.images[row.Index], Path(row.image).name, caption, attribution))
    return f'<div class="wall">{"".join(cards)}</div>'


def _skipped(summary: TableSummary) -> Iterator[Section]:
    lines = [
        f'<li>{escape(reason)}<br><span class="note">{escape(", ".join(measures))}</span>'
        for reason, measures in summary.skipped_by_reason().items()
    ]
    if lines:
        yield "Skipped measures", NOTES["skipped"], f"<ul>{''.join(lines)}</ul>"


def _labelled(summary: TableSummary) -> bool:
    return bool(summary.table.rows.degradation.notna().any())
