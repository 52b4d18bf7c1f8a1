"""A report on a folder of images: one page that holds everything it shows, to mail or to keep."""

import html
from pathlib import Path
from typing import TYPE_CHECKING

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.embeddings.internals import CROPS, MOST_TRACED, Source
from daclip_lab.embeddings.predictions import MOST_MISTAKES
from daclip_lab.embeddings.summary import EXPLAINED, Findings, findings
from daclip_lab.errors import InputError
from daclip_lab.figures import classification, embedding_maps, interpretability, severity
from daclip_lab.files.storage import check_output, write_text
from daclip_lab.html_report.parts import STYLE, card, picture_html, table_html
from daclip_lab.html_report.text import (
    compared,
    distances,
    drifts,
    in_short,
    measured,
    named,
    severities,
)
from daclip_lab.pipeline.image_listing import listing
from daclip_lab.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    import pandas as pd

TITLE = "What DA-CLIP sees in these images"
NAMES = ("these weights", "other weights")
MORE = (
    "Folders that are called like a degradation give labels; pairs <degradation>/LQ and /GT give clean partners too; "
    "a table that `daclip-lab embed --protocol` made knows severities."
)


def report(
    pipe: Pipeline,
    images,
    out: str | Path,
    *,
    against: Pipeline | None = None,
    names: tuple[str, str] = NAMES,
    seed: int = 0,
) -> Findings:
    """Embed images, measure all that they can tell, and write it as one HTML page.

    Args:
        images: what `Pipeline.embed` takes, such as a folder; or a table that it made.
        out: the page. It loads nothing from anywhere.
        against: other weights, which see the same images; the page then says which are better.
        names: what the page calls the weights and the others.
        seed: decides the maps.

    Returns what the page shows. What the images cannot tell, for want of labels or partners, is named on the page with
    the reason.
    """
    check_output(out)
    other = None
    if isinstance(images, EmbeddingTable):
        if against is not None:
            raise InputError("a table holds no images for other weights to see: name the folder")
        table, shown, clean = images, list(images.rows.image), images.rows.partner
        clean = None if images.clean is None or clean.isna().any() else list(clean)
    else:
        # Both weights see one list: they may know other labels, and would name the folders differently.
        shown, clean, known = listing(images, labels=pipe.settings.labels)
        table = pipe.embed(list(shown), clean=clean, known=known)
        if against is not None:
            other = against.embed(list(shown), clean=clean, known=known)
    try:
        source, reason = Source(pipe=pipe, table=table, images=shown, clean=clean), None
    except InputError as error:
        source, reason = None, str(error)
    found = findings(table, source=source, against=other, seed=seed)
    if reason is not None:
        found.skipped[reason] = "layer by layer, patch by patch"
    # Plain ASCII, so that the page reads the same whatever a browser takes its encoding for.
    write_text(Path(out), page(found, names).encode("ascii", "xmlcharrefreplace").decode())
    return found


def page(found: Findings, names: tuple[str, str] = NAMES) -> str:
    """The page as text."""
    sections = [*_naming(found), *_spaces(found), *_content(found, names), *_images(found)]
    if found.skipped:
        lines = [
            f'<li>{html.escape(why)}<br><span class="note">{html.escape(what)}</span>'
            for why, what in found.skipped.items()
        ]
        sections.append(("Left out, and why", MORE, f"<ul>{''.join(lines)}</ul>"))
    links = (f'<a href="#s{k}">{html.escape(title)}</a>' for k, (title, *_) in enumerate(sections))
    short = "".join(f"<li>{html.escape(line)}" for line in in_short(found, names))
    body = "\n".join(
        f'<h2 id="s{k}">{html.escape(title)}</h2>\n'
        + (f'<p class="note">{html.escape(note)}</p>\n' if note else "")
        + content
        for k, (title, note, content) in enumerate(sections)
    )
    table = found.table
    made = f"{names[0]} ({table.provenance.get('weights', 'unknown')})"
    provenance = (
        f"{len(table)} images of {table.rows.photo.nunique()} photos, embedded in {table.content.shape[1]} dimensions "
        f"by {made}. In brackets: 95\u00a0% intervals over photos, since images of one photo are alike."
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title>\n'
        f"<style>{STYLE}</style></head><body><h1>{TITLE}</h1>\n<p>{html.escape(provenance)}</p>\n"
        f"<ul>{short}</ul>\n<nav>{' '.join(links)}</nav>\n{body}\n</body></html>\n"
    )


Section = tuple[str, str, str]
"""Title, what to see, and content in HTML."""


def _naming(found: Findings) -> list[Section]:
    sections = []
    if found.answers is not None and not _labelled(found):
        sections.append(
            ("What the images are called", "", table_html(found.answers.to_frame("images")))
        )
    if found.accuracy is not None:
        note = (
            "Answers by words alone (zero-shot). An interval without width only says that all were right, or all "
            "wrong: with n photos the truth may still lie about 3/n away."
        )
        sections.append(("Named right", note, table_html(named(found.accuracy))))
    if found.confusion is not None:
        counts = found.table.rows.degradation.value_counts()
        shown = picture_html(classification.confusion_heatmap(found.confusion, counts), "confusion")
        sections.append(("Confusion", "", shown))
    if found.calibration is not None:
        shown = embedding_maps.reliability({"DA-CLIP": found.calibration})
        sections.append(("How sure, and how often right", "", picture_html(shown, "calibration")))
    return sections


