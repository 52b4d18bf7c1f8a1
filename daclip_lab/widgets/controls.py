"""Widgets whose picture follows controls: a figure, or the before/after slider.

They draw in the thread in which the kernel handles the message of a control, one picture at a time. A control that is
moved meanwhile has its newest value drawn, and no value before that.
"""

import html
import inspect
import io
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import Image

from daclip_lab.errors import InputError, extra
from daclip_lab.figures.style import DRAWING
from daclip_lab.widgets.compare import CompareSlider
from daclip_lab.widgets.frames import MOST, scrubber
from daclip_lab.widgets.static import StaticCopy, data_url, encode

with extra("notebooks"):
    import ipywidgets

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def controlled(
    draw: "Callable[..., Figure]", *, frames: str = "", **choices: Sequence | str
) -> "FigureControls":
    """The figure that `draw` makes of a few values, below a control for each of them.

    Args:
        draw: makes the figure of the values, by keyword. Each combination of values is drawn once. Its warnings are
            shown below it; so is what it raises, and then the figure stays as it was.
        frames: the argument whose values can be chosen in the static copy too, which holds a figure for each; all are
            drawn when the widget is displayed, at most 60. Without it the static copy is one figure.
        choices: of each argument of `draw` its values: texts get a list to choose from, numbers a slider. The start is
            the argument's default, else the first value. In place of values a text makes a field that starts with it.

    Raises InputError when a default is not among the values or `frames` does not name 2 to 60 of them, and what `draw`
    raises for the start.
    """
    return FigureControls(draw, _controls(draw, choices), frames)


def compared(
    pair: Callable[..., tuple],
    *,
    labels: Sequence[str] | Callable[..., Sequence[str]] = ("before", "after", "clean"),
    describe: Callable[..., str] | None = None,
    **choices: Sequence | str,
) -> "PairControls":
    """The before/after slider over two images that follow a few values, below a control for each of them.

    Args:
        pair: makes the two images of the values, by keyword, or three: the clean image too.
        labels: those of the images, or a function that makes them of the values.
        describe: makes a sentence of the values, shown below the slider.
        choices: as for `controlled`.

    The divider, the mode and the zoom stay when a value changes. What one of these functions raises is shown in place
    of the sentence. Raises what they raise for the start.
    """
    return PairControls(pair, _controls(pair, choices), labels, describe)


class _Following(StaticCopy, ipywidgets.VBox):
    """Controls over a picture and a sentence; a subclass changes the picture in place, in `_show(values)`."""

    def __init__(self, picture: ipywidgets.Widget, controls: dict[str, ipywidgets.ValueWidget]):
        self.controls = controls
        self._sentence = ipywidgets.HTML()
        self._lock, self._busy, self._again = threading.Lock(), False, False
        row = ipywidgets.HBox([*controls.values()], layout={"flex_flow": "row wrap"})
        # Above, so that they stay where they are when a figure is higher than the last.
        super().__init__([row, picture, self._sentence])
        for control in controls.values():
            control.observe(self._follow, names="value")

    def values(self) -> dict:
        """The value of each control."""
        return _values(self.controls)

    def _show(self, values: dict) -> str:
        """Show the picture of some values; returns the sentence below it."""
        raise NotImplementedError

    def _follow(self, change) -> None:
        with self._lock:
            if self._busy:
                self._again = True  # the thread that draws does so again
                return
            self._busy = going = True
        while going:
            try:
                sentence = self._show(self.values())
            except InputError as error:
                sentence = str(error)
            except (Exception, KeyboardInterrupt) as error:
                sentence = f"{type(error).__name__}: {error}"
            self._sentence.value = html.escape(sentence)
            with self._lock:
                self._busy = going = self._again
                self._again = False
        if not isinstance(change.owner, ipywidgets.SelectionSlider):
            self.refresh_static()

    def _note(self, values: Mapping) -> str:
        """What a reader of the static copy cannot set."""
        fixed = ", ".join(f"{name} (here {_text(value)})" for name, value in values.items())
        if not fixed:
            return ""
        return (
            f"<p><small>Set by controls where the notebook runs: {html.escape(fixed)}.</small></p>"
        )


