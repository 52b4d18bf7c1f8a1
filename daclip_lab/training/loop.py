"""The training loop that all trainings share.

A training is a generator: the caller owns the loop and may plot, stop, change the learning rate, go on. The loss is a
function of (batch, generator); `fit` does the rest: the schedule, the average of the weights, checkpoints, and resuming
so exactly that an interrupted training ends with the same bytes as an uninterrupted one.

Several processes, such as one per GPU, train as one (see `devices`): with n processes, step k (from 0) uses the batches
nk to nk + n - 1, one per process, each of the recipe's batch size divided by n; gradients are averaged.
"""

import atexit
import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from daclip_lab.data.canvases.source import WholePhotos
from daclip_lab.data.canvases.window import Arrivals, Embed, PhotoBatch, Window
from daclip_lab.data.seeding import seeded
from daclip_lab.data.training_pairs import Batches, CatchInputErrors, Source
from daclip_lab.errors import InputError
from daclip_lab.files.storage import write_json
from daclip_lab.training.checkpoints import load_state, save_state, saved_step, strip_prefixes
from daclip_lab.training.devices import (
    Loss,
    Task,
    adamw,
    check_interval,
    fast_attention,
    has_bf16,
    ignore_sigterm,
    place,
    rank_and_world_size,
    share_statistics,
    shut_down,
    statistics_of,
    to_device,
)
from daclip_lab.training.recipes import Recipe, learning_rate

if TYPE_CHECKING:
    from accelerate import Accelerator


SAVE_SECONDS = 600.0
"""The longest time between two checkpoints, in seconds."""


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a training. Its numbers are read from the device when they are asked for."""

    index: int
    """1 for the first step."""
    values: Mapping[str, Tensor | float]
    """The loss and the metrics, still on the device."""
    learning_rate: float
    seconds: float
    """Duration of this step, including its batch; on a GPU, of handing it to the device."""

    @cached_property
    def loss(self) -> float:
        """The mean over all processes."""
        return float(self.values["loss"])

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The metrics of the loss, of this process's share of the batch."""
        return {name: float(value) for name, value in self.values.items() if name != "loss"}


Training = Generator[Step, float | None, None]
"""Yields every step; `send` takes a factor of the learning rate, see `fit`."""


