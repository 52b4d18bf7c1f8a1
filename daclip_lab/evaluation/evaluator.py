"""Evaluates a pipeline one photo at a time: every image is embedded once and restored once, for all measures.

Rows are plain dicts of numbers and names, so that they can be kept in a file; `evaluation` makes tables of them.
"""

import base64
import copy
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daclip_lab.data.captions.attributes import caption
from daclip_lab.data.photos import Photos
from daclip_lab.data.prompts import held_out_texts
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
"""Measures of an image and its clean one; LPIPS is added where its network is on the machine."""
BATCH = 16
"""Images that are measured at once."""
INCEPTION_DIM = 2048


class Evaluator:
    """Evaluates a pipeline on photos: `evaluator(index)` gives the measurements of one photo.

    Args:
        pipe: weights with a controller; they are not changed.
        protocol: a resolved one, see `Protocol.resolve`.
        restore: whether to restore; it needs a restorer.
        networks: of `image_quality.NETWORKS`: measure LPIPS, and keep the features that FID compares.

    Raises InputError for a pipeline without a controller, or without the labels of the protocol.
    """

    def __init__(
        self,
        pipe: Pipeline,
        photos: Photos,
        protocol: Protocol,
        *,
        restore: bool,
        networks: Collection[str],
    ):
        pipe.require_daclip()
        self.labels, self.names = pipe.settings.labels, protocol.labels[:-1]
        if missing := [name for name in self.names if name not in self.labels]:
            known = ", ".join(self.labels) or "none"
            raise InputError(f"these weights lack the labels {', '.join(missing)}; theirs: {known}")
        self.words = pipe.word_embeddings  # kept by the pipeline, so that its copy has them, too
        self.pipe = configured(pipe, view=protocol.view, window=protocol.window)
        self.photos, self.protocol, self.restore = photos, protocol, restore
        self.fid = restore and "fid" in networks
        self.quality = QUALITY | ({"lpips": image_quality.lpips} if "lpips" in networks else {})
        self.places = [self.labels.index(name) for name in self.names]
        means = [pipe.encode_text(held_out_texts(name)).mean(0) for name in self.names]
        self.held_out = F.normalize(torch.stack(means), dim=-1)
        # Every caption is a candidate for the crops of all photos.
        self.captions = [
            [caption(crop) for crop in clean_crops(photos, index, protocol)]
            for index in range(len(photos))
        ]
        self.gallery = sorted({text for texts in self.captions for text in texts})
        self.gallery_embeddings = torch.cat(
            [pipe.encode_text(self.gallery[k : k + 256]) for k in range(0, len(self.gallery), 256)]
        )

    def __call__(self, index: int) -> dict:
        """`rows`, one for each degraded or clean crop of a photo, and `mixtures`, one for each of its mixtures.

        With "fid" also `features`: of the clean crops, and of the restorations of each label, packed.
        """
        clean, images, rows = degraded_crops(self.photos, index, self.protocol)
        mixtures: list[dict] = []
        if self.protocol.mixtures:
            mixed_clean, mixed, mixtures = mixed_crops(self.photos, index, self.protocol)
            clean, images = torch.cat([clean, mixed_clean]), torch.cat([images, mixed])
        content, degradation, clip = self.pipe.encode_all(images)
        n = len(rows)  # the images with one degradation or none; the mixtures follow
        self._classify(rows, degradation[:n], clip[:n])
        self._compare_content(rows, index, clean, content[:n], clip[:n])
        self._classify_mixtures(mixtures, degradation[n:], clip[n:])
        self._add_quality([*rows, *mixtures], "_input", images, clean)
        found: dict = {"rows": rows, "mixtures": mixtures}
        if self.restore:
            outputs = restored(self.pipe, images, Embeddings(content, degradation), self.protocol)
            self._add_quality([*rows, *mixtures], "", outputs, clean)
            if self.fid:
                found["features"] = self._features(rows, clean[:n], outputs[:n])
        return found

    def _classify(self, rows: list[dict], degradation: Tensor, clip: Tensor) -> None:
        """Add the classifications of DA-CLIP and of CLIP alone: among all labels, and among the degradations."""
        logits, by_clip = self.pipe.logits(degradation), clip @ self.words.T
        for column, scores, labels in (
            ("predicted", logits, self.labels),
            ("clip_predicted", by_clip, self.labels),
            ("predicted_degradation", logits[:, self.places], self.names),
            ("clip_predicted_degradation", by_clip[:, self.places], self.names),
            ("held_out_predicted", degradation @ self.held_out.T, self.names),
        ):
            _add(rows, column, [labels[k] for k in scores.argmax(1).tolist()])
        calibrated = self.pipe.probabilities(degradation)
        _add(rows, "probability", calibrated.amax(1).tolist())
        _add(rows, "probability_uncalibrated", logits.softmax(1).amax(1).tolist())

    def _compare_content(
        self, rows: list[dict], index: int, clean: Tensor, content: Tensor, clip: Tensor
    ) -> None:
        """Add cosines to CLIP's embedding of the clean crop, and whether the crop's own caption is the nearest.

        Two crops with equal captions count as found by either.
        """
        # The rows of a crop follow each other, one for each label.
        crops = self.pipe.encode_clip(clean[: len(rows) : len(self.protocol.labels)])
        of_clean = crops[[row["crop"] for row in rows]]
        own = [self.captions[index][row["crop"]] for row in rows]
        _add(rows, "cosine", (content * of_clean).sum(1).tolist())
        _add(rows, "clip_cosine", (clip * of_clean).sum(1).tolist())
        for name, embeddings in (("", content), ("clip_", clip), ("clean_", of_clean)):
            nearest = (embeddings @ self.gallery_embeddings.T).argmax(1).tolist()
            right = [self.gallery[k] == text for k, text in zip(nearest, own, strict=True)]
            _add(rows, f"{name}retrieved", right)

    def _classify_mixtures(self, rows: list[dict], degradation: Tensor, clip: Tensor) -> None:
        """Add the two best degradations by DA-CLIP and by CLIP alone."""
        if not rows:
            return
        words = self.words[self.places]
        for kind, embeddings in (("top", degradation), ("clip_top", clip)):
            best = (embeddings @ words.T).topk(2).indices.tolist()
            _add(rows, kind, [[self.names[k] for k in two] for two in best])

    def _add_quality(self, rows: list[dict], suffix: str, images: Tensor, clean: Tensor) -> None:
        """Add every measure of images (n, 3, h, w), computed on the device of the pipeline."""
        for start in range(0, len(rows), BATCH):
            batch = slice(start, start + BATCH)
            pair = images[batch].to(self.pipe.device), clean[batch].to(self.pipe.device)
            for name, measure in self.quality.items():
                _add(rows[batch], name + suffix, measure(*pair).tolist())

    def _features(self, rows: list[dict], clean: Tensor, images: Tensor) -> dict[str, str]:
        """The Inception features of the clean crops, and of the restorations of each label, packed as text."""
        labels = np.array([row["degradation"] for row in rows])
        groups = {label: images[labels == label] for label in self.protocol.labels}
        groups["originals"] = clean[labels == self.protocol.labels[0]]
        return {name: packed(some.to(self.pipe.device)) for name, some in groups.items()}


