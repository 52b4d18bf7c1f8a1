"""What the lab's weights should reach, and what they reach: one line for each aim."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from daclip_lab.degradations.registry import CLEAN, DEGRADATIONS
from daclip_lab.metrics.bootstrap import bootstrap_interval

if TYPE_CHECKING:
    import pandas as pd

    from daclip_lab.evaluation.evaluation import Evaluation

Measured = tuple[float, float, float]
"""A value with the two ends of its 95 % interval over photos."""


class Aim(NamedTuple):
    """One line: a measure, what it should reach, and what it does."""

    measure: str
    measured: Measured
    clip: float = np.nan
    """The same measure of CLIP without its controller; NaN where there is none."""
    least: float = np.nan
    """The aim, where more is better; NaN where nothing is aimed at."""
    most: float = np.nan
    """The aim, where less is better."""
    note: str = ""
    """Which degradation the value is of, where it is the worst of the ten."""


def summary(result: "Evaluation") -> "pd.DataFrame":
    """The aims of an evaluation: a row for each measure, with its unit in the name.

    Columns: `aim` ("" where nothing is aimed at), `value`, `low` and `high` (95 % interval over photos), `clip` (CLIP
    alone), `met` (None without an aim), `note` (which degradation is the worst of the ten). The aims for naming differ
    between crops and whole photos; those for retrieval are for crops, those for restoration for whole photos.
    """
    import pandas as pd

    rows = result.measured()
    ten, clean = rows[rows.degradation != CLEAN], rows[rows.degradation == CLEAN]
    whole = result.protocol.crop is None
    aims = [
        *_naming(ten, clean, *((99.2, 97) if whole else (96, 90))),
        *_mixtures(result.mixtures, "psnr" in rows),
        *_content(ten, np.nan if whole else 85),
    ]
    if "psnr" in rows:
        aims += _restoration(ten, clean, aimed=whole and result.protocol.steps <= 5)
    return pd.DataFrame([_line(aim) for aim in aims]).set_index("measure")


def _line(aim: Aim) -> dict:
    value, low, high = aim.measured
    wanted, met = "", None
    if not np.isnan(aim.least):
        wanted, met = f"at least {aim.least:g}", bool(value >= aim.least)
    if not np.isnan(aim.most):
        wanted, met = f"at most {aim.most:g}", bool(value <= aim.most)
    return {
        "measure": aim.measure,
        "aim": wanted,
        "value": value,
        "low": low,
        "high": high,
        "clip": aim.clip,
        "met": met,
        "note": aim.note,
    }


def _naming(ten: "pd.DataFrame", clean: "pd.DataFrame", overall: float, each: float) -> list[Aim]:
    name, accuracies = _worst(ten, "accuracy")
    alarms = clean.assign(false=1 - clean.accuracy, clip_false=1 - clean.clip_accuracy)
    return [
        Aim(
            "ten-way accuracy (%)",
            _percent(_mean(ten, "accuracy")),
            100 * ten.clip_accuracy.mean(),
            least=overall,
        ),
        Aim(
            "ten-way accuracy, worst of the ten (%)",
            _percent(accuracies),
            100 * ten[ten.degradation == name].clip_accuracy.mean(),
            least=each,
            note=name,
        ),
        Aim("ten-way accuracy, words held out (%)", _percent(_mean(ten, "held_out_accuracy"))),
        Aim(
            "false alarms on clean photos (%)",
            _percent(_mean(alarms, "false")),
            100 * alarms.clip_false.mean(),
            most=5,
        ),
    ]


def _mixtures(mixtures: "pd.DataFrame", restored: bool) -> list[Aim]:
    if not len(mixtures):
        return []

    def both(column: str) -> np.ndarray:
        zipped = zip(mixtures["first"], mixtures["second"], mixtures[column], strict=True)
        return np.array([{first, second} == set(top) for first, second, top in zipped], float)

    photos = mixtures.photo.to_numpy()
    aims = [
        Aim(
            "both of two degradations in the top two (%)",
            _percent(bootstrap_interval(both("top"), photos)),
            100 * both("clip_top").mean(),
            least=80,
        )
    ]
    if restored:
        gain = (mixtures.psnr - mixtures.psnr_input).to_numpy()
        aims.append(Aim("gain on two degradations (dB)", bootstrap_interval(gain, photos), least=0))
        aims.append(
            Aim("share of these restored above their input (%)",
                _percent(bootstrap_interval((gain > 0).astype(float), photos)))
        )  # fmt: skip
    return aims


def _content(ten: "pd.DataFrame", retrieval: float) -> list[Aim]:
    photos = ten.photo.to_numpy()
    # The mean gap with the controller, as a share of the mean gap without it.
    left = bootstrap_interval((1 - ten.cosine), photos, denominators=1 - ten.clip_cosine)
    closed = (1 - left[0], 1 - left[2], 1 - left[1])
    reference = ten.clean_retrieved.to_numpy(float)
    return [
        Aim("cosine to the clean image's embedding", _mean(ten, "cosine"), ten.clip_cosine.mean()),
        Aim("gap of that cosine to 1 that is closed (%)", _percent(closed), 0.0, least=75),
        Aim("caption retrieval, R@1 (%)", _percent(_mean(ten, "retrieval")),
            100 * ten.clip_retrieval.mean()),
        Aim(
            "of the R@1 of CLIP on clean images (%)",
            _percent(bootstrap_interval(ten.retrieval, photos, denominators=reference)),
            100 * ten.clip_retrieval.sum() / reference.sum(),
            least=retrieval,
        ),
    ]  # fmt: skip


def _restoration(ten: "pd.DataFrame", clean: "pd.DataFrame", *, aimed: bool) -> list[Aim]:
    def least(value: float) -> float:
        return value if aimed else np.nan

    lines = [Aim("gain in PSNR (dB)", _mean(ten, "psnr_gain"), least=least(8))]
    for measure, title in (
        ("psnr_gain", "PSNR, worst of the ten (dB)"),
        ("ssim_gain", "SSIM, worst of the ten"),
    ):
        name, gain = _worst(ten, measure)
        lines.append(Aim(f"gain in {title}", gain, least=least(0), note=name))
    lines.append(
        Aim("a clean photo restored, PSNR to itself (dB)", _mean(clean, "psnr"), least=least(35))
    )
    return lines


def _worst(ten: "pd.DataFrame", measure: str) -> tuple[str, Measured]:
    """The degradation of which the mean is lowest, and its mean."""
    means = ten.groupby("degradation")[measure].mean().reindex(list(DEGRADATIONS))
    return means.idxmin(), _mean(ten[ten.degradation == means.idxmin()], measure)


def _mean(rows: "pd.DataFrame", measure: str) -> Measured:
    return bootstrap_interval(rows[measure].to_numpy(float), rows.photo.to_numpy())


def _percent(measured: Measured) -> Measured:
    return tuple(100 * value for value in measured)
