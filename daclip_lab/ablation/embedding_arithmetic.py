"""Degradation arithmetic: what the restorer does when it is told something else than what the image says.

A degradation embedding is a direction, and the embeddings of words live in the same space. So one may put a word in the
place of the image's own embedding (`Pipeline.restore` with `as_degradation`), go part of the way from one to another,
add two, take one out, or turn one round. Whether the restorer follows is a question for measurement: `gains` asks it of
many images at once, and what fails stands in the same table as what works.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.data.photos import Photos
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations.rules import MIX_ORDER, mix
from daclip_lab.errors import InputError
from daclip_lab.evaluation.protocol import Protocol, degraded_crops
from daclip_lab.metrics.bootstrap import interval
from daclip_lab.metrics.image_quality import psnr
from daclip_lab.models.daclip import Embeddings
from daclip_lab.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    import pandas as pd


def between(first: Tensor, second: Tensor, share: float) -> Tensor:
    """The direction that lies `share` (0..1) of the angle from one direction (..., d) to another, of length 1.

    Raises InputError for opposite directions: there is no one way between them.
    """
    first, second = F.normalize(first, dim=-1), F.normalize(second, dim=-1)
    angle = (first * second).sum(-1, keepdim=True).clamp(-1, 1).arccos()
    if (angle > 3.1).any():
        raise InputError("the two directions are opposite: there is no one way between them")
    if (angle < 1e-3).all():
        return first
    mixed = first * ((1 - share) * angle).sin() + second * (share * angle).sin()
    return F.normalize(mixed, dim=-1)


def both(first: Tensor, second: Tensor) -> Tensor:
    """Two directions (..., d) at once: their sum, of length 1."""
    return F.normalize(first + second, dim=-1)


def without(direction: Tensor, other: Tensor) -> Tensor:
    """What is left of a direction (..., d) when its part along another one is taken out, of length 1."""
    other = F.normalize(other, dim=-1)
    rest = direction - (direction * other).sum(-1, keepdim=True) * other
    if (rest.norm(dim=-1) < 1e-4 * direction.norm(dim=-1)).any():
        raise InputError("nothing is left: the two directions are one")
    return F.normalize(rest, dim=-1)


def restored_as(
    pipe: Pipeline,
    degraded: Tensor,
    degradation: Tensor,
    *,
    content: Tensor | None = None,
    steps: int | None = None,
    sampler: str = "posterior",
    seed: int = 0,
) -> Tensor:
    """Restore a batch (n, 3, h, w) under a degradation embedding for all (d,), or one for each (n, d).

    `content` (n, d) is the images' own unless it is given. Returns (n, 3, h, w) in [0, 1].
    """
    if content is None:
        content = pipe.encode(list(degraded)).content
    if degradation.shape not in (content.shape, content.shape[1:]):
        raise InputError(
            f"a degradation of shape {tuple(degradation.shape)} for {len(content)} images: "
            f"wanted ({content.shape[1]},) or {tuple(content.shape)}"
        )
    *_, last = pipe.trajectory(
        degraded,
        steps=steps,
        sampler=sampler,
        seed=seed,
        embeddings=Embeddings(content, degradation.expand_as(content)),
    )
    return last.state.clamp(0, 1).cpu()


def gains(
    pipe: Pipeline, degraded: Tensor, clean: Tensor, told: Mapping[str, Tensor], **options
) -> "pd.DataFrame":
    """The gain in PSNR (dB) of every image (row) under every degradation embedding of `told` (column).

    Args:
        degraded, clean: (n, 3, h, w) in [0, 1].
        told: names of embeddings (d,) or (n, d). Three columns are added: `own`, the images' own embeddings; `negated`,
            the opposite of their degradation embeddings; and `nothing`, where the restorer is told neither degradation
            nor content.
        options: `steps`, `sampler` and `seed` of `restored_as`.
    """
    import pandas as pd

    own = pipe.encode(list(degraded))
    columns = {name: (own.content, vector) for name, vector in told.items()}
    columns["own"] = own
    columns["negated"] = (own.content, -own.degradation)
    columns["nothing"] = (torch.zeros_like(own.content), torch.zeros_like(own.degradation))
    before = psnr(degraded, clean)
    return pd.DataFrame(
        {
            name: psnr(restored_as(pipe, degraded, vector, content=content, **options), clean)
            .sub(before)
            .double()
            .numpy()
            for name, (content, vector) in columns.items()
        }
    )


def steering_table(
    pipe: Pipeline, photos: Photos, protocol: Protocol | None = None
) -> "pd.DataFrame":
    """What telling the restorer a degradation gains where another one was done: mean gains in PSNR (dB).

    A row for each degradation done, in the order of the labels, a column for each word told, and the three of `gains`.
    A restorer that listens is best on the diagonal.
    """
    import pandas as pd

    protocol = protocol or Protocol()
    told = {label: pipe.word(label) for label in pipe.settings.labels}
    parts = []
    for index in range(len(photos)):
        clean, degraded, facts = degraded_crops(photos, index, protocol)
        part = gains(pipe, degraded, clean, told, seed=protocol.seed)
        parts.append(part.assign(done=[fact["degradation"] for fact in facts]))
    return pd.concat(parts).groupby("done", sort=False).mean()


def mixture_table(
    pipe: Pipeline,
    photos: Photos,
    pairs: Sequence[tuple[str, str]],
    *,
    crops: int = 4,
    severity: float = 0.5,
    seed: int = 0,
) -> "pd.DataFrame":
    """What helps where two degradations were done at once: the mean gain in PSNR (dB) of each pair and strategy.

    Strategies: the restorer is told the pair's `first` or `second` word, `both` words added, the image's `own`
    embedding, that without either word (`own - first`, `own - second`) or `negated`, or `nothing`; and `in turn`: two
    restorations, the degradation that came last undone first.

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
        told = {
            "first": first,
            "second": second,
            "both": both(first, second),
            "own - first": without(own, first),
            "own - second": without(own, second),
        }
        table = gains(pipe, degraded, clean, told, seed=seed)
        turned = degraded
        for each in sorted(pair, key=MIX_ORDER.index, reverse=True):
            turned = restored_as(pipe, turned, pipe.word(each), seed=seed)
        table["in turn"] = (psnr(turned, clean) - psnr(degraded, clean)).double().numpy()
        for strategy, values in table.items():
            measured = interval(values.to_numpy(), np.asarray(names))
            found = dict(zip(("gain", "low", "high"), measured, strict=True))
            rows.append({"pair": " + ".join(pair), "strategy": strategy, **found})
    return pd.DataFrame(rows)
