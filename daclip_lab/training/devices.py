"""Where a training runs: on which device, in how many processes, with which number format.

Several processes, such as one for each GPU, train as one: see `loop`.
"""

import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from daclip_lab.data.training_pairs import Batch
from daclip_lab.errors import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator

Loss = Callable[[Batch, torch.Generator], tuple[Tensor, dict[str, float]]]


def make_accelerator() -> "Accelerator":
    """What `accelerate launch` started, as the trainings want it: on CUDA, or else on the CPU.

    Numbers stay as the recipe wants them (`Recipe.bf16`), whatever precision the launcher names.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs

    return Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision="no",
        # A training may use a part of its model only, such as the controller without its content.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def place(module: nn.Module, accelerator: "Accelerator | None") -> torch.device:
    """Move a module to the accelerator's device, or leave it where it is, and return that device."""
    if accelerator is not None:
        module.to(accelerator.device)
    return next(module.parameters()).device


def ignore_sigterm(worker: int) -> None:
    """In a process that reads images: an interruption is the main process's affair.

    A scheduler's SIGTERM reaches the whole group, and a worker that died of it would look like a fault; so would the
    traceback of a connection that the main process cuts. What goes wrong with an image is handed on as a value.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.excepthook = lambda *_: None


def has_bf16(device: torch.device) -> bool:
    """Whether the processor computes in bfloat16 itself; one that has to imitate it is many times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return any(torch.cpu.get_capabilities().get(f) for f in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


def attention_on(device: torch.device) -> AbstractContextManager:
    """Inside, attention is computed in the way that trains fastest there."""
    # With a CLIP's few tokens on a CPU, the fused attention's backward pass is slower than the plain one.
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


class Task(nn.Module):
    """A loss as a module around its model, because accelerate averages the gradients of what is called through it."""

    def __init__(self, model: nn.Module, loss: Loss):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        return self.loss(batch, generator)


def rank_and_world_size(accelerator: "Accelerator | None", batch: int) -> tuple[int, int]:
    """Which share of every batch is this process's, of how many."""
    if accelerator is None:
        return 0, 1
    kind, shares = accelerator.distributed_type.value, accelerator.num_processes
    if accelerator.mixed_precision == "fp16" or not (kind == "NO" or kind.startswith("MULTI_")):
        raise InputError(
            f"accelerate is set to {kind} and {accelerator.mixed_precision}: wanted a copy of the model in each "
            "process, without fp16"
        )
    if batch % shares:
        raise InputError(f"batch={batch}: wanted a multiple of the {shares} processes")
    return accelerator.process_index, shares


def to_device(batch: Batch, device: torch.device) -> Batch:
    """A batch on a device."""
    return replace(
        batch,
        clean=batch.clean.to(device),
        degraded=batch.degraded.to(device),
        severity=batch.severity.to(device),
    )
