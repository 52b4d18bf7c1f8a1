"""The front door: name what is wrong with an image, embed it, restore it.

A pipeline is a folder: `pipeline.json`, and the weights of as many of its three parts as have been trained
(`clip`, `controller`, `restorer`), each in safetensors.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daclip_lab.checkpoints import load_weights, read_json, read_tensors, write_json, write_tensors
from daclip_lab.data import degradations
from daclip_lab.data.datasets import LABELS
from daclip_lab.data.image_io import read_image, to_pil
from daclip_lab.data.random import seeded
from daclip_lab.data.words import training_texts
from daclip_lab.diffusion.samplers import SAMPLERS, denoiser, sample
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.errors import InputError
from daclip_lab.models.clip import Clip, ClipConfig, views
from daclip_lab.models.daclip import DaCLIP, Embeddings
from daclip_lab.presets import build_restorer

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

SHIPPED = Path(__file__).parent / "weights"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a pipeline's weights want to be used; kept with them in `pipeline.json`."""

    clip: ClipConfig
    """The architecture of CLIP, and how images are normalised for it."""
    network: dict
    """What `presets.build_restorer` needs."""
    sde: dict
    """Arguments of MeanRevertingSDE."""
    view: str
    """Which views of an image are embedded, see `models.clip.views`."""
    steps: int
    """Steps of a restoration, unless the caller says otherwise."""
    synonyms: bool
    """Classify by the mean of all training phrasings of a degradation, instead of its one canonical word."""
    labels: tuple[str, ...] = LABELS
    """The answers that the classifier chooses from; the authors' weights know no "clean"."""
    temperature: float = 1.0
    """Divides the logits of the classifier; fitted on validation photos, so that probabilities are calibrated."""


@dataclass(frozen=True)
class EmbeddingTable:
    """Embeddings of many images, and what is known about each."""

    rows: "pd.DataFrame"
    """One row per image; the column `image` says which."""
    content: np.ndarray
    """(n, d), rows of length 1."""
    degradation: np.ndarray
    """(n, d), rows of length 1."""


