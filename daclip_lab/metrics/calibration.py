r"""Calibration of probabilities: of all images classified with 80 % confidence, eight in ten should be right.

One number, the temperature T in $\mathrm{softmax}(z / T)$, is fitted on photos that no training used (Guo et al., *On
Calibration of Modern Neural Networks*, 1706.04599, section 4.2). It changes no classification, only the confidence.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

BINS = 15


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature at which the logits (n, k) have the least cross-entropy to the labels (n,)."""
    # A copy: tensors made in inference mode cannot be differentiated through.
    logits, labels = logits.detach().clone(), labels.to(logits.device)
    log_temperature = torch.zeros((), device=logits.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(logits / log_temperature.exp(), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    return log_temperature.exp().item()


def calibration_bins(
    confidence: np.ndarray, correct: np.ndarray, bins: int = BINS
) -> "pd.DataFrame":
    """Confidence and accuracy in equal bins of confidence: the points of a reliability diagram.

    Args:
        confidence: (n,) the probability of the predicted class, in [0, 1].
        correct: (n,) whether the prediction is right.

    Columns: `confidence` and `accuracy` (means in the bin), and `n`. Empty bins are left out.
    """
    confidence = np.asarray(confidence, float)
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    table = pd.DataFrame(
        {"confidence": confidence, "accuracy": np.asarray(correct, float), "bin": which}
    )
    found = table.groupby("bin").agg(
        confidence=("confidence", "mean"), accuracy=("accuracy", "mean"), n=("accuracy", "size")
    )
    return found.reset_index(drop=True)


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int = BINS
) -> float:
    r"""The mean gap of the bins of `calibration_bins`, weighted by their sizes (1706.04599, equation 3).

    $\mathrm{ECE} = \sum_b \frac{n_b}{n} |\mathrm{acc}_b - \mathrm{conf}_b|$, in [0, 1].
    """
    table = calibration_bins(confidence, correct, bins)
    return float((table.n / table.n.sum() * (table.accuracy - table.confidence).abs()).sum())