def _spaces(found: Findings) -> list[Section]:
    sections, rows = [], found.table.rows
    if found.maps is not None:
        labels = rows.degradation if _labelled(found) else rows.get("predicted", rows.degradation)
        told = "the label that came with it" if _labelled(found) else "DA-CLIP's answer"
        shown = picture_html(embedding_maps.map_panels(found.maps, list(labels)), "maps")
        note = f"A colour stands for {told}. A map illustrates; only tables measure."
        sections.append(("Maps of the degradation embeddings", note, shown))
    if found.measures is not None:
        note = (
            "plain: CLIP alone; content and degradation: the two embeddings of DA-CLIP. A good controller shows the "
            "degradation in the last and the clean image's content in the middle one. Probes are asked about photos "
            "that they never saw. The last column is what embeddings that know nothing would get."
        )
        sections.append(("What can be read off", note, table_html(measured(found.measures))))
    if found.severity is not None:
        note = "Ridge regression within a degradation. R²: 1 is exact, 0 no better than always saying the mean."
        sections.append(("Severity", note, table_html(severities(found.severity))))
    if found.centres is not None:
        note = "Classes whose centres lie near each other in the degradation space are likely to be confused."
        sections.append(("The nearest classes", note, table_html(distances(found.centres))))
    if found.inside is not None:
        sections.append(_inside(found))
    return sections


def _inside(found: Findings) -> Section:
    inside, shown = found.inside, []
    if inside.readability is not None or inside.repair is not None:
        shown.append(
            interpretability.readable_and_repaired(
                inside.readability, inside.repair, chance=inside.chance
            )
        )
    shown.append(interpretability.injection_heatmap(inside.injection))
    note = (
        f"{inside.images} images of {inside.photos} photos (at most {MOST_TRACED}, evenly over the degradations), up "
        f"to {CROPS} crops of each besides the whole, followed through every block of both towers."
    )
    pictures = "\n".join(picture_html(figure, "layer by layer") for figure in shown)
    return "Layer by layer", note, pictures


def _content(found: Findings, names: tuple[str, str]) -> list[Section]:
    sections = []
    if found.drift is not None or found.drift_of_each is not None:
        shown = []
        if found.drift is not None:
            figure = severity.over_severity(
                found.drift,
                ylabel="cosine to the clean image",
                caption="The higher, the nearer to what CLIP makes of the clean image.",
            )
            shown.append(picture_html(figure, "drift over severity"))
        if found.drift_of_each is not None:
            shown.append(table_html(drifts(found.drift_of_each)))
        note = (
            "Cosine between what is made of the degraded image and what CLIP makes of its clean partner: 1 is no "
            "drift. DA-CLIP: the content embedding."
        )
        sections.append(("Drift of the content", note, "\n".join(shown)))
    note = (
        "Paired differences on the same images (second column less first). An interval that holds 0 decides nothing. "
        "Degradations are read off the degradation embedding, content off the content embedding."
    )
    if found.controller is not None:
        shown = table_html(compared(found.controller, "CLIP alone", "DA-CLIP"))
        sections.append(("CLIP against DA-CLIP", note, shown))
    if found.weights is not None:
        shown = table_html(compared(found.weights, names[1], names[0]))
        sections.append((f"{names[1]} against {names[0]}", note, shown))
    return sections


def _images(found: Findings) -> list[Section]:
    sections, heat = [], ""
    if found.attributions:
        heat = (
            " Below an image: orange patches speak for that answer, violet ones against it (integrated gradients); the "
            "strongest colour of each image is the same, however much it says."
        )
    if found.mistakes is not None and len(found.mistakes):
        title = "The surest mistakes" if _labelled(found) else "The least sure answers"
        note = f"Up to {MOST_MISTAKES}, of which the first {EXPLAINED} are explained.{heat}"
        sections.append((title, note, _wall(found, found.mistakes)))
    if found.right is not None and found.attributions:
        right = found.right.head(EXPLAINED)
        if len(right):
            note = f"One of each degradation, at most {EXPLAINED}.{heat}"
            sections.append(("The surest right answers", note, _wall(found, right)))
    return sections


def _wall(found: Findings, rows: "pd.DataFrame") -> str:
    cards = []
    for row in rows.itertuples():
        done = f"{row.degradation}, " if row.degradation is not None else ""
        told = f"{done}called {row.predicted} ({row.probability:.0%})"
        explained = found.attributions.get(row.Index)
        cards.append(card(found.images[row.Index], Path(row.image).name, told, explained))
    return f'<div class="wall">{"".join(cards)}</div>'


def _labelled(found: Findings) -> bool:
    return bool(found.table.rows.degradation.notna().any())
