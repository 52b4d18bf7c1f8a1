"""train: CLIP, its words, the controller, the restorer."""

import argparse
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daclip_lab.commands.arguments import Commands, command
from daclip_lab.commands.training_data import PARTS, source_of, told
from daclip_lab.errors import InputError

LOG_STEPS, LOG_SECONDS = 20, 10.0
"""A line of the log stands for so many steps, and for fewer where they take longer."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    one = command(commands, "train", train)
    one.add_argument("part", choices=PARTS)
    one.add_argument("--scale", default="lab", help="smoke, lab or paper")
    one.add_argument(
        "--data",
        nargs="+",
        default=["bundled"],
        help="'bundled', folders of photos, or folders or tables of pairs",
    )
    one.add_argument(
        "--only", nargs="+", metavar="DEGRADATION", help="of pairs, take these degradations alone"
    )
    one.add_argument(
        "--out", required=True, metavar="RUN", help="folder for state, log and weights"
    )
    one.add_argument("--resume", action="store_true", help="go on where RUN was interrupted")
    one.add_argument(
        "--weights",
        help="what is built on: a folder, shipped weights by name, 'pretrained' (the CLIP that the scale names, "
        "downloaded once) or 'random' (to try out); default: lab, and at the paper's scale its CLIP if it is here",
    )
    one.add_argument("--start", help="a folder whose controller or restorer is trained further")
    one.add_argument(
        "--degradation-only",
        action="store_true",
        help="train the controller's degradation embedding alone, in less than half of the time",
    )
    one.add_argument(
        "--oracle",
        action="store_true",
        help="steer the restorer by what a perfect DA-CLIP would say, not by what it says",
    )
    one.add_argument("--steps", type=int, help="instead of the scale's own")
    one.add_argument("--batch", type=int, help="instead of the scale's own, in all processes")
    one.add_argument("--learning-rate", type=float, help="instead of the scale's own")
    one.add_argument("--seed", type=int, help="instead of the scale's own")
    one.add_argument(
        "--workers", type=int, default=1, help="processes that read images, of each that trains"
    )
    one.add_argument("--half", action="store_true", help="write the weights in half precision")


def train(options: argparse.Namespace) -> None:
    """Train CLIP, the controller or the restorer, and write the weights when done."""
    from daclip_lab.commands.train_parts import TRAININGS
    from daclip_lab.training import presets
    from daclip_lab.training.devices import make_accelerator

    out = Path(options.out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: wanted a folder to write to")
    if (out / "state.safetensors").exists() and not options.resume:
        raise InputError(f"{out} holds a training: go on with --resume, or name another folder")
    scale = presets.named(options.scale)
    source = source_of(options.data, scale, options.part, options.only)
    accelerator = make_accelerator()
    loop = {"run": out, "resume": options.resume, "accelerator": accelerator}
    training = TRAININGS[options.part](options, scale, source, loop)
    with _a_scheduler_may_stop():
        _follow(training, options.part, told(source), out, accelerator.is_main_process)
    if accelerator.is_main_process:
        training.pipe.save(out, half=options.half)
        print(f"weights written to {out}")
    accelerator.end_training()


@contextmanager
def _a_scheduler_may_stop() -> Iterator[None]:
    """Inside, SIGTERM, which a scheduler sends before it kills, is what Ctrl-C is: the last whole step is saved."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _follow(training, name: str, data: str, out: Path, main: bool) -> None:
    """Take all steps; the main process says what is trained on, shows a bar and writes a log."""
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
