"""Trained ablations: what a restorer gains from being trained with each of DA-CLIP's two embeddings.

A small restorer is trained from scratch for each variant and seed. All variants of one seed start from the same weights
and see the same batches in the same order, so that they differ in their conditioning only. (DA-CLIP, 2310.01018,
section 5, shows training curves of such variants.) What an already trained restorer loses without an embedding is
another question: see `ablation.conditioning`.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from daclip_lab.ablation.conditioning import EvalSet, mask_embeddings
from daclip_lab.data.seeding import seeded
from daclip_lab.data.training_pairs import Batches, Example, Source
from daclip_lab.diffusion.samplers import denoiser, sample
from daclip_lab.errors import InputError, extra
from daclip_lab.files.resume_log import ResumeLog
from daclip_lab.metrics.bootstrap import bootstrap_interval
from daclip_lab.models.daclip import DaCLIP, Embeddings
from daclip_lab.models.restorer import build_restorer
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.training.recipes import RestorerRecipe
from daclip_lab.training.restoration import train_restorer

VARIANTS = {
    "none": (),
    "degradation": ("degradation",),
    "content": ("content",),
    "both": ("content", "degradation"),
    "oracle": ("content", "degradation"),
}
"""The embeddings that condition each variant; for "oracle" the true word and CLIP's embedding of the clean image."""


@dataclass(frozen=True, kw_only=True)
class AblationPlan:
    """What all runs of a study have in common."""

    network: dict
    """The restorer, as in `presets.Scale`."""
    recipe: RestorerRecipe
    """How each is trained; each run sets `seed` and `oracle`."""
    source: Source
    """Where the training examples come from."""
    eval_set: EvalSet
    """What each is evaluated on, by restorations in one step."""
    eval_steps: tuple[int, ...] = ()
    """Training steps after which to evaluate, besides before the first and after the last."""


class MaskedDaCLIP(nn.Module):
    """A DA-CLIP whose embeddings are zero except those in `keep`, see `mask_embeddings`.

    Args:
        cache: embeddings of each batch; variants that share it encode a batch once.
    """

    def __init__(self, daclip: DaCLIP, keep: Collection[str], cache: dict[tuple, Embeddings]):
        super().__init__()
        self.daclip, self.clip, self.keep, self.cache = daclip, daclip.clip, keep, cache

    def encode_image(self, images: Tensor, *, normalize: bool = True) -> Embeddings:
        """The embeddings (b, d) of images (b, 3, s, s) in [0, 1]."""
        key = hashlib.sha256(images.cpu().numpy().tobytes()).digest(), normalize
        if key not in self.cache:
            self.cache[key] = self.daclip.encode_image(images, normalize=normalize)
        return mask_embeddings(self.cache[key], self.keep)


class CachedSource:
    """A source that makes each example once, however many trainings draw it."""

    def __init__(self, source: Source):
        self.source = source
        self.cache: dict[tuple, tuple[Example, Tensor]] = {}

    def draw(self, generator: torch.Generator, size: int, *, captions: bool = True) -> Example:
        """The example that the source draws; the generator ends in the same state."""
        key = (generator.get_state().numpy().tobytes(), size, captions)
        if key not in self.cache:
            drawn = self.source.draw(generator, size, captions=captions)
            self.cache[key] = drawn, generator.get_state()
        example, after = self.cache[key]
        generator.set_state(after)
        return example


class Ablation(NamedTuple):
    """The results of all runs of a study."""

    gains: "pd.DataFrame"
    """The gain in PSNR (dB) of each image of the evaluation set (row) by each run (column: variant and seed)."""
    curves: "pd.DataFrame"
    """Columns variant, seed, step (of the training) and gain (mean over the evaluation set, dB)."""


def ablate(
    pipe: Pipeline,
    plan: AblationPlan,
    *,
    variants: Sequence[str] = tuple(VARIANTS),
    seeds: Sequence[int] = (0, 1, 2),
    out: str | Path | None = None,
) -> Ablation:
    """Train and evaluate a restorer for each variant and seed, conditioned on a pipeline's DA-CLIP, on its device.

    Args:
        variants: some of `VARIANTS`.
        seeds: each decides initial weights, batches and noise of one run per variant.
        out: a file of JSON lines that keeps finished runs; a later call with the same plan skips these.

    Raises InputError for an unknown variant, and where `out` holds runs of another plan, data or DA-CLIP.
    """
    if unknown := set(variants) - set(VARIANTS):
        raise InputError(f"variant {unknown.pop()!r} is unknown: use {', '.join(VARIANTS)}")
    log = ResumeLog(out, _header(pipe, plan))
    runs = {(run["variant"], run["seed"]): run for run in log.parts}
    with tqdm(total=len(seeds) * len(variants), desc="ablation", unit="run") as bar:
        for seed in seeds:
            # Caches of one seed at a time: the examples of all seeds would fill the memory.
            shared = replace(plan, source=CachedSource(plan.source))
            cache: dict[tuple, Embeddings] = {}
            for variant in variants:
                bar.set_postfix_str(f"{variant}, seed {seed}")
                if (variant, seed) not in runs:
                    run = _run(pipe, shared, variant, seed, cache)
                    log.append({"variant": variant, "seed": seed, **run})
                    runs[variant, seed] = log.parts[-1]
                bar.update()
    wanted = {(variant, seed): runs[variant, seed] for seed in seeds for variant in variants}
    gains = pd.DataFrame({key: run["gains"] for key, run in wanted.items()})
    gains.columns = pd.MultiIndex.from_tuples(wanted, names=["variant", "seed"])
    points = [(*key, *point) for key, run in wanted.items() for point in run["curve"]]
    return Ablation(gains, pd.DataFrame(points, columns=["variant", "seed", "step", "gain"]))


