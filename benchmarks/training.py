"""Training speed: pairs that one process generates per second, and pairs that the restorer consumes."""

import time

import pandas as pd

from daclip_lab.data.photos import sample_photos
from daclip_lab.data.seeding import seeded
from daclip_lab.data.training_pairs import Batches, Example, Synthetic
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.training import presets
from daclip_lab.training.objectives import train_restorer


class Again:
    """A source that costs nothing: the same examples again and again."""

    def __init__(self, examples: list[Example]):
        self.examples, self.drawn = examples, 0

    def draw(self, generator, size: int, *, captions: bool = True) -> Example:
        self.drawn += 1
        return self.examples[self.drawn % len(self.examples)]


def table(*, toy: bool) -> pd.Series:
    """Both rates in pairs per second, and how many processes it takes to feed one training."""
    scale = presets.smoke() if toy else presets.lab()
    recipe, count = scale.restorer, 1 if toy else 10
    source = Synthetic(
        photos=sample_photos("train"),
        scene_prob=scale.scene_prob,
        clean_prob=scale.clean_prob,
        second_degradation_prob=scale.second_degradation_prob,
    )
    batches = Batches(source, size=recipe.image_size, batch=recipe.batch_size)
    batches[0]  # photos are decoded when they are first needed
    start = time.perf_counter()
    for k in range(1, 1 + count):
        batches[k]
    made = count * recipe.batch_size / (time.perf_counter() - start)

    again = Again([source.draw(seeded(8, k), recipe.image_size) for k in range(recipe.batch_size)])
    net, daclip = scale.build_restorer(), DaCLIP(scale.build_clip())
    seconds = []
    for step in train_restorer(net, daclip, scale.build_sde(), again, recipe):
        seconds.append(step.seconds)
        if len(seconds) == 2 + count:
            break
    consumed = recipe.batch_size / (sum(seconds[2:]) / count)
    return pd.Series(
        {
            "pairs made per second, one process": made,
            "pairs consumed per second": consumed,
            "processes that feed one training": consumed / made,
        },
        name=f"{scale.name}, {recipe.image_size} px, batches of {recipe.batch_size}",
    )
