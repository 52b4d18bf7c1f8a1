"""The before/after slider: pictures on top of each other and a divider to drag, in a notebook or on a static page.

The pictures travel as PNG, without loss, and are exchanged in place. `compare.js` (what is shown) and
`compare_controls.js` (how a person moves it) serve the widget and the page alike.
"""

import html
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from daclip_lab.data.image_io import ImageLike, read_image, to_pil
from daclip_lab.errors import InputError, extra
from daclip_lab.figures.primitives import strip
from daclip_lab.widgets.static import MAX_BYTES, StaticCopy, data_url, encode

with extra("notebooks"):
    import anywidget
    import traitlets

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
SCRIPT = "\n".join(
    (HERE / name).read_text("utf-8") for name in ("compare_controls.js", "compare.js")
)
STYLE = (HERE / "compare.css").read_text("utf-8")
MODES = ("split", "blink", "difference", "side by side")
NAMES = ("before", "after", "clean")
SMALL = 512
"""Longest side in pixels up to which small images are enlarged by a whole number."""
PAGE = 840
"""Width in pixels of the pictures together, where scripts do not run."""
LOSSY = ((1.0, 92), (1.0, 80), (0.5, 85), (0.5, 60), (0.25, 75))
"""Size and JPEG quality of static copies of large pictures, from the best; the first that is small enough is taken."""
LOSSY_PIXELS = 2_000_000
"""Static copies that are not lossless hold at most so many pixels in all, so that they are made quickly."""


def _numbers(low: float, high: float, *values: float) -> bool:
    return all(low <= value <= high and math.isfinite(value) for value in values)


_RULES = {
    "labels": (lambda labels: len(labels) == 3, "three texts"),
    "mode": (lambda mode: mode in MODES, f"one of {', '.join(MODES)}"),
    "position": (lambda value: _numbers(0, 1, value), "a number in 0..1"),
    "zoom": (lambda value: _numbers(1, math.inf, value), "a number of at least 1"),
    "center": (lambda xy: len(xy) == 2 and _numbers(0, 1, *xy), "[x, y], both in 0..1"),
    "width": (lambda width: width >= 1, "at least 1 pixel"),
}


