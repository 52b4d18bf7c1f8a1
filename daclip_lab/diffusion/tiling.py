"""Restoring images larger than memory: the network runs on overlapping tiles, the sampler on the whole image.

Tiles that are restored one by one drift apart, the more steps the more, and meet in a seam. Here there is one noise
field and one sampler for the whole image. Only the network's calls are split into tiles; their predictions are blended
at every step, so that differences between tiles do not grow.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from daclip_lab.errors import InputError
from daclip_lab.models.nafnet import common_means

WHOLE = 1024 * 1024
"""Pixels of the largest image that is restored without tiles by default."""
TILE = 512
"""Default side of a tile in pixels. Larger tiles spend less on overlaps, and more memory: at this one, a call of the
paper's U-Net needs 1 GB beside its weights (`python -m benchmarks network`)."""


class Tiled:
    """A network that runs on overlapping tiles and blends the predictions; it is called like the network itself.

    A quarter of a tile's side overlaps its neighbour. The third of the overlap nearest to the cut is dropped; over the
    middle third one prediction fades into the other. For a network whose receptive field is within that third (43
    pixels for a tile of 512) tiled equals whole. The U-Net attends to all pixels: each of its tiles is an image of its
    own. The lab's NAFNet averages over the image, and a tile of sky has other means than one of trees, so every call
    runs on all tiles twice: for their means, and then with the averages of these. This doubles the cost and removes the
    seams: 48 pixels from a cut the prediction is that for the whole image to within 0.0001 (in [0, 1], the largest
    difference found by `python -m benchmarks receptive_field`).

    Args:
        net: a `Restorer`.
        height, width: size of the images in pixels.
        tile: largest side of a tile in pixels, at least four times `net.multiple`; InputError for a smaller one.
    """

    def __init__(self, net: nn.Module, height: int, width: int, tile: int = TILE):
        if tile < 4 * net.multiple:
            raise InputError(
                f"tile={tile}: wanted at least {4 * net.multiple} pixels, or 0 for none"
            )
        self.net, self.prediction_type = net, net.prediction_type
        rows, columns = (windows(extent, tile, net.multiple) for extent in (height, width))
        self._tiles = [(*row, *column) for row in rows for column in columns]

    def cut(self, images: Tensor) -> Iterator[Tensor]:
        """The tiles (b, c, at most tile, at most tile) of images (b, c, height, width), row by row."""
        return (images[..., rows, columns] for rows, _, columns, _ in self._tiles)

    def __call__(self, state: Tensor, degraded: Tensor, t: Tensor, conditions: Any) -> Tensor:
        """The network's blended prediction, see `Restorer.forward`; `conditions` may be a list of one for each tile."""
        blended = torch.zeros_like(state)
        if not isinstance(conditions, list):
            conditions = [conditions] * len(self._tiles)

        def predictions(desc: str) -> Iterator[tuple[tuple, Tensor, Tensor]]:
            bar = tqdm(conditions, desc, unit="tile", leave=False, delay=1)
            for (rows, down, columns, across), of_tile in zip(self._tiles, bar, strict=True):
                at = (..., rows, columns)
                predicted = self.net(state[at], degraded[at], t, of_tile).to(blended.dtype)
                yield at, predicted, (down[:, None] * across).to(blended)

        def record_means() -> Iterator[int]:
            return (predicted[0, 0].numel() for _, predicted, _ in predictions("means"))

        with common_means(self.net, record_means):
            for at, predicted, weights in predictions("tiles"):
                blended[at].addcmul_(predicted, weights)
        return blended


def in_tiles(net: nn.Module, height: int, width: int, tile: int | None = None) -> nn.Module | Tiled:
    """The network for images of height x width pixels: itself where they are small enough, else `Tiled`.

    Args:
        tile: side of the tiles in pixels; None takes `TILE` for images of more than `WHOLE` pixels; 0 never tiles.
    """
    if tile is None:
        tile = TILE if height * width > WHOLE else 0
    return Tiled(net, height, width, tile) if tile else net


def windows(extent: int, tile: int, multiple: int) -> list[tuple[slice, Tensor]]:
    """The tiles along one side of `extent` pixels: the slice of each, and the weights (pixels,) for blending it.

    Neighbours share at least a quarter of `tile`. They begin at multiples of `multiple`, so that the network's strides
    have the same phase as in the whole image. The weights of a pixel sum to 1 over its tiles.
    """
    padded = extent + -extent % multiple
    tile -= tile % multiple
    if padded <= tile:
        return [(slice(0, extent), torch.ones(extent))]
    overlap = tile // 4
    stride = (tile - overlap) // multiple * multiple
    count = 1 + math.ceil((padded - tile) / stride)
    starts = torch.linspace(0, (padded - tile) // multiple, count).round().long() * multiple
    pixels = torch.arange(extent) + 0.5
    # Distances (count, extent) to the two ends of each tile; the image's own ends are no cuts and count as far away.
    above = pixels - starts[:, None]
    below = starts[:, None] + tile - pixels
    above[0] += tile
    below[-1] = tile
    drop = fade = overlap / 3
    weights = ((torch.minimum(above, below) - drop) / fade).clamp(0, 1)
    weights = weights / weights.sum(0)
    slices = [slice(start, min(start + tile, extent)) for start in starts.tolist()]
    return [(part, row[part]) for part, row in zip(slices, weights, strict=True)]
