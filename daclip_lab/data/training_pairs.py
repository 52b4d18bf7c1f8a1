"""Training pairs: a clean image, its degraded version, a label and a caption.

A *source* draws one example from a `torch.Generator`. `Batches` turns any source into a list of batches in which batch
k depends on (seed, k) alone, so that a training can be resumed at any step, in any number of processes, on equal data.
"""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from daclip_lab.data.captions.attributes import caption
from daclip_lab.data.photos import Photos
from daclip_lab.data.scenes import scene
from daclip_lab.data.seeding import choose, seeded, uniform
from daclip_lab.degradations.apply import camera, mix
from daclip_lab.degradations.registry import CLEAN, degradation_names
from daclip_lab.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Example:
    """One training pair with its label, severity and caption."""

    clean: Tensor
    """(3, h, w) in [0, 1]."""
    degraded: Tensor
    """(3, h, w) in [0, 1]."""
    label: str
    """The degradation, or "clean"; of two, one at random."""
    severity: float
    """Severity of that degradation, 0..1; NaN where it is unknown."""
    caption: str
    """Caption of the clean image; "" without captions."""
    embeddings: Tensor | None = None
    """Content and degradation embedding (2, d) that condition a restorer, from sources that have their own."""


class Source(Protocol):
    """Anything that training pairs can be drawn from."""

    def draw(self, generator: torch.Generator, size: int, *, captions: bool = True) -> Example:
        """A random pair of (3, size, size); without `captions` the images are the same and the caption is ""."""
        ...


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """A source of crops of photos, or procedural scenes, degraded at random."""

    photos: Photos | None
    """The photos to crop; None for scenes only."""
    scene_prob: float = 0.0
    """Share of examples that show a procedural scene."""
    clean_prob: float = 1 / 11
    """Share of clean examples."""
    second_degradation_prob: float = 0.0
    """Share of the degraded examples that have a second degradation."""
    severity: tuple[float, float] = (0.1, 1.0)
    """Range of severities, uniformly distributed."""
    degradations: tuple[str, ...] = field(default_factory=degradation_names)
    """The degradations, equally frequent: by default the ten and those registered so far."""

    def clean(
        self, generator: torch.Generator, size: int, *, captions: bool = True
    ) -> tuple[Tensor, str]:
        """A random clean image (3, size, size) in [0, 1], and its caption; "" without `captions`."""
        if self.photos is None or uniform(generator) < self.scene_prob:
            drawn = scene(generator, height=size, width=size)
            return drawn.image, drawn.caption if captions else ""
        image = self.photos.crop(generator, size)
        return image, caption(image) if captions else ""

    def steps(self, generator: torch.Generator) -> list[tuple[str, float]]:
        """Random degradations with their severities: none, one or two; every ordered pair is as likely."""
        if uniform(generator) < self.clean_prob:
            return []
        first = self.degradations[choose(generator, len(self.degradations))]
        steps = [(first, uniform(generator, *self.severity))]
        others = [name for name in self.degradations if name != first]
        prob = self.second_degradation_prob if others else 0
        if prob and uniform(generator) < prob:
            second = others[choose(generator, len(others))]
            steps.append((second, uniform(generator, *self.severity)))
        return steps

    def draw(self, generator: torch.Generator, size: int, *, captions: bool = True) -> Example:
        clean, text = self.clean(generator, size, captions=captions)
        steps = self.steps(generator)
        degraded = camera(mix(clean, steps, generator), generator)
        label, severity = steps[0] if steps else (CLEAN, 0.0)
        return Example(clean=clean, degraded=degraded, label=label, severity=severity, caption=text)


@dataclass(frozen=True)
class DatasetSource:
    """A map-style dataset of pairs as a source: the same random square of both images of a random item.

    Items are (degraded, clean, label) or (degraded, clean, label, caption), the images float32 tensors (3, h, w) in
    [0, 1] of one size. Without a caption, `attributes.caption` describes the clean square. `draw` raises InputError,
    naming the item, where the images differ in shape, are smaller than `size` or no floats.
    """

    dataset: torch.utils.data.Dataset

    def draw(self, generator: torch.Generator, size: int, *, captions: bool = True) -> Example:
        index = choose(generator, len(self.dataset))  # type: ignore[arg-type]
        degraded, clean, label, *given = self.dataset[index]
        both = degraded, clean
        if degraded.shape != clean.shape or len(clean) != 3 or min(clean.shape[-2:]) < size:
            raise InputError(
                f"item {index} of the dataset holds images {tuple(degraded.shape)} and {tuple(clean.shape)}: "
                f"wanted equal shapes (3, h, w) of at least {size} pixels"
            )
        if not all(image.is_floating_point() for image in both):
            kinds = " and ".join(str(image.dtype) for image in both)
            raise InputError(f"item {index} of the dataset holds {kinds}: wanted floats in [0, 1]")
        top, left = (choose(generator, side - size + 1) for side in clean.shape[-2:])
        degraded, clean = (image[:, top : top + size, left : left + size].float() for image in both)
        text = (given[0] if given else caption(clean)) if captions else ""
        return Example(
            clean=clean, degraded=degraded, label=label, severity=float("nan"), caption=text
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Several examples."""

    clean: Tensor
    """(b, 3, h, w) in [0, 1]."""
    degraded: Tensor
    """(b, 3, h, w) in [0, 1]."""
    labels: list[str]
    captions: list[str]
    embeddings: Tensor | None = None
    """(b, 2, d), see `Example`."""


class Batches(torch.utils.data.Dataset):
    """An endless list of batches of a source: batch k is a pure function of (seed, k).

    Without `captions` the images are the same and every caption is "", which takes a fifth less time.
    """

    def __init__(
        self, source: Source, *, size: int, batch: int, seed: int = 0, captions: bool = True
    ):
        self.source, self.size, self.batch, self.seed = source, size, batch, seed
        self.captions = captions

    def __getitem__(self, k: int) -> Batch:
        generator, draw = seeded(self.seed, k), self.source.draw
        drawn = [draw(generator, self.size, captions=self.captions) for _ in range(self.batch)]
        own = [example.embeddings for example in drawn if example.embeddings is not None]
        return Batch(
            clean=torch.stack([example.clean for example in drawn]),
            degraded=torch.stack([example.degraded for example in drawn]),
            labels=[example.label for example in drawn],
            captions=[example.caption for example in drawn],
            embeddings=torch.stack(own) if own else None,
        )


class CatchInputErrors(torch.utils.data.Dataset):
    """The items of a dataset, or the InputError raised instead: another process would make a traceback of it."""

    def __init__(self, dataset: torch.utils.data.Dataset):
        self.dataset = dataset

    def __getitem__(self, k: int):
        try:
            return self.dataset[k]
        except InputError as error:
            return error