class CompareSlider(StaticCopy, anywidget.AnyWidget):
    """Two pictures of one size under a divider to drag, and a clean one that both can be compared with.

    The traits can be set at any time, from any thread, and linked to those of other widgets; the view follows in place.

    Args:
        before: anything that `read_image` takes, as are `after` and `clean`.
        labels: the names of the pictures, with or without that of the clean one.
        width: of one picture in CSS pixels; by default that of the image, or a whole multiple where that is small.
        traits: first values of other traits: mode, position, zoom, center, layout.

    Raises InputError when the sizes differ, or when a trait has a value that it cannot have.
    """

    _esm = SCRIPT
    _css = STYLE
    before = traitlets.Bytes(help="a PNG file").tag(sync=True)
    after = traitlets.Bytes(help="a PNG file").tag(sync=True)
    clean = traitlets.Bytes(help="a PNG file, or nothing").tag(sync=True)
    labels = traitlets.List(traitlets.Unicode(), list(NAMES)).tag(sync=True)
    mode = traitlets.Unicode("split", help=f"one of {', '.join(MODES)}").tag(sync=True)
    position = traitlets.Float(0.5, help="of the divider, 0..1 from the left").tag(sync=True)
    zoom = traitlets.Float(1.0, help="1 shows the whole picture").tag(sync=True)
    center = traitlets.List(
        traitlets.Float(),
        [0.5, 0.5],
        help="the point of the picture in the middle, x and y in 0..1",
    ).tag(sync=True)
    width = traitlets.Int(SMALL, help="of one picture, in CSS pixels").tag(sync=True)

    def __init__(
        self,
        before: ImageLike,
        after: ImageLike,
        clean: ImageLike | None = None,
        *,
        labels: Sequence[str] = NAMES,
        width: int | None = None,
        **traits,
    ):
        self._asked_width = width
        super().__init__(**self._pictures(before, after, clean), labels=_three(labels), **traits)

    def show(
        self,
        before: ImageLike,
        after: ImageLike,
        clean: ImageLike | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Exchange the pictures in place, all at once; mode, divider and zoom stay as they are.

        Without `clean` there is no clean picture; without `labels` they stay. Raises InputError as the constructor.
        """
        named = {} if labels is None else {"labels": _three(labels)}
        changes = self._pictures(before, after, clean) | named
        with self.hold_sync():
            for name, value in changes.items():
                setattr(self, name, value)

    def html(self) -> str:
        """The slider as HTML that needs nothing else, without loss; where scripts do not run it shows all pictures."""
        return self._page(self._files(), "")

    def static_html(self) -> str:
        """As `html`, but under 400 kB: pictures too large for that are compressed, as a note below them says."""
        files = self._files()
        space = MAX_BYTES - 2_000 - len(self._page([], ""))
        if _length(files) <= space:
            return self._page(files, "")
        if _length(files) <= 1.6 * space:  # lossless WebP is up to 40 % smaller
            copies = [encode(file, "WEBP", lossless=True, quality=30, method=1) for file in files]
            if _length(copies) <= space:
                return self._page(copies, "")
        pictures = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
        width, height = pictures[0].size
        fit = min(1.0, (LOSSY_PIXELS / (len(files) * width * height)) ** 0.5)
        for scale, quality in LOSSY:
            size = (max(1, round(fit * scale * width)), max(1, round(fit * scale * height)))
            small = [picture.resize(size, Image.Resampling.LANCZOS) for picture in pictures]
            copies = [encode(picture, "JPEG", quality=quality, subsampling=0) for picture in small]
            if _length(copies) <= space:
                break
        shrunk = "" if size == (width, height) else f" of {size[0]}x{size[1]} pixels"
        note = f"a copy in JPEG quality {quality}{shrunk}; the live slider is lossless"
        return self._page(copies, note)

    def figure(self) -> "Figure":
        """The pictures side by side, each pixel a whole number of screen pixels wide."""
        files = self._files()
        longest = max(Image.open(io.BytesIO(files[0])).size)
        return strip(files, self.labels[: len(files)], zoom=max(1, SMALL // 2 // longest))

    def __repr__(self):
        return f"<slider {' | '.join(self.labels[: len(self._files())])}>"

    @traitlets.validate(*_RULES)
    def _check(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        right, wanted = _RULES[name]
        if not right(value):
            raise InputError(f"{name}={value!r}: wanted {wanted}")
        return value

    def _pictures(self, *images: ImageLike | None) -> dict:
        """The values of the traits before, after, clean and width."""
        pictures = [to_pil(read_image(image)) for image in images if image is not None]
        sizes = [f"{picture.width}x{picture.height}" for picture in pictures]
        if len(set(sizes)) > 1:
            raise InputError(f"the images must have one size, not {' and '.join(sizes)}")
        width = self._asked_width
        if width is None:
            width = pictures[0].width * max(1, SMALL // max(pictures[0].size))
        files = [encode(picture) for picture in pictures]
        return dict(zip(NAMES, [*files, b""], strict=False)) | {"width": width}

    def _files(self) -> list[bytes]:
        return [self.before, self.after, *([self.clean] if self.clean else [])]

    def _page(self, files: Sequence[bytes], note: str) -> str:
        names = ("labels", "mode", "position", "zoom", "center", "width")
        settings = {name: getattr(self, name) for name in names} | {"note": note}
        width = min(self.width, PAGE // max(1, len(files)))
        # A table stands side by side also where style sheets are removed.
        cells = "\n".join(
            f'<td><img alt="{html.escape(label)}" width="{width}" src="{data_url(file)}"><br>'
            f"{html.escape(label)}</td>"
            for label, file in zip(self.labels, files, strict=False)
        )
        return f"""<div class="daclip-compare" data-settings="{html.escape(json.dumps(settings))}">
<table><tr>
{cells}
</tr></table>
<p class="hint">{note}</p>
</div>
<style>{STYLE}</style>
<script type="module">
{SCRIPT}
enliven();
</script>"""


def _three(labels: Sequence[str]) -> list[str]:
    """Two or three labels as three."""
    texts = [labels] if isinstance(labels, str) else list(labels)
    if len(texts) not in (2, 3) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"labels={labels!r}: wanted two or three texts")
    return [*texts, NAMES[2]][:3]


def _length(files: Sequence[bytes]) -> int:
    """How many characters the addresses of these files take, without their names."""
    return sum(4 * -(-len(file) // 3) for file in files)
