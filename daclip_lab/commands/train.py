"""train: CLIP, its words, the controller, the restorer, or all of them."""

import argparse
from collections.abc import Callable

from daclip_lab.commands import arguments
from daclip_lab.commands.training.progress import accelerated, follow
from daclip_lab.commands.training_data import described, source_of
from daclip_lab.errors import InputError

PARTS = {
    "clip": "Train the scale's own CLIP on photos and captions.",
    "words": "Train the text tower of the CLIP of --weights.",
    "daclip": "Train a controller on the CLIP of --weights.",
    "restorer": "Train a restorer under the DA-CLIP of --weights.",
}


def add_to(commands: arguments.Commands) -> None:
    """Add the command to the parser."""
    parts = arguments.command(commands, train).add_subparsers(
        dest="part", required=True, metavar="PART"
    )
    for part, what in PARTS.items():
        add = parts.add_parser(part, help=what, description=what).add_argument
        _add_shared(add)
        add("--only", nargs="+", metavar="DEGRADATION", help="take these degradations of the pairs")
        weights = (
            "initial weights: a folder, shipped weights by name, 'pretrained' (the scale's CLIP, downloaded once) or "
            "'random' (to try out); default: lab, and at the paper's scale its CLIP if it is on this machine"
        )
        add("--weights", help=weights)
        further = "a folder whose CLIP, controller or restorer is trained further"
        add("--start", metavar="WEIGHTS", help=further)
        degradation = "train the degradation embedding alone, in less than half the time"
        add("--degradation-only", action="store_true", help=degradation)
        add("--steps", type=int, help="instead of the scale's own")
        add("--batch", type=int, help="instead of the scale's own, in all processes")
        add("--learning-rate", type=float, help="instead of the scale's own")
        add("--seed", type=int, help="instead of the scale's own")
        add("--half", action="store_true", help="write the weights in half precision")
    _add_all(parts)


def _add_shared(add: Callable) -> None:
    add("--scale", default="lab", help="smoke, lab or paper")
    data = "'bundled', folders of photos, or folders or tables of pairs"
    add("--data", nargs="+", default=["bundled"], help=data)
    pairs = "a folder of real pairs to mix into the photos of controller and restorer, a few in a hundred"
    add("--pairs", metavar="FOLDER", help=pairs)
    add("--out", required=True, metavar="RUN", help="folder of state, log and weights")
    add("--resume", action="store_true", help="continue the interrupted RUN")
    workers = "processes that make batches, per training process (default: all cores but one)"
    add("--workers", type=int, help=workers)
    add("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")


def _add_all(parts: argparse._SubParsersAction) -> None:
    what = (
        "Train CLIP, its words, the controller and the restorer in turn, each for its share of the time, and calibrate "
        "the classifier on photos that are held out. RUN can be loaded once CLIP is trained. The speed is measured at "
        "the start; the step counts that follow are stored in RUN/plan.json, and with the seed they decide the result, "
        "interrupted or not."
    )
    parser = parts.add_parser("all", help="Train all of these in turn.", description=what)
    parser.set_defaults(run=train_all)
    _add_shared(parser.add_argument)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="the time for everything")
    steps = (
        "the steps of each part by hand, as clip=N,words=N,daclip=N,restorer=N; calibration=PHOTOS"
    )
    length.add_argument("--steps", help=steps)
    shares = (
        "other shares of the time than clip=13,words=3,daclip=34,restorer=47,calibration=3; "
        "with --start those of CLIP and its words are 0"
    )
    add = parser.add_argument
    add("--shares", help=shares)
    start = (
        "weights whose controller and restorer are trained further, a folder or shipped ones by name; their CLIP and "
        "its words are kept, unless --shares or --steps give them some"
    )
    add("--start", metavar="WEIGHTS", help=start)
    add("--seed", type=int, default=0, help="decides everything random (default: 0)")


def train(options: argparse.Namespace) -> None:
    """Train CLIP, its words, the controller, the restorer, or all of them, and write the weights."""
    from tqdm.auto import tqdm

    from daclip_lab.commands.training.parts import TRAININGS
    from daclip_lab.files.storage import check_output_folder
    from daclip_lab.training import presets

    out = check_output_folder(options.out)
    if (out / "state.safetensors").exists() and not options.resume:
        raise InputError(
            f"{out} holds a training: continue it with --resume, or name another folder"
        )
    scale = presets.named(options.scale)
    source = source_of(options.data, scale, options.part, options.only, options.pairs)
    with accelerated(options) as accelerator:
        loop = {"run": out, "resume": options.resume, "accelerator": accelerator}
        training = TRAININGS[options.part](options, scale, source, loop)
        main = accelerator.is_main_process
        total = training.recipe.steps
        with tqdm(total=total, unit="step", desc=options.part, disable=not main) as bar:
            follow(training, out, bar, title=f"data: {described(source)}")
        if main:
            training.pipe.save(out, half=options.half)
            print(f"weights written to {out}")


def train_all(options: argparse.Namespace) -> None:
    """Train all parts in turn."""
    from daclip_lab.commands.training import stages

    stages.train_all(options)
