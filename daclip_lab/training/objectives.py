"""The trainings of the lab's CLIP and of the controller; that of the restorer is in `restoration`.

Each is a loss of one batch, handed to `loop.fit`, which yields every step and takes factors of the learning rate.
"""

import math
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.data.canvases.source import WholePhotos
from daclip_lab.data.canvases.views import draw_views
from daclip_lab.data.canvases.window import PhotoBatch
from daclip_lab.data.prompts import describe, phrase, text_ids, training_texts
from daclip_lab.data.training_pairs import Batch, Source
from daclip_lab.degradations.registry import CLEAN, label_names
from daclip_lab.errors import InputError
from daclip_lab.models.clip import Clip
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.models.losses import info_nce, multi_positive_info_nce
from daclip_lab.training.loop import Training, fit
from daclip_lab.training.photos import encode_unique, photo_losses
from daclip_lab.training.recipes import ClipRecipe, DaclipRecipe

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
) -> Training:
    """Train a CLIP on images and captions, by `losses.multi_positive_info_nce` with equal captions as positives.

    The caption of a degraded image mentions its degradation. `source` should draw degraded images rarely, as captions
    of the web mention fog now and then.

    Args:
        clip: trained in place.
        run, resume, save_every, accelerator: see `loop.fit`, also for what is raised.

    Metrics: `retrieval`, the share of images whose nearest text is right, and `paraphrase_loss` where it has a weight.
    """
    clip.train().requires_grad_(True)
    clip.visual.requires_grad_(recipe.train_image_tower).train(recipe.train_image_tower)

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        texts = [
            text if label == CLEAN else describe(text, label, generator)
            for text, label in zip(batch.captions, batch.labels, strict=True)
        ]
        image, text = clip.encode_image(batch.degraded), clip.encode_text(texts)
        scale = clip.scale.clamp(max=100)  # as in CLIP: beyond, training is unstable
        ids = text_ids(texts).to(image.device)
        value = multi_positive_info_nce(image, text, scale, ids)
        right = ids[(image @ text.T).argmax(1)] == ids
        metrics = {"retrieval": right.float().mean()}
        if recipe.paraphrase_weight:
            paraphrases = paraphrase_loss(clip, scale, generator)
            value = value + recipe.paraphrase_weight * paraphrases
            metrics["paraphrase_loss"] = paraphrases.detach()
        return value, metrics

    steps = partial(fit, run=run, resume=resume, save_every=save_every, accelerator=accelerator)
    return steps(clip, loss, source, recipe)


def paraphrase_loss(clip: Clip, scale: Tensor, generator: torch.Generator, each: int = 3) -> Tensor:
    """Contrastive loss between phrasings of the same degradation, a scalar.

    `losses.multi_positive_info_nce` between two sets of texts, each with `each` random training phrasings of every
    label; phrasings of one label are positives of each other. `scale` is the inverse temperature.
    """
    labels = [label for label in label_names() for _ in range(each)]
    texts = [phrase(label, True, generator) for label in labels * 2]
    one, other = clip.encode_text(texts).chunk(2)
    return multi_positive_info_nce(one, other, scale, text_ids(labels).to(one.device))


