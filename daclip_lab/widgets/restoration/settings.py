"""The settings and the result of the restoration lab as plain values, and the lines of code that make the result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from daclip_lab.degradations.registry import lookup, mixing_order
from daclip_lab.diffusion.samplers import SAMPLERS
from daclip_lab.errors import InputError
from daclip_lab.pipeline.inputs import whole_number

KEPT_EMBEDDINGS: dict[str, tuple[str, ...]] = {
    "degradation": ("degradation",),
    "content": ("content",),
    "none": (),
}
"""Conditionings on a part of the image's own embeddings: which of them."""
CONDITIONINGS = ("both", *KEPT_EMBEDDINGS, "wrong word", "words")
"""How a restoration can be conditioned; `LabSettings.words` says which words for the last two."""


@dataclass(frozen=True, kw_only=True)
class LabSettings:
    """Everything that decides what the restoration lab shows; equal settings give equal bytes."""

    photo: str = "osprey"
    """A bundled test photo or one that was added, by name, or the path of a file."""
    size: int | None = 256
    """Longest side in pixels to which the photo is shrunk; None for its own size."""
    already_degraded: bool = False
    """The photo is taken as it is, and no clean image is known."""
    degradations: tuple[tuple[str, float], ...] = (("rainy", 0.6),)
    """Names and severities (0..1), or a mapping of them; kept in the order in which they are applied."""
    degradation_seed: int = 0
    """Decides what is random in the degradations."""
    weights: str = "lab"
    sampler: str = "posterior"
    """One of `diffusion.samplers.SAMPLERS`."""
    steps: int = 1
    seed: int = 0
    """Decides the noise of the restoration."""
    conditioning: str = "both"
    """One of `CONDITIONINGS`."""
    words: str = ""
    """Conditions in the place of the image's own degradation embedding, for "words" and "wrong word"."""

    def __post_init__(self):
        given: Any = self.degradations
        pairs = list(given.items() if isinstance(given, Mapping) else given)
        for name, severity in pairs:
            lookup(name)
            if not 0 <= severity <= 1:
                raise InputError(f"severity of {name!r} is {severity}: wanted 0 (unchanged) to 1")
        if len(dict(pairs)) < len(pairs):
            raise InputError("a degradation is given twice: wanted each once")
        pairs = [(name, float(severity)) for name, severity in pairs if severity > 0]
        pairs.sort(key=lambda pair: mixing_order().index(pair[0]))
        object.__setattr__(self, "degradations", tuple(pairs))
        for name, options in {"sampler": SAMPLERS, "conditioning": CONDITIONINGS}.items():
            if getattr(self, name) not in options:
                wanted = ", ".join(options)
                raise InputError(f"{name}={getattr(self, name)!r}: use one of {wanted}")
        for name in ("seed", "degradation_seed"):
            whole_number(name, getattr(self, name))
        whole_number("steps", self.steps, 1)
        if self.size is not None:
            whole_number("size", self.size, 16)

    @property
    def input(self) -> tuple:
        """What decides the degraded image."""
        own = () if self.already_degraded else (self.degradations, self.degradation_seed)
        return (self.photo, self.size, *own)


class Moment(NamedTuple):
    """A state of a restoration and what the network makes of it, 8-bit images (3, h, w)."""

    done: int
    """Steps that led to the state."""
    t: int
    """Its timestep."""
    state: Tensor
    clean: Tensor
    """The clean image predicted from the state."""


@dataclass(frozen=True, kw_only=True)
class LabResult:
    """A restoration; the measures are None where no clean image is known."""

    settings: LabSettings
    degraded: Tensor
    """(3, h, w) in [0, 1], like the next two."""
    image: Tensor
    """The restored image."""
    clean: Tensor | None
    moments: tuple[Moment, ...]
    seconds: float
    psnr_input: float | None = None
    """Of the degraded image, in dB."""
    psnr: float | None = None
    """Of the restored image, in dB."""
    ssim_input: float | None = None
    ssim: float | None = None

    @property
    def measures(self) -> str:
        """The measures and the time as a sentence."""
        took = (
            f"{self.seconds:.2f} s for {self.settings.steps} step{'s' * (self.settings.steps > 1)}"
        )
        if self.psnr is None or self.psnr_input is None:
            return f"no clean image known, so no PSNR and SSIM · {took}"
        gain = round(self.psnr - self.psnr_input, 1) + 0.0  # never -0.0
        return (
            f"PSNR {self.psnr_input:.1f} → {self.psnr:.1f} dB ({gain:+.1f}) · "
            f"SSIM {self.ssim_input:.2f} → {self.ssim:.2f} · {took}"
        )

    def at(self, step: int) -> tuple[Tensor, Tensor, tuple[str, str, str], str]:
        """Two images to compare with the clean one, the labels of the three, and a text, for a step of the slider.

        For step k of `moments` they are the state and what is predicted from it; for any later one the degraded and the
        restored image.
        """
        steps = self.settings.steps
        if step < len(self.moments):
            moment = self.moments[step]
            labels = (f"state at t = {moment.t}", "clean, as predicted from it", "clean")
            return (
                moment.state,
                moment.clean,
                labels,
                f"{moment.done} of {steps} done, t = {moment.t}",
            )
        labels = ("degraded", "restored", "clean")
        return self.degraded, self.image, labels, f"{steps} of {steps} done, t = 0"


def code(
    settings: LabSettings, *, load: str | None, bundled: bool, shrunk: bool, word: str | None
) -> str:
    """Lines that make the images of `settings` byte for byte, as `degraded` and `restored` (3, h, w).

    Args:
        load: what the weights are loaded from; None for a pipeline, which the lines expect as `pipe`.
        bundled: the photo is one of the package, not a file.
        shrunk: the photo is larger than `settings.size`.
        word: the words in the place of the degradation embedding, if any.
    """
    name = "degraded" if settings.already_degraded else "clean"
    mixed = not settings.already_degraded
    masked = settings.conditioning in KEPT_EMBEDDINGS
    lines = ["import daclip_lab as lab"]
    if masked:
        lines.append("from daclip_lab.ablation.conditioning import mask_embeddings")
    if mixed:
        lines.append("from daclip_lab.degradations.apply import mix")
    if shrunk:
        lines.append("from PIL import ImageOps")
    lines.append("")
    if load is None:
        lines.append(f"# `pipe` is the pipeline that the lab calls {settings.weights!r}")
    else:
        lines.append(f"pipe = lab.load({load!r})")
    if bundled:
        lines.append('photos = lab.sample_photos("test")')
        lines.append(f"{name} = photos[photos.names.index({settings.photo!r})]")
    else:
        lines.append(f"{name} = lab.read_image({settings.photo!r})")
    if shrunk:
        side = f"({settings.size}, {settings.size})"
        lines.append(f"{name} = lab.read_image(ImageOps.contain(lab.to_pil({name}), {side}))")
    if mixed:
        seed = settings.degradation_seed
        lines.append(f"degraded = mix(clean, {list(settings.degradations)!r}, lab.seeded({seed}))")
    options = {"steps": settings.steps, "sampler": settings.sampler, "seed": settings.seed}
    if word is not None:
        options["degradation"] = word
    listed = [f"{key}={value!r}" for key, value in options.items()]
    if masked:
        kept = KEPT_EMBEDDINGS[settings.conditioning]
        lines.append(f"embeddings = mask_embeddings(pipe.encode([degraded]), {kept!r})")
        listed.append("embeddings=embeddings")
    lines.append(f"restored = pipe.restore(degraded, {', '.join(listed)}, output_type='pt')")
    return "\n".join(lines) + "\n"
