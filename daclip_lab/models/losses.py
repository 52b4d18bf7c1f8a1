r"""Contrastive losses, and the two values without which a loss curve cannot be read: chance and floor.

InfoNCE asks every image to find its own text among the batch, and every text its image. When several rows of a batch
share one text (ten degradation words, hundreds of images) the one-hot question has no answer: the loss cannot fall
below the log of the number of equal rows, which users of the authors' code take for a failure to converge. The
multi-positive form asks for *any* row with the same meaning, so that its floor is zero.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def info_nce(image: Tensor, text: Tensor, scale: Tensor | float) -> Tensor:
    """The symmetric one-hot contrastive loss of CLIP and of the paper (DA-CLIP, equation 3).

    Args:
        image, text: (b, d) embeddings of the same rows, of length 1.
        scale: the inverse temperature that multiplies cosines.
    """
    logits = _logits(image, text, scale)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def multi_positive_info_nce(
    image: Tensor, text: Tensor, scale: Tensor | float, labels: Tensor
) -> Tensor:
    """The symmetric contrastive loss in which every row with the same label counts as a right answer.

    For each row it is minus the log of the probability given to all rows that share its label (b,). Unlike an average
    over positives it lets images of one class differ: their severity need not be unlearned.
    """
    logits = _logits(image, text, scale)
    wrong = labels[:, None] != labels[None, :]

    def one_way(logits: Tensor) -> Tensor:
        right = logits.masked_fill(wrong, -math.inf)
        return (logits.logsumexp(1) - right.logsumexp(1)).mean()

    return (one_way(logits) + one_way(logits.T)) / 2


def chance(labels: Tensor, *, multi_positive: bool) -> float:
    """The loss of embeddings that say nothing: every row of the batch equally likely."""
    counts = _counts(labels)
    if not multi_positive:
        return math.log(len(labels))
    return (math.log(len(labels)) - counts.log().mean()).item()


def floor(labels: Tensor, *, multi_positive: bool) -> float:
    """The lowest loss that perfect embeddings can reach when rows with equal labels carry equal texts."""
    return 0.0 if multi_positive else _counts(labels).log().mean().item()


def _logits(image: Tensor, text: Tensor, scale: Tensor | float) -> Tensor:
    # In float32 whatever the networks run in: differences of scaled cosines drown in bfloat16.
    with torch.autocast(image.device.type, enabled=False):
        return scale * image.float() @ text.float().T


def _counts(labels: Tensor) -> Tensor:
    """For each row, how many rows share its label."""
    return (labels[:, None] == labels[None, :]).sum(1).double()
