"""Photos, and the pairs that trainings are made of: a clean image, what became of it, and the words for both.

A *source* draws one example from a `torch.Generator`. `Batches` turns any source into a list of batches in which batch
k depends on (seed, k) alone: a training can stop and go on at any step, in any number of processes, on the same data.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from daclip_lab.data.captions import caption
from daclip_lab.data.degradations import CLEAN, NAMES, camera, mix
from daclip_lab.data.image_io import find_images, read_image, to_pil
from daclip_lab.data.scenes import scene
from daclip_lab.errors import InputError

LABELS = (*NAMES, CLEAN)
"""The eleven answers to "what is wrong with this image?", in the order of every table and every class index."""


def seeded(*numbers: int) -> torch.Generator:
    """A generator that is a pure function of some whole numbers from 0, such as (seed, batch)."""
    if min(numbers) < 0:
        raise InputError(f"seed {min(numbers)} is negative: wanted 0 or more")
    sequence = np.random.SeedSequence(numbers[0], spawn_key=numbers[1:])
    state = sequence.generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def uniform(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    """One number, evenly distributed between `low` and `high`."""
    return low + (high - low) * torch.rand((), generator=generator).item()


def choose(generator: torch.Generator, n: int) -> int:
    """One whole number from 0 to n - 1."""
    return int(torch.randint(n, (), generator=generator))


MOST_DECODED = 600
"""Photos kept in memory as pixels: 3 bytes each, 280 MB if all are 481x321."""


class Photos:
    """A list of photos by name, decoded when first needed and kept in memory (up to `MOST_DECODED`).

    `photos[i]` is a (3, h, w) tensor in [0, 1]; `photos.names[i]` says which photo it is.
    """

    def __init__(self, paths: list[Path]):
        if not paths:
            raise InputError("no photos: the list of paths is empty")
        self.paths = list(paths)
        self._decoded: dict[int, Image.Image] = {}

    def __getstate__(self) -> dict:
        # A worker process that is not forked decodes for itself.
        return {"paths": self.paths, "_decoded": {}}

    @property
    def names(self) -> list[str]:
        """The file names without their endings; the paths where names occur twice."""
        stems = [path.stem for path in self.paths]
        return stems if len(set(stems)) == len(stems) else [str(path) for path in self.paths]

    def _decode(self, index: int) -> Image.Image:
        if index not in self._decoded:
            if len(self._decoded) >= MOST_DECODED:
                self._decoded.pop(next(iter(self._decoded)))
            self._decoded[index] = to_pil(read_image(self.paths[index]))
        return self._decoded[index]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return read_image(self._decode(index))

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def split(self, held_out: int, seed: int = 0) -> tuple["Photos", "Photos"]:
        """Two lists without a photo in common: all but `held_out` photos, and those."""
        if not 0 < held_out < len(self):
            raise InputError(
                f"held_out={held_out}: wanted 1 to {len(self) - 1} of {len(self)} photos"
            )
        order = torch.randperm(len(self), generator=seeded(seed)).tolist()
        first, second = sorted(order[held_out:]), sorted(order[:held_out])
        return Photos([self.paths[i] for i in first]), Photos([self.paths[i] for i in second])

    def crop(self, generator: torch.Generator, size: int) -> Tensor:
        """A random square of a random photo, at a random scale, perhaps mirrored: (3, size, size).

        It is never enlarged, unless the photo is smaller than the square: what is clean must be sharp.
        """
        photo = self._decode(choose(generator, len(self)))
        short = min(photo.size)
        # Half of the crops are native; the others shrink a larger square, up to the whole short side.
        native = uniform(generator) < 0.5
        side = min(short, size) if native else uniform(generator, min(short, size), short)
        left = uniform(generator, 0, photo.width - side)
        top = uniform(generator, 0, photo.height - side)
        if native:
            left, top = round(left), round(top)
        box = (left, top, left + side, top + side)
        square = photo.resize((size, size), Image.Resampling.LANCZOS, box=box)
        if uniform(generator) < 0.5:
            square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return read_image(square)


BUNDLED = {
    "train": ("chelsea", "hubble_deep_field", "motorcycle_left", "flower"),
    "test": ("astronaut", "coffee", "rocket", "china"),
}
"""Photos inside the scikit-image and scikit-learn wheels, split by photo once and for all."""


def bundled(split: str) -> Photos:
    """The photos that come with the installed packages: no download. `split` is "train" or "test"."""
    if split not in BUNDLED:
        raise InputError(f"split {split!r} is unknown: use 'train' or 'test'")
    folders = [
        Path(find_spec("skimage").origin).parent / "data",
        Path(find_spec("sklearn").origin).parent / "datasets" / "images",
    ]
    files = {file.stem: file for folder in folders for file in sorted(folder.iterdir())}
    missing = [name for name in BUNDLED[split] if name not in files]
    if missing:
        raise InputError(
            f"the installed scikit-image and scikit-learn do not hold {', '.join(missing)}: "
            "install scikit-image 0.20 or newer"
        )
    return Photos([files[name] for name in BUNDLED[split]])


def folder(*folders: str | Path) -> Photos:
    """All images under one or more folders, in a fixed order."""
    return Photos([path for each in folders for path in find_images(each)])


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
    scenes: float = 0.0
    """Share of examples that show a procedural scene."""
    clean: float = 1 / 11
    """Share of examples that are left clean."""
    mixed: float = 0.0
    """Share of the degraded examples that carry a second degradation."""
    severity: tuple[float, float] = (0.1, 1.0)
    """Range of severities, evenly distributed."""

    def draw(self, generator: torch.Generator, size: int) -> Example:
        if self.photos is None or uniform(generator) < self.scenes:
            drawn = scene(generator, height=size, width=size)
            clean, text = drawn.image, drawn.caption
        else:
            clean = self.photos.crop(generator, size)
            text = caption(clean)
        if uniform(generator) < self.clean:
            label, severity, degraded = CLEAN, 0.0, clean
        else:
            label = NAMES[choose(generator, len(NAMES))]
            severity = uniform(generator, *self.severity)
            steps = [(label, severity)]
            if self.mixed and uniform(generator) < self.mixed:
                # Every ordered pair is as likely, so a pair is called by either of its names half of the time.
                others = [name for name in NAMES if name != label]
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


class PairFolder:
    """Real pairs in the authors' layout: `<folder>/<degradation>/{LQ,GT}`, files paired by name.

    Degradations are drawn evenly, then a pair, then the same crop of both (DA-CLIP, section 4).
    """

    def __init__(self, root: str | Path):
        self.pairs: dict[str, list[tuple[Path, Path]]] = {}
        for low in sorted(Path(root).glob("*/LQ")):
            name = low.parent.name
            if name not in LABELS:
                raise InputError(f"{low.parent}: {name!r} is none of {', '.join(LABELS)}")
            partners = {path.stem: path for path in find_images(low.parent / "GT")}
            for path in find_images(low):
                if path.stem not in partners:
                    raise InputError(
                        f"{path} has no partner of the same name in {low.parent / 'GT'}"
                    )
                self.pairs.setdefault(name, []).append((path, partners[path.stem]))
        if not self.pairs:
            raise InputError(
                f"{root} holds no pairs: wanted folders <degradation>/LQ and /GT in it"
            )

    def draw(self, generator: torch.Generator, size: int) -> Example:
        label = sorted(self.pairs)[choose(generator, len(self.pairs))]
        paths = self.pairs[label][choose(generator, len(self.pairs[label]))]
        degraded, clean = (read_image(path) for path in paths)
        if degraded.shape != clean.shape or min(clean.shape[-2:]) < size:
            raise InputError(
                f"{paths[0]} is {degraded.shape[2]}x{degraded.shape[1]} and its partner "
                f"{clean.shape[2]}x{clean.shape[1]}: wanted equal sizes of at least {size}x{size}"
            )
        top = choose(generator, clean.shape[1] - size + 1)
        left = choose(generator, clean.shape[2] - size + 1)
        degraded, clean = (x[:, top : top + size, left : left + size] for x in (degraded, clean))
        return Example(
            clean=clean,
            degraded=degraded,
            label=label,
            severity=float("nan"),
            caption=caption(clean),
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