def _add(rows: list[dict], name: str, values: list) -> None:
    for row, value in zip(rows, values, strict=True):
        row[name] = value


def packed(images: Iterable[Tensor]) -> str:
    """The Inception features of images (3, h, w) as text, in float16, whose error is far below that of an FID."""
    features = torch.stack([image_quality.inception_features(image) for image in images])
    return base64.b64encode(features.cpu().half().numpy().tobytes()).decode()


def unpacked(texts: Iterable[str]) -> Tensor:
    """The features (n, 2048) of all images that some texts of `packed` hold."""
    parts = (np.frombuffer(base64.b64decode(text), np.float16) for text in texts)
    return torch.from_numpy(np.concatenate([*parts])).view(-1, INCEPTION_DIM).float()


def restored(pipe: Pipeline, images: Tensor, embeddings: Embeddings, protocol: Protocol) -> Tensor:
    """Restorations (n, 3, h, w) in [0, 1] of images under a resolved protocol, conditioned on their embeddings (n, d).

    Each image gets the noise of the protocol's seed, so that its result does not depend on the others of the batch.
    """
    found = pipe.restore(
        images,
        steps=protocol.steps,
        sampler=protocol.sampler,
        seed=[protocol.seed] * len(images),
        embeddings=embeddings,
        output_type="pt",
        progress=False,
    )
    return torch.stack(found)


def configured(pipe: Pipeline, *, view: str | None = None, window: int | None = None) -> Pipeline:
    """A pipeline of the same networks with other views or windows (None: its own); the given one is not changed.

    Raises InputError for a window with a restorer that has none: only NAFNet does.
    """
    other = copy.copy(pipe)
    other.settings = replace(pipe.settings, view=view or pipe.settings.view)
    if pipe.restorer is not None and window is not None:
        other.restorer = _with_window(pipe.restorer, window)
    return other


def _with_window(restorer: nn.Module, window: int) -> nn.Module:
    """A restorer that shares all weights and takes channel means over windows of `window` pixels a side."""
    shared = [*restorer.parameters(), *restorer.buffers()]
    other = copy.deepcopy(restorer, {id(tensor): tensor for tensor in shared})
    means = [module for module in other.modules() if isinstance(module, ChannelMean)]
    if not means:
        raise InputError(f"window={window}: this restorer has no windows, only a NAFNet does")
    for module in means:
        module.window = window
    return other
