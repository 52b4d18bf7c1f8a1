"""embed, report: a folder of images as a table of embeddings, or as a page."""

import argparse

from daclip_lab.commands import arguments
from daclip_lab.errors import InputError


def add_to(commands: arguments.Commands) -> None:
    """Add the commands to the parser."""
    shared = (*arguments.NETWORKS, "--seed")
    add = arguments.command(commands, embed, "--data", *shared).add_argument
    folder = "any images, or pairs <degradation>/LQ and /GT"
    add("folder", nargs="?", metavar="DIR", help=folder)
    add("-o", "--output", required=True, metavar="PARQUET")
    protocol = "degrade the clean photos of --data as `evaluate` does, and embed those crops"
    add("--protocol", action="store_true", help=protocol)
    crops = "per photo and degradation, for --protocol (default: 1)"
    add("--crops", type=int, default=1, help=crops)
    add("--half", action="store_true", help="write the embeddings in half precision")

    add = arguments.command(commands, report, *shared).add_argument
    add("folder", metavar="DIR", help=f"{folder}, or a table of `embed` (.parquet)")
    add("-o", "--output", required=True, metavar="HTML")
    add("--against", metavar="WEIGHTS", help="other weights, for a paired comparison")


def embed(options: argparse.Namespace) -> None:
    """Write the embeddings of a folder of images as a Parquet table; an interrupted run is continued."""
    from daclip_lab.evaluation.embed_protocol import embed_protocol
    from daclip_lab.evaluation.protocol import Protocol
    from daclip_lab.files.storage import check_output

    check_output(options.output, (".parquet",))
    if options.protocol == (options.folder is not None):
        raise InputError("name a folder of images to embed, or --protocol and its --data")
    pipe = arguments.loaded(options)
    if options.protocol:
        table = embed_protocol(
            pipe,
            arguments.photos_of(options),
            Protocol(crops=options.crops, seed=options.seed),
            out=options.output,
            half=options.half,
        )
    else:
        table = pipe.embed(options.folder, out=options.output, half=options.half)
    print(f"{options.output}: {table}")


def report(options: argparse.Namespace) -> None:
    """Write maps, measures, confusion, drift and mistakes of a folder of images as one self-contained HTML page."""
    from daclip_lab.data.embedding_table import EmbeddingTable
    from daclip_lab.files.storage import check_output
    from daclip_lab.html_report.page import report

    check_output(options.output)
    against = arguments.loaded(options, options.against) if options.against else None
    images = options.folder
    if images.endswith(".parquet"):
        images = EmbeddingTable.load(images)
    found = report(
        arguments.loaded(options),
        images,
        options.output,
        against=against,
        names=(options.weights, options.against),
        seed=options.seed,
    )
    print(f"{options.output}: {found.table}")
    for reason, measures in found.skipped_by_reason().items():
        print(f"  skipped: {', '.join(measures)}: {reason}")
