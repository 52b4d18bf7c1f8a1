"""One photo after the other under a protocol: every image is embedded once and restored once, for all measures.

Rows are plain dicts of numbers and names, so that they can be kept in a file; `evaluation` makes tables of them.
"""

import base64
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.data.captions.attributes import caption
from daclip_lab.data.photos import Photos
from daclip_lab.data.prompts import held_out_texts
from daclip_lab.degradations.registry import DEGRADATIONS, LABELS
from daclip_lab.errors import InputError
from daclip_lab.evaluation.protocol import Protocol, clean_crops, degraded_crops, mixed_crops
from daclip_lab.metrics import image_quality
from daclip_lab.models.daclip import Embeddings
from daclip_lab.models.nafnet import ChannelMean
from daclip_lab.pipeline.pipeline import Pipeline

QUALITY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "psnr": image_quality.psnr,
    "ssim": image_quality.ssim,
    "ms_ssim": image_quality.ms_ssim,
    "gms": image_quality.gradient_similarity,
}
"""What is measured of every image beside its clean one; LPIPS joins where its network is on the machine."""
FEATURES = 2048
"""Numbers that the network behind FID makes of an image."""


class Examiner:
    """Asks a pipeline about photos, one at a time.

    Args:
        pipe: weights with a controller.
        protocol: a settled one, see `Protocol.settled`.
        restore: whether to restore; it needs a restorer.
        lpips: whether to measure LPIPS, too.
        fid: whether to look at the restorations through the network behind FID.
    """

    def __init__(
        self,
        pipe: Pipeline,
        photos: Photos,
        protocol: Protocol,
        *,
        restore: bool = True,
        lpips: bool = False,
        fid: bool = False,
    ):
        if pipe.daclip is None:
            raise InputError("these weights hold no controller: load some that do, such as 'lab'")
        self.pipe, self.labels = viewing(pipe, protocol), pipe.settings.labels
        if missing := set(DEGRADATIONS) - set(self.labels):
            raise InputError(f"these weights do not know {', '.join(sorted(missing))}")
        self.photos, self.protocol, self.restore, self.fid = photos, protocol, restore, fid
        self.quality = QUALITY | ({"lpips": image_quality.lpips} if lpips else {})
        self.ten = [self.labels.index(name) for name in DEGRADATIONS]
        means = [pipe.encode_text(held_out_texts(name)).mean(0) for name in DEGRADATIONS]
        self.held_out = F.normalize(torch.stack(means), dim=-1)
        self.captions = [
            [caption(crop) for crop in clean_crops(photos, index, protocol)]
            for index in range(len(photos))
        ]
        self.gallery = sorted({text for texts in self.captions for text in texts})
        self.gallery_embeddings = torch.cat(
            [pipe.encode_text(self.gallery[k : k + 256]) for k in range(0, len(self.gallery), 256)]
        )

    def __call__(self, index: int) -> dict:
        """The `rows` of one photo, one for each degraded crop and clean crop, and those of its `mixtures`.

        With `fid` also `features`: those of the clean crops, and of the restorations of each degradation, packed.
        """
        crops = clean_crops(self.photos, index, self.protocol)
        plain_clean = self.pipe.encode_clip(crops)
        _, degraded, rows = degraded_crops(self.photos, index, self.protocol)
        content, degradation, plain = self.pipe.encode_all(list(degraded))
        for name, values in self._named(degradation, plain).items():
            _add(rows, name, values)
        of = [row["crop"] for row in rows]
        _add(rows, "cosine", (content * plain_clean[of]).sum(1).tolist())
        _add(rows, "clip_cosine", (plain * plain_clean[of]).sum(1).tolist())
        told = [self.captions[index][k] for k in of]
        for name, images in (
            ("retrieved", content),
            ("clip_retrieved", plain),
            ("clean_retrieved", plain_clean[of]),
        ):
            _add(rows, name, self._found(images, told))
        restored = self._measure(rows, degraded, crops, Embeddings(content, degradation))
        found = {"rows": rows, "mixtures": self._mixtures(index, crops)}
        if restored is not None and self.fid:
            shown = {"originals": crops}
            for name in LABELS:
                of = [k for k, row in enumerate(rows) if row["degradation"] == name]
                shown[name] = list(restored[of])
            found["features"] = {name: _packed(images) for name, images in shown.items()}
        return found

    def _mixtures(self, index: int, crops: list[Tensor]) -> list[dict]:
        if not self.protocol.mixtures:
            return []
        _, mixed, rows = mixed_crops(self.photos, index, self.protocol)
        content, degradation, plain = self.pipe.encode_all(list(mixed))
        words = self.pipe.word_embeddings[self.ten]
        for kind, images in (("top", degradation), ("clip_top", plain)):
            best = (images @ words.T).topk(2).indices.tolist()
            _add(rows, kind, [[DEGRADATIONS[k] for k in two] for two in best])
        self._measure(rows, mixed, crops, Embeddings(content, degradation))
        return rows

    def _named(self, degradation: Tensor, plain: Tensor) -> dict[str, list]:
        """What DA-CLIP, and CLIP without it, say is wrong with each image (n, d): of the ten, and of all labels."""
        logits = self.pipe.logits(degradation)
        by_clip = plain @ self.pipe.word_embeddings.T
        calibrated = self.pipe.probabilities(degradation)

        def names(scores: Tensor, labels) -> list[str]:
            return [labels[k] for k in scores.argmax(1).tolist()]

        return {
            "named": names(logits[:, self.ten], DEGRADATIONS),
            "clip_named": names(by_clip[:, self.ten], DEGRADATIONS),
            "held_out_named": names(degradation @ self.held_out.T, DEGRADATIONS),
            "predicted": names(logits, self.labels),
            "clip_predicted": names(by_clip, self.labels),
            "probability": calibrated.amax(1).tolist(),
            "probability_uncalibrated": logits.softmax(1).amax(1).tolist(),
        }

    def _found(self, images: Tensor, captions: list[str]) -> list[bool]:
        """Whether the caption nearest to each embedding (n, d) is its own; the same words for two crops count."""
        nearest = (images @ self.gallery_embeddings.T).argmax(1).tolist()
        return [self.gallery[k] == own for k, own in zip(nearest, captions, strict=True)]

    def _measure(
        self, rows: list[dict], degraded: Tensor, crops: list[Tensor], embeddings: Embeddings
    ) -> Tensor | None:
        """Add the quality of degraded images (n, 3, h, w) of some crops, and of their restorations: returns these."""
        kinds = {"_input": degraded}
        if self.restore:
            kinds[""] = restored_singly(self.pipe, degraded, embeddings, self.protocol)
        for number, crop in enumerate(crops):
            of = [k for k, row in enumerate(rows) if row["crop"] == number]
            for end, images in kinds.items():
                for name, measure in self.quality.items():
                    # One clean image for all: what a measure needs to know of it is computed once.
                    scores = measure(images[of], crop[None]).tolist()
                    _add([rows[k] for k in of], name + end, scores)
        return kinds.get("")