def _header(pipe: Pipeline, plan: AblationPlan) -> dict:
    """What decides the results besides variant and seed; the data are identified by a hash of the first batch."""
    recipe = replace(plan.recipe, seed=0, oracle=False)
    first = Batches(plan.source, size=recipe.image_size, batch=recipe.batch_size, seed=0)[0]
    data = hashlib.sha256()
    for images in (first.clean, first.degraded, plan.eval_set.clean, plan.eval_set.degraded):
        data.update(images.numpy().tobytes())
    return {
        "kind": "ablation",
        "network": plan.network,
        "recipe": asdict(recipe),
        "eval_steps": plan.eval_steps,
        "daclip": pipe.provenance["weights"],
        "data": data.hexdigest()[:12],
    }


def _run(pipe: Pipeline, plan: AblationPlan, variant: str, seed: int, cache: dict) -> dict:
    """One training: the final `gains` (n, in dB), and the `curve`, pairs of a step and the mean gain."""
    net = build_restorer(plan.network, pipe.settings.clip.embed_dim, seed).to(pipe.device)
    recipe = replace(plan.recipe, seed=seed, oracle=variant == "oracle")
    eval_set, daclip = plan.eval_set, pipe.require_daclip()
    images = list(eval_set.degraded)
    if recipe.oracle:
        words = pipe.encode_text(eval_set.metadata.degradation.tolist())
        embeddings = Embeddings(pipe.encode_clip(list(eval_set.clean)), words)
    else:
        daclip = MaskedDaCLIP(daclip, VARIANTS[variant], cache)
        embeddings = mask_embeddings(pipe.encode(images), VARIANTS[variant])
    trained = Pipeline(pipe.settings, daclip=pipe.daclip, restorer=net)
    conditions = trained.conditioning(images, embeddings)

    @torch.inference_mode()
    def evaluate() -> np.ndarray:
        degraded = eval_set.degraded.to(pipe.device)
        predict = denoiser(net, pipe.sde, degraded, net.prepare(*conditions))
        *_, last = sample(predict, pipe.sde, degraded, steps=1, generator=seeded(0))
        return eval_set.gain(last.state.clamp(0, 1))

    curve = [(0, float(evaluate().mean()))]
    for step in train_restorer(net, daclip, pipe.sde, plan.source, recipe):
        if step.index in plan.eval_steps:
            curve.append((step.index, float(evaluate().mean())))
    gains = evaluate()  # of the averaged weights, which the network holds after the last step only
    return {"gains": gains.tolist(), "curve": [*curve, (recipe.steps, float(gains.mean()))]}


@extra("analysis")
def seed_interval(values: Sequence[float]) -> tuple[float, float, float]:
    r"""Mean and 95 % interval (mean, low, high) of one value per seed, by Student's t; NaN bounds for a single seed.

    $\bar x \pm t_{0.975,\,n-1}\, s / \sqrt n$: the values count as independent and normally distributed. With three
    seeds the spread s itself is hardly known, and the interval is 2.5 s to each side.
    """
    from scipy.stats import t

    values = np.asarray(values, float)
    mean, n = values.mean(), len(values)
    if n < 2:
        return float(mean), float("nan"), float("nan")
    reach = t.ppf(0.975, n - 1) * values.std(ddof=1) / n**0.5
    return float(mean), float(mean - reach), float(mean + reach)


def differences_to(
    gains: "pd.DataFrame", photos: Sequence[str], baseline: str = "none"
) -> "pd.DataFrame":
    """Every variant and its paired difference to a baseline variant, with two 95 % intervals, all in dB.

    Args:
        gains: those of `Ablation`.
        photos: the photo of each row.

    Returns a row for each variant. `gain` and `spread`: mean and standard deviation over seeds. `difference`: the mean
    over seeds of the difference between runs of one seed. `seed_low` and `seed_high`: its interval over seeds, for
    repeated trainings. `photo_low` and `photo_high`: its interval over photos, for other photos and these networks.
    """
    rows = {}
    for variant in gains.columns.unique("variant"):
        runs, difference = gains[variant].mean(), gains[variant] - gains[baseline]
        over_seeds = seed_interval(difference.mean())
        over_photos = bootstrap_interval(difference.mean(axis=1).to_numpy(), np.asarray(photos))
        rows[variant] = (runs.mean(), runs.std(), *over_seeds, *over_photos[1:])
    columns = ["gain", "spread", "difference", "seed_low", "seed_high", "photo_low", "photo_high"]
    return pd.DataFrame.from_dict(rows, "index", columns=columns).rename_axis("variant")
