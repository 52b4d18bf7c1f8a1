"""The naive baseline: the same networks and weights without optimisations.

Attention stores its matrix of all pixels by all pixels, cross-attention is computed to its one token at every pixel,
the terms that depend on the embeddings alone are computed again at every call, and everything is in float32.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from daclip_lab.models.unet import HEAD, ConditionalUNet, Conditions, SpatialTransformer


class RecomputedConditions(nn.Module):
    """A restorer that computes the embeddings' terms again at every call."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net, self.prediction_type = net, net.prediction_type

    def prepare(self, *embeddings: Tensor | None) -> tuple:
        """Nothing is prepared: the embeddings themselves are handed to every call."""
        return embeddings

    def forward(self, state: Tensor, degraded: Tensor, t: Tensor, embeddings: tuple) -> Tensor:
        return self.net(state, degraded, t, self.net.prepare(*embeddings))


class NaiveUNet(RecomputedConditions):
    """The paper's U-Net with every attention written out; it changes the U-Net that it is given."""

    def __init__(self, net: ConditionalUNet):
        super().__init__(net)
        for residual in (net.downs[-1][2], net.mid_attn, net.ups[0][2]):
            residual.fn["fn"] = Attention(residual.fn["fn"])

    def prepare(self, content: Tensor, degradation: Tensor) -> tuple:
        return content, degradation

    def forward(self, state: Tensor, degraded: Tensor, t: Tensor, embeddings: tuple) -> Tensor:
        content, degradation = embeddings
        shares = self.net.text_mlp(degradation).softmax(1)
        prompt = self.net.prompt_mlp(shares * self.net.prompt)
        return self.net(state, degraded, t, Conditions(prompt, content, content, content))


class Attention(nn.Module):
    """A `SpatialTransformer` in which every pixel attends to every pixel, then to the one token of the content."""

    def __init__(self, transformer: SpatialTransformer):
        super().__init__()
        self.inner = transformer

    def forward(self, x: Tensor, content: Tensor) -> Tensor:
        inner, block = self.inner, self.inner.transformer_blocks[0]
        tokens = inner.proj_in(inner.norm(x)).permute(0, 2, 3, 1).flatten(1, 2)
        own = block["norm1"](tokens)
        tokens = tokens + attend(block["attn1"], own, own)
        tokens = tokens + attend(block["attn2"], block["norm2"](tokens), content[:, None])
        expand, _, contract = block["ff"]["net"]
        values, gates = expand["proj"](block["norm3"](tokens)).chunk(2, -1)
        tokens = tokens + contract(values * F.gelu(gates))
        return x + inner.proj_out(tokens.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2))


def attend(parts: nn.ModuleDict, queries: Tensor, context: Tensor) -> Tensor:
    """Multi-head attention of tokens (b, n, width) to tokens (b, m, c), with the full matrix (b, heads, n, m)."""
    projected = parts["to_q"](queries), parts["to_k"](context), parts["to_v"](context)
    q, k, v = (part.unflatten(2, (-1, HEAD)).transpose(1, 2) for part in projected)
    weights = (q @ k.mT / HEAD**0.5).softmax(-1)
    return parts["to_out"]((weights @ v).transpose(1, 2).flatten(2))


def matrix_gigabytes(size: int, width: int = 512) -> float:
    """Memory of one attention matrix of the U-Net's widest block, for an image of `size` x `size` pixels, in GB."""
    return width // HEAD * (size // 8) ** 4 * 4 / 1e9
