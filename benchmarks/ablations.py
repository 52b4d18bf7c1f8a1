"""What departures from the authors' code change in a short training: `python -m benchmarks.ablations`, two hours.

Every variant differs from what the lab does in one thing. For each seed all start from the same weights and see the
same photos; their exam is the photos that training holds out. A finished run is kept as a JSON file, and is not done
again.
"""

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

import daclip_lab as lab
from daclip_lab.ablation.conditioning import (
    EvalSet,
    build_eval_set,
    conditioning_gains,
    mask_embeddings,
)
from daclip_lab.ablation.study import seed_interval
from daclip_lab.commands.training_data import held_out, labels_of, source_of
from daclip_lab.data.photos import Photos, image_folder
from daclip_lab.data.prompts import held_out_texts
from daclip_lab.degradations.registry import DEGRADATIONS
from daclip_lab.evaluation.protocol import Protocol
from daclip_lab.files.storage import read_json, write_json
from daclip_lab.metrics.bootstrap import bootstrap_interval
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.training import presets
from daclip_lab.training.objectives import train_daclip, train_restorer

SEEDS = (0, 1)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One thing that is done otherwise; without any, what the lab does."""

    scale: dict = field(default_factory=dict)
    """Fields of `presets.Scale`."""
    recipe: dict = field(default_factory=dict)
    """Fields of the recipe."""


LAB = "the lab"
VARIANTS = {
    "naming": {
        LAB: Variant(),
        "one-hot loss": Variant(recipe={"multi_positive": False}),
        "no stem": Variant(scale={"stem": 0}),
        "one word each": Variant(recipe={"synonyms": False}),
        "nothing clean or mixed": Variant(
            scale={"clean_prob": 0.0, "second_degradation_prob": 0.0}
        ),
        "gradients as they are": Variant(recipe={"max_grad_norm": None}),
    },
    "content": {
        LAB: Variant(),
        "captions alone": Variant(recipe={"alignment_weight": 0.0}),
    },
    "restorer": {
        LAB: Variant(),
        "L1 to the reverse step": Variant(recipe={"objective": "matching"}),
        "times drawn evenly": Variant(recipe={"t_max_prob": 0.0}),
        "always told": Variant(recipe={"conditioning_dropout": 0.0}),
        "no caution": Variant(recipe={"harm_penalty": 0.0}),
    },
}


def controller(
    variant: Variant, seed: int, data: list[str], photos: Photos, toy: bool, content: bool
) -> dict[str, np.ndarray]:
    """Train a controller on the shipped CLIP; what each crop of the exam (n,) says of it, with latest weights, too."""
    scale = replace(presets.lab(), **variant.scale)
    steps = 2 if toy else 120 if content else 160
    short = {"steps": steps, "batch_size": 48, "warmup": 10, "learning_rate": 1e-3}
    recipe = replace(scale.daclip, **short, train_content=content, seed=seed, **variant.recipe)
    given, source = lab.load("lab"), source_of(data, scale)
    model = scale.build_daclip(given.clip, seed)
    settings = replace(
        given.settings, stem=scale.stem, synonyms=recipe.synonyms, labels=labels_of(source)
    )
    pipe = Pipeline(settings, daclip=model)
    exam, scores = build_eval_set(photos, Protocol(crops=1 if toy else 2, seed=1)), {}
    for step in train_daclip(model, source, recipe):
        if step.index == steps:
            scores["named, latest weights"] = asked(pipe, exam)["named"]
    return scores | asked(pipe, exam, content=content)


def asked(pipe: Pipeline, exam: EvalSet, content: bool = False) -> dict[str, np.ndarray]:
    """Whether each crop (n,) is named right of the ten, also by unseen phrasings; and how near its content comes."""
    daclip = pipe.daclip.eval()
    ten = [pipe.settings.labels.index(name) for name in DEGRADATIONS]
    right = np.array([DEGRADATIONS.index(name) for name in exam.metadata.degradation])
    with torch.inference_mode():
        parts = exam.degraded.split(64)
        degradation = torch.cat([daclip.encode_degradation(part) for part in parts])
        unseen = F.normalize(
            torch.stack([daclip.encode_text(held_out_texts(name)).mean(0) for name in DEGRADATIONS])
        )
        found = {
            "named": pipe.word_embeddings[ten],
            "named by unseen phrasings": unseen,
        }
        scores = {
            name: ((degradation @ words.T).argmax(1).numpy() == right).astype(float)
            for name, words in found.items()
        }
        if content:
            clean = pipe.encode_clip(list(exam.clean))
            seen = torch.cat([daclip.encode_image(part).content for part in parts])
            before = pipe.encode_clip(list(exam.degraded))
            scores["cosine won"] = ((seen - before) * clean).sum(1).numpy()
    daclip.train()
    return scores


def restorer(
    variant: Variant, seed: int, data: list[str], photos: Photos, toy: bool
) -> dict[str, np.ndarray]:
    """Train a restorer under the shipped DA-CLIP; the decibels that each crop of the exam (n,) gains."""
    scale = replace(presets.lab(), **variant.scale)
    steps = 2 if toy else 200
    recipe = replace(scale.restorer, steps=steps, warmup=20, seed=seed, **variant.recipe)
    given, source = lab.load("lab"), source_of(data, scale)
    net = scale.build_restorer(seed)
    pipe = Pipeline(given.settings, daclip=given.daclip, restorer=net)
    exam = build_eval_set(photos, Protocol(seed=1))
    both = pipe.encode(list(exam.degraded))
    scores = {}
    for step in train_restorer(net, given.daclip, pipe.sde, source, recipe):
        if step.index == steps:
            gains, _ = conditioning_gains(pipe, exam, {"gain, latest weights": both}, steps=1)
            scores |= {name: gains[name].to_numpy() for name in gains}
    ways = {"gain": both, "gain, told nothing": mask_embeddings(both, ())}
    gains, _ = conditioning_gains(pipe, exam, ways, steps=1)
    scores |= {name: gains[name].to_numpy() for name in gains}
    worst = gains["gain"].groupby(exam.metadata.degradation).transform("mean")
    # The gain of the degradation with the smallest one, as a number for each of its crops.
    scores["gain, worst degradation"] = gains["gain"].where(worst == worst.min()).to_numpy()
    return scores


def run(part: str, name: str, seed: int, data: list[str], photos: Photos, toy: bool) -> dict:
    """One training and its exam: `scores`, each measure of each crop, and the `photos` of these."""
    variant = VARIANTS[part][name]
    if part == "restorer":
        scores = restorer(variant, seed, data, photos, toy)
    else:
        scores = controller(variant, seed, data, photos, toy, content=part == "content")
    count = len(next(iter(scores.values()))) // len(photos)
    return {
        "scores": {k: [round(float(v), 5) for v in values] for k, values in scores.items()},
        "photos": np.repeat(photos.names, count).tolist(),
    }


def compared(runs: dict[tuple[str, int], dict]) -> pd.DataFrame:
    """Every variant beside the lab: means, and the difference with its 95 % intervals over seeds and over photos."""
    rows = []
    names, seeds = (list(dict.fromkeys(key[k] for key in runs)) for k in (0, 1))
    photos = np.array(next(iter(runs.values()))["photos"])
    for measure in next(iter(runs.values()))["scores"]:
        of = {
            name: np.array([runs[name, seed]["scores"][measure] for seed in seeds], float)
            for name in names
        }
        for name in names:
            means, lab_means = (np.nanmean(of[n], axis=1) for n in (name, LAB))
            row = {"measure": measure, "variant": name, "mean": means.mean()}
            if name != LAB:
                row["difference"], row["seeds low"], row["seeds high"] = seed_interval(
                    means - lab_means
                )
                if not np.isnan(of[name]).any():
                    _, low, high = bootstrap_interval((of[name] - of[LAB]).mean(axis=0), photos)
                    row |= {"photos low": low, "photos high": high}
            rows.append(row)
    return pd.DataFrame(rows).set_index(["measure", "variant"])


def main(arguments: list[str] | None = None) -> None:
    """Train what has not been trained yet, and print a table for each part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablations", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(VARIANTS)}")
    parser.add_argument("--data", nargs="+", default=["data/bsds500/train", "data/bsds500/val"])
    parser.add_argument("--out", default="runs/variants", type=Path, help="folder for the runs")
    parser.add_argument("--toy", action="store_true", help="two steps each: does it run at all?")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(VARIANTS):
        parser.error(f"no part {unknown.pop()!r}: use {', '.join(VARIANTS)}")
    photos = held_out(image_folder(*options.data))
    for part in options.parts or VARIANTS:
        runs = {}
        for seed in SEEDS[:1] if options.toy else SEEDS:
            for name in VARIANTS[part]:
                path = options.out / part / f"{name} {seed}.json"
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_json(path, run(part, name, seed, options.data, photos, options.toy))
                runs[name, seed] = read_json(path)
        print(f"\n{part}, {len(photos)} photos\n")
        print(compared(runs).to_string(float_format=lambda v: f"{v:.3f}", na_rep=""), flush=True)


if __name__ == "__main__":
    main()
