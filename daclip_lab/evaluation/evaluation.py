"""Classification, embeddings and restoration under one protocol, per degradation, with intervals and targets."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from daclip_lab.data.photos import Photos
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.evaluation.evaluator import Evaluator, unpacked
from daclip_lab.evaluation.protocol import VERSION, Protocol
from daclip_lab.evaluation.tables import (
    CLASSIFICATION,
    MEASURES,
    RESTORATION,
    SIMILARITY,
    cells,
    interval_columns,
)
from daclip_lab.evaluation.targets import target_cells, target_table
from daclip_lab.files.resume_log import ResumeLog
from daclip_lab.metrics import image_quality
from daclip_lab.metrics.calibration import expected_calibration_error
from daclip_lab.metrics.classification import OVERALL, confusion_matrix
from daclip_lab.metrics.formatting import json_rows, markdown_table
from daclip_lab.pipeline.pipeline import Pipeline


@dataclass(frozen=True)
class Evaluation:
    """The measurements of one evaluation."""

    protocol: Protocol
    rows: "pd.DataFrame"
    """One row per degraded or clean crop. Columns: photo, crop, degradation, severity; predicted, clip_predicted (among
    all labels), predicted_degradation, clip_predicted_degradation, held_out_predicted (without "clean"), probability,
    probability_uncalibrated; cosine and clip_cosine (to CLIP's embedding of the clean crop); retrieved, clip_retrieved,
    clean_retrieved (the caption of the crop); psnr_input, psnr, and so on."""
    mixtures: "pd.DataFrame"
    """One row per mixture. Columns: photo, crop, first, second, severity_first, severity_second; top and clip_top, the
    two best degradations; psnr_input, psnr, and so on."""
    fid: dict[str, float] = field(default_factory=dict)
    """Fréchet inception distance between the restorations of each label and the clean crops; empty where it was not
    measured."""
    notes: tuple[str, ...] = ()
    """What was not measured, and why."""

    def table(self) -> "pd.DataFrame":
        """One row per degradation, `overall` (all of them) and `clean`: n, photos, each measure with its interval.

        Columns of a measure m are `m`, `m_low` and `m_high`: mean and 95 % bootstrap interval over photos.
        `accuracy` of a degraded image compares the degradations without "clean"; that of a clean image, all labels.
        `fid` has no interval, and its `overall` is the mean over the degradations.
        """
        rows, names = self.measures(), self.protocol.labels[:-1]
        groups = {name: rows[rows.degradation == name] for name in names}
        groups[OVERALL] = rows[rows.degradation != CLEAN]
        groups[CLEAN] = rows[rows.degradation == CLEAN]
        lines = {
            name: {"n": len(group), "photos": group.photo.nunique()}
            | interval_columns(group, MEASURES)
            for name, group in groups.items()
        }
        table = pd.DataFrame(lines).T.astype({"n": int, "photos": int})
        if self.fid:
            overall = np.mean([self.fid[name] for name in names])
            table["fid"] = table.index.map({OVERALL: overall} | self.fid)
        return table.rename_axis("degradation")

    def measures(self) -> "pd.DataFrame":
        """The rows with every measure of `table` as a number; NaN where it is not defined."""
        rows, clean = self.rows, self.rows.degradation == CLEAN

        def right(prefix: str) -> np.ndarray:
            among_all = rows[f"{prefix}predicted"] == CLEAN
            among_degraded = rows[f"{prefix}predicted_degradation"] == rows.degradation
            return np.where(clean, among_all, among_degraded).astype(float)

        found = rows.assign(
            accuracy=right(""),
            clip_accuracy=right("clip_"),
            held_out_accuracy=(rows.held_out_predicted == rows.degradation).where(~clean),
            false_clean=(rows.predicted == CLEAN).where(~clean),
            retrieval=rows.retrieved,
            clip_retrieval=rows.clip_retrieved,
        )
        shares = ("held_out_accuracy", "false_clean", "retrieval", "clip_retrieval")
        found = found.astype(dict.fromkeys(shares, float))
        if "psnr" in found:
            found["psnr_gain"] = found.psnr - found.psnr_input
            found["ssim_gain"] = found.ssim - found.ssim_input
        return found

    def summary(self) -> "pd.DataFrame":
        """The targets of the lab, one a row, see `targets.target_table`."""
        whole, steps = self.protocol.crop is None, self.protocol.steps
        return target_table(self.measures(), self.mixtures, whole=whole, steps=steps)

    def confusion(self) -> "pd.DataFrame":
        """The confusion matrix of the degradations, without "clean"; each row (a true one) sums to 1."""
        rows = self.rows[self.rows.degradation != CLEAN]
        return confusion_matrix(
            rows.degradation, rows.predicted_degradation, self.protocol.labels[:-1]
        )

    def calibration_error(self, *, calibrated: bool = True) -> float:
        """The expected calibration error with the fitted temperature, or with none, in [0, 1]."""
        correct = (self.rows.predicted == self.rows.degradation).to_numpy()
        column = "probability" if calibrated else "probability_uncalibrated"
        return expected_calibration_error(self.rows[column].to_numpy(), correct)

    def to_dict(self) -> dict:
        """The tables and the protocol, ready for JSON; what has no value is None."""
        return {
            "protocol": {"hash": self.protocol.hash, "version": VERSION, **asdict(self.protocol)},
            "photos": int(self.rows.photo.nunique()),
            "targets": json_rows(self.summary()),
            "degradations": json_rows(self.table()),
            "calibration_error": self.calibration_error(),
            "calibration_error_uncalibrated": self.calibration_error(calibrated=False),
            "notes": list(self.notes),
        }

    def markdown(self) -> str:
        """The tables in Markdown, for a README or a card."""
        parts = self._parts(CLASSIFICATION, (*RESTORATION, *SIMILARITY))
        tables = (markdown_table(part, OVERALL) for part in parts)
        return "\n\n".join([*tables, self._legend]) + "\n"

    def __str__(self) -> str:
        parts = self._parts(CLASSIFICATION, RESTORATION, SIMILARITY)
        tables = "\n\n".join(part.to_string() for part in parts if len(part.columns))
        return "\n".join([tables, "", self._legend, *self.notes])

    def _parts(self, *groups: tuple[str, ...]) -> "list[pd.DataFrame]":
        """The targets, and the table in groups of measures, as text."""
        table = self.table()
        parts = [cells(table, {name: MEASURES[name] for name in names}) for names in groups]
        return [target_cells(self.summary()), *parts]

    @property
    def _legend(self) -> str:
        protocol, rows = self.protocol, self.rows
        size = "whole photos" if protocol.crop is None else f"crops of {protocol.crop} px"
        low, high = protocol.severity
        steps = f"{protocol.steps} step{'s' * (protocol.steps != 1)} of {protocol.sampler}"
        over = f" (channel means over {protocol.window} px)" if protocol.window else ""
        restored = f"restored in {steps}{over}; " if "psnr" in rows else ""
        return (
            f"protocol {protocol.hash} (version {VERSION}): {len(rows)} images and {len(self.mixtures)} mixtures from "
            f"{rows.photo.nunique()} photos, {size}, severity {low:g} to {high:g}, seed {protocol.seed}, "
            f"view {protocol.view}; {restored}in brackets 95 % intervals over photos; "
            f"expected calibration error {self.calibration_error():.3f} "
            f"({self.calibration_error(calibrated=False):.3f} without the temperature)."
        )


def evaluate(
    pipe: Pipeline,
    photos: Photos,
    protocol: Protocol | None = None,
    *,
    restore: bool = True,
    out: str | Path | None = None,
) -> Evaluation:
    """Measure a pipeline on clean photos that it was not trained on.

    Images of one size are restored in batches, with noise of their own each.

    Args:
        restore: False leaves the restoration out; so do weights without a restorer.
        out: folder that keeps finished photos in a file named by the protocol's hash; an interrupted run is resumed,
            and a finished one is read.

    Raises InputError where that file holds results of other weights, or of photos with other contents.
    """
    protocol = (protocol or Protocol()).resolve(pipe.settings)
    restore = restore and pipe.restorer is not None
    networks, notes = image_quality.available_networks()
    log = ResumeLog(
        Path(out) / f"{protocol.hash}.jsonl" if out else None,
        {
            "protocol": asdict(protocol) | {"version": VERSION},
            "weights": [pipe.fingerprint, pipe.settings.synonyms, pipe.settings.temperature],
            "photos": [photos.names, photos.content_hash] if out else None,
            "measures": {"restoration": restore, "networks": networks},
        },
    )
    left = range(len(log.parts), len(photos))
    if left:
        evaluator = Evaluator(pipe, photos, protocol, restore=restore, networks=networks)
        bar = tqdm(left, "evaluating", len(photos), initial=left.start, unit="photo", leave=False)
        for index in bar:
            log.append(evaluator(index))
    return Evaluation(
        protocol,
        pd.DataFrame([row for part in log.parts for row in part["rows"]]),
        pd.DataFrame([row for part in log.parts for row in part["mixtures"]]),
        _fid([part["features"] for part in log.parts if "features" in part]),
        tuple(notes),
    )


def _fid(features: list[dict[str, str]]) -> dict[str, float]:
    """The distance of the restorations of each label to the clean crops; a single crop has none."""
    if not features:
        return {}
    stacks = {name: unpacked(part[name] for part in features) for name in features[0]}
    clean = stacks.pop("originals")
    if len(clean) < 2:
        return {}
    return {name: image_quality.frechet_distance(stack, clean) for name, stack in stacks.items()}
