"""The before/after slider with controls: two pictures and a figure that follow the same few values."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from daclip_lab.widgets.compare import Compare, compare
from daclip_lab.widgets.controls import controlled

if TYPE_CHECKING:
    import ipywidgets
    from matplotlib.figure import Figure


def compared(
    pair: Callable[..., tuple],
    draw: "Callable[..., Figure]",
    *,
    labels: tuple[str, str] = ("before", "after"),
    **choices: Sequence,
) -> "ipywidgets.VBox":
    """The slider over the two pictures that `pair` makes of a few values, above the figure that `draw` makes of them.

    `choices` and the start are those of `controls.controlled`. The divider stays where it is when a value changes.
    """
    board = controlled(draw, **choices)
    controls = board.children[1:]

    def slider() -> Compare:
        values = {control.description: control.value for control in controls}
        return compare(*pair(**values), labels=labels)

    def show(_change) -> None:
        old, *rest = board.children
        fresh = slider()
        fresh.position = old.position
        board.children = (fresh, *rest)
        old.close()

    board.children = (slider(), *board.children)
    for control in controls:
        control.observe(show, names="value")
    return board
