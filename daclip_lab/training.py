"""One loop for the three trainings: the lab's CLIP, its controller, and the restorer.

A training is a generator. The caller owns the loop: plot, stop, look at the model, go on. What a training teaches is
a loss of (batch, generator); `fit` owns the rest: the learning rate, the average of the weights, checkpoints, and
resuming so exactly that an interrupted training ends with the same bytes as one that was not.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from daclip_lab.checkpoints import load_state, save_state
from daclip_lab.data.datasets import Batch, Batches, Source, seeded
from daclip_lab.data.degradations import CLEAN
from daclip_lab.data.words import describe, training_texts
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.errors import InputError
from daclip_lab.models.clip import Clip
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.models.losses import info_nce, multi_positive_info_nce


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how fast anything is trained."""

    steps: int
    """Number of optimiser steps."""
    batch: int
    """Images a step."""
    size: int
    """Side of the training images, in pixels."""
    learning_rate: float
    """Largest learning rate, reached after the warm-up."""
    final_learning_rate: float = 0.0
    """Where the cosine ends."""
    warmup: int = 0
    """Steps of linear warm-up."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's running averages."""
    eps: float = 1e-6
    """AdamW's guard against division by zero."""
    weight_decay: float = 0.0
    """AdamW's decay of weight matrices; biases, norms and temperatures are spared."""
    average: float = 0.999
    """Decay of the running average of the weights, which is what is kept at the end."""
    clip_norm: float = 1.0
    """Largest norm of a gradient."""
    bf16: bool = True
    """Run the networks in bfloat16 (autocast); the weights stay in float32."""
    workers: int = 1
    """Processes that make batches ahead of time; 0 makes them in the loop. The data are the same."""
    seed: int = 0
    """Decides the batches and every random choice in the loss."""


@dataclass(frozen=True, kw_only=True)
class DaclipRecipe(Recipe):
    """The controller's training (DA-CLIP, section 3.1)."""

    multi_positive: bool = False
    """Count every text of the same degradation as right, instead of one (see `losses`)."""
    alignment: float = 0.0
    """Weight of one minus the cosine between the content embedding and CLIP's embedding of the clean image."""
    synonyms: bool = False
    """Name degradations by all their training phrasings, instead of the one canonical word."""


@dataclass(frozen=True, kw_only=True)
class RestorerRecipe(Recipe):
    """The restorer's training (DA-CLIP, section 3.2)."""

    objective: str = "matching"
    """`"matching"`: L1 to the optimum reverse step (IR-SDE, equation 15). `"clean"`: L1 to the clean image."""
    from_start: float = 0.0
    """Share of examples at t = T, where every restoration starts; the others are even over 1..T."""
    untold: float = 0.0
    """Share of examples for which the embeddings are left out, so that the network can also do without."""


@dataclass(frozen=True)
class Step:
    """One step of a training."""

    index: int
    """1 for the first step."""
    loss: float
    metrics: dict[str, float]
    learning_rate: float
    seconds: float
    """Time that this step took, its batch included."""


Loss = Callable[[Batch, torch.Generator], tuple[Tensor, dict[str, float]]]


