"""Ablations in training: what a restorer gains from learning with each of the two embeddings of DA-CLIP.

A small restorer is trained anew for each variant, and from several seeds. The variants of one seed start from the same
weights and see the same batches in the same order, so that they differ in what they are told and in nothing else. The
paper shows training curves of such variants (DA-CLIP, 2310.01018, section 5). What a restorer loses that was trained
with an embedding and is then not told it is another question: see `analysis.telling`.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from daclip_lab.ablation.conditioning import EvalSet, only
from daclip_lab.data.embedding_table import fingerprint
from daclip_lab.data.seeding import seeded
from daclip_lab.data.training_pairs import Batches, Example, Source
from daclip_lab.diffusion.samplers import denoiser, sample
from daclip_lab.errors import InputError
from daclip_lab.metrics.bootstrap import interval
from daclip_lab.models.daclip import DaCLIP, Embeddings
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.training.checkpoints import read_json, write_json
from daclip_lab.training.objectives import RestorerRecipe, train_restorer
from daclip_lab.training.presets import build_restorer

if TYPE_CHECKING:
    import pandas as pd

VARIANTS = {
    "none": (),
    "degradation": ("degradation",),
    "content": ("content",),
    "both": ("content", "degradation"),
    "oracle": ("content", "degradation"),
}
"""Which embeddings a restorer is told. The oracle is told the word, and CLIP's embedding of the clean image."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What all runs of an ablation have in common."""

    network: dict
    """The restorer, as in `presets.Scale`."""
    recipe: RestorerRecipe
    """How each is trained; the run decides its `seed` and whether its embeddings are an `oracle`'s."""
    source: Source
    """Where the training examples come from."""
    exam: EvalSet
    """What each is asked at the end: one-step restorations."""
    moments: tuple[int, ...] = ()
    """Steps before the last one after which it is asked already."""


class MaskedDaCLIP(nn.Module):
    """A DA-CLIP of which only some embeddings arrive, see `only`.

    What DA-CLIP says of a batch is kept in `known`: variants that see the same batches need to ask it but once.
    """

    def __init__(self, daclip: DaCLIP, parts: Collection[str], known: dict[bytes, Embeddings]):
        super().__init__()
        self.daclip, self.clip, self.parts, self.known = daclip, daclip.clip, parts, known

    def encode_image(self, images: Tensor, *, normalize: bool = True) -> Embeddings:
        """The embeddings of images (b, 3, s, s) in [0, 1]; zeros for what is left out."""
        key = hashlib.sha256(images.cpu().numpy().tobytes()).digest()
        if key not in self.known:
            self.known[key] = self.daclip.encode_image(images, normalize=normalize)
        return only(self.known[key], self.parts)


class CachedSource:
    """A source that makes every example once, however many trainings draw it."""

    def __init__(self, source: Source):
        self.source, self.known = source, {}

    def draw(self, generator: torch.Generator, size: int) -> Example:
        """The example that the source draws; the generator is left as the source leaves it."""
        key = (generator.get_state().numpy().tobytes(), size)
        if key not in self.known:
            self.known[key] = self.source.draw(generator, size), generator.get_state()
        example, after = self.known[key]
        generator.set_state(after)
        return example


class Ablation(NamedTuple):
    """What all runs obtained."""

    gains: "pd.DataFrame"
    """The gain in PSNR (dB) of each image of the exam (row, in its order) by each run (column: variant and seed)."""
    curves: "pd.DataFrame"
    """Columns variant, seed, step, and gain: the mean over the exam (dB)."""


def ablate(
    pipe: Pipeline,
    plan: Plan,
    *,
    variants: Sequence[str] = tuple(VARIANTS),
    seeds: Sequence[int] = (0, 1, 2),
    folder: str | Path | None = None,
) -> Ablation:
    """Train and examine a restorer for each variant and seed, under the DA-CLIP of a pipeline.

    A seed decides the initial weights, the batches and the noise. A finished run is kept as a small JSON file in
    `folder`, and is not done again. Raises InputError for an unknown variant, and for a folder with runs of another
    plan.
    """
    import pandas as pd

    if unknown := set(variants) - set(VARIANTS):
        raise InputError(f"variant {unknown.pop()!r} is unknown: use {', '.join(VARIANTS)}")
    runs = {}
    total = len(seeds) * len(variants) * plan.recipe.steps
    with tqdm(total=total, desc="ablation", unit="step") as bar:
        for seed in seeds:
            # For one seed at a time: the examples of all would fill the memory.
            shared, known = replace(plan, source=CachedSource(plan.source)), {}
            header = _header(pipe, shared, seed)
            for variant in variants:
                bar.set_postfix_str(f"{variant}, seed {seed}")
                path = None if folder is None else Path(folder) / f"{variant}-{seed}.json"
                runs[variant, seed] = _kept(path, header)
                if runs[variant, seed] is None:
                    runs[variant, seed] = header | _run(pipe, shared, variant, seed, known, bar)
                    if path is not None:
                        path.parent.mkdir(parents=True, exist_ok=True)
                        write_json(path, runs[variant, seed])
                else:
                    bar.update(plan.recipe.steps)
    gains = pd.DataFrame({run: found["gains"] for run, found in runs.items()})
    gains.columns = pd.MultiIndex.from_tuples(runs, names=["variant", "seed"])
    points = [(*run, *point) for run, found in runs.items() for point in found["curve"]]
    return Ablation(gains, pd.DataFrame(points, columns=["variant", "seed", "step", "gain"]))


