"""What only pixels can tell: how an answer comes about, block by block and patch by patch.

A table of embeddings holds no pixels, so the images are read again: a bounded number of them, evenly over the
degradations, which keeps a report quick however large the folder is.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm.auto import tqdm

from daclip_lab.data.embedding_table import EmbeddingTable, fingerprint
from daclip_lab.data.image_io import read_image
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.embeddings.attribution import Attribution, attribute
from daclip_lab.embeddings.layers import TOWERS, Trace, injection, readability, repair, trace
from daclip_lab.embeddings.table_columns import photos_of
from daclip_lab.errors import InputError
from daclip_lab.models.clip import views
from daclip_lab.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    import pandas as pd

MOST_TRACED = 200
CROPS = 4
"""Crops of an image that are followed through the blocks, where the weights look at crops at all."""
STEPS = 4
"""Points of the integral of an attribution, see `attribution.attribute`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """A table of n embeddings, the weights that made it, and the images that it tells of.

    Raises InputError where other weights made the table.
    """

    pipe: Pipeline
    table: EmbeddingTable
    images: Sequence
    """n images, each anything that `read_image` takes."""
    clean: Sequence | None = None
    """Their n clean partners."""

    def __post_init__(self):
        made = self.table.provenance.get("weights")
        own = fingerprint(self.pipe.daclip.state_dict())
        if made != own:
            raise InputError(
                f"weights {made} made the table and these are {own}: name those that made it"
            )


@dataclass(frozen=True, kw_only=True)
class Inside:
    """The measures of `analysis.layers`; None where the images cannot tell."""

    images: int
    """So many were followed through the blocks."""
    photos: int
    """So many photos they come from."""
    readability: "pd.DataFrame | None"
    chance: float
    """The share that a probe reads right if it always says the most frequent label."""
    repair: "pd.DataFrame | None"
    injection: "pd.DataFrame"


def inside(source: Source, tried: Callable) -> Inside | None:
    """Follow up to 200 images through all blocks.

    `tried(what, measure, *arguments)` gives what a measure gives, or None where it raises InputError.
    """
    which = evenly(source.table, MOST_TRACED)
    table = source.table.select(which)
    images = [source.images[k] for k in which]
    traced = tried("layer by layer", trace_images, source.pipe, images)
    if traced is None:
        return None
    photos, done = photos_of(table).astype(str), table.rows.degradation
    known = done.notna().to_numpy()
    labels = done[known].to_numpy().astype(str)
    read = tried(
        "degradation read block by block", readability, traced.select(known), labels, photos[known]
    )
    repaired = None
    if source.clean is not None:
        degraded = (done != CLEAN).to_numpy()
        partners = [source.clean[k] for k in which[degraded]]
        names = table.rows.partner[degraded].to_numpy().astype(str)
        repaired = tried(
            "content repaired block by block",
            lambda: repair(
                traced.select(degraded),
                _once_each(source.pipe, partners, names),
                photos[degraded],
            ),
        )
    return Inside(
        images=len(table),
        photos=len(set(photos)),
        readability=read,
        chance=float(np.unique(labels, return_counts=True)[1].max() / len(labels))
        if len(labels)
        else float("nan"),
        repair=repaired,
        injection=injection(traced, _kinds(table), photos),
    )


def evenly(table: EmbeddingTable, most: int) -> np.ndarray:
    """The numbers of up to `most` rows, ascending: as many of each degradation as there are, up to an equal share."""
    import pandas as pd

    kinds = pd.Series(_kinds(table))
    place = kinds.groupby(kinds).cumcount().to_numpy()
    return np.sort(place.argsort(kind="stable")[:most])


def trace_images(
    pipe: Pipeline, images: Sequence, *, crops: int = CROPS, at_a_time: int = 16
) -> Trace:
    """The trace of n images of any size: as for an embedding, that of an image is the mean over its views.

    Args:
        images: anything that `read_image` takes; `at_a_time` of them are in memory at once.
        crops: the largest number of crops of an image.
    """
    size, view, traces = pipe.settings.clip.image_size, pipe.settings.view, []
    for first in tqdm(range(0, len(images), at_a_time), "block by block", leave=False, delay=2):
        some = images[first : first + at_a_time]
        seen = [views(read_image(image), size, view, crops) for image in some]
        traced, counts = trace(pipe.daclip, torch.cat(seen)), np.array([len(v) for v in seen])
        starts = counts.cumsum() - counts
        features = {
            tower: np.add.reduceat(values, starts, axis=2) / counts[:, None]
            for tower, values in traced.features.items()
        }
        traces.append(Trace(features, np.add.reduceat(traced.injected, starts, axis=1) / counts))
    return Trace(
        {tower: np.concatenate([t.features[tower] for t in traces], axis=2) for tower in TOWERS},
        np.concatenate([t.injected for t in traces], axis=1),
    )


def attributions(source: Source, which: Iterable[int]) -> dict[int, Attribution]:
    """For some rows of a table, by number: what speaks for the answer that was given there."""
    predicted = source.table.rows.predicted
    return {
        int(k): attribute(source.pipe, source.images[k], predicted[k], steps=STEPS)
        for k in tqdm(list(which), "patch by patch", leave=False, delay=2)
    }


def _once_each(pipe: Pipeline, images: Sequence, names: np.ndarray) -> Trace:
    """The trace of images of which those of one name are the same: each is followed once."""
    _, first, place = np.unique(names, return_index=True, return_inverse=True)
    return trace_images(pipe, [images[k] for k in first]).select(place)


def _kinds(table: EmbeddingTable) -> np.ndarray:
    """What was done to each row (n,), or else what it is called, or else "images"."""
    rows = table.rows
    if rows.degradation.notna().any():
        return rows.degradation.fillna("unknown").to_numpy().astype(str)
    return (
        rows.predicted.to_numpy().astype(str)
        if "predicted" in rows
        else np.full(len(rows), "images")
    )
