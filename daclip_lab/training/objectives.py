"""The three trainings: the lab's CLIP, its controller, and the restorer that they steer.

Each is a loss of one batch, handed to `loop.fit`, which yields every step.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daclip_lab.data.prompts import describe, training_texts
from daclip_lab.data.training_pairs import Batch, Source
from daclip_lab.degradations.registry import CLEAN, LABELS
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.errors import InputError
from daclip_lab.models.clip import Clip
from daclip_lab.models.daclip import DaCLIP, Embeddings
from daclip_lab.models.losses import info_nce, multi_positive_info_nce
from daclip_lab.training.devices import place
from daclip_lab.training.loop import Recipe, Step, fit

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True, kw_only=True)
class ClipRecipe(Recipe):
    """The training of the lab's own CLIP."""

    paraphrase_weight: float = 0.0
    """Weight of a contrastive loss between phrasings of the same degradation ("foggy", "in thick fog"): the knowledge
    of language that a CLIP of the web has from its billions of captions, and ours cannot have."""
    train_image_tower: bool = True
    """Train the image tower as well; without it, texts learn to describe the features that there are
    (Zhai et al., LiT, 2111.07991)."""


@dataclass(frozen=True, kw_only=True)
class DaclipRecipe(Recipe):
    """The controller's training (DA-CLIP, section 3.1)."""

    multi_positive: bool = False
    """Count every text of the same degradation as right, instead of one (see `losses`)."""
    alignment_weight: float = 0.0
    """Weight of one minus the cosine between the content embedding and CLIP's embedding of the clean image."""
    synonyms: bool = False
    """Name degradations by all their training phrasings, instead of the one canonical word."""
    train_content: bool = True
    """Train the content embedding as well; without it a step takes less than half of the time."""


@dataclass(frozen=True, kw_only=True)
class RestorerRecipe(Recipe):
    """The restorer's training (DA-CLIP, section 3.2)."""

    objective: str = "matching"
    """`"matching"`: L1 to the optimum reverse step (IR-SDE, equation 15). `"log_mse"`: the log of the squared error of the
    clean image, so that each degradation counts by the decibels to be gained and not by how far it is off."""
    t_max_prob: float = 0.0
    """Share of examples at t = T, where every restoration starts; the others are even over 1..T."""
    oracle: bool = False
    """Steer by what DA-CLIP should say, instead of what it says: the word, and CLIP's embedding of the clean image."""
    harm_penalty: float = 0.0
    """With `"log_mse"`, how many times more a decibel counts that is lost to the input: a logarithm alone gladly ruins one
    image to gain a little in many."""
    conditioning_dropout: float = 0.0
    """Share of examples for which the embeddings are left out, so that the network can also do without."""


def train_clip(clip: Clip, source: Source, recipe: ClipRecipe, **options) -> Iterator[Step]:
    """Train a CLIP on captions; where an image is degraded, its caption says so.

    Draw the degradations in `source` rarely: web captions, too, speak of fog now and then. Options are those of `fit`.
    """
    clip.train().requires_grad_(True)
    clip.visual.requires_grad_(recipe.train_image_tower)

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        texts = [
            text if label == CLEAN else describe(text, label, generator)
            for text, label in zip(batch.captions, batch.labels, strict=True)
        ]
        image, text = clip.encode_image(batch.degraded), clip.encode_text(texts)
        # CLIP's own guard: a temperature below 1/100 makes training unstable.
        scale = clip.scale.clamp(max=100)
        same = _same(texts).to(image.device)
        value = multi_positive_info_nce(image, text, scale, same)
        right = same[(image @ text.T).argmax(1)] == same
        metrics = {"retrieval": right.float().mean().item()}
        if recipe.paraphrase_weight:
            alike = paraphrase_loss(clip, scale, generator)
            value = value + recipe.paraphrase_weight * alike
            metrics["paraphrase_loss"] = alike.item()
        return value, metrics

    return fit(clip, loss, source, recipe, **options)


def paraphrase_loss(clip: Clip, scale: Tensor, generator: torch.Generator, each: int = 3) -> Tensor:
    """How badly texts tell phrasings of one degradation from those of the others: `each` against `each` of all."""
    labels = [label for label in LABELS for _ in range(each)]
    drawn = [_phrase(label, True, generator) for label in labels * 2]
    one, other = clip.encode_text(drawn).chunk(2)
    return multi_positive_info_nce(one, other, scale, _same(labels).to(one.device))


def train_daclip(daclip: DaCLIP, source: Source, recipe: DaclipRecipe, **options) -> Iterator[Step]:
    """Train the controller (DA-CLIP, equation 3); CLIP itself stays frozen. Options are those of `fit`."""
    size = daclip.clip.config.image_size
    if recipe.image_size != size:
        raise InputError(
            f"size={recipe.image_size} in the recipe: this CLIP sees images of {size} pixels"
        )
    daclip.train()
    daclip.controller.requires_grad_(True)
    daclip.logit_scale.requires_grad_(True)

    @functools.cache
    def word(text: str) -> Tensor:
        # The text tower is frozen: of some hundred phrasings each is encoded once in a training.
        with torch.no_grad():
            return daclip.encode_text([text])[0]

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():  # CLIP's own guard, as above
            daclip.logit_scale.clamp_(max=math.log(100))
        names = [_phrase(label, recipe.synonyms, generator) for label in batch.labels]
        words = torch.stack([word(name) for name in names])
        if recipe.train_content:
            content, degradation = daclip.encode_image(batch.degraded)
        else:
            degradation = daclip.encode_degradation(batch.degraded)
        value = contrast(degradation, words, batch.labels)
        metrics = {"degradation_loss": value.item()}
        nearest = (degradation @ words.T).argmax(1).tolist()
        right = [batch.labels[i] == label for i, label in zip(nearest, batch.labels, strict=True)]
        metrics["accuracy"] = sum(right) / len(right)
        if recipe.train_content:
            with torch.no_grad():
                captions = _encode_each_once(daclip, batch.captions)
                clean = daclip.clip.encode_image(batch.clean)
            for_content = contrast(content, captions, batch.captions)
            cosine = F.cosine_similarity(content, clean).mean()
            value = value + for_content + recipe.alignment_weight * (1 - cosine)
            metrics |= {"content_loss": for_content.item(), "cosine": cosine.item()}
        return value, metrics

    def contrast(image: Tensor, text: Tensor, meanings: list[str]) -> Tensor:
        if recipe.multi_positive:
            same = _same(meanings).to(image.device)
            return multi_positive_info_nce(image, text, daclip.scale, same)
        return info_nce(image, text, daclip.scale)

    return fit(daclip, loss, source, recipe, **options)


