"""The four trainings of the command line: each builds a pipeline, and the steps that train a part of it."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from daclip_lab.commands.init_weights import settings_of, starting_weights
from daclip_lab.commands.training_data import labels_of
from daclip_lab.data.pairs import PairFolder
from daclip_lab.data.training_pairs import Source, Synthetic
from daclip_lab.degradations.registry import label_names
from daclip_lab.errors import InputError
from daclip_lab.models.clip import Clip
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.models.front_end import fold_all
from daclip_lab.models.restorer import build_restorer
from daclip_lab.pipeline.loading import load
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.pipeline.serialization import Settings
from daclip_lab.training import objectives, restoration
from daclip_lab.training.checkpoints import load_weights
from daclip_lab.training.loop import Step
from daclip_lab.training.presets import Scale
from daclip_lab.training.recipes import ClipRecipe, Recipe, steps_of

R = TypeVar("R", bound=Recipe)


class Training(NamedTuple):
    """A training that is about to begin."""

    recipe: Recipe
    pipe: Pipeline
    """It holds what is trained, and is saved at the end."""
    steps: Iterator[Step]


def clip(options: argparse.Namespace, scale: Scale, source: Source, loop: dict) -> Training:
    """Train the scale's own CLIP from random weights, or that of --start further."""
    if scale.clip_training is None:
        raise InputError(f"the {scale.name} scale takes a pretrained CLIP: there is none to train")
    recipe = _recipe(options, scale.clip_training)
    settings, model = settings_of(scale), None
    if options.start:
        started = load(options.start)
        settings, model = started.settings, started.clip
        if model is None:
            raise InputError(f"{options.start} holds no CLIP to start from")
    model = model or scale.build_clip(recipe.seed)
    return _of_clip(settings, model, recipe, scale, source, loop)


def words(options: argparse.Namespace, scale: Scale, source: Source, loop: dict) -> Training:
    """Train the text tower of a CLIP of --weights."""
    if scale.words is None:
        taken = f"the {scale.name} scale takes a pretrained CLIP"
        raise InputError(f"{taken}: its text tower is trained")
    given = starting_weights(options.weights, scale)
    if given.clip is None:
        raise InputError(f"{options.weights} holds no CLIP to train the text tower of")
    recipe = _recipe(options, scale.words)
    return _of_clip(given.settings, given.clip, recipe, scale, source, loop)


def _of_clip(
    settings: Settings, clip: Clip, recipe: ClipRecipe, scale: Scale, source: Source, loop: dict
) -> Training:
    """The training of a CLIP, on degradations as rare as web captions mention them."""
    if isinstance(source, Synthetic):
        clean_prob = 1 - scale.caption_degradation_prob
        source = replace(source, clean_prob=clean_prob, second_degradation_prob=0.0)
    steps = objectives.train_clip(clip, source, recipe, **loop)
    return Training(recipe, Pipeline(settings, clip=clip), steps)


def daclip(options: argparse.Namespace, scale: Scale, source: Source, loop: dict) -> Training:
    """Train a controller on the CLIP of --weights, for the degradations of the data."""
    labels = labels_of(source)
    if len(labels) == 1 and options.degradation_only:
        raise InputError(f"{labels[0]} is the only degradation: there is nothing to tell apart")
    given = starting_weights(options.weights, scale)
    if given.clip is None:
        raise InputError(f"{options.weights} holds no CLIP to put a controller on")
    recipe = _recipe(
        options,
        scale.daclip,
        image_size=given.settings.clip.image_size,
        train_content=not options.degradation_only,
        # Only registered degradations have phrasings; for others the label is the word.
        synonyms=scale.daclip.synonyms and set(labels) <= set(label_names()),
    )
    if scale.epochs is not None and options.steps is None and isinstance(source, PairFolder):
        recipe = replace(recipe, steps=steps_of(scale.epochs, len(source), recipe.batch_size))
    model = DaCLIP(given.clip)
    if options.start:
        trained = load(options.start).daclip
        if trained is None:
            raise InputError(f"{options.start} holds no controller to start from")
        controller = fold_all(model.controller)  # as controllers are stored
        load_weights(controller, trained.controller.state_dict(), options.start)
        model.logit_scale.data.copy_(trained.logit_scale)
    settings = replace(
        given.settings,
        # As the images of this training were cut, see `source_of`.
        view=scale.view,
        synonyms=recipe.synonyms,
        labels=labels,
        # A new controller has to be calibrated anew.
        temperature=1.0,
        clean_bias=0.0,
        # It is not the authors' any more.
        source={},
    )
    pipe = Pipeline(settings, daclip=model)
    return Training(recipe, pipe, objectives.train_daclip(model, source, recipe, **loop))


def restorer(options: argparse.Namespace, scale: Scale, source: Source, loop: dict) -> Training:
    """Train a restorer under the DA-CLIP of --weights."""
    given = starting_weights(options.weights, scale)
    if given.daclip is None:
        held = options.weights or scale.pretrained
        raise InputError(f"{held} holds no DA-CLIP to condition a restorer: train daclip first")
    recipe = _recipe(options, scale.restorer)
    if options.start:
        started = load(options.start)
        if started.restorer is None:
            raise InputError(f"{options.start} holds no restorer to start from")
        net: Any = started.restorer
        origin: Settings | Scale = started.settings
    else:
        net = build_restorer(scale.network, given.settings.clip.embed_dim, recipe.seed)
        origin = scale
    settings = replace(given.settings, network=origin.network, sde=origin.sde, steps=origin.steps)
    pipe = Pipeline(settings, clip=given.clip, daclip=given.daclip, restorer=net)
    steps = restoration.train_restorer(net, given.daclip, pipe.sde, source, recipe, **loop)
    return Training(recipe, pipe, steps)


TRAININGS = {"clip": clip, "words": words, "daclip": daclip, "restorer": restorer}


def _recipe(options: argparse.Namespace, default: R, **fixed) -> R:
    """The scale's recipe, with the options that are given, and a warm-up of at most a tenth of the steps."""
    given = {
        "steps": options.steps,
        "batch_size": options.batch,
        "learning_rate": options.learning_rate,
        "seed": options.seed,
        "workers": options.workers,
    }
    recipe = replace(default, **{k: v for k, v in given.items() if v is not None}, **fixed)
    return replace(recipe, warmup=min(recipe.warmup, recipe.steps // 10))
