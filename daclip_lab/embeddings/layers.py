"""Block-wise analysis of DA-CLIP's two image towers: probes, alignment with the clean image, and injected corrections.

Both towers have the same blocks. The controller's last block feeds CLIP's first, and so on backwards (2310.01018,
figure 2). Blocks are numbered from 1, in the order in which an image passes them.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.embeddings.probes import predict_labels
from daclip_lab.errors import InputError
from daclip_lab.metrics.bootstrap import bootstrap_interval, check_sample
from daclip_lab.models.clip import tokens_of
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.pipeline.running import running

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


class BlockFeatures(NamedTuple):
    """Pooled block outputs of n images; those of each tower are (n, blocks, 2, width), the third axis over `TOKENS`."""

    controller: np.ndarray
    clip: np.ndarray
    controlled: np.ndarray
    injected: np.ndarray
    """(n, blocks), in the order of CLIP's blocks: the norm of a correction divided by the norm of the tokens that it is
    added to (mean over tokens)."""

    def select(self, which: np.ndarray) -> "BlockFeatures":
        """The features of some images: a mask (n,), or numbers of images."""
        return BlockFeatures(*(values[which] for values in self))


@torch.inference_mode()
def block_features(daclip: DaCLIP, images: Tensor, batch: int = 64) -> BlockFeatures:
    """The pooled outputs of all blocks for images (n, 3, s, s) in [0, 1] at CLIP's input size, `batch` at a time.

    Raises InputError for images of another shape, and where an output is not finite.
    """
    size = daclip.clip.config.image_size
    if images.dim() != 4 or images.shape[1:] != (3, size, size) or not len(images):
        raise InputError(f"images of shape {tuple(images.shape)}: expected (n, 3, {size}, {size})")
    parts = []
    for chunk in images.split(batch):
        with running(daclip):
            outputs = block_outputs(daclip, chunk)
        pooled = [
            torch.stack([torch.stack([x[:, 0], x[:, 1:].mean(1)], 1) for x in blocks], 1)
            for blocks in (outputs.controller, outputs.clip, outputs.controlled)
        ]
        shares = [
            (added.norm(dim=-1) / (tokens - added).norm(dim=-1)).mean(1)
            for tokens, added in zip(outputs.controlled, outputs.injected, strict=True)
        ]
        parts.append(
            [values.cpu().double().numpy() for values in (*pooled, torch.stack(shares, 1))]
        )
    features = BlockFeatures(*map(np.concatenate, zip(*parts, strict=True)))
    for name, values in features._asdict().items():
        if not np.isfinite(values).all():
            raise InputError(f"{name}: the output of a block is not finite")
    return features


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

    Raises InputError for other numbers of labels or photos, InsufficientDataError as `probes.probe_accuracy` does.
    """
    labels, photos = _per_image(features, labels), _per_image(features, photos)

    def measure(vectors: np.ndarray) -> dict[str, float]:
        correct = predict_labels(vectors, labels, photos, probe=probe) == labels
        return _with_interval("accuracy", correct.astype(float), photos)

    return _by_block({tower: getattr(features, tower) for tower in TOWERS}, measure)


def clean_cosine_by_block(
    degraded: BlockFeatures, clean: BlockFeatures, photos: Collection[str]
) -> "pd.DataFrame":
    r"""How close degraded images are to their clean partners at every block, without and with the corrections.

    $\cos(f - \bar c, c - \bar c)$ with f a degraded image's features, c its clean partner's in CLIP alone, and
    $\bar c$ the mean over clean images: without centring, all images are similar inside a tower. Image k of `degraded`
    is the partner of image k of `clean`. Returns a row for the towers "clip" and "controlled", each kind of token and
    block: `cosine`, and its 95 % interval over photos, `low` and `high`.

    Raises InputError for different shapes, InsufficientDataError for fewer than 10 images or a single photo.
    """
    photos = _per_image(degraded, photos)
    check_sample(photos, "images")
    if clean.clip.shape != degraded.clip.shape:
        raise InputError(
            f"features of {len(degraded.clip)} degraded and {len(clean.clip)} clean images of one network: "
            "expected equal numbers"
        )
    centre = clean.clip.mean(0)
    towers = {}
    for tower in ("clip", "controlled"):
        own, other = (torch.from_numpy(x - centre) for x in (getattr(degraded, tower), clean.clip))
        towers[tower] = F.cosine_similarity(own, other, dim=-1).numpy()
    return _by_block(towers, lambda cosines: _with_interval("cosine", cosines, photos))


def injection_by_block(
    features: BlockFeatures, labels: Collection[str], photos: Collection[str]
) -> "pd.DataFrame":
    """The relative norm of the correction after every block of CLIP, per label.

    Returns a row for each label and block: `from_block` of the controller, `share` (see `BlockFeatures.injected`), and
    its 95 % interval over photos, `low` and `high`; NaN for a label with a single photo.
    """
    labels, photos = _per_image(features, labels), _per_image(features, photos)
    blocks = features.injected.shape[1]
    rows = [
        {"label": label, "block": block, "from_block": blocks + 1 - block}
        | _with_interval("share", shares[labels == label], photos[labels == label])
        for label in dict.fromkeys(labels)
        for block, shares in enumerate(features.injected.T, start=1)
    ]
    return pd.DataFrame(rows)


def _per_image(features: BlockFeatures, values: Collection[str]) -> np.ndarray:
    """The values as an array. Raises InputError unless there is one for each image."""
    values, n = np.asarray(values), len(features.injected)
    if values.shape != (n,):
        raise InputError(
            f"labels or photos of shape {values.shape} for {n} images: expected ({n},)"
        )
    return values


def _with_interval(name: str, values: np.ndarray, photos: np.ndarray) -> dict[str, float]:
    value, low, high = bootstrap_interval(values, photos)
    if len(set(photos)) < 2:  # nothing to resample
        low = high = float("nan")
    return {name: value, "low": low, "high": high}


def _by_block(
    towers: dict[str, np.ndarray], measure: Callable[[np.ndarray], dict[str, float]]
) -> "pd.DataFrame":
    """A row for every tower, kind of token and block of arrays (n, blocks, 2, ...)."""
    rows = [
        {"tower": tower, "tokens": tokens, "block": block + 1, **measure(values[:, block, place])}
        for tower, values in towers.items()
        for place, tokens in enumerate(TOKENS)
        for block in range(values.shape[1])
    ]
    return pd.DataFrame(rows)
