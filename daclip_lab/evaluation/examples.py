"""The best, the median and the worst restoration of each degradation: what an average is made of."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from daclip_lab.data.photos import Photos
from daclip_lab.degradations.registry import DEGRADATIONS
from daclip_lab.errors import InputError
from daclip_lab.evaluation.evaluator import restored_singly, viewing
from daclip_lab.evaluation.protocol import degraded_crops
from daclip_lab.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    import pandas as pd

    from daclip_lab.evaluation.evaluation import Evaluation

RANKS = ("best", "median", "worst")


@dataclass(frozen=True, kw_only=True)
class Restoration:
    """One restoration and where it stands among those of its degradation."""

    degradation: str
    rank: str
    """One of `RANKS`, by the gain in PSNR."""
    named: str
    """What the ten-way classifier took it for."""
    psnr_input: float
    """dB."""
    psnr: float
    """dB."""
    degraded: Tensor
    """(3, h, w) in [0, 1], like the other two."""
    restored: Tensor
    clean: Tensor


def extremes(pipe: Pipeline, photos: Photos, result: "Evaluation") -> list[Restoration]:
    """The best, median and worst restoration of each degradation in an evaluation, with their images made again.

    The evaluation is one of these weights and photos. Of an even number the median is the better of the two.
    """
    if "psnr" not in result.rows:
        raise InputError("this evaluation restored nothing: there is nothing to show")
    rows = result.rows.assign(gain=result.rows.psnr - result.rows.psnr_input)
    rows["place"] = rows.groupby("photo").cumcount()
    chosen = {}
    for name in DEGRADATIONS:
        order = rows[rows.degradation == name].sort_values("gain", ascending=False, kind="stable")
        for rank, at in zip(RANKS, (0, (len(order) - 1) // 2, len(order) - 1), strict=True):
            chosen[name, rank] = order.iloc[at]
    made = {}
    for photo in dict.fromkeys(row.photo for row in chosen.values()):
        keys = [key for key, row in chosen.items() if row.photo == photo]
        made |= zip(keys, _images(pipe, photos, result, [chosen[key] for key in keys]), strict=True)
    return [
        Restoration(
            degradation=name,
            rank=rank,
            named=row.named,
            psnr_input=float(row.psnr_input),
            psnr=float(row.psnr),
            degraded=made[name, rank][0],
            restored=made[name, rank][1],
            clean=made[name, rank][2],
        )
        for (name, rank), row in chosen.items()
    ]


def _images(
    pipe: Pipeline, photos: Photos, result: "Evaluation", rows: list["pd.Series"]
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Degraded, restored and clean (3, h, w), for some rows of one photo."""
    protocol = result.protocol
    clean, degraded, _ = degraded_crops(photos, photos.names.index(rows[0].photo), protocol)
    places = [row.place for row in rows]
    clean, degraded = clean[places], degraded[places]
    pipe = viewing(pipe, protocol)
    restored = restored_singly(pipe, degraded, pipe.encode(list(degraded)), protocol)
    return list(zip(degraded, restored, clean, strict=True))
