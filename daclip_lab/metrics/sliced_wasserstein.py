r"""How far the patches of a set of images are from those of another set, by scale: no network, no clean partner.

Karras et al., *Progressive Growing of GANs* (1710.10196), section 5: every image is split into a Laplacian pyramid down
to 16 pixels a side, and at each level patches of 7x7 pixels are compared by their sliced Wasserstein distance.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.errors import InputError

PATCH = 7
SMALLEST = 16
"""Pixels of the shorter side of the coarsest level, at least."""
GRID = 16
"""About as many patches lie along the shorter side of a level, or all where there are fewer."""


@torch.inference_mode()
def sliced_wasserstein(
    images: Tensor, others: Tensor, *, directions: int = 128, seed: int = 0
) -> Tensor:
    r"""Sliced Wasserstein distance of two sets of images at each level of a Laplacian pyramid: (levels,), finest first.

    $\frac{1}{K} \sum_k W_1(\{d_k^\top p\}, \{d_k^\top q\})$ over K random unit vectors $d_k$ and the patches p and q of
    the two sets, where $W_1$ is the mean difference between sorted values. Levels differ in contrast, so each colour
    channel of a level is divided by its standard deviation over both sets: 0.1 means a tenth of that. (The authors'
    code normalises each set by its own deviation, which hides most of a blur.) Biased upwards by small sets.

    Args:
        images, others: (n, c, h, w) in [0, 1], of equal shapes, 16 pixels a side or more; the order within a set does
            not matter.
        seed: decides the directions.

    Raises InputError for other shapes and for integers.
    """
    if images.ndim != 4 or images.shape != others.shape or min(images.shape[-2:]) < SMALLEST:
        raise InputError(
            f"images {tuple(images.shape)} and {tuple(others.shape)}: wanted two equal shapes "
            f"(n, c, h, w) of at least {SMALLEST}x{SMALLEST} pixels"
        )
    if not (images.is_floating_point() and others.is_floating_point()):
        raise InputError(f"images of {images.dtype} and {others.dtype}: wanted floats in [0, 1]")
    generator = torch.Generator().manual_seed(seed)
    kernels = torch.randn(directions, images.shape[1], PATCH, PATCH, generator=generator)
    kernels = F.normalize(kernels.flatten(1), dim=1).view_as(kernels).to(images)
    found = []
    for pair in zip(laplacian_pyramid(images), laplacian_pyramid(others), strict=True):
        deviation = torch.cat(pair).std((0, 2, 3), correction=0).clamp(min=1e-6)
        stride = max(1, min(pair[0].shape[-2:]) // GRID)
        # The product of every patch with a direction is a convolution. A few directions at a time, to save memory.
        gaps = []
        for some in (kernels / deviation[:, None, None]).split(16):
            a, b = (F.conv2d(x, some, stride=stride).transpose(0, 1).flatten(1) for x in pair)
            gaps.append((a.sort().values - b.sort().values).abs().mean(1))
        found.append(torch.cat(gaps).mean())
    return torch.stack(found)


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """The levels of images (n, c, h, w), finest first; each but the last is what the next, enlarged, lacks (Burt 1983).

    Every level is half as large as the one before, down to a shorter side of 16 to 31 pixels.
    """
    line = images.new_tensor([1, 4, 6, 4, 1]) / 16
    channels, levels = images.shape[1], []
    kernel = (line[:, None] * line).expand(channels, 1, 5, 5)

    def smooth(x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (2, 2, 2, 2), "reflect"), kernel, groups=channels)

    while min(images.shape[-2:]) >= 2 * SMALLEST:
        smaller, spread = smooth(images)[..., ::2, ::2], torch.zeros_like(images)
        spread[..., ::2, ::2] = 4 * smaller
        levels.append(images - smooth(spread))
        images = smaller
    return [*levels, images]
