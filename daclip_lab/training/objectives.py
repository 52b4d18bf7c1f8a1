"""The trainings of the three parts: the lab's CLIP, the controller, and the restorer.

Each is a loss of one batch, handed to `loop.fit`, which yields every step.
"""

import copy
import math
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daclip_lab.data.prompts import describe, training_texts
from daclip_lab.data.training_pairs import Batch, Source
from daclip_lab.degradations.registry import CLEAN, label_names
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.errors import InputError
from daclip_lab.models.clip import Clip, resize
from daclip_lab.models.daclip import DaCLIP, Embeddings
from daclip_lab.models.losses import info_nce, multi_positive_info_nce
from daclip_lab.training.devices import place
from daclip_lab.training.loop import Step, fit
from daclip_lab.training.recipes import ClipRecipe, DaclipRecipe, RestorerRecipe

if TYPE_CHECKING:
    from accelerate import Accelerator


def train_clip(
    clip: Clip,
    source: Source,
    recipe: ClipRecipe,
    *,
    run: str | Path | None = None,
    resume: bool = False,
    save_every: int = 200,
    accelerator: "Accelerator | None" = None,
) -> Iterator[Step]:
    """Train a CLIP on images and captions, by `losses.multi_positive_info_nce` with equal captions as positives.

    The caption of a degraded image mentions its degradation. `source` should draw degraded images rarely, as captions
    of the web mention fog now and then.

    Args:
        clip: trained in place.
        run, resume, save_every, accelerator: see `loop.fit`, also for what is raised.

    Metrics: `retrieval`, the share of images whose nearest text is right, and `paraphrase_loss` where it has a weight.
    """
    clip.train().requires_grad_(True)
    clip.visual.requires_grad_(recipe.train_image_tower)

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        texts = [
            text if label == CLEAN else describe(text, label, generator)
            for text, label in zip(batch.captions, batch.labels, strict=True)
        ]
        image, text = clip.encode_image(batch.degraded), clip.encode_text(texts)
        scale = clip.scale.clamp(max=100)  # as in CLIP: beyond, training is unstable
        ids = _ids(texts).to(image.device)
        value = multi_positive_info_nce(image, text, scale, ids)
        right = ids[(image @ text.T).argmax(1)] == ids
        metrics = {"retrieval": right.float().mean().item()}
        if recipe.paraphrase_weight:
            paraphrases = paraphrase_loss(clip, scale, generator)
            value = value + recipe.paraphrase_weight * paraphrases
            metrics["paraphrase_loss"] = paraphrases.item()
        return value, metrics

    steps = partial(fit, run=run, resume=resume, save_every=save_every, accelerator=accelerator)
    return steps(clip, loss, source, recipe)


def paraphrase_loss(clip: Clip, scale: Tensor, generator: torch.Generator, each: int = 3) -> Tensor:
    """Contrastive loss between phrasings of the same degradation, a scalar.

    `losses.multi_positive_info_nce` between two sets of texts, each with `each` random training phrasings of every
    label; phrasings of one label are positives of each other. `scale` is the inverse temperature.
    """
    labels = [label for label in label_names() for _ in range(each)]
    texts = [_phrase(label, True, generator) for label in labels * 2]
    one, other = clip.encode_text(texts).chunk(2)
    return multi_positive_info_nce(one, other, scale, _ids(labels).to(one.device))


