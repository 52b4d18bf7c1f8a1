"""Accuracy and restoration quality per degradation, with intervals, under one protocol that has a number.

Every photo is degraded in each of the ten ways and left clean once; the same crops, severities and noise come back at
every run. Numbers of different protocols must not be compared: the hash of the protocol is printed with them.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from daclip_lab.data.datasets import LABELS
from daclip_lab.data.degradations import CLEAN, NAMES, camera, degrade
from daclip_lab.data.photos import Photos
from daclip_lab.data.random import choose, seeded, uniform
from daclip_lab.errors import InputError
from daclip_lab.pipeline import Pipeline

if TYPE_CHECKING:
    import pandas as pd

# Raised by one whenever a degradation or a measure changes: old numbers are then not comparable any more.
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What an evaluation does, so that it can be done again."""

    crop: int | None = 64
    """Side of the crops, in pixels; None takes whole photos."""
    crops: int = 1
    """Crops per photo and degradation."""
    severity: tuple[float, float] = (0.3, 1.0)
    """Range of severities, evenly distributed."""
    steps: int | None = None
    """Steps of a restoration; None takes what the weights want."""
    sampler: str = "posterior"
    """One of `diffusion.samplers.SAMPLERS`."""
    seed: int = 0
    """Decides crops, severities, degradations and the noise of the restoration."""

    def __post_init__(self):
        for field in ("crop", "crops", "steps"):
            if (value := getattr(self, field)) is not None and value < 1:
                raise InputError(f"{field}={value}: wanted 1 or more")

    @property
    def hash(self) -> str:
        """Eight characters that change with any field and with the version of the protocol."""
        content = json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Evaluation:
    """The measurements of one evaluation, one row per degraded crop."""

    protocol: Protocol
    rows: "pd.DataFrame"
    """Columns: photo, degradation, severity; named, clip_named (of the ten); called, probability (of the eleven);
    psnr_input, psnr, ssim_input, ssim."""

    def table(self) -> "pd.DataFrame":
        """One row per degradation, `overall` (the ten) and `clean`: n, photos, and each measure with its interval.

        Columns of a measure m are `m`, `m_low` and `m_high`: mean and 95 % bootstrap interval over photos.
        `accuracy` is ten-way; on clean images it is the share called clean.
        """
        import pandas as pd

        rows = self.rows.assign(
            accuracy=np.where(
                self.rows.degradation == CLEAN,
                self.rows.called == CLEAN,
                self.rows.named == self.rows.degradation,
            ).astype(float),
            clip_accuracy=(self.rows.clip_named == self.rows.degradation).astype(float),
            false_clean=(self.rows.called == CLEAN).astype(float),
        )
        if "psnr" in rows:
            rows["psnr_gain"] = rows.psnr - rows.psnr_input
        rows.loc[rows.degradation == CLEAN, ["clip_accuracy", "false_clean"]] = np.nan
        measures = ["accuracy", "clip_accuracy", "false_clean"]
        measures += [
            m for m in ("psnr_input", "psnr", "psnr_gain", "ssim_input", "ssim") if m in rows
        ]
        groups = {name: rows[rows.degradation == name] for name in NAMES}
        groups["overall"] = rows[rows.degradation != CLEAN]
        groups[CLEAN] = rows[rows.degradation == CLEAN]
        lines = {}
        for name, group in groups.items():
            lines[name] = {"n": len(group), "photos": group.photo.nunique()}
            for measure in measures:
                mean, low, high = interval(group[measure].to_numpy(), group.photo.to_numpy())
                lines[name] |= {measure: mean, f"{measure}_low": low, f"{measure}_high": high}
        return pd.DataFrame(lines).T.astype({"n": int, "photos": int})

    def confusion(self) -> "pd.DataFrame":
        """How often each degradation (row) was named as each of the ten (column): shares that sum to 1."""
        import pandas as pd

        rows = self.rows[self.rows.degradation != CLEAN]
        counts = pd.crosstab(rows.degradation, rows.named, normalize="index")
        return counts.reindex(index=list(NAMES), columns=list(NAMES), fill_value=0.0)

    def calibration_error(self) -> float:
        """The expected calibration error of the eleven-way answers, see `calibration`."""
        right = (self.rows.called == self.rows.degradation).to_numpy()
        return expected_calibration_error(self.rows.probability.to_numpy(), right)

    def to_dict(self) -> dict:
        """The table and the protocol, ready for JSON; what has no value is None."""
        table = {
            name: {k: None if np.isnan(v) else v for k, v in line.items()}
            for name, line in self.table().to_dict("index").items()
        }
        protocol = {"hash": self.protocol.hash, "version": VERSION, **asdict(self.protocol)}
        return {
            "protocol": protocol,
            "calibration_error": self.calibration_error(),
            "degradations": table,
        }

    def __str__(self) -> str:
        table = self.table()
        shown = table[["n", "photos"]].copy()
        for measure in [c for c in table if f"{c}_low" in table]:
            digits = 2 if measure.startswith("psnr") else 3
            shown[measure] = [
                ""
                if np.isnan(line[measure])
                else f"{line[measure]:.{digits}f} [{line[measure + '_low']:.{digits}f},"
                f" {line[measure + '_high']:.{digits}f}]"
                for _, line in table.iterrows()
            ]
        return (
            f"{shown.to_string()}\n"
            f"expected calibration error {self.calibration_error():.3f}; "
            f"protocol {self.protocol.hash} (version {VERSION})"
        )