def learning_rate(recipe: Recipe, index: int) -> float:
    """The learning rate of step `index` (0 for the first): linear warm-up, then a cosine."""
    if index < recipe.warmup:
        return recipe.learning_rate * (index + 1) / recipe.warmup
    progress = (index - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    swing = (1 + math.cos(math.pi * progress)) / 2
    return recipe.final_learning_rate + (recipe.learning_rate - recipe.final_learning_rate) * swing


def fit(
    model: nn.Module,
    loss: Loss,
    source: Source,
    recipe: Recipe,
    *,
    run: str | Path | None = None,
    resume: bool = False,
    save_every: int = 200,
) -> Iterator[Step]:
    """Train the parameters of `model` that require gradients, yielding every step.

    When the generator is exhausted, the model holds the running average of its weights; until then, the latest.

    Args:
        run: a folder for checkpoints; one is written every `save_every` steps and when the loop is left early.
        resume: go on from the checkpoint in `run`. The recipe must be the one it was started with.

    Raises:
        InputError: the checkpoint is missing, or belongs to another recipe or model.
    """
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    matrices = [p for p in weights.values() if p.dim() > 1]
    others = [p for p in weights.values() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others}]
    optimizer = torch.optim.AdamW(
        groups, lr=0.0, betas=recipe.betas, eps=recipe.eps, weight_decay=0.0, foreach=True
    )
    average = {name: p.detach().clone() for name, p in weights.items()}
    done = 0
    if resume:
        if run is None:
            raise InputError("resume needs the folder of the run")
        done = load_state(run, asdict(recipe), weights, average, optimizer)

    def save(index: int) -> None:
        save_state(run, asdict(recipe), weights, average, optimizer, index)

    batches = torch.utils.data.DataLoader(
        Batches(source, size=recipe.size, batch=recipe.batch, seed=recipe.seed),
        batch_size=None,
        sampler=range(done, recipe.steps),
        num_workers=recipe.workers,
    )
    index = saved = done
    device = next(iter(weights.values())).device
    started = time.perf_counter()
    try:
        for index, batch in enumerate(batches, start=done + 1):
            rate = learning_rate(recipe, index - 1)
            for group in optimizer.param_groups:
                group["lr"] = rate
            autocast = torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16)
            with autocast, _attention(device):
                value, metrics = loss(batch, seeded(recipe.seed, index, 1))
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(weights.values(), recipe.clip_norm)
            optimizer.step()
            # A short average at first: a long one would still remember the initial weights.
            decay = min(recipe.average, (1 + index) / (10 + index))
            with torch.no_grad():
                torch._foreach_lerp_(list(average.values()), list(weights.values()), 1 - decay)
            if run is not None and index % save_every == 0:
                save(index)
                saved = index
            now = time.perf_counter()
            yield Step(index, value.item(), metrics, rate, now - started)
            started = now
    finally:
        if run is not None and saved != index:
            save(index)
    with torch.no_grad():
        for name, p in weights.items():
            p.copy_(average[name])


def train_clip(clip: Clip, source: Source, recipe: Recipe, **options) -> Iterator[Step]:
    """Train a CLIP from scratch on captions; where an image is degraded, its caption says so.

    Draw the degradations in `source` rarely: web captions, too, speak of fog now and then. Options are those of `fit`.
    """
    clip.train().requires_grad_(True)

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        texts = [
            text if label == CLEAN else describe(text, label, generator)
            for text, label in zip(batch.captions, batch.labels, strict=True)
        ]
        image, text = clip.encode_image(batch.degraded), clip.encode_text(texts)
        # CLIP's own guard: a temperature below 1/100 makes training unstable.
        scale = clip.scale.clamp(max=100)
        value = multi_positive_info_nce(image, text, scale, _same(texts))
        right = (image @ text.T).argmax(1) == torch.arange(len(texts))
        return value, {"retrieval": right.float().mean().item()}

    return fit(clip, loss, source, recipe, **options)