def train_daclip(
    daclip: DaCLIP,
    source: Source,
    recipe: DaclipRecipe,
    *,
    run: str | Path | None = None,
    resume: bool = False,
    save_every: int = 200,
    accelerator: "Accelerator | None" = None,
) -> Iterator[Step]:
    r"""Train the controller (DA-CLIP, equation 3); CLIP itself stays frozen.

    $$L = L_\text{con}(e_d, \text{words}) + L_\text{con}(e_c, \text{captions})
        + w\,\bigl(1 - \cos(e_c, \text{CLIP}(x_0))\bigr)$$

    with $L_\text{con}$ one of `models.losses` and w = `recipe.alignment_weight`; the last two terms only with
    `recipe.train_content`.

    Args:
        daclip: its controller and temperature are trained in place.
        run, resume, save_every, accelerator: see `loop.fit`, also for what is raised.

    Metrics: `degradation_loss`, `accuracy` (share of images whose nearest word in the batch is right), and with the
    content `content_loss` and `cosine` (of the content embedding to CLIP's of the clean image).

    Raises InputError where the recipe's image size is not CLIP's, and for a label outside CLIP's vocabulary.
    """
    size = daclip.clip.config.image_size
    if recipe.image_size != size:
        raise InputError(f"image_size={recipe.image_size}: this CLIP's images have {size} pixels")
    daclip.train()
    daclip.controller.requires_grad_(True)
    daclip.logit_scale.requires_grad_(True)

    @cache
    def embed_word(text: str) -> Tensor:
        # The text tower is frozen: each of some hundred phrasings is encoded once per training.
        daclip.clip.check_words(text)
        with torch.no_grad():
            return daclip.encode_text([text])[0]

    def contrast(image: Tensor, text: Tensor, labels: list[str]) -> Tensor:
        if recipe.multi_positive:
            return multi_positive_info_nce(image, text, daclip.scale, _ids(labels).to(image.device))
        return info_nce(image, text, daclip.scale)

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():  # the temperature is limited as CLIP's is
            daclip.logit_scale.clamp_(max=math.log(100))
        names = [_phrase(label, recipe.synonyms, generator) for label in batch.labels]
        words = torch.stack([embed_word(name) for name in names])
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
                captions = _encode_unique(daclip, batch.captions)
                clean = daclip.clip.encode_image(batch.clean)
            content_loss = contrast(content, captions, batch.captions)
            cosine = F.cosine_similarity(content, clean).mean()
            value = value + content_loss + recipe.alignment_weight * (1 - cosine)
            metrics |= {"content_loss": content_loss.item(), "cosine": cosine.item()}
        return value, metrics

    steps = partial(fit, run=run, resume=resume, save_every=save_every, accelerator=accelerator)
    return steps(daclip, loss, source, recipe, captions=recipe.train_content)


def train_restorer(
    net: nn.Module,
    daclip: DaCLIP | None,
    sde: MeanRevertingSDE,
    source: Source,
    recipe: RestorerRecipe,
    *,
    run: str | Path | None = None,
    resume: bool = False,
    save_every: int = 200,
    accelerator: "Accelerator | None" = None,
) -> Iterator[Step]:
    """Train a restorer, conditioned on the embeddings of a frozen DA-CLIP (DA-CLIP, section 3.2).

    Each example is diffused to a random time, and the network's prediction is compared by `restoration_error`. DA-CLIP
    runs in float32, as it does in `Pipeline.restore`.

    Args:
        net: a `Restorer`, trained in place.
        daclip: nothing about it is changed; where it is on another device, a copy is used. None trains without
            embeddings.
        run, resume, save_every, accelerator: see `loop.fit`, also for what is raised.

    Metrics: `loss_at_t_max`, the mean error of the examples at t = T, where there are any.
    """
    net.train().requires_grad_(True)
    device = place(net, accelerator)
    if daclip is not None and next(daclip.parameters()).device != device:
        daclip = copy.deepcopy(daclip).to(device)

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        b = len(batch.labels)
        t = torch.randint(1, sde.steps + 1, (b,), generator=generator)
        t[torch.rand(b, generator=generator) < recipe.t_max_prob] = sde.steps
        # Drawn on the CPU, so that they are the same on any device.
        noise = torch.randn(batch.clean.shape, generator=generator).to(device)
        keep = (torch.rand(b, generator=generator) >= recipe.conditioning_dropout).to(device)
        content = degradation = None
        if daclip is not None:
            with torch.no_grad(), torch.autocast(device.type, enabled=False):
                found = _embeddings(daclip, batch, recipe.oracle, net.uses_unnormalized_embeddings)
            content, degradation = (e * keep[:, None] for e in found)
        state = sde.diffuse(batch.clean, batch.degraded, t, noise)
        conditions = net.prepare(content, degradation)
        prediction = net(state, batch.degraded, t.to(device), conditions).float()
        error = restoration_error(net.prediction_type, recipe, sde, prediction, batch, state, t)
        at_t_max = error[t == sde.steps]
        metrics = {"loss_at_t_max": at_t_max.mean().item()} if len(at_t_max) else {}
        return error.mean(), metrics

    steps = partial(fit, run=run, resume=resume, save_every=save_every, accelerator=accelerator)
    return steps(net, loss, source, recipe, captions=False)


