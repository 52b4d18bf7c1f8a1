"""NAFNet as a diffusion network: a restorer that is conditioned on the time and on both embeddings of DA-CLIP.

NAFNet (Chen et al., 2204.04676) has no activation and no attention: gates multiply halves of the channels, and each
block weighs its channels by their mean over the image. The DA-CLIP paper conditions one (section 5.2) without releasing
code; here time, degradation and content are summed into one vector that scales and shifts the features of every block
(FiLM, Perez et al., 1709.07871). Cross-attention to a single context token would add a constant per image as well.

Two departures for the CPU: the network works on 2x2 blocks of pixels, and it predicts the clean image itself, so that
one call is already a restoration.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daclip_lab.models.restorer import register_restorer


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of (b, c, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        if x.dtype == torch.float32:
            return super().forward(x).permute(0, 3, 1, 2)
        # Autocast would return float32, at twice the memory traffic; the kernel computes in float32 either way.
        with torch.autocast(x.device.type, enabled=False):
            weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
            x = F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)
        return x.permute(0, 3, 1, 2)


def local_mean(x: Tensor, window: int) -> Tensor:
    """The mean of (b, c, h, w) over a square of `window` pixels around each: (b, c, h, w).

    Where the square covers the image it is the image's mean, (b, c, 1, 1). Windows at the border are moved inside. The
    mean of a whole photo is another statistic than the means of the small patches that a network is trained on (Chu et
    al., 2112.04491, take windows of their size).
    """
    h, w = x.shape[-2:]
    kernel = (min(window, h), min(window, w))
    if kernel == (h, w):
        return x.mean((2, 3), keepdim=True)
    # Differences of running sums: the cost does not grow with the window.
    mean = x.float()
    for dim, k in zip((2, 3), kernel, strict=True):
        sums = F.pad(mean.cumsum(dim), (0, 0, 1, 0) if dim == 2 else (1, 0))
        extent = sums.shape[dim]
        mean = (sums.narrow(dim, k, extent - k) - sums.narrow(dim, 0, extent - k)) / k
    spare_h, spare_w = h - mean.shape[-2], w - mean.shape[-1]
    pad = (spare_w // 2, spare_w - spare_w // 2, spare_h // 2, spare_h - spare_h // 2)
    return F.pad(mean, pad, mode="replicate").to(x.dtype)


_SHARED: ContextVar[Mapping["ChannelMean", list[Tensor] | Tensor]] = ContextVar(
    "channel means", default=MappingProxyType({})
)
"""Per call, not per module, so that several threads can use one network: means recorded so far, or those to use."""


class ChannelMean(nn.Module):
    """The mean of each channel: over the image, over a window around every pixel, or as set by `common_means`.

    `window` is a side in pixels of the image, None for all of it; `cell` that of one pixel of the features.
    """

    def __init__(self, window: int | None, cell: int):
        super().__init__()
        self.window, self.cell = window, cell

    def forward(self, x: Tensor) -> Tensor:
        shared = _SHARED.get().get(self)
        if isinstance(shared, Tensor):
            return shared
        if self.window is not None:
            return local_mean(x, max(1, self.window // self.cell))
        mean = x.mean((2, 3), keepdim=True)
        if shared is not None:
            shared.append(mean)
        return mean


@contextmanager
def common_means(net: nn.Module, calls: Callable[[], Iterable[int]]) -> Iterator[None]:
    """Inside, all calls of a network in this thread use the same channel means: the averages over some calls before.

    Only means over the image are replaced, not those over windows; a network without such means is not called.

    Args:
        calls: makes the calls, and yields the number of pixels of each.
    """
    shared: dict = {m: [] for m in net.modules() if isinstance(m, ChannelMean) and m.window is None}
    token = _SHARED.set(shared)
    try:
        pixels = list(calls()) if shared else []
        for module, means in shared.items():
            weighted = (mean * n for mean, n in zip(means, pixels, strict=True))
            shared[module] = sum(weighted) / sum(pixels)
        yield
    finally:
        _SHARED.reset(token)


def gate(x: Tensor) -> Tensor:
    """One half of the channels times the other, (b, c, h, w) to (b, c / 2, h, w): NAFNet's only nonlinearity."""
    left, right = x.chunk(2, dim=1)
    return left * right


class Block(nn.Module):
    r"""A NAFNet block whose two normalised inputs are scaled and shifted by the conditioning vector v (FiLM).

    $$y = \mathrm{LN}(x) \odot (1 + \gamma) + \beta, \qquad (\gamma_1, \beta_1, \gamma_2, \beta_2) = W v + b$$

    W and b start at zero, and so do the scales of both branches: the block starts as the identity.
    """

    def __init__(self, channels: int, conditioning_dim: int, mean: ChannelMean):
        super().__init__()
        self.mean = mean
        self.modulation = nn.Linear(conditioning_dim, 4 * channels)
        self.norm_space = LayerNorm2d(channels)
        self.expand_space = nn.Conv2d(channels, 2 * channels, 1)
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.channel_weight = nn.Conv2d(channels, channels, 1)
        self.project_space = nn.Conv2d(channels, channels, 1)
        self.norm_channel = LayerNorm2d(channels)
        self.expand_channel = nn.Conv2d(channels, 2 * channels, 1)
        self.project_channel = nn.Conv2d(channels, channels, 1)
        self.scale_space = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.scale_channel = nn.Parameter(torch.zeros(1, channels, 1, 1))
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """Features (b, channels, h, w), from such features and the conditioning vector (b, conditioning_dim)."""
        gain1, shift1, gain2, shift2 = self.modulation(vector)[:, :, None, None].chunk(4, dim=1)
        y = torch.addcmul(shift1, self.norm_space(x), 1 + gain1)
        y = gate(self.depthwise(self.expand_space(y)))
        y = y * self.channel_weight(self.mean(y))
        x = torch.addcmul(x, self.scale_space.to(x.dtype), self.project_space(y))
        y = torch.addcmul(shift2, self.norm_channel(x), 1 + gain2)
        y = gate(self.expand_channel(y))
        return torch.addcmul(x, self.scale_channel.to(x.dtype), self.project_channel(y))


