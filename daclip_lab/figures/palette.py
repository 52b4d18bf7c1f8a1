"""Colours of the figures, and a colour and a marker for each label."""

from collections.abc import Iterable

from daclip_lab.degradations.registry import DEGRADATIONS, degradation_names, in_order

# Found by a search for eleven colours that stay apart for every kind of colour vision (CIEDE2000 of at least 16 under
# simulated protanopia, deuteranopia and tritanopia), then matched to what they name. Yellow and cyan are too pale for
# text, so names are always written in INK.
COLORS = {
    "motion-blurry": "#624ed8",
    "hazy": "#b3b3b3",
    "jpeg-compressed": "#9d6200",
    "low-light": "#621462",
    "noisy": "#ebd814",
    "raindrop": "#007662",
    "rainy": "#4e9dff",
    "shadowed": "#761400",
    "snowy": "#00ebff",
    "uncompleted": "#eb8976",
    "clean": "#1a1a1a",
}
MARKERS = dict(zip(COLORS, ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h"), strict=True))
EXTRA_COLORS = ("#0b7a4b", "#c2570c", "#6a3d9a", "#a6761d", "#1f78b4", "#b2306f")
EXTRA_MARKERS = ("o", "s", "^", "D", "v", "P")
"""Of labels besides those eleven: registered degradations and the words of a user."""
UNKNOWN = "unknown"
"""Written for images without a label."""

INK = "#222222"
MUTED = "#767676"
GREY = "#c9c9c9"
PALE = "#e3e3e3"
BLUE = "#1f4e8c"
PALE_BLUE = "#9dbbe0"
ORANGE = "#c2570c"
PALE_ORANGE = "#f0b36b"
VIOLET = "#8a6fb0"
SALMON = "#eb8976"
RED = "#b3001b"


def looks(labels: Iterable[str]) -> dict[str, tuple[str, str]]:
    """A colour and a marker for each label: fixed ones for the ten and "clean", pale for `UNKNOWN`.

    Other labels take `EXTRA_COLORS` in turn: registered degradations in the order of registration, then others by the
    alphabet.
    """
    present = in_order(labels)
    others = [*degradation_names()[len(DEGRADATIONS) :]]
    others += [label for label in present if label not in {*COLORS, *others, UNKNOWN}]
    found = {}
    for label in sorted(present, key=UNKNOWN.__eq__):
        if label in COLORS:
            found[label] = COLORS[label], MARKERS[label]
        elif label == UNKNOWN:
            found[label] = PALE, "o"
        else:
            turn, place = divmod(others.index(label), len(EXTRA_COLORS))
            found[label] = EXTRA_COLORS[place], EXTRA_MARKERS[turn % len(EXTRA_MARKERS)]
    return found


def color_of(label: str) -> str:
    """The colour of one label as in `looks`; `INK` for what is no degradation, such as "overall"."""
    return looks([label])[label][0] if label in {*COLORS, *degradation_names()} else INK


def marker_of(label: str) -> str:
    """The marker of one label, as in `looks`."""
    return looks([label])[label][1]
