"""Where a training runs: on which device, in how many processes, in which number format.

Several processes, such as one per GPU, train as one: see `loop`.
"""

import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from daclip_lab.data.training_pairs import Batch
from daclip_lab.errors import InputError
from daclip_lab.training.recipes import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator

Loss = Callable[[Any, torch.Generator], tuple[Tensor, dict[str, Tensor]]]
"""(batch, generator) -> the loss, a scalar, and metrics by name. The batch is a `Batch` or a `PhotoBatch`."""


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
    """The batch with its images on a device, in [0, 1] where they were bytes."""

    def move(images: Tensor) -> Tensor:
        if device.type == "cuda":  # from pinned memory the copy waits for nothing
            images = images.pin_memory()
        images = images.to(device, non_blocking=True)
        return images.float().div_(255) if images.dtype == torch.uint8 else images

    clean, degraded = move(batch.clean), move(batch.degraded)
    own = None if batch.embeddings is None else move(batch.embeddings)
    return replace(batch, clean=clean, degraded=degraded, embeddings=own)


def normal(shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    """Standard normal numbers on a device; on CUDA drawn there, as the CPU would take longer than the training step."""
    if device.type == "cuda":
        seed = int(torch.randint(2**62, (), generator=generator))
        own = torch.Generator(device).manual_seed(seed)
        return torch.randn(shape, generator=own, device=device)
    return torch.randn(shape, generator=generator).to(device)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Inside, a module is in evaluation mode; what was in training mode goes back to it at the end."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def adamw(
    parameters: Iterable[nn.Parameter], recipe: Recipe, device: torch.device
) -> torch.optim.AdamW:
    """The optimiser of a recipe, as one fused kernel where there is one; biases and scales are spared the decay."""
    parameters = list(parameters)
    groups: list = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    kernel = {"fused" if device.type in ("cpu", "cuda") else "foreach": True}
    return torch.optim.AdamW(groups, lr=0.0, betas=recipe.betas, eps=recipe.eps, **kernel)


def check_interval(device: torch.device) -> int:
    """Steps from one look at the losses to the next: on a GPU each look waits for all that it was given to do."""
    return 20 if device.type == "cuda" else 1


def statistics_of(model: nn.Module) -> dict[str, Tensor]:
    """The statistics of the batch norms that are in training mode, by name: they are trained as weights are."""
    return {
        f"{name}.{buffer}": tensor
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d) and module.training
        for buffer, tensor in module.named_buffers()
    }


def share_statistics(model: nn.Module, accelerator: "Accelerator | None") -> None:
    """Give all processes the first one's statistics: each computes them from its own share of the batches."""
    if accelerator is not None and accelerator.num_processes > 1:
        from accelerate.utils import broadcast

        for tensor in statistics_of(model).values():
            tensor.copy_(broadcast(tensor))


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

    def forward(self, batch: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
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
