"""Fields to type into beside one picture, which is drawn again with what was typed."""

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

    The picture follows when Enter is pressed or the field is left. What `draw` warns about is said below it; so is an
    InputError, and the picture stays as it was.
    """
    import ipywidgets

    controls = {
        name: ipywidgets.Text(value=text, description=name, continuous_update=False)
        for name, text in fields.items()
    } | {
        name: ipywidgets.Dropdown(options=list(values), description=name)
        for name, values in choices.items()
    }
    picture, said = ipywidgets.Image(format="png"), ipywidgets.Label()

    def show(_change=None) -> None:
        with warnings.catch_warnings(record=True) as strange:
            warnings.simplefilter("always", UserWarning)
            try:
                figure = draw(**{name: control.value for name, control in controls.items()})
            except InputError as error:
                said.value = str(error)
                return
        said.value = "; ".join(str(warning.message) for warning in strange)
        picture.value = figure_png(figure)

    for control in controls.values():
        control.observe(show, names="value")
    show()
    return ipywidgets.VBox([picture, *controls.values(), said])
