"""Inference-time ablation of the restorer's conditioning.

The same images are restored repeatedly by one trained restorer, with different conditioning. What it then loses differs
from what a restorer gains by being *trained* with an embedding: for that see `ablation.study`.
"""

from collections.abc import Collection, Mapping
from itertools import chain
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from daclip_lab.data.photos import Photos
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.evaluation.protocol import Protocol, degraded_crops
from daclip_lab.metrics.bootstrap import bootstrap_interval
from daclip_lab.metrics.image_quality import psnr
from daclip_lab.models.daclip import Embeddings
from daclip_lab.pipeline.pipeline import Pipeline


class EvalSet(NamedTuple):
    """Degraded crops and their clean versions, on the CPU."""

    clean: Tensor
    """(n, 3, h, w) in [0, 1]."""
    degraded: Tensor
    """(n, 3, h, w) in [0, 1]."""
    metadata: "pd.DataFrame"
    """n rows with the columns photo, crop, degradation and severity."""

    def gain(self, restored: Tensor) -> np.ndarray:
        """PSNR of restorations (n, 3, h, w) minus PSNR of the degraded crops: (n,) in dB."""
        gain = psnr(restored.cpu(), self.clean) - psnr(self.degraded, self.clean)
        return gain.double().numpy()


def build_eval_set(photos: Photos, protocol: Protocol) -> EvalSet:
    """Every crop of the photos under a protocol, in each of the ten degradations; clean crops are left out.

    Raises InputError for a photo that is smaller than a crop.
    """
    parts = (degraded_crops(photos, index, protocol) for index in range(len(photos)))
    clean, degraded, rows = zip(*parts, strict=True)
    metadata = pd.DataFrame(chain(*rows))
    metadata = metadata[metadata.degradation != CLEAN]
    keep = metadata.index.tolist()
    metadata = metadata.reset_index(drop=True)
    return EvalSet(torch.cat(clean)[keep], torch.cat(degraded)[keep], metadata)


def mask_embeddings(embeddings: Embeddings, keep: Collection[str]) -> Embeddings:
    """The embeddings with zeros for those ("content", "degradation") that `keep` does not name."""
    return Embeddings(
        *(e if name in keep else torch.zeros_like(e) for name, e in embeddings._asdict().items())
    )


def conditioning_gains(
    pipe: Pipeline, eval_set: EvalSet, variants: Mapping[str, Embeddings], **options
) -> tuple["pd.DataFrame", dict[str, Tensor]]:
    """Restore an evaluation set under several conditionings, with the same noise.

    `options` are those of `Pipeline.restore`, such as `steps`. Returns the gain in PSNR (dB) of every image (row) under
    every variant (column), and the restorations (n, 3, h, w) of each variant.
    """
    images, restored = list(eval_set.degraded), {}
    for name, embeddings in tqdm(variants.items(), desc="conditioning", leave=False):
        made = pipe.restore(
            images, embeddings=embeddings, output_type="pt", progress=False, **options
        )
        restored[name] = torch.stack(made)
    gains = pd.DataFrame({name: eval_set.gain(made) for name, made in restored.items()})
    return gains, restored


def paired_differences(
    values: "pd.DataFrame", against: str, metadata: "pd.DataFrame"
) -> "pd.DataFrame":
    """Mean difference of every column to the column `against`, on the same images, with a 95 % interval over photos.

    `values` has a row for each row of `metadata`. Returns a row for each other column and degradation ("overall"
    first), with the columns conditioning, degradation, difference, low, high, n (images) and photos.
    """
    rows = []
    for conditioning in values.columns.drop(against):
        difference = (values[conditioning] - values[against]).to_numpy()
        images = metadata.assign(difference=difference)
        for name, part in [("overall", images), *images.groupby("degradation", sort=False)]:
            estimate = bootstrap_interval(part.difference, part.photo)
            rows.append((conditioning, name, *estimate, len(part), part.photo.nunique()))
    columns = ["conditioning", "degradation", "difference", "low", "high", "n", "photos"]
    return pd.DataFrame(rows, columns=columns)
