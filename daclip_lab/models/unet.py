"""The paper's restorer: a U-Net conditioned on the time step, the degradation and the content.

A softmax over one key is 1, and the content is one token: cross-attention adds the same vector,
`to_out(to_v(content))`, at every pixel, whatever the query. `prepare` computes it once per image, with the
degradation's part of the time embedding, and all steps share it. What serves only the query (`attn2.to_q`,
`attn2.to_k`, `norm2`) has no effect and no gradient: it is there because names and shapes are those of the released
weights, which load with `strict=True`.

Sources: Luo et al., arXiv 2310.01018 (DA-CLIP), 2404.09732 (wild-IR); Ho et al., 2006.11239 (U-Net); Shen et al.,
1812.01243 (linear attention); Rombach et al., 2112.10752 (transformer).
"""

import math
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daclip_lab.errors import InputError
from daclip_lab.models.restorer import register_restorer

HEAD = 32  # channels of one attention head
conv3x3 = partial(nn.Conv2d, kernel_size=3, padding=1)
halve = partial(nn.Conv2d, kernel_size=4, stride=2, padding=1)


def double(channels: int, out: int) -> nn.Module:
    """Twice the resolution: (b, channels, h, w) to (b, out, 2 h, 2 w)."""
    return nn.Sequential(nn.Upsample(scale_factor=2), conv3x3(channels, out))


class Conditions(NamedTuple):
    """What is added at every step: one row per image, or one for all; None if not used."""

    prompt: Tensor | None  # (b, 4 * channels), added to the time embedding
    down: Tensor | None  # (b, width), added at every pixel by cross-attention on the way down,
    middle: Tensor | None  # in the middle,
    up: Tensor | None  # and on the way up


