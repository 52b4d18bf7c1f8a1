"""The front door: name what is wrong with an image, embed it, restore it.

A pipeline is a folder: `pipeline.json`, and the weights of as many of its three parts as have been trained
(`clip`, `controller`, `restorer`), each in safetensors.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.data.image_io import read_image, to_pil
from daclip_lab.data.prompts import training_texts
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations import rules
from daclip_lab.diffusion.samplers import SAMPLERS, SampleStep, denoiser, sample
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.diffusion.tiling import Tiled, in_tiles
from daclip_lab.errors import InputError
from daclip_lab.models.clip import Clip, views
from daclip_lab.models.daclip import DaCLIP, Embeddings
from daclip_lab.pipeline import serialization
from daclip_lab.pipeline.convert_official import read_released
from daclip_lab.pipeline.image_listing import embed, means_of
from daclip_lab.pipeline.serialization import Settings
from daclip_lab.training.devices import has_bf16

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

SHIPPED = Path(__file__).parents[1] / "weights"


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
        for part in self._parts:
            part.eval().requires_grad_(False)

    @property
    def _parts(self) -> list[nn.Module]:
        return [part for part in (self.daclip or self.clip, self.restorer) if part is not None]

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return next(self._parts[0].parameters()).device

    def to(self, device: str | torch.device) -> "Pipeline":
        """Move the networks, for example to "cuda", and return this pipeline.

        Naming, embedding and restoring then run there; what goes in and comes out lies on the CPU, except for the
        states of a `trajectory`.
        """
        for part in self._parts:
            part.to(device)
        return self

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
        return self._daclip().scale.cpu() * degradation @ self.word_embeddings.T

    @cached_property
    def word_embeddings(self) -> Tensor:
        """The text embedding (k, d) that stands for each of the k `settings.labels`."""
        if not self.settings.labels:
            raise InputError(
                "these weights name no degradation: their controller was trained without words (wild-IR)"
            )
        if not self.settings.synonyms:
            return self.encode_text(self.settings.labels)
        means = [self.encode_text(training_texts(name)).mean(0) for name in self.settings.labels]
        return F.normalize(torch.stack(means), dim=-1)

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """The embeddings (n, d) of texts, of length 1."""
        return self._daclip().encode_text(list(texts)).cpu()

    @torch.inference_mode()
    def encode(self, images: Sequence) -> Embeddings:
        """Content and degradation embeddings (n, d) of n images: the means over the views of each, of length 1."""
        return Embeddings(*self._pooled(images, self._daclip().encode_image))

    @torch.inference_mode()
    def steering(self, images: Sequence, embeddings: Embeddings | None = None) -> Embeddings:
        """What the restorer is told of n images: their own embeddings (n, d), or others in the place of these.

        The paper's U-Net wants them at the lengths that the controlled CLIP gave them; others get the lengths of the
        images' own. The lab's restorer wants directions alone.
        """
        if not self.restorer.uses_unnormalized_embeddings:
            return self.encode(images) if embeddings is None else embeddings
        encode = partial(self._daclip().encode_image, normalize=False)
        features = Embeddings(*self._pooled(images, encode, normalize=False))
        return features if embeddings is None else embeddings.rescaled_like(features)

    @torch.inference_mode()
    def encode_clip(self, images: Sequence) -> Tensor:
        """What CLIP makes of n images without its controller: (n, d)."""
        clip = self._daclip().clip
        return self._pooled(images, lambda seen: (clip.encode_image(seen),))[0]

    @torch.inference_mode()
    def encode_all(self, images: Sequence) -> list[Tensor]:
        """Content, degradation and plain CLIP embeddings of n images, each read once: three tensors (n, d)."""
        daclip = self._daclip()
        return self._pooled(
            images, lambda seen: (*daclip.encode_image(seen), daclip.clip.encode_image(seen))
        )

    def _pooled(self, images: Sequence, encode: Callable, normalize: bool = True) -> list[Tensor]:
        size, view = self.settings.clip.image_size, self.settings.view
        seen = (views(read_image(image), size, view) for image in images)
        means = means_of(seen, lambda some: encode(some.to(self.device)))
        return [F.normalize(mean, dim=-1) for mean in means] if normalize else means

    def embed(
        self,
        images,
        *,
        clean: Sequence | None = None,
        known: "pd.DataFrame | Mapping[str, Sequence] | None" = None,
        out: str | Path | None = None,
        half: bool = False,
    ) -> EmbeddingTable:
        """Content and degradation embeddings of images, CLIP's own, and what is known about each, as a table.

        Thousands of images need no more memory than a few; a bar shows how far it is.

        Args:
            images: a folder, real pairs in the authors' layout, one image, or a list of them, see `embedding.listing`.
            clean: the clean partners of a list of images.
            known: columns of what is known about a list of images, such as `degradation`, `severity` or `photo`.
            out: Parquet file to write; an interrupted run goes on where it was.
            half: write the embeddings in float16.

        Raises InputError, naming the file, for an image that cannot be read.
        """
        self._daclip()
        return embed(self, images, clean=clean, known=known, out=out, half=half)

    def word(self, words: str) -> Tensor:
        """The degradation embedding (d,) of words: for one of `settings.labels`, what the classifier compares with."""
        if words in self.settings.labels:
            return self.word_embeddings[self.settings.labels.index(words)]
        return self.encode_text([words])[0]

    def restore(self, image, *, as_degradation=None, **options) -> "Image.Image":
        """The image without its degradation, as a PIL image of the same size, at least 16x16 pixels.

        `as_degradation`, words or an embedding (d,), tells the restorer what to undo instead of what DA-CLIP sees; the
        content stays the image's own. Whether the restorer follows is measured in `analysis.arithmetic`.

        The options are those of `trajectory`, such as `steps`, `sampler`, `seed` and `tile`. Who restores many images
        of one size may compile the network before: `pipe.restorer.compile()`.
        """
        degraded = read_image(image)[None]
        if min(degraded.shape[-2:]) < 16:
            h, w = degraded.shape[-2:]
            name = f"{image}: " if isinstance(image, str | Path) else ""
            raise InputError(f"{name}{w}x{h} pixels are too few: restoring wants at least 16x16")
        if as_degradation is not None:
            told = self.word(as_degradation) if isinstance(as_degradation, str) else as_degradation
            content = self.encode([degraded]).content
            if told.shape != content[0].shape:
                raise InputError(
                    f"as_degradation: {tuple(told.shape)}, wanted ({len(content[0])},)"
                )
            options["embeddings"] = Embeddings(content, told[None])
        path = self.trajectory(degraded, **options)
        steps = options.get("steps") or self.settings.steps
        # Only the last step is kept: all states of a large photo would not fit into memory.
        bar = tqdm(path, "restoring", steps, unit="step", leave=False, delay=2)
        return to_pil(deque(bar, maxlen=1).pop().state[0].clamp(0, 1).cpu())

    @torch.inference_mode()
    def trajectory(
        self,
        degraded: Tensor,
        *,
        steps: int | None = None,
        sampler: str = "posterior",
        timestep_spacing: str = "linspace",
        seed: int = 0,
        tile: int | None = None,
        embed_tiles: bool = False,
        embeddings: Embeddings | None = None,
    ) -> Iterator[SampleStep]:
        """Restore a batch (b, 3, h, w) step by step: yields a `SampleStep` each.

        The network runs in bfloat16 where the processor has it.

        Args:
            steps: calls of the network, 1 to T; None takes what the weights want.
            sampler: one of `diffusion.samplers.SAMPLERS`.
            spacing: how the times of the steps are spread, see `diffusion.samplers.time_points`.
            seed: decides the noise; the same seed gives the same images.
            tile: side in pixels of the tiles that the network sees, 0 for none; None takes tiles for large images only,
                see `diffusion.tiling`.
            embed_tiles: steer every tile by its own embeddings instead of those of the whole image: for damage that is
                not everywhere the same. Where it is, colours may differ from tile to tile.
            embeddings: steer by these embeddings instead of the images' own, see `steering`.
        """
        if self.restorer is None:
            raise InputError("these weights hold no restorer: load some that do, such as 'lab'")
        if sampler not in SAMPLERS:
            raise InputError(f"sampler {sampler!r} is unknown: use one of {', '.join(SAMPLERS)}")
        net = in_tiles(self.restorer, *degraded.shape[-2:], tile)
        if embed_tiles and embeddings is None and self.daclip and isinstance(net, Tiled):
            conditions = [self.conditions(part) for part in net.cut(degraded)]
        else:
            conditions = self.conditions(degraded, embeddings)
        degraded = degraded.to(self.device)
        yield from sample(
            denoiser(net, self.sde, degraded, conditions, bf16=has_bf16(degraded.device)),
            self.sde,
            degraded,
            steps=self.settings.steps if steps is None else steps,
            timestep_spacing=timestep_spacing,
            generator=seeded(seed),
            **SAMPLERS[sampler],
        )

    def conditions(self, degraded: Tensor, embeddings: Embeddings | None = None):
        """What the restorer makes of `steering` for a batch (b, 3, h, w), once for all steps; see its `prepare`."""
        told = embeddings or (None, None)
        if self.daclip is not None:
            told = self.steering(list(degraded), embeddings)
        return self.restorer.prepare(*(e if e is None else e.to(self.device) for e in told))

    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """Write the pipeline into a folder; `half` stores the weights in float16, at half the size."""
        weights = serialization.tensors_of(self.clip, self.daclip, self.restorer, half=half)
        serialization.write_folder(folder, self.settings, weights)

    def save_settings(self, folder: str | Path) -> None:
        """Write `pipeline.json` alone."""
        serialization.write_settings(folder, self.settings)

    def _daclip(self) -> DaCLIP:
        if self.daclip is None:
            raise InputError("these weights hold no controller: load some that do, such as 'lab'")
        return self.daclip


def degrade(image, name: str, *, severity: float = 0.5, seed: int = 0) -> "Image.Image":
    """An image with one of the ten degradations, as a PIL image of the same size.

    `severity` runs from 0 (the image unchanged) to 1; `seed` decides everything else.
    """
    return to_pil(rules.degrade(read_image(image), name, severity, seeded(seed)))


def load(weights: str | Path = "lab", restorer: str | Path | None = None) -> Pipeline:
    """A pipeline from a folder, by the name of weights that come with the package, or from the authors' files.

    Args:
        weights: a folder with a `pipeline.json`; "lab"; or a DA-CLIP that the authors released, such as
            "daclip_ViT-B-32.pt" (`daclip-lab import-official` makes a folder of it, which loads faster).
        restorer: the restorer that the authors released with it, such as "universal-ir.pth".

    Raises InputError where there are none, or where they do not fit together.
    """
    path = Path(weights)
    if restorer is not None or path.is_file():
        settings, tensors = read_released(path, restorer)
    else:
        path = _folder(path)
        settings, tensors = serialization.read_folder(path)
    # Building a network draws initial weights; the caller's random state is not ours to move.
    with torch.random.fork_rng(devices=[]):
        parts = serialization.build(settings, tensors, path)
    return Pipeline(settings, **parts)


def _folder(path: Path) -> Path:
    """The folder of that name, or of the shipped weights of that name."""
    for folder in (path, SHIPPED / path):
        if (folder / "pipeline.json").is_file():
            return folder
    shipped = sorted(file.parent.name for file in SHIPPED.glob("*/pipeline.json"))
    raise InputError(
        f"no weights at {str(path)!r}: wanted a folder with a pipeline.json, the authors' .pt file, "
        f"or one of the shipped: {', '.join(shipped)}"
    )
