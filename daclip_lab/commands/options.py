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
