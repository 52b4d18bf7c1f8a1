"""The exam: the test images of a study, the same for all of its runs, and the eight crops that every run restores."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
import torch
from safetensors import safe_open
from torch import Tensor

from daclip_lab.ablation.conditioners import conditioned
from daclip_lab.ablation.conditioning import build_eval_set
from daclip_lab.ablation.execution.lock import locked
from daclip_lab.ablation.study import Context
from daclip_lab.ablation.tasks.bank import WAIT, kept
from daclip_lab.data.photos import Photos, sample_photos
from daclip_lab.data.seeding import choose, seeded
from daclip_lab.degradations.apply import camera, degrade
from daclip_lab.evaluation.protocol import Protocol
from daclip_lab.metrics.image_quality import psnr
from daclip_lab.models.daclip import Embeddings
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.training.checkpoints import write_tensors

SEED = 1
"""Decides crops, severities and noise of all exams."""
EIGHT = {
    "colosseum": ("hazy", 0.7),
    "dune": ("noisy", 0.7),
    "forget_me_nots": ("rainy", 0.6),
    "lake": ("low-light", 0.8),
    "osprey": ("uncompleted", 0.4),
    "otter": ("snowy", 0.6),
    "spices": ("raindrop", 0.7),
    "wren": ("jpeg-compressed", 0.7),
}
"""Degradation and severity of the crop of each bundled test photo."""
EIGHT_SIDE = 128
"""Side of these crops in pixels."""


@dataclass(frozen=True)
class Exam:
    """Degraded images and their clean versions."""

    clean: Tensor
    """(n, 3, h, w) in [0, 1]."""
    degraded: Tensor
    """(n, 3, h, w) in [0, 1]."""
    facts: "pd.DataFrame"
    """n rows with the columns image, photo, degradation and severity."""
    folder: Path | None = None
    """Where its embeddings are kept; None does not keep them."""

    def embeddings(self, kind: str, pipe: Pipeline) -> Embeddings:
        """What one of `conditioners.KINDS` gives for these images: (n, d) each, on the pipeline's device."""

        def make() -> Tensor:
            found = conditioned(
                pipe,
                kind,
                clean=self.clean,
                degraded=self.degraded,
                labels=list(self.facts.degradation),
                photos=list(self.facts.photo),
            )
            return torch.stack(found)

        found = (
            make() if self.folder is None else kept(self.folder, f"{kind} {pipe.fingerprint}", make)
        )
        return Embeddings(*found.to(pipe.device))

    def rows(self, metric: str, values: Tensor) -> "pd.DataFrame":
        """The measurements (n,) of a metric as rows of a run's table."""
        table = self.facts[["image", "photo", "degradation"]]
        return table.assign(metric=metric, value=values.detach().cpu().double().numpy())

    def gain(self, restored: Tensor) -> Tensor:
        """PSNR of restorations (n, 3, h, w) minus that of the degraded images: (n,) in dB."""
        return psnr(restored.cpu().clamp(0, 1), self.clean) - psnr(self.degraded, self.clean)


def exam(photos: Photos, size: int, count: int, context: Context) -> Exam:
    """One crop of each of the first `count` photos in all ten degradations, kept in the context's cache.

    Photos smaller than the crop are passed over. Raises InputError where none is left.
    """
    content = {"size": size, "count": count, "seed": SEED, "photos": photos.content_hash}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    folder = context.cache / f"exam-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, WAIT):
        if not (folder / "facts.json").is_file():
            large = [k for k in range(len(photos)) if min(photos[k].shape[-2:]) >= size]
            chosen = Photos([photos.paths[k] for k in large[:count]])
            made = build_eval_set(chosen, Protocol(crop=size, seed=SEED, mixtures=0))
            write_tensors(
                folder / "images.safetensors", {"clean": made.clean, "degraded": made.degraded}
            )
            made.metadata.to_json(folder / "facts.json", orient="records")
    facts = pd.read_json(folder / "facts.json", orient="records", dtype={"photo": str})
    facts["image"] = facts.photo + " " + facts.degradation + f" {size} px"
    with safe_open(folder / "images.safetensors", "pt") as file:
        return Exam(file.get_tensor("clean"), file.get_tensor("degraded"), facts, folder)


@cache
def eight_crops() -> Exam:
    """A crop of each of the eight bundled test photos, degraded in one way: what every run restores to be looked at.

    `facts.image` is the name of the crop, "otter-snowy".
    """
    photos = sample_photos("test")
    clean, degraded, facts = [], [], []
    for k, (photo, (name, severity)) in enumerate(EIGHT.items()):
        generator, image = seeded(SEED, k, 8), photos[photos.names.index(photo)]
        # The middle third, where photos show what they are of.
        top, left = (
            side // 3 + choose(generator, max(1, side // 3 - EIGHT_SIDE))
            for side in image.shape[-2:]
        )
        crop = image[:, top : top + EIGHT_SIDE, left : left + EIGHT_SIDE]
        clean.append(crop)
        degraded.append(camera(degrade(crop, name, severity, generator), generator))
        facts.append({"image": f"{photo}-{name}", "photo": photo, "degradation": name,
                      "severity": severity})  # fmt: skip
    return Exam(torch.stack(clean), torch.stack(degraded), pd.DataFrame(facts))
