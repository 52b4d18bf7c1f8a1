"""The studies that come with the package, by name; `study` gives one of them."""

from importlib import import_module

from daclip_lab.ablation.study import Study
from daclip_lab.errors import InputError

NAMES = (
    "headline", "conditioning", "injection", "controller", "backbone", "target", "sampler", "data",
)  # fmt: skip
"""In the order in which they are listed."""


def __getattr__(name: str) -> dict[str, Study]:
    # All of them, imported when they are first asked for.
    if name != "STUDIES":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return {each: study(each) for each in NAMES}


def study(name: str) -> Study:
    """The study of that name, or one of your own as "module:NAME"; an InputError lists them where there is none."""
    module, own, inside = name.partition(":")
    if not own and name not in NAMES:
        known = ", ".join(NAMES)
        raise InputError(
            f"study {name!r} is unknown: use one of {known}, or your own as module:NAME"
        )
    try:
        found = getattr(import_module(module if own else f"{__name__}.{name}"), inside or "STUDY")
    except (ImportError, AttributeError) as error:
        raise InputError(f"study {name!r} cannot be imported: {error}") from None
    if not isinstance(found, Study):
        raise InputError(f"{name!r} is {type(found).__name__}: wanted a Study")
    return found
