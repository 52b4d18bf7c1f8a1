"""The pairs that trainings are made of: a clean image, what became of it, and the words for both.

A *source* draws one example from a `torch.Generator`. `Batches` turns any source into a list of batches in which batch
k depends on (seed, k) alone: a training can stop and go on at any step, in any number of processes, on the same data.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from daclip_lab.data.captions.attributes import caption
from daclip_lab.data.photos import Photos
from daclip_lab.data.scenes import scene
from daclip_lab.data.seeding import choose, seeded, uniform
from daclip_lab.degradations.apply import camera, mix
from daclip_lab.degradations.registry import CLEAN, DEGRADATIONS
from daclip_lab.errors import InputError

LABELS = (*DEGRADATIONS, CLEAN)
"""The eleven answers to "what is wrong with this image?", in the order of every table and every class index."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One training pair and what is known about it."""

    clean: Tensor
    """(3, h, w) in [0, 1]."""
    degraded: Tensor
    """(3, h, w) in [0, 1]: the clean image, degraded and taken by a camera."""
    label: str
    """One of `LABELS`; of two degradations at once, one of them at random."""
    severity: float
    """0..1, of that degradation; NaN where it is unknown."""
    caption: str
    """What the clean image shows."""


class Source(Protocol):
    """Anything that examples can be drawn from."""

    def draw(self, generator: torch.Generator, size: int) -> Example: ...


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """Pairs made on the fly: crops of photos, or procedural scenes, degraded at random."""

    photos: Photos | None
    """Where crops come from; None for scenes only."""
    scene_prob: float = 0.0
    """Share of examples that show a procedural scene."""
    clean_prob: float = 1 / 11
    """Share of examples that are left clean."""
    second_degradation_prob: float = 0.0
    """Share of the degraded examples that carry a second degradation."""
    severity: tuple[float, float] = (0.1, 1.0)
    """Range of severities, evenly distributed."""

    def draw(self, generator: torch.Generator, size: int) -> Example:
        if self.photos is None or uniform(generator) < self.scene_prob:
            drawn = scene(generator, height=size, width=size)
            clean, text = drawn.image, drawn.caption
        else:
            clean = self.photos.crop(generator, size)
            text = caption(clean)
        if uniform(generator) < self.clean_prob:
            label, severity, degraded = CLEAN, 0.0, clean
        else:
            label = DEGRADATIONS[choose(generator, len(DEGRADATIONS))]
            severity = uniform(generator, *self.severity)
            steps = [(label, severity)]
            if self.second_degradation_prob and uniform(generator) < self.second_degradation_prob:
                # Every ordered pair is as likely, so a pair is called by either of its names half of the time.
                others = [name for name in DEGRADATIONS if name != label]
                second = others[choose(generator, len(others))]
                steps.append((second, uniform(generator, *self.severity)))
            degraded = mix(clean, steps, generator)
        return Example(
            clean=clean,
            degraded=camera(degraded, generator),
            label=label,
            severity=severity,
            caption=text,
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Examples side by side."""

    clean: Tensor
    """(b, 3, h, w) in [0, 1]."""
    degraded: Tensor
    """(b, 3, h, w) in [0, 1]."""
    labels: list[str]
    severity: Tensor
    """(b,)"""
    captions: list[str]

    @staticmethod
    def of(examples: list[Example]) -> "Batch":
        return Batch(
            clean=torch.stack([e.clean for e in examples]),
            degraded=torch.stack([e.degraded for e in examples]),
            labels=[e.label for e in examples],
            severity=torch.tensor([e.severity for e in examples]),
            captions=[e.caption for e in examples],
        )


class Batches(torch.utils.data.Dataset):
    """An endless list of batches of a source: batch k is a pure function of (seed, k)."""

    def __init__(self, source: Source, *, size: int, batch: int, seed: int = 0):
        self.source, self.size, self.batch, self.seed = source, size, batch, seed

    def __getitem__(self, k: int) -> Batch:
        generator = seeded(self.seed, k)
        return Batch.of([self.source.draw(generator, self.size) for _ in range(self.batch)])


class Answers(torch.utils.data.Dataset):
    """The batches, or the InputError that came up instead: raised in a worker, it would arrive as a traceback."""

    def __init__(self, batches: Batches):
        self.batches = batches

    def __getitem__(self, k: int) -> Batch | InputError:
        try:
            return self.batches[k]
        except InputError as error:
            return error
