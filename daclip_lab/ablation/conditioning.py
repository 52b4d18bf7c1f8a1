"""Telling a restorer less than it is used to, or something else: ablations at inference.

A restorer that was trained with both embeddings of DA-CLIP is asked about the same images again and again, and told
something else each time. What it then loses is not what a restorer gains from being *trained* with an embedding: see
`analysis.ablation` for that.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from daclip_lab.ablation.embedding_arithmetic import restored_as
from daclip_lab.data.photos import Photos
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations.rules import CLEAN
from daclip_lab.errors import InputError
from daclip_lab.evaluation.protocol import Protocol, degraded_crops
from daclip_lab.metrics.bootstrap import interval
from daclip_lab.metrics.image_quality import psnr
from daclip_lab.models.daclip import Embeddings
from daclip_lab.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    import pandas as pd


class EvalSet(NamedTuple):
    """What every restorer is asked: n crops in each of the ten ways."""

    clean: Tensor
    """(n, 3, h, w) in [0, 1]."""
    degraded: Tensor
    """(n, 3, h, w) in [0, 1]."""
    facts: "pd.DataFrame"
    """n rows with the columns photo, crop, degradation and severity."""

    def gain(self, restored: Tensor) -> np.ndarray:
        """How much nearer to the clean crops restorations (n, 3, h, w) are than the degraded ones: (n,) dB of PSNR."""
        nearer = psnr(restored, self.clean) - psnr(self.degraded, self.clean)
        return nearer.double().numpy()


def eval_set_of(photos: Photos, protocol: Protocol) -> EvalSet:
    """The degraded crops of some photos under a protocol; those that were left clean are not asked."""
    import pandas as pd

    parts = [degraded_crops(photos, index, protocol) for index in range(len(photos))]
    facts = pd.DataFrame([fact for _, _, some in parts for fact in some])
    facts = facts[facts.degradation != CLEAN]
    clean, degraded = (torch.cat([part[k] for part in parts])[facts.index.tolist()] for k in (0, 1))
    return EvalSet(clean, degraded, facts.reset_index(drop=True))


def only(embeddings: Embeddings, parts: Collection[str]) -> Embeddings:
    """The embeddings with zeros in the place of those that `parts` does not name: zeros tell a restorer nothing."""
    return Embeddings(
        *(e if name in parts else torch.zeros_like(e) for name, e in embeddings._asdict().items())
    )


def conditioning_variants(pipe: Pipeline, exam: EvalSet, seed: int = 0) -> dict[str, Embeddings]:
    """What one may tell a restorer of the degraded images, under a name each.

    "nothing", "degradation", "content" and "both" are DA-CLIP's embeddings of the image, or a part of them. "oracle" is
    the right word, and CLIP's embedding of the clean image. "wrong word" is the word for a random other answer, with
    the image's own content; "another content" is the content embedding of another photo with the same degradation,
    with the image's own degradation embedding. `seed` decides which other. Raises InputError for less than two photos.
    """
    own, labels = pipe.encode(list(exam.degraded)), list(pipe.settings.labels)
    generator, n = seeded(seed), len(exam.degraded)
    right = torch.tensor([labels.index(name) for name in exam.facts.degradation])
    wrong = (right + torch.randint(1, len(labels), (n,), generator=generator)) % len(labels)
    photos = exam.facts.photo.to_numpy()
    kinds = exam.facts.degradation.to_numpy()
    others = []
    for photo, kind in zip(photos, kinds, strict=True):
        strangers = np.flatnonzero((kinds == kind) & (photos != photo))
        if not len(strangers):
            raise InputError(f"every {kind} crop is of the photo {photo}: wanted at least 2 photos")
        others.append(strangers[int(torch.randint(len(strangers), (), generator=generator))])
    words = pipe.word_embeddings
    return {
        "nothing": only(own, ()),
        "degradation": only(own, ("degradation",)),
        "content": only(own, ("content",)),
        "both": own,
        "oracle": Embeddings(pipe.encode_clip(list(exam.clean)), words[right]),
        "wrong word": Embeddings(own.content, words[wrong]),
        "another content": Embeddings(own.content[others], own.degradation),
    }


def conditioning_gains(
    pipe: Pipeline, exam: EvalSet, ways: Mapping[str, Embeddings], **options
) -> tuple["pd.DataFrame", dict[str, Tensor]]:
    """The gain in PSNR (dB) of every image (row) under every way (column), and the restorations (n, 3, h, w).

    The noise is the same under all ways. `options` are `steps`, `sampler` and `seed` of `restored_as`.
    """
    import pandas as pd

    restored = {
        name: restored_as(pipe, exam.degraded, told.degradation, content=told.content, **options)
        for name, told in tqdm(ways.items(), desc="telling", leave=False)
    }
    return pd.DataFrame({name: exam.gain(images) for name, images in restored.items()}), restored


def paired_differences(
    values: "pd.DataFrame", against: str, facts: "pd.DataFrame"
) -> "pd.DataFrame":
    """The mean difference of every column to one of them, on the same images, with its 95 % interval over photos.

    `values` has a row for each of `facts`. Returns the columns told, degradation ("overall", or one of those in the
    facts), difference, low, high, and n images of so many photos.
    """
    import pandas as pd

    photos, kinds = facts.photo.to_numpy(), facts.degradation.to_numpy()
    groups = {"overall": np.ones(len(facts), bool)}
    groups |= {name: kinds == name for name in dict.fromkeys(kinds)}
    rows = []
    for told in values.columns.drop(against):
        difference = (values[told] - values[against]).to_numpy()
        for name, inside in groups.items():
            found = interval(difference[inside], photos[inside])
            rows.append((told, name, *found, inside.sum(), len(set(photos[inside]))))
    columns = ["told", "degradation", "difference", "low", "high", "n", "photos"]
    return pd.DataFrame(rows, columns=columns)
