"""classify, restore, degrade: single images."""

import argparse
import json

from daclip_lab.commands import arguments
from daclip_lab.errors import InputError


def add_to(commands: arguments.Commands) -> None:
    """Add the commands to the parser."""
    add = arguments.command(commands, classify, *arguments.NETWORKS).add_argument
    add("images", nargs="+", metavar="IMAGE")
    add("--json", action="store_true", help="print all probabilities as JSON")

    shared = (*arguments.NETWORKS, *arguments.SAMPLING)
    add = arguments.command(commands, restore, *shared).add_argument
    add("image", metavar="IMAGE")
    add("-o", "--output", required=True, metavar="OUT")
    spacing = "time steps spread evenly in time (linspace, the default) or in log-SNR (logsnr)"
    add("--timestep-spacing", default="linspace", help=spacing)
    tile = "side of the tiles of large images, in pixels; 0 for none (default: by size)"
    add("--tile", type=int, metavar="SIDE", help=tile)
    add("--embed-tiles", action="store_true", help="condition each tile on its own embeddings")

    add = arguments.command(commands, degrade, "--seed").add_argument
    add("image", metavar="IMAGE")
    add("--as", dest="name", metavar="NAME", help="the degradation")
    add("--severity", type=float, help="0 to 1 (default: 0.5)")
    add("-o", "--output", required=True, metavar="OUT")
    sheet = "one picture of all severities: four seeds with --as, otherwise all degradations"
    add("--sheet", action="store_true", help=sheet)
    add("--crop", type=int, metavar="SIDE", help="only the middle square, for --sheet")


def classify(options: argparse.Namespace) -> None:
    """Print the most probable degradation of each image."""
    table = arguments.loaded(options).classify(options.images)
    rows = list(zip(options.images, (row for _, row in table.iterrows()), strict=True))
    if not options.json:
        for image, row in rows:
            print(f"{image}: {row.idxmax()} ({row.max():.1%})")
        return
    results = [
        {
            "image": image,
            "degradation": row.idxmax(),
            "probability": row.max(),
            "probabilities": row.to_dict(),
        }
        for image, row in rows
    ]
    print(json.dumps(results, indent=2))


def restore(options: argparse.Namespace) -> None:
    """Restore one image."""
    from daclip_lab.data.image_io import OUTPUT_SUFFIXES, read_image, save_image
    from daclip_lab.files.storage import check_output

    check_output(options.output, OUTPUT_SUFFIXES)
    read_image(options.image)
    pipe = arguments.loaded(options)
    restored = pipe.restore(
        options.image,
        steps=options.steps,
        sampler=options.sampler,
        timestep_spacing=options.timestep_spacing,
        seed=options.seed,
        tile=options.tile,
        embed_tiles=options.embed_tiles,
    )
    save_image(restored, options.output)


def degrade(options: argparse.Namespace) -> None:
    """Degrade one image, or draw a sheet of all severities."""
    from daclip_lab.commands.severity_sheet import degradation_sheet
    from daclip_lab.data.image_io import OUTPUT_SUFFIXES, save_image
    from daclip_lab.data.photos import degrade as degraded_image
    from daclip_lab.files.storage import check_output

    check_output(options.output, OUTPUT_SUFFIXES)
    if options.sheet:
        if options.severity is not None:
            given = f"--severity {options.severity:g}"
            raise InputError(f"{given}: leave it out, a sheet shows all from 0 to 1")
        picture = degradation_sheet(options.image, options.name, options.seed, options.crop)
        save_image(picture, options.output)
        return
    if options.name is None:
        raise InputError("no degradation: name one with --as, or draw all of them with --sheet")
    if options.crop is not None:
        raise InputError("--crop is for a --sheet: a degraded image keeps its size")
    severity = 0.5 if options.severity is None else options.severity
    degraded = degraded_image(options.image, options.name, severity=severity, seed=options.seed)
    save_image(degraded, options.output)
