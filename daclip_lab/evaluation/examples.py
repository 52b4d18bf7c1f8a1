"""The best, the median and the worst restoration of each degradation of an evaluation."""

from dataclasses import dataclass

from torch import Tensor

from daclip_lab.data.photos import Photos
from daclip_lab.errors import InputError
from daclip_lab.evaluation.evaluation import Evaluation
from daclip_lab.evaluation.evaluator import configured, restored
from daclip_lab.evaluation.protocol import degraded_crops
from daclip_lab.pipeline.pipeline import Pipeline

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
    protocol, rows, found = result.protocol, result.measures(), []
    rows["place"] = rows.groupby("photo").cumcount()
    pipe = configured(pipe, view=protocol.view, window=protocol.window)
    for name in protocol.labels[:-1]:
        order = rows[rows.degradation == name]
        order = order.sort_values("psnr_gain", ascending=False, kind="stable")
        for rank, at in zip(RANKS, (0, (len(order) - 1) // 2, len(order) - 1), strict=True):
            row = order.iloc[at]
            clean, images, _ = degraded_crops(photos, photos.names.index(row.photo), protocol)
            degraded = images[[row.place]]
            output = restored(pipe, degraded, pipe.encode(degraded), protocol)
            found.append(
                Restoration(
                    degradation=name,
                    rank=rank,
                    predicted=row.predicted_degradation,
                    psnr_input=float(row.psnr_input),
                    psnr=float(row.psnr),
                    degraded=degraded[0],
                    restored=output[0],
                    clean=clean[row.place],
                )
            )
    return found