class Pipeline:
    """DA-CLIP and the restorer that it steers.

    An image is a path, a PIL image, an array or a tensor, of any size from 16x16.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clip: Clip | None = None,
        daclip: DaCLIP | None = None,
        restorer: nn.Module | None = None,
    ):
        self.settings = settings
        self.clip = daclip.clip if daclip is not None else clip
        self.daclip = daclip
        self.restorer = restorer
        self.sde = MeanRevertingSDE(**settings.sde)
        for part in (self.clip, daclip, restorer):
            if part is not None:
                part.eval().requires_grad_(False)

    def classify(self, image) -> "pd.Series | pd.DataFrame":
        """The probability of each degradation, and of none ("clean") where the weights know it.

        Returns a Series over `settings.labels`, summing to 1; for a list of images a DataFrame with a row for each.
        """
        import pandas as pd

        many = isinstance(image, list | tuple)
        degradation = self.encode(image if many else [image]).degradation
        table = pd.DataFrame(
            self.probabilities(degradation).double().numpy(), columns=self.settings.labels
        )
        return table if many else table.loc[0].rename(None)

    def probabilities(self, degradation: Tensor) -> Tensor:
        """The probabilities (n, k) of the k `settings.labels` that degradation embeddings (n, d) stand for."""
        return (self.logits(degradation) / self.settings.temperature).softmax(1)

    @torch.inference_mode()
    def logits(self, degradation: Tensor) -> Tensor:
        """The scaled cosines (n, k) of degradation embeddings (n, d) to the words for the k labels."""
        return self._daclip().scale * degradation @ self.word_embeddings.T

    @cached_property
    def word_embeddings(self) -> Tensor:
        """The text embedding (k, d) that stands for each of the k `settings.labels`."""
        encode = self._daclip().encode_text
        with torch.inference_mode():
            if not self.settings.synonyms:
                return encode(list(self.settings.labels))
            means = [encode(training_texts(name)).mean(0) for name in self.settings.labels]
            return F.normalize(torch.stack(means), dim=-1)

    @torch.inference_mode()
    def encode(self, images: Sequence) -> Embeddings:
        """Content and degradation embeddings (n, d) of n images: the means over the views of each."""
        encode = self._daclip().encode_image
        return Embeddings(*self._pooled(images, encode))

    @torch.inference_mode()
    def encode_plain(self, images: Sequence) -> Tensor:
        """What CLIP makes of n images without its controller: (n, d)."""
        clip = self._daclip().clip
        return self._pooled(images, lambda seen: (clip.encode_image(seen),))[0]

    def _pooled(self, images: Sequence, encode, batch: int = 64) -> list[Tensor]:
        size, view = self.settings.clip.image_size, self.settings.view
        if not images:
            raise InputError("no images: wanted at least one")
        seen = [views(read_image(image), size, view) for image in images]
        parts = [encode(chunk) for chunk in torch.cat(seen).split(batch)]
        counts = [len(v) for v in seen]
        return [
            F.normalize(torch.stack([v.mean(0) for v in torch.cat(kind).split(counts)]), dim=-1)
            for kind in zip(*parts, strict=True)
        ]

    def embed(self, images) -> EmbeddingTable:
        """Content and degradation embeddings of one image or a list of them, as a table."""
        import pandas as pd

        if not isinstance(images, list | tuple):
            images = [images]
        names = [
            str(i) if isinstance(i, str | Path) else f"image {k}" for k, i in enumerate(images)
        ]
        content, degradation = self.encode(images)
        return EmbeddingTable(pd.DataFrame({"image": names}), content.numpy(), degradation.numpy())

    def restore(
        self,
        image,
        *,
        steps: int | None = None,
        sampler: str = "posterior",
        seed: int = 0,
    ) -> "Image.Image":
        """The image without its degradation, as a PIL image of the same size.

        Args:
            steps: calls of the network, 1 to T; None takes what the weights want.
            sampler: one of `diffusion.samplers.SAMPLERS`.
            seed: decides the noise; the same seed gives the same image.
        """
        degraded = read_image(image)[None]
        if min(degraded.shape[-2:]) < 16:
            h, w = degraded.shape[-2:]
            name = f"{image}: " if isinstance(image, str | Path) else ""
            raise InputError(f"{name}{w}x{h} pixels are too few: restoring wants at least 16x16")
        *_, last = self.trajectory(degraded, steps=steps, sampler=sampler, seed=seed)
        return to_pil(last.state[0].clamp(0, 1))

    @torch.inference_mode()
    def trajectory(
        self,
        degraded: Tensor,
        *,
        steps: int | None = None,
        sampler: str = "posterior",
        seed: int = 0,
        embeddings: Embeddings | None = None,
    ):
        """Restore a batch (b, 3, h, w) step by step: yields a `SampleStep` each.

        `embeddings` steers the restorer by other embeddings than the images' own.
        """
        if self.restorer is None:
            raise InputError("these weights hold no restorer: load some that do, such as 'lab'")
        if sampler not in SAMPLERS:
            raise InputError(f"sampler {sampler!r} is unknown: use one of {', '.join(SAMPLERS)}")
        if embeddings is None and self.daclip is not None:
            embeddings = self.encode(list(degraded))
        conditions = self.restorer.prepare(*(embeddings or (None, None)))
        yield from sample(
            denoiser(self.restorer, self.sde, degraded, conditions),
            self.sde,
            degraded,
            steps=self.settings.steps if steps is None else steps,
            generator=seeded(seed),
            **SAMPLERS[sampler],
        )

    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """Write the pipeline into a folder; `half` stores the weights in float16, at half the size."""
        folder = Path(folder)
        parts = self._parts()
        for absent in {"clip", "controller", "restorer"} - set(parts):
            (folder / f"{absent}.safetensors").unlink(missing_ok=True)
        for name, module in parts.items():
            tensors = module.state_dict()
            if half:
                tensors = {k: t.half() if t.is_floating_point() else t for k, t in tensors.items()}
            write_tensors(folder / f"{name}.safetensors", tensors)
        self.save_settings(folder)

    def save_settings(self, folder: str | Path) -> None:
        """Write `pipeline.json` alone."""
        write_json(Path(folder) / "pipeline.json", {"format": FORMAT, **asdict(self.settings)})

    def _parts(self) -> dict[str, nn.Module]:
        parts = {}
        if self.clip is not None:
            parts["clip"] = self.clip.model
        if self.daclip is not None:
            parts["controller"] = _Controller(self.daclip)
        if self.restorer is not None:
            parts["restorer"] = self.restorer
        return parts

    def _daclip(self) -> DaCLIP:
        if self.daclip is None:
            raise InputError("these weights hold no controller: load some that do, such as 'lab'")
        return self.daclip


class _Controller(nn.Module):
    """What is trained of a DA-CLIP, as one module: that is what `controller.safetensors` holds."""

    def __init__(self, daclip: DaCLIP):
        super().__init__()
        self.controller = daclip.controller
        self.logit_scale = daclip.logit_scale


def degrade(image, name: str, *, severity: float = 0.5, seed: int = 0) -> "Image.Image":
    """An image with one of the ten degradations, as a PIL image of the same size.

    `severity` runs from 0 (the image unchanged) to 1; `seed` decides everything else.
    """
    return to_pil(degradations.degrade(read_image(image), name, severity, seeded(seed)))


def load(name_or_folder: str | Path = "lab") -> Pipeline:
    """A pipeline from a folder, or by the name of weights that come with the package ("lab").

    Raises InputError where there are none, or where they do not fit together.
    """
    folder = Path(name_or_folder)
    if not (folder / "pipeline.json").is_file():
        folder = SHIPPED / str(name_or_folder)
    if not (folder / "pipeline.json").is_file():
        shipped = sorted(path.parent.name for path in SHIPPED.glob("*/pipeline.json"))
        raise InputError(
            f"no weights at {str(name_or_folder)!r}: wanted a folder with a pipeline.json, "
            f"or one of the shipped: {', '.join(shipped)}"
        )
    settings = _read_settings(folder / "pipeline.json")
    # Building a network draws initial weights; the caller's random state is not ours to move.
    with torch.random.fork_rng(devices=[]):
        return _build(folder, settings)


def _build(folder: Path, settings: Settings) -> Pipeline:
    clip = daclip = restorer = None
    if (folder / "clip.safetensors").exists():
        clip = Clip(settings.clip)
        load_weights(clip.model, read_tensors(folder / "clip.safetensors"), f"{folder}/clip")
    if (folder / "controller.safetensors").exists():
        if clip is None:
            raise InputError(f"{folder} holds a controller but no clip.safetensors")
        daclip = DaCLIP(clip)
        tensors = read_tensors(folder / "controller.safetensors")
        load_weights(_Controller(daclip), tensors, f"{folder}/controller")
    if (folder / "restorer.safetensors").exists():
        restorer = build_restorer(settings.network, settings.clip.embed_dim)
        load_weights(restorer, read_tensors(folder / "restorer.safetensors"), f"{folder}/restorer")
    return Pipeline(settings, clip=clip, daclip=daclip, restorer=restorer)


def _read_settings(path: Path) -> Settings:
    content = read_json(path)
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise InputError(f"{path} is of another format: wanted format {FORMAT}")
    try:
        clip = content.pop("clip")
        for key in ("vocabulary", "mean", "std"):
            clip[key] = tuple(clip[key])
        content["labels"] = tuple(content.get("labels", LABELS))
        settings = Settings(clip=ClipConfig(**clip), **content)
        MeanRevertingSDE(**settings.sde)
        with torch.device("meta"):
            build_restorer(settings.network, settings.clip.embed_dim)
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} lacks a field or has one too many: {error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return settings
