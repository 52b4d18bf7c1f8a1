"""A convolutional front end at full resolution, in the place of a CLIP image tower's linear patch embedding.

A linear map of a whole patch is slow to learn what distinguishes degradations: noise, edges, the borders of JPEG blocks
at any position. 3x3 convolutions have it from the start, and the transformer behind them needs fewer tokens (Xiao et
al., *Early Convolutions Help Transformers See Better*, 2106.14881). The paper's CLIP has none.

Each convolution is trained with a batch norm behind it. With fixed statistics that is one affine map per channel, which
`fold` moves into the convolution, exactly. Folded weights can be trained further, without batch norm.
"""

import copy
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daclip_lab.errors import InputError

M = TypeVar("M", bound=nn.Module)


class Convolution(nn.Module):
    """A convolution (b, i, h, w) -> (b, o, h / stride, w / stride) and, until it is folded, its batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__()
        padding = (kernel - stride + 1) // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.norm: nn.BatchNorm2d | None = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x if self.norm is None else self.norm(x)

    @torch.no_grad()
    def fold(self) -> None:
        r"""Replace the batch norm by a new kernel and a bias.

        $$W' = \frac{\gamma}{\sqrt{v + \epsilon}}\, W, \qquad b' = \beta - \frac{\gamma}{\sqrt{v + \epsilon}}\, m$$

        with the gain $\gamma$, the shift $\beta$ and the running mean m and variance v of the batch norm.
        """
        norm: Any = self.norm
        if norm is None:
            return
        kernel = self.conv.weight
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        bias = norm.bias.double() - norm.running_mean.double() * scale
        kernel.copy_(kernel.double() * scale[:, None, None, None])
        self.conv.bias = nn.Parameter(bias.to(kernel), requires_grad=kernel.requires_grad)
        self.norm = None


class Residual(nn.Module):
    """Two 3x3 convolutions, whose result is added to their input: (b, c, h, w) -> (b, c, h, w)."""

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = (
            Convolution(channels, channels, 3),
            Convolution(channels, channels, 3),
        )
        # The block starts as the identity, which trains faster (Goyal et al., 1706.02677).
        nn.init.zeros_(self.second.norm.weight)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        # In place: a sum of its own would be another tensor at full resolution.
        return F.relu_(self.second(F.relu_(self.first(x))).add_(x))


class FrontEnd(nn.Module):
    """Convolutions from images (b, 3, s, s) to a grid of token features (b, width, s / patch, s / patch).

    At full resolution a 3x3 convolution and a residual block; for each further entry of `channels` a 4x4 convolution
    of stride 2 and a residual block; at last a convolution to `width` channels, of the stride that is left.

    Args:
        width: channels of the transformer.
        patch: side in pixels of the square of a token; a power of two.
        channels: channels at full resolution, at half of it, and so on: log2(patch) of them, or one more.

    Raises InputError where `channels` does not fit `patch`.
    """

    def __init__(self, width: int, patch: int, channels: Sequence[int]):
        super().__init__()
        first, *others = channels
        left = patch >> len(others)
        if left not in (1, 2) or left << len(others) != patch:
            raise InputError(
                f"front_end={list(channels)}: patches of {patch} pixels need log2({patch}) entries or one more"
            )
        layers: list[nn.Module] = [Convolution(3, first, 3), nn.ReLU(True), Residual(first)]
        for before, after in zip(channels, others, strict=False):
            layers += [Convolution(before, after, 4, 2), nn.ReLU(True), Residual(after)]
        layers.append(Convolution(channels[-1], width, left if left == 1 else 4, left))
        self.layers = nn.Sequential(*layers)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images.contiguous(memory_format=torch.channels_last))


def fold_all(module: M) -> M:
    """Fold the front ends inside a module, in place (see `Convolution.fold`); returns the module."""
    for part in module.modules():
        if isinstance(part, Convolution):
            part.fold()
    return module


def folded_copy(module: M) -> M:
    """A folded copy of a module; the module itself where it has no batch norm."""
    return module if is_folded(dict(module.named_buffers())) else fold_all(copy.deepcopy(module))


def is_folded(names: Iterable[str]) -> bool:
    """Whether tensors of these names hold no batch norm of a front end."""
    return not any(name.endswith("norm.running_var") for name in names)
