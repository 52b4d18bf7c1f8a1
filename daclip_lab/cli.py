"""Classify, restore, degrade and evaluate images with DA-CLIP, and train it.

Input that cannot be used ends in one line on standard error and exit code 2.
"""

import argparse
import sys

from daclip_lab import __version__
from daclip_lab.commands import ablate, captions, evaluate, fetch, folders, images, train, weights
from daclip_lab.errors import InputError

COMMANDS = (fetch, images, captions, folders, evaluate, train, ablate, weights)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for input that cannot be used, 130 when interrupted."""
    options = make_parser().parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        print(f"daclip-lab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("daclip-lab: interrupted", file=sys.stderr)
        return 130
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="daclip-lab", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add_to(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