def restoration_error(
    prediction_type: str,
    recipe: RestorerRecipe,
    sde: MeanRevertingSDE,
    prediction: Tensor,
    batch: Batch,
    state: Tensor,
    t: Tensor,
) -> Tensor:
    r"""The error of each image of a batch: (b,).

    Objective `"matching"` (IR-SDE, equation 15): the mean absolute distance of the reverse step from t to t - 1 that
    follows from the prediction, $x_t - \mathrm{drift}(x_t, \hat\epsilon)$, to the optimum one, the mean of
    `sde.posterior`.

    Objective `"log_mse"`: $\ell(\hat x_0) + c\,\max(0,\ \ell(\hat x_0) - \ell(\mu))$, with
    $\ell(x) = \ln(\overline{(x - x_0)^2} + 10^{-4})$ and c = `recipe.harm_penalty`. The hinge counts what the output is
    worse than the input, $\mu$.

    Args:
        prediction_type: what the prediction is, "sample" or "epsilon"; it is converted to what the objective needs.
        prediction, state: (b, 3, h, w).
        batch: the clean and degraded images (b, 3, h, w).
        t: the times of the states (b,), int64.
    """
    if recipe.objective == "log_mse":
        clean = prediction
        if prediction_type == "epsilon":
            clean = sde.clean_from_noise(state, batch.degraded, prediction, t)
        error, before = (
            # Beyond 40 dB there is nothing left to gain.
            ((image - batch.clean).square().mean((1, 2, 3)) + 1e-4).log()
            for image in (clean, batch.degraded)
        )
        return error + recipe.harm_penalty * (error - before).relu()
    noise = prediction
    if prediction_type == "sample":
        noise = sde.noise_from_clean(state, batch.degraded, prediction, t)
    step = state - sde.reverse_drift(state, batch.degraded, noise, t)
    optimum, _ = sde.posterior(state, batch.clean, batch.degraded, t, t - 1)
    return (step - optimum).abs().mean((1, 2, 3))


def _embeddings(daclip: DaCLIP, batch: Batch, oracle: bool, unnormalized: bool) -> Embeddings:
    """DA-CLIP's embeddings of the degraded images (b, d); for an oracle its training targets, with the same norms."""
    size = daclip.clip.config.image_size

    def predicted() -> Embeddings:
        return daclip.encode_image(resize(batch.degraded, size), normalize=not unnormalized)

    if not oracle:
        return predicted()
    content = daclip.clip.encode_image(resize(batch.clean, size))
    targets = Embeddings(content, _encode_unique(daclip, batch.labels))
    return targets.rescaled_like(predicted()) if unnormalized else targets


def _encode_unique(daclip: DaCLIP, texts: list[str]) -> Tensor:
    """The embeddings (b, d) of texts of which many are equal; each is encoded once."""
    return daclip.encode_text(list(dict.fromkeys(texts)))[_ids(texts)]


def _ids(texts: list[str]) -> Tensor:
    """An integer for every text (b,), equal where the texts are."""
    index = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    return torch.tensor([index[text] for text in texts])


def _phrase(label: str, synonyms: bool, generator: torch.Generator) -> str:
    """The label itself, or a random one of its training phrasings."""
    if not synonyms:
        return label
    texts = training_texts(label)
    return texts[int(torch.randint(len(texts), (), generator=generator))]
