"""Block by block: where a degradation becomes readable, where content is repaired, and how much is injected for it.

DA-CLIP has two towers of the same blocks. The controller's last block feeds the frozen tower's first, and so on
backwards (2310.01018, figure 2), so "the third block" must say of which tower. Blocks are counted from 1, in the order
in which an image passes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.embeddings.probes import read_labels, severity_fits
from daclip_lab.errors import InputError
from daclip_lab.metrics.bootstrap import bootstrap_interval, check_sample, estimate_statistic
from daclip_lab.models.daclip import DaCLIP

if TYPE_CHECKING:
    import pandas as pd

TOWERS = ("controller", "plain", "controlled")
"""The controller, the frozen tower left alone, and the frozen tower with the controller's corrections."""
TOKENS = ("class", "patches")
"""What stands for a block's output: its class token, which alone reaches the embedding, or the mean of its patches."""


class Blocks(NamedTuple):
    """What each block makes of a batch: lists of (b, tokens, width), the first block first."""

    controller: list[Tensor]
    plain: list[Tensor]
    controlled: list[Tensor]
    """With the correction that is added behind the block."""
    injected: list[Tensor]
    """That correction: the last controller block's zero layer comes first."""


def walk(daclip: DaCLIP, images: Tensor) -> Blocks:
    """Follow images (b, 3, s, s) in [0, 1], at CLIP's size, through both towers.

    The steps are those of `DaCLIP.encode_image`: projected, the last `controlled` tokens are the content embedding and
    the last `controller` tokens the degradation embedding.
    """
    images = daclip.clip.normalize(images)
    visual, controller = daclip.clip.visual, daclip.controller
    blocks = Blocks([], [], [], [])
    tokens, controls = controller.visual._embeds(images), []
    for block, zero in zip(controller.visual.transformer.resblocks, controller.zeros, strict=True):
        tokens = block(tokens)
        blocks.controller.append(tokens)
        controls.append(zero(tokens))
    plain = controlled = visual._embeds(images)
    for block, control in zip(visual.transformer.resblocks, reversed(controls), strict=True):
        plain, controlled = block(plain), block(controlled) + control
        blocks.plain.append(plain)
        blocks.controlled.append(controlled)
        blocks.injected.append(control)
    return blocks


@dataclass(frozen=True)
class Trace:
    """What is kept of the blocks' outputs for n images. Raises InputError where a value is not finite."""

    features: dict[str, np.ndarray]
    """For each of `TOWERS`: (blocks, 2, n, width), the second axis over `TOKENS`."""
    injected: np.ndarray
    """(blocks, n): the length of a correction, as a share of the length of the tokens that it is added to (mean over
    an image's tokens). In the order of the frozen tower's blocks."""

    def __post_init__(self):
        for name, values in (*self.features.items(), ("injected", self.injected)):
            if not np.isfinite(values).all():
                raise InputError(f"{name}: a block's output is not finite: wanted numbers only")

    @property
    def blocks(self) -> int:
        """Number of blocks of a tower."""
        return len(self.injected)

    def select(self, which: np.ndarray) -> "Trace":
        """The trace of some images only: a mask (n,) of truth values, or numbers of images."""
        features = {tower: values[:, :, which] for tower, values in self.features.items()}
        return Trace(features, self.injected[:, which])


@torch.inference_mode()
def trace(daclip: DaCLIP, images: Tensor, batch: int = 64) -> Trace:
    """The pooled outputs of all blocks for images (n, 3, s, s) in [0, 1] at CLIP's size, `batch` at a time."""
    size = daclip.clip.config.image_size
    if images.dim() != 4 or images.shape[1:] != (3, size, size) or not len(images):
        raise InputError(f"images of shape {tuple(images.shape)}: wanted (n, 3, {size}, {size})")
    pooled, shares = {tower: [] for tower in TOWERS}, []
    for chunk in images.split(batch):
        blocks = walk(daclip, chunk)
        for tower in TOWERS:
            pooled[tower].append(torch.stack([_pool(tokens) for tokens in getattr(blocks, tower)]))
        shares.append(
            torch.stack(
                [
                    (added.norm(dim=-1) / (tokens - added).norm(dim=-1)).mean(1)
                    for tokens, added in zip(blocks.controlled, blocks.injected, strict=True)
                ]
            )
        )
    return Trace(
        {tower: torch.cat(parts, dim=2).double().numpy() for tower, parts in pooled.items()},
        torch.cat(shares, dim=1).double().numpy(),
    )


def _pool(tokens: Tensor) -> Tensor:
    return torch.stack([tokens[:, 0], tokens[:, 1:].mean(1)])