def train_daclip(daclip: DaCLIP, source: Source, recipe: DaclipRecipe, **options) -> Iterator[Step]:
    """Train the controller (DA-CLIP, equation 3); CLIP itself stays frozen. Options are those of `fit`."""
    daclip.train()

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        names = [_phrase(label, recipe.synonyms, generator) for label in batch.labels]
        with torch.no_grad():
            captions = daclip.encode_text(batch.captions)
            words = daclip.encode_text(names)
            clean = daclip.clip.encode_image(batch.clean)
        content, degradation = daclip.encode_image(batch.degraded)
        if recipe.multi_positive:
            labels = _same(batch.labels)
            for_content = multi_positive_info_nce(
                content, captions, daclip.scale, _same(batch.captions)
            )
            for_degradation = multi_positive_info_nce(degradation, words, daclip.scale, labels)
        else:
            for_content = info_nce(content, captions, daclip.scale)
            for_degradation = info_nce(degradation, words, daclip.scale)
        cosine = F.cosine_similarity(content, clean).mean()
        value = for_content + for_degradation + recipe.alignment * (1 - cosine)
        nearest = (degradation @ words.T).argmax(1).tolist()
        right = sum(
            batch.labels[i] == label for i, label in zip(nearest, batch.labels, strict=True)
        )
        return value, {
            "content_loss": for_content.item(),
            "degradation_loss": for_degradation.item(),
            "cosine": cosine.item(),
            "accuracy": right / len(batch.labels),
        }

    return fit(daclip, loss, source, recipe, **options)


def train_restorer(
    net: nn.Module,
    daclip: DaCLIP | None,
    sde: MeanRevertingSDE,
    source: Source,
    recipe: RestorerRecipe,
    **options,
) -> Iterator[Step]:
    """Train a restorer under a frozen DA-CLIP, or under none (then it is told nothing). Options are those of `fit`."""
    net.train()

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        b = len(batch.clean)
        t = torch.randint(1, sde.steps + 1, (b,), generator=generator)
        t[torch.rand(b, generator=generator) < recipe.from_start] = sde.steps
        noise = torch.randn(batch.clean.shape, generator=generator)
        told = torch.rand(b, generator=generator) >= recipe.untold
        content = degradation = None
        if daclip is not None:
            views = batch.degraded
            if views.shape[-1] != daclip.clip.config.image_size:
                views = F.interpolate(
                    views, size=daclip.clip.config.image_size, mode="bicubic", antialias=True
                ).clamp(0, 1)
            with torch.no_grad():
                embeddings = daclip.encode_image(views)
            content, degradation = (e * told[:, None] for e in embeddings)
        state = sde.diffuse(batch.clean, batch.degraded, t, noise)
        conditions = net.prepare(content, degradation)
        prediction = net(state, batch.degraded, t, conditions).float()
        error = restoration_error(net.predicts, recipe.objective, sde, prediction, batch, state, t)
        return error.mean(), {"from_start": error[t == sde.steps].mean().item()}

    return fit(net, loss, source, recipe, **options)


def restoration_error(
    predicts: str,
    objective: str,
    sde: MeanRevertingSDE,
    prediction: Tensor,
    batch: Batch,
    state: Tensor,
    t: Tensor,
) -> Tensor:
    """The L1 error of each image (b,), for either kind of prediction and either objective of `RestorerRecipe`."""
    clean = prediction
    if objective == "clean":
        if predicts == "noise":
            clean = sde.clean_from_noise(state, batch.degraded, prediction, t)
        return (clean - batch.clean).abs().mean((1, 2, 3))
    if objective != "matching":
        raise InputError(f"objective {objective!r} is unknown: use 'matching' or 'clean'")
    noise = prediction
    if predicts == "clean":
        noise = sde.noise_from_clean(state, batch.degraded, prediction, t)
    reached = state - sde.reverse_drift(state, batch.degraded, noise, t)
    wanted, _ = sde.posterior(state, batch.clean, batch.degraded, t, t - 1)
    return (reached - wanted).abs().mean((1, 2, 3))


def _attention(device: torch.device) -> AbstractContextManager:
    # With a CLIP's few tokens on a CPU, the fused attention's backward pass takes twice the time of the plain one.
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def _same(texts: list[str]) -> Tensor:
    """A number for every row, equal where the texts are."""
    first = {text: i for i, text in reversed(list(enumerate(texts)))}
    return torch.tensor([first[text] for text in texts])


def _phrase(label: str, synonyms: bool, generator: torch.Generator) -> str:
    if not synonyms:
        return label
    texts = training_texts(label)
    return texts[int(torch.randint(len(texts), (), generator=generator))]
