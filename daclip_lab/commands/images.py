"""classify, restore, degrade: single images."""

import argparse
import json

from daclip_lab.commands import arguments
from daclip_lab.errors import InputError


def add(commands: arguments.Commands) -> None:
    """Add the commands to the parser."""
    one = arguments.command(commands, "classify", classify)
    one.add_argument("images", nargs="+", metavar="IMAGE")
    one.add_argument("--json", action="store_true", help="print all probabilities as JSON")
    arguments.networks(one)

    one = arguments.command(commands, "restore", restore)
    one.add_argument("image", metavar="IMAGE")
    arguments.output(one, "OUT")
    arguments.networks(one)
    arguments.sampling(one)
    spacing = "time steps spread evenly in time (linspace, the default) or in log-SNR (logsnr)"
    one.add_argument("--timestep-spacing", default="linspace", help=spacing)
    tile = "side of the tiles of large images, in pixels; 0 for none (default: by size)"
    one.add_argument("--tile", type=int, metavar="SIDE", help=tile)
    own = "condition each tile on its own embeddings"
    one.add_argument("--embed-tiles", action="store_true", help=own)

    one = arguments.command(commands, "degrade", degrade)
    one.add_argument("image", metavar="IMAGE")
    one.add_argument("--as", dest="name", metavar="NAME", help="the degradation")
    one.add_argument("--severity", type=float, help="0 to 1 (default: 0.5)")
    arguments.output(one, "OUT")
    sheet = "one picture of all severities: four seeds with --as, otherwise all degradations"
    one.add_argument("--sheet", action="store_true", help=sheet)
    one.add_argument("--crop", type=int, metavar="SIDE", help="only the middle square, for --sheet")
    arguments.seed(one)


def classify(options: argparse.Namespace) -> None:
    """Print the most probable degradation of each image."""
    table = arguments.loaded(options).classify(options.images)
    answers = [
        {
            "image": image,
            "degradation": row.idxmax(),
            "probability": row.max(),
            "probabilities": row.to_dict(),
        }
        for image, (_, row) in zip(options.images, table.iterrows(), strict=True)
    ]
    if options.json:
        print(json.dumps(answers, indent=2))
        return
    for answer in answers:
        print(f"{answer['image']}: {answer['degradation']} ({answer['probability']:.1%})")


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
            raise InputError(
                f"--severity {options.severity:g}: leave it out, a sheet shows all from 0 to 1"
            )
        picture = degradation_sheet(options.image, options.name, options.seed, options.crop)
        save_image(picture, options.output)
        return
    if options.name is None:
        raise InputError("which degradation? Name it with --as, or draw all of them with --sheet")
    if options.crop is not None:
        raise InputError("--crop is for a --sheet; one degraded image is as large as it was")
    severity = 0.5 if options.severity is None else options.severity
    degraded = degraded_image(options.image, options.name, severity=severity, seed=options.seed)
    save_image(degraded, options.output)
