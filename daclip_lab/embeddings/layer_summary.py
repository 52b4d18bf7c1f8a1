"""Block-wise analysis of the images behind an embedding table.

A table holds no pixels, so the images are read again: a bounded number, balanced over degradations, so that the cost
does not grow with the folder.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.data.image_io import ImageLike, read_image
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.embeddings.layers import (
    BlockFeatures,
    block_features,
    clean_cosine_by_block,
    injection_by_block,
    probe_by_block,
)
from daclip_lab.errors import InputError, InsufficientDataError
from daclip_lab.models.clip import views
from daclip_lab.pipeline.pipeline import Pipeline

MAX_IMAGES = 200
MAX_CROPS = 4
"""Crops per image that are analysed, where the weights embed crops at all."""
AT_A_TIME = 16
"""Images in memory at once."""


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


def summarize_layers(
    pipe: Pipeline,
    table: EmbeddingTable,
    images: Sequence[ImageLike],
    clean: Sequence[ImageLike] | None,
    attempt: Callable,
) -> LayerSummary | None:
    """Analyse up to 200 of the n images of a table, and their clean partners where there are any, block by block.

    `attempt(name, measure, *arguments)` returns what the measure returns, or None where the data do not support it.
    """
    which = balanced_rows(table, MAX_IMAGES)
    rows = table.rows.iloc[which]
    features = attempt("layer by layer", image_features, pipe, [images[k] for k in which])
    if features is None:
        return None
    photos, labelled = rows.photo.to_numpy().astype(str), rows.degradation.notna().to_numpy()
    labels = rows.degradation[labelled]
    sample = features.select(labelled), labels.to_numpy().astype(str), photos[labelled]
    probe = attempt("probe by block", probe_by_block, *sample)
    cosine = None
    if clean is not None:
        degraded = (rows.degradation != CLEAN).to_numpy()
        names = rows.partner[degraded].to_numpy().astype(str)

        def clean_cosine() -> "pd.DataFrame":
            # Rows of one photo share a partner, which is analysed once.
            _, first, place = np.unique(names, return_index=True, return_inverse=True)
            partners = image_features(pipe, [clean[k] for k in which[degraded][first]])
            return clean_cosine_by_block(
                features.select(degraded), partners.select(place), photos[degraded]
            )

        cosine = attempt("cosine to the clean image by block", clean_cosine)
    return LayerSummary(
        images=len(rows),
        photos=len(set(photos)),
        probe=probe,
        chance=float(labels.value_counts(normalize=True).max()),
        clean_cosine=cosine,
        injection=injection_by_block(features, _groups(rows), photos),
    )


def balanced_rows(table: EmbeddingTable, most: int) -> np.ndarray:
    """Up to `most` row numbers, ascending, with equal shares of the degradations as far as these have rows."""
    groups = _groups(table.rows)
    place = groups.groupby(groups).cumcount().to_numpy()
    return np.sort(place.argsort(kind="stable")[:most])


def image_features(pipe: Pipeline, images: Sequence[ImageLike]) -> BlockFeatures:
    """Block features of n images of any size: as for an embedding, the mean over the views of each image.

    Raises InsufficientDataError for an image that cannot be read.
    """
    size, view, parts = pipe.settings.clip.image_size, pipe.settings.view, []
    for first in tqdm(range(0, len(images), AT_A_TIME), "block by block", leave=False, delay=2):
        some = images[first : first + AT_A_TIME]
        seen = [views(read_or_skip(image), size, view, MAX_CROPS) for image in some]
        features = block_features(pipe.require_daclip(), torch.cat(seen))
        ends = np.cumsum([len(each) for each in seen])[:-1]
        parts.append([[x.mean(0) for x in np.split(values, ends)] for values in features])
    return BlockFeatures(*map(np.concatenate, zip(*parts, strict=True)))


def _groups(rows: "pd.DataFrame") -> "pd.Series":
    """A name for each row: its degradation, else its prediction, else "images"."""
    if rows.degradation.notna().any():
        return rows.degradation.fillna("unknown")
    return rows.predicted if "predicted" in rows else rows.degradation.fillna("images")