def evaluate(
    pipe: Pipeline, photos: Photos, protocol: Protocol | None = None, *, restore: bool = True
) -> Evaluation:
    """Measure a pipeline on clean photos that it was not trained on.

    `restore=False` leaves the restoration out; so do weights without a restorer.
    """
    import pandas as pd

    protocol = protocol or Protocol()
    if protocol.steps is None:
        protocol = replace(protocol, steps=pipe.settings.steps)
    restore = restore and pipe.restorer is not None
    rows = []
    for index in tqdm(range(len(photos)), desc="evaluating", unit="photo", leave=False):
        clean, degraded, facts = degraded_crops(photos, index, protocol)
        for row, answer in zip(facts, _answers(pipe, degraded), strict=True):
            rows.append({**row, **answer})
        scores = {"psnr_input": psnr(degraded, clean), "ssim_input": ssim(degraded, clean)}
        if restore:
            *_, last = pipe.trajectory(
                degraded, steps=protocol.steps, sampler=protocol.sampler, seed=protocol.seed
            )
            restored = last.state.clamp(0, 1)
            scores |= {"psnr": psnr(restored, clean), "ssim": ssim(restored, clean)}
        for measure, values in scores.items():
            for row, value in zip(rows[-len(facts) :], values.tolist(), strict=True):
                row[measure] = value
    return Evaluation(protocol, pd.DataFrame(rows))


def degraded_crops(
    photos: Photos, index: int, protocol: Protocol
) -> tuple[Tensor, Tensor, list[dict]]:
    """All that the protocol makes of one photo: clean and degraded (n, 3, h, w), and what was done to each.

    A crop is degraded in each of the ten ways and once left clean; all pass through the camera.
    """
    photo = photos[index]
    h, w = photo.shape[-2:]
    if protocol.crop is not None and min(h, w) < protocol.crop:
        raise InputError(
            f"photo {photos.names[index]} is {w}x{h} pixels: wanted at least "
            f"{protocol.crop}x{protocol.crop}"
        )
    clean, degraded, facts = [], [], []
    for number in range(protocol.crops):
        generator = seeded(protocol.seed, index, number)
        crop = photo
        if protocol.crop is not None:
            top = choose(generator, h - protocol.crop + 1)
            left = choose(generator, w - protocol.crop + 1)
            crop = photo[:, top : top + protocol.crop, left : left + protocol.crop]
        for name in LABELS:
            severity = 0.0 if name == CLEAN else uniform(generator, *protocol.severity)
            clean.append(crop)
            degraded.append(camera(degrade(crop, name, severity, generator), generator))
            facts.append({"photo": photos.names[index], "degradation": name, "severity": severity})
    return torch.stack(clean), torch.stack(degraded), facts


@torch.inference_mode()
def _answers(pipe: Pipeline, degraded: Tensor) -> list[dict]:
    """What DA-CLIP, and CLIP without it, say is wrong with each image."""
    probabilities = pipe.probabilities(pipe.encode(list(degraded)).degradation)
    plain = pipe.encode_plain(list(degraded)) @ pipe.word_embeddings.T
    ten = len(NAMES)
    return [
        {
            "named": NAMES[int(p[:ten].argmax())],
            "clip_named": NAMES[int(c[:ten].argmax())],
            "called": LABELS[int(p.argmax())],
            "probability": float(p.max()),
        }
        for p, c in zip(probabilities, plain, strict=True)
    ]


def interval(
    values: np.ndarray, photos: np.ndarray, *, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap interval (mean, low, high) of values that come from photos.

    Whole photos are drawn again, not single crops: crops of one photo are alike. NaN for no values.
    """
    keep = ~np.isnan(values)
    values, photos = values[keep], photos[keep]
    if len(values) == 0:
        return (float("nan"),) * 3
    _, group = np.unique(photos, return_inverse=True)
    sums, counts = np.bincount(group, values), np.bincount(group)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(resamples, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def expected_calibration_error(probability: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """The mean gap between how sure an answer is and how often such answers are right.

    Args:
        probability: (n,) the probability of the answer given.
        right: (n,) whether it was right.
        bins: number of equal bins of probability over which the gap is averaged, by their size.
    """
    which = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = [
        np.abs(probability[which == b].mean() - right[which == b].mean()) * (which == b).mean()
        for b in np.unique(which)
    ]
    return float(np.sum(gaps))


def psnr(images: Tensor, clean: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each image (b,); equal images count as 60 dB, so that means exist."""
    error = (images - clean).square().mean((1, 2, 3))
    return -10 * error.clamp(min=1e-6).log10()


def ssim(images: Tensor, clean: Tensor) -> Tensor:
    """Structural similarity of each image (b,): Gaussian window of 11x11, sigma 1.5 (Wang et al., 2004)."""
    x = torch.arange(-5, 6, device=images.device)
    line = torch.exp(-(x**2) / (2 * 1.5**2))
    window = (line[:, None] * line / line.sum() ** 2).expand(3, 1, 11, 11)

    def mean(x: Tensor) -> Tensor:
        # Only windows that lie inside the image: padding would count pixels that nobody took.
        return F.conv2d(x, window, groups=3)

    a, b = mean(images), mean(clean)
    covariance = mean(images * clean) - a * b
    variances = mean(images**2) - a**2 + mean(clean**2) - b**2
    small, smaller = 0.01**2, 0.03**2
    similarity = (2 * a * b + small) * (2 * covariance + smaller)
    return (similarity / ((a**2 + b**2 + small) * (variances + smaller))).mean((1, 2, 3))
