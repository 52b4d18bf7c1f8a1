"""What a training of the command line runs in: its processes, signals, bar and log."""

import argparse
import json
import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import Accelerator
    from tqdm.auto import tqdm

    from daclip_lab.commands.training.parts import Training

LOG_STEPS, LOG_SECONDS = 20, 10.0
"""A line is logged every so many steps, and at least every so many seconds."""
SHOW_SECONDS = 1.0
"""The bar shows new numbers after so many seconds."""


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def accelerated(options: argparse.Namespace) -> Iterator["Accelerator"]:
    """The accelerator for --device; sets --workers where it is not given.

    Inside, SIGTERM, which a scheduler sends before it kills, acts as Ctrl-C: the last complete step is saved.
    """
    from daclip_lab.pipeline.running import usable_device
    from daclip_lab.training.devices import make_accelerator

    if options.device == "cuda":
        usable_device("cuda")
    accelerator = make_accelerator(cpu=options.device == "cpu")
    if options.workers is None:
        options.workers = (cores() - 1) // accelerator.num_processes
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield accelerator
    finally:
        signal.signal(signal.SIGTERM, before)
    # Torch 2.4 can deadlock where a process group is destroyed before its last reduction is cleaned up.
    accelerator.wait_for_everyone()
    accelerator.end_training()


def follow(
    training: "Training", out: Path, bar: "tqdm", *, weight: float = 1.0, title: str = ""
) -> None:
    """Run all steps, each of which advances the bar by `weight`; a bar that is shown also means a log in `out`.

    `title` is printed with the first step.
    """
    total, logged, shown, done = training.recipe.steps, time.monotonic(), -math.inf, None
    with closing(training.steps) as steps:  # type: ignore[type-var]  # it is a generator
        for step in steps:
            if done is None:
                done = step.index - 1
                if title and not bar.disable:
                    bar.write(title)
                if not bar.disable:  # steps of an earlier call do not count for the speed
                    bar.initial += done * weight
                    bar.n += done * weight
            bar.update((step.index - done) * weight)
            done, now = step.index, time.monotonic()
            log = now - logged > LOG_SECONDS or done % LOG_STEPS == 0 or done == total
            # On a GPU, reading the numbers waits for the device.
            if bar.disable or not (log or now - shown > SHOW_SECONDS):
                continue
            line = {"step": done, "loss": step.loss, **step.metrics}
            line = {k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()}
            bar.set_postfix(line)
            shown = now
            if log:
                out.mkdir(parents=True, exist_ok=True)
                with (out / "log.jsonl").open("a") as file:
                    file.write(json.dumps({**line, "seconds": round(step.seconds, 3)}) + "\n")
                logged = now
