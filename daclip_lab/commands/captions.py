"""captions: a table of captions of clean images, which trainings read."""

import argparse

from daclip_lab.commands import arguments


def add_to(commands: arguments.Commands) -> None:
    """Add the command to the parser."""
    add = arguments.command(commands, captions, "--device").add_argument
    add("folder", metavar="DIR", help="pairs <degradation>/LQ and /GT, or any images")
    add("-o", "--output", required=True, metavar="CSV", help="the table; its lines are kept")
    add(
        "--captioner",
        choices=("attributes", "blip"),
        default="attributes",
        help="attributes: by rule, colours and layout; blip: as the paper, needs transformers",
    )
    add("--model", help="instead of BLIP large: a folder, or a name on the hub")


def captions(options: argparse.Namespace) -> None:
    """Write captions of the clean images of a folder; an interrupted run is continued."""
    from daclip_lab.data.captions.writing import write_captions

    new = write_captions(options.folder, options.output, captioner(options))
    print(f"{new} captions written to {options.output}")


def captioner(options: argparse.Namespace):
    """The captioner that --captioner and --model name."""
    from daclip_lab.data.captions import blip
    from daclip_lab.data.captions.writing import attribute_captions
    from daclip_lab.errors import InputError

    if options.captioner == "attributes":
        if options.model:
            raise InputError("--model names a BLIP: use it with --captioner blip")
        return attribute_captions
    from daclip_lab.pipeline.running import usable_device

    model = options.model or blip.MODEL
    print(f"captioner: {model} (downloaded once, unless it is a folder)")
    return blip.Blip(model, None if options.device is None else usable_device(options.device))
