"""Block-wise analysis of DA-CLIP's two image towers: probes, alignment with the clean image, and injected corrections.

Both towers have the same blocks. The controller's last block feeds CLIP's first, and so on backwards (2310.01018,
figure 2). Blocks are numbered from 1, in the order in which an image passes them.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.embeddings.probes import predict_labels
from daclip_lab.errors import InputError, InsufficientDataError
from daclip_lab.metrics.bootstrap import bootstrap_interval, check_sample
from daclip_lab.models.clip import tokens_of
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.pipeline.running import running

if TYPE_CHECKING:
    import pandas as pd

TOWERS = ("controller", "clip", "controlled")
"""The controller, CLIP's image tower alone, and the same tower with the controller's corrections."""
TOKENS = ("class", "patches")
"""How a block's output is pooled: its class token, which alone reaches the embedding, or the mean of its patches."""


class BlockOutputs(NamedTuple):
    """The output of each block for a batch: lists of (b, tokens, width), first block first."""

    controller: list[Tensor]
    clip: list[Tensor]
    controlled: list[Tensor]
    """With the correction that is added after the block."""
    injected: list[Tensor]
    """That correction: the output of a zero-initialised layer, the one of the last controller block first."""


def block_outputs(daclip: DaCLIP, images: Tensor) -> BlockOutputs:
    """The outputs of all blocks for images (b, 3, s, s) in [0, 1], at CLIP's input size, on the model's device.

    The steps are those of `DaCLIP.encode_image`: projected, the last `controlled` output is the content embedding, and
    the last `controller` output the degradation embedding.
    """
    visual, controller = daclip.clip.visual, daclip.controller
    images = daclip.clip.normalize(images.to(next(daclip.parameters()).device))
    outputs = BlockOutputs([], [], [], [])
    tokens, controls = tokens_of(controller.visual, images), []
    for block, zero in zip(controller.visual.transformer.resblocks, controller.zeros, strict=True):
        tokens = block(tokens)
        outputs.controller.append(tokens)
        controls.append(zero(tokens))
    alone = controlled = tokens_of(visual, images)
    for block, control in zip(visual.transformer.resblocks, reversed(controls), strict=True):
        alone, controlled = block(alone), block(controlled) + control
        outputs.clip.append(alone)
        outputs.controlled.append(controlled)
        outputs.injected.append(control)
    return outputs


@dataclass(frozen=True)
class BlockFeatures:
    """Pooled block outputs of n images. Raises InputError where a value is not finite."""

    pooled: dict[str, np.ndarray]
    """For each of `TOWERS`: (blocks, 2, n, width), the second axis over `TOKENS`."""
    injected: np.ndarray
    """(blocks, n), in the order of CLIP's blocks: the norm of a correction divided by the norm of the tokens that it is
    added to (mean over tokens)."""

    def __post_init__(self):
        for name, values in (*self.pooled.items(), ("injected", self.injected)):
            if not np.isfinite(values).all():
                raise InputError(f"{name}: the output of a block is not finite")

    def select(self, which: np.ndarray) -> "BlockFeatures":
        """The features of some images: a mask (n,), or numbers of images."""
        pooled = {tower: values[:, :, which] for tower, values in self.pooled.items()}
        return BlockFeatures(pooled, self.injected[:, which])


@torch.inference_mode()
def block_features(daclip: DaCLIP, images: Tensor, batch: int = 64) -> BlockFeatures:
    """The pooled outputs of all blocks for images (n, 3, s, s) in [0, 1] at CLIP's input size, `batch` at a time.

    Raises InputError for images of another shape.
    """
    size = daclip.clip.config.image_size
    if images.dim() != 4 or images.shape[1:] != (3, size, size) or not len(images):
        raise InputError(f"images of shape {tuple(images.shape)}: expected (n, 3, {size}, {size})")
    pooled: dict[str, list[Tensor]] = {tower: [] for tower in TOWERS}
    injected = []
    for chunk in images.split(batch):
        with running(daclip):
            outputs = block_outputs(daclip, chunk)
        for tower in TOWERS:
            blocks = [torch.stack([x[:, 0], x[:, 1:].mean(1)]) for x in getattr(outputs, tower)]
            pooled[tower].append(torch.stack(blocks).cpu())
        shares = [
            (added.norm(dim=-1) / (tokens - added).norm(dim=-1)).mean(1)
            for tokens, added in zip(outputs.controlled, outputs.injected, strict=True)
        ]
        injected.append(torch.stack(shares).cpu())
    return BlockFeatures(
        {tower: torch.cat(parts, dim=2).double().numpy() for tower, parts in pooled.items()},
        torch.cat(injected, dim=1).double().numpy(),
    )


