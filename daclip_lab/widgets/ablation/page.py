"""The static copy of an `AblationExplorer`: the heat map as a table, and a strip of the crops of two variants."""

import html
from collections.abc import Sequence

from PIL import Image

from daclip_lab.figures.palette import INK, MUTED, PALE_BLUE, PALE_ORANGE
from daclip_lab.widgets.ablation.crops import Crops, Restored
from daclip_lab.widgets.ablation.view import written
from daclip_lab.widgets.static import data_url, encode

STRIP_BYTES = 230_000
"""About so many bytes of HTML for the strip of crops."""
QUALITIES = (85, 70, 50, 30)
WIDTH = 72
"""Of a crop, in CSS pixels."""
COLUMNS = 24
"""Columns of the heat map at most."""
LEFT, CENTRE = (f'align="{side}" style="text-align: {side}"' for side in ("left", "center"))


def page(heat: dict, strip: str) -> str:
    """A heat map, see `AblationView.heat_map`, above a strip of crops, as HTML that needs nothing else.

    Colours are attributes, too: a page may drop every style, as GitHub does.
    """
    names = heat["columns"][:COLUMNS]
    head = "".join(f"<th {CENTRE}>{html.escape(name)}</th>" for name in names)
    lines = []
    for row, cells in zip(heat["rows"], heat["cells"], strict=True):
        title = f' title="{html.escape(row["about"])}"' if row["about"] else ""
        reference = row["name"] == heat["reference"]
        body = "".join(_cell(cell, reference) for cell in cells[: len(names)])
        lines.append(f"<tr><th{title} {LEFT}>{html.escape(row['name'])}</th>{body}</tr>")
    left_out = len(heat["columns"]) - len(names)
    more = f" {left_out} more columns are not shown." if left_out else ""
    return f"""<div class="daclip-ablation-still">
<p><b>{html.escape(heat["title"])}</b></p>
<div style="overflow-x: auto"><table style="font-size: 12px; line-height: 1.3">
<tr><th></th>{head}</tr>
{chr(10).join(lines)}
</table></div>
<p><small>{html.escape(heat["note"])}{more}</small></p>
{strip}
</div>"""


def strip(crops: Crops, variants: Sequence[str]) -> str:
    """The crops of variants, side by side with what was given and the truth, of the first seed that has kept them."""
    seeds = [crops.seeds(variant) for variant in variants]
    common = [seed for seed in seeds[0] if all(seed in others for others in seeds)]
    items = crops.of(variants, common[0]) if common else []
    if not items:
        return "<p>The results hold no crops of these variants.</p>"
    for quality in QUALITIES:
        made = _strip(items, variants, common[0], quality)
        if len(made) <= STRIP_BYTES:
            return made
    return _strip([*items[: len(items) // 2]], variants, common[0], QUALITIES[-1])


def _strip(items: Sequence[Restored], variants: Sequence[str], seed: int, quality: int) -> str:
    kinds = ["degraded", *variants, "clean"]
    lines = []
    for k, kind in enumerate(kinds):
        cells = []
        for item in items:
            picture = [item.degraded, *item.restored, item.clean][k]
            gain = item.gains[k - 1] if 0 < k <= len(variants) else None
            below = "" if gain is None else f"<br>{written(gain, 1, sign=True)}"
            cells.append(
                f"<td {CENTRE}>{_picture(picture, f'{item.name}, {kind}', quality)}{below}</td>"
            )
        lines.append(f"<tr><th {LEFT}>{html.escape(kind)}</th>{''.join(cells)}</tr>")
    names = "".join(f"<th {CENTRE}>{html.escape(item.name)}</th>" for item in items)
    return f"""<div style="overflow-x: auto"><table style="font-size: 12px">
<tr><th></th>{names}</tr>
{chr(10).join(lines)}
</table></div>
<p><small>Seed {seed}. Numbers: PSNR over that of the degraded crop, in dB, of the pictures shown.</small></p>"""


def _picture(picture: Image.Image | None, alt: str, quality: int) -> str:
    if picture is None:
        return "not kept"
    file = encode(picture, "WEBP", quality=quality)
    return f'<img width="{WIDTH}" style="max-width: none" alt="{html.escape(alt)}" src="{data_url(file)}">'


def _cell(cell: dict | None, reference: bool) -> str:
    if cell is None:
        return "<td></td>"
    color, ink = background(cell["strength"]), MUTED if cell["pale"] else INK
    tag = "i" if reference else "span" if cell["pale"] else "b"
    return (
        f'<td align="center" bgcolor="{color}" style="text-align: center; background: {color}; color: {ink}">'
        f'<font color="{ink}"><{tag}>{cell["number"]}</{tag}><br><small>{cell["interval"]}</small></font></td>'
    )


def background(strength: float) -> str:
    """The colour of a cell: from white to blue (1, better) or orange (-1, worse)."""
    end = PALE_BLUE if strength > 0 else PALE_ORANGE
    channels = (int(end[k : k + 2], 16) for k in (1, 3, 5))
    return "#" + "".join(
        f"{round(255 + abs(strength) * (channel - 255)):02x}" for channel in channels
    )