@register_restorer("nafnet")
class ConditionalNAFNet(nn.Module):
    """A NAFNet that predicts the clean image from the state, the degraded image, the time and both embeddings.

    A `Restorer`.

    Args:
        embed_dim: length d of DA-CLIP's embeddings.
        width: channels at the first level; they double at each level.
        encoder, decoder: blocks per level, outermost first for the encoder and innermost first for the decoder.
        middle: blocks at the bottom.
        conditioning_dim: length of the conditioning vector.
        window: side in pixels of the squares over which channel means are taken, at least that of the training patches;
            None takes them over the whole image.
    """

    prediction_type = "sample"
    uses_unnormalized_embeddings = False
    block: type[nn.Module] = Block

    def __init__(
        self,
        *,
        embed_dim: int,
        width: int = 32,
        encoder: tuple[int, ...] = (2, 2, 4),
        middle: int = 2,
        decoder: tuple[int, ...] = (2, 2, 2),
        conditioning_dim: int = 128,
        window: int | None = None,
    ):
        super().__init__()
        self.frequencies = 64
        self.time = nn.Sequential(
            nn.Linear(2 * self.frequencies, conditioning_dim),
            nn.SiLU(),
            nn.Linear(conditioning_dim, conditioning_dim),
        )
        self.degradation = _embedding_mlp(embed_dim, conditioning_dim)
        self.content = _embedding_mlp(embed_dim, conditioning_dim)
        self.unshuffle, self.shuffle = nn.PixelUnshuffle(2), nn.PixelShuffle(2)
        self.intro = nn.Conv2d(24, width, 3, padding=1)
        cell = 2

        def stage(blocks: int) -> nn.ModuleList:
            return nn.ModuleList(
                self.block(width, conditioning_dim, ChannelMean(window, cell))
                for _ in range(blocks)
            )

        self.encoder, self.down = nn.ModuleList(), nn.ModuleList()
        for blocks in encoder:
            self.encoder.append(stage(blocks))
            self.down.append(nn.Conv2d(width, 2 * width, 2, stride=2))
            width, cell = 2 * width, 2 * cell
        self.middle = stage(middle)
        self.decoder, self.up = nn.ModuleList(), nn.ModuleList()
        for blocks in decoder:
            self.up.append(nn.Sequential(nn.Conv2d(width, 2 * width, 1), nn.PixelShuffle(2)))
            width, cell = width // 2, cell // 2
            self.decoder.append(stage(blocks))
        self.multiple = 2 ** (1 + len(encoder))
        self.outro = nn.Conv2d(width, 12, 3, padding=1)
        for parameter in self.outro.parameters():
            nn.init.zeros_(parameter)
        self.to(memory_format=torch.channels_last)

    def prepare(self, content: Tensor | None, degradation: Tensor | None) -> Tensor | float:
        """What the embeddings (b, d) add to the conditioning vector: (b, conditioning_dim), the same at every step.

        None, like a row of zeros, adds zero.
        """
        added = 0.0 if content is None else self.content(content)
        return added if degradation is None else added + self.degradation(degradation)

    def forward(
        self, state: Tensor, degraded: Tensor, t: Tensor, conditions: Tensor | float
    ) -> Tensor:
        """The predicted clean image, see `Restorer.forward`."""
        h, w = degraded.shape[-2:]
        vector = self.conditioning_vector(t, conditions)
        x = torch.cat([state - degraded, degraded], dim=1)
        # By replication: unlike reflection it works at any size.
        x = F.pad(x, (0, -w % self.multiple, 0, -h % self.multiple), mode="replicate")
        x = self.first_features(
            self.unshuffle(x).contiguous(memory_format=torch.channels_last), vector
        )
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            for block in blocks:
                x = block(x, vector)
            skips.append(x)
            x = down(x)
        for block in self.middle:
            x = block(x, vector)
        for blocks, up in zip(self.decoder, self.up, strict=True):
            x = up(x) + skips.pop()
            for block in blocks:
                x = block(x, vector)
        return degraded + self.shuffle(self.outro(x)).float()[..., :h, :w]

    def conditioning_vector(self, t: Tensor, conditions: Any) -> Any:
        """What every block is conditioned on: a vector (b, conditioning_dim) of time and embeddings."""
        return F.silu(self.time(self._time_features(t)) + conditions)

    def first_features(self, x: Tensor, vector: Any) -> Tensor:
        """The first features (b, width, h / 2, w / 2), of 2x2 blocks of pixels (b, 24, h / 2, w / 2)."""
        return self.intro(x)

    def _time_features(self, t: Tensor) -> Tensor:
        speeds = torch.arange(self.frequencies, device=t.device) / self.frequencies
        angles = t[:, None] * torch.exp(-math.log(10_000) * speeds)
        return torch.cat([angles.sin(), angles.cos()], dim=1)


def _embedding_mlp(embed_dim: int, conditioning_dim: int) -> nn.Sequential:
    """Embedding (b, embed_dim) to conditioning vector, without biases, so that a zero embedding adds zero."""
    first = nn.Linear(embed_dim, conditioning_dim, bias=False)
    # Large initial weights make up for the small entries of unit vectors.
    nn.init.normal_(first.weight)
    last = nn.Linear(conditioning_dim, conditioning_dim, bias=False)
    return nn.Sequential(first, nn.SiLU(), last)
