"""The task of the controller's study: a controller is trained on the frozen CLIP, and its embeddings are measured."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.ablation.networks.controllers import build_controlled
from daclip_lab.ablation.study import Context, Measurements
from daclip_lab.ablation.tasks.bank import BankSettings, bank
from daclip_lab.ablation.tasks.exam import Exam, eight_crops, exam
from daclip_lab.ablation.tasks.restorer import restore
from daclip_lab.data.prompts import held_out_texts
from daclip_lab.degradations.registry import DEGRADATIONS
from daclip_lab.models.daclip import DaCLIP, Embeddings
from daclip_lab.models.front_end import fold_all
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.training import presets
from daclip_lab.training.checkpoints import saved_step
from daclip_lab.training.devices import evaluation_mode
from daclip_lab.training.objectives import train_daclip
from daclip_lab.training.recipes import DaclipRecipe


def recipe() -> DaclipRecipe:
    """The lab's recipe on crops alone, and shorter."""
    return replace(
        presets.lab().daclip,
        steps=90,
        batch_size=32,
        learning_rate=1e-3,
        warmup=10,
        ema_decay=0.95,
        photos=0,
    )


@dataclass(frozen=True, kw_only=True)
class ControllerTrial:
    """Train a controller on a bank of crops with the shipped CLIP.

    Metrics: "accuracy" and "accuracy, held-out words", 0 or 100 for each crop; "cosine gain", that of the content
    embedding with CLIP's embedding of the clean crop, minus that of plain CLIP's of the degraded crop; "gain at 64 px"
    (or CLIP's own size), of the shipped restorer conditioned on this controller's embeddings, in dB of PSNR.
    """

    recipe: DaclipRecipe = field(default_factory=recipe)
    """How it is trained; each run sets the seed."""
    bank: BankSettings = field(default_factory=BankSettings)
    """What it is trained on."""
    order: str = "reversed"
    initialisation: str = "exact"
    front_end: str = "copy"
    """See `build_controlled`."""
    exam: int = 60
    """Photos of the exam at CLIP's size, each in ten degradations; at most those there are."""

    def smoke(self) -> "ControllerTrial":
        """A training of three steps."""
        few = replace(self.recipe, steps=3, batch_size=8, warmup=0)
        return replace(self, recipe=few, bank=replace(self.bank, examples=16), exam=2)

    def run(self, seed: int, context: Context) -> Generator[float, None, Measurements]:
        """Train and measure, see `Trial`."""
        restorer = context.pipe.require_restorer()
        examples = bank(self.bank, seed, context)
        daclip = build_controlled(
            context.pipe.require_daclip().clip,
            order=self.order,
            initialisation=self.initialisation,
            front_end=self.front_end,
            seed=seed,
        )
        steps = train_daclip(
            daclip,
            examples.source(),
            replace(self.recipe, seed=seed),
            run=context.run,
            resume=context.run is not None and saved_step(context.run) is not None,
        )
        for step in steps:
            yield 0.9 * step.index / self.recipe.steps
        fold_all(daclip.controller)
        images = exam(context.test, self.recipe.image_size, self.exam, context)
        tables = list(_measure(daclip, images, context.pipe))
        yield 0.97
        eight = eight_crops()
        own = Pipeline(context.pipe.settings, daclip=daclip)
        found = Embeddings(*(e.clone() for e in own.encode(list(eight.degraded))))
        restored = restore(restorer, context.pipe.sde, eight, found, 1)
        crops = dict(zip(eight.facts.image, restored, strict=True))
        return Measurements(pd.concat(tables, ignore_index=True), crops)


@torch.no_grad()
def _measure(daclip: DaCLIP, images: Exam, pipe: Pipeline) -> Iterator["pd.DataFrame"]:
    """The metrics of an exam of crops at CLIP's size, a table for each."""
    device = daclip.logit_scale.device
    labels = list(pipe.settings.labels)
    words = pipe.word_embeddings[[labels.index(name) for name in DEGRADATIONS]]
    with evaluation_mode(daclip):
        held_out = [daclip.encode_text(held_out_texts(name)).mean(0) for name in DEGRADATIONS]
        found: dict[str, list[Tensor]] = {"content": [], "degradation": [], "clean": [], "clip": []}
        for clean, degraded in zip(
            images.clean.split(250), images.degraded.split(250), strict=True
        ):
            clean, degraded = clean.to(device), degraded.to(device)
            both = daclip.encode_image(degraded)
            found["content"].append(both.content)
            found["degradation"].append(both.degradation)
            found["clean"].append(daclip.clip.encode_image(clean))
            found["clip"].append(daclip.clip.encode_image(degraded))
    e = {name: torch.cat(parts) for name, parts in found.items()}
    right = torch.tensor([DEGRADATIONS.index(name) for name in images.facts.degradation])
    texts = {
        "accuracy": words,
        "accuracy, held-out words": F.normalize(torch.stack(held_out), dim=-1),
    }
    for metric, each in texts.items():
        named = (e["degradation"] @ each.to(device).T).argmax(1).cpu()
        yield images.rows(metric, 100.0 * (named == right))
    yield images.rows("cosine gain", ((e["content"] - e["clip"]) * e["clean"]).sum(1))
    conditions = Embeddings(e["content"], e["degradation"])
    restored = restore(pipe.require_restorer(), pipe.sde, images, conditions, 1)
    yield images.rows(f"gain at {images.clean.shape[-1]} px", images.gain(restored))
