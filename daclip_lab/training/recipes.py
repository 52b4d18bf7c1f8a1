"""Recipes: how long and how fast each part is trained, and what its loss is made of."""

import math
from dataclasses import dataclass, fields
from types import UnionType
from typing import get_args, get_origin

from daclip_lab.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of any training. Raises InputError for a value of another type or out of range."""

    steps: int
    """Number of optimiser steps."""
    batch_size: int
    """Images per step, in all processes together."""
    image_size: int
    """Side of the training images, in pixels."""
    learning_rate: float
    """Peak learning rate, reached after the warm-up."""
    final_learning_rate: float = 0.0
    """The learning rate at which the cosine ends."""
    warmup: int = 0
    """Steps of linear warm-up."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's decay rates of the moments."""
    eps: float = 1e-6
    """AdamW's epsilon."""
    weight_decay: float = 0.0
    """AdamW's weight decay; biases, norms and temperatures are excluded."""
    ema_decay: float = 0.999
    """Decay of the exponential moving average of the weights, which is kept at the end; 0 keeps the latest weights."""
    ema_every: int = 1
    """Steps from one update of that average to the next; the last step always updates it."""
    max_grad_norm: float | None = 1.0
    """Gradients are clipped to this norm; None does not clip."""
    bf16: bool = True
    """Run the trained network in bfloat16 (autocast) where the processor has it; the weights stay in float32."""
    workers: int = 0
    """Processes that make batches ahead of time; the data are the same. In a notebook leave it at 0: a process forked
    from a kernel whose libraries run threads may hang."""
    seed: int = 0
    """Decides the batches and every random choice in the loss."""

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not _has_type(value, field.type):
                kind = getattr(field.type, "__name__", field.type)
                raise InputError(f"{field.name}={value!r}: the type must be {kind}")
        lowest = {"steps": 1, "batch_size": 1, "image_size": 1, "ema_every": 1}
        for name, least in (lowest | {"warmup": 0, "workers": 0, "seed": 0}).items():
            if getattr(self, name) < least:
                raise InputError(f"{name}={getattr(self, name)}: wanted {least} or more")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate={self.learning_rate}: wanted a number above 0")


def _has_type(value, wanted) -> bool:
    """Whether a value is of the type of a field: int, float (or int), bool, str, a tuple of these, or None."""
    if isinstance(wanted, UnionType):
        return any(_has_type(value, each) for each in get_args(wanted))
    if get_origin(wanted) is tuple:
        inner = get_args(wanted)
        if isinstance(value, tuple | list) and inner[1:] == (...,):
            inner = inner[:1] * len(value)
        fits = isinstance(value, tuple | list) and len(value) == len(inner)
        return fits and all(map(_has_type, value, inner))
    if isinstance(value, bool):
        return wanted is bool
    return isinstance(value, (int, float) if wanted is float else wanted)


@dataclass(frozen=True, kw_only=True)
class ClipRecipe(Recipe):
    """The training of the lab's own CLIP."""

    paraphrase_weight: float = 0.0
    """Weight of a contrastive loss between phrasings of the same degradation ("foggy", "in thick fog"), see
    `objectives.paraphrase_loss`. A CLIP of the web has learned these from billions of captions; ours cannot."""
    train_image_tower: bool = True
    """Train the image tower as well; without it, the text tower is fitted to fixed image features (Zhai et al., LiT,
    2111.07991)."""


@dataclass(frozen=True, kw_only=True)
class DaclipRecipe(Recipe):
    """The controller's training (DA-CLIP, section 3.1), see `objectives.train_daclip`."""

    multi_positive: bool = False
    """Count every text of the same label as a positive, instead of one (see `models.losses`)."""
    alignment_weight: float = 0.0
    """Weight of one minus the cosine between the content embedding and CLIP's embedding of the clean image."""
    synonyms: bool = False
    """Use all training phrasings of a degradation, instead of the one canonical word."""
    train_content: bool = True
    """Train the content embedding as well; without it a step takes less than half of the time."""
    photos: int = 0
    """With a source of whole photos: photos per step, in all processes together, beside the crops of the batch. Of each
    the resized whole and `photo_crops` native crops are embedded and pooled, as in use."""
    photo_crops: int = 5
    """Native crops of each of these photos."""


OBJECTIVES = ("matching", "log_mse")


@dataclass(frozen=True, kw_only=True)
class RestorerRecipe(Recipe):
    """The restorer's training (DA-CLIP, section 3.2), see `restoration.restoration_error`."""

    objective: str = "matching"
    """`"matching"`: L1 distance to the optimum reverse step, the authors' maximum-likelihood objective (IR-SDE,
    equation 15). `"log_mse"`: the log of the squared error of the clean image, which is PSNR up to a factor, so that
    each degradation counts by the decibels to be gained and not by the size of its error."""
    t_max_prob: float = 0.0
    """Share of examples at t = T, where every restoration starts; the times of the others are uniform over 1..T."""
    harm_penalty: float = 0.0
    """With `"log_mse"`, extra weight on images whose output is worse than the input (a hinge). Without it the loss
    accepts large losses on few images for small gains on many."""
    conditioning_dropout: float = 0.0
    """Share of examples whose embeddings are replaced by zeros, so that the network also works without."""
    wrong_conditioning: float = 0.0
    """Share of examples that are conditioned on the embeddings of another image of the batch, so that the network
    relies on the image where both disagree."""
    patch_sizes: tuple[int, ...] = ()
    """With a source of whole photos: sides of the patches in pixels, in turn from step to step, as many of each as have
    the pixels of `batch_size` images of `image_size`; empty for `image_size` alone. Patches are conditioned on the
    embeddings of their whole photo. At CLIP's own size they are crops, degraded and embedded by themselves."""

    def __post_init__(self):
        super().__post_init__()
        if self.objective not in OBJECTIVES:
            raise InputError(
                f"objective {self.objective!r} is unknown: use one of {', '.join(OBJECTIVES)}"
            )


def steps_of(epochs: int, pairs: int, batch_size: int) -> int:
    """The number of steps of some epochs over `pairs` in whole batches; the remainder of each epoch is dropped.

    Raises InputError for less than a batch.
    """
    if pairs < batch_size:
        raise InputError(f"{pairs} pairs make no batch of {batch_size}: name a smaller batch size")
    return epochs * (pairs // batch_size)


def learning_rate(recipe: Recipe, index: int) -> float:
    r"""The learning rate of step `index` (0 for the first): linear warm-up, then a cosine.

    With peak $a$, end $b$, warm-up $w$ and $N$ steps: $a (i + 1) / w$ for i < w, then
    $b + (a - b) (1 + \cos(\pi (i - w) / (N - w))) / 2$.
    """
    if index < recipe.warmup:
        return recipe.learning_rate * (index + 1) / recipe.warmup
    progress = (index - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return recipe.final_learning_rate + (recipe.learning_rate - recipe.final_learning_rate) * cosine