def _header(pipe: Pipeline, plan: Plan, seed: int) -> dict:
    """What decides the result of a run besides its variant; a source is told by the first batch that it draws."""
    first = Batches(plan.source, size=plan.recipe.size, batch=plan.recipe.batch, seed=seed)[0]
    images = hashlib.sha256()
    for some in (first.degraded, plan.exam.clean, plan.exam.degraded):
        images.update(some.numpy().tobytes())
    header = {
        "network": plan.network,
        "recipe": asdict(replace(plan.recipe, seed=seed)),
        "moments": plan.moments,
        "daclip": fingerprint(pipe.daclip.state_dict()),
        "images": images.hexdigest()[:12],
    }
    # As it comes back from a file: lists instead of tuples.
    return json.loads(json.dumps(header))


def _kept(path: Path | None, header: dict) -> dict | None:
    """The run that a file keeps; None where there is no file."""
    if path is None or not path.exists():
        return None
    run = read_json(path)
    if other := [key for key, value in header.items() if run.get(key) != value]:
        raise InputError(
            f"{path} holds a run of other {', '.join(other)}: delete it, or name another folder"
        )
    return run


def _run(pipe: Pipeline, plan: Plan, variant: str, seed: int, known: dict, bar: tqdm) -> dict:
    """The `gains` (dB) of one run on the exam, and its `curve`: pairs of a step and the mean gain."""
    net = build_restorer(plan.network, pipe.settings.clip.embed_dim, seed)
    recipe = replace(plan.recipe, seed=seed, oracle=variant == "oracle")
    daclip = pipe.daclip if recipe.oracle else MaskedDaCLIP(pipe.daclip, VARIANTS[variant], known)
    own = Pipeline(pipe.settings, daclip=pipe.daclip, restorer=net)
    told = own.steering(list(plan.exam.degraded), _told(pipe, plan.exam, variant))
    curve = [(0, _examined(net, pipe, plan.exam, told).mean())]
    for step in train_restorer(net, daclip, pipe.sde, plan.source, recipe):
        bar.update()
        if step.index in plan.moments:
            curve.append((step.index, _examined(net, pipe, plan.exam, told).mean()))
    # Only now does the network hold the average of its weights.
    gains = _examined(net, pipe, plan.exam, told)
    curve.append((recipe.steps, gains.mean()))
    return {"gains": gains.tolist(), "curve": [(step, float(gain)) for step, gain in curve]}


def _told(pipe: Pipeline, exam: EvalSet, variant: str) -> Embeddings:
    """What a variant is told of the images of the exam, as in its training."""
    if variant == "oracle":
        words = pipe.encode_text(exam.facts.degradation.tolist())
        return Embeddings(pipe.encode_clip(list(exam.clean)), words)
    return only(pipe.encode(list(exam.degraded)), VARIANTS[variant])


@torch.inference_mode()
def _examined(net: nn.Module, pipe: Pipeline, exam: EvalSet, told: Embeddings) -> np.ndarray:
    """The gain in PSNR (dB) of each image of the exam (n,) by a restoration in one step."""
    predict = denoiser(net, pipe.sde, exam.degraded, net.prepare(*told))
    *_, last = sample(predict, pipe.sde, exam.degraded, steps=1, generator=seeded(0))
    return exam.gain(last.state.clamp(0, 1))


def seed_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval (mean, low, high) of one value per seed, by Student's t; NaN ends for a single seed.

    It takes the seeds for independent draws from a normal distribution. With three, their spread itself is hardly
    known, so the interval is 2.5 standard deviations to each side.
    """
    from scipy.stats import t

    values = np.asarray(values, float)
    mean, n = values.mean(), len(values)
    if n < 2:
        return float(mean), float("nan"), float("nan")
    reach = t.ppf(0.975, n - 1) * values.std(ddof=1) / n**0.5
    return float(mean), float(mean - reach), float(mean + reach)


def compared(gains: "pd.DataFrame", photos: Sequence[str], against: str = "none") -> "pd.DataFrame":
    """Every variant beside one of them: a row each, with its difference and two 95 % intervals, all in dB.

    Args:
        gains: those of `Ablation`.
        photos: the photo of each row.

    Columns: `gain` and `spread`, mean and standard deviation of the runs; `difference`, that of the runs of one seed,
    averaged; `seed_low` and `seed_high`, its interval over seeds (what if they were trained again?); `photo_low` and
    `photo_high`, its interval over photos, of the runs' mean (what if these networks were asked about others?).
    """
    import pandas as pd

    rows = {}
    for variant in gains.columns.unique("variant"):
        runs, difference = gains[variant].mean(), gains[variant] - gains[against]
        mean, low, high = seed_interval(difference.mean())
        _, photo_low, photo_high = interval(difference.mean(axis=1).to_numpy(), np.asarray(photos))
        rows[variant] = {
            "gain": runs.mean(),
            "spread": runs.std(),
            "difference": mean,
            "seed_low": low,
            "seed_high": high,
            "photo_low": photo_low,
            "photo_high": photo_high,
        }
    return pd.DataFrame(rows).T.rename_axis("variant")
