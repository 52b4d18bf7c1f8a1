"""Controls beside one picture: a figure that is drawn again when a value changes."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from daclip_lab.figures.primitives import figure_png

if TYPE_CHECKING:
    import ipywidgets
    from matplotlib.figure import Figure


def controlled(draw: "Callable[..., Figure]", **choices: Sequence) -> "ipywidgets.VBox":
    """The figure that `draw` makes of a few values, above a control for each of them.

    `choices` gives the values of each argument of `draw`: texts get a list to choose from, numbers a slider. The start
    is the argument's default, else the first choice. Only one picture travels to the page for each change, after the
    slider is let go; what was drawn once is kept.
    """
    import ipywidgets

    controls = {}
    for name, values in choices.items():
        default = inspect.signature(draw).parameters[name].default
        start = values[0] if default is inspect.Parameter.empty else default
        if isinstance(values[0], str):
            controls[name] = ipywidgets.Dropdown(options=values, value=start, description=name)
        else:
            controls[name] = ipywidgets.SelectionSlider(
                options=values, value=start, description=name, continuous_update=False
            )

    @functools.lru_cache(maxsize=256)
    def drawn(*values) -> bytes:
        return figure_png(draw(**dict(zip(controls, values, strict=True))))

    picture = ipywidgets.Image(format="png")

    def show(_change=None) -> None:
        picture.value = drawn(*(control.value for control in controls.values()))

    for control in controls.values():
        control.observe(show, names="value")
    show()
    return ipywidgets.VBox([picture, *controls.values()])
