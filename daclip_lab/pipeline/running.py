"""Run networks where they are, in the number format of their weights, without changing them."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from daclip_lab.errors import InputError
from daclip_lab.training.devices import evaluation_mode

HALVES = (torch.float16, torch.bfloat16)


@contextmanager
def running(module: nn.Module) -> Iterator[None]:
    """Inside, a module is in evaluation mode, and under autocast if its weights are in half precision."""
    weights = next(module.parameters())
    half = weights.dtype in HALVES
    with (
        evaluation_mode(module),
        torch.autocast(weights.device.type, weights.dtype) if half else nullcontext(),
    ):
        yield


def usable_device(device: str | torch.device) -> torch.device:
    """The device of that name; an InputError says what would be right where it is unknown or not there."""
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError):
        raise InputError(
            f"device {device!r} is unknown: use 'cpu', 'cuda', 'cuda:1' or 'mps'"
        ) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {str(device)!r}: torch finds {torch.cuda.device_count()} CUDA devices here; use 'cpu'"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("device 'mps': torch finds none here; use 'cpu'")
    return device
