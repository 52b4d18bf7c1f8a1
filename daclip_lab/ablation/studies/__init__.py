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
    """The study of that name; an InputError lists them where there is none."""
    if name not in NAMES:
        raise InputError(f"study {name!r} is unknown: use one of {', '.join(NAMES)}")
    return import_module(f"{__name__}.{name}").STUDY