@register_restorer("unet")
class ConditionalUNet(nn.Module):
    """A U-Net that predicts the noise in the state from the degraded image, the time and two embeddings.

    A `Restorer`. The defaults are the paper's network, of 49 million parameters. Without the content, attention is
    linear at all levels; with it, the lowest level and the middle hold a transformer, as in the authors' code.

    Args:
        channels: width of the first level, a multiple of 32.
        multipliers: widths of the levels, in units of `channels`; each level but the last halves the resolution.
        embed_dim: length d of the content and of the degradation embedding.
        use_degradation, use_content: whether the network is conditioned on that embedding.
        scale: 1, or 0.5 to work at half the size, between a learned halving and doubling (wild-IR).

    Raises InputError for other `channels` or `scale`.
    """

    prediction_type = "epsilon"
    uses_unnormalized_embeddings = True
    """As in the authors' test.py."""

    def __init__(
        self,
        *,
        channels: int = 64,
        multipliers: tuple[int, ...] = (1, 2, 4, 8),
        embed_dim: int = 512,
        use_degradation: bool = True,
        use_content: bool = True,
        scale: float = 1,
    ):
        super().__init__()
        if channels % HEAD:
            raise InputError(f"channels is {channels}; it should be a multiple of {HEAD}")
        if scale not in (1, 0.5):
            raise InputError(f"scale is {scale}; it should be 1 or 0.5")
        self.channels, self.multiple = channels, 2 ** len(multipliers)
        self.use_degradation, self.use_content = use_degradation, use_content
        self.embed_dim = embed_dim
        time, last = 4 * channels, len(multipliers) - 1

        def mlp(inputs: int, activation: nn.Module) -> list[nn.Module]:
            return [nn.Linear(inputs, time), activation, nn.Linear(time, time)]

        def level(depth: int, joined: int, width: int, resize: nn.Module) -> nn.ModuleList:
            blocks = ResBlock(joined, width, time), ResBlock(joined, width, time)
            return nn.ModuleList([*blocks, attention(width, depth == last), resize])

        def attention(width: int, lowest: bool) -> Residual:
            if lowest and use_content:
                return Residual(width, SpatialTransformer(width, embed_dim))
            return Residual(width, LinearAttention(width))

        self.init_conv = nn.Conv2d(6, channels, 7, padding=3, bias=False)
        self.downsample = halve(channels, channels) if scale < 1 else nn.Identity()
        self.upsample = double(channels, channels) if scale < 1 else nn.Identity()
        self.time_mlp = nn.Sequential(nn.Identity(), *mlp(channels, nn.GELU()))
        if use_degradation:
            self.text_mlp = nn.Sequential(*mlp(embed_dim, nn.SiLU()))
            self.prompt = nn.Parameter(torch.rand(1, time))
            self.prompt_mlp = nn.Linear(time, time)
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for depth, (above, below) in enumerate(pairwise([1, *multipliers])):
            above, below = above * channels, below * channels
            resize = conv3x3(above, below, bias=False) if depth == last else halve(above, below)
            self.downs.append(level(depth, above, above, resize))
            resize = conv3x3(below, above, bias=False) if depth == 0 else double(below, above)
            self.ups.insert(0, level(depth, below + above, below, resize))
        self.mid_block1 = ResBlock(below, below, time)
        self.mid_attn = attention(below, lowest=True)
        self.mid_block2 = ResBlock(below, below, time)
        self.final_res_block = ResBlock(2 * channels, channels, time)
        self.final_conv = conv3x3(channels, 3)

    def prepare(self, content: Tensor | None, degradation: Tensor | None) -> Conditions:
        """What the embeddings (b, d) of each image add, see `Conditions`; None stands for zeros."""
        zeros = self.final_conv.weight.new_zeros(1, self.embed_dim)
        prompt = down = middle = up = None
        if self.use_degradation:
            degradation = zeros if degradation is None else degradation
            prompt = self.prompt_mlp(self.text_mlp(degradation).softmax(1) * self.prompt)
        if self.use_content:
            content = zeros if content is None else content
            residuals = self.downs[-1][2], self.mid_attn, self.ups[0][2]
            attentions = (r.fn["fn"].transformer_blocks[0]["attn2"] for r in residuals)
            down, middle, up = (to["to_out"](to["to_v"](content)) for to in attentions)
        return Conditions(prompt, down, middle, up)

    def forward(self, state: Tensor, degraded: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """The predicted noise of the state, see `Restorer.forward`; h and w over 8."""
        h, w = state.shape[-2:]
        x = torch.cat([state - degraded, degraded], 1)
        x = F.pad(x, (0, -w % self.multiple, 0, -h % self.multiple), mode="reflect")
        # Channels-last from here on: pixels are the tokens of attention without a copy.
        first = self.init_conv(x.contiguous(memory_format=torch.channels_last))
        time = self.time_mlp(sinusoids(t, self.channels))
        if conditions.prompt is not None:
            time = time + conditions.prompt

        x, skips = self.downsample(first), []
        for block1, block2, attention, resize in self.downs:
            skips.append(block1(x, time))
            skips.append(attention(block2(skips[-1], time), conditions.down))
            x = resize(skips[-1])
        x = self.mid_attn(self.mid_block1(x, time), conditions.middle)
        x = self.mid_block2(x, time)
        for block1, block2, attention, resize in self.ups:
            x = block1(torch.cat([x, skips.pop()], 1), time)
            x = block2(torch.cat([x, skips.pop()], 1), time)
            x = resize(attention(x, conditions.up))
        x = self.final_res_block(torch.cat([self.upsample(x), first], 1), time)
        return self.final_conv(x)[..., :h, :w]


def sinusoids(t: Tensor, size: int) -> Tensor:
    r"""Embed times (b,) as (b, size): $\sin(t\omega_k)$, then $\cos(t\omega_k)$, with $\omega_k = 10^{-4k/(n-1)}$.

    k runs over the n = size / 2 frequencies, from 0.
    """
    exponents = torch.linspace(0, 1, size // 2, device=t.device)
    angles = t[:, None] * torch.exp(-math.log(10000) * exponents)
    return torch.cat([angles.sin(), angles.cos()], 1)


class ResBlock(nn.Module):
    """Two convolutions and a skip, (b, width, h, w) to (b, out, h, w); the time embedding (b, time) modulates them.

    It scales and shifts the first convolution's channels: y (1 + gain) + shift.
    """

    def __init__(self, width: int, out: int, time: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * out))
        self.block1 = nn.ModuleDict({"proj": conv3x3(width, out, bias=False)})
        self.block2 = nn.ModuleDict({"proj": conv3x3(out, out, bias=False)})
        self.res_conv = nn.Identity() if width == out else nn.Conv2d(width, out, 1, bias=False)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.mlp(time)[:, :, None, None].chunk(2, 1)
        y = F.silu(torch.addcmul(shift, self.block1["proj"](x), 1 + scale))
        return F.silu(self.block2["proj"](y)) + self.res_conv(x)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel of (b, c, h, w), with a gain and no bias."""

    def __init__(self, channels: int):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        gain = self.g.flatten()
        return F.layer_norm(x.permute(0, 2, 3, 1), gain.shape, gain).permute(0, 3, 1, 2)


class Residual(nn.Module):
    """x + attention(norm(x), content), for x (b, channels, h, w) and content (b, channels), or None."""

    def __init__(self, channels: int, attention: nn.Module):
        super().__init__()
        self.fn = nn.ModuleDict({"norm": ChannelNorm(channels), "fn": attention})

    def forward(self, x: Tensor, content: Tensor | None) -> Tensor:
        return x + self.fn["fn"](self.fn["norm"](x), content)


class LinearAttention(nn.Module):
    r"""Attention that is linear in the number of pixels n: per head, keys and values make one small matrix.

    $$y = \frac{1}{n\sqrt{d}}\,\mathrm{softmax}_d(Q)\,\bigl(\mathrm{softmax}_n(K)^\top V\bigr)$$

    with queries, keys and values (n, d), d = 32.
    """

    def __init__(self, channels: int, heads: int = 4):
        super().__init__()
        self.to_qkv = nn.Conv2d(channels, 3 * heads * HEAD, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(heads * HEAD, channels, 1), ChannelNorm(channels))

    def forward(self, x: Tensor, content: Tensor | None) -> Tensor:
        tokens = x.permute(0, 2, 3, 1).flatten(1, 2)
        to_q, to_k, to_v = self.to_qkv.weight.flatten(1).chunk(3)
        project, norm = self.to_out
        summary = F.linear(tokens, to_k).softmax(1).mT @ F.linear(tokens, to_v)
        head = torch.arange(len(to_q), device=x.device) // HEAD
        # The softmax over pixels averages already; the released weights were trained with this second division.
        summary = summary * (head[:, None] == head) / (HEAD**0.5 * tokens.shape[1])
        queries = F.linear(tokens, to_q).unflatten(2, (-1, HEAD)).softmax(3).flatten(2)
        y = torch.baddbmm(project.bias, queries, summary @ project.weight.flatten(1).mT)
        return norm(y.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2))


class SpatialTransformer(nn.Module):
    """A transformer on the pixels of (b, width, h, w): self-attention, cross-attention to one token, feed-forward."""

    def __init__(self, width: int, context: int):
        super().__init__()
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.proj_in, self.proj_out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        for parameter in self.proj_out.parameters():
            nn.init.zeros_(parameter)  # the identity before training
        parts = {"norm1": nn.LayerNorm(width), "attn1": projections(width, width)}
        parts |= {"norm2": nn.LayerNorm(width), "attn2": projections(width, context)}
        expand = nn.ModuleDict({"proj": nn.Linear(width, 8 * width)})
        net = nn.ModuleList([expand, nn.Identity(), nn.Linear(4 * width, width)])
        parts |= {"norm3": nn.LayerNorm(width), "ff": nn.ModuleDict({"net": net})}
        self.transformer_blocks = nn.ModuleList([nn.ModuleDict(parts)])

    def forward(self, x: Tensor, content: Tensor) -> Tensor:
        block = self.transformer_blocks[0]
        tokens = self.proj_in(self.norm(x)).permute(0, 2, 3, 1).flatten(1, 2)
        own, attention = block["norm1"](tokens), block["attn1"]
        heads = (attention[to](own).unflatten(2, (-1, HEAD)) for to in ("to_q", "to_k", "to_v"))
        seen = F.scaled_dot_product_attention(*(part.transpose(1, 2) for part in heads))
        tokens = tokens + attention["to_out"](seen.transpose(1, 2).flatten(2))
        tokens = tokens + content[:, None]
        expand, _, contract = block["ff"]["net"]
        values, gates = expand["proj"](block["norm3"](tokens)).chunk(2, -1)
        tokens = tokens + contract(values * F.gelu(gates))
        return x + self.proj_out(tokens.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2))


def projections(width: int, context: int) -> nn.ModuleDict:
    """The linear maps of attention: queries of length `width` to tokens of length `context`."""
    to_q = nn.Linear(width, width, bias=False)
    to_k, to_v = (nn.Linear(context, width, bias=False) for _ in range(2))
    to_out = nn.Sequential(nn.Linear(width, width))
    return nn.ModuleDict({"to_q": to_q, "to_k": to_k, "to_v": to_v, "to_out": to_out})
