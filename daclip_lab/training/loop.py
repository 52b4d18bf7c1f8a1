"""One loop for every training.

A training is a generator. The caller owns the loop: plot, stop, look at the model, go on. What a training teaches is
a loss of (batch, generator); `fit` owns the rest: the learning rate, the average of the weights, checkpoints, and
resuming so exactly that an interrupted training ends with the same bytes as one that was not.

Several processes, such as one for each GPU, train as one (see `devices`): step k of n processes takes the batches nk to
nk + n - 1 of one endless list, one each, of the recipe's batch divided by n, and averages gradients.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from daclip_lab.data.seeding import seeded
from daclip_lab.data.training_pairs import Batches, CatchInputErrors, Source
from daclip_lab.errors import InputError
from daclip_lab.training.checkpoints import load_state, save_state
from daclip_lab.training.devices import (
    Loss,
    Task,
    attention_on,
    has_bf16,
    ignore_sigterm,
    place,
    rank_and_world_size,
    to_device,
)

if TYPE_CHECKING:
    from accelerate import Accelerator


SAVE_SECONDS = 600.0
"""A checkpoint is written after so long, however few steps were taken."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how fast anything is trained."""

    steps: int
    """Number of optimiser steps."""
    batch_size: int
    """Images a step, in all processes together."""
    image_size: int
    """Side of the training images, in pixels."""
    learning_rate: float
    """Largest learning rate, reached after the warm-up."""
    final_learning_rate: float = 0.0
    """Where the cosine ends."""
    warmup: int = 0
    """Steps of linear warm-up."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's running averages."""
    eps: float = 1e-6
    """AdamW's guard against division by zero."""
    weight_decay: float = 0.0
    """AdamW's decay of weight matrices; biases, norms and temperatures are spared."""
    ema_decay: float = 0.999
    """Decay of the running average of the weights, which is what is kept at the end; 0 keeps the latest."""
    ema_every: int = 1
    """Steps from one update of that average to the next; the last step always updates it."""
    max_grad_norm: float | None = 1.0
    """Largest norm of a gradient; None leaves it as it is."""
    bf16: bool = True
    """Run the networks in bfloat16 (autocast) where the processor has it; the weights stay in float32."""
    workers: int = 0
    """Processes that make batches ahead of time; the data are the same. The command line takes one. In a notebook leave
    it at 0: a process forked from a kernel whose libraries run threads may hang."""
    seed: int = 0
    """Decides the batches and every random choice in the loss."""

    def __post_init__(self):
        least = {
            "steps": 1,
            "batch_size": 1,
            "image_size": 1,
            "ema_every": 1,
            "workers": 0,
            "seed": 0,
        }
        for field, lowest in least.items():
            if getattr(self, field) < lowest:
                raise InputError(f"{field}={getattr(self, field)}: wanted {lowest} or more")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate={self.learning_rate}: wanted a number above 0")


@dataclass(frozen=True)
class Step:
    """One step of a training."""

    index: int
    """1 for the first step."""
    loss: float
    """The mean over all processes."""
    metrics: dict[str, float]
    """What the loss tells of itself, of this process's share of the batch."""
    learning_rate: float
    seconds: float
    """Time that this step took, its batch included."""


