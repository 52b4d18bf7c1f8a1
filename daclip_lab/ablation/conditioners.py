"""What a restorer can be conditioned on: nothing, CLIP, DA-CLIP, the truth, or something false.

Each kind is a pair of embeddings, content and degradation, of which a row of zeros stands for none. Embeddings of
images above CLIP's own size are pooled over views, as in use.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from daclip_lab.data.seeding import seeded
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.errors import InputError
from daclip_lab.models.daclip import Embeddings
from daclip_lab.pipeline.pipeline import Pipeline

KINDS = {
    "nothing": "zeros for both embeddings",
    "CLIP's embedding": "plain CLIP's embedding of the degraded image as the content",
    "CLIP's word": "the word that plain CLIP finds nearest, without content",
    "DA-CLIP's word": "the word that DA-CLIP finds nearest, without content",
    "DA-CLIP's degradation": "DA-CLIP's degradation embedding, without content",
    "DA-CLIP's content": "DA-CLIP's content embedding alone",
    "DA-CLIP's embeddings": "both of DA-CLIP's embeddings, as in the paper",
    "true word": "the word of the true degradation, without content",
    "true word and clean content": "the true word, and CLIP's embedding of the clean image",
    "wrong word": "the word of another degradation, drawn at random, without content",
    "another photo's content": "DA-CLIP's degradation embedding, with the content of another photo",
}
"""What each kind is, in half a sentence."""


@torch.no_grad()
def conditioned(
    pipe: Pipeline,
    kind: str,
    *,
    clean: Sequence[Tensor] | Tensor,
    degraded: Sequence[Tensor] | Tensor,
    labels: Sequence[str],
    photos: Sequence[str],
    seed: int = 0,
) -> Embeddings:
    """The embeddings (n, d) of n images under one of `KINDS`, on the pipeline's device.

    Args:
        clean, degraded: n images (3, h, w) in [0, 1].
        labels: the true degradation of each, or "clean".
        photos: the photo that each is of.
        seed: decides wrong words and other photos.

    Raises InputError for an unknown kind, for unequal numbers of images, labels and photos, for a label that the
    pipeline does not know, and where "another photo's content" needs a second photo with the same degradation.
    """
    if kind not in KINDS:
        raise InputError(f"conditioning {kind!r} is unknown: use one of {', '.join(KINDS)}")
    if len(counts := {len(each) for each in (clean, degraded, labels, photos)}) > 1:
        raise InputError(f"{counts} images, labels and photos: wanted as many of each")
    words, known = pipe.word_embeddings, list(pipe.settings.labels)
    if unknown := set(labels) - set(known):
        raise InputError(f"label {unknown.pop()!r} is none of the weights' own: {', '.join(known)}")
    zeros = words.new_zeros(len(labels), words.shape[1])
    ten = [index for index, label in enumerate(known) if label != CLEAN]

    def nearest(features: Tensor) -> Tensor:
        return words[ten][(features @ words[ten].T).argmax(1)]

    if kind == "nothing":
        return Embeddings(zeros, zeros)
    if kind.startswith("CLIP's"):
        features = pipe.encode_clip(list(degraded)).clone()
        if kind == "CLIP's word":
            return Embeddings(zeros, nearest(features))
        return Embeddings(features, zeros)
    true = torch.tensor([known.index(label) for label in labels], device=words.device)
    if kind == "true word":
        return Embeddings(zeros, words[true])
    if kind == "true word and clean content":
        return Embeddings(pipe.encode_clip(list(clean)).clone(), words[true])
    generator = seeded(seed)
    if kind == "wrong word":
        by = torch.randint(1, len(ten), (len(labels),), generator=generator).to(words.device)
        place = torch.tensor([ten.index(int(t)) if int(t) in ten else 0 for t in true])
        return Embeddings(zeros, words[ten][(place.to(by) + by) % len(ten)])
    # Embeddings of a pipeline are inference tensors, which a training cannot use.
    content, degradation = (e.clone() for e in pipe.encode(list(degraded)))
    return {
        "DA-CLIP's word": lambda: Embeddings(zeros, nearest(degradation)),
        "DA-CLIP's degradation": lambda: Embeddings(zeros, degradation),
        "DA-CLIP's content": lambda: Embeddings(content, zeros),
        "DA-CLIP's embeddings": lambda: Embeddings(content, degradation),
        "another photo's content": lambda: Embeddings(
            content[_other_photos(labels, photos, generator)], degradation
        ),
    }[kind]()


def _other_photos(
    labels: Sequence[str], photos: Sequence[str], generator: torch.Generator
) -> list[int]:
    """For each image the place of one with the same label that is of another photo, at random."""
    label, photo = np.array(labels), np.array(photos)
    places = []
    for own, name in zip(photos, labels, strict=True):
        others = np.flatnonzero((label == name) & (photo != own))
        if not len(others):
            raise InputError(f"every {name} image is of the photo {own}: at least 2 photos needed")
        places.append(int(others[int(torch.randint(len(others), (), generator=generator))]))
    return places
