"""Convert the weights that the authors released (github.com/Algolzw/daclip-uir).

A DA-CLIP comes as an open_clip checkpoint (`daclip_ViT-B-32.pt`; for wild-IR `wild-daclip_ViT-L-14.pt`), a restorer as
a plain state dict (`universal-ir.pth`, `wild-ir.pth`). Both are pickles, read with `weights_only=True`, which runs no
code in them.
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from daclip_lab.degradations.registry import DEGRADATIONS
from daclip_lab.errors import InputError
from daclip_lab.files.storage import file_hash
from daclip_lab.models.clip import Clip, ClipConfig, named_config
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.models.restorer import build_restorer
from daclip_lab.pipeline.serialization import Settings, Weights, check_preprocessing, write_folder
from daclip_lab.training import presets
from daclip_lab.training.checkpoints import check_fit, strip_prefixes

WILD_WIDTH = 1024
"""Width of the image tower of ViT-L-14, by which wild-IR's DA-CLIP is recognised."""


def import_official(
    daclip: str | Path,
    restorer: str | Path | None,
    folder: str | Path,
    *,
    clip: ClipConfig | None = None,
    network: dict | None = None,
) -> Settings:
    """Convert the authors' files to a folder that `load` takes, and return its settings.

    The tensors keep their precision. Arguments and errors are those of `read_released`; besides, a folder that already
    holds weights is refused.
    """
    folder = Path(folder)
    if folder.is_file() or (folder / "pipeline.json").exists():
        raise InputError(f"{folder} is there already: name a new folder")
    settings, weights = read_released(daclip, restorer, clip=clip, network=network)
    write_folder(folder, settings, weights)
    return settings


def read_released(
    daclip: str | Path,
    restorer: str | Path | None = None,
    *,
    clip: ClipConfig | None = None,
    network: dict | None = None,
) -> tuple[Settings, Weights]:
    """Read the authors' files: the settings, and the tensors under our names.

    Args:
        daclip: the checkpoint of a DA-CLIP.
        restorer: the state dict of the restorer that it conditions.
        clip: the architecture; unless given it is recognised: ViT-B-32 (the paper) or ViT-L-14 (wild-IR).
        network: arguments of ConditionalUNet; unless given, the paper's, or wild-IR's (half the size, no prompt) where
            the names say so.

    Raises InputError for another file; it lists what is missing, unexpected or of another shape.
    """
    paper = presets.paper()
    tensors = read_checkpoint(daclip)
    wild = len(tensors.get("clip.visual.conv1.weight", ())) == WILD_WIDTH
    clip = clip or named_config("ViT-L-14" if wild else "ViT-B-32")
    weights = daclip_parts(tensors, clip, str(daclip))
    source = {Path(daclip).name: file_hash(daclip)}
    network = network or paper.network
    if restorer is not None:
        tensors = read_checkpoint(restorer)
        network = network | {
            "use_degradation": any(name.startswith(("prompt", "text_mlp")) for name in tensors),
            "use_content": any(".attn2." in name for name in tensors),
            "scale": 0.5 if "downsample.weight" in tensors else 1,
        }
        with torch.device("meta"):
            wanted = build_restorer(network, clip.embed_dim).state_dict()
        check_fit(wanted, tensors, str(restorer))
        weights["restorer"] = tensors
        source[Path(restorer).name] = file_hash(restorer)
    settings = Settings(
        clip=clip,
        network=network,
        sde=paper.sde,
        view=paper.view,
        steps=paper.steps,
        synonyms=False,
        # Wild-IR's controller was not trained on words for degradations (2404.09732).
        labels=() if wild else DEGRADATIONS,
        source=source,
    )
    check_preprocessing(settings)
    return settings, weights


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The named tensors of a PyTorch checkpoint, without wrappers and prefixes (`checkpoints.strip_prefixes`)."""
    try:
        # Mapped, so that the optimiser's state, which makes up half of a released file, is never read.
        content = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: wanted the file itself") from None
    except Exception as error:  # a broken pickle raises almost anything
        # The rest of torch's message tells how to run the code that the file holds.
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        fault = (
            f"needs {code[1]} to be read: wanted tensors alone"
            if code
            else "cannot be read as a PyTorch checkpoint: it may be incomplete"
        )
        raise InputError(f"{path} {fault} (weights_only=True)") from None
    if isinstance(content, dict) and all(isinstance(name, str) for name in content):
        tensors = strip_prefixes(content)
        if all(isinstance(tensor, Tensor) for tensor in tensors.values()):
            return tensors
    raise InputError(f"{path} holds no state dict: wanted names with a tensor each")


def daclip_parts(
    tensors: Mapping[str, Tensor], config: ClipConfig, what: str
) -> dict[str, dict[str, Tensor]]:
    """The parts "clip" and "controller" of a pipeline, from the tensors of a DA-CLIP under the authors' names.

    The authors' class holds the frozen image tower twice; both copies have to be equal (InputError).
    """
    with torch.device("meta"):
        own = DaCLIP(Clip(config)).state_dict()
    # The authors have no pooling: they embed one view.
    names = {authors_name(name): name for name in own if ".pooling." not in name}
    twins = {name for name in tensors if name.startswith("visual.") and f"clip.{name}" in names}
    check_fit(
        {theirs: own[ours] for theirs, ours in names.items()},
        {name: tensor for name, tensor in tensors.items() if name not in twins},
        what,
    )
    for name in sorted(twins):
        if not torch.equal(tensors[name], tensors[f"clip.{name}"]):
            raise InputError(f"{what} holds two different image towers: see {name} and clip.{name}")
    parts: dict[str, dict[str, Tensor]] = {"clip": {}, "controller": {}}
    for theirs, ours in names.items():
        part = "clip" if ours.startswith("clip.model.") else "controller"
        parts[part][ours.removeprefix("clip.model.")] = tensors[theirs]
    return parts


def authors_name(name: str) -> str:
    """The authors' name for an entry of `DaCLIP.state_dict()`."""
    for ours, theirs in (
        ("clip.model.", "clip."),
        ("controller.zeros.", "visual_control.transformer.zero_modules."),
        ("controller.visual.transformer.", "visual_control.transformer.transformer."),
        ("controller.visual.", "visual_control."),
    ):
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name
