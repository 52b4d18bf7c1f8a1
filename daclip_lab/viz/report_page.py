"""A report on a folder of images: one page that holds everything it shows, to mail or to keep."""

import base64
import html
import io
from pathlib import Path
from typing import TYPE_CHECKING

from daclip_lab.analysis.estimates import Estimate
from daclip_lab.analysis.findings import Findings, findings
from daclip_lab.checkpoints import write_text
from daclip_lab.data.image_io import read_image, to_pil
from daclip_lab.data.parquet import check_folder
from daclip_lab.data.tables import EmbeddingTable
from daclip_lab.errors import InputError
from daclip_lab.pipeline import Pipeline
from daclip_lab.viz import figures, map_figures, severity_figures

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

THUMBNAIL = 132
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 920px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em } h2 { font-size: 1.2em; margin-top: 2em }
table { border-collapse: collapse; font-size: 14px } td, th { padding: 3px 12px 3px 0; text-align: left }
th { font-weight: 600 } tbody tr { border-top: 1px solid #e3e3e3 } td { font-variant-numeric: tabular-nums }
img { max-width: 100% } .wall { display: flex; flex-wrap: wrap; gap: 12px }
figure { margin: 0; width: 140px; font-size: 12px } figcaption { overflow-wrap: anywhere }
.none { width: 132px; height: 60px; background: #f4f4f4; color: #767676; padding: 4px; box-sizing: border-box }
p.note { color: #5f5f5f; max-width: 45em }
"""


def report(
    pipe: Pipeline, images, out: str | Path, *, against: Pipeline | None = None, seed: int = 0
) -> Findings:
    """Embed images, measure all that they can tell, and write it as one HTML page.

    Args:
        images: what `Pipeline.embed` takes, such as a folder; or a table that it made.
        out: the page. It loads nothing from anywhere.
        against: other weights, which see the same images; the page then says which are better.
        seed: decides the maps.

    Returns what the page shows. What the images cannot tell, for want of labels or partners, is named on the page with
    the reason.
    """
    check_folder(out)
    made = isinstance(images, EmbeddingTable)
    if made and against is not None:
        raise InputError("a table holds no images for other weights to see: name the folder")
    table = images if made else pipe.embed(images)
    other = None if against is None else against.embed(images)
    found = findings(table, against=other, seed=seed)
    # Plain ASCII, so that the page reads the same whatever a browser takes its encoding for.
    write_text(Path(out), page(found).encode("ascii", "xmlcharrefreplace").decode())
    return found


def page(found: Findings) -> str:
    """The page as text."""
    table, rows = found.table, found.table.rows
    labelled = rows.degradation.notna().any()
    labels = rows.degradation if labelled else rows.get("called", rows.degradation)
    photos = rows.photo.nunique()
    parts = [
        f"<p>{len(table)} images of {photos} photos, embedded in {table.content.shape[1]} dimensions by weights "
        f"{html.escape(str(table.about.get('weights', 'unknown')))}. In brackets: 95 % intervals over photos.</p>"
    ]

    def add(title: str, *content: str, note: str = "") -> None:
        parts.append(f"<h2>{html.escape(title)}</h2>")
        parts.append(f'<p class="note">{html.escape(note)}</p>' if note else "")
        parts.extend(content)

    if found.answers is not None:
        add("What the images are called", _html(found.answers.to_frame("images")))
    if found.maps is not None:
        shown = map_figures.map_panels(found.maps, list(labels))
        told = "the label that came with it" if labelled else "DA-CLIP's answer"
        add("Maps of the degradation embeddings", _picture(shown, "Maps"),
            note=f"A colour stands for {told}.")  # fmt: skip
    if found.accuracy is not None:
        add("Named right, zero-shot", _html(found.accuracy))
    if found.confusion is not None:
        counts = rows.degradation.value_counts()
        shown = figures.confusion_heatmap(found.confusion, counts)
        add("Confusion", _picture(shown, "Confusion of degradations"))
    if found.calibration is not None:
        shown = map_figures.reliability({"DA-CLIP": found.calibration})
        add("How sure, and how often right", _picture(shown, "Calibration"))
    if found.measures is not None:
        add("Measures in the original space", _html(found.measures),
            note="plain: CLIP alone; content and degradation: the two embeddings of DA-CLIP. Probes are asked about "
            "photos that they never saw.")  # fmt: skip
    if found.severity is not None:
        add("Severity read off the degradation embedding", _html(_merged(found.severity, "R²")),
            note="R² of ridge regression within a degradation: 1 is exact, 0 no better than the mean.")  # fmt: skip
    if found.centres is not None:
        near = found.centres.head(8)
        near = near.set_index(near["first"] + ", " + near["second"]).drop(
            columns=["first", "second"]
        )
        add("The nearest classes", _html(_merged(near, "cosine distance")))
    if found.drift is not None:
        shown = severity_figures.over_severity(
            found.drift, ylabel="cosine to the clean image",
            caption="How near an embedding of the degraded image is to CLIP's of the clean one.",
        )  # fmt: skip
        add("Drift of the content", _picture(shown, "Drift over severity"))
    for title, compared in (
        ("CLIP (first) against DA-CLIP (second)", found.controller),
        ("Other weights (first) against these (second)", found.weights),
    ):
        if compared is not None:
            add(title, _html(_merged(compared, "difference", value="difference")),
                note="Differences on the same images. An interval that holds 0 decides nothing.")  # fmt: skip
    if found.mistakes is not None and len(found.mistakes):
        title = "The surest mistakes" if labelled else "The least sure answers"
        add(title, '<div class="wall">', *map(_card, found.mistakes.itertuples()), "</div>")
    if found.left_out:
        lines = (
            f"<li>{html.escape(f'{what}: {why}')}</li>" for why, what in found.left_out.items()
        )
        add("Left out, and why", "<ul>", *lines, "</ul>")
    title = "What DA-CLIP sees in these images"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _html(table: "pd.DataFrame") -> str:
    table = table.map(lambda cell: str(cell) if isinstance(cell, Estimate) else cell)
    return table.to_html(border=0, float_format="{:.3f}".format, na_rep="")


def _merged(table: "pd.DataFrame", name: str, value: str = "value") -> "pd.DataFrame":
    """The table with value, low and high written in one column."""
    told = [f"{v:.3f} [{a:.3f}, {b:.3f}]" for v, a, b in table[[value, "low", "high"]].to_numpy()]
    rest = table.drop(columns=[value, "low", "high", "chance"], errors="ignore")
    counts = [column for column in ("n", "photos") if column in rest]
    return rest.drop(columns=counts).assign(**{name: told}, **{c: rest[c] for c in counts})


def _card(row) -> str:
    """A thumbnail with what was done, what was answered, and where the image lies."""
    try:
        small = to_pil(read_image(row.image))
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        buffer = io.BytesIO()
        small.save(buffer, "PNG")
        shown = _image(buffer.getvalue(), row.image)
    except InputError:  # a table may tell of images that are not files, or not here
        shown = '<div class="none">no image file</div>'
    done = f"{row.degradation}, " if row.degradation is not None else ""
    told = html.escape(f"{done}called {row.called} ({row.probability:.0%})")
    name = html.escape(Path(row.image).name)
    return f"<figure>{shown}<figcaption>{told}<br>{name}</figcaption></figure>"


def _picture(figure: "Figure", what: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return _image(buffer.getvalue(), what)


def _image(png: bytes, what: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(what)}" src="data:image/png;base64,{data}">'