def probe_by_block(
    features: BlockFeatures,
    labels: Collection[str],
    photos: Collection[str],
    *,
    probe: str = "linear",
) -> "pd.DataFrame":
    """The accuracy of a probe for labels (n,), such as the degradation, on the output of every block.

    The probe is that of `probes.predict_labels`, tested on photos (n,) that it was not trained on. Returns a row for
    each tower, kind of token and block: `accuracy`, and its 95 % interval over photos, `low` and `high`.

    Raises InputError for other numbers of labels or photos, InsufficientDataError for fewer than 2 of either.
    """
    labels, photos = _per_image(features, labels), _per_image(features, photos)

    def measure(vectors: np.ndarray) -> dict[str, float]:
        correct = predict_labels(vectors, labels, photos, probe=probe) == labels
        return _with_interval("accuracy", correct.astype(float), photos)

    return _by_block({tower: features.pooled[tower] for tower in TOWERS}, measure)


def clean_cosine_by_block(
    degraded: BlockFeatures, clean: BlockFeatures, photos: Collection[str]
) -> "pd.DataFrame":
    r"""How close degraded images are to their clean partners at every block, without and with the corrections.

    $\cos(f - \bar c, c - \bar c)$ with f a degraded image's features, c its clean partner's in CLIP alone, and
    $\bar c$ the mean over clean images: without centring, all images are similar inside a tower. The images of
    both are partners. Returns a row for the towers "clip" and "controlled", each kind of token and block: `cosine`,
    and its 95 % interval over photos, `low` and `high`.

    Raises InputError for different shapes, InsufficientDataError for fewer than 10 images or a single photo.
    """
    photos = _per_image(degraded, photos)
    check_sample(photos, "images")
    target = clean.pooled["clip"]
    if target.shape != degraded.pooled["clip"].shape:
        raise InputError(
            f"features of {degraded.injected.shape[1]} degraded and {clean.injected.shape[1]} clean images "
            "of one network: expected equal numbers"
        )
    centre = target.mean(2, keepdims=True)
    towers = {}
    for tower in ("clip", "controlled"):
        own, other = (torch.from_numpy(x - centre) for x in (degraded.pooled[tower], target))
        towers[tower] = F.cosine_similarity(own, other, dim=-1).numpy()
    return _by_block(towers, lambda cosines: _with_interval("cosine", cosines, photos))


def injection_by_block(
    features: BlockFeatures, labels: Collection[str], photos: Collection[str]
) -> "pd.DataFrame":
    """The relative norm of the correction after every block of CLIP, per label.

    Returns a row for each label and block: `from_block` of the controller, `share` (see `BlockFeatures.injected`), and
    its 95 % interval over photos, `low` and `high`; NaN for a label with a single photo.
    """
    import pandas as pd

    labels, photos = _per_image(features, labels, least=1), _per_image(features, photos, least=1)
    blocks = len(features.injected)
    rows = [
        {"label": label, "block": block, "from_block": blocks + 1 - block}
        | _with_interval("share", shares[labels == label], photos[labels == label])
        for label in dict.fromkeys(labels)
        for block, shares in enumerate(features.injected, start=1)
    ]
    return pd.DataFrame(rows)


def _per_image(features: BlockFeatures, values: Collection[str], least: int = 2) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != features.injected.shape[1:]:
        raise InputError(
            f"labels or photos of shape {values.shape} for {features.injected.shape[1]} images: expected one for each"
        )
    if len(set(values)) < least:
        found = f"all images have {str(values[0])!r}" if len(values) else "no image has a label"
        raise InsufficientDataError(f"{found}: at least {least} different ones needed")
    return values


def _with_interval(name: str, values: np.ndarray, photos: np.ndarray) -> dict[str, float]:
    value, low, high = bootstrap_interval(values, photos)
    if len(set(photos)) < 2:  # nothing to resample
        low = high = float("nan")
    return {name: value, "low": low, "high": high}


def _by_block(
    towers: dict[str, np.ndarray], measure: Callable[[np.ndarray], dict[str, float]]
) -> "pd.DataFrame":
    """A row for every tower, kind of token and block of arrays (blocks, 2, ...)."""
    import pandas as pd

    rows = [
        {"tower": tower, "tokens": tokens, "block": block, **measure(values)}
        for tower, blocks in towers.items()
        for place, tokens in enumerate(TOKENS)
        for block, values in enumerate(blocks[:, place], start=1)
    ]
    return pd.DataFrame(rows)
