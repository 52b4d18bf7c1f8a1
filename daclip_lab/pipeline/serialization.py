"""A pipeline on disk: a folder with `pipeline.json`, and the weights of those of its parts that have been trained.

The parts are `clip`, `controller` and `restorer`, each in a file of safetensors.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from daclip_lab.degradations.registry import LABELS
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.errors import InputError
from daclip_lab.files.storage import read_json, write_json
from daclip_lab.models.clip import Clip, ClipConfig
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.models.front_end import fold_all, folded_copy, is_folded
from daclip_lab.models.restorer import build_restorer
from daclip_lab.training.checkpoints import load_weights, read_tensors, write_tensors

FORMAT = 1
PARTS = ("clip", "controller", "restorer")

Weights = Mapping[str, Mapping[str, Tensor]]
"""The named tensors of each part that is there."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The inference configuration of weights, stored with them in `pipeline.json`."""

    clip: ClipConfig
    """The architecture of CLIP, and how images are normalised for it."""
    network: dict
    """What `models.restorer.build_restorer` needs."""
    sde: dict
    """Arguments of MeanRevertingSDE."""
    view: str
    """Which views of an image are embedded, see `models.clip.views`."""
    steps: int
    """Default number of steps of a restoration."""
    synonyms: bool
    """Classify by the mean embedding of all training phrasings of a degradation, instead of its canonical word."""
    labels: tuple[str, ...] = LABELS
    """The classes of the classifier; the authors' weights have no "clean", and wild-IR's none at all."""
    max_crops: int = 48
    """The largest number of native crops among the views of an image."""
    clean_bias: float = 0.0
    """Added to the logit of "clean"; chosen on validation photos, see `evaluation.calibrate`."""
    temperature: float = 1.0
    """Divides the logits of the classifier; fitted on validation photos, see `evaluation.calibrate`."""
    source: dict = field(default_factory=dict)
    """For the authors' weights: the SHA-256 of each of their files, by name."""


def build(settings: Settings, weights: Weights, where: str | Path) -> dict[str, Any]:
    """The parts of a pipeline with their weights: those of `clip`, `daclip` and `restorer` that there are.

    Raises InputError, naming `where` they come from, for weights that do not fit the settings.
    """
    parts: dict[str, Any] = {}

    def fill(module: nn.Module, part: str, tensors: Mapping[str, Tensor]) -> None:
        load_weights(fold_all(module) if is_folded(tensors) else module, tensors, f"{where}/{part}")

    if "clip" in weights:
        parts["clip"] = Clip(settings.clip)
        fill(parts["clip"].model, "clip", weights["clip"])
    if "controller" in weights:
        if "clip" not in parts:
            raise InputError(f"{where} holds a controller but no clip.safetensors")
        parts["daclip"] = DaCLIP(parts["clip"])
        controller = _Controller(parts["daclip"])
        # The authors' controllers have no pooling; an untrained one is the mean.
        pooling = {k: t for k, t in controller.state_dict().items() if ".pooling." in k}
        fill(controller, "controller", {**pooling, **weights["controller"]})
    if "restorer" in weights:
        parts["restorer"] = build_restorer(settings.network, settings.clip.embed_dim)
        load_weights(parts["restorer"], weights["restorer"], f"{where}/restorer")
    return parts


def tensors_of(
    clip: Clip | None, daclip: DaCLIP | None, restorer: nn.Module | None, *, half: bool = False
) -> Weights:
    """The named tensors of the parts of a pipeline; `half` has them in float16.

    Front ends are stored folded (see `models.front_end`); that of a CLIP without a controller is not, because a
    controller learns sooner with batch norm.
    """
    modules = {
        "clip": clip and clip.model,
        "controller": daclip and _Controller(daclip),
        "restorer": restorer,
    }
    if daclip:
        modules |= {part: folded_copy(modules[part]) for part in ("clip", "controller")}

    def stored(tensor: Tensor) -> Tensor:
        return tensor.half() if half and tensor.is_floating_point() else tensor

    return {
        part: {name: stored(tensor) for name, tensor in module.state_dict().items()}
        for part, module in modules.items()
        if module is not None
    }


class _Controller(nn.Module):
    """The trained part of a DA-CLIP as one module, which is what `controller.safetensors` holds."""

    def __init__(self, daclip: DaCLIP):
        super().__init__()
        self.controller = daclip.controller
        self.logit_scale = daclip.logit_scale


def write_folder(folder: str | Path, settings: Settings, weights: Weights) -> None:
    """Write a pipeline into a folder; a part that is absent leaves no old file behind."""
    for part in PARTS:
        file = Path(folder) / f"{part}.safetensors"
        if part in weights:
            write_tensors(file, weights[part])
        else:
            file.unlink(missing_ok=True)
    write_settings(folder, settings)


def write_settings(folder: str | Path, settings: Settings) -> None:
    """Write `pipeline.json` alone."""
    write_json(Path(folder) / "pipeline.json", {"format": FORMAT, **asdict(settings)})


def read_folder(folder: str | Path) -> tuple[Settings, Weights]:
    """Read what `write_folder` wrote; an InputError names the file that is missing or broken."""
    settings = read_settings(Path(folder) / "pipeline.json")
    files = {part: Path(folder) / f"{part}.safetensors" for part in PARTS}
    return settings, {part: read_tensors(file) for part, file in files.items() if file.exists()}


def read_settings(path: Path) -> Settings:
    """Read a `pipeline.json`; an InputError says what is wrong with it."""
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
        check_preprocessing(settings)
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} lacks a field or has one too many: {error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return settings


def check_preprocessing(settings: Settings) -> None:
    """Refuse the authors' weights with other images than they were trained on: resized, with CLIP's mean and std.

    Such weights load without an error, and the results are wrong. The size of the image follows from their shapes.
    """
    if not settings.source:
        return
    wanted: dict = {"mean": ClipConfig.mean, "std": ClipConfig.std}
    given: dict = {name: getattr(settings.clip, name) for name in wanted}
    wanted["view"], given["view"] = "resize", settings.view
    for name, value in given.items():
        if value != wanted[name]:
            raise InputError(
                f"{name} is {value!r}; the authors' weights were trained with {wanted[name]!r}"
            )
