"""Where a training runs: on which device, in how many processes, in which number format.

Several processes, such as one per GPU, train as one: see `loop`.
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
"""(batch, generator) -> the loss, a scalar, and metrics by name."""


def make_accelerator(*, cpu: bool = False) -> "Accelerator":
    """The accelerator of this process, as `accelerate launch` set it up: on CUDA, or else (or with `cpu`) on the CPU.

    Precision is set by `Recipe.bf16`; accelerate's own setting is ignored.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs

    return Accelerator(
        cpu=cpu or not torch.cuda.is_available(),
        mixed_precision="no",
        # Parts of a model may be unused, such as the query of the U-Net's cross-attention.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def place(module: nn.Module, accelerator: "Accelerator | None") -> torch.device:
    """Move a module to the accelerator's device, or leave it where it is without one, and return its device."""
    if accelerator is not None:
        module.to(accelerator.device)
    return next(module.parameters()).device


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its images on a device."""
    return replace(batch, clean=batch.clean.to(device), degraded=batch.degraded.to(device))


def ignore_sigterm(worker: int) -> None:
    """Initialise a process that makes batches: it ignores SIGTERM and prints no traceback.

    A scheduler sends SIGTERM to the whole group. The main process then saves and shuts its workers down; workers that
    ended earlier would look like a fault. Errors of the data reach the main process as values.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.excepthook = lambda *_: None


def shut_down(batches) -> None:
    """End the worker processes of a DataLoader's iterator.

    Without this, an error that keeps the iterator alive would make Python wait for them at exit for ever: they ignore
    SIGTERM. torch has no public method for it.
    """
    if hasattr(batches, "_shutdown_workers"):
        batches._shutdown_workers()


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 natively; emulation is many times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # Older versions of torch do not report what the processor has.
        found: dict = getattr(torch.cpu, "get_capabilities", dict)()
        return any(found.get(feature) for feature in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


def fast_attention(device: torch.device) -> AbstractContextManager:
    """A context in which attention uses the kernel that trains fastest on the device."""
    # With a CLIP's few tokens on a CPU, the fused attention's backward pass is slower than the plain one.
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


class Task(nn.Module):
    """A loss as a module around its model: accelerate averages the gradients of what is called through a module."""

    def __init__(self, model: nn.Module, loss: Loss):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss and its metrics, see `Loss`."""
        return self.loss(batch, generator)


def rank_and_world_size(accelerator: "Accelerator | None", batch_size: int) -> tuple[int, int]:
    """This process's rank, and the number of processes.

    Raises InputError for a set-up of accelerate other than plain data parallelism, and for a batch that cannot be
    divided among the processes.
    """
    if accelerator is None:
        return 0, 1
    kind, processes = accelerator.distributed_type.value, accelerator.num_processes
    if accelerator.mixed_precision == "fp16" or not (kind == "NO" or kind.startswith("MULTI_")):
        raise InputError(
            f"accelerate is set to {kind} and {accelerator.mixed_precision}: wanted a copy of the model in each "
            "process, without fp16"
        )
    if batch_size % processes:
        raise InputError(f"batch_size={batch_size}: wanted a multiple of the {processes} processes")
    return accelerator.process_index, processes
