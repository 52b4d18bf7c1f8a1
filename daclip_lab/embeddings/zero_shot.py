r"""Zero-shot classification of degradations: with prompts of one's own, and the predictions that a table stores.

An image gets the label whose text embedding has the largest cosine to its embedding (2310.01018, table 1 and section
4.1): $p_k = \mathrm{softmax}_k(s\, e^\top w_k / \tau)$ with the learned scale s and the fitted temperature
$\tau$. Accuracy depends on the prompts, so they are an argument here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.degradations.registry import CLEAN, in_order
from daclip_lab.embeddings.probes import labelled_rows
from daclip_lab.errors import InputError, InsufficientDataError
from daclip_lab.metrics.bootstrap import MIN_ROWS
from daclip_lab.metrics.calibration import calibration_bins
from daclip_lab.metrics.classification import class_accuracy, confusion_matrix
from daclip_lab.pipeline.pipeline import Pipeline

Prompts = str | Mapping[str, str | Sequence[str]]
MAX_ERRORS = 24
PREDICTIONS = {"CLIP alone": "clip_predicted", "DA-CLIP": "predicted"}
"""The columns of an `EmbeddingTable` with the predictions of each model."""


def prompt_embeddings(pipe: Pipeline, prompts: Prompts) -> tuple[tuple[str, ...], Tensor]:
    """The k labels, and the text embedding (k, d) that represents each.

    Args:
        prompts: a template with `{}` in it, such as "a {} photo", filled with each of the pipeline's labels; or a text
            for each label, or several, whose embeddings are averaged (a prompt ensemble). Words outside the vocabulary
            of the text tower cause a warning.

    Raises InputError for a template without `{}`, fewer than two labels, or a label without text.
    """
    if isinstance(prompts, str):
        if "{}" not in prompts:
            raise InputError(f"template {prompts!r} contains no {{}}")
        prompts = {label: prompts.replace("{}", label) for label in pipe.settings.labels}
    if len(prompts) < 2:
        raise InputError(f"prompts for {len(prompts)} labels: at least 2 needed")
    means = []
    for label, texts in prompts.items():
        texts = [texts] if isinstance(texts, str) else list(texts)
        if not texts or not all(map(str.strip, texts)):
            raise InputError(f"the prompts for {label!r} are empty")
        means.append(F.normalize(pipe.encode_text(texts).mean(0), dim=0))
    return tuple(prompts), torch.stack(means)


@dataclass(frozen=True, eq=False)
class ZeroShotResult:
    """Zero-shot probabilities of n images whose true label is among the k labels."""

    labels: tuple[str, ...]
    """The k labels."""
    probabilities: np.ndarray
    """(n, k), rows sum to 1."""
    truth: np.ndarray
    """(n,), the true labels."""
    photos: np.ndarray
    """(n,), the photo of each image."""

    @property
    def predicted(self) -> np.ndarray:
        """The most probable label of each image (n,)."""
        return np.array(self.labels)[self.probabilities.argmax(1)]

    def accuracy(self) -> "pd.DataFrame":
        """The accuracy of each class and `overall` (rows), with the columns of `Estimate`; see `class_accuracy`."""
        chance, classes = 1 / len(self.labels), [x for x in self.labels if x in self.truth]
        rows = class_accuracy(self.truth, self.predicted, self.photos, classes, chance=chance)
        return pd.DataFrame(list(rows.values()), index=list(rows))

    def confusion(self) -> "pd.DataFrame":
        """See `metrics.classification.confusion_matrix`."""
        return confusion_matrix(self.truth, self.predicted, self.labels)


def zero_shot_classify(
    pipe: Pipeline,
    table: EmbeddingTable,
    prompts: Prompts | None = None,
    *,
    space: str = "degradation",
) -> ZeroShotResult:
    """Classify the degradation of each row of a table by text embeddings.

    Args:
        table: embedded by the same weights. Rows whose degradation is not among the labels are left out.
        prompts: see `prompt_embeddings`; None takes those of the pipeline's own classifier.
        space: `"degradation"` is DA-CLIP, `"clip"` CLIP alone; another raises InputError. The temperature and the bias
            of "clean" are those that were chosen for the built-in words; CLIP alone has neither.

    Raises InputError for a table of other weights, and InsufficientDataError where fewer than two of the labels occur.
    """
    if prompts is None:
        labels, words = pipe.settings.labels, pipe.word_embeddings
    else:
        labels, words = prompt_embeddings(pipe, prompts)
    if space not in ("degradation", "clip"):
        raise InputError(f"space {space!r}: wanted 'degradation' or 'clip'")
    vectors = torch.as_tensor(table.embedding(space))
    if vectors.shape[1] != words.shape[1]:
        raise InputError(
            f"embeddings of {vectors.shape[1]} dimensions and prompts of {words.shape[1]}: "
            "the table was made by other weights"
        )
    rows, truth = labelled_rows(table)
    known = np.isin(truth, labels)
    rows, truth = rows[known], truth[known]
    if len(found := sorted(set(truth))) < 2:
        raise InsufficientDataError(
            f"of the labels {', '.join(labels)} the table has {found}: at least 2 needed"
        )
    daclip = pipe.require_daclip()
    scale = daclip.clip.scale if space == "clip" else daclip.scale / pipe.settings.temperature
    with torch.inference_mode():
        logits = scale.cpu().float() * vectors[rows] @ words.cpu().float().T
        if space == "degradation" and CLEAN in labels:
            logits[:, labels.index(CLEAN)] += pipe.settings.clean_bias / pipe.settings.temperature
        probabilities = logits.softmax(1).double().numpy()
    return ZeroShotResult(labels, probabilities, truth, table.rows.photo.to_numpy()[rows])


def accuracy(table: EmbeddingTable) -> "pd.DataFrame":
    """The accuracy of the stored predictions: `Estimate`s by degradation and `overall` (rows) and model (columns).

    Degradations that the weights have no label for are left out; see `class_accuracy` for small classes. Raises
    InsufficientDataError for a table without labels or predictions, or fewer than 10 rows.
    """
    _predictions(table, labelled=True)
    labels, rows = table.provenance.get("labels"), table.rows[predictable(table)]
    chance = 1 / len(labels) if labels else float("nan")
    truth, order = rows.degradation, in_order(rows.degradation)
    columns = {
        model: class_accuracy(truth, rows[column], rows.photo, order, chance=chance)
        for model, column in PREDICTIONS.items()
        if column in rows
    }
    return pd.DataFrame(columns)


def confusion(table: EmbeddingTable) -> "pd.DataFrame":
    """The confusion matrix of the stored DA-CLIP predictions; see `metrics.classification.confusion_matrix`."""
    rows = _predictions(table, labelled=True)
    order = in_order((*table.provenance.get("labels", ()), *rows.degradation))
    matrix = confusion_matrix(rows.degradation, rows.predicted, order)
    seen = {*rows.degradation, *rows.predicted}
    return matrix[[label for label in matrix.columns if label in seen]]


def calibration(table: EmbeddingTable) -> "pd.DataFrame":
    """Confidence and accuracy of the stored DA-CLIP predictions; see `metrics.calibration.calibration_bins`."""
    _predictions(table, labelled=True)
    rows = table.rows[predictable(table)]
    if len(rows) < MIN_ROWS:
        raise InsufficientDataError(f"{len(rows)} predictions: at least {MIN_ROWS} needed")
    return calibration_bins(rows.probability, rows.predicted == rows.degradation)


def confident_errors(table: EmbeddingTable) -> "pd.DataFrame":
    """Up to 24 misclassified rows, the most confident first; without any label, the least confident predictions."""
    if (rows := _predictions(table)).degradation.notna().any():
        wrong = rows[predictable(table) & (rows.predicted != rows.degradation)]
        return wrong.sort_values("probability", ascending=False).head(MAX_ERRORS)
    return rows.sort_values("probability").head(MAX_ERRORS)


def confident_correct(table: EmbeddingTable) -> "pd.DataFrame":
    """The most confident correct prediction of each degradation, the most confident first."""
    rows = _predictions(table, labelled=True)
    correct = rows[rows.predicted == rows.degradation].sort_values("probability", ascending=False)
    return correct.drop_duplicates("degradation")


def predictable(table: EmbeddingTable) -> np.ndarray:
    """Whether the weights have a label for the degradation of each row: a mask (n,)."""
    labels, truth = table.provenance.get("labels"), table.rows.degradation
    return (truth.isin(labels) if labels else truth.notna()).to_numpy()


def _predictions(table: EmbeddingTable, labelled: bool = False) -> "pd.DataFrame":
    """The rows of a table that has predictions, or those of them that have a label."""
    if "predicted" not in table.rows:
        raise InsufficientDataError("the weights of this table have no labels to classify with")
    rows = table.rows[table.rows.degradation.notna()] if labelled else table.rows
    if not len(rows):
        raise InsufficientDataError("no row has a label")
    return rows
