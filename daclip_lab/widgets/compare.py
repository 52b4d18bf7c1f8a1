"""The before/after slider: two images on top of each other and a divider to drag, in a notebook or on a static page.

The images are sent as PNG, without loss. A real `<input type="range">` lies over them, so that pointer, touch and
keyboard all work; `compare.js` serves both the widget and the static page.
"""

import base64
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path

from daclip_lab.data.image_io import ImageLike, read_image, to_pil
from daclip_lab.errors import InputError, extra

with extra("notebooks"):
    import anywidget
    import traitlets

SCRIPT = Path(__file__).with_suffix(".js")
STYLE = Path(__file__).with_suffix(".css")
SMALL = 384
"""Width in pixels up to which small images are enlarged by a whole number."""


class Compare(anywidget.AnyWidget):
    """The widget that `compare` returns; link the `position` (0..1) of several to move them together."""

    _esm = SCRIPT
    _css = STYLE
    before = traitlets.Bytes().tag(sync=True)
    after = traitlets.Bytes().tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    width = traitlets.Int().tag(sync=True)
    height = traitlets.Int().tag(sync=True)
    pixelated = traitlets.Bool().tag(sync=True)
    position = traitlets.Float(0.5, min=0, max=1).tag(sync=True)

    def __repr__(self):
        return f"<slider {' | '.join(self.labels)}, {self.width}x{self.height}>"

    def html(self) -> str:
        """The slider as a piece of HTML that needs nothing else; without scripts it shows both images."""
        names = ("width", "height", "pixelated", "position")
        settings = {name: getattr(self, name) for name in names}
        images = "\n".join(
            f'<img alt="{html.escape(label)}" width="{self.width}" '
            f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
            for label, png in zip(self.labels, (self.before, self.after), strict=True)
        )
        return f"""<div class="daclip-compare" data-settings="{html.escape(json.dumps(settings))}">
{images}
</div>
<style>{STYLE.read_text("utf-8")}</style>
<script type="module">
{SCRIPT.read_text("utf-8")}
enliven();
</script>"""

    def _repr_mimebundle_(self, **kwargs):
        """Adds the static slider, for places without a kernel: the HTML copy of a notebook, a saved notebook."""
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return {**data, "text/html": self.html()}, metadata


def compare(
    before: ImageLike,
    after: ImageLike,
    *,
    labels: Sequence[str] = ("before", "after"),
    width: int | None = None,
) -> Compare:
    """Show two images of the same size under a divider that can be dragged.

    `before` and `after` are anything that `read_image` takes; `width` is in CSS pixels, by default that of the image,
    or a whole multiple of it where the image is small. Enlarged by a whole number, pixels stay sharp squares.

    Raises InputError when the sizes differ.
    """
    pictures = [to_pil(read_image(image)) for image in (before, after)]
    (own_width, own_height), other = (picture.size for picture in pictures)
    if other != (own_width, own_height):
        raise InputError(
            f"the two images must have one size, not {own_width}x{own_height} and {other[0]}x{other[1]}"
        )
    if width is None:
        width = own_width * max(1, SMALL // own_width)
    if width < 1:
        raise InputError(f"width={width}: wanted at least 1 pixel")
    return Compare(
        before=_png(pictures[0]),
        after=_png(pictures[1]),
        labels=list(labels),
        width=width,
        height=round(own_height * width / own_width),
        pixelated=width > own_width and width % own_width == 0,
    )


def _png(picture) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
