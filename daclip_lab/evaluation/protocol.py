"""The images of an evaluation, the same at every run.

Every photo is degraded in each way, left clean once, and degraded in two ways at once, with crops, severities and noise
from a seed. Numbers of different protocols must not be compared: the hash of the protocol is printed with them.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from daclip_lab.data.photos import Photos
from daclip_lab.data.seeding import choose, seeded, uniform
from daclip_lab.degradations.apply import camera, degrade, mix
from daclip_lab.degradations.registry import CLEAN, DEGRADATIONS, LABELS, in_order, lookup
from daclip_lab.diffusion.samplers import SAMPLERS
from daclip_lab.errors import InputError
from daclip_lab.models.clip import VIEWS
from daclip_lab.pipeline.serialization import Settings

VERSION = 3
"""Raised by one whenever a degradation or a measure changes, since old numbers are then not comparable any more."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How photos are degraded, embedded and restored."""

    crop: int | None = 64
    """Side of the crops, in pixels; None takes whole photos, each in its own orientation."""
    crops: int = 1
    """Crops per photo and degradation."""
    severity: tuple[float, float] = (0.3, 1.0)
    """Range of severities, evenly distributed."""
    mixtures: int = 2
    """Mixtures of two degradations per crop."""
    view: str | None = None
    """Which views of an image are embedded, see `models.clip.views`; None takes the setting of the weights."""
    window: int | None = None
    """Side in pixels of the windows over which a NAFNet takes channel means; None takes the setting of the weights."""
    steps: int | None = None
    """Steps of a restoration; None takes the setting of the weights."""
    sampler: str = "posterior"
    """One of `diffusion.samplers.SAMPLERS`."""
    seed: int = 0
    """Decides crops, severities, degradations and the noise of the restoration."""
    degradations: tuple[str, ...] | None = None
    """None takes those among the labels of the weights, or without weights the ten."""

    def __post_init__(self):
        bounds = {"crop": 1, "crops": 1, "steps": 1, "window": 1, "mixtures": 0}
        for field, least in bounds.items():
            if (value := getattr(self, field)) is not None and value < least:
                raise InputError(f"{field}={value}: wanted {least} or more")
        for field, known in (("sampler", SAMPLERS), ("view", VIEWS)):
            if (value := getattr(self, field)) is not None and value not in known:
                raise InputError(f"{field} {value!r} is unknown: use one of {', '.join(known)}")

    @property
    def labels(self) -> tuple[str, ...]:
        """The degradations and "clean"."""
        return (*(self.degradations or DEGRADATIONS), CLEAN)

    @property
    def hash(self) -> str:
        """Eight characters that change with any field and with the version of the protocol."""
        content = {"version": VERSION, **asdict(self)}
        if self.labels == LABELS:
            del content["degradations"]  # so that numbers from before this field stay comparable
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]

    def resolve(self, settings: Settings) -> "Protocol":
        """The protocol with the settings of some weights in the place of None, so that its hash is complete.

        Raises InputError for labels that no degradation is registered for.
        """
        degradations = self.degradations
        if degradations is None:
            degradations = in_order(label for label in settings.labels if label != CLEAN)
        for name in degradations:
            lookup(name)
        return replace(
            self,
            steps=settings.steps if self.steps is None else self.steps,
            view=self.view or settings.view,
            window=self.window or (settings.network or {}).get("window"),
            mixtures=0 if len(degradations) == 1 else self.mixtures,
            degradations=degradations,
        )


def clean_crops(photos: Photos, index: int, protocol: Protocol) -> list[Tensor]:
    """The crops (3, h, w) of one photo; the photo itself where the protocol takes whole photos."""
    return [crop for crop, _ in _crops(photos, index, protocol)]


def degraded_crops(
    photos: Photos, index: int, protocol: Protocol
) -> tuple[Tensor, Tensor, list[dict]]:
    """Each crop of one photo with each degradation and once left clean; all pass through the camera.

    Returns clean and degraded images (n, 3, h, w), and a dict for each: photo, crop, degradation, severity.
    """
    clean, degraded, facts = [], [], []
    for number, (crop, generator) in enumerate(_crops(photos, index, protocol)):
        for name in protocol.labels:
            severity = 0.0 if name == CLEAN else uniform(generator, *protocol.severity)
            clean.append(crop)
            degraded.append(camera(degrade(crop, name, severity, generator), generator))
            facts.append({"photo": photos.names[index], "crop": number,
                          "degradation": name, "severity": severity})  # fmt: skip
    return torch.stack(clean), torch.stack(degraded), facts


def mixed_crops(
    photos: Photos, index: int, protocol: Protocol
) -> tuple[Tensor, Tensor, list[dict]]:
    """Each crop of one photo with two degradations at once, `protocol.mixtures` times, through the camera.

    The pairs are drawn evenly from all: both of two degradations stay visible in the order in which `mix` applies them.
    Returns clean and mixed images (n, 3, h, w), and a dict for each: photo, crop, first, second, severity_first,
    severity_second.
    """
    names = protocol.labels[:-1]
    if not protocol.mixtures:
        raise InputError("mixtures=0: this protocol mixes nothing")
    clean, mixed, facts = [], [], []
    for number, crop in enumerate(clean_crops(photos, index, protocol)):
        # A generator of their own: how many mixtures are made does not change the other images.
        generator = seeded(protocol.seed, index, number, 1)
        for _ in range(protocol.mixtures):
            first, second = torch.randperm(len(names), generator=generator)[:2].tolist()
            steps = [(names[k], uniform(generator, *protocol.severity)) for k in (first, second)]
            clean.append(crop)
            mixed.append(camera(mix(crop, steps, generator), generator))
            facts.append({"photo": photos.names[index], "crop": number,
                          "first": steps[0][0], "second": steps[1][0],
                          "severity_first": steps[0][1], "severity_second": steps[1][1]})  # fmt: skip
    return torch.stack(clean), torch.stack(mixed), facts


def _crops(photos: Photos, index: int, protocol: Protocol) -> list[tuple[Tensor, torch.Generator]]:
    """Each crop of a photo, with the generator that drew it and that draws its degradations next."""
    photo, size = photos[index], protocol.crop
    h, w = photo.shape[-2:]
    if size is not None and min(h, w) < size:
        raise InputError(
            f"photo {photos.names[index]} is {w}x{h} pixels: wanted at least {size}x{size}"
        )
    found = []
    for number in range(protocol.crops):
        generator, crop = seeded(protocol.seed, index, number), photo
        if size is not None:
            top, left = choose(generator, h - size + 1), choose(generator, w - size + 1)
            crop = photo[:, top : top + size, left : left + size]
        found.append((crop, generator))
    return found
