"""What is written to disk: states of trainings and weights, as safetensors beside JSON that a person can read.

Every file is written under another name first and then renamed, so that an interrupted write leaves the old file whole.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from daclip_lab.errors import InputError
from daclip_lab.files.storage import atomic_write, read_json, write_json


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, whole or not at all."""
    with atomic_write(path) as temporary:
        save_file({name: t.detach().contiguous() for name, t in tensors.items()}, temporary)
        temporary.chmod(0o644)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors; an InputError names the file where it is absent or broken."""
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a safetensors file: {error}") from None


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Copy named tensors into a module; an InputError lists what is missing, unexpected or of another shape."""
    check_fit(module.state_dict(), tensors, what)
    module.load_state_dict(tensors)


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


def save_state(
    run: str | Path,
    recipe: dict,
    weights: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    """Write everything that a training needs to go on exactly, into the folder `run`."""
    run = Path(run)
    tensors = {f"weight.{name}": p for name, p in weights.items()}
    tensors |= {f"average.{name}": p for name, p in average.items()}
    for name, p in weights.items():
        for key, value in optimizer.state.get(p, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value
    # The step goes into the same file as the tensors: two files could disagree after an interruption.
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
    """Restore what `save_state` wrote and return the number of steps done.

    `defaults` are the values of fields that a saved recipe may be too old to name.

    Raises InputError where the folder holds no state, another recipe, or another model.
    """
    run = Path(run)
    tensors = read_tensors(run / "state.safetensors")
    wanted = json.loads(json.dumps(recipe))
    saved = {**defaults, **read_json(run / "recipe.json")}
    # How batches are prepared does not change what is learned.
    other = [k for k in wanted if k != "workers" and saved.get(k) != wanted[k]]
    if other:
        told = ", ".join(f"{k}={saved.get(k)} there and {wanted[k]} here" for k in other)
        raise InputError(f"{run} was trained with another recipe: {told}")
    names = {name.removeprefix("weight.") for name in tensors if name.startswith("weight.")}
    if names != set(weights):
        raise InputError(f"{run} belongs to another model: its parameters have other names")
    for name, p in weights.items():
        if tensors[f"weight.{name}"].shape != p.shape:
            raise InputError(f"{run} belongs to another model: {name} has another shape")
    with torch.no_grad():
        for name, p in weights.items():
            p.copy_(tensors[f"weight.{name}"])
            average[name].copy_(tensors[f"average.{name}"])
            for key in ("step", "exp_avg", "exp_avg_sq"):
                if f"optimizer.{key}.{name}" in tensors:
                    value = tensors[f"optimizer.{key}.{name}"]
                    # AdamW counts its steps on the CPU.
                    optimizer.state[p][key] = value if key == "step" else value.to(p.device)
    return int(tensors["step"])
