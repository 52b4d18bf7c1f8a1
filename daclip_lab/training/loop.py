"""The training loop that all trainings share.

A training is a generator: the caller owns the loop and may plot, stop, inspect the model, go on. The loss is a function
of (batch, generator); `fit` does the rest: the learning rate, the average of the weights, checkpoints, and resuming so
exactly that an interrupted training ends with the same bytes as an uninterrupted one.

Several processes, such as one per GPU, train as one (see `devices`): with n processes, step k (from 0) uses the batches
nk to nk + n - 1, one per process, each of the recipe's batch size divided by n; gradients are averaged.
"""

import atexit
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from daclip_lab.data.seeding import seeded
from daclip_lab.data.training_pairs import Batches, CatchInputErrors, Source
from daclip_lab.errors import InputError
from daclip_lab.files.storage import write_json
from daclip_lab.training.checkpoints import load_state, save_state, saved_step, strip_prefixes
from daclip_lab.training.devices import (
    Loss,
    Task,
    fast_attention,
    has_bf16,
    ignore_sigterm,
    place,
    rank_and_world_size,
    shut_down,
    to_device,
)
from daclip_lab.training.recipes import Recipe, learning_rate

if TYPE_CHECKING:
    from accelerate import Accelerator


SAVE_SECONDS = 600.0
"""The longest time between two checkpoints, in seconds."""


@dataclass(frozen=True)
class Step:
    """One step of a training."""

    index: int
    """1 for the first step."""
    loss: float
    """The mean over all processes."""
    metrics: dict[str, float]
    """The metrics of the loss, of this process's share of the batch."""
    learning_rate: float
    seconds: float
    """Duration of this step, including its batch."""


def fit(
    model: nn.Module,
    loss: Loss,
    source: Source,
    recipe: Recipe,
    *,
    captions: bool = True,
    run: str | Path | None = None,
    resume: bool = False,
    save_every: int = 200,
    accelerator: "Accelerator | None" = None,
) -> Iterator[Step]:
    """Train the parameters of `model` that require gradients, yielding every step.

    When the generator is exhausted, the model holds the running average of its weights; until then, the latest.

    Args:
        model: may be compiled.
        loss: `loss(batch, generator)` returns a scalar and metrics; called once per step.
        source: where batches come from.
        captions: whether the loss reads captions.
        run: a folder for checkpoints; one is written every `save_every` steps, or every ten minutes where these take
            longer, and when the loop is left early. Of several processes the first one writes; all read on `resume`.
        resume: go on from the checkpoint in `run`. The recipe must be the one it was started with.
        accelerator: several processes, or another device than the model's (`devices.make_accelerator`).

    Raises:
        InputError: `run` cannot be written to, or holds a checkpoint and `resume` is not set; the checkpoint is
            missing, or belongs to another recipe or model; the batch cannot be divided among the processes; the source
            fails; the loss or the gradient is not finite, in which case weights, average and checkpoint remain those of
            the last good step.
    """
    if save_every < 1:
        raise InputError(f"save_every={save_every}: wanted 1 or more")
    rank, processes = rank_and_world_size(accelerator, recipe.batch_size)
    device = place(model, accelerator)
    autocast_bf16 = recipe.bf16 and has_bf16(device)
    task = loss if accelerator is None else accelerator.prepare_model(Task(model, loss))
    weights = strip_prefixes({name: p for name, p in model.named_parameters() if p.requires_grad})
    matrices = [p for p in weights.values() if p.dim() > 1]
    others = [p for p in weights.values() if p.dim() <= 1]
    groups: list = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others}]
    optimizer = torch.optim.AdamW(
        groups, lr=0.0, betas=recipe.betas, eps=recipe.eps, weight_decay=0.0, foreach=True
    )
    average = {name: p.detach().clone() for name, p in weights.items()}
    done = 0
    if resume:
        if run is None:
            raise InputError("resume=True needs run=, the folder of the run")
        # A recipe from before a field existed had its default.
        defaults = {field.name: field.default for field in fields(recipe)}
        done = load_state(run, asdict(recipe), weights, average, optimizer, defaults)
    elif run is not None and (step := saved_step(run)) is not None:
        raise InputError(
            f"{run} holds the checkpoint of step {step}: resume it (resume=True), or name another folder"
        )
    folder = Path(run) if run is not None and rank == 0 else None
    if folder:
        # Also finds out before the first step whether the folder can be written to.
        write_json(folder / "recipe.json", asdict(recipe))

    size, share = recipe.image_size, recipe.batch_size // processes
    dataset = Batches(source, size=size, batch=share, seed=recipe.seed, captions=captions)
    loader = torch.utils.data.DataLoader(
        CatchInputErrors(dataset),
        batch_size=None,
        sampler=range(done * processes + rank, recipe.steps * processes, processes),
        num_workers=recipe.workers,
        worker_init_fn=ignore_sigterm,
        # Its own, because a loader without one draws from the global generator.
        generator=torch.Generator(),
    )
    batches = iter(loader)
    # For a caller that fails without closing this generator: at exit Python would wait for the workers.
    stop_workers = atexit.register(partial(shut_down, batches))
    saved, consistent = done, True
    started = last_save = time.perf_counter()
    try:
        for index, batch in enumerate(batches, start=done + 1):
            if isinstance(batch, InputError):
                raise batch
            rate = learning_rate(recipe, index - 1)
            for group in optimizer.param_groups:
                group["lr"] = rate
            generator = seeded(recipe.seed, (index - 1) * processes + rank + 1, 1)
            with (
                torch.autocast(device.type, torch.bfloat16, enabled=autocast_bf16),
                fast_attention(device),
            ):
                value, metrics = task(to_device(batch, device), generator)
            optimizer.zero_grad()
            value.backward()
            norm = nn.utils.clip_grad_norm_(weights.values(), recipe.max_grad_norm or math.inf)
            value = value.detach()
            if accelerator is not None and processes > 1:
                value = accelerator.reduce(value, "mean")
            value, norm = torch.stack([value, norm.to(value)]).tolist()
            for name, number in {"loss": value, "norm of the gradient": norm}.items():
                if not math.isfinite(number):
                    raise InputError(
                        f"the {name} is {number} at step {index}: try a smaller learning rate"
                    )
            consistent = False
            optimizer.step()
            if index % recipe.ema_every == 0 or index == recipe.steps:
                # A short average at first: a long one would hold on to the initial weights.
                updates = math.ceil(index / recipe.ema_every)
                decay = min(recipe.ema_decay, (1 + updates) / (10 + updates))
                with torch.no_grad():
                    torch._foreach_lerp_(list(average.values()), list(weights.values()), 1 - decay)
            done, consistent = index, True
            late = time.perf_counter() - last_save > SAVE_SECONDS
            if folder and (done % save_every == 0 or late):
                save_state(folder, asdict(recipe), weights, average, optimizer, done)
                saved, last_save = done, time.perf_counter()
            yield Step(done, value, metrics, rate, time.perf_counter() - started)
            started = time.perf_counter()
    finally:
        atexit.unregister(stop_workers)
        shut_down(batches)
        # Interrupted in the middle of an update, the weights are half updated: the last checkpoint stays.
        if folder and consistent and saved != done:
            save_state(folder, asdict(recipe), weights, average, optimizer, done)
    with torch.no_grad():
        for name, p in weights.items():
            p.copy_(average[name])
