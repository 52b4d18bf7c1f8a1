"""Studies: variants of one trial, all with the same seeds, photos and budget.

A *trial* is what one run does, as a frozen dataclass of plain values: train a small restorer, train a controller,
restore with the shipped weights. A *variant* is a name and a change to that trial. A *study* is variants x seeds.
"""

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pandas as pd
import torch
from torch import Tensor

from daclip_lab.data.photos import Photos
from daclip_lab.errors import InputError
from daclip_lab.pipeline.pipeline import Pipeline


@dataclass(frozen=True, kw_only=True)
class Context:
    """What all runs of a study share; not part of a trial."""

    pipe: Pipeline
    """The weights that trials start from or use, on the device of the run."""
    train: Photos
    """The photos to train on."""
    test: Photos
    """The photos to measure on; none of them is trained on."""
    device: torch.device
    """Where the run trains and restores."""
    cache: Path
    """A folder for data that several runs share, such as degraded crops."""
    run: Path | None = None
    """A folder for the checkpoints of this run; None keeps none."""


class Measurements(NamedTuple):
    """What a run measured."""

    table: "pd.DataFrame"
    """Columns image, photo, degradation, metric (all str) and value (float): a row for each image and metric."""
    crops: dict[str, Tensor]
    """The eight crops that every run restores, by name: (3, h, w) in [0, 1]."""


class Trial(Protocol):
    """What one run does. A frozen dataclass of plain values: numbers, text, tuples, dicts, dataclasses of these."""

    def smoke(self) -> "Trial":
        """The same at a size that runs in a second, for tests."""
        ...

    def run(self, seed: int, context: Context) -> Generator[float, None, Measurements]:
        """Do the run: yields the share that is done (0 to 1), now and then; returns the measurements.

        Closing the generator keeps a checkpoint in `context.run`, from which a later call goes on.
        """
        ...


RESERVED = ("degraded", "clean")
"""Folders of the crops before degradation and restoration: no variant has these names."""


def slug(name: str) -> str:
    """A name as part of a path: small letters and digits, joined by "-"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A name and a change to the trial of a study."""

    name: str
    change: Mapping[str, Any] = field(default_factory=dict)
    """New values by path, such as {"recipe.batch_size": 8, "network.width": 24, "conditioning": "nothing"}."""
    about: str = ""
    """What it is, in half a sentence."""

    @property
    def slug(self) -> str:
        """The name of its folder of crops."""
        return slug(self.name)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Standard deviations of the difference between two variants, for the power of a comparison."""

    seeds: float
    """Between seeds, of the mean over photos."""
    photos: float
    """Between photos, of the mean over seeds."""
    rest: float = 0.0
    """Of what is left, per photo and seed."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Variants of one trial, to be compared under the same seeds."""

    name: str
    """A short name, as in `daclip-lab ablate NAME`."""
    question: str
    """What it asks, one sentence."""
    trial: Trial
    """What each run does, before the change of its variant."""
    variants: tuple[Variant, ...]
    baseline: str
    """The variant that the others are compared with."""
    metric: str
    """The metric that decides."""
    unit: str = "dB"
    """Of that metric."""
    seeds: int = 5
    """Default number of runs of each variant."""
    comparisons: tuple[tuple[str, str], ...] = ()
    """More pairs (variant, against) to compare, besides each variant with the baseline."""
    spread: Spread | None = None
    """Expected, from a pilot; None before there is one."""

    def __post_init__(self):
        names = [variant.name for variant in self.variants]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise InputError(f"study {self.name!r}: two variants are named {repeated.pop()!r}")
        folders = [*RESERVED, *map(slug, names)]
        if taken := [name for name in names if folders.count(slug(name)) > 1]:
            raise InputError(
                f"study {self.name!r}: the name {taken[0]!r} is too like another, or reserved"
            )
        known = {self.baseline, *(name for pair in self.comparisons for name in pair)}
        if unknown := known - set(names):
            raise InputError(
                f"study {self.name!r} has no variant {unknown.pop()!r}: {', '.join(names)}"
            )

    def variant(self, name: str) -> Variant:
        """The variant of that name; an InputError lists them where there is none."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        names = ", ".join(variant.name for variant in self.variants)
        raise InputError(f"study {self.name!r} has no variant {name!r}: use one of {names}")

    def trial_of(self, name: str) -> Trial:
        """The trial of a variant."""
        trial = self.trial
        for path, value in self.variant(name).change.items():
            trial = changed(trial, path, value)
        return trial

    def with_variants(self, *variants: Variant) -> "Study":
        """The study with more variants."""
        return replace(self, variants=(*self.variants, *variants))

    def smoke(self) -> "Study":
        """The same variants at a size that runs in seconds, for tests; changes still apply."""
        return replace(self, trial=self.trial.smoke(), seeds=2)


def changed(trial: Any, path: str, value: Any) -> Any:
    """A dataclass or dict with the value at a dotted path replaced; a dict may gain a new key.

    Raises InputError, naming the path, where a dataclass has no such field.
    """
    name, _, rest = path.partition(".")
    if isinstance(trial, Mapping):
        return {**trial, name: changed(trial[name], rest, value) if rest else value}
    if not is_dataclass(trial) or name not in (known := [f.name for f in fields(trial)]):
        own = ", ".join(known) if is_dataclass(trial) else repr(trial)
        raise InputError(
            f"a change names {name!r}: wanted a field of {type(trial).__name__}: {own}"
        )
    assert not isinstance(trial, type)
    return replace(trial, **{name: changed(getattr(trial, name), rest, value) if rest else value})
