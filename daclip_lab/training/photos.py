"""Whole photos in training: the losses of their views, and the embeddings that condition the restorer."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.data.canvases.source import Canvas
from daclip_lab.data.canvases.views import PhotoViews, label_shares, photo_targets, view_targets
from daclip_lab.data.prompts import text_ids
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.models.clip import views
from daclip_lab.models.daclip import DaCLIP, Embeddings
from daclip_lab.models.losses import label_loss

PHOTO_CROPS = 8
"""Native crops of which, with the resized whole, the embeddings that condition the restorer are pooled."""


def photo_losses(
    daclip: DaCLIP,
    features: Tensor,
    seen: PhotoViews,
    labels: Sequence[str],
    phrasings: Tensor,
    words: Tensor,
) -> dict[str, Tensor]:
    """The losses of views and of whole photos, scalars, and the share of photos that are named right.

    Args:
        features: the controller's, (photos, views, d).
        labels: all k labels.
        phrasings: embeddings of a text for each label, which views are compared with, (k, d).
        words: those that represent the labels in use, which photos are compared with, (k, d).
    """
    shares = label_shares(seen.labels, labels).to(features.device, non_blocking=True)
    shown = view_targets(shares, seen.visible, labels.index(CLEAN)).flatten(0, 1)
    views = F.normalize(features, dim=-1).flatten(0, 1)
    photos, wanted = daclip.controller.pooling(features), photo_targets(shares)
    named = (photos @ words.T).argmax(1, keepdim=True)
    return {
        "view_loss": label_loss(views, phrasings, daclip.scale, shown),
        "photo_loss": label_loss(photos, words, daclip.scale, wanted),
        "photo_accuracy": (wanted.gather(1, named) > 0).float().mean(),
    }


def photo_embeddings(daclip: DaCLIP, canvases: Sequence[Canvas], *, unnormalized: bool) -> Tensor:
    """Content and degradation embeddings of whole canvases, pooled over views as in use: (n, 2, d).

    Args:
        unnormalized: with the norms of CLIP's projection, and all views weigh the same.
    """
    size = daclip.clip.config.image_size

    images = (canvas.pixels[1].float().div_(255) for canvas in canvases)
    degraded = [views(image, size, "both", PHOTO_CROPS) for image in images]
    counts = list(map(len, degraded))
    features = daclip.encode_image(torch.cat(degraded), normalize=False)
    parts = [part.split(counts) for part in features]
    if unnormalized:
        found = Embeddings(*(torch.stack([p.mean(0) for p in part]) for part in parts))
    else:
        content = [F.normalize(p, dim=-1).mean(0) for p in parts[0]]
        pooled = [daclip.controller.pooling(p) for p in parts[1]]
        found = Embeddings(F.normalize(torch.stack(content), dim=-1), torch.stack(pooled))
    return torch.stack(found, 1)


def encode_unique(daclip: DaCLIP, texts: list[str]) -> Tensor:
    """The embeddings (b, d) of texts of which many are equal; each is encoded once."""
    found = daclip.encode_text(list(dict.fromkeys(texts)))
    return found[text_ids(texts).to(found.device, non_blocking=True)]
