"""Figures of the notebooks: data in, matplotlib Figure out. None computes a result."""

from daclip_lab.course.figures import (
    ablation,
    diffusion,
    embeddings,
    images,
    predictions,
    samplers,
    steering,
    training,
    zero_shot,
)

__all__ = [
    "ablation",
    "diffusion",
    "embeddings",
    "images",
    "predictions",
    "samplers",
    "steering",
    "training",
    "zero_shot",
]
