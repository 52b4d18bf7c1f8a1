"""train: CLIP, its words, the controller, the restorer."""

import argparse
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daclip_lab.commands import arguments
from daclip_lab.commands.training_data import PARTS, described, source_of
from daclip_lab.errors import InputError

LOG_STEPS, LOG_SECONDS = 20, 10.0
"""A line is logged every so many steps, and at least every so many seconds."""


def add_to(commands: arguments.Commands) -> None:
    """Add the command to the parser."""
    add = arguments.command(commands, train).add_argument
    add("part", choices=PARTS)
    add("--scale", default="lab", help="smoke, lab or paper")
    data = "'bundled', folders of photos, or folders or tables of pairs"
    add("--data", nargs="+", default=["bundled"], help=data)
    add("--only", nargs="+", metavar="DEGRADATION", help="take these degradations of the pairs")
    add("--out", required=True, metavar="RUN", help="folder of state, log and weights")
    add("--resume", action="store_true", help="continue the interrupted RUN")
    weights = (
        "initial weights: a folder, shipped weights by name, 'pretrained' (the scale's CLIP, downloaded once) or "
        "'random' (to try out); default: lab, and at the paper's scale its CLIP if it is on this machine"
    )
    add("--weights", help=weights)
    add("--start", help="a folder whose controller or restorer is trained further")
    degradation = "train the degradation embedding alone, in less than half the time"
    add("--degradation-only", action="store_true", help=degradation)
    oracle = "condition the restorer on CLIP's embedding of the clean image and on the true label"
    add("--oracle", action="store_true", help=oracle)
    add("--steps", type=int, help="instead of the scale's own")
    add("--batch", type=int, help="instead of the scale's own, in all processes")
    add("--learning-rate", type=float, help="instead of the scale's own")
    add("--seed", type=int, help="instead of the scale's own")
    workers = "processes that make batches, per training process (default: all cores but one)"
    add("--workers", type=int, help=workers)
    add("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    add("--half", action="store_true", help="write the weights in half precision")


def train(options: argparse.Namespace) -> None:
    """Train CLIP, the controller or the restorer, and write the weights when done."""
    from daclip_lab.commands.train_parts import TRAININGS
    from daclip_lab.files.storage import check_output_folder
    from daclip_lab.pipeline.running import usable_device
    from daclip_lab.training import presets
    from daclip_lab.training.devices import make_accelerator

    out = check_output_folder(options.out)
    if options.device == "cuda":
        usable_device("cuda")
    if (out / "state.safetensors").exists() and not options.resume:
        raise InputError(
            f"{out} holds a training: continue it with --resume, or name another folder"
        )
    scale = presets.named(options.scale)
    source = source_of(options.data, scale, options.part, options.only)
    accelerator = make_accelerator(cpu=options.device == "cpu")
    if options.workers is None:
        options.workers = (cores() - 1) // accelerator.num_processes
    loop = {"run": out, "resume": options.resume, "accelerator": accelerator}
    training = TRAININGS[options.part](options, scale, source, loop)
    with _interrupted_by_sigterm():
        _follow(training, options.part, described(source), out, accelerator.is_main_process)
    if accelerator.is_main_process:
        training.pipe.save(out, half=options.half)
        print(f"weights written to {out}")
    # Torch 2.4 can deadlock where a process group is destroyed before its last reduction is cleaned up.
    accelerator.wait_for_everyone()
    accelerator.end_training()


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Inside, SIGTERM, which a scheduler sends before it kills, acts as Ctrl-C: the last complete step is saved."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _follow(training, name: str, data: str, out: Path, main: bool) -> None:
    """Run all steps; the main process prints the data, shows a bar and writes a log."""
    from tqdm.auto import tqdm

    total, logged = training.recipe.steps, time.monotonic()
    with tqdm(total=total, unit="step", desc=name, disable=not main) as bar:
        for step in training.steps:
            line = {"step": step.index, "loss": step.loss, **step.metrics}
            line = {k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()}
            if bar.n == 0:
                if main:
                    bar.write(f"data: {data}")
                # Steps of an earlier call do not count for the speed.
                bar.initial = bar.n = step.index - 1
            bar.set_postfix(line, refresh=False)
            bar.update(step.index - bar.n)
            late = time.monotonic() - logged > LOG_SECONDS
            if main and (late or step.index % LOG_STEPS == 0 or step.index == total):
                out.mkdir(parents=True, exist_ok=True)
                with (out / "log.jsonl").open("a") as log:
                    log.write(json.dumps({**line, "seconds": round(step.seconds, 3)}) + "\n")
                logged = time.monotonic()
