"""Ablations of departures from the authors' code in short trainings: `python -m benchmarks.ablations`, two hours.

Every variant differs from the lab's training in one thing. For each seed all start from the same weights and see the
same photos; they are evaluated on the photos that training holds out. Finished runs are kept and not repeated.
"""

import argparse
from dataclasses import asdict, dataclass, field, replace
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
from daclip_lab.files.resume_log import ResumeLog
from daclip_lab.metrics.bootstrap import bootstrap_interval
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.training import presets
from daclip_lab.training.objectives import train_daclip
from daclip_lab.training.restoration import train_restorer

SEEDS = (0, 1)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One change to the lab's training; without any, that training."""

    scale: dict = field(default_factory=dict)
    """Fields of `presets.Scale`."""
    recipe: dict = field(default_factory=dict)
    """Fields of the recipe."""


LAB = "the lab"
VARIANTS = {
    "classification": {
        LAB: Variant(),
        "one-hot loss": Variant(recipe={"multi_positive": False}),
        "one word each": Variant(recipe={"synonyms": False}),
        "nothing clean, nothing mixed": Variant(
            scale={"clean_prob": 0.0, "second_degradation_prob": 0.0}
        ),
        "no gradient clipping": Variant(recipe={"max_grad_norm": None}),
    },
    "content": {
        LAB: Variant(),
        "captions alone": Variant(recipe={"alignment_weight": 0.0}),
    },
    "restorer": {
        LAB: Variant(),
        "L1 to the reverse step": Variant(recipe={"objective": "matching"}),
        "uniform times": Variant(recipe={"t_max_prob": 0.0}),
        "no conditioning dropout": Variant(recipe={"conditioning_dropout": 0.0}),
        "harm penalty": Variant(recipe={"harm_penalty": 6.0}),
    },
}


def controller(
    variant: Variant, seed: int, data: list[str], photos: Photos, toy: bool, content: bool
) -> dict[str, np.ndarray]:
    """Train a controller on the shipped CLIP: the scores (n,) of each crop of the evaluation set, see `scores_of`."""
    scale = replace(presets.lab(), **variant.scale)
    steps = 2 if toy else 120 if content else 160
    short = {"steps": steps, "batch_size": 48, "warmup": 10, "learning_rate": 1e-3}
    recipe = replace(scale.daclip, **short, train_content=content, seed=seed, **variant.recipe)
    given, source = lab.load("lab"), source_of(data, scale)
    model = lab.DaCLIP(given.clip)
    settings = replace(given.settings, synonyms=recipe.synonyms, labels=labels_of(source))
    pipe = Pipeline(settings, daclip=model)
    crops, scores = build_eval_set(photos, Protocol(crops=1 if toy else 2, seed=1)), {}
    for step in train_daclip(model, source, recipe):
        if step.index == steps:
            scores["accuracy, latest weights"] = scores_of(pipe, crops)["accuracy"]
    return scores | scores_of(pipe, crops, content=content)


def scores_of(pipe: Pipeline, crops: EvalSet, content: bool = False) -> dict[str, np.ndarray]:
    """Whether each crop (n,) is classified right, also by held-out words; and the gain in cosine of its content."""
    daclip = pipe.daclip.eval()
    ten = [pipe.settings.labels.index(name) for name in DEGRADATIONS]
    right = np.array([DEGRADATIONS.index(name) for name in crops.metadata.degradation])
    with torch.inference_mode():
        parts = crops.degraded.split(64)
        degradation = torch.cat([daclip.encode_degradation(part) for part in parts])
        held_out_words = F.normalize(
            torch.stack([daclip.encode_text(held_out_texts(name)).mean(0) for name in DEGRADATIONS])
        )
        found = {
            "accuracy": pipe.word_embeddings[ten],
            "accuracy, held-out words": held_out_words,
        }
        scores = {
            name: ((degradation @ words.T).argmax(1).numpy() == right).astype(float)
            for name, words in found.items()
        }
        if content:
            clean = pipe.encode_clip(list(crops.clean))
            content_embeddings = torch.cat([daclip.encode_image(part).content for part in parts])
            before = pipe.encode_clip(list(crops.degraded))
            scores["cosine gain"] = ((content_embeddings - before) * clean).sum(1).numpy()
    daclip.train()
    return scores


def restorer(
    variant: Variant, seed: int, data: list[str], photos: Photos, toy: bool
) -> dict[str, np.ndarray]:
    """Train a restorer under the shipped DA-CLIP: the gain (n,) in dB of each crop of the evaluation set."""
    scale = replace(presets.lab(), **variant.scale)
    steps = 2 if toy else 200
    recipe = replace(scale.restorer, steps=steps, warmup=20, seed=seed, **variant.recipe)
    given, source = lab.load("lab"), source_of(data, scale)
    net = scale.build_restorer(seed)
    pipe = Pipeline(given.settings, daclip=given.daclip, restorer=net)
    crops = build_eval_set(photos, Protocol(seed=1))
    both = pipe.encode(list(crops.degraded))
    scores = {}
    for step in train_restorer(net, given.daclip, pipe.sde, source, recipe):
        if step.index == steps:
            gains, _ = conditioning_gains(pipe, crops, {"gain, latest weights": both}, steps=1)
            scores |= {name: gains[name].to_numpy() for name in gains}
    conditions = {"gain": both, "gain, unconditioned": mask_embeddings(both, ())}
    gains, _ = conditioning_gains(pipe, crops, conditions, steps=1)
    scores |= {name: gains[name].to_numpy() for name in gains}
    worst = gains["gain"].groupby(crops.metadata.degradation).transform("mean")
    # The gain of the degradation with the smallest one, as a number for each of its crops.
    scores["gain, worst degradation"] = gains["gain"].where(worst == worst.min()).to_numpy()
    return scores


def run(part: str, name: str, seed: int, data: list[str], photos: Photos, toy: bool) -> dict:
    """Train and evaluate: `scores`, each measure of each crop, and the `photos` of these."""
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


def compare(runs: dict[tuple[str, int], dict]) -> pd.DataFrame:
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
    parser.add_argument("--out", default="runs/ablations", type=Path, help="folder for the runs")
    parser.add_argument(
        "--toy", action="store_true", help="two steps each, only to see that it runs"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(VARIANTS):
        parser.error(f"no part {unknown.pop()!r}: use {', '.join(VARIANTS)}")
    photos, weights = image_folder(*options.data), lab.load("lab").fingerprint
    held_out_photos = held_out(photos)
    for part in options.parts or VARIANTS:
        header = {
            "variants": {name: asdict(variant) for name, variant in VARIANTS[part].items()},
            "weights": weights,
            "photos": photos.content_hash,
            "toy": options.toy,
        }
        log = ResumeLog(options.out / f"{part}.jsonl", header)
        runs = {(done["variant"], done["seed"]): done for done in log.parts}
        for seed in SEEDS[:1] if options.toy else SEEDS:
            for name in VARIANTS[part]:
                if (name, seed) not in runs:
                    found = run(part, name, seed, options.data, held_out_photos, options.toy)
                    log.append({"variant": name, "seed": seed, **found})
                    runs[name, seed] = log.parts[-1]
        print(f"\n{part}, {len(held_out_photos)} photos\n")
        print(compare(runs).to_string(float_format=lambda v: f"{v:.3f}", na_rep=""), flush=True)


if __name__ == "__main__":
    main()
