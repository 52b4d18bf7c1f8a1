"""embed: a folder of images as a table of embeddings."""

import argparse

from daclip_lab.commands.arguments import Commands, command, loaded, networks, output, seed
from daclip_lab.errors import InputError


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    one = command(commands, "embed", embed)
    one.add_argument(
        "folder", nargs="?", metavar="DIR", help="any images, or pairs <degradation>/LQ and /GT"
    )
    output(one, "PARQUET")
    one.add_argument(
        "--protocol",
        action="store_true",
        help="degrade the clean photos of --data as `evaluate` does, and embed those crops",
    )
    one.add_argument("--data", default="bundled", help="'bundled', or a folder of clean photos")
    one.add_argument(
        "--crops", type=int, default=1, help="of a photo and degradation, for --protocol"
    )
    one.add_argument("--half", action="store_true", help="write the embeddings in half precision")
    networks(one)
    seed(one)


def embed(options: argparse.Namespace) -> None:
    """Write the embeddings of a folder of images as a Parquet table; an interrupted run is continued."""
    from daclip_lab.data.photos import image_folder, sample_photos
    from daclip_lab.evaluation.embed_protocol import embed_protocol
    from daclip_lab.evaluation.protocol import Protocol
    from daclip_lab.files.storage import check_output

    check_output(options.output, (".parquet",))
    if options.protocol == (options.folder is not None):
        raise InputError("name a folder of images to embed, or --protocol and its --data")
    pipe = loaded(options)
    if options.protocol:
        photos = sample_photos("test") if options.data == "bundled" else image_folder(options.data)
        protocol = Protocol(crops=options.crops, seed=options.seed)
        table = embed_protocol(pipe, photos, protocol, out=options.output, half=options.half)
    else:
        table = pipe.embed(options.folder, out=options.output, half=options.half)
    print(f"{options.output}: {table}")
