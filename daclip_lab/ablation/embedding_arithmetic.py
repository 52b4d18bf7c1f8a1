"""Steering the restorer with edited degradation embeddings: interpolate, add, project out, negate.

Degradation embeddings are directions, and the text embeddings of words lie in the same space. So an image can be
restored under the word of another degradation (`Pipeline.restore(degradation=...)`), or under a direction made of
several. `steering_gains` measures what that does to many images.
"""

from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.ablation.conditioning import EvalSet, conditioning_gains, mask_embeddings
from daclip_lab.errors import InputError
from daclip_lab.pipeline.pipeline import Pipeline


def interpolate(first: Tensor, second: Tensor, share: float) -> Tensor:
    r"""Spherical interpolation (slerp) between two directions (..., d), of length 1.

    With the angle $\omega$ between them and $s$ = `share` (0: `first`, 1: `second`):
    $(\sin((1 - s)\omega)\, a + \sin(s\omega)\, b) / \sin\omega$. Raises InputError for opposite directions, between
    which there is no unique arc.
    """
    first, second = F.normalize(first, dim=-1), F.normalize(second, dim=-1)
    angle = (first * second).sum(-1, keepdim=True).clamp(-1, 1).arccos()
    if (angle > 3.1).any():
        raise InputError("the two directions are opposite: there is no unique arc between them")
    mixed = first * ((1 - share) * angle).sin() + second * (share * angle).sin()
    return torch.where(angle < 1e-3, first, F.normalize(mixed, dim=-1))


def combine(first: Tensor, second: Tensor) -> Tensor:
    """The sum of two directions (..., d), of length 1."""
    return F.normalize(first + second, dim=-1)


def project_out(direction: Tensor, other: Tensor) -> Tensor:
    r"""The component of a direction (..., d) orthogonal to another one, of length 1.

    $a - (a \cdot b)\, b$ for unit vectors, then normalised. Raises InputError for parallel directions, of which nothing
    is left.
    """
    other = F.normalize(other, dim=-1)
    rest = direction - (direction * other).sum(-1, keepdim=True) * other
    if (rest.norm(dim=-1) < 1e-4 * direction.norm(dim=-1)).any():
        raise InputError("the two directions are parallel: nothing is left after the projection")
    return F.normalize(rest, dim=-1)


def steering_gains(
    pipe: Pipeline, degraded: Tensor, clean: Tensor, embeddings: Mapping[str, Tensor], **options
) -> "pd.DataFrame":
    """The gain in PSNR (dB) of every image (row) under every degradation embedding (column).

    Args:
        degraded, clean: (n, 3, h, w) in [0, 1].
        embeddings: degradation embeddings (d,) or (n, d) by name. Three columns are added: "own", the images' own
            embeddings; "negated", the opposite of their degradation embeddings; "none", zeros for both embeddings.
        options: those of `Pipeline.restore`, such as `steps`, `sampler` and `seed`.
    """
    own = pipe.encode(list(degraded))
    variants = {
        name: own._replace(degradation=vector.expand_as(own.degradation))
        for name, vector in embeddings.items()
    }
    variants |= {
        "own": own,
        "negated": own._replace(degradation=-own.degradation),
        "none": mask_embeddings(own, ()),
    }
    images = EvalSet(clean, degraded, pd.DataFrame(index=range(len(clean))))
    return conditioning_gains(pipe, images, variants, **options)[0]
