"""Text fields below a figure, which is drawn again with the new text."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from daclip_lab.errors import InputError
from daclip_lab.figures.primitives import figure_png

if TYPE_CHECKING:
    import ipywidgets
    from matplotlib.figure import Figure


def typed(
    draw: "Callable[..., Figure]", fields: Mapping[str, str], **choices: Sequence[str]
) -> "ipywidgets.VBox":
    """The figure that `draw` makes of texts, above a field for each (with its first text) and a list for each choice.

    The figure changes when Enter is pressed or the field is left. Warnings of `draw` are shown below it; so is an
    InputError, and then the figure stays as it was.
    """
    import ipywidgets

    controls = {
        name: ipywidgets.Text(value=text, description=name, continuous_update=False)
        for name, text in fields.items()
    } | {
        name: ipywidgets.Dropdown(options=list(values), description=name)
        for name, values in choices.items()
    }
    picture, message = ipywidgets.Image(format="png"), ipywidgets.Label()

    def show(_change=None) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            try:
                figure = draw(**{name: control.value for name, control in controls.items()})
            except InputError as error:
                message.value = str(error)
                return
        message.value = "; ".join(str(warning.message) for warning in caught)
        picture.value = figure_png(figure)

    for control in controls.values():
        control.observe(show, names="value")
    show()
    return ipywidgets.VBox([picture, *controls.values(), message])
