"""A window over the canvases of a training: each is made once and used for many steps.

Canvas i is a pure function of (seed, i). Before step k (from 0) some new canvases arrive, and the oldest leave: which
ones the window then holds depends on k alone, so that a training is resumed by making these again.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from daclip_lab.data.canvases.source import CELL, Canvas, WholePhotos
from daclip_lab.data.seeding import choose
from daclip_lab.data.training_pairs import Batch, Batches

Embed = Callable[[Sequence[Canvas]], Tensor]
"""What a network makes of canvases on its device, kept with them: (n, ...)."""


class Arrival(NamedTuple):
    """What is made for one step."""

    step: int
    """From 0; negative while the window is filled."""
    first: int
    """The number of the first of the canvases."""
    canvases: list[Canvas]
    crops: Batch | None
    """Crops that were degraded by themselves, as bytes; None where the step uses none."""


class Arrivals(torch.utils.data.Dataset):
    """The list of arrivals of a training, each a pure function of the arguments and its place in the list.

    The first `lead` arrivals, which bring canvases alone, fill the window before step 0.

    Args:
        start: the first step to train; crops of earlier ones are not made.
        crops: crops of `size` pixels in this process, in turn from step to step.
        rank, processes: each process has canvases and crops of its own.
    """

    def __init__(
        self,
        source: WholePhotos,
        *,
        seed: int,
        start: int,
        crops: Sequence[int],
        size: int,
        captions: bool,
        rank: int = 0,
        processes: int = 1,
    ):
        self.source, self.seed, self.start, self.crops = source, seed, start, tuple(crops)
        self.size, self.captions, self.rank, self.processes = size, captions, rank, processes
        self.lead = math.ceil(max(source.kept / 8, len(source.sides)) / source.new)

    def order(self, steps: int) -> range:
        """The places in the list that a training of so many steps in all needs from its first step on."""
        oldest = self._made(self.lead + self.start + 1) - self.source.kept
        # One more, as the quotient may be rounded up.
        return range(max(0, math.floor(oldest / self.source.new) - 1), self.lead + steps)

    def _made(self, arrivals: int) -> int:
        return math.floor(arrivals * self.source.new)

    def __getitem__(self, place: int) -> Arrival:
        made, sides = range(self._made(place), self._made(place + 1)), self.source.sides
        canvases = [
            self.source.canvas(self.seed, i * self.processes + self.rank, sides[i % len(sides)])
            for i in made
        ]
        step = place - self.lead
        return Arrival(step, made.start, canvases, self._crops(step))

    def _crops(self, step: int) -> Batch | None:
        number = self.crops[step % len(self.crops)]
        if step < self.start or not number:
            return None
        batches = Batches(
            self.source, size=self.size, batch=number, seed=self.seed, captions=self.captions
        )
        batch = batches[step * self.processes + self.rank]
        clean, degraded = (
            images.mul(255).round_().to(torch.uint8) for images in (batch.clean, batch.degraded)
        )
        return replace(batch, clean=clean, degraded=degraded)


class Drawn(NamedTuple):
    """Some canvases of one side, with repetitions."""

    pixels: Tensor
    """All canvases of that side, clean and degraded: (m, 2, 3, s, s) uint8."""
    changes: Tensor
    """`Canvas.changes` of all: (m, 2, s / CELL, s / CELL)."""
    rows: Tensor
    """Which ones were drawn: (n,) int64."""
    labels: list[tuple[str, ...]]
    """The labels of these n."""
    embeddings: Tensor | None
    """What `embed` made of these n."""


class Window:
    """The canvases that a training holds at a step, on its device."""

    def __init__(self, source: WholePhotos, device: torch.device, embed: Embed | None = None):
        self.source, self.device, self.embed, self.made = source, device, embed, 0
        slots = math.ceil(source.kept / len(source.sides)) + 1
        grids = [(side, side // CELL) for side in source.sides]
        self.pixels = [
            torch.zeros(slots, 2, 3, side, side, dtype=torch.uint8, device=device)
            for side, _ in grids
        ]
        self.changes = [torch.zeros(slots, 2, cells, cells, device=device) for _, cells in grids]
        self.labels: list[list[tuple[str, ...]]] = [[()] * slots for _ in grids]
        self.embeddings: list[Tensor | None] = [None] * len(grids)

    def _place(self, index: int) -> tuple[int, int]:
        """Which side a canvas has, and its slot among those of that side; the oldest one is overwritten."""
        turn, kind = divmod(index, len(self.source.sides))
        return kind, turn % len(self.pixels[kind])

    def add(self, arrival: Arrival) -> None:
        """Take in new canvases; `embed` is called for those of an arrival together."""
        self.made = arrival.first + len(arrival.canvases)
        there = []
        for index, canvas in enumerate(arrival.canvases, start=arrival.first):
            kind, slot = self._place(index)
            self.pixels[kind][slot].copy_(canvas.pixels, non_blocking=True)
            self.changes[kind][slot].copy_(canvas.changes, non_blocking=True)
            self.labels[kind][slot] = canvas.labels
            there.append(replace(canvas, pixels=self.pixels[kind][slot]))
        if self.embed is None or not there:
            return
        for index, embedding in enumerate(self.embed(there), start=arrival.first):
            kind, slot = self._place(index)
            store = self.embeddings[kind]
            if store is None:
                store = embedding.new_zeros(len(self.pixels[kind]), *embedding.shape)
                self.embeddings[kind] = store
            store[slot] = embedding

    def held(self, kind: int) -> range:
        """The numbers of the canvases of the side `source.sides[kind]` that the window holds."""
        sides = len(self.source.sides)
        oldest = max(0, self.made - self.source.kept)
        return range(oldest + (kind - oldest) % sides, self.made, sides)

    def draw(self, step: int, number: int, generator: torch.Generator) -> Drawn:
        """Draw canvases of one side, the sides in turn from step to step."""
        kind = step % len(self.source.sides)
        held = self.held(kind)
        slots = [
            self._place(held[i])[1]
            for i in torch.randint(len(held), (number,), generator=generator).tolist()
        ]
        rows, store = torch.tensor(slots).to(self.device, non_blocking=True), self.embeddings[kind]
        return Drawn(
            pixels=self.pixels[kind],
            changes=self.changes[kind],
            rows=rows,
            labels=[self.labels[kind][slot] for slot in slots],
            embeddings=None if store is None else store[rows],
        )


@dataclass(frozen=True)
class PhotoBatch:
    """A batch of a training on whole photos."""

    step: int
    """0 for the first."""
    window: Window
    """The canvases that patches and views are cut from."""
    crops: Batch | None
    """Crops that were degraded by themselves, in [0, 1]; None where the step uses none."""
    processes: int
    """How many processes share the examples of a step."""


def cut(drawn: Drawn, each: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random native squares of the drawn canvases, `each` of every one.

    Returns the pixels (n, each, 2, 3, size, size) in [0, 1], clean and degraded, and the mean squared change (n, each,
    2) that the degradation of each label made there, to the nearest cells.
    """
    (n,), side, device = drawn.rows.shape, drawn.pixels.shape[-1], drawn.rows.device
    # Drawn on the CPU, so that they are the same on any device.
    corners = torch.randint(side - size + 1, (2, n * each), generator=generator)
    top, left = corners.to(device, non_blocking=True)
    rows = drawn.rows.repeat_interleave(each)

    def gather(planes: Tensor, down: Tensor, along: Tensor) -> Tensor:
        channels = torch.arange(planes.shape[1], device=device)[None, :, None, None]
        at = rows[:, None, None, None], channels, down[:, None, :, None], along[:, None, None, :]
        return planes[at]

    line = torch.arange(size, device=device)
    squares = gather(drawn.pixels.flatten(1, 2), top[:, None] + line, left[:, None] + line)
    middles = torch.arange(CELL // 2, size, CELL, device=device)
    cells = [(corner[:, None] + middles) // CELL for corner in (top, left)]
    changes = gather(drawn.changes, *cells).mean((-1, -2))
    pixels = squares.view(n, each, 2, 3, size, size).float().div_(255)
    return pixels, changes.view(n, each, 2)


def patches(drawn: Drawn, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random native square of each drawn canvas, clean and degraded: (n, 3, size, size) each, in [0, 1].

    All are turned by the same multiple of 90 degrees and mirrored or not.
    """
    pixels, _ = cut(drawn, 1, size, generator)
    pixels = pixels[:, 0].rot90(choose(generator, 4), (-2, -1))
    clean, degraded = (pixels.flip(-1) if choose(generator, 2) else pixels).unbind(1)
    return clean.contiguous(), degraded.contiguous()
