"""DA-CLIP: a frozen CLIP image tower and its controller, a trainable copy that corrects it.

From a degraded image the controller predicts the degradation embedding, and adds a correction behind every block of the
frozen tower, whose output becomes the embedding of the clean image (the content embedding). The corrections pass
through linear layers that start at zero, so that before training the content embedding equals CLIP's exactly.

Luo et al., *Controlling Vision-Language Models for Multi-Task Image Restoration* (2310.01018), section 3.1, figure 2.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daclip_lab.models.clip import Clip, project, tokens_of


class Embeddings(NamedTuple):
    """DA-CLIP's output for a batch: two (b, d) tensors, whose rows have unit norm unless `normalize=False`."""

    content: Tensor
    degradation: Tensor

    def rescaled_like(self, features: "Embeddings") -> "Embeddings":
        """Each row rescaled to the norm of the matching row of `features`, two (b, d) tensors."""
        pairs = zip(self, features, strict=True)
        return Embeddings(*(own * other.norm(dim=1, keepdim=True) for own, other in pairs))


class Pooling(nn.Module):
    r"""Pools the degradation features of an image's views into one embedding, by a learned softmax over the views.

    $$e_d \propto \sum_k w_k \frac{f_k}{\|f_k\|}, \qquad w = \mathrm{softmax}_k(\langle a, f_k \rangle + b_k)$$

    with $b_k$ a learned number for the view that is the whole image, resized, and 0 for the others. A view that shows
    the degradation can so outweigh many that do not. a and b start at zero: the plain mean. The paper has one view.
    """

    def __init__(self, embed_dim: int):
        super().__init__()
        self.score = nn.Parameter(torch.zeros(embed_dim))
        self.whole = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor, *, whole_first: bool = True) -> Tensor:
        """Embeddings (..., d) of length 1, from features (..., views, d) as the controller returns them.

        `whole_first`: the first view is the whole image, resized.
        """
        features = features.float()
        scores = features @ self.score.float()
        if whole_first:
            scores = torch.cat([scores[..., :1] + self.whole, scores[..., 1:]], dim=-1)
        directions = F.normalize(features, dim=-1)
        return F.normalize((scores.softmax(-1)[..., None] * directions).sum(-2), dim=-1)


class Controller(nn.Module):
    """A trainable copy of a CLIP image tower; each block also feeds a linear layer that starts at zero.

    `visual` is the image tower, of width w, with embeddings of length d. `pooling` is not the paper's.
    """

    def __init__(self, visual: nn.Module):
        super().__init__()
        # Copying the module copies every tensor under its own name. (The authors' code pairs two lists of parameters by
        # position instead, which puts ln_post into the first zero layer.)
        self.visual = copy.deepcopy(visual).requires_grad_(True)
        width = visual.ln_pre.normalized_shape[0]
        # Random initial values would advance the global random state for nothing.
        self.zeros = nn.ModuleList(
            nn.utils.skip_init(nn.Linear, width, width) for _ in self.visual.transformer.resblocks
        )
        for parameter in self.zeros.parameters():
            nn.init.zeros_(parameter)
        self.pooling = Pooling(visual.proj.shape[1])

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The degradation feature (b, d) of normalised images (b, 3, s, s), and a control (b, tokens, w) per block."""
        tokens = tokens_of(self.visual, images)
        controls = []
        for block, zero in zip(self.visual.transformer.resblocks, self.zeros, strict=True):
            tokens = block(tokens)
            controls.append(zero(tokens))
        return project(self.visual, tokens), controls


class DaCLIP(nn.Module):
    """The degradation-aware CLIP: equals the CLIP it is built on exactly until its controller is trained.

    Only `controller` and `logit_scale` are trainable; `clip`, which is not copied, is frozen. A batch norm in CLIP's
    front end keeps its statistics, its copy in the controller learns its own.
    """

    def __init__(self, clip: Clip):
        super().__init__()
        self.clip = clip.requires_grad_(False).eval()
        self.controller = Controller(clip.visual)
        # A trainable copy of CLIP's log inverse temperature, as in the paper; it hardly moves.
        self.logit_scale = nn.Parameter(clip.model.logit_scale.detach().clone())

    def train(self, mode: bool = True) -> "DaCLIP":
        """Set the mode of the controller; the frozen CLIP stays in evaluation mode."""
        super().train(mode)
        self.clip.eval()
        return self

    @property
    def scale(self) -> Tensor:
        """The inverse temperature that multiplies cosines: a scalar."""
        return self.logit_scale.exp()

    def encode_image(self, images: Tensor, *, normalize: bool = True) -> Embeddings:
        r"""Content and degradation embeddings (b, d) of images (b, 3, s, s) in [0, 1] at CLIP's size.

        With $c_i$ the control of the controller's block i of n, the frozen tower's block i computes
        $h_i = \mathrm{block}_i(h_{i-1}) + c_{n+1-i}$: the control of the controller's *last* block enters behind the
        *first* block of the frozen tower, and so on backwards.

        Without `normalize` the embeddings keep the norms of CLIP's projection, as the paper's restorer expects.
        """
        images = self.clip.normalize(images)
        degradation, controls = self.controller(images)
        visual = self.clip.visual
        tokens = tokens_of(visual, images)
        for block, control in zip(visual.transformer.resblocks, reversed(controls), strict=True):
            tokens = block(tokens) + control
        features = Embeddings(project(visual, tokens).float(), degradation.float())
        return Embeddings(*(F.normalize(f, dim=-1) for f in features)) if normalize else features

    def encode_degradation(self, images: Tensor, *, normalize: bool = True) -> Tensor:
        """The degradation embeddings (b, d) of `encode_image`, without running the frozen tower."""
        degradation = self.controller(self.clip.normalize(images))[0].float()
        return F.normalize(degradation, dim=-1) if normalize else degradation

    def encode_text(self, texts: list[str]) -> Tensor:
        """Text embeddings (b, d) of length 1, by the frozen text tower."""
        return self.clip.encode_text(texts)
