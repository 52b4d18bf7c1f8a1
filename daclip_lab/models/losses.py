r"""Contrastive losses, and the two values that a loss curve is read against: chance and floor.

InfoNCE classifies the text of each image among the texts of the batch, and the image of each text among its images.
Where several rows of a batch share one text (ten degradation words, hundreds of images) the one-hot target is
ambiguous: the loss cannot fall below the log of the number of equal rows, which looks like a failure to converge. The
multi-positive form accepts *any* row with the same label, so that its floor is zero.

Notation: $s_{ij} = \tau\,x_i^\top y_j$ are the scaled cosines of image embeddings x and text embeddings y (b, d), and
$P_i = \{j : \text{label}_j = \text{label}_i\}$.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def info_nce(image: Tensor, text: Tensor, scale: Tensor | float) -> Tensor:
    r"""The symmetric one-hot contrastive loss of CLIP and of the paper (DA-CLIP, equation 3), in nats.

    $$L = -\frac{1}{2b}\sum_i \left(\ln\frac{e^{s_{ii}}}{\sum_j e^{s_{ij}}}
        + \ln\frac{e^{s_{ii}}}{\sum_j e^{s_{ji}}}\right)$$

    Args:
        image, text: (b, d) embeddings of the same rows, of length 1.
        scale: the inverse temperature $\tau$.

    Returns a scalar, in float32.
    """
    logits = _logits(image, text, scale)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def multi_positive_info_nce(
    image: Tensor, text: Tensor, scale: Tensor | float, labels: Tensor
) -> Tensor:
    r"""The symmetric contrastive loss in which every row with the same label is a positive, in nats.

    $$L = -\frac{1}{2b}\sum_i \left(\ln\frac{\sum_{j \in P_i} e^{s_{ij}}}{\sum_j e^{s_{ij}}}
        + \ln\frac{\sum_{j \in P_i} e^{s_{ji}}}{\sum_j e^{s_{ji}}}\right)$$

    Unlike an average over the positives it lets images of one class differ: their severity need not be unlearned.

    Args:
        image, text: (b, d) embeddings of the same rows, of length 1.
        scale: the inverse temperature $\tau$.
        labels: (b,) integers.

    Returns a scalar, in float32.
    """
    logits = _logits(image, text, scale)
    negative = labels[:, None] != labels[None, :]

    def one_way(logits: Tensor) -> Tensor:
        positive = logits.masked_fill(negative, -math.inf)
        return (logits.logsumexp(1) - positive.logsumexp(1)).mean()

    return (one_way(logits) + one_way(logits.T)) / 2


def label_loss(image: Tensor, words: Tensor, scale: Tensor | float, shares: Tensor) -> Tensor:
    r"""The cross-entropy of images among the words of all labels, for images with one label or several, in nats.

    $$L = -\frac{1}{b}\sum_i \sum_k p_{ik} \ln\frac{e^{s_{ik}}}{\sum_l e^{s_{il}}}$$

    Args:
        image: (b, d) embeddings of length 1.
        words: (k, d) embeddings of one text for each label, of length 1.
        scale: the inverse temperature $\tau$.
        shares: (b, k), of each label in each image; rows add up to 1.

    Returns a scalar, in float32.
    """
    return -(shares * _logits(image, words, scale).log_softmax(1)).sum(1).mean()


def chance(labels: Tensor, *, multi_positive: bool) -> float:
    r"""The loss of uninformative embeddings (uniform logits) for labels (b,), in nats.

    $\ln b$, and with `multi_positive` $\ln b$ minus the mean of $\ln|P_i|$.
    """
    if not multi_positive:
        return math.log(len(labels))
    return (math.log(len(labels)) - _counts(labels).log().mean()).item()


def floor(labels: Tensor, *, multi_positive: bool) -> float:
    r"""The lowest loss for labels (b,) where rows with equal labels carry equal texts, in nats.

    The mean of $\ln|P_i|$, and 0 with `multi_positive`.
    """
    return 0.0 if multi_positive else _counts(labels).log().mean().item()


def _logits(image: Tensor, text: Tensor, scale: Tensor | float) -> Tensor:
    # In float32 whatever the networks run in: differences of scaled cosines drown in bfloat16.
    with torch.autocast(image.device.type, enabled=False):
        return scale * image.float() @ text.float().T


def _counts(labels: Tensor) -> Tensor:
    """For each row, how many rows share its label."""
    return (labels[:, None] == labels[None, :]).sum(1).double()
