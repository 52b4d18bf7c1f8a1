"""All figures for a notebook under one name: those of this folder, and those of `daclip_lab.figures`."""

from daclip_lab.course.figures import (
    images,
    predictions,
    samplers,
    sde,
    spaces,
    steering,
    training,
    zero_shot,
)
from daclip_lab.figures import (
    classification,
    diffusion,
    embeddings,
    interpretability,
    palette,
    restoration,
    severity,
    style,
)

__all__ = [
    "classification", "diffusion", "embeddings", "images", "interpretability", "palette",
    "predictions", "restoration", "samplers", "sde", "severity", "spaces", "steering", "style", "training", "zero_shot",
]  # fmt: skip
