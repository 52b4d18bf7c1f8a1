"""Options that several commands share."""

import argparse
from collections.abc import Callable

Commands = argparse._SubParsersAction
Run = Callable[[argparse.Namespace], None]


def command(commands: Commands, name: str, run: Run) -> argparse.ArgumentParser:
    """Add a command whose help is the docstring of `run`, the function that it calls."""
    added = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
    added.set_defaults(run=run)
    return added


def weights(to: argparse.ArgumentParser) -> None:
    """Add --weights."""
    to.add_argument("--weights", default="lab", help="a folder, or shipped weights by name")


def device(to: argparse.ArgumentParser) -> None:
    """Add --device."""
    to.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        help="where the networks run (default: cuda where there is one)",
    )


def loaded(options: argparse.Namespace):
    """The pipeline of --weights, on --device."""
    import torch

    from daclip_lab.errors import InputError
    from daclip_lab.pipeline.loading import load

    available = torch.cuda.is_available()
    if options.device == "cuda" and not available:
        raise InputError("--device cuda: torch finds no CUDA here; use cpu")
    return load(options.weights).to(options.device or ("cuda" if available else "cpu"))


def seed(to: argparse.ArgumentParser) -> None:
    """Add --seed."""
    to.add_argument("--seed", type=int, default=0, help="decides all that is random")


def sampling(to: argparse.ArgumentParser) -> None:
    """Add --steps, --sampler and --seed."""
    to.add_argument("--steps", type=int, help="calls of the network (default: the weights' own)")
    to.add_argument(
        "--sampler",
        default="posterior",
        help="posterior, posterior-2, deterministic or deterministic-2",
    )
    seed(to)
