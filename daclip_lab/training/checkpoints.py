"""Weights and states of trainings on disk, as safetensors beside JSON that people can read."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from daclip_lab.errors import InputError
from daclip_lab.files.storage import atomic_write, read_json, write_json

_WRAPPERS = re.compile(r"^((module|_orig_mod)\.)+|(?<=\.)_orig_mod\.")
# Dicts in which others store a state dict: BasicSR (average first), open_clip and Lightning.
_CONTAINERS = ("params_ema", "params", "state_dict")


def strip_prefixes(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Weights under their model's own names.

    Removes what `torch.compile` (`_orig_mod.`) and `DistributedDataParallel` (`module.`) put before names, and takes a
    state dict out of the dict that BasicSR (`params_ema`, `params`) or open_clip (`state_dict`) stores it in.
    """
    for key in _CONTAINERS:
        if isinstance(weights.get(key), Mapping):
            return strip_prefixes(weights[key])
    return {_WRAPPERS.sub("", name): value for name, value in weights.items()}


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all, with names as by `strip_prefixes`."""
    tensors = {name: t.detach().contiguous() for name, t in strip_prefixes(tensors).items()}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary)
        temporary.chmod(0o644)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors; an InputError names the file where it is missing or broken."""
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a safetensors file: {error}") from error


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Copy named tensors into a module, which may be compiled; prefixes are ignored, see `strip_prefixes`.

    Raises InputError, beginning with `what`, that lists what is missing, unexpected or of another shape.
    """
    own, tensors = module.state_dict(), strip_prefixes(tensors)
    check_fit(strip_prefixes(own), tensors, what)
    module.load_state_dict({name: tensors[_WRAPPERS.sub("", name)] for name in own})


def check_fit(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], what: str) -> None:
    """Refuse tensors that do not have the names and shapes of a model's own; an InputError lists what differs."""
    faults = [f"missing {name}" for name in own if name not in tensors]
    faults += [f"unexpected {name}" for name in tensors if name not in own]
    faults += [
        f"{name} is {tuple(tensors[name].shape)}, wanted {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise InputError(f"{what} does not match the model: {'; '.join(faults[:5])}{more}")


def saved_step(run: str | Path) -> int | None:
    """The number of steps done of the checkpoint in the folder `run`; None where it holds none.

    Raises InputError for a file that is no checkpoint.
    """
    file = Path(run) / "state.safetensors"
    if not file.is_file():
        return None
    try:
        with safe_open(file, "pt") as state:
            return int(state.get_tensor("step"))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} is not a checkpoint: {error}") from error


def save_state(
    run: str | Path,
    recipe: dict,
    weights: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    """Write everything that is needed to resume a training exactly, into the folder `run`.

    Args:
        recipe: the recipe's fields.
        weights, average: the latest weights and their average, by name.
        step: number of steps done.
    """
    run = Path(run)
    tensors = {f"weight.{name}": p for name, p in weights.items()}
    tensors |= {f"average.{name}": p for name, p in average.items()}
    for name, p in weights.items():
        for key, value in optimizer.state.get(p, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value
    # The step is in the same file as the tensors: two files could disagree after an interruption.
    tensors["step"] = torch.tensor(step)
    write_tensors(run / "state.safetensors", tensors)
    write_json(run / "recipe.json", recipe)


def load_state(
    run: str | Path,
    recipe: dict,
    weights: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    defaults: Mapping = MappingProxyType({}),
) -> int:
    """Restore what `save_state` wrote, in place, and return the number of steps done.

    `defaults` are the values of fields that an older recipe does not hold.

    Raises InputError where the folder holds no checkpoint, another recipe, or another model.
    """
    run = Path(run)
    tensors = read_tensors(run / "state.safetensors")
    wanted = json.loads(json.dumps(recipe))
    saved = {**defaults, **read_json(run / "recipe.json")}
    # How batches are prepared does not change what is learned.
    differing = [k for k in wanted if k != "workers" and saved.get(k) != wanted[k]]
    if differing:
        values = ", ".join(f"{k}={saved.get(k)} there and {wanted[k]} here" for k in differing)
        longer = "; to train its result further, start a new run from it (--start)"
        raise InputError(
            f"{run} was trained with another recipe: {values}{longer if 'steps' in differing else ''}"
        )
    prefix = "weight."
    own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    check_fit(weights, own, str(run))
    with torch.no_grad():
        for name, p in weights.items():
            p.copy_(own[name])
            average[name].copy_(tensors[f"average.{name}"])
            for key in ("step", "exp_avg", "exp_avg_sq"):
                if (value := tensors.get(f"optimizer.{key}.{name}")) is not None:
                    if key != "step":
                        # In the memory layout of the weight, which a fused kernel takes for granted.
                        value = torch.empty_like(p).copy_(value)
                    elif optimizer.defaults.get("fused"):
                        value = value.to(p.device)  # others count their steps on the CPU
                    optimizer.state[p][key] = value
    return int(tensors["step"])
