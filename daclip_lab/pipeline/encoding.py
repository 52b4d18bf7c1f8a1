"""Embeddings of images of any size, of texts and of labels, from a DA-CLIP."""

from collections.abc import Callable, Mapping, Sequence

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
    encode: Callable[[Tensor], Mapping[str, Tensor]],
    *,
    normalize: bool = True,
) -> dict[str, Tensor]:
    """The embeddings of n images by the names that an encoder gives them: tensors (n, d), where DA-CLIP lies.

    The views of an image are pooled: "degradation" by the controller's `Pooling`, others by their mean direction.

    Args:
        images: read when their turn comes, so that a long list of large files fits into memory.
        encode: an encoder of `daclip`, from views (b, 3, s, s) to features (b, d), not normalised.
        normalize: embeddings of length 1; without it, the mean features of the views.
    """
    device, whole_first = daclip.logit_scale.device, settings.view != "crops"
    parts: list[dict[str, Tensor]] = []
    waiting: list[Tensor] = []

    def pool(name: str, features: Tensor) -> Tensor:
        if not normalize:
            return features.mean(0)
        if name == "degradation":
            return daclip.controller.pooling(features, whole_first=whole_first)
        return F.normalize(F.normalize(features, dim=-1).mean(0), dim=-1)

    def flush() -> None:
        counts, outputs = list(map(len, waiting)), encode(torch.cat(waiting).to(device))
        splits = {name: features.split(counts) for name, features in outputs.items()}
        parts.append({k: torch.stack([pool(k, f) for f in split]) for k, split in splits.items()})
        waiting.clear()

    with running(daclip):
        for image in images:
            size, most = settings.clip.image_size, settings.max_crops
            seen = views(read_image(image), size, settings.view, most)
            if waiting and sum(map(len, waiting)) + len(seen) > BATCH:
                flush()
            waiting.append(seen)
        flush()
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


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
