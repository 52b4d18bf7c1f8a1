"""The task of most studies: a small restorer is trained from scratch, and measured on photos it has not seen."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace

import pandas as pd
import torch
from torch import Tensor, nn

from daclip_lab.ablation.conditioners import conditioned
from daclip_lab.ablation.networks import injection, prediction  # noqa: F401  (registers them)
from daclip_lab.ablation.study import Context, Measurements
from daclip_lab.ablation.tasks.bank import Bank, BankSettings, bank, kept
from daclip_lab.ablation.tasks.exam import Exam, eight_crops, exam
from daclip_lab.data.seeding import seeded
from daclip_lab.diffusion.samplers import SAMPLERS, denoiser, sample
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.models.daclip import Embeddings
from daclip_lab.models.restorer import build_restorer
from daclip_lab.training.checkpoints import saved_step
from daclip_lab.training.recipes import RestorerRecipe
from daclip_lab.training.restoration import train_restorer

BATCH = {64: 100, 128: 8, 256: 10}
"""Images of a side that are restored at once."""
NETWORK = {
    "kind": "nafnet",
    "width": 16,
    "encoder": (1, 1),
    "middle": 1,
    "decoder": (1, 1),
    "conditioning_dim": 64,
}
"""A NAFNet with five blocks: small enough for minutes, deep enough to use its conditioning."""


def recipe() -> RestorerRecipe:
    """One step from t = T to the clean image, which is what is measured; no example is left unconditioned."""
    return RestorerRecipe(
        steps=200,
        batch_size=48,
        image_size=64,
        learning_rate=3e-3,
        final_learning_rate=1e-5,
        warmup=20,
        betas=(0.9, 0.99),
        eps=1e-8,
        ema_decay=0.98,
        objective="log_mse",
        t_max_prob=1.0,
    )


@dataclass(frozen=True, kw_only=True)
class RestorerTrial:
    """Train a restorer on a bank of crops under one conditioning; restore the exam under the same one.

    Metrics: "gain at 64 px" and "gain at 256 px", in dB of PSNR over the degraded image.
    """

    network: dict = field(default_factory=NETWORK.copy)
    """The restorer, as for `build_restorer`."""
    recipe: RestorerRecipe = field(default_factory=recipe)
    """How it is trained; each run sets the seed."""
    budget: float = 1.0
    """Share of the recipe's steps that are trained."""
    bank: BankSettings = field(default_factory=BankSettings)
    """What it is trained on."""
    conditioning: str = "DA-CLIP's embeddings"
    """One of `conditioners.KINDS`, in training and exam."""
    exam: int = 60
    """Photos of the exam at 64 px, each in ten degradations; at most those there are."""
    large_exam: int = 10
    """Photos of the exam at 256 px; 0 leaves it out."""
    guidance: tuple[float, ...] = ()
    r"""Weights w of guidance, $\hat x_0(\varnothing) + w\,(\hat x_0(e) - \hat x_0(\varnothing))$: for each, the metric
    "gain at 64 px, w = 0.5" and so on. It needs `recipe.conditioning_dropout`."""
    steps: tuple[int, ...] = (1,)
    """Numbers of steps of the restorations; after the first, the metrics are "gain at 64 px, 20 steps" and so on."""

    def smoke(self) -> "RestorerTrial":
        """A training of four steps."""
        few = replace(self.recipe, steps=4, batch_size=4, warmup=0)
        small = {"width": 8, "conditioning_dim": 16} if "width" in self.network else {}
        return replace(
            self,
            recipe=few,
            network=self.network | small,
            bank=replace(self.bank, examples=12),
            exam=2,
            large_exam=min(1, self.large_exam),
            steps=tuple(min(count, 2) for count in self.steps[:2]),
        )

    def run(self, seed: int, context: Context) -> Generator[float, None, Measurements]:
        """Train and measure, see `Trial`."""
        examples = bank(self.bank, seed, context)
        pipe, sde = context.pipe, context.pipe.sde
        net: nn.Module = build_restorer(self.network, pipe.settings.clip.embed_dim, seed)
        net.to(context.device)
        source = examples.source(self._embeddings(examples, context))
        recipe = replace(
            self.recipe, seed=seed, steps=max(1, round(self.budget * self.recipe.steps))
        )
        steps = train_restorer(
            net,
            None,
            sde,
            source,
            recipe,
            run=context.run,
            resume=context.run is not None and saved_step(context.run) is not None,
        )
        for step in steps:
            yield 0.9 * step.index / recipe.steps
        net.eval()
        tables: list[pd.DataFrame] = []
        for size, count in ((64, self.exam), (256, self.large_exam)):
            if count:
                images = exam(context.test, size, count, context)
                tables.extend(self._measure(net, sde, images, size, context))
                yield 0.95
        eight = eight_crops()
        restored = restore(
            net, sde, eight, eight.embeddings(self.conditioning, context.pipe), self.steps[0]
        )
        crops = dict(zip(eight.facts.image, restored, strict=True))
        return Measurements(pd.concat(tables, ignore_index=True), crops)

    def _measure(
        self, net: nn.Module, sde: MeanRevertingSDE, images: Exam, size: int, context: Context
    ) -> Iterator[pd.DataFrame]:
        """The gains of an exam, a table for each metric."""
        embeddings, metric = (
            images.embeddings(self.conditioning, context.pipe),
            f"gain at {size} px",
        )
        for place, count in enumerate(self.steps):
            name = metric if place == 0 else f"{metric}, {count} steps"
            yield images.rows(name, images.gain(restore(net, sde, images, embeddings, count)))
        for w in self.guidance if size == 64 else ():
            restored = restore(net, sde, images, embeddings, self.steps[0], guidance=w)
            yield images.rows(f"{metric}, w = {w:g}", images.gain(restored))

    def _embeddings(self, examples: Bank, context: Context) -> Tensor | None:
        """The embeddings (n, 2, d) of the bank, made once for all variants with this conditioning."""
        if self.conditioning == "nothing":
            return None

        def make() -> Tensor:
            clean, degraded = (
                images.float().div(255) for images in (examples.clean, examples.degraded)
            )
            # Crops of one photo are not marked as such: an example counts as a photo of its own.
            own = [str(k) for k in range(len(clean))]
            found = conditioned(context.pipe, self.conditioning, clean=clean, degraded=degraded,
                                labels=examples.labels, photos=own)  # fmt: skip
            return torch.stack(found, 1)

        return kept(examples.folder, f"{self.conditioning} {context.pipe.fingerprint}", make)


