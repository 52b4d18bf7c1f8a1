"""Tables of planted embeddings whose measures are known."""

from dataclasses import replace

import numpy as np
import pandas as pd

from daclip_lab.data.embedding_table import EmbeddingTable

LABELS = ("hazy", "noisy", "rainy")
PHOTOS = 20


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def ideal_table():
    """A perfect DA-CLIP: the content embedding is that of the clean photo; the degradation embedding depends on the
    degradation and its severity only. CLIP alone moves from the photo to the degradation as severity grows."""
    rng = np.random.default_rng(0)
    shown = unit(rng.normal(size=(PHOTOS, 8)))
    done = np.eye(3, 8)
    rows = [
        {
            "image": f"{photo} {label} {k}",
            "photo": f"p{photo}",
            "partner": f"p{photo}",
            "degradation": label,
            "severity": severity,
        }
        for photo in range(PHOTOS)
        for label in LABELS
        for k, severity in enumerate(rng.uniform(0.05, 0.95, 2))
    ]
    rows = pd.DataFrame(rows)
    photo = rows.photo.str[1:].astype(int).to_numpy()
    label = np.array([LABELS.index(name) for name in rows.degradation])
    severity = rows.severity.to_numpy()[:, None]
    noise = 0.02 * rng.normal(size=(len(rows), 8))
    clean = shown[photo]
    return EmbeddingTable(
        rows=rows,
        content=unit(clean + noise),
        degradation=unit(done[label] + severity * np.eye(8)[7] + noise),
        clip=unit((1 - severity) * clean + severity * done[label]),
        clean=clean,
    )


def changed(table, **columns):
    """The table with other columns."""
    return replace(table, rows=table.rows.assign(**columns))


def noise_like(vectors, seed=1):
    return unit(np.random.default_rng(seed).normal(size=vectors.shape))


def predicted_table():
    """The ideal table with predictions: DA-CLIP is wrong once, CLIP alone in each third row."""
    table = ideal_table()
    truth = table.rows.degradation.to_numpy()
    predicted, by_clip = truth.copy(), truth.copy()
    predicted[5] = "hazy"
    by_clip[::3] = "clean"
    table = changed(table, predicted=predicted, clip_predicted=by_clip, probability=0.9)
    provenance = {"labels": ["hazy", "noisy", "rainy", "clean"], "weights": "<b>"}
    return replace(table, provenance=provenance)
