"""Confusion matrix and accuracy of each class."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from daclip_lab.metrics.bootstrap import MIN_ROWS, Estimate, estimate_mean

OVERALL = "overall"


def confusion_matrix(
    truth: Collection[str], predicted: Collection[str], labels: Sequence[str]
) -> "pd.DataFrame":
    """The confusion matrix, normalized so that each row (a true class) sums to 1; columns are predicted classes.

    Args:
        truth, predicted: (n,) the true and the predicted class of each image.
        labels: the order of rows and columns. All are columns; those that occur in `truth` are rows. Other classes that
            occur follow, in alphabetical order.
    """
    counts = pd.crosstab(np.asarray(truth, dtype=object), np.asarray(predicted, dtype=object))
    rows = [label for label in labels if label in counts.index]
    rows += [label for label in counts.index if label not in labels]
    columns = [*labels, *(label for label in counts.columns if label not in labels)]
    counts = counts.reindex(index=rows, columns=columns, fill_value=0)
    return counts.div(counts.sum(axis=1), axis=0)


def class_accuracy(
    truth: np.ndarray,
    predicted: np.ndarray,
    photos: np.ndarray,
    labels: Sequence[str],
    *,
    chance: float = float("nan"),
) -> dict[str, Estimate]:
    """The accuracy on each class, and on all images as "overall", with intervals over photos.

    Args:
        truth, predicted, photos: (n,) the true class, the predicted class and the photo of each image.
        labels: the order of the classes. One with fewer than 10 rows, or of a single photo, counts in "overall" only.
        chance: the accuracy of a random classification.

    Raises InsufficientDataError where there are fewer than 10 rows in all, or a single photo.
    """
    truth, predicted, photos = (np.asarray(a, dtype=object) for a in (truth, predicted, photos))
    correct, found = (truth == predicted).astype(float), {}
    for label in labels:
        own = truth == label
        if own.sum() >= MIN_ROWS and len(set(photos[own])) > 1:
            found[label] = estimate_mean(correct[own], photos[own], chance)
    return found | {OVERALL: estimate_mean(correct, photos, chance)}
