"""A source of canvases: large squares of photos, degraded whole.

Shadows, drops and streaks run on beyond the crop that a network is trained on. A crop that is degraded by itself never
shows this; patches and views that are cut from a canvas do, as those of a photo in use.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from daclip_lab.data.pair_files import Pair
from daclip_lab.data.pairs import read_pair
from daclip_lab.data.seeding import choose, seeded, uniform
from daclip_lab.data.training_pairs import Example, Synthetic
from daclip_lab.degradations.apply import camera, degrade
from daclip_lab.degradations.registry import CLEAN, in_order, mixing_order
from daclip_lab.errors import InputError

CELL = 16
"""Pixels a side of a cell of the maps that record where a degradation changed a canvas."""


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """One large pair of images with its labels."""

    pixels: Tensor
    """The clean and the degraded image, (2, 3, s, s) uint8."""
    labels: tuple[str, ...]
    """One label, or the two of a mixture."""
    changes: Tensor
    """Mean squared difference that the degradation of each label made, cell by cell: (2, s / CELL, s / CELL)."""


@dataclass(frozen=True, kw_only=True)
class WholePhotos:
    """A source of canvases beside the crops of `crops`, from which their photos and degradations are drawn as well.

    As a plain `Source` it draws crops. Raises InputError for a side that is no multiple of `CELL`, and for `kept` below
    the number of sides.
    """

    crops: Synthetic
    """The crops that are degraded by themselves."""
    sides: tuple[int, ...] = (192, 256, 320)
    """Sides of the canvases in pixels, in turn."""
    pairs: tuple[Pair, ...] = ()
    """Real pairs to mix in; those smaller than a canvas are passed over."""
    pair_prob: float = 0.03
    """Share of canvases that are squares of real pairs."""
    new: float = 1.0
    """Canvases made for each step of a training; making them is slower than training on them."""
    kept: int = 480
    """Canvases that a training holds and draws from: each is used for `kept / new` steps."""

    def __post_init__(self):
        if wrong := [side for side in self.sides if side % CELL or side < CELL]:
            raise InputError(f"sides={wrong[0]}: wanted multiples of {CELL}")
        if self.new <= 0 or self.kept < len(self.sides):
            raise InputError(
                f"new={self.new}, kept={self.kept}: wanted above 0, and {len(self.sides)} or more"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels that canvases may have."""
        real = {pair.label for pair in self.pairs}
        return in_order({*self.crops.degradations, *real, CLEAN})

    def draw(self, generator: torch.Generator, size: int, *, captions: bool = True) -> Example:
        """A random pair of crops, see `Synthetic`."""
        return self.crops.draw(generator, size, captions=captions)

    def canvas(self, seed: int, index: int, side: int) -> Canvas:
        """The canvas of that index, a pure function of the arguments.

        Of a mixture the labels are in the order in which the degradations are applied. Real pairs went through a camera
        already.
        """
        generator = seeded(seed, index, 2)
        if self.pairs and uniform(generator) < self.pair_prob:
            real = self._real(generator, side)
            if real is not None:
                return real
        clean, _ = self.crops.clean(generator, side, captions=False)
        steps = sorted(self.crops.steps(generator), key=lambda step: mixing_order().index(step[0]))
        degraded, changes = clean, torch.zeros(2, side // CELL, side // CELL)
        for place, (name, severity) in enumerate(steps):
            before, degraded = degraded, degrade(degraded, name, severity, generator)
            changes[place] = _cells(degraded - before)
        labels = tuple(name for name, _ in steps) or (CLEAN,)
        return _canvas(clean, camera(degraded, generator), labels, changes)

    def _real(self, generator: torch.Generator, side: int) -> Canvas | None:
        """A random square of a random real pair, mirrored or not; None where it is too small."""
        pair = self.pairs[choose(generator, len(self.pairs))]
        degraded, clean = read_pair(pair, CELL)
        height, width = clean.shape[-2:]
        if min(height, width) < side:
            return None
        top, left = choose(generator, height - side + 1), choose(generator, width - side + 1)
        both = torch.stack([clean, degraded])[..., top : top + side, left : left + side]
        if uniform(generator) < 0.5:
            both = both.flip(-1)
        changes = torch.zeros(2, side // CELL, side // CELL)
        changes[0] = _cells(both[1] - both[0])
        return _canvas(both[0], both[1], (pair.label,), changes)


def _cells(difference: Tensor) -> Tensor:
    """The mean square of a difference (3, s, s) in each cell: (s / CELL, s / CELL)."""
    return difference.square().mean(0).unfold(0, CELL, CELL).unfold(1, CELL, CELL).mean((-1, -2))


def _canvas(clean: Tensor, degraded: Tensor, labels: tuple[str, ...], changes: Tensor) -> Canvas:
    pixels = torch.stack([clean, degraded]).mul(255).round_().to(torch.uint8)
    return Canvas(pixels=pixels, labels=labels, changes=changes)
