"""What stands in a widget's place where no kernel runs: on a web page, in a saved notebook that is opened again."""

import base64
import io
from typing import Any

from PIL import Image

from daclip_lab.data.image_io import ImageLike, read_image, to_pil

MAX_BYTES = 400_000
"""A static copy is at most so many bytes long."""

# JupyterLab shows the two outputs of a widget one below the other: its static copy, then its view. Without a kernel the
# view is the bare text "model not found", without an element, and on a page a script: the view is hidden then, the copy
# otherwise.
HIDING = """<style>
.jp-OutputArea-child:has(.daclip-static):has(
  + .jp-OutputArea-child > .jp-OutputArea-output > :not(script)) { display: none; }
.jp-OutputArea-child:has(.daclip-static)
  + .jp-OutputArea-child:not(:has(> .jp-OutputArea-output > :not(script))) { display: none; }
</style>"""


class StaticCopy:
    """Lets a widget show its static copy where no kernel runs; a base of ours, named before that of ipywidgets."""

    _display: Any = None

    def static_html(self) -> str:
        """The present state as HTML that needs nothing else, of at most `MAX_BYTES`; each widget has its own."""
        raise NotImplementedError

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        _answer_while_a_cell_runs(self)
        self._display = display(HTML(self._copy()), display_id=True)
        bundle = self._repr_mimebundle_()  # type: ignore[attr-defined]
        # Of an anywidget it is a pair: data and metadata.
        view = bundle[0] if isinstance(bundle, tuple) else bundle
        # Without its text, which a page that lacks the widget's state would show, and hide the copy for it.
        display({kind: data for kind, data in view.items() if kind != "text/plain"}, raw=True)

    def refresh_static(self) -> None:
        """Write the present state into the static copy that was displayed last, for a notebook that is saved."""
        from IPython.display import HTML

        if self._display is not None:
            self._display.update(HTML(self._copy()))

    def _copy(self) -> str:
        return f'<div class="daclip-static">{self.static_html()}</div>{HIDING}'


def _answer_while_a_cell_runs(widget: Any) -> None:
    """Have the messages of a widget and of those in it handled where JupyterLab sends them: in a second shell.

    ipykernel 7.4 takes them to the thread that has written last instead, which runs the cells.
    """
    if widget.comm is not None:
        widget.comm._reply_subshell_for = None
    for child in getattr(widget, "children", ()):
        _answer_while_a_cell_runs(child)


def encode(image: ImageLike, form: str = "PNG", **options: Any) -> bytes:
    """An image as the bytes of a PNG, JPEG or WebP file."""
    buffer = io.BytesIO()
    to_pil(read_image(image)).save(buffer, form, **options)
    return buffer.getvalue()


def data_url(file: bytes) -> str:
    """The bytes of a PNG, JPEG or WebP file as an address that holds them."""
    kind = Image.open(io.BytesIO(file)).get_format_mimetype()
    return f"data:{kind};base64,{base64.b64encode(file).decode()}"
