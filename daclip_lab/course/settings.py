"""How much the notebooks compute at each scale."""

from dataclasses import replace

from daclip_lab.data.canvases.source import WholePhotos
from daclip_lab.data.photos import sample_photos
from daclip_lab.data.training_pairs import Synthetic
from daclip_lab.training.presets import Scale
from daclip_lab.training.recipes import DaclipRecipe, RestorerRecipe


def examples(scale: Scale) -> int:
    """Number of images of each degradation that a notebook looks at."""
    return 2 if scale.name == "smoke" else 40


def short_training(scale: Scale) -> DaclipRecipe:
    """A training of the degradation embedding alone, in half a minute at the lab scale."""
    recipe = replace(scale.daclip, train_content=False)
    if scale.name == "lab":
        return replace(recipe, steps=70, batch_size=48, warmup=20, learning_rate=1e-3)
    return replace(recipe, steps=4, batch_size=8)


def controller_training(scale: Scale) -> tuple[DaclipRecipe, DaclipRecipe]:
    """The two stages of the controller's training, in four minutes on two cores at the lab scale.

    The first trains the degradation embedding alone, at half the cost of a step; the second the content embedding too,
    at a learning rate that does not undo the first.
    """
    first, steps = short_training(scale), 2
    if scale.name == "lab":
        first, steps = replace(first, steps=400), 50
    rate = first.learning_rate / 3
    return first, replace(first, steps=steps, learning_rate=rate, train_content=True, seed=1)


def patch_training(scale: Scale) -> tuple[dict, RestorerRecipe]:
    """A small restorer and its training on patches, at the lab scale about half a minute on two cores."""
    lab = scale.name == "lab"
    steps = 600 if lab else 4
    recipe = replace(
        scale.restorer,
        steps=steps,
        # Patches so small that many of them do not show what is wrong with the photo.
        image_size=32,
        patch_sizes=(),
        batch_size=32 if lab else 4,
        learning_rate=3e-3,
        warmup=steps // 16,
        t_max_prob=1.0,
        conditioning_dropout=0.0,
        wrong_conditioning=0.0,
    )
    network = {"kind": "nafnet", "width": 16, "encoder": (1, 1), "middle": 1, "decoder": (1, 1)}
    return network | {"conditioning_dim": 64}, recipe


def patch_source(scale: Scale, degradations: tuple[str, ...]) -> WholePhotos:
    """The sample photos and scenes, degraded whole in these ways; few are made, as they cost more than a step."""
    crops = Synthetic(
        photos=sample_photos("train"),
        scene_prob=scale.scene_prob,
        clean_prob=0.0,
        severity=scale.severity,
        degradations=degradations,
    )
    if scale.name == "lab":
        return WholePhotos(crops=crops, sides=(192,), new=0.1, kept=120)
    return WholePhotos(crops=crops, sides=(64,), kept=8)
