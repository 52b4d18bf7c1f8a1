"""What the restoration lab computes, without a widget: a photo degraded, classified and restored; all of it is kept."""

import io
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image, ImageOps
from torch import Tensor

from daclip_lab.ablation.conditioning import mask_embeddings
from daclip_lab.data.image_io import ImageLike, read_image, to_pil
from daclip_lab.data.photos import sample_photos
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations.apply import mix
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.diffusion.samplers import time_points
from daclip_lab.errors import InputError
from daclip_lab.metrics.image_quality import psnr, ssim
from daclip_lab.pipeline.loading import load
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.pipeline.restoration import SMALLEST
from daclip_lab.widgets.restoration.recent import Recent
from daclip_lab.widgets.restoration.settings import (
    KEPT_EMBEDDINGS,
    LabResult,
    LabSettings,
    Moment,
    code,
)

CACHE_BYTES = 512 * 2**20
"""Images that are kept, so that going back is instant."""
PATH_BYTES = 64 * 2**20
"""Of a restoration so much of its trajectory is kept: all steps of small photos, evenly chosen ones of large photos."""
UPLOAD_BYTES = 20 * 2**20
UPLOAD_PIXELS = 24_000_000

Weights = str | Path | Pipeline


class RestorationSession:
    """Degrades, classifies and restores a photo by settings, and keeps what it made.

    Every method works for the current `settings`, or for those it is given. Several threads may call them.
    """

    def __init__(self, weights: Weights | Mapping[str, Weights] = "lab", **settings: Any):
        """`weights` is a pipeline, its folder or name, or several of them by names; `settings` as in `LabSettings`.

        Without `steps` they are those of the first weights. Raises InputError for settings that cannot be used.
        """
        if not isinstance(weights, Mapping):
            name = "given" if isinstance(weights, Pipeline) else str(weights)
            weights = {name: weights}
        self.sources: dict[str, Weights] = dict(weights)
        self._pipes: dict[str, Pipeline] = {}
        self._lock = threading.RLock()
        self._bundled = sample_photos("test")
        self._added: dict[str, Tensor] = {}
        self._recent = Recent(CACHE_BYTES)
        first = settings.setdefault("weights", next(iter(self.sources)))
        if "steps" not in settings:
            settings["steps"] = self.pipe(first).settings.steps
        self.settings = LabSettings(**settings)

    @property
    def photos(self) -> list[str]:
        """The names that a photo can be chosen by."""
        return [*dict.fromkeys([*self._bundled.names, *self._added])]

    def add_photo(self, name: str, file: ImageLike) -> None:
        """Make a photo available under a name; bytes may be at most 20 MB of 24 megapixels.

        Raises InputError for what is larger or cannot be read.
        """
        if isinstance(file, bytes | bytearray | memoryview):
            file = bytes(file)
            if len(file) > UPLOAD_BYTES:
                raise InputError(f"{name}: {len(file) / 2**20:.0f} MB: wanted at most 20 MB")
            try:
                width, height = Image.open(io.BytesIO(file)).size
            except Exception:  # damaged bytes make PIL raise nearly anything; read_image says what
                width = height = 0
            if width * height > UPLOAD_PIXELS:
                raise InputError(f"{name}: {width}x{height} pixels: wanted at most 24 million")
        try:
            image = read_image(file)
        except InputError as error:
            raise InputError(f"{name}: {str(error).removeprefix('the bytes: ')}") from None
        with self._lock:
            self._added[name] = image
            self._recent = Recent(CACHE_BYTES)  # the name may have meant another photo

    def pipe(self, name: str | None = None) -> Pipeline:
        """The weights of that name, loaded when they are first used."""
        name = self.settings.weights if name is None else name
        if name not in self.sources:
            known = ", ".join(self.sources)
            raise InputError(f"weights {name!r} are not in this lab: use one of {known}")
        with self._lock:
            if name not in self._pipes:
                source = self.sources[name]
                self._pipes[name] = source if isinstance(source, Pipeline) else load(source)
            return self._pipes[name]

    def wrong_words(self, settings: LabSettings | None = None) -> list[str]:
        """The labels of the weights that the photo is not degraded by, those after its own first."""
        settings = settings or self.settings
        labels = [label for label in self.pipe(settings.weights).settings.labels if label != CLEAN]
        own = dict(settings.degradations)
        start = max((k + 1 for k, label in enumerate(labels) if label in own), default=0)
        return [label for label in labels[start:] + labels[:start] if label not in own]

    def word(self, settings: LabSettings | None = None) -> str | None:
        """The words in the place of the degradation embedding, or None where it is the image's own.

        For "wrong word" they are `settings.words` where those are wrong, else the first of `wrong_words`.
        """
        settings = settings or self.settings
        if settings.conditioning == "words":
            if not settings.words.strip():
                raise InputError("no words to condition on: give some, such as 'rainy'")
            return settings.words
        if settings.conditioning != "wrong word":
            return None
        wrong = self.wrong_words(settings)
        if not wrong:
            raise InputError("no word is wrong: these weights know no degradation but the photo's")
        return settings.words if settings.words in wrong else wrong[0]

    # ---- images ----

    def photo(self, settings: LabSettings | None = None) -> Tensor:
        """The photo as it is used, (3, h, w) in [0, 1]: shrunk to `settings.size`."""
        settings = settings or self.settings
        key = ("photo", settings.photo, settings.size)
        return self._recent.made(key, lambda: self._photo(settings), _bytes)

    def _is_bundled(self, name: str) -> bool:
        return name in self._bundled.names and name not in self._added

    def _photo(self, settings: LabSettings) -> Tensor:
        if settings.photo in self._added:
            image = self._added[settings.photo]
        elif self._is_bundled(settings.photo):
            image = self._bundled[self._bundled.names.index(settings.photo)]
        else:
            image = read_image(settings.photo)
        if settings.size is not None and max(image.shape[-2:]) > settings.size:
            image = read_image(ImageOps.contain(to_pil(image), (settings.size, settings.size)))
        return image

    def clean(self, settings: LabSettings | None = None) -> Tensor | None:
        """The clean image (3, h, w); None where it is not known."""
        settings = settings or self.settings
        return None if settings.already_degraded else self.photo(settings)

    def degraded(self, settings: LabSettings | None = None) -> Tensor:
        """The degraded image (3, h, w) in [0, 1]."""
        settings = settings or self.settings
        if settings.already_degraded:
            return self.photo(settings)

        def make() -> Tensor:
            generator = seeded(settings.degradation_seed)
            return mix(self.photo(settings), settings.degradations, generator)

        return self._recent.made(("degraded", *settings.input), make, _bytes)

    def probabilities(self, settings: LabSettings | None = None) -> "pd.Series":
        """The probability of each label of the weights, as `Pipeline.classify` gives it for the degraded image."""
        settings = settings or self.settings

        def make() -> "pd.Series":
            return self.pipe(settings.weights).classify(self.degraded(settings))

        key = ("probabilities", settings.weights, *settings.input)
        return self._recent.made(key, make, lambda found: 1000)

    # ---- restoration ----

    def result(self, settings: LabSettings | None = None) -> LabResult | None:
        """The restoration, where it has been made and is still kept."""
        return self._recent.find(("result", settings or self.settings))

    def restore(self, settings: LabSettings | None = None) -> LabResult:
        """The restoration, made where it is not kept."""
        settings = settings or self.settings
        for _ in self.restore_steps(settings):
            pass
        found = self.result(settings)
        assert found is not None
        return found

    def restore_steps(self, settings: LabSettings | None = None) -> Iterator[Moment]:
        """Restore step by step: yields a `Moment` for each call of the network; then `result` is there.

        Nothing is yielded for a restoration that is kept.
        """
        settings = settings or self.settings
        if self.result(settings) is not None:
            return
        pipe, degraded = self.pipe(settings.weights), self.degraded(settings)
        if min(degraded.shape[-2:]) < SMALLEST:
            height, width = degraded.shape[-2:]
            raise InputError(f"{width}x{height} pixels: a restoration wants at least {SMALLEST}")
        moments: list[Moment] = []
        times = time_points(pipe.sde, settings.steps)
        # The state before the first step, from the same noise.
        state = pipe.sde.prior(
            degraded, torch.randn(1, *degraded.shape, generator=seeded(settings.seed))
        )
        every = max(1, -(-settings.steps * 2 * degraded.numel() // PATH_BYTES))
        seconds, start = 0.0, time.perf_counter()
        path = self._trajectory(pipe, degraded, settings)
        for done, step in enumerate(path):
            seconds += time.perf_counter() - start
            moment = Moment(done, times[done], _levels(state), _levels(step.clean))
            if done % every == 0 or done == settings.steps - 1:
                moments.append(moment)
            state = step.state
            yield moment
            start = time.perf_counter()
        image, clean = state[0].clamp(0, 1).cpu(), self.clean(settings)
        measures = {} if clean is None else _measures(degraded, image, clean)
        result = LabResult(
            settings=settings, degraded=degraded, image=image, clean=clean, seconds=seconds,
            moments=tuple(moments), **measures,
        )  # fmt: skip
        size = sum(_bytes(m.state) + _bytes(m.clean) for m in moments) + 3 * _bytes(image)
        self._recent.keep(("result", settings), result, size)

    def _trajectory(self, pipe: Pipeline, degraded: Tensor, settings: LabSettings) -> Iterator:
        options: dict[str, Any] = {"degradation": self.word(settings)}
        if settings.conditioning in KEPT_EMBEDDINGS:
            kept = KEPT_EMBEDDINGS[settings.conditioning]
            options["embeddings"] = mask_embeddings(pipe.encode([degraded]), kept)
        return pipe.trajectory(degraded[None], steps=settings.steps, sampler=settings.sampler,
                               seed=settings.seed, **options)  # fmt: skip

    def code(self, settings: LabSettings | None = None) -> str:
        """Lines that make the degraded and the restored image of the settings byte for byte."""
        settings = settings or self.settings
        source = self.sources[settings.weights]
        whole = self.photo(replace(settings, size=None))
        return code(
            settings,
            load=None if isinstance(source, Pipeline) else str(source),
            bundled=self._is_bundled(settings.photo),
            shrunk=settings.size is not None and max(whole.shape[-2:]) > settings.size,
            word=self.word(settings),
        )


def _bytes(image: Tensor) -> int:
    return image.numel() * image.element_size()


def _levels(image: Tensor) -> Tensor:
    """An image (1, 3, h, w) as the 8-bit levels (3, h, w) that are shown."""
    return image[0].clamp(0, 1).mul(255).round().to(torch.uint8).cpu()


def _measures(degraded: Tensor, restored: Tensor, clean: Tensor) -> dict[str, float]:
    images, truth = torch.stack([degraded, restored]), torch.stack([clean, clean])
    found = {"psnr": psnr(images, truth).tolist(), "ssim": ssim(images, truth).tolist()}
    return {
        f"{name}{end}": found[name][k] for name in found for k, end in enumerate(("_input", ""))
    }
