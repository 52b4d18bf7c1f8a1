"""Temperature and clean bias of a pipeline's classifier, chosen on photos that it was not trained on."""

from typing import NamedTuple

import torch
from torch import Tensor

from daclip_lab.data.photos import Photos
from daclip_lab.degradations.registry import CLEAN, degradation_names
from daclip_lab.evaluation.protocol import Protocol, degraded_crops
from daclip_lab.metrics.calibration import fit_temperature
from daclip_lab.pipeline.pipeline import Pipeline

MISSES = 0.03
"""The share of degraded validation photos that may be called clean."""


class Calibration(NamedTuple):
    """The fields of `pipeline.serialization.Settings` that are chosen on validation photos."""

    temperature: float
    clean_bias: float


def calibrate(pipe: Pipeline, photos: Photos, *, crops: int = 2, seed: int = 0) -> Calibration:
    """The largest clean bias that calls no more than `MISSES` of the degraded photos clean, then the temperature.

    The bias is chosen on whole photos alone, since in a crop damage may be out of sight; the temperature on both.

    Args:
        pipe: weights with a controller; what they are calibrated with does not count.
        photos: clean photos, which should not be among those that the weights were trained on. They are degraded in
            each way and left clean once, whole and as crops, as in an evaluation with the same seed.
        crops: crops of each photo.
        seed: decides crops, severities and degradations.

    Weights without a "clean" label have no bias, and are calibrated on the degradations alone.
    """
    known = pipe.settings.labels
    degradations = tuple(name for name in degradation_names() if name in known)
    whole = Protocol(crop=None, seed=seed, degradations=degradations)
    cut = Protocol(
        crop=pipe.settings.clip.image_size, crops=crops, seed=seed, degradations=degradations
    )
    found: list[Tensor] = []
    labels: list[int] = []
    of_photos = 0
    for protocol in (whole, cut):
        of_photos = len(labels)  # after the loop: the rows before those of crops
        for index in range(len(photos)):
            _, degraded, facts = degraded_crops(photos, index, protocol)
            rows = [i for i, fact in enumerate(facts) if fact["degradation"] in known]
            found.append(pipe.logits(pipe.encode_degradation(degraded[rows])) - pipe.label_bias)
            labels += [known.index(facts[i]["degradation"]) for i in rows]
    logits, truth, bias = torch.cat(found), torch.tensor(labels), 0.0
    if CLEAN in known:
        clean = known.index(CLEAN)
        photos_only = torch.arange(len(truth)) < of_photos
        bias = largest_bias(logits[photos_only & (truth != clean)], clean)
        logits[:, clean] += bias
    return Calibration(fit_temperature(logits, truth), bias)


def largest_bias(logits: Tensor, clean: int, misses: float = MISSES) -> float:
    """The largest bias of column `clean` under which it wins in at most a share `misses` of the rows (n, k)."""
    others = torch.cat([logits[:, :clean], logits[:, clean + 1 :]], dim=1).amax(1)
    margins = (logits[:, clean] - others).sort(descending=True).values
    return -margins[int(misses * len(margins) + 1e-6)].item()
