"""Views of canvases, as CLIP sees a photo in use, and which labels each of them shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.data.canvases.window import PhotoBatch, cut

VISIBLE = 10**-4.5
"""Mean squared difference (45 dB) below which a degradation cannot be seen in a native crop."""
VISIBLE_RESIZED = 10**-4.2
"""The same for the resized whole, of which the camera's traces are a part."""


@dataclass(frozen=True)
class PhotoViews:
    """Views of photos: the resized whole, then native crops."""

    clean: Tensor
    """(photos, views, 3, s, s) in [0, 1]."""
    degraded: Tensor
    """(photos, views, 3, s, s) in [0, 1]."""
    labels: list[tuple[str, ...]]
    """One or two labels of each photo."""
    visible: Tensor
    """Whether a view shows what its photo's first and second label name: (photos, views, 2) bool."""


def draw_views(
    batch: PhotoBatch, photos: int, crops: int, size: int, generator: torch.Generator
) -> PhotoViews:
    """Draw photos, and of each the resized whole and `crops` random native crops of `size` pixels."""
    drawn = batch.window.draw(batch.step, max(1, photos // batch.processes), generator)
    native, changes = cut(drawn, crops, size, generator)
    pixels = drawn.pixels[drawn.rows].flatten(0, 1).float().div_(255)
    whole = F.interpolate(pixels, size=(size, size), mode="bicubic", antialias=True)
    whole = whole.clamp(0, 1).unflatten(0, (-1, 2))
    difference = (whole[:, 0] - whole[:, 1]).square().mean((1, 2, 3))
    seen = (difference > VISIBLE_RESIZED)[:, None, None].expand(-1, 1, 2)
    clean, degraded = torch.cat([whole[:, None], native], 1).unbind(2)
    visible = torch.cat([seen, changes > VISIBLE], 1)
    return PhotoViews(clean, degraded, drawn.labels, visible)


def label_shares(labels: Sequence[tuple[str, ...]], order: Sequence[str]) -> Tensor:
    """The share of each label of `order` (k labels) in each image: (n, 2, k), for its first and its second label.

    An image of one label has a second row of zeros.
    """
    shares = torch.zeros(len(labels), 2, len(order))
    for row, names in zip(shares, labels, strict=True):
        for place, name in enumerate(names):
            row[place, order.index(name)] = 1
    return shares


def photo_targets(shares: Tensor) -> Tensor:
    """What a photo is to be called: its one label, or half and half its two; (n, k) from `label_shares`."""
    return F.normalize(shares.sum(1), p=1, dim=-1)


def view_targets(shares: Tensor, visible: Tensor, clean: int) -> Tensor:
    """What each view is to be called: the labels of its photo that it shows, and clean where it shows none.

    Args:
        shares: of `label_shares`, (n, 2, k).
        visible: (n, views, 2).
        clean: the place of the label "clean" among the k.

    Returns (n, views, k), whose rows add up to 1.
    """
    shown = (shares[:, None] * visible[..., None]).sum(2)
    nothing = ~shown.any(-1)
    shown[..., clean] += nothing.to(shown)
    return F.normalize(shown, p=1, dim=-1)
