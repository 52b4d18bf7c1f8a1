"""import-official, calibrate: folders of weights."""

import argparse
from pathlib import Path

from daclip_lab.commands import arguments
from daclip_lab.commands.training_data import held_out
from daclip_lab.errors import InputError


def add_to(commands: arguments.Commands) -> None:
    """Add the commands to the parser."""
    add = arguments.command(commands, import_official).add_argument
    add("daclip", metavar="DACLIP.pt", help="such as daclip_ViT-B-32.pt")
    add("restorer", metavar="RESTORER.pth", nargs="?", help="such as universal-ir.pth")
    add("-o", "--output", required=True, metavar="FOLDER", help="a new folder")

    add = arguments.command(commands, calibrate, *arguments.NETWORKS).add_argument
    add("--data", nargs="+", required=True, help="the folders that were trained on")


def import_official(options: argparse.Namespace) -> None:
    """Turn the files that the authors of DA-CLIP released into a folder of weights (--weights FOLDER)."""
    from daclip_lab.files.storage import check_output_folder
    from daclip_lab.pipeline import convert_official

    check_output_folder(options.output)
    settings = convert_official.import_official(options.daclip, options.restorer, options.output)
    for name, digest in settings.source.items():
        print(f"{name}: SHA-256 {digest}")
    print("labels:", ", ".join(settings.labels) or "none (trained without words for degradations)")
    print(f"weights written to {options.output}")


def calibrate(options: argparse.Namespace) -> None:
    """Choose the temperature and clean bias of the classifier on photos that training held out, and store them."""
    from dataclasses import replace

    from daclip_lab.data.photos import image_folder
    from daclip_lab.evaluation.calibrate import calibrate
    from daclip_lab.files.storage import check_output_folder
    from daclip_lab.pipeline.serialization import write_settings

    if not Path(options.weights, "pipeline.json").is_file():
        raise InputError(f"--weights {options.weights}: wanted a folder with a pipeline.json")
    check_output_folder(options.weights)
    pipe = arguments.loaded(options)
    photos = held_out(image_folder(*options.data))
    found = calibrate(pipe, photos)
    write_settings(options.weights, replace(pipe.settings, **found._asdict()))
    chosen = f"temperature {found.temperature:.3f}, clean bias {found.clean_bias:+.3f}"
    print(f"{chosen}, chosen on {len(photos)} held-out photos")
