"""report: maps, measures and mistakes of a folder of images, as one page."""

import argparse

from daclip_lab.commands.arguments import Commands, command, loaded, networks, output, seed


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    one = command(commands, "report", report)
    one.add_argument(
        "folder",
        metavar="DIR",
        help="any images, pairs <degradation>/LQ and /GT, or a table that `embed` wrote (.parquet)",
    )
    output(one, "HTML")
    one.add_argument("--against", metavar="WEIGHTS", help="other weights, for a paired comparison")
    networks(one)
    seed(one)


def report(options: argparse.Namespace) -> None:
    """Write maps, measures, confusion, drift and mistakes of a folder of images as one self-contained HTML page."""
    from daclip_lab.data.embedding_table import EmbeddingTable
    from daclip_lab.files.storage import check_output
    from daclip_lab.html_report.page import report

    check_output(options.output)
    against = loaded(options, options.against) if options.against else None
    images = options.folder
    if images.endswith(".parquet"):
        images = EmbeddingTable.load(images)
    found = report(
        loaded(options),
        images,
        options.output,
        against=against,
        names=(options.weights, options.against),
        seed=options.seed,
    )
    print(f"{options.output}: {found.table}")
    for reason, measures in found.skipped_by_reason().items():
        print(f"  skipped: {', '.join(measures)}: {reason}")
