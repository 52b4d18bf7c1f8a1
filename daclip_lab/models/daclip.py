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

from daclip_lab.errors import InputError
from daclip_lab.models.clip import Clip, project, tokens_of


class Embeddings(NamedTuple):
    """DA-CLIP's output for a batch: two (b, d) tensors, whose rows have unit norm unless `normalize=False`."""

    content: Tensor
    degradation: Tensor

    def rescaled_like(self, features: "Embeddings") -> "Embeddings":
        """Each row rescaled to the norm of the matching row of `features`, two (b, d) tensors."""
        pairs = zip(self, features, strict=True)
        return Embeddings(*(own * other.norm(dim=1, keepdim=True) for own, other in pairs))


class Stem(nn.Module):
    r"""CLIP's linear patch embedding plus a small convolutional network whose last layer starts at zero.

    $$\mathrm{stem}(x) = W_\text{patch} * x + W_\text{out} * g(x), \qquad W_\text{out} = 0 \text{ at first}$$

    A linear map of a whole patch is slow to learn what distinguishes degradations: noise, edges, the borders of JPEG
    blocks at any position. Convolutions have it from the start (Xiao et al., *Early Convolutions Help Transformers See
    Better*, 2106.14881). The paper's controller has none.

    Args:
        patch: the copy of CLIP's patch embedding, with patches of p x p pixels. g halves the resolution log2(p) times.
        channels: channels after the first halving; each further one doubles them.

    Raises InputError where p is not a power of two.
    """

    def __init__(self, patch: nn.Conv2d, channels: int):
        super().__init__()
        halvings = patch.kernel_size[0].bit_length() - 1
        if halvings < 1 or patch.kernel_size != (2**halvings, 2**halvings):
            size = "x".join(map(str, patch.kernel_size))
            raise InputError(f"a stem needs patches of a power of two, not of {size} pixels")
        self.patch = patch
        layers = [nn.Conv2d(3, channels, 3, stride=2, padding=1), nn.GELU()]
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.GELU()]
        for _ in range(halvings - 1):
            layers += [nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1), nn.GELU()]
            channels *= 2
        self.convolutions = nn.Sequential(*layers, nn.Conv2d(channels, patch.out_channels, 1))
        for parameter in self.convolutions[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, images: Tensor) -> Tensor:
        """Patch features (b, width, h / p, w / p) of images (b, 3, h, w); pixels beyond whole patches are dropped."""
        patches = self.patch(images)
        rows, columns = patches.shape[-2:]
        return patches + self.convolutions(images)[..., :rows, :columns]


class Controller(nn.Module):
    """A trainable copy of a CLIP image tower; each block also feeds a linear layer that starts at zero.

    Args:
        visual: the image tower, width w, embeddings of length d.
        stem: channels of a `Stem` instead of the linear patch embedding; 0 for none.
    """

    def __init__(self, visual: nn.Module, stem: int = 0):
        super().__init__()
        # Copying the module copies every tensor under its own name. (The authors' code pairs two lists of parameters by
        # position instead, which puts ln_post into the first zero layer.)
        self.visual = copy.deepcopy(visual).requires_grad_(True)
        if stem:
            self.visual.conv1 = Stem(self.visual.conv1, stem)
        width = visual.ln_pre.normalized_shape[0]
        # Random initial values would advance the global random state for nothing.
        self.zeros = nn.ModuleList(
            nn.utils.skip_init(nn.Linear, width, width) for _ in self.visual.transformer.resblocks
        )
        for parameter in self.zeros.parameters():
            nn.init.zeros_(parameter)

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

    Only `controller` and `logit_scale` are trainable; `clip`, which is not copied, is frozen.

    Args:
        clip: the CLIP, with embeddings of length d.
        stem: channels of the controller's `Stem`; 0, as in the paper, for none. Raises InputError where the patches do
            not fit one.
    """

    def __init__(self, clip: Clip, stem: int = 0):
        super().__init__()
        self.clip = clip.requires_grad_(False)
        self.controller = Controller(clip.visual, stem)
        # A trainable copy of CLIP's log inverse temperature, as in the paper; it hardly moves.
        self.logit_scale = nn.Parameter(clip.model.logit_scale.detach().clone())

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

    def encode_degradation(self, images: Tensor) -> Tensor:
        """The degradation embeddings (b, d) of images (b, 3, s, s) in [0, 1], without running the frozen tower."""
        degradation, _ = self.controller(self.clip.normalize(images))
        return F.normalize(degradation.float(), dim=-1)

    def encode_text(self, texts: list[str]) -> Tensor:
        """Text embeddings (b, d) of length 1, by the frozen text tower."""
        return self.clip.encode_text(texts)


def build_daclip(clip: Clip, stem: int = 0, seed: int = 0) -> DaCLIP:
    """A DA-CLIP on a CLIP; `seed` decides the initial weights of its stem, everything else is copied or zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DaCLIP(clip, stem)