class FigureControls(_Following):
    """The widget that `controlled` returns."""

    def __init__(
        self,
        draw: "Callable[..., Figure]",
        controls: dict[str, ipywidgets.ValueWidget],
        frames: str,
    ):
        self._options = [*getattr(controls.get(frames), "options", ())]
        if frames and not 2 <= len(self._options) <= MOST:
            raise InputError(f"frames={frames!r}: wanted an argument with 2 to {MOST} values")
        self._draw, self._frames, self._start = draw, frames, _values(controls)
        self._picture = ipywidgets.Image(format="png", layout={"align_self": "flex-start"})
        self._drawn = lru_cache(maxsize=256)(self._make)
        super().__init__(self._picture, controls)
        self._sentence.value = html.escape(self._show(self._start))

    def _make(self, *values) -> tuple[bytes, str]:
        with DRAWING, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            figure = self._draw(**dict(zip(self.controls, values, strict=True)))
            buffer = io.BytesIO()
            # Fast rather than small: it does not leave the computer.
            figure.savefig(buffer, format="png", dpi=figure.dpi, pil_kwargs={"compress_level": 1})
        return buffer.getvalue(), "; ".join(str(warning.message) for warning in caught)

    def _show(self, values: dict) -> str:
        self._picture.value, sentence = self._drawn(*values.values())
        self._shown = values
        return sentence

    def figure(self) -> "Figure":
        """The figure of the present values. Raises what `draw` raises."""
        with DRAWING:
            return self._draw(**self.values())

    def static_html(self) -> str:
        """The figure shown, or a slider over the figures of all values of `frames` with the others at their start."""
        if not self._frames:
            picture = encode(self._picture.value, "WEBP", quality=90)
            width = Image.open(io.BytesIO(picture)).width
            words = ", ".join(f"{name} {_text(value)}" for name, value in self._shown.items())
            image = f'<img width="{width}" alt="{html.escape(words)}" src="{data_url(picture)}">'
            return f"<p>{image}</p>{self._note(self._shown)}"
        settings = [{**self._start, self._frames: value} for value in self._options]
        others = {name: value for name, value in self._start.items() if name != self._frames}
        page = scrubber(
            _of_one_size([self._drawn(*each.values())[0] for each in settings]),
            [f"{self._frames} {_text(value)}" for value in self._options],
            label=self._frames,
            start=self._options.index(self._start[self._frames]),
        )
        return page + self._note(others)

    def refresh_static(self) -> None:
        """Write the present figure into the static copy; one with frames is of the start and stays."""
        if not self._frames:
            super().refresh_static()

    def _ipython_display_(self) -> None:
        # At once with one figure, and with all of them when they are drawn.
        frames, self._frames = self._frames, ""
        super()._ipython_display_()
        self._frames = frames
        super().refresh_static()


class PairControls(_Following):
    """The widget that `compared` returns."""

    def __init__(
        self,
        pair: Callable[..., tuple],
        controls: dict[str, ipywidgets.ValueWidget],
        labels: Sequence[str] | Callable[..., Sequence[str]],
        describe: Callable[..., str] | None,
    ):
        self._pair, self._labels, self._describe = pair, labels, describe
        start = _values(controls)
        self.slider = CompareSlider(*self._images(start), labels=self._titles(start))
        super().__init__(self.slider, controls)
        self._sentence.value = html.escape(self._said(start))

    def _show(self, values: dict) -> str:
        before, after, clean = self._images(values)
        self.slider.show(before, after, clean, labels=self._titles(values))
        return self._said(values)

    def _said(self, values: dict) -> str:
        return self._describe(**values) if self._describe else ""

    def _images(self, values: dict) -> tuple:
        return (*self._pair(**values), None)[:3]

    def _titles(self, values: dict) -> Sequence[str]:
        return self._labels(**values) if callable(self._labels) else self._labels

    def figure(self) -> "Figure":
        """The images side by side."""
        return self.slider.figure()

    def static_html(self) -> str:
        """The slider, with its sentence."""
        sentence = f"<p>{self._sentence.value}</p>" if self._sentence.value else ""
        return self.slider.static_html() + sentence + self._note(self.values())


def _controls(function: Callable, choices: Mapping[str, Sequence | str]) -> dict:
    """A field for a text, a list for several, a slider for numbers; each starts at the function's default."""
    controls = {}
    for name, values in choices.items():
        if isinstance(values, str):
            controls[name] = ipywidgets.Text(values, description=name, continuous_update=False)
            continue
        parameter = inspect.signature(function).parameters.get(name)
        default = inspect.Parameter.empty if parameter is None else parameter.default
        start = next(iter(values), None) if default is inspect.Parameter.empty else default
        if start not in values:
            raise InputError(f"{name} starts at {start!r}: wanted one of its values {[*values]}")
        kind = ipywidgets.Dropdown if isinstance(start, str) else ipywidgets.SelectionSlider
        controls[name] = kind(options=[*values], description=name, value=start)
    return controls


def _values(controls: Mapping[str, ipywidgets.ValueWidget]) -> dict:
    return {name: control.value for name, control in controls.items()}


def _text(value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _of_one_size(files: Sequence[bytes]) -> list[Image.Image]:
    """Figures on white as large as the largest: a caption of more lines makes one higher."""
    pictures = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
    size = (max(each.width for each in pictures), max(each.height for each in pictures))
    sheets = []
    for each in pictures:
        sheets.append(Image.new("RGB", size, "white"))
        sheets[-1].paste(each)
    return sheets