@torch.inference_mode()
def restore(
    net: nn.Module,
    sde: MeanRevertingSDE,
    images: Exam,
    embeddings: Embeddings,
    steps: int,
    *,
    sampler: str = "posterior",
    guidance: float = 1.0,
    seed: int = 0,
) -> Tensor:
    r"""Restorations (n, 3, h, w) of an exam in [0, 1], on the CPU, from the same noise for every network.

    Args:
        embeddings: (n, d) each.
        sampler: one of `diffusion.samplers.SAMPLERS`.
        guidance: w of $\hat x_0(\varnothing) + w\,(\hat x_0(e) - \hat x_0(\varnothing))$; 1 is the conditioned
            prediction.
        seed: decides the noise.
    """
    device, found = next(net.parameters()).device, []
    size = BATCH.get(images.degraded.shape[-1], 1)
    for k, degraded in enumerate(images.degraded.split(size)):
        degraded = degraded.to(device)
        rows = Embeddings(*(e[k * size : k * size + len(degraded)].to(device) for e in embeddings))
        predict = denoiser(net, sde, degraded, net.prepare(*rows))
        if guidance != 1:
            nothing = denoiser(net, sde, degraded, net.prepare(*map(torch.zeros_like, rows)))
            predict = _guided(predict, nothing, guidance)
        *_, last = sample(
            predict, sde, degraded, steps=steps, generator=seeded(seed, k), **SAMPLERS[sampler]
        )
        found.append(last.state.clamp(0, 1).float().cpu())
    return torch.cat(found)


def _guided(conditioned_prediction, unconditioned_prediction, weight: float):
    def predict(state: Tensor, t: int) -> Tensor:
        without = unconditioned_prediction(state, t)
        return without + weight * (conditioned_prediction(state, t) - without)

    return predict