def train_daclip(
    daclip: DaCLIP,
    source: Source,
    recipe: DaclipRecipe,
    *,
    run: str | Path | None = None,
    resume: bool = False,
    save_every: int = 200,
    accelerator: "Accelerator | None" = None,
) -> Training:
    r"""Train the controller (DA-CLIP, equation 3); CLIP itself stays frozen.

    $$L = L_\text{con}(e_d, \text{words}) + L_\text{con}(e_c, \text{captions})
        + w\,\bigl(1 - \cos(e_c, \text{CLIP}(x_0))\bigr)$$

    with $L_\text{con}$ one of `models.losses` and w = `recipe.alignment_weight`; the last two terms only with
    `recipe.train_content`.

    With whole photos as the source and `recipe.photos`, several views of each photo add
    $\tfrac12 L_\text{label}(\text{views}) + L_\text{label}(\text{photos})$, with $L_\text{label}$ `losses.label_loss`.
    A view is asked for the labels that it shows (`canvases.views.view_targets`), a photo, whose views
    `controller.pooling` pools, for both of its labels. The cosine is then the mean over crops and views.

    Args:
        daclip: its controller and temperature are trained in place.
        run, resume, save_every, accelerator: see `loop.fit`, also for what is raised.

    Metrics: `degradation_loss` and `accuracy` (share of images whose nearest word in the batch is right) of the crops,
    with the content `content_loss` and `cosine` (of the content embedding to CLIP's of the clean image), with photos
    `view_loss`, `photo_loss` and `photo_accuracy`.

    Raises InputError where the recipe's image size is not CLIP's, and for a label outside CLIP's vocabulary.
    """
    size = daclip.clip.config.image_size
    if recipe.image_size != size:
        raise InputError(f"image_size={recipe.image_size}: this CLIP's images have {size} pixels")
    daclip.train()
    daclip.controller.requires_grad_(True)
    daclip.logit_scale.requires_grad_(True)

    photos, labels = (recipe.photos, source.labels) if isinstance(source, WholePhotos) else (0, ())

    @cache
    def embed_word(text: str) -> Tensor:
        # The text tower is frozen: each of some hundred phrasings is encoded once per training.
        daclip.clip.check_words(text)
        with torch.no_grad():
            return daclip.encode_text([text])[0]

    @cache
    def label_means() -> Tensor:
        texts = [training_texts(label) if recipe.synonyms else [label] for label in labels]
        means = [torch.stack([embed_word(text) for text in each]).mean(0) for each in texts]
        return F.normalize(torch.stack(means), dim=-1)

    def embed_words(names: Sequence[str], generator: torch.Generator) -> Tensor:
        return torch.stack([embed_word(phrase(name, recipe.synonyms, generator)) for name in names])

    def contrast(image: Tensor, text: Tensor, ids: Tensor) -> Tensor:
        if recipe.multi_positive:
            return multi_positive_info_nce(image, text, daclip.scale, ids)
        return info_nce(image, text, daclip.scale)

    def loss(batch: Batch | PhotoBatch, generator: torch.Generator) -> tuple[Tensor, dict]:
        with torch.no_grad():  # the temperature is limited as CLIP's is
            daclip.logit_scale.clamp_(max=math.log(100))
        seen = None
        crops = batch if isinstance(batch, Batch) else batch.crops
        assert crops is not None  # of every step
        if isinstance(batch, PhotoBatch):
            seen = draw_views(batch, photos, recipe.photo_crops, size, generator)
        degraded = _joined(crops.degraded, seen.degraded if seen else None)
        if recipe.train_content:
            content_features, features = daclip.encode_image(degraded, normalize=False)
        else:
            features = daclip.encode_degradation(degraded, normalize=False)
        b, degradation = len(crops.labels), F.normalize(features, dim=-1)

        words = embed_words(crops.labels, generator)
        ids = text_ids(crops.labels).to(words.device, non_blocking=True)
        value = contrast(degradation[:b], words, ids)
        metrics = {"degradation_loss": value.detach()}
        metrics["accuracy"] = (ids[(degradation[:b] @ words.T).argmax(1)] == ids).float().mean()
        if recipe.train_content:
            content = F.normalize(content_features, dim=-1)
            with torch.no_grad():
                captions = encode_unique(daclip, crops.captions)
                clean = daclip.clip.encode_image(_joined(crops.clean, seen.clean if seen else None))
            same = text_ids(crops.captions).to(words.device, non_blocking=True)
            content_loss = contrast(content[:b], captions, same)
            cosine = F.cosine_similarity(content, clean).mean()
            value = value + content_loss + recipe.alignment_weight * (1 - cosine)
            metrics |= {"content_loss": content_loss.detach(), "cosine": cosine.detach()}
        if seen is not None:
            of_views = features[b:].unflatten(0, seen.degraded.shape[:2])
            texts = embed_words(labels, generator)
            of_photos = photo_losses(daclip, of_views, seen, labels, texts, label_means())
            value = value + 0.5 * of_photos["view_loss"] + of_photos["photo_loss"]
            metrics |= {name: term.detach() for name, term in of_photos.items()}
        return value, metrics

    steps = partial(fit, run=run, resume=resume, save_every=save_every, accelerator=accelerator)
    crops = {"crops": (recipe.batch_size,), "crop_size": size} if photos else {}
    return steps(daclip, loss, source, recipe, captions=recipe.train_content, **crops)


def _joined(crops: Tensor, seen: Tensor | None) -> Tensor:
    """Crops (b, 3, s, s), then the views (photos, views, 3, s, s) of photos, if any, as one batch."""
    return crops if seen is None else torch.cat([crops, seen.flatten(0, 1)])