def train_restorer(
    net: nn.Module,
    daclip: DaCLIP | None,
    sde: MeanRevertingSDE,
    source: Source,
    recipe: RestorerRecipe,
    *,
    accelerator: "Accelerator | None" = None,
    **options,
) -> Iterator[Step]:
    """Train a restorer under a frozen DA-CLIP, or under none (then it is told nothing). Options are those of `fit`."""
    net.train().requires_grad_(True)
    device = place(net, accelerator)
    if daclip is not None:
        daclip.to(device)

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        b = len(batch.clean)
        t = torch.randint(1, sde.steps + 1, (b,), generator=generator)
        t[torch.rand(b, generator=generator) < recipe.t_max_prob] = sde.steps
        # Drawn on the CPU, so that they are the same on any device; the SDE's tables lie there, too.
        noise = torch.randn(batch.clean.shape, generator=generator).to(device)
        told = (torch.rand(b, generator=generator) >= recipe.conditioning_dropout).to(device)
        content = degradation = None
        if daclip is not None:
            with torch.no_grad():
                embeddings = _told(daclip, batch, recipe.oracle, net.uses_unnormalized_embeddings)
            content, degradation = (e * told[:, None] for e in embeddings)
        state = sde.diffuse(batch.clean, batch.degraded, t, noise)
        conditions = net.prepare(content, degradation)
        prediction = net(state, batch.degraded, t.to(device), conditions).float()
        error = restoration_error(net.prediction_type, recipe, sde, prediction, batch, state, t)
        t_max_prob = error[t == sde.steps]
        metrics = {"t_max_prob": t_max_prob.mean().item()} if len(t_max_prob) else {}
        return error.mean(), metrics

    return fit(net, loss, source, recipe, accelerator=accelerator, **options)


def restoration_error(
    prediction_type: str,
    recipe: RestorerRecipe,
    sde: MeanRevertingSDE,
    prediction: Tensor,
    batch: Batch,
    state: Tensor,
    t: Tensor,
) -> Tensor:
    """The error of each image (b,), for either kind of prediction and either objective of `RestorerRecipe`."""
    clean = prediction
    if recipe.objective == "log_mse":
        if prediction_type == "epsilon":
            clean = sde.clean_from_noise(state, batch.degraded, prediction, t)
        error, before = (
            # Beyond 40 dB there is nothing left to gain.
            ((image - batch.clean).square().mean((1, 2, 3)) + 1e-4).log()
            for image in (clean, batch.degraded)
        )
        return error + recipe.harm_penalty * (error - before).relu()
    if recipe.objective != "matching":
        raise InputError(f"objective {recipe.objective!r} is unknown: use 'matching' or 'log_mse'")
    noise = prediction
    if prediction_type == "sample":
        noise = sde.noise_from_clean(state, batch.degraded, prediction, t)
    reached = state - sde.reverse_drift(state, batch.degraded, noise, t)
    wanted, _ = sde.posterior(state, batch.clean, batch.degraded, t, t - 1)
    return (reached - wanted).abs().mean((1, 2, 3))


def _told(daclip: DaCLIP, batch: Batch, oracle: bool, lengths: bool) -> Embeddings:
    """What DA-CLIP says of the degraded images; or, of an oracle, what its two losses compare that with."""
    heard = None
    if lengths or not oracle:
        heard = daclip.encode_image(_view(daclip, batch.degraded), normalize=not lengths)
    if not oracle:
        return heard
    content = daclip.clip.encode_image(_view(daclip, batch.clean))
    right = Embeddings(content, _encode_each_once(daclip, batch.labels))
    return right.rescaled_like(heard) if lengths else right


def _view(daclip: DaCLIP, images: Tensor) -> Tensor:
    size = daclip.clip.config.image_size
    if images.shape[-1] == size:
        return images
    resized = F.interpolate(images, size=(size, size), mode="bicubic", antialias=True)
    return resized.clamp(0, 1)


def _encode_each_once(daclip: DaCLIP, texts: list[str]) -> Tensor:
    """The embeddings (b, d) of texts of which many are equal."""
    place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    return daclip.encode_text(list(place))[[place[text] for text in texts]]


def _same(texts: list[str]) -> Tensor:
    """A number for every row, equal where the texts are."""
    first = {text: i for i, text in reversed(list(enumerate(texts)))}
    return torch.tensor([first[text] for text in texts])


def _phrase(label: str, synonyms: bool, generator: torch.Generator) -> str:
    if not synonyms:
        return label
    texts = training_texts(label)
    return texts[int(torch.randint(len(texts), (), generator=generator))]
