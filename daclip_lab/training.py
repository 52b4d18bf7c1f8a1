"""The three trainings: the lab's CLIP, its controller, and the restorer that they steer.

Each is a loss of one batch, handed to `loop.fit`, which yields every step.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daclip_lab.data.datasets import Batch, Source
from daclip_lab.data.degradations import CLEAN
from daclip_lab.data.words import describe, training_texts
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.errors import InputError
from daclip_lab.loop import Recipe, Step, fit
from daclip_lab.models.clip import Clip
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.models.losses import info_nce, multi_positive_info_nce


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


def _same(texts: list[str]) -> Tensor:
    """A number for every row, equal where the texts are."""
    first = {text: i for i, text in reversed(list(enumerate(texts)))}
    return torch.tensor([first[text] for text in texts])


def _phrase(label: str, synonyms: bool, generator: torch.Generator) -> str:
    if not synonyms:
        return label
    texts = training_texts(label)
    return texts[int(torch.randint(len(texts), (), generator=generator))]
