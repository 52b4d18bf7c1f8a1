"""The best, the median and the worst restoration of each degradation of an evaluation."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from daclip_lab.data.photos import Photos
from daclip_lab.errors import InputError
from daclip_lab.evaluation.evaluation import Evaluation
from daclip_lab.evaluation.evaluator import configured, restored
from daclip_lab.evaluation.protocol import degraded_crops
from daclip_lab.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    import pandas as pd

RANKS = ("best", "median", "worst")


@dataclass(frozen=True, kw_only=True)
class Restoration:
    """One restoration and its rank among those of its degradation."""

    degradation: str
    rank: str
    """One of `RANKS`, by the gain in PSNR."""
    predicted: str
    """The degradation that it was classified as."""
    psnr_input: float
    """dB."""
    psnr: float
    """dB."""
    degraded: Tensor
    """(3, h, w) in [0, 1], like the other two."""
    restored: Tensor
    clean: Tensor


def examples(pipe: Pipeline, photos: Photos, result: Evaluation) -> list[Restoration]:
    """The best, median and worst restoration of each degradation, with their images computed again.

    `result` is an evaluation of these weights and photos. Of an even number the median is the better of the two.
    Raises InputError where nothing was restored.
    """
    if "psnr" not in result.rows:
        raise InputError("this evaluation restored nothing: there is nothing to show")
    rows = result.measures()
    rows["place"] = rows.groupby("photo").cumcount()
    chosen = {}
    for name in result.protocol.labels[:-1]:
        order = rows[rows.degradation == name]
        order = order.sort_values("psnr_gain", ascending=False, kind="stable")
        for rank, at in zip(RANKS, (0, (len(order) - 1) // 2, len(order) - 1), strict=True):
            chosen[name, rank] = order.iloc[at]
    images = {}
    for photo in dict.fromkeys(row.photo for row in chosen.values()):
        keys = [key for key, row in chosen.items() if row.photo == photo]
        made = _images(pipe, photos, result, [chosen[key] for key in keys])
        images |= zip(keys, made, strict=True)
    return [
        Restoration(
            degradation=name,
            rank=rank,
            predicted=row.predicted_degradation,
            psnr_input=float(row.psnr_input),
            psnr=float(row.psnr),
            **images[name, rank],
        )
        for (name, rank), row in chosen.items()
    ]


def _images(
    pipe: Pipeline, photos: Photos, result: Evaluation, rows: list["pd.Series"]
) -> list[dict[str, Tensor]]:
    """Degraded, restored and clean (3, h, w), for some rows of one photo."""
    protocol, places = result.protocol, [row.place for row in rows]
    clean, degraded, _ = degraded_crops(photos, photos.names.index(rows[0].photo), protocol)
    clean, degraded = clean[places], degraded[places]
    pipe = configured(pipe, view=protocol.view, window=protocol.window)
    outputs = restored(pipe, degraded, pipe.encode(degraded), protocol)
    parts = zip(degraded, outputs, clean, strict=True)
    return [dict(zip(("degraded", "restored", "clean"), part, strict=True)) for part in parts]