def steps_of(epochs: int, pairs: int, batch_size: int) -> int:
    """The steps of some passes over the data in whole batches; what is left over at the end of each is dropped.

    Raises InputError for less than a batch.
    """
    if pairs < batch_size:
        raise InputError(
            f"{pairs} pairs make no batch of {batch_size}: name a smaller --batch, or --steps"
        )
    return epochs * (pairs // batch_size)


def learning_rate(recipe: Recipe, index: int) -> float:
    """The learning rate of step `index` (0 for the first): linear warm-up, then a cosine."""
    if index < recipe.warmup:
        return recipe.learning_rate * (index + 1) / recipe.warmup
    progress = (index - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    swing = (1 + math.cos(math.pi * progress)) / 2
    return recipe.final_learning_rate + (recipe.learning_rate - recipe.final_learning_rate) * swing


def fit(
    model: nn.Module,
    loss: Loss,
    source: Source,
    recipe: Recipe,
    *,
    run: str | Path | None = None,
    resume: bool = False,
    save_every: int = 200,
    accelerator: "Accelerator | None" = None,
) -> Iterator[Step]:
    """Train the parameters of `model` that require gradients, yielding every step.

    When the generator is exhausted, the model holds the running average of its weights; until then, the latest.

    Args:
        run: a folder for checkpoints; one is written every `save_every` steps, or every ten minutes where these take
            longer, and when the loop is left early. Of several processes the main one writes; all of them read, when
            they resume.
        resume: go on from the checkpoint in `run`. The recipe must be the one it was started with.
        accelerator: several processes, or another device than the model's (`devices.make_accelerator`).

    Raises:
        InputError: the checkpoint is missing, or belongs to another recipe or model; the batch cannot be divided among
            the processes; the loss is not a number.
    """
    share, shares = rank_and_world_size(accelerator, recipe.batch_size)
    device = place(model, accelerator)
    task = loss if accelerator is None else accelerator.prepare_model(Task(model, loss))
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    matrices = [p for p in weights.values() if p.dim() > 1]
    others = [p for p in weights.values() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others}]
    optimizer = torch.optim.AdamW(
        groups, lr=0.0, betas=recipe.betas, eps=recipe.eps, weight_decay=0.0, foreach=True
    )
    average = {name: p.detach().clone() for name, p in weights.items()}
    done = 0
    if resume:
        if run is None:
            raise InputError("resume needs the folder of the run")
        # A recipe from before a field existed had its default.
        defaults = {field.name: field.default for field in fields(recipe)}
        done = load_state(run, asdict(recipe), weights, average, optimizer, defaults)

    def save(index: int) -> None:
        save_state(run, asdict(recipe), weights, average, optimizer, index)

    batches = torch.utils.data.DataLoader(
        CatchInputErrors(
            Batches(
                source, size=recipe.image_size, batch=recipe.batch_size // shares, seed=recipe.seed
            )
        ),
        batch_size=None,
        sampler=range(done * shares + share, recipe.steps * shares, shares),
        num_workers=recipe.workers,
        worker_init_fn=ignore_sigterm,
        # Its own, because a loader without one draws from the global generator.
        generator=torch.Generator(),
    )
    saved, whole, writes = done, True, run is not None and share == 0
    started = last_save = time.perf_counter()
    try:
        for index, batch in enumerate(batches, start=done + 1):
            if isinstance(batch, InputError):
                raise batch
            rate = learning_rate(recipe, index - 1)
            for group in optimizer.param_groups:
                group["lr"] = rate
            half = recipe.bf16 and has_bf16(device)
            generator = seeded(recipe.seed, (index - 1) * shares + share + 1, 1)
            with torch.autocast(device.type, torch.bfloat16, enabled=half), attention_on(device):
                value, metrics = task(to_device(batch, device), generator)
            if not value.isfinite():
                raise InputError(
                    f"the loss is {value.item()} at step {index}: try a smaller learning rate"
                )
            optimizer.zero_grad()
            value.backward()
            if recipe.max_grad_norm is not None:
                nn.utils.clip_grad_norm_(weights.values(), recipe.max_grad_norm)
            whole = False
            optimizer.step()
            if index % recipe.ema_every == 0 or index == recipe.steps:
                # A short average at first: a long one would still remember the initial weights.
                updates = math.ceil(index / recipe.ema_every)
                decay = min(recipe.ema_decay, (1 + updates) / (10 + updates))
                with torch.no_grad():
                    torch._foreach_lerp_(list(average.values()), list(weights.values()), 1 - decay)
            done, whole = index, True
            late = time.perf_counter() - last_save > SAVE_SECONDS
            if writes and (done % save_every == 0 or late):
                save(done)
                saved, last_save = done, time.perf_counter()
            if shares > 1:
                value = accelerator.reduce(value.detach(), "mean")
            yield Step(done, value.item(), metrics, rate, time.perf_counter() - started)
            started = time.perf_counter()
    finally:
        # Interrupted in the middle of an update, the weights belong to no step: the last checkpoint stands.
        if writes and whole and saved != done:
            save(done)
    with torch.no_grad():
        for name, p in weights.items():
            p.copy_(average[name])
