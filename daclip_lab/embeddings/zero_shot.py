"""Zero-shot: naming a degradation by words alone, with one prompt, with many, or with a person's own.

An image is called what the words nearest to its embedding say (2310.01018, table 1 and section 4.1). Which words are
asked with is a choice, and the choice moves the numbers: so it is an argument here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.embeddings.table_columns import labels_of, photos_of
from daclip_lab.errors import InputError
from daclip_lab.metrics.bootstrap import estimate_mean
from daclip_lab.metrics.calibration import expected_calibration_error
from daclip_lab.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    import pandas as pd

Prompts = str | Mapping[str, str | Sequence[str]]


def prompt_embeddings(pipe: Pipeline, prompts: Prompts) -> tuple[tuple[str, ...], Tensor]:
    """The k answers to choose from, and the text embedding (k, d) that stands for each.

    prompts: a template with `{}` in it, such as "a {} photo", filled with each of the pipeline's labels; or for each
    answer a text, or several, whose embeddings are averaged (a prompt ensemble). Words that the text tower does not
    know are warned about.
    """
    if isinstance(prompts, str):
        if "{}" not in prompts:
            raise InputError(f"template {prompts!r}: wanted a text with {{}} in it")
        prompts = {label: prompts.format(label) for label in pipe.settings.labels}
    if len(prompts) < 2:
        raise InputError(f"{len(prompts)} answers to choose from: wanted at least 2")
    means = []
    for label, texts in prompts.items():
        texts = [texts] if isinstance(texts, str) else list(texts)
        if not texts or not all(map(str.strip, texts)):
            raise InputError(f"no words for {label!r}: wanted a text, or several")
        means.append(F.normalize(pipe.encode_text(texts).mean(0), dim=0))
    return tuple(prompts), torch.stack(means)


@dataclass(frozen=True, eq=False)
class Answers:
    """What words say of the rows of a table whose degradation is among the answers."""

    labels: tuple[str, ...]
    """The k answers."""
    probabilities: np.ndarray
    """(n, k), summing to 1."""
    truth: np.ndarray
    """(n,), what was done."""
    photos: np.ndarray
    """(n,), the photos that the rows come from."""

    @property
    def named(self) -> np.ndarray:
        """The most probable answer of each row (n,)."""
        return np.array(self.labels)[self.probabilities.argmax(1)]

    def accuracy(self) -> "pd.DataFrame":
        """How often each class is named right, and `overall`: a row each, with the columns of `Estimate`.

        Raises InputError for a class with fewer than 10 rows, or of one photo.
        """
        import pandas as pd

        right, chance = (self.named == self.truth).astype(float), 1 / len(self.labels)
        found = {}
        for label in (label for label in self.labels if label in self.truth):
            own = self.truth == label
            try:
                found[label] = estimate_mean(right[own], self.photos[own], chance)
            except InputError as error:
                raise InputError(f"{label}: {error}") from None
        found["overall"] = estimate_mean(right, self.photos, chance)
        return pd.DataFrame([one._asdict() for one in found.values()], index=list(found))

    def confusion(self) -> "pd.DataFrame":
        """What was done (rows) against what was answered (columns), as shares of the row."""
        import pandas as pd

        done = [label for label in self.labels if label in self.truth]
        counts = pd.crosstab(self.truth, self.named).reindex(
            index=done, columns=list(self.labels), fill_value=0
        )
        return counts.div(counts.sum(axis=1), axis=0)

    def calibration(self, bins: int = 10) -> "pd.DataFrame":
        """See `reliability`; `calibration_error` is the mean gap of the two."""
        return reliability(self.probabilities.max(1), self.named == self.truth, bins)

    @property
    def calibration_error(self) -> float:
        """The expected calibration error, 0..1."""
        return expected_calibration_error(self.probabilities.max(1), self.named == self.truth)


def reliability(probability: np.ndarray, right: np.ndarray, bins: int = 10) -> "pd.DataFrame":
    """How sure answers (n,) are against how often they are right (n,), in equal bins of probability.

    Columns: `probability` and `right` (means in the bin) and `n`. Empty bins are left out.
    """
    import pandas as pd

    which = np.minimum((np.asarray(probability) * bins).astype(int), bins - 1)
    table = pd.DataFrame({"probability": probability, "right": right, "bin": which})
    found = table.groupby("bin").agg(
        probability=("probability", "mean"), right=("right", "mean"), n=("right", "size")
    )
    return found.reset_index(drop=True)


def ask(
    pipe: Pipeline,
    table: EmbeddingTable,
    prompts: Prompts | None = None,
    *,
    space: str = "degradation",
) -> Answers:
    """Name the degradation of each row of a table by words.

    Args:
        table: made by the same pipeline; rows whose degradation is not among the answers are left out.
        prompts: see `prompt_embeddings`; None asks with the words that the pipeline's own classifier asks with.
        space: `"degradation"` is DA-CLIP, `"plain"` CLIP alone.

    Raises InputError where fewer than two of the answers occur, or the table comes from other weights.
    """
    if prompts is None:
        labels, words = pipe.settings.labels, pipe.word_embeddings
    else:
        labels, words = prompt_embeddings(pipe, prompts)
    vectors = torch.as_tensor(table.embedding(space))
    if vectors.shape[1] != words.shape[1]:
        raise InputError(
            f"embeddings of {vectors.shape[1]} dimensions and words of {words.shape[1]}: "
            "ask the weights that made the table"
        )
    truth = labels_of(table)
    known = np.isin(truth.astype(str), labels)
    if len(set(truth[known])) < 2:
        raise InputError(
            f"the table holds {sorted(set(truth[known]))} of the answers {', '.join(labels)}: wanted at least 2"
        )
    clip = pipe.daclip.clip
    sharpness = clip.scale if space == "plain" else pipe.daclip.scale / pipe.settings.temperature
    with torch.inference_mode():
        probabilities = (sharpness * vectors[known] @ words.T).softmax(1).double().numpy()
    return Answers(labels, probabilities, truth[known].astype(str), photos_of(table)[known])
