"""The softmax temperature of a pipeline's classifier, fitted on photos that it was not trained on."""

import torch

from daclip_lab.data.photos import Photos
from daclip_lab.degradations.registry import degradation_names
from daclip_lab.evaluation.protocol import Protocol, degraded_crops
from daclip_lab.metrics.calibration import fit_temperature
from daclip_lab.pipeline.pipeline import Pipeline


def calibrate(pipe: Pipeline, photos: Photos, *, crops: int = 4, seed: int = 0) -> float:
    """The temperature of `metrics.calibration.fit_temperature` for a pipeline.

    Args:
        pipe: weights with a controller.
        photos: clean photos, which should not be among those that the weights were trained on.
        crops: crops of each photo, degraded as in an evaluation with the same seed.
        seed: decides crops, severities and degradations.
    """
    known = pipe.settings.labels
    degradations = tuple(name for name in degradation_names() if name in known)
    size = pipe.settings.clip.image_size
    protocol = Protocol(crops=crops, seed=seed, crop=size, degradations=degradations)
    logits, labels = [], []
    for index in range(len(photos)):
        _, degraded, facts = degraded_crops(photos, index, protocol)
        # Weights without a "clean" label are calibrated on the degradations alone.
        rows = [i for i, fact in enumerate(facts) if fact["degradation"] in known]
        logits.append(pipe.logits(pipe.encode_degradation(degraded[rows])))
        labels += [known.index(facts[i]["degradation"]) for i in rows]
    return fit_temperature(torch.cat(logits), torch.tensor(labels))
