"""How a command is added to the parser, and the arguments that several commands share."""

import argparse
from collections.abc import Callable

Commands = argparse._SubParsersAction
Run = Callable[[argparse.Namespace], None]

SHARED: dict[str, dict] = {
    "--data": {"default": "bundled", "help": "'bundled', or a folder of clean photos"},
    "--limit": {"type": int, "help": "only the first photos, so many"},
    "--crops": {"type": int, "help": "crops per photo and degradation (default: 100 in all)"},
    "--whole": {"action": "store_true", "help": "whole photos instead of 64 px crops"},
    "--weights": {"default": "lab", "help": "a folder, or shipped weights by name"},
    "--device": {"help": "cpu, cuda or cuda:N (default: cuda where there is one)"},
    "--steps": {"type": int, "help": "calls of the network (default: the weights' own)"},
    "--sampler": {"default": "posterior", "help": "posterior, ddim, dpmpp-2m or dpmpp-2m-sde"},
    "--seed": {"type": int, "default": 0, "help": "decides everything random (default: 0)"},
}
NETWORKS = ("--weights", "--device")
SAMPLING = ("--steps", "--sampler", "--seed")
PHOTOS = ("--data", "--limit", "--crops", "--whole")


def command(commands: Commands, run: Run, *shared: str) -> argparse.ArgumentParser:
    """Add the command that calls `run`, with some `SHARED` arguments; its name and help are those of the function."""
    name = run.__name__.replace("_", "-")
    parser = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
    parser.set_defaults(run=run)
    for argument in shared:
        parser.add_argument(argument, **SHARED[argument])
    return parser


def photos_of(options: argparse.Namespace):
    """The clean photos of --data: the sample photos for tests, or those of a folder."""
    from daclip_lab.data.photos import image_folder, sample_photos

    return sample_photos("test") if options.data == "bundled" else image_folder(options.data)


def loaded(options: argparse.Namespace, weights: str | None = None):
    """The pipeline of --weights, or of other weights, on --device."""
    import torch

    from daclip_lab.pipeline.loading import load

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return load(weights or options.weights, device=device)