def fit(
    model: nn.Module,
    loss: Loss,
    source: Source,
    recipe: Recipe,
    *,
    captions: bool = True,
    crops: Sequence[int] = (),
    crop_size: int = 0,
    embed: Embed | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    save_every: int = 200,
    accelerator: "Accelerator | None" = None,
) -> Training:
    """Train the parameters of `model` that require gradients, yielding every step.

    When the generator is exhausted, the model holds the running average of its weights; until then, the latest.
    `training.send(factor)` takes a step, as `next(training)` does, and multiplies the recipe's learning rate by the
    factor from that step on, until another is sent. Checkpoints do not keep it: a training resumes with the recipe's.

    Args:
        model: may be compiled.
        loss: `loss(batch, generator)` returns a scalar and metrics; called once per step.
        source: where batches come from.
        captions: whether the loss reads captions.
        crops: with whole photos as the source, the loss gets a `PhotoBatch`. In it step k has `crops[k % len(crops)]`
            crops of `crop_size` pixels, in all processes together. Without `crops` it gets the source's plain batches.
        embed: what is kept with each canvas, see `canvases.window`.
        run: a folder for checkpoints; one is written every `save_every` steps, or every ten minutes where these take
            longer, and when the loop is left early. Of several processes the first one writes; all read on `resume`.
        resume: go on from the checkpoint in `run`. The recipe must be the one it was started with.
        accelerator: several processes, or another device than the model's (`devices.make_accelerator`).

    Raises:
        InputError: `run` cannot be written to, or holds a checkpoint and `resume` is not set; the checkpoint is
            missing, or belongs to another recipe or model; the batch cannot be divided among the processes; the source
            fails; the loss or the gradient is not finite, in which case weights, average and checkpoint remain those of
            the last good step (on a GPU, see `devices.check_interval`, the checkpoint alone); a factor is not above 0.
    """
    if save_every < 1:
        raise InputError(f"save_every={save_every}: wanted 1 or more")
    rank, processes = rank_and_world_size(accelerator, recipe.batch_size)
    device = place(model, accelerator)
    bf16 = recipe.bf16 and has_bf16(device)
    task = loss if accelerator is None else accelerator.prepare_model(Task(model, loss))
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    parameters = strip_prefixes(trained)
    statistics = strip_prefixes(statistics_of(model))
    weights = parameters | statistics
    optimizer = adamw(parameters.values(), recipe, device)
    average = {name: p.detach().clone() for name, p in weights.items()}
    floats = [name for name, p in weights.items() if p.is_floating_point()]
    done, factor = 0, 1.0
    if resume:
        if run is None:
            raise InputError("resume=True needs run=, the folder of the run")
        # A recipe from before a field existed had its default.
        defaults = {field.name: field.default for field in fields(recipe)}
        done = load_state(run, asdict(recipe), weights, average, optimizer, defaults)
    elif run is not None and (step := saved_step(run)) is not None:
        raise InputError(f"{run} holds step {step} of a run: resume it, or name another folder")
    folder = Path(run) if run is not None and rank == 0 else None
    if folder:
        # Also finds out before the first step whether the folder can be written to.
        write_json(folder / "recipe.json", asdict(recipe))

    dataset: torch.utils.data.Dataset
    window = None
    if isinstance(source, WholePhotos) and crops:
        window = Window(source, device, embed)
        numbers = [math.ceil(number / processes) for number in crops]
        dataset = arrivals = Arrivals(
            source,
            seed=recipe.seed,
            start=done,
            crops=numbers,
            size=crop_size,
            captions=captions,
            rank=rank,
            processes=processes,
        )
        order = arrivals.order(recipe.steps)
    else:
        size, share = recipe.image_size, recipe.batch_size // processes
        dataset = Batches(source, size=size, batch=share, seed=recipe.seed, captions=captions)
        order = range(done * processes + rank, recipe.steps * processes, processes)
    loader = torch.utils.data.DataLoader(
        CatchInputErrors(dataset),
        batch_size=None,
        sampler=order,
        num_workers=recipe.workers,
        worker_init_fn=ignore_sigterm,
        # Its own, because a loader without one draws from the global generator.
        generator=torch.Generator(),
    )
    batches = iter(loader)
    # For a caller that fails without closing this generator: at exit Python would wait for the workers.
    stop_workers = atexit.register(partial(shut_down, batches))
    saved, consistent = done, True
    # The statistics before a step, which its forward pass changes.
    before: list[Tensor] = []
    # The loss and the norm of the gradient of the steps that were not looked at yet.
    unread: dict[int, Tensor] = {}
    started = last_save = time.perf_counter()
    try:
        for batch in batches:
            if isinstance(batch, InputError):
                raise batch
            index = done + 1
            if window is not None:
                window.add(batch)
                if batch.step < done:
                    continue
                here = batch.crops and to_device(batch.crops, device)
                batch = PhotoBatch(done, window, here, processes)
            else:
                batch = to_device(batch, device)
            rate = factor * learning_rate(recipe, index - 1)
            for group in optimizer.param_groups:
                group["lr"] = rate
            generator = seeded(recipe.seed, (index - 1) * processes + rank + 1, 1)
            before = [tensor.clone() for tensor in statistics.values()]
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16), fast_attention(device):
                value, metrics = task(batch, generator)
            optimizer.zero_grad()
            value.backward()
            norm = nn.utils.clip_grad_norm_(parameters.values(), recipe.max_grad_norm or math.inf)
            value = value.detach()
            if accelerator is not None and processes > 1:
                value = accelerator.reduce(value, "mean")
            unread[index] = torch.stack([value, norm.to(value)])
            late = time.perf_counter() - last_save > SAVE_SECONDS
            save = folder is not None and (index % save_every == 0 or late)
            if save or index == recipe.steps or len(unread) >= check_interval(device):
                if fault := first_fault(unread):
                    raise InputError(f"{fault}: try a smaller learning rate")
                unread.clear()
            consistent = False
            optimizer.step()
            if index % recipe.ema_every == 0 or index == recipe.steps:
                # A short average at first: a long one would hold on to the initial weights.
                updates = math.ceil(index / recipe.ema_every)
                decay = min(recipe.ema_decay, (1 + updates) / (10 + updates))
                with torch.no_grad():
                    new, old = ([each[name] for name in floats] for each in (weights, average))
                    torch._foreach_lerp_(old, new, 1 - decay)
            done, consistent, before = index, True, []
            if folder and save:
                save_state(folder, asdict(recipe), weights, average, optimizer, done)
                saved, last_save = done, time.perf_counter()
            seconds = time.perf_counter() - started
            sent = yield Step(done, {"loss": value, **metrics}, rate, seconds)
            factor = factor if sent is None else sent
            if not 0 < factor < math.inf:
                raise InputError(f"learning rate times {factor}: wanted a number above 0")
            started = time.perf_counter()
    finally:
        atexit.unregister(stop_workers)
        shut_down(batches)
        if consistent and before:  # the step was not taken
            torch._foreach_copy_(list(statistics.values()), before)
        # Interrupted in the middle of an update, the weights are half updated: the last checkpoint stays.
        unread.pop(done + 1, None)  # of a step that was not taken
        if folder and consistent and saved != done and not first_fault(unread):
            save_state(folder, asdict(recipe), weights, average, optimizer, done)
    with torch.no_grad():
        for name in floats:
            weights[name].copy_(average[name])
    share_statistics(model, accelerator)


def first_fault(unread: Mapping[int, Tensor]) -> str | None:
    """The first loss or norm of a gradient (2,) of some steps that is not finite, in words."""
    rows = torch.stack([*unread.values()]).tolist() if unread else []
    for index, numbers in zip(unread, rows, strict=True):
        for name, number in zip(("loss", "norm of the gradient"), numbers, strict=True):
            if not math.isfinite(number):
                return f"the {name} is {number} at step {index}"
    return None
