"""Widgets whose picture follows controls: a figure, the before/after slider, or a figure of texts that are typed."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from daclip_lab.errors import InputError
from daclip_lab.figures.primitives import figure_png
from daclip_lab.widgets.compare import compare

if TYPE_CHECKING:
    import ipywidgets
    from matplotlib.figure import Figure


def controlled(draw: "Callable[..., Figure]", **choices: Sequence) -> "ipywidgets.VBox":
    """The figure that `draw` makes of a few values, above a control for each of them.

    `choices` gives the values of each argument of `draw`: texts get a list to choose from, numbers a slider. The start
    is the argument's default, else the first choice. Only one picture travels to the page for each change, after the
    slider is released; each combination of values is drawn once.
    """
    import ipywidgets

    controls = _controls(draw, choices)
    return ipywidgets.VBox([_figure(draw, controls), *controls.values()])


def compared(
    pair: Callable[..., tuple],
    draw: "Callable[..., Figure] | None" = None,
    *,
    labels: tuple[str, str] | Callable[..., tuple[str, str]] = ("before", "after"),
    describe: Callable[..., str] | None = None,
    **choices: Sequence,
) -> "ipywidgets.VBox":
    """The before/after slider over two images that follow a few values, above a control for each of them.

    Args:
        pair: makes the two images of the values, by keyword.
        draw: makes a figure of the values, shown below the slider.
        labels: the labels of the two images, or a function that makes them of the values.
        describe: makes a sentence of the values, shown below the slider.
        choices: as for `controlled`; the defaults are those of `draw`, or of `pair` where there is no `draw`.

    The divider keeps its position when a value changes.
    """
    import ipywidgets

    controls = _controls(draw or pair, choices)
    below = [_figure(draw, controls)] if draw else []
    sentence = ipywidgets.Label()
    if describe:
        below.append(sentence)
    box = ipywidgets.VBox()

    def show(_change=None) -> None:
        values = _values(controls)
        titles = labels(**values) if callable(labels) else labels
        slider = compare(*pair(**values), labels=titles)
        if describe:
            sentence.value = describe(**values)
        old = box.children[:1]
        for widget in old:
            slider.position = widget.position
        box.children = (slider, *below, *controls.values())
        for widget in old:
            widget.close()

    _follow(controls, show)
    return box


def typed(
    draw: "Callable[..., Figure]", fields: Mapping[str, str], **choices: Sequence
) -> "ipywidgets.VBox":
    """The figure that `draw` makes of texts, above a field for each and a control for each choice.

    `fields` gives the first text of each field, `choices` is as for `controlled`. The figure changes when Enter is
    pressed or the field is left. Warnings of `draw` are shown below it; so is an InputError, and then the figure stays
    as it was.
    """
    import ipywidgets

    controls: dict = {
        name: ipywidgets.Text(value=text, description=name, continuous_update=False)
        for name, text in fields.items()
    }
    controls |= _controls(draw, choices)
    picture, message = ipywidgets.Image(format="png"), ipywidgets.Label()

    def show(_change=None) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            try:
                figure = draw(**_values(controls))
            except InputError as error:
                message.value = str(error)
                return
        message.value = "; ".join(str(warning.message) for warning in caught)
        picture.value = figure_png(figure)

    _follow(controls, show)
    return ipywidgets.VBox([picture, *controls.values(), message])


def _controls(function: Callable, choices: Mapping[str, Sequence]) -> dict:
    """A drop-down list for texts, a slider for numbers; each starts at the function's default."""
    import ipywidgets

    controls = {}
    for name, values in choices.items():
        parameter = inspect.signature(function).parameters.get(name)
        default = inspect.Parameter.empty if parameter is None else parameter.default
        start = values[0] if default is inspect.Parameter.empty else default
        options = {"options": list(values), "description": name, "value": start}
        if isinstance(start, str):
            controls[name] = ipywidgets.Dropdown(**options)
        else:
            controls[name] = ipywidgets.SelectionSlider(**options, continuous_update=False)
    return controls


def _figure(draw: "Callable[..., Figure]", controls: Mapping) -> "ipywidgets.Image":
    """An image widget with the figure of the controls' values."""
    import ipywidgets

    @lru_cache(maxsize=256)
    def drawn(*values) -> bytes:
        return figure_png(draw(**dict(zip(controls, values, strict=True))))

    picture = ipywidgets.Image(format="png")

    def show(_change=None) -> None:
        picture.value = drawn(*_values(controls).values())

    _follow(controls, show)
    return picture


def _values(controls: Mapping) -> dict:
    return {name: control.value for name, control in controls.items()}


def _follow(controls: Mapping, show: Callable) -> None:
    """Call `show` now and whenever a control changes."""
    for control in controls.values():
        control.observe(show, names="value")
    show()
