"""Which patches of an image speak for the degradation that is named.

Integrated gradients (Sundararajan et al., 1703.01365) over the controller's patch tokens, before any block has mixed
them. The path starts where all patches of a view are alike, each token the mean of them, and ends at the image. The
gradient of the answer's log-probability along the way, times the way, is what each patch adds; over all patches the
sum is what the answer gained. A test holds it to images that were degraded in one half only: in most of them that half
speaks louder than the other.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.data.image_io import read_image
from daclip_lab.errors import InputError
from daclip_lab.models.clip import views
from daclip_lab.models.daclip import project
from daclip_lab.pipeline.pipeline import Pipeline


@dataclass(frozen=True)
class Attribution:
    """What speaks for an answer, and where."""

    label: str
    """The answer: one of the pipeline's labels."""
    heat: Tensor
    """(h, w), in nats per pixel: above zero a pixel speaks for the answer, below zero against it."""
    start: float
    """The log-probability of the answer where all patches of a view are alike."""
    end: float
    """Its log-probability for the image: `start` plus the sum of `heat`, up to the error of the integral."""


def attribute(pipe: Pipeline, image, label: str | None = None, *, steps: int = 8) -> Attribution:
    """Spread the log-probability of an answer over the pixels of an image.

    Args:
        image: anything that `read_image` takes, of any size.
        label: one of `pipe.settings.labels`; None takes the most probable.
        steps: points of the integral; the error of the sum shrinks with them.

    Each view of the image (see `models.clip.views`) adds its share where it looks. Raises InputError for an unknown
    label, or weights without a controller.
    """
    if pipe.daclip is None:
        raise InputError("these weights hold no controller: load some that do, such as 'lab'")
    if steps < 1:
        raise InputError(f"steps={steps}: wanted 1 or more")
    labels, image = pipe.settings.labels, read_image(image)
    if label is None:
        label = pipe.classify(image).idxmax()
    if label not in labels:
        raise InputError(f"label {label!r} is unknown: use one of {', '.join(labels)}")
    clip, visual = pipe.daclip.clip, pipe.daclip.controller.visual
    size, view = clip.config.image_size, pipe.settings.view
    seen = views(image, size, view)
    words = pipe.word_embeddings.clone()  # made in inference mode: gradients need their own copy

    def log_probability(tokens: Tensor) -> Tensor:
        for block in visual.transformer.resblocks:
            tokens = block(tokens)
        embedding = F.normalize(F.normalize(project(visual, tokens), dim=-1).mean(0), dim=0)
        logits = pipe.daclip.scale * words @ embedding / pipe.settings.temperature
        return logits.log_softmax(0)[labels.index(label)]

    with torch.no_grad():
        end = visual._embeds(clip.normalize(seen))
        start = end.clone()
        start[:, 1:] = end[:, 1:].mean(1, keepdim=True)
        values = [log_probability(tokens).item() for tokens in (start, end)]
    slope = torch.zeros_like(end)
    for step in range(steps):
        with torch.enable_grad():
            tokens = start.lerp(end, (step + 0.5) / steps).requires_grad_()
            slope += torch.autograd.grad(log_probability(tokens), tokens)[0] / steps
    patches = (slope * (end - start)).sum(-1)[:, 1:]
    return Attribution(label, _spread(patches, image, size, view), *values)


def _spread(patches: Tensor, image: Tensor, size: int, view: str) -> Tensor:
    """The values (views, patches) on the pixels that they were seen in: (h, w), with the same sum."""
    h, w = image.shape[-2:]
    side = round(patches.shape[1] ** 0.5)
    # Where a view looks, `views` itself says: it is shown an image whose values are its own coordinates.
    down, across = (torch.arange(n) + 0.5 for n in (h, w))
    places = torch.stack([(down / h)[:, None].expand(h, w), (across / w).expand(h, w)])
    seen = views(torch.cat([places, places[:1]]), size, view)[:, :2]
    heat = torch.zeros(h, w)
    for values, where in zip(patches.view(-1, side, side), seen, strict=True):
        rows = _edges(where[0].mean(1) * h, side, h)
        columns = _edges(where[1].mean(0) * w, side, w)
        for row, (top, bottom) in zip(values, rows, strict=True):
            for value, (left, right) in zip(row, columns, strict=True):
                heat[top:bottom, left:right] += value / ((bottom - top) * (right - left))
    return heat


def _edges(places: Tensor, count: int, length: int) -> list[tuple[int, int]]:
    """First and last pixel (exclusive) of `count` patches, from where a view's lines of pixels lie in the image."""
    centres = places.view(count, -1).mean(1)
    half = (centres[-1] - centres[0]) / (count - 1) / 2
    first = (centres - half).round().long().clamp(0, length - 1)
    last = (centres + half).round().long().clamp(max=length)
    return list(zip(first.tolist(), torch.maximum(last, first + 1).tolist(), strict=True))
