"""Ways in which the degradation embedding can enter a NAFNet.

The lab's own is scale and shift: a vector of time and embeddings scales and shifts the features of every block
(`models.nafnet`). Here are the paper's prompt, cross-attention and concatenation; everything else is the lab's network.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daclip_lab.models.nafnet import Block, ChannelMean, ConditionalNAFNet, LayerNorm2d
from daclip_lab.models.restorer import register_restorer

TOKENS = 4
"""Tokens that the embedding becomes for cross-attention: with a single one attention adds a constant per image."""
CHANNELS = 16
"""Channels of the map that is concatenated to the input."""


class Prompt(nn.Module):
    r"""The paper's prompt (DA-CLIP, section 3.2): $W_p\,(\mathrm{softmax}(f(e_d)) \odot p)$, with p learned.

    From embeddings (b, embed_dim) to (b, dim), which is added to the time embedding.
    """

    def __init__(self, embed_dim: int, dim: int):
        super().__init__()
        self.text = nn.Sequential(nn.Linear(embed_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        # The paper's embeddings have entries of about 1, ours are unit vectors.
        nn.init.normal_(self.text[0].weight)
        self.prompt = nn.Parameter(torch.rand(1, dim))
        self.project = nn.Linear(dim, dim)

    def forward(self, degradation: Tensor) -> Tensor:
        return self.project(self.text(degradation).softmax(1) * self.prompt)


@register_restorer("nafnet-prompt")
class PromptNAFNet(ConditionalNAFNet):
    """The lab's NAFNet with the paper's prompt in the place of the degradation's MLP."""

    def __init__(self, *, embed_dim: int, conditioning_dim: int = 128, **others):
        super().__init__(embed_dim=embed_dim, conditioning_dim=conditioning_dim, **others)
        self.embed_dim = embed_dim
        self.degradation = Prompt(embed_dim, conditioning_dim)

    def prepare(self, content: Tensor | None, degradation: Tensor | None) -> Tensor | float:
        """What the embeddings (b, d) add to the conditioning vector; None stands for zeros, which add the same."""
        if degradation is None:
            degradation = self.degradation.prompt.new_zeros(1, self.embed_dim)
        return super().prepare(content, degradation)


class Conditions(NamedTuple):
    """What is made of the embeddings where they enter in two places."""

    added: Tensor | float
    """Added to the time embedding: (b, conditioning_dim)."""
    degradation: Tensor
    """Tokens (b, n, dim) or channels (b, n) of the degradation."""


class CrossAttentionBlock(Block):
    """A NAFNet block, and behind it cross-attention of the pixels to the tokens of the degradation."""

    def __init__(self, channels: int, conditioning_dim: int, mean: ChannelMean):
        super().__init__(channels, conditioning_dim, mean)
        self.norm_attention = LayerNorm2d(channels)
        self.query = nn.Conv2d(channels, channels, 1, bias=False)
        self.key = nn.Linear(conditioning_dim, channels, bias=False)
        self.value = nn.Linear(conditioning_dim, channels, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)
        nn.init.zeros_(self.project.weight)

    def forward(self, x: Tensor, vector: Conditions) -> Tensor:  # type: ignore[override]
        """Features (b, channels, h, w), from such features, a vector and tokens (b, n, conditioning_dim)."""
        x = super().forward(x, vector.added)  # type: ignore[arg-type]
        tokens = vector.degradation
        queries = self.query(self.norm_attention(x)).flatten(2).mT
        attended = F.scaled_dot_product_attention(queries, self.key(tokens), self.value(tokens))
        return x + self.project(attended.mT.unflatten(2, x.shape[-2:]))


@register_restorer("nafnet-cross-attention")
class CrossAttentionNAFNet(ConditionalNAFNet):
    """The lab's NAFNet whose pixels attend to a few tokens made from the degradation embedding."""

    block = CrossAttentionBlock

    def __init__(self, *, embed_dim: int, conditioning_dim: int = 128, **others):
        super().__init__(embed_dim=embed_dim, conditioning_dim=conditioning_dim, **others)
        self.degradation = nn.Linear(embed_dim, TOKENS * conditioning_dim, bias=False)
        # Large initial weights make up for the small entries of unit vectors, as in the lab's network.
        nn.init.normal_(self.degradation.weight)

    def prepare(self, content: Tensor | None, degradation: Tensor | None) -> Conditions:  # type: ignore[override]
        """The content's part of the vector, and the tokens of the degradation (b, n, conditioning_dim)."""
        if degradation is None:
            weight = self.degradation.weight
            degradation = weight.new_zeros(1 if content is None else len(content), weight.shape[1])
        tokens = self.degradation(degradation).unflatten(1, (TOKENS, -1))
        return Conditions(super().prepare(content, None), tokens)

    def conditioning_vector(self, t: Tensor, conditions: Conditions) -> Conditions:
        """The vector of time and content, beside the tokens."""
        tokens = conditions.degradation.expand(len(t), -1, -1)
        return Conditions(super().conditioning_vector(t, conditions.added), tokens)


class VectorBlock(Block):
    """A NAFNet block that uses the vector alone."""

    def forward(self, x: Tensor, vector: Conditions) -> Tensor:  # type: ignore[override]
        """Features (b, channels, h, w), from such features and the vector."""
        return super().forward(x, vector.added)  # type: ignore[arg-type]


@register_restorer("nafnet-concatenation")
class ConcatenationNAFNet(ConditionalNAFNet):
    """The lab's NAFNet with the degradation as constant maps that are concatenated to its input."""

    block = VectorBlock

    def __init__(self, *, embed_dim: int, conditioning_dim: int = 128, width: int = 32, **others):
        super().__init__(
            embed_dim=embed_dim, conditioning_dim=conditioning_dim, width=width, **others
        )
        self.degradation[-1] = nn.Linear(conditioning_dim, CHANNELS, bias=False)
        self.intro = nn.Conv2d(24 + CHANNELS, width, 3, padding=1)

    def prepare(self, content: Tensor | None, degradation: Tensor | None) -> Conditions:  # type: ignore[override]
        """The content's part of the vector, and the channels of the degradation (b, n)."""
        if degradation is None:
            weight = self.degradation[0].weight
            degradation = weight.new_zeros(1 if content is None else len(content), weight.shape[1])
        return Conditions(super().prepare(content, None), self.degradation(degradation))

    def conditioning_vector(self, t: Tensor, conditions: Conditions) -> Conditions:
        """The vector of time and content, beside the channels."""
        channels = conditions.degradation.expand(len(t), -1)
        return Conditions(super().conditioning_vector(t, conditions.added), channels)

    def first_features(self, x: Tensor, vector: Conditions) -> Tensor:
        """The first features, of the pixels and the maps."""
        maps = vector.degradation[:, :, None, None].expand(-1, -1, *x.shape[-2:]).to(x.dtype)
        x = torch.cat([x, maps], 1).contiguous(memory_format=torch.channels_last)
        return self.intro(x)
