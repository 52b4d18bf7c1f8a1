"""Load a pipeline: from a folder, by the name of shipped weights, or from the authors' files."""

from pathlib import Path

import torch

from daclip_lab.errors import InputError
from daclip_lab.pipeline import serialization
from daclip_lab.pipeline.convert_official import read_released
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.pipeline.running import usable_device

SHIPPED = Path(__file__).parents[1] / "weights"


def load(
    weights: str | Path = "lab",
    *,
    restorer: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Pipeline:
    """Load a pipeline, in evaluation mode and frozen.

    Args:
        weights: a folder with a `pipeline.json`; "lab"; or a DA-CLIP that the authors released, such as
            "daclip_ViT-B-32.pt" (`daclip-lab import-official` makes a folder of it, which loads faster).
        restorer: the restorer that the authors released with it, such as "universal-ir.pth".
        device, dtype: where the networks run, and in which number format: see `Pipeline.to`.

    Raises InputError where there are no such weights or no such device, or where parts do not fit together.
    """
    path, device = Path(weights), usable_device(device)
    if restorer is not None or path.is_file():
        settings, tensors = read_released(path, restorer)
    else:
        path = _folder(path)
        settings, tensors = serialization.read_folder(path)
    # Building a network draws initial weights: the caller's global random state must not move.
    with torch.random.fork_rng(devices=[]):
        parts = serialization.build(settings, tensors, path)
    for part in parts.values():
        part.eval().requires_grad_(False)
    return Pipeline(settings, **parts).to(device, dtype)


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
