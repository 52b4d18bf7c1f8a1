"""import-official: the weights that the authors released, as a folder that every other command takes."""

import argparse

from daclip_lab.commands.arguments import Commands, command, output


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    one = command(commands, "import-official", import_official)
    one.add_argument("daclip", metavar="DACLIP.pt", help="such as daclip_ViT-B-32.pt")
    one.add_argument("restorer", metavar="RESTORER.pth", nargs="?", help="such as universal-ir.pth")
    output(one, "FOLDER", help="a new folder")


def import_official(options: argparse.Namespace) -> None:
    """Turn the files that the authors of DA-CLIP released into a folder of weights (--weights FOLDER)."""
    from daclip_lab.files.storage import check_output_folder
    from daclip_lab.pipeline import convert_official

    check_output_folder(options.output)
    settings = convert_official.import_official(options.daclip, options.restorer, options.output)
    for name, digest in settings.source.items():
        print(f"{name}: SHA-256 {digest}")
    labels = ", ".join(settings.labels) or "none (trained without words for degradations)"
    print(f"labels: {labels}")
    print(f"weights written to {options.output}")
