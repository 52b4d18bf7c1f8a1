"""Naming, embeddings and restoration under one protocol, per degradation, with intervals and beside the aims."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from daclip_lab.data.embedding_table import fingerprint
from daclip_lab.data.photos import Photos
from daclip_lab.degradations.registry import CLEAN, DEGRADATIONS
from daclip_lab.errors import InputError
from daclip_lab.evaluation import formatting, targets
from daclip_lab.evaluation.evaluator import Examiner, unpacked
from daclip_lab.evaluation.protocol import VERSION, Protocol
from daclip_lab.files.resume_log import ResumeLog
from daclip_lab.metrics import image_quality
from daclip_lab.metrics.bootstrap import bootstrap_interval
from daclip_lab.metrics.calibration import expected_calibration_error
from daclip_lab.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    import pandas as pd

OVERALL = "overall"


@dataclass(frozen=True)
class Evaluation:
    """The measurements of one evaluation."""

    protocol: Protocol
    rows: "pd.DataFrame"
    """One row per degraded or clean crop. Columns: photo, crop, degradation, severity; named, clip_named,
    held_out_named (of the ten); called, clip_called (of all answers), probability, probability_uncalibrated; cosine and
    clip_cosine (to CLIP's embedding of the clean crop); retrieved, clip_retrieved, clean_retrieved (the caption of the
    crop); psnr_input, psnr, and so on."""
    mixtures: "pd.DataFrame"
    """One row per mixture. Columns: photo, crop, first, second, severity_first, severity_second; top and clip_top, the
    two best of the ten; psnr_input, psnr, and so on."""
    fid: dict[str, float] = field(default_factory=dict)
    """Fréchet inception distance between the restorations of each degradation and the clean crops; empty where it was
    not measured."""
    notes: tuple[str, ...] = ()
    """What was not measured, and why."""

    def table(self) -> "pd.DataFrame":
        """One row per degradation, `overall` (the ten) and `clean`: n, photos, and each measure with its interval.

        Columns of a measure m are `m`, `m_low` and `m_high`: mean and 95 % bootstrap interval over photos.
        `accuracy` is ten-way; on clean images it is the share called clean. `fid` has no interval, and its `overall` is
        the mean over the ten.
        """
        import pandas as pd

        rows = self.measured()
        groups = {name: rows[rows.degradation == name] for name in DEGRADATIONS}
        groups[OVERALL] = rows[rows.degradation != CLEAN]
        groups[CLEAN] = rows[rows.degradation == CLEAN]
        lines = {}
        for name, group in groups.items():
            lines[name] = {"n": len(group), "photos": group.photo.nunique()}
            for measure in (m for m in formatting.MEASURES if m in rows):
                mean, low, high = bootstrap_interval(group[measure].to_numpy(float), group.photo.to_numpy())
                lines[name] |= {measure: mean, f"{measure}_low": low, f"{measure}_high": high}
            if self.fid:
                ten = [self.fid[label] for label in DEGRADATIONS]
                lines[name]["fid"] = np.mean(ten) if name == OVERALL else self.fid[name]
        return pd.DataFrame(lines).T.astype({"n": int, "photos": int})

    def measured(self) -> "pd.DataFrame":
        """The rows with every measure of `table` as a number; NaN where it says nothing."""
        rows, clean = self.rows, self.rows.degradation == CLEAN
        found = rows.assign(
            accuracy=np.where(clean, rows.predicted == CLEAN, rows.named == rows.degradation),
            clip_accuracy=np.where(
                clean, rows.clip_predicted == CLEAN, rows.clip_named == rows.degradation
            ),
            held_out_accuracy=rows.held_out_named == rows.degradation,
            false_clean=rows.predicted == CLEAN,
            retrieval=rows.retrieved,
            clip_retrieval=rows.clip_retrieved,
        )
        shares = ["accuracy", "clip_accuracy", "held_out_accuracy", "false_clean", "retrieval",
                  "clip_retrieval"]  # fmt: skip
        found = found.astype(dict.fromkeys(shares, float))
        found.loc[clean, ["held_out_accuracy", "false_clean"]] = np.nan
        if "psnr" in found:
            found["psnr_gain"] = found.psnr - found.psnr_input
            found["ssim_gain"] = found.ssim - found.ssim_input
        return found

    def summary(self) -> "pd.DataFrame":
        """The aims of the lab, one a row, see `targets.summary`."""
        return targets.summary(self)

    def confusion(self) -> "pd.DataFrame":
        """How often each degradation (row) was named as each of the ten (column): shares that sum to 1."""
        import pandas as pd

        rows = self.rows[self.rows.degradation != CLEAN]
        counts = pd.crosstab(rows.degradation, rows.named, normalize="index")
        return counts.reindex(index=list(DEGRADATIONS), columns=list(DEGRADATIONS), fill_value=0.0)

    def calibration_error(self, *, calibrated: bool = True) -> float:
        """The expected calibration error of the answers with the fitted temperature, or with none."""
        right = (self.rows.predicted == self.rows.degradation).to_numpy()
        column = "probability" if calibrated else "probability_uncalibrated"
        return expected_calibration_error(self.rows[column].to_numpy(), right)

    def to_dict(self) -> dict:
        """The tables and the protocol, ready for JSON; what has no value is None."""
        return {
            "protocol": {"hash": self.protocol.hash, "version": VERSION, **asdict(self.protocol)},
            "photos": int(self.rows.photo.nunique()),
            "aims": _plain(self.summary()),
            "degradations": _plain(self.table()),
            "calibration_error": self.calibration_error(),
            "calibration_error_uncalibrated": self.calibration_error(calibrated=False),
            "notes": list(self.notes),
        }

    def markdown(self) -> str:
        """The tables as Markdown, for a README or a card."""
        return formatting.markdown(self)

    def __str__(self) -> str:
        return formatting.text(self)


def _plain(table: "pd.DataFrame") -> dict:
    return {
        name: {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in line.items()}
        for name, line in table.to_dict("index").items()
    }


def evaluate(
    pipe: Pipeline,
    photos: Photos,
    protocol: Protocol | None = None,
    *,
    restore: bool = True,
    out: str | Path | None = None,
) -> Evaluation:
    """Measure a pipeline on clean photos that it was not trained on.

    Args:
        restore: False leaves the restoration out; so do weights without a restorer.
        out: folder that keeps what is done in a file named by the protocol's hash; an interrupted run goes on, and a
            finished one is read.

    Raises InputError where that file holds results of other weights or photos.
    """
    import pandas as pd

    protocol = (protocol or Protocol()).settled(pipe.settings)
    restore = restore and pipe.restorer is not None
    notes, networks = [], {}
    for measure in image_quality.BACKBONES:
        try:
            networks[measure] = image_quality.network(measure) is not None
        except InputError as error:
            networks[measure] = False
            notes.append(f"not measured: {error}")
    header = {
        "protocol": asdict(protocol) | {"version": VERSION},
        "weights": _weights(pipe),
        "photos": photos.names,
        "measures": {"restoration": restore, **networks},
    }
    records = ResumeLog(Path(out) / f"{protocol.hash}.jsonl" if out else None, header)
    left = range(len(records.parts), len(photos))
    if left:
        examine = Examiner(pipe, photos, protocol, restore=restore, **networks)
        bar = tqdm(left, "evaluating", len(photos), initial=left.start, unit="photo", leave=False)
        for index in bar:
            records.append(examine(index))
    return Evaluation(
        protocol,
        pd.DataFrame([row for part in records.parts for row in part["rows"]]),
        pd.DataFrame([row for part in records.parts for row in part["mixtures"]]),
        _fid([part["features"] for part in records.parts if "features" in part]),
        tuple(notes),
    )


def _fid(features: list[dict[str, str]]) -> dict[str, float]:
    """The distance of each label's restorations to the clean crops; of a single crop there is none."""
    if not features:
        return {}
    stacks = {name: unpacked(part[name] for part in features) for name in features[0]}
    clean = stacks.pop("originals")
    if len(clean) < 2:
        return {}
    return {name: image_quality.frechet_distance(stack, clean) for name, stack in stacks.items()}


def _weights(pipe: Pipeline) -> str:
    """What decides the answers of a pipeline besides the protocol."""
    tensors = {
        f"{kind}.{name}": tensor
        for kind, part in (("daclip", pipe.daclip), ("restorer", pipe.restorer))
        if part is not None
        for name, tensor in part.state_dict().items()
    }
    words = "all phrasings" if pipe.settings.synonyms else "canonical words"
    return f"{fingerprint(tensors)}, {words}, temperature {pipe.settings.temperature}"
