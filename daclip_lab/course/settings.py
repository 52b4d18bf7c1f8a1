"""How much the notebooks compute at each scale."""

from dataclasses import replace

from daclip_lab.training.presets import Scale
from daclip_lab.training.recipes import DaclipRecipe


def examples(scale: Scale) -> int:
    """Number of images of each degradation that a notebook looks at."""
    return 2 if scale.name == "smoke" else 40


def short_training(scale: Scale) -> DaclipRecipe:
    """A training of the degradation embedding alone, in half a minute at the lab scale."""
    if scale.name == "lab":
        return replace(
            scale.daclip,
            steps=120,
            batch_size=48,
            warmup=10,
            learning_rate=1e-3,
            train_content=False,
        )
    return replace(scale.daclip, steps=4, batch_size=8, train_content=False)
