"""Block-wise analysis of the images behind an embedding table.

A table holds no pixels, so the images are read again: a bounded number, balanced over degradations, so that the cost
does not grow with the folder.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.data.image_io import ImageLike, read_image
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.embeddings.layers import (
    TOWERS,
    BlockFeatures,
    block_features,
    clean_cosine_by_block,
    injection_by_block,
    probe_by_block,
)
from daclip_lab.errors import InputError, InsufficientDataError
from daclip_lab.models.clip import views
from daclip_lab.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    import pandas as pd

MAX_IMAGES = 200
MAX_CROPS = 4
"""Crops per image that are analysed, where the weights embed crops at all."""


@dataclass(frozen=True, eq=False, kw_only=True)
class EmbeddedImages:
    """n images, their embeddings, and the weights that made them.

    Raises InsufficientDataError where the table was made by other weights.
    """

    pipe: Pipeline
    table: EmbeddingTable
    images: Sequence
    """n images, each anything that `read_image` takes."""
    clean: Sequence | None = None
    """Their n clean partners."""

    def __post_init__(self):
        made = self.table.provenance.get("weights")
        own = self.pipe.provenance["weights"]
        if made != own:
            raise InsufficientDataError(
                f"the table was made by weights {made}, and these are {own}: name those that made it"
            )


def read_or_skip(image: ImageLike) -> Tensor:
    """An image (3, h, w) in [0, 1]. Raises InsufficientDataError where it cannot be read, such as a deleted file."""
    try:
        return read_image(image)
    except InputError as error:
        raise InsufficientDataError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class LayerSummary:
    """The measures of `layers`; None where the images do not support one."""

    images: int
    """Number of images analysed."""
    photos: int
    """Number of photos that they come from."""
    probe: "pd.DataFrame | None"
    """See `layers.probe_by_block`."""
    chance: float
    """The share of the most frequent label; NaN without labels."""
    clean_cosine: "pd.DataFrame | None"
    """See `layers.clean_cosine_by_block`."""
    injection: "pd.DataFrame"
    """See `layers.injection_by_block`."""


def summarize_layers(embedded: EmbeddedImages, attempt: Callable) -> LayerSummary | None:
    """Analyse up to 200 images block by block.

    `attempt(name, measure, *arguments)` returns what the measure returns, or None where the data do not support it.
    """
    which = balanced_rows(embedded.table, MAX_IMAGES)
    table = embedded.table.select(which)
    images = [embedded.images[k] for k in which]
    features = attempt("layer by layer", image_features, embedded.pipe, images)
    if features is None:
        return None
    photos, degradation = table.rows.photo.to_numpy().astype(str), table.rows.degradation
    labelled = degradation.notna().to_numpy()
    labels = degradation[labelled].to_numpy().astype(str)
    probe = attempt(
        "probe by block", probe_by_block, features.select(labelled), labels, photos[labelled]
    )
    cosine = None
    if embedded.clean is not None:
        degraded = (degradation != CLEAN).to_numpy()
        partners = [embedded.clean[k] for k in which[degraded]]
        names = table.rows.partner[degraded].to_numpy().astype(str)

        def clean_cosine() -> "pd.DataFrame":
            # Rows of one photo share a partner, which is analysed once.
            _, first, place = np.unique(names, return_index=True, return_inverse=True)
            clean = image_features(embedded.pipe, [partners[k] for k in first]).select(place)
            return clean_cosine_by_block(features.select(degraded), clean, photos[degraded])

        cosine = attempt("cosine to the clean image by block", clean_cosine)
    counts = np.unique(labels, return_counts=True)[1]
    return LayerSummary(
        images=len(table),
        photos=len(set(photos)),
        probe=probe,
        chance=float(counts.max() / counts.sum()) if len(labels) else float("nan"),
        clean_cosine=cosine,
        injection=injection_by_block(features, _groups(table), photos),
    )


def balanced_rows(table: EmbeddingTable, most: int) -> np.ndarray:
    """Up to `most` row numbers, ascending, with equal shares of the degradations as far as these have rows."""
    import pandas as pd

    groups = pd.Series(_groups(table))
    place = groups.groupby(groups).cumcount().to_numpy()
    return np.sort(place.argsort(kind="stable")[:most])


def image_features(
    pipe: Pipeline, images: Sequence, *, crops: int = MAX_CROPS, at_a_time: int = 16
) -> BlockFeatures:
    """Block features of n images of any size: as for an embedding, the mean over the views of each image.

    Args:
        images: anything that `read_image` takes; `at_a_time` of them are in memory at once.
        crops: the largest number of crops of an image.

    Raises InsufficientDataError for an image that cannot be read.
    """
    size, view, parts = pipe.settings.clip.image_size, pipe.settings.view, []
    for first in tqdm(range(0, len(images), at_a_time), "block by block", leave=False, delay=2):
        some = images[first : first + at_a_time]
        seen = [views(read_or_skip(image), size, view, crops) for image in some]
        features = block_features(pipe.require_daclip(), torch.cat(seen))
        counts = np.array([len(v) for v in seen])
        starts = counts.cumsum() - counts
        pooled = {
            tower: np.add.reduceat(values, starts, axis=2) / counts[:, None]
            for tower, values in features.pooled.items()
        }
        injected = np.add.reduceat(features.injected, starts, axis=1) / counts
        parts.append(BlockFeatures(pooled, injected))
    return BlockFeatures(
        {tower: np.concatenate([p.pooled[tower] for p in parts], axis=2) for tower in TOWERS},
        np.concatenate([p.injected for p in parts], axis=1),
    )


def _groups(table: EmbeddingTable) -> np.ndarray:
    """A name for each row (n,): its degradation, else its prediction, else "images"."""
    rows = table.rows
    if rows.degradation.notna().any():
        return rows.degradation.fillna("unknown").to_numpy().astype(str)
    return (
        rows.predicted.to_numpy().astype(str)
        if "predicted" in rows
        else np.full(len(rows), "images")
    )
