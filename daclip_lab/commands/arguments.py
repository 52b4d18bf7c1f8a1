"""Arguments that several commands share."""

import argparse
from collections.abc import Callable

Commands = argparse._SubParsersAction
Run = Callable[[argparse.Namespace], None]


def command(commands: Commands, name: str, run: Run) -> argparse.ArgumentParser:
    """Add a command whose help is the docstring of `run`, the function that it calls."""
    added = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
    added.set_defaults(run=run)
    return added


def output(to: argparse.ArgumentParser, kind: str, help: str | None = None) -> None:
    """Add -o, --output; `kind` is its place holder."""
    to.add_argument("-o", "--output", required=True, metavar=kind, help=help)


def photos(to: argparse.ArgumentParser) -> None:
    """Add --data, which `photos_of` reads."""
    to.add_argument("--data", default="bundled", help="'bundled', or a folder of clean photos")


def photos_of(options: argparse.Namespace):
    """The clean photos of --data: the sample photos for tests, or those of a folder."""
    from daclip_lab.data.photos import image_folder, sample_photos

    return sample_photos("test") if options.data == "bundled" else image_folder(options.data)


def networks(to: argparse.ArgumentParser) -> None:
    """Add --weights and --device."""
    to.add_argument("--weights", default="lab", help="a folder, or shipped weights by name")
    device(to)


def device(to: argparse.ArgumentParser) -> None:
    """Add --device."""
    to.add_argument("--device", help="cpu, cuda or cuda:N (default: cuda where there is one)")


def loaded(options: argparse.Namespace, weights: str | None = None):
    """The pipeline of --weights, or of other weights, on --device."""
    import torch

    from daclip_lab.pipeline.loading import load

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return load(weights or options.weights, device=device)


def seed(to: argparse.ArgumentParser) -> None:
    """Add --seed."""
    to.add_argument("--seed", type=int, default=0, help="decides everything random (default: 0)")


def sampling(to: argparse.ArgumentParser) -> None:
    """Add --steps, --sampler and --seed."""
    to.add_argument("--steps", type=int, help="calls of the network (default: the weights' own)")
    sampler(to)
    seed(to)


def sampler(to: argparse.ArgumentParser) -> None:
    """Add --sampler."""
    to.add_argument(
        "--sampler", default="posterior", help="posterior, ddim, dpmpp-2m or dpmpp-2m-sde"
    )
