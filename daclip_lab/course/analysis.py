"""Experiments of the notebooks: disentanglement, steering by words, mixtures, restoration in patches."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from daclip_lab.ablation.embedding_arithmetic import (
    combine,
    project_out,
    steering_gains,
)
from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.data.photos import Photos
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations.apply import mix
from daclip_lab.degradations.registry import mixing_order
from daclip_lab.diffusion.samplers import denoiser, sample
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.embeddings.probes import content_r2, probe_accuracy
from daclip_lab.evaluation.protocol import Protocol, degraded_crops
from daclip_lab.metrics.bootstrap import bootstrap_interval
from daclip_lab.metrics.image_quality import psnr
from daclip_lab.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    import pandas as pd


def disentanglement(table: EmbeddingTable) -> "pd.DataFrame":
    """How much each embedding contains of the degradation and of the content: a row for each of both and each space.

    `target` is "degradation" (the accuracy of `probe_accuracy`) or "content" (R² of `content_r2`). Perfectly
    disentangled, only the degradation embedding predicts the degradation, and only the content embedding the content.
    The other columns are `space` and those of `Estimate`.
    """
    import pandas as pd

    measures = {"degradation": probe_accuracy, "content": content_r2}
    rows = [
        {"target": target, "space": space, **measure(table, space)._asdict()}
        for target, measure in measures.items()
        for space in table.spaces
        if space != "clean"
    ]
    return pd.DataFrame(rows)


def steering_table(
    pipe: Pipeline, photos: Photos, protocol: Protocol | None = None
) -> "pd.DataFrame":
    """The mean gain in PSNR (dB) for each true degradation (row) under the word of each label (column).

    Rows are in the order of the labels; the last three columns are those that `steering_gains` adds. A restorer that
    depends on its conditioning is best on the diagonal.
    """
    import pandas as pd

    protocol = protocol or Protocol()
    words = {label: pipe.word(label) for label in pipe.settings.labels}
    parts = []
    for index in range(len(photos)):
        clean, degraded, metadata = degraded_crops(photos, index, protocol)
        part = steering_gains(pipe, degraded, clean, words, seed=protocol.seed)
        parts.append(part.assign(true=[row["degradation"] for row in metadata]))
    return pd.concat(parts).groupby("true", sort=False).mean()


def mixture_table(
    pipe: Pipeline,
    photos: Photos,
    pairs: Sequence[tuple[str, str]],
    *,
    crops: int = 4,
    severity: float = 0.5,
    seed: int = 0,
) -> "pd.DataFrame":
    """The mean gain in PSNR (dB) on images with two degradations, for each pair and strategy.

    The restorer is conditioned on the `first` or the `second` word of the pair, on `both` words added, on the image's
    `own` embedding, on that with a word projected out (`own - first`, `own - second`), on its opposite (`negated`), or
    on zeros (`none`); `in turn` restores twice, and removes the degradation that was applied last first.

    Returns a row for each, with `pair`, `strategy`, `gain`, and its 95 % interval over photos, `low` and `high`.
    """
    import pandas as pd

    size, rows = pipe.settings.clip.image_size, []
    for index, pair in enumerate(pairs):
        names, cleans, mixed = [], [], []
        for photo, name in enumerate(photos.names):
            for crop in range(crops):
                generator = seeded(seed, index, photo, crop)
                names.append(name)
                cleans.append(Photos([photos.paths[photo]]).crop(generator, size))
                mixed.append(mix(cleans[-1], [(each, severity) for each in pair], generator))
        clean, degraded = torch.stack(cleans), torch.stack(mixed)
        own = pipe.encode(mixed).degradation
        first, second = (pipe.word(each) for each in pair)
        embeddings = {
            "first": first,
            "second": second,
            "both": combine(first, second),
            "own - first": project_out(own, first),
            "own - second": project_out(own, second),
        }
        table = steering_gains(pipe, degraded, clean, embeddings, seed=seed)
        restored = degraded
        for each in sorted(pair, key=mixing_order().index, reverse=True):
            again = pipe.restore(list(restored), degradation=each, seed=seed, output_type="pt")
            restored = torch.stack(again)
        table["in turn"] = (psnr(restored, clean) - psnr(degraded, clean)).double().numpy()
        for strategy, values in table.items():
            gain, low, high = bootstrap_interval(values.to_numpy(), np.asarray(names))
            rows.append({"pair": " + ".join(pair), "strategy": strategy,
                         "gain": gain, "low": low, "high": high})  # fmt: skip
    return pd.DataFrame(rows)


@torch.inference_mode()
def restore_patches(
    net: nn.Module,
    sde: MeanRevertingSDE,
    degraded: Tensor,
    embeddings: Sequence[Tensor] | None,
    side: int,
    seed: int = 0,
) -> Tensor:
    """One-step restorations of images (n, 3, h, w), each patch of `side` pixels by itself.

    All patches of an image are conditioned on its content and degradation embeddings, (n, d) each; None for none.
    `side` divides h and w.
    """
    n, _, h, w = degraded.shape
    rows, columns = h // side, w // side
    cut = degraded.reshape(n, 3, rows, side, columns, side).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    shown = embeddings or (None, None)
    content, degradation = (
        part if part is None else part.repeat_interleave(rows * columns, 0) for part in shown
    )
    predict = denoiser(net, sde, cut, net.prepare(content, degradation))
    *_, last = sample(predict, sde, cut, steps=1, generator=seeded(seed))
    patches = last.state.clamp(0, 1).reshape(n, rows, columns, 3, side, side)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(n, 3, h, w)
