"""DA-CLIP: a frozen CLIP image tower and a trainable copy of it that corrects what the frozen one sees.

From a degraded image the copy, called the controller, reads what is wrong (the degradation embedding) and hands a
correction to every block of the frozen tower, whose output becomes the embedding of the clean image (the content
embedding). The corrections pass through linear layers that start at zero, so that training starts from CLIP exactly.

Luo et al., *Controlling Vision-Language Models for Multi-Task Image Restoration* (2310.01018), section 3.1, figure 2.
"""

import copy
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from daclip_lab.models.clip import Clip


class Embeddings(NamedTuple):
    """What DA-CLIP says of a batch of images: two (b, d) tensors, of length 1 unless they are asked for otherwise."""

    content: Tensor
    degradation: Tensor

    def rescaled_like(self, features: "Embeddings") -> "Embeddings":
        """These directions, each row as long as that of some features (b, d)."""
        pairs = zip(self, features, strict=True)
        return Embeddings(*(own * other.norm(dim=1, keepdim=True) for own, other in pairs))


class Stem(nn.Module):
    """CLIP's linear patch embedding, and beside it a few convolutions whose last one starts at zero.

    A linear map of a whole patch learns slowly what tells degradations apart: noise, edges, the borders of JPEG blocks
    at any place. Convolutions see them at once (Xiao et al., *Early Convolutions Help Transformers See Better*,
    2106.14881). The paper's controller has none.

    Args:
        patch: the copy of CLIP's patch embedding; its patches are 8 pixels wide.
        channels: channels of the first convolution; they double with each halving of the resolution.
    """

    def __init__(self, patch: nn.Conv2d, channels: int):
        super().__init__()
        c = channels
        self.patch = patch
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, c, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(c, c, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(c, 2 * c, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(2 * c, 4 * c, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(4 * c, patch.out_channels, 1),
        )
        nn.init.zeros_(self.convolutions[-1].weight)
        nn.init.zeros_(self.convolutions[-1].bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.patch(images) + self.convolutions(images)


class Controller(nn.Module):
    """A trainable copy of a CLIP image tower; each of its blocks also feeds a linear layer that starts at zero."""

    def __init__(self, visual: nn.Module, stem: int = 0):
        super().__init__()
        # Copying the module copies every tensor under its own name. (The authors' code pairs two lists of parameters by
        # position instead, which puts ln_post into the first zero layer.)
        self.visual = copy.deepcopy(visual).requires_grad_(True)
        if stem:
            self.visual.conv1 = Stem(self.visual.conv1, stem)
        width = visual.ln_pre.normalized_shape[0]
        self.zeros = nn.ModuleList(
            # Without drawing initial values, which would move the global random state for nothing.
            nn.utils.skip_init(nn.Linear, width, width)
            for _ in self.visual.transformer.resblocks
        )
        for layer in self.zeros:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The degradation feature (b, d) of normalised images and one control (b, tokens, width) per block."""
        tokens = self.visual._embeds(images)
        controls = []
        for block, zero in zip(self.visual.transformer.resblocks, self.zeros, strict=True):
            tokens = block(tokens)
            controls.append(zero(tokens))
        return project(self.visual, tokens), controls


class DaCLIP(nn.Module):
    """The degradation-aware CLIP: equals the CLIP it is built on exactly until its controller is trained.

    Only `controller` and `logit_scale` are trainable; `clip` is frozen. `stem` gives the controller convolutions of so
    many channels beside its patch embedding (see `Stem`); 0, as in the paper, gives none.
    """

    def __init__(self, clip: Clip, stem: int = 0):
        super().__init__()
        self.clip = clip.requires_grad_(False)
        self.controller = Controller(clip.visual, stem)
        # The paper's own temperature, copied from CLIP; it hardly moves in training.
        self.logit_scale = nn.Parameter(clip.model.logit_scale.detach().clone())

    @property
    def scale(self) -> Tensor:
        """The inverse temperature that multiplies cosines."""
        return self.logit_scale.exp()

    def encode_image(self, images: Tensor, *, normalize: bool = True) -> Embeddings:
        """Content and degradation embeddings of images (b, 3, s, s) in [0, 1] at CLIP's size.

        The control of the controller's *last* block enters after the *first* block of the frozen tower, and so on
        backwards: the deeper the controller has seen, the earlier it may correct.

        Without `normalize` they keep the lengths that CLIP's projection gave them: so the paper's restorer wants them.
        """
        images = self.clip.normalize(images)
        degradation, controls = self.controller(images)
        visual = self.clip.visual
        tokens = visual._embeds(images)
        for block, control in zip(visual.transformer.resblocks, reversed(controls), strict=True):
            tokens = block(tokens) + control
        features = Embeddings(project(visual, tokens).float(), degradation.float())
        return Embeddings(*(F.normalize(f, dim=-1) for f in features)) if normalize else features

    def encode_degradation(self, images: Tensor) -> Tensor:
        """The degradation embeddings alone: the controller's own output, for which the frozen tower is not needed."""
        degradation, _ = self.controller(self.clip.normalize(images))
        return F.normalize(degradation.float(), dim=-1)

    def encode_text(self, texts: list[str]) -> Tensor:
        """Text embeddings (b, d) of length 1, by the frozen text tower."""
        return self.clip.encode_text(texts)


def project(visual: nn.Module, tokens: Tensor) -> Tensor:
    """What an open_clip image tower makes of its last tokens: the class token, normalised and projected."""
    pooled, _ = visual._pool(tokens)
    return pooled @ visual.proj
