r"""Attribution: which patches of an image support the predicted degradation.

Integrated gradients (Sundararajan et al., 1703.01365, equation 1) with respect to the controller's patch tokens before
the first block: $a_i = (x_i - x'_i) \cdot \int_0^1 \nabla_{x_i} f(x' + s (x - x'))\, ds$, with f the log-probability of
a label, x the tokens of the image, and the baseline x' in which every patch token of a view is their mean. By
completeness the attributions sum to f(x) - f(x').
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.data.image_io import ImageLike, read_image
from daclip_lab.errors import InputError
from daclip_lab.models.clip import project, tokens_of, views
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.pipeline.running import running


@dataclass(frozen=True)
class Attribution:
    """The contribution of each pixel to the log-probability of a label."""

    label: str
    """One of the pipeline's labels."""
    heat: Tensor
    """(h, w), in nats per pixel, on the CPU: positive where a pixel supports the label, else negative."""
    start: float
    """The log-probability of the label for the baseline."""
    end: float
    """The log-probability for the image: `start` plus the sum of `heat`, up to the error of the numerical integral."""


def attribute(
    pipe: Pipeline, image: ImageLike, label: str | None = None, *, steps: int = 8
) -> Attribution:
    """Attribute the log-probability of a label to the pixels of an image.

    Args:
        image: anything that `read_image` takes, of any size. Each of its views (see `models.clip.views`) contributes to
            the pixels that it shows.
        label: one of `pipe.settings.labels`; None takes the most probable one.
        steps: points of the integral (midpoint rule).

    Raises InputError for an unknown label, fewer than one step, or weights without a controller.
    """
    daclip = pipe.require_daclip()
    if steps < 1:
        raise InputError(f"steps={steps}: expected 1 or more")
    labels, image = pipe.settings.labels, read_image(image)
    if label is None:
        label = pipe.classify(image).idxmax()
    if label not in labels:
        raise InputError(f"label {label!r} is unknown: use one of {', '.join(labels)}")
    clip, visual = daclip.clip, daclip.controller.visual
    size, view, crops = clip.config.image_size, pipe.settings.view, pipe.settings.max_crops
    seen = views(image, size, view, crops).to(pipe.device)
    words = pipe.word_embeddings.to(pipe.device, copy=True)  # inference tensors have no gradients
    bias = pipe.label_bias.to(pipe.device)

    def log_probability(tokens: Tensor) -> Tensor:
        for block in visual.transformer.resblocks:
            tokens = block(tokens)
        features = project(visual, tokens)
        embedding = daclip.controller.pooling(features, whole_first=view != "crops")
        logits = daclip.scale * words @ embedding + bias
        return (logits / pipe.settings.temperature).log_softmax(0)[labels.index(label)]

    with running(daclip):
        with torch.no_grad():
            end = tokens_of(visual, clip.normalize(seen))
            start = end.clone()
            start[:, 1:] = end[:, 1:].mean(1, keepdim=True)
            values = [log_probability(tokens).item() for tokens in (start, end)]
        gradient = torch.zeros_like(end)
        for step in range(steps):
            with torch.enable_grad():
                tokens = start.lerp(end, (step + 0.5) / steps).requires_grad_()
                gradient += torch.autograd.grad(log_probability(tokens), tokens)[0] / steps
    patches = (gradient * (end - start)).sum(-1)[:, 1:].float().cpu()
    return Attribution(label, _to_pixels(patches, image, size, view, crops), *values)


def _to_pixels(patches: Tensor, image: Tensor, size: int, view: str, max_crops: int = 48) -> Tensor:
    """Distribute values (views, patches) over the pixels that each patch shows: (h, w), with the same sum.

    This is the transpose of the linear map from an image to the means of all patches of its views.
    """
    side = round(patches.shape[1] ** 0.5)
    with torch.enable_grad():
        pixels = torch.full(
            image.shape, 0.5, requires_grad=True
        )  # off the bounds of `views`' clamp
        seen = views(pixels, size, view, max_crops)
        means = F.adaptive_avg_pool2d(seen[:, 0], side).flatten(1)
        (heat,) = torch.autograd.grad((means * patches).sum(), pixels)
    return heat[0]
