"""The task without training: the restorer of the weights, under a conditioning, a sampler and a weight of guidance."""

from collections.abc import Generator
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor

from daclip_lab.ablation.conditioners import KINDS, conditioned
from daclip_lab.ablation.study import Context, Measurements
from daclip_lab.ablation.tasks.exam import Exam, eight_crops, exam
from daclip_lab.ablation.tasks.restorer import restore
from daclip_lab.diffusion.samplers import SAMPLERS
from daclip_lab.errors import InputError
from daclip_lab.metrics.sliced_wasserstein import sliced_wasserstein
from daclip_lab.models.daclip import Embeddings

RANDOM = ("wrong word", "another photo's content")
"""Conditionings that the seed decides; the others are kept with the exam."""


@dataclass(frozen=True, kw_only=True)
class InferenceTrial:
    """Restore the exam with the restorer of the weights.

    Metrics: "gain at 64 px" and "gain at 256 px" (or another `large_side`), in dB of PSNR over the degraded image; with
    `distance` also "distance at 256 px", the sliced Wasserstein distance of the restored image's patches to the clean
    one's, the mean over scales (`metrics.sliced_wasserstein`): it asks whether textures look alike, not whether pixels
    agree, needs no network of others, and is defined for a single image. Means over images of LPIPS or FID need
    downloads, or many images.
    """

    conditioning: str = "DA-CLIP's embeddings"
    """One of `conditioners.KINDS`."""
    sampler: str = "posterior"
    """One of `diffusion.samplers.SAMPLERS`."""
    steps: int = 1
    """Calls of the network."""
    guidance: float = 1.0
    """w of guidance, see `restorer.restore`; 1 is the conditioned prediction alone."""
    exam: int = 100
    """Photos of the exam at 64 px, each in ten degradations; 0 leaves it out."""
    large_exam: int = 30
    """Photos of the exam at `large_side`; 0 leaves it out."""
    large_side: int = 256
    """Side of these in pixels."""
    distance: bool = False
    """Measure the distance too."""

    def __post_init__(self):
        for name, value, known in (
            ("conditioning", self.conditioning, KINDS),
            ("sampler", self.sampler, SAMPLERS),
        ):
            if value not in known:
                raise InputError(f"{name} {value!r} is unknown: use one of {', '.join(known)}")
        if not (self.exam or self.large_exam):
            raise InputError("exam and large_exam are both 0: nothing would be measured")

    def smoke(self) -> "InferenceTrial":
        """Two photos."""
        return replace(self, exam=min(2, self.exam), large_exam=min(2, self.large_exam))

    def run(self, seed: int, context: Context) -> Generator[float, None, Measurements]:
        """Restore and measure, see `Trial`. The seed decides the noise, wrong words and other photos."""
        tables = []
        for size, count in ((64, self.exam), (self.large_side, self.large_exam)):
            if not count:
                continue
            images = exam(context.test, size, count, context)
            yield 0.1 if size == 64 else 0.3
            restored = self._restore(images, seed, context)
            yield 0.2 if size == 64 else 0.8
            tables.append(images.rows(f"gain at {size} px", images.gain(restored)))
            if self.distance and size == self.large_side:
                distances = _distances(restored, images.clean)
                tables.append(images.rows(f"distance at {size} px", distances))
        eight = eight_crops()
        # Another photo's content is that of the next crop, as each of the eight is degraded in its own way.
        restored = self._restore(eight, seed, context, next_photo=True)
        crops = dict(zip(eight.facts.image, restored, strict=True))
        return Measurements(pd.concat(tables, ignore_index=True), crops)

    def _restore(
        self, images: Exam, seed: int, context: Context, next_photo: bool = False
    ) -> Tensor:
        pipe, kind = context.pipe, self.conditioning
        if kind not in RANDOM:
            embeddings = images.embeddings(kind, pipe)
        elif next_photo and kind == "another photo's content":
            own = images.embeddings("DA-CLIP's embeddings", pipe)
            embeddings = Embeddings(own.content.roll(1, 0), own.degradation)
        else:
            facts = images.facts
            embeddings = conditioned(
                pipe,
                kind,
                clean=images.clean,
                degraded=images.degraded,
                labels=list(facts.degradation),
                photos=list(facts.photo),
                seed=seed,
            )
        return restore(
            pipe.require_restorer(),
            pipe.sde,
            images,
            embeddings,
            self.steps,
            sampler=self.sampler,
            guidance=self.guidance,
            seed=seed,
        )


def _distances(restored: Tensor, clean: Tensor) -> Tensor:
    """The mean over scales of the distance of each image to its clean version: (n,)."""
    pairs = zip(restored, clean, strict=True)
    return torch.stack([sliced_wasserstein(a[None], b[None]).mean() for a, b in pairs])
