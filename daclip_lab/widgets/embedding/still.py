"""The maps as HTML that needs no kernel: a picture without scripts, and maps to point at where scripts run."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from daclip_lab.widgets.embedding.drawing import Coloring, plain_maps, words
from daclip_lab.widgets.embedding.images import sheet
from daclip_lab.widgets.static import MAX_BYTES, data_url

ROWS = 3000
"""Rows that a still shows at most, evenly chosen."""
CELLS = (48, 40, 32)
"""Sides in pixels of the thumbnails: the largest that fit into `MAX_BYTES`."""
HERE = Path(__file__)


def still(
    places: Mapping[str, np.ndarray],
    colorings: Mapping[str, Coloring],
    rows: pd.DataFrame,
    thumbnails: Sequence[bytes] = (),
) -> str:
    """Two maps of the same n rows, at most `MAX_BYTES` long.

    Args:
        places: coordinates (n, 2) in [-1, 1] by title.
        colorings: the categories of the rows by column; the first one is seen at first.
        rows: the facts about the rows.
        thumbnails: n files, shown where they fit; or none.
    """
    n = len(rows)
    chosen = np.linspace(0, n - 1, min(n, ROWS)).astype(int)
    some = {name: np.asarray(points)[chosen] for name, points in places.items()}
    looks = {name: one._replace(codes=one.codes[chosen]) for name, one in colorings.items()}
    note = "Each mark is an image; only neighbourhoods matter."
    if len(chosen) < n:
        note += f" {len(chosen)} of {n} rows."
    first, coloring = next(iter(looks.items()))
    drawn = data_url(plain_maps(some, coloring))
    data = {
        "maps": [{"title": name, "places": _packed(at, 10_000)} for name, at in some.items()],
        "colors": [
            {"title": name, "names": one.names, "colors": one.colors, "codes": _packed(one.codes)}
            for name, one in looks.items()
        ],
        "words": [words(facts) for _, facts in rows.iloc[chosen].iterrows()],
        "note": note,
    }
    for side in CELLS if len(thumbnails) else ():
        file, columns = sheet([thumbnails[row] for row in chosen.tolist()], side)
        pictures = data | {"sheet": {"url": data_url(file), "side": side, "columns": columns}}
        page = _page(drawn, list(some), first, note, pictures)
        if len(page) <= MAX_BYTES - 2000:  # a margin for what is written around it
            return page
    return _page(drawn, list(some), first, note, data)


def _page(drawn: str, titles: list[str], column: str, note: str, data: dict) -> str:
    label = f"maps of {' and '.join(titles)}, coloured by {column}"
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return f"""<div class="daclip-maps">
<figure><img alt="{html.escape(label)}" src="{drawn}" style="max-width: 100%">
<figcaption>Colour: {html.escape(column)}. {html.escape(note)}</figcaption></figure>
<script type="application/json">{text}</script>
</div>
<style>{HERE.with_suffix(".css").read_text("utf-8")}</style>
<script type="module">
{HERE.with_suffix(".js").read_text("utf-8")}
enliven();
</script>"""


def _packed(numbers: np.ndarray, scale: int = 1) -> str:
    """Numbers times `scale` as 16-bit integers in base64."""
    integers = np.clip(np.rint(numbers * scale), -32768, 32767).astype("<i2")
    return base64.b64encode(integers.tobytes()).decode()
