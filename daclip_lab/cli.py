"""The command line, `daclip-lab`: a thin layer over the library.

What a person hands over wrongly is answered in one line on standard error, with exit code 2.
"""

import argparse
import sys

from daclip_lab.commands import captions, embed, fetch, images, measure, official, report, train
from daclip_lab.errors import InputError

COMMANDS = (
    fetch,
    images,
    captions,
    embed,
    report,
    measure,
    train,
    official,
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for input that cannot be used, 130 when interrupted."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        print(f"daclip-lab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("daclip-lab: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="daclip-lab", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