def readability(
    traced: Trace, labels: Sequence[str], photos: Sequence[str], *, probe: str = "linear"
) -> "pd.DataFrame":
    """How well a probe reads labels, such as the degradation, from every block's output.

    The probe, "linear" or "knn", is that of `probes.probe_accuracy`: asked about photos that it never saw. Returns a
    row for each tower, kind of token and block: `accuracy`, and its 95 % interval over photos, `low` and `high`.

    Raises InputError for fewer than 2 labels or photos, or as many labels or photos as there are not images.
    """
    labels, photos = _checked(traced, labels), _checked(traced, photos)

    def row(vectors: np.ndarray) -> dict[str, float]:
        right = read_labels(vectors, labels, photos, probe=probe) == labels
        return _measured("accuracy", right.astype(float), photos)

    return _per_block({tower: traced.features[tower] for tower in TOWERS}, row)


def severity_readability(
    traced: Trace, labels: Sequence[str], severity: Sequence[float], photos: Sequence[str]
) -> "pd.DataFrame":
    """How well ridge regression reads the severity within each degradation from every block's output.

    The measure is the `overall` R² of `probes.severity_regression`. Returns a row for each tower, kind of token and
    block: `r2`, and its 95 % interval over photos, `low` and `high`.
    """
    labels, photos = _checked(traced, labels, least=1), _checked(traced, photos)
    severity = np.asarray(severity, float)

    def row(vectors: np.ndarray) -> dict[str, float]:
        fit, of = severity_fits(vectors, labels, severity, photos)["overall"]
        found = estimate_statistic(fit.r2, of)
        return {"r2": found.value, "low": found.low, "high": found.high}

    return _per_block({tower: traced.features[tower] for tower in TOWERS}, row)


def repair(degraded: Trace, clean: Trace, photos: Sequence[str]) -> "pd.DataFrame":
    """How near degraded images come to their clean partners at every block, without and with the corrections.

    The measure is the cosine to what the plain tower makes of the clean image, after the mean over all clean images is
    taken off: without that, all images look alike inside a tower. Rows of both traces are partners. Returns a row for
    "plain" and "controlled", each kind of token and block: `cosine`, `low`, `high` (95 %, over photos).

    Raises InputError for fewer than 10 images, or images of one photo.
    """
    photos = _checked(degraded, photos)
    check_sample(photos, "images")
    target = clean.features["plain"]
    if target.shape != degraded.features["plain"].shape:
        raise InputError(
            f"{degraded.injected.shape[1]} degraded and {clean.injected.shape[1]} clean images "
            "of one network: wanted as many"
        )
    centre = target.mean(2, keepdims=True)
    towers = {}
    for tower in ("plain", "controlled"):
        pair = (torch.from_numpy(x - centre) for x in (degraded.features[tower], target))
        towers[tower] = F.cosine_similarity(*pair, dim=-1).numpy()
    return _per_block(towers, lambda cosines: _measured("cosine", cosines, photos))


def injection(traced: Trace, labels: Sequence[str], photos: Sequence[str]) -> "pd.DataFrame":
    """How much is injected behind every block of the frozen tower, per label.

    Returns a row for each label and block: `from_block` of the controller, `share` (see `Trace.injected`), and its 95 %
    interval over photos, `low` and `high`; NaN for a label of one photo.
    """
    import pandas as pd

    labels, photos = _checked(traced, labels, least=1), _checked(traced, photos, least=1)
    rows = [
        {"label": label, "block": block, "from_block": traced.blocks + 1 - block}
        | _measured("share", shares[labels == label], photos[labels == label])
        for label in dict.fromkeys(labels)
        for block, shares in enumerate(traced.injected, start=1)
    ]
    return pd.DataFrame(rows)


def _checked(traced: Trace, known: Sequence[str], least: int = 2) -> np.ndarray:
    known = np.asarray(known)
    if known.shape != traced.injected.shape[1:]:
        raise InputError(
            f"labels or photos of shape {known.shape} for {traced.injected.shape[1]} images: wanted one for each"
        )
    if len(set(known)) < least:
        found = f"all images are of {str(known[0])!r}" if len(known) else "no image has a label"
        raise InputError(f"{found}: wanted at least {least} to tell apart")
    return known


def _measured(name: str, values: np.ndarray, photos: np.ndarray) -> dict[str, float]:
    value, low, high = bootstrap_interval(values, photos)
    if len(set(photos)) < 2:  # nothing to draw again
        low = high = float("nan")
    return {name: value, "low": low, "high": high}


def _per_block(towers: dict[str, np.ndarray], measure) -> "pd.DataFrame":
    """A table with a row for every tower, kind of token and block of (blocks, 2, ...) arrays."""
    import pandas as pd

    rows = [
        {"tower": tower, "tokens": tokens, "block": block, **measure(values)}
        for tower, blocks in towers.items()
        for place, tokens in enumerate(TOKENS)
        for block, values in enumerate(blocks[:, place], start=1)
    ]
    return pd.DataFrame(rows)
