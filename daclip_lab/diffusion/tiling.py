"""Images larger than memory: the network sees overlapping tiles, the sampler sees the whole image.

Tiles that are restored one by one drift apart, the more the more steps they take alone, and meet in a seam. Here there
is one noise field and one loop for the whole image. Only the call of the network is cut into tiles, and its predictions
are blended at every step: what two tiles disagree about is settled before the next step can make it grow.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from daclip_lab.errors import InputError
from daclip_lab.models.nafnet import common_means

WHOLE = 1024 * 1024
"""Pixels of the largest image that is restored in one piece, unless the caller says otherwise."""
TILE = 512
"""Side of a tile in pixels, unless the caller says otherwise. Larger tiles spend less on overlaps, and more memory: at
this one, a call of the paper's U-Net needs 1 GB beside its weights (`python -m benchmarks network`)."""


class Tiled:
    """A network that is called as the one it wraps, and answers for a large image by blending its answers for tiles.

    A quarter of a tile's side overlaps its neighbour. A third of that, the pixels nearest to the cut, is dropped, since
    the network saw least of what surrounds them; over the middle third one answer fades into the other. For a network
    that looks no further than that third (43 pixels for a tile of 512) tiled equals whole. The U-Net attends to all
    pixels: its tiles are each an image of their own. The lab's NAFNet takes means over the image, and a tile of sky has
    other means than one of trees. So all tiles are looked at twice: first for their means, then to answer under the
    means of all of them, which makes a call twice as dear and leaves no seam: 48 pixels from a cut such an answer is
    that for the whole image to within 0.0001 (in [0, 1], the largest difference seen: `python -m benchmarks sight`).

    Args:
        net: (state, degraded, t, conditions) -> (b, 3, h, w); it says in `multiple` by what h and w are padded.
        height, width: size of the images in pixels.
        tile: largest side of a tile in pixels, at least four times `net.multiple`.
    """

    def __init__(self, net: nn.Module, height: int, width: int, tile: int = TILE):
        if tile < 4 * net.multiple:
            raise InputError(
                f"tile={tile}: wanted at least {4 * net.multiple} pixels, or 0 for none"
            )
        self.net, self.prediction_type = net, net.prediction_type
        down, along = (windows(extent, tile, net.multiple) for extent in (height, width))
        self._tiles = [(*line, *column) for line in down for column in along]

    def cut(self, images: Tensor) -> Iterator[Tensor]:
        """The tiles of images (b, c, h, w), line by line."""
        return (images[..., rows, columns] for rows, _, columns, _ in self._tiles)

    def __call__(self, state: Tensor, degraded: Tensor, t: Tensor, conditions) -> Tensor:
        """What the network says of the whole image; `conditions` are its own, or a list of one for each tile."""
        blended = torch.zeros_like(state)
        if not isinstance(conditions, list):
            conditions = [conditions] * len(self._tiles)

        def answers(what: str) -> Iterator[tuple[tuple, Tensor, Tensor]]:
            bar = tqdm(conditions, what, unit="tile", leave=False, delay=1)
            for (rows, down, columns, along), told in zip(self._tiles, bar, strict=True):
                at = (..., rows, columns)
                answer = self.net(state[at], degraded[at], t, told).to(blended.dtype)
                yield at, answer, (down[:, None] * along).to(blended)

        def look() -> Iterator[int]:
            return (answer[0, 0].numel() for _, answer, _ in answers("means"))

        with common_means(self.net, look):
            for at, answer, weights in answers("tiles"):
                blended[at].addcmul_(answer, weights)
        return blended


def in_tiles(net: nn.Module, height: int, width: int, tile: int | None = None) -> nn.Module | Tiled:
    """The network for images of that size: as it is where they are small enough, else `Tiled`.

    Args:
        tile: side of the tiles in pixels; None takes `TILE` for images of more than `WHOLE` pixels; 0 never tiles.
    """
    if tile is None:
        tile = TILE if height * width > WHOLE else 0
    return Tiled(net, height, width, tile) if tile else net


def windows(extent: int, tile: int, multiple: int) -> list[tuple[slice, Tensor]]:
    """The tiles of one line of `extent` pixels: where each lies, and the weight of each of its pixels.

    Neighbours share at least a quarter of `tile`. They begin at multiples of `multiple`, so that a tile's pixels meet
    the same phases of the network's strides as in the whole image. The weights of a pixel sum to 1 over its tiles.
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
    above = pixels - starts[:, None].where(
        starts[:, None] > 0, -tile
    )  # nothing is cut at the image's own border,
    below = starts[:, None] + tile - pixels
    below[-1] = tile  # at neither end
    drop = fade = overlap / 3
    weights = ((torch.minimum(above, below) - drop) / fade).clamp(0, 1)
    weights = weights / weights.sum(0)
    places = [slice(start, min(start + tile, extent)) for start in starts.tolist()]
    return [(place, line[place]) for place, line in zip(places, weights, strict=True)]