def _add(rows: list[dict], name: str, values: list) -> None:
    for row, value in zip(rows, values, strict=True):
        row[name] = value


def _packed(images: list[Tensor]) -> str:
    """What the network behind FID makes of images, as text: 16 bits a number are more than enough."""
    features = torch.stack([image_quality.inception_features(image) for image in images])
    return base64.b64encode(features.cpu().half().numpy().tobytes()).decode()


def unpacked(texts: Iterable[str]) -> Tensor:
    """The features (n, 2048) of all images that some packed texts hold."""
    parts = (np.frombuffer(base64.b64decode(text), np.float16) for text in texts)
    return torch.from_numpy(np.concatenate([*parts])).view(-1, FEATURES).float()


def viewing(pipe: Pipeline, protocol: Protocol) -> Pipeline:
    """The pipeline with the view of a settled protocol."""
    settings = replace(pipe.settings, view=protocol.view)
    return Pipeline(settings, daclip=pipe.daclip, restorer=pipe.restorer)


def restored_singly(
    pipe: Pipeline, degraded: Tensor, embeddings: Embeddings, protocol: Protocol
) -> Tensor:
    """Restore images (n, 3, h, w) in [0, 1] as a settled protocol says, steered by their embeddings (n, d).

    One at a time, so that the noise of an image does not depend on what lies beside it.
    """
    parts = []
    with pooled(pipe.restorer, protocol.window):
        for image, *own in zip(degraded, *embeddings, strict=True):
            *_, last = pipe.trajectory(
                image[None],
                steps=protocol.steps,
                sampler=protocol.sampler,
                seed=protocol.seed,
                embeddings=Embeddings(*(part[None] for part in own)),
            )
            parts.append(last.state.clamp(0, 1).cpu())
    return torch.cat(parts)


@contextmanager
def pooled(restorer: torch.nn.Module, window: int | None):
    """Inside, a NAFNet takes channel means over squares of `window` pixels; None leaves it as it is.

    No weight is touched. Raises InputError for a number with a network that has no windows.
    """
    means = [module for module in restorer.modules() if isinstance(module, ChannelMean)]
    if window is not None and not means:
        raise InputError(f"window={window}: this restorer has no windows, only a NAFNet does")
    before = [module.window for module in means]
    try:
        if window is not None:
            for module in means:
                module.window = window
        yield
    finally:
        for module, own in zip(means, before, strict=True):
            module.window = own
