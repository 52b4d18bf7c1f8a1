"""Embeddings of images of any size, of texts and of labels, from a DA-CLIP."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.data.image_io import ImageLike, read_image
from daclip_lab.data.prompts import training_texts
from daclip_lab.models.clip import views
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.pipeline.running import running
from daclip_lab.pipeline.serialization import Settings

BATCH = 64
"""The most views that are encoded at once."""


@torch.inference_mode()
def encode_images(
    daclip: DaCLIP,
    settings: Settings,
    images: Sequence[ImageLike],
    encode: Callable[[Tensor], Sequence[Tensor]],
    *,
    normalize: bool = True,
) -> list[Tensor]:
    """Each output of an encoder for n images, averaged over the views of an image: tensors (n, d), where DA-CLIP lies.

    Args:
        images: read when their turn comes, so that a long list of large files fits into memory.
        encode: an encoder of `daclip`, from views (b, 3, s, s) to several (b, d).
        normalize: scale the means to length 1.
    """
    device, means = daclip.logit_scale.device, []
    waiting: list[Tensor] = []

    def flush() -> None:
        outputs = encode(torch.cat(waiting).to(device))
        counts = list(map(len, waiting))
        means.append([torch.stack([p.mean(0) for p in out.split(counts)]) for out in outputs])
        waiting.clear()

    with running(daclip):
        for image in images:
            seen = views(read_image(image), settings.clip.image_size, settings.view)
            if waiting and sum(map(len, waiting)) + len(seen) > BATCH:
                flush()
            waiting.append(seen)
        flush()
    embeddings = [torch.cat(parts) for parts in zip(*means, strict=True)]
    return [F.normalize(each, dim=-1) for each in embeddings] if normalize else embeddings


@torch.inference_mode()
def encode_texts(daclip: DaCLIP, texts: Sequence[str]) -> Tensor:
    """The embeddings (n, d) of texts, of length 1 and in float32, where DA-CLIP lies."""
    with running(daclip):
        return daclip.encode_text(list(texts)).float()


@torch.inference_mode()
def encode_labels(daclip: DaCLIP, settings: Settings) -> Tensor:
    """The embeddings (k, d) that represent the k labels, of length 1: a label's word, or the mean of its phrasings."""
    phrasings = [training_texts(each) if settings.synonyms else [each] for each in settings.labels]
    means = [encode_texts(daclip, texts).mean(0) for texts in phrasings]
    return F.normalize(torch.stack(means), dim=-1)
