"""Probabilities that mean what they say: of all answers given with 80 %, eight in ten should be right.

One number, the temperature that divides the logits, is fitted on photos that no training saw (Guo et al., *On
Calibration of Modern Neural Networks*, 1706.04599). It changes no answer, only how sure each is.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.data.photos import Photos
from daclip_lab.evaluation.protocol import Protocol, degraded_crops
from daclip_lab.pipeline.pipeline import Pipeline


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature at which the logits (n, k) make the labels (n,) most likely."""
    log_temperature = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(logits / log_temperature.exp(), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    return log_temperature.exp().item()


def calibrate(pipe: Pipeline, photos: Photos, *, crops: int = 4, seed: int = 0) -> float:
    """The temperature for a pipeline, fitted on degraded crops of photos that it was not trained on.

    The crops, severities and degradations are those of an evaluation with the same seed.
    """
    protocol = Protocol(crops=crops, seed=seed, crop=pipe.settings.clip.image_size)
    answers = pipe.settings.labels
    logits, labels = [], []
    for index in range(len(photos)):
        _, degraded, facts = degraded_crops(photos, index, protocol)
        # Weights that know no "clean" are calibrated on what they can answer.
        asked = [i for i, fact in enumerate(facts) if fact["degradation"] in answers]
        logits.append(pipe.logits(pipe.encode(list(degraded[asked])).degradation))
        labels += [answers.index(facts[i]["degradation"]) for i in asked]
    # Copies, because tensors made in inference mode cannot be differentiated through.
    return fit_temperature(torch.cat(logits).clone(), torch.tensor(labels))


def expected_calibration_error(probability: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """The mean gap between how sure an answer is and how often such answers are right.

    Args:
        probability: (n,) the probability of the answer given.
        right: (n,) whether it was right.
        bins: number of equal bins of probability over which the gap is averaged, by their size.
    """
    which = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = [
        np.abs(probability[which == b].mean() - right[which == b].mean()) * (which == b).mean()
        for b in np.unique(which)
    ]
    return float(np.sum(gaps))
