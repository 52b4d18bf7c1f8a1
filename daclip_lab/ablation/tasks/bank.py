"""Banks of training examples: made once for a seed, and shared by all variants of a study and by all processes.

Degrading a crop takes longer than a step of a tiny network, and variants are to differ in nothing but their change: so
all of them draw from the same bank.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from daclip_lab.ablation.execution.lock import locked
from daclip_lab.ablation.study import Context
from daclip_lab.data.photos import Photos
from daclip_lab.data.seeding import choose, seeded
from daclip_lab.data.training_pairs import Example, Synthetic
from daclip_lab.degradations.apply import mix
from daclip_lab.degradations.registry import CLEAN, DEGRADATIONS
from daclip_lab.errors import InputError
from daclip_lab.files.storage import read_json, write_json
from daclip_lab.training.checkpoints import write_tensors

WAIT = 600.0
"""Seconds to wait for another process that makes the same bank."""


@dataclass(frozen=True, kw_only=True)
class BankSettings:
    """What a bank holds."""

    examples: int = 2048
    """How many."""
    size: int = 64
    """Side of the crops in pixels."""
    scene_prob: float = 0.1
    """Share of procedural scenes; 1 uses no photos."""
    clean_prob: float = 0.1
    """Share of examples that are left clean."""
    second_degradation_prob: float = 0.0
    """Share of the degraded ones with a second degradation."""
    severity: tuple[float, float] = (0.2, 1.0)
    """Range of severities, evenly distributed."""
    degradations: tuple[str, ...] = DEGRADATIONS
    """Equally frequent."""
    photo_limit: int | None = None
    """So many of the training photos, drawn by a fixed seed; None uses all."""
    camera: bool = True
    """Mild noise and compression on all images, as of a camera (`degradations.apply.camera`)."""


@dataclass(frozen=True)
class Bank:
    """Training examples in memory, or in a file that is read as needed."""

    folder: Path
    clean: Tensor
    """(n, 3, s, s) uint8."""
    degraded: Tensor
    """(n, 3, s, s) uint8."""
    labels: list[str]
    captions: list[str]

    def source(self, embeddings: Tensor | None = None) -> "BankSource":
        """The bank as a source of training examples, each with its row of `embeddings` (n, 2, d), if given."""
        return BankSource(self, embeddings)


def kept(folder: Path, name: str, make: Callable[[], Tensor]) -> Tensor:
    """The tensor of that name in a folder, made by the first process that asks for it."""
    path = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:12]}.safetensors"
    with locked(folder, WAIT):
        if not path.is_file():
            write_tensors(path, {"values": make().cpu()})
    with safe_open(path, "pt") as file:
        return file.get_tensor("values")


@dataclass(frozen=True)
class BankSource:
    """Random examples of a bank: a `Source`, whose images are bytes."""

    bank: Bank
    embeddings: Tensor | None = None

    def draw(self, generator: torch.Generator, size: int, *, captions: bool = True) -> Example:
        """A random example; raises InputError where `size` is not that of the bank."""
        if size != self.bank.clean.shape[-1]:
            raise InputError(
                f"size={size}: the bank holds crops of {self.bank.clean.shape[-1]} pixels"
            )
        index = choose(generator, len(self.bank.labels))
        return Example(
            clean=self.bank.clean[index],
            degraded=self.bank.degraded[index],
            label=self.bank.labels[index],
            severity=float("nan"),
            caption=self.bank.captions[index] if captions else "",
            embeddings=None if self.embeddings is None else self.embeddings[index],
        )


def bank(settings: BankSettings, seed: int, context: Context) -> Bank:
    """The bank of a seed, from the training photos of a context: a pure function of both, kept in its cache."""
    photos = context.train if settings.scene_prob < 1 else None
    content = {
        "settings": asdict(settings),
        "seed": seed,
        "photos": photos.content_hash if photos else None,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    folder = context.cache / f"bank-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, WAIT):
        if not (folder / "bank.json").is_file():
            _make(settings, seed, photos, folder)
    facts = read_json(folder / "bank.json")
    with safe_open(folder / "bank.safetensors", "pt") as file:
        clean, degraded = file.get_tensor("clean"), file.get_tensor("degraded")
    return Bank(folder, clean, degraded, facts["labels"], facts["captions"])


def _make(settings: BankSettings, seed: int, photos: Photos | None, folder: Path) -> None:
    """Draw all examples and write them; the list of labels last, as it marks the bank as complete."""
    source = Synthetic(
        photos=_limited(photos, settings.photo_limit),
        scene_prob=settings.scene_prob,
        clean_prob=settings.clean_prob,
        second_degradation_prob=settings.second_degradation_prob,
        severity=settings.severity,
        degradations=settings.degradations,
    )
    examples = [_draw(source, settings, seeded(seed, k, 3)) for k in range(settings.examples)]

    def stacked(name: str) -> Tensor:
        return torch.stack([_bytes(getattr(example, name)) for example in examples])

    tensors = {name: stacked(name) for name in ("clean", "degraded")}
    write_tensors(folder / "bank.safetensors", tensors)
    labels, captions = ([getattr(e, name) for e in examples] for name in ("label", "caption"))
    write_json(folder / "bank.json", {"labels": labels, "captions": captions})


def _draw(source: Synthetic, settings: BankSettings, generator: torch.Generator) -> Example:
    if settings.camera:
        return source.draw(generator, settings.size)
    clean, text = source.clean(generator, settings.size)
    steps = source.steps(generator)
    label, severity = steps[0] if steps else (CLEAN, 0.0)
    degraded = mix(clean, steps, generator)
    return Example(clean=clean, degraded=degraded, label=label, severity=severity, caption=text)


def _limited(photos: Photos | None, limit: int | None) -> Photos | None:
    if photos is None or limit is None or limit >= len(photos):
        return photos
    order = torch.randperm(len(photos), generator=seeded(0, 4))[:limit].tolist()
    return Photos([photos.paths[k] for k in order])


def _bytes(image: Tensor) -> Tensor:
    return image.mul(255).round_().to(torch.uint8)
