"""The sentences and the text tables of a report; everything is computed before, by `embeddings.summary`."""

import numpy as np
import pandas as pd

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.embeddings.layer_summary import MAX_CROPS, MAX_IMAGES
from daclip_lab.embeddings.summary import ATTRIBUTED, TableSummary
from daclip_lab.embeddings.zero_shot import MAX_ERRORS
from daclip_lab.metrics.bootstrap import Estimate
from daclip_lab.metrics.formatting import format_interval

FEW_PHOTOS = 10
"""Number of photos below which intervals over photos are too narrow."""
MODELS = ("CLIP alone", "DA-CLIP")
NOTES = {
    "accuracy": "Zero-shot classification. An interval of zero width only means that all or none were correct: with n "
    "photos the true accuracy may still differ by about 3/n.",
    "maps": "Colour: the label of an image, or its prediction where no image has a label. Distances on a map are not "
    "reliable; the tables below measure in the original space.",
    "measures": "clip: CLIP without the controller; content and degradation: the two embeddings of DA-CLIP. The "
    "degradation should be predictable from the degradation embedding, and the content of the clean image from the "
    "content embedding. Probes are tested on photos that they were not trained on.",
    "severity": "Ridge regression within each degradation. R²: 1 is exact, 0 is no better than predicting the mean.",
    "centroids": "Classes with near centroids in the degradation space are more likely to be confused.",
    "layers": f"At most {MAX_IMAGES}, balanced over degradations, with up to {MAX_CROPS} crops of each besides the "
    "whole image, through every block of both towers.",
    "drift": "Cosine between the embedding of the degraded image and CLIP's embedding of its clean partner; 1 is no "
    "drift. DA-CLIP: the content embedding.",
    "paired": "Paired differences on the same images (second column minus first). A difference is undecided where its "
    "interval contains 0. Degradations: in the degradation embedding; content: in the content embedding.",
    "errors": f"Up to {MAX_ERRORS}, the first {ATTRIBUTED} with attributions.",
    "correct": f"One of each degradation, at most {ATTRIBUTED}.",
    "attributions": "Below an image: its attribution by integrated gradients. Orange patches support the prediction, "
    "violet ones oppose it; colours are scaled for each image.",
    "skipped": "Folders named like a degradation give labels; pairs <degradation>/LQ and <degradation>/GT give clean "
    "partners, too; a table that `daclip-lab embed --protocol` made has severities.",
}
"""The explanation of each section."""


def provenance(table: EmbeddingTable, name: str) -> str:
    """The images, the weights and the meaning of the intervals; `name` is that of the weights."""
    return (
        f"{len(table)} images of {table.rows.photo.nunique()} photos, embedded in {table.content.shape[1]} dimensions "
        f"by {name} ({table.provenance.get('weights', 'unknown')}). In brackets: 95\u00a0% bootstrap intervals over "
        "photos, since crops of one photo are alike."
    )


def key_results(summary: TableSummary, names: tuple[str, str]) -> list[str]:
    """A few sentences with the main results; `names` are those of the weights and of the weights to compare with."""
    lines = []
    if summary.accuracy is not None:
        overall = summary.accuracy.loc["overall"]
        line = f"DA-CLIP classifies {_percent(overall['DA-CLIP'])} of the images correctly"
        if "CLIP alone" in overall:
            line += f", CLIP alone {_percent(overall['CLIP alone'])}"
        chance = overall["DA-CLIP"].chance
        lines.append(line + ("." if np.isnan(chance) else f"; chance is {chance:.0%}."))
    if summary.confusion is not None:
        shares = summary.confusion.stack()
        shares = shares[shares.index.map(lambda pair: pair[0] != pair[1])]
        if shares.max() > 0:  # not for NaN, where there is one class
            truth, predicted = shares.idxmax()
            lines.append(
                f"Most frequent error: {shares.max():.0%} of '{truth}' is classified as '{predicted}'."
            )
    if summary.clean_cosine is not None:
        row = summary.clean_cosine.loc["overall"]
        lines.append(
            f"The content embedding of a degraded image has a mean cosine of {row['DA-CLIP'].value:.3f} to CLIP's "
            f"embedding of the clean image, and {row['CLIP alone'].value:.3f} without the controller "
            f"({_verdict(row['difference'].low, row['difference'].high, *MODELS)})."
        )
    if summary.weights is not None:
        verdicts = [
            _verdict(row.low, row.high, names[1], names[0]) for row in summary.weights.itertuples()
        ]
        counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
        lines.append(f"{names[0]} against {names[1]}, in {len(verdicts)} measures: {counts}.")
    photos = summary.table.rows.photo.nunique()
    if photos < FEW_PHOTOS:
        lines.append(
            f"All results are from {photos} photo{'s' * (photos > 1)}: too few to generalise, and the intervals over "
            "photos are too narrow."
        )
    return lines


def accuracy_table(accuracy: "pd.DataFrame") -> "pd.DataFrame":
    """The accuracy of each model for each degradation."""
    images, photos = ([getattr(e, name) for e in accuracy["DA-CLIP"]] for name in ("n", "photos"))
    return accuracy.map(_percent).assign(images=images, photos=photos)


def measure_table(measures: "pd.DataFrame") -> "pd.DataFrame":
    """The measures in each space, and their chance level."""
    levels = []
    for estimates in measures.to_numpy():
        chances = [f"{e.chance:.3f}" for e in estimates]
        one = " / ".join(chances if len(set(chances)) > 1 else chances[:1])
        levels.append("" if one == "nan" else one)
    return measures.map(str).assign(**{"chance level": levels})


def severity_table(severity: "pd.DataFrame") -> "pd.DataFrame":
    """R² and error of the severity regression within each degradation."""
    rmse = severity.rmse.map("{:.2f}".format)
    shown = _with_intervals(severity, "R²", "value")
    return shown.assign(RMSE=rmse, images=severity.n, photos=severity.photos)


def centroid_table(distances: "pd.DataFrame") -> "pd.DataFrame":
    """The eight pairs of classes with the nearest centroids."""
    near = distances.head(8)
    near = near.set_index(near["first"] + " and " + near["second"])
    return _with_intervals(near, "cosine distance", "value")


def cosine_table(cosines: "pd.DataFrame") -> "pd.DataFrame":
    """The cosine to the clean image for each degradation, without and with the controller."""
    verdicts = [_verdict(e.low, e.high, *MODELS) for e in cosines["difference"]]
    return cosines.map(str).assign(verdict=verdicts, images=[e.n for e in cosines["difference"]])


def paired_table(table: "pd.DataFrame", first: str, second: str) -> "pd.DataFrame":
    """Two sides on the same images, and which one is better; higher is better for every measure."""
    shown = _with_intervals(table, "difference", "difference")
    shown.insert(0, second, table["second"].map("{:.3f}".format))
    shown.insert(0, first, table["first"].map("{:.3f}".format))
    verdicts = [_verdict(row.low, row.high, first, second) for row in table.itertuples()]
    return shown.assign(verdict=verdicts, images=table.n, photos=table.photos)


def _with_intervals(table: "pd.DataFrame", title: str, value: str) -> "pd.DataFrame":
    """The index of a table, and one column with a value and its interval."""
    cells = table[[value, "low", "high"]].to_numpy(float)
    return table[[]].assign(**{title: [format_interval(*cell) for cell in cells]})


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.0%} [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"


def _verdict(low: float, high: float, first: str, second: str) -> str:
    """Which side is better, by the interval of the paired difference (second minus first)."""
    return f"{second} better" if low > 0 else f"{first} better" if high < 0 else "undecided"
