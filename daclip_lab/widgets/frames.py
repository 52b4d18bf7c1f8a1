"""A slider over prerendered frames, as a piece of HTML that needs no kernel."""

import html
import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from daclip_lab.data.image_io import ImageLike, read_image, to_pil
from daclip_lab.errors import InputError
from daclip_lab.widgets.static import data_url, encode

SCRIPT = Path(__file__).with_suffix(".js")
STYLE = Path(__file__).with_suffix(".css")
MOST = 60
"""So many frames at most."""
QUALITIES = (90, 75, 60, 50, 40, 30)
SMALL = 384
"""Width in pixels up to which small frames are enlarged by a whole number."""
STRIP = 5
"""So many frames are seen without scripts."""
STRIP_WIDTH = 280
"""Their width in pixels; three fill a column of text."""


def scrubber(
    frames: Sequence[ImageLike],
    captions: Sequence[str],
    *,
    label: str,
    start: int = 0,
    max_bytes: int = 280_000,
) -> str:
    """HTML that needs nothing else: one frame, and a slider that chooses it.

    Without scripts it is a row of at most `STRIP` of the frames with their captions.

    Args:
        frames: 2 to `MOST` images of one size. They are written as WebP, at a lower quality and then smaller until they
            fit.
        captions: a text for each frame.
        label: the name of the slider.
        start: the frame that is shown first.
        max_bytes: the HTML is not longer; at least 50,000, and less than `static.MAX_BYTES` in a static copy.

    Raises InputError for another number of frames or captions, for frames of two sizes, when there is no frame `start`,
    or when `max_bytes` is too small or the captions take more than half of it.
    """
    count = len(frames)
    if not 2 <= count <= MOST:
        raise InputError(f"{count} frames: wanted 2 to {MOST}")
    if len(captions) != count:
        raise InputError(f"{len(captions)} captions of {count} frames: wanted one for each")
    if not 0 <= start < count:
        raise InputError(f"start={start}: wanted 0 to {count - 1}")
    if max_bytes < 50_000:
        raise InputError(f"max_bytes={max_bytes}: wanted at least 50000")
    pictures = [to_pil(read_image(frame)) for frame in frames]
    sizes = sorted({picture.size for picture in pictures})
    if len(sizes) > 1:
        raise InputError(f"frames of one size are wanted, not of {sizes[0]} and {sizes[-1]}")
    empty = len(_page([""] * count, captions, label, start, sizes[0]).encode())
    if empty > max_bytes // 2:
        raise InputError(f"captions that take {empty} bytes: wanted at most {max_bytes // 2}")
    files = _fitted(pictures, (max_bytes - empty) * 3 // 4)
    return _page([data_url(file) for file in files], captions, label, start, sizes[0])


def _fitted(pictures: list[Image.Image], most: int) -> list[bytes]:
    """The pictures as WebP files of `most` bytes together."""
    most -= 50 * len(pictures)  # each address begins with its kind, and is rounded up
    while True:
        for quality in QUALITIES:
            # Every fifth tells whether it is worth while to write them all.
            some = [encode(picture, "WEBP", quality=quality) for picture in pictures[::5]]
            if sum(map(len, some)) * len(pictures) / len(some) > 1.2 * most:
                continue
            files = [encode(picture, "WEBP", quality=quality) for picture in pictures]
            if sum(map(len, files)) <= most:
                return files
        width, height = (max(1, round(0.75 * side)) for side in pictures[0].size)
        pictures = [each.resize((width, height), Image.Resampling.LANCZOS) for each in pictures]


def _page(
    urls: Sequence[str], captions: Sequence[str], label: str, start: int, size: tuple[int, int]
) -> str:
    times = max(1, SMALL // size[0])
    width, height = times * size[0], times * size[1]
    narrow = min(width, STRIP_WIDTH)
    seen = sorted({round(k * (len(urls) - 1) / (STRIP - 1)) for k in range(STRIP)})
    # Tables beside each other by an attribute: a page may drop every style, as GitHub does.
    strip = "\n".join(
        f'<table align="left" width="{narrow}" role="presentation">'
        f'<tr><td><img width="{narrow}" src="{urls[k]}" alt="{html.escape(captions[k])}"></td></tr>'
        f"<tr><td>{html.escape(captions[k])}</td></tr></table>"
        for k in seen
    )
    # Frames of the strip are in it once, so null stands for them here.
    others = [None if k in seen else url for k, url in enumerate(urls)]
    settings = {
        "label": label,
        "start": start,
        "width": width,
        "height": height,
        "pixelated": times > 1,
        "captions": list(captions),
        "others": others,
    }
    data = json.dumps(settings).replace("<", "\\u003c")
    return f"""<div class="daclip-frames" role="group" aria-label="{html.escape(label)}">
{strip}
<br clear="all">
<script type="application/json">{data}</script>
</div>
<style>{STYLE.read_text("utf-8")}</style>
<script type="module">
{SCRIPT.read_text("utf-8")}
</script>"""
