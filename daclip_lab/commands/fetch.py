"""fetch: download data sets and weights, verified, or print where to ask for them."""

import argparse
from pathlib import Path

from daclip_lab.commands import arguments


def add_to(commands: arguments.Commands) -> None:
    """Add the command to the parser."""
    add = arguments.command(commands, fetch).add_argument
    add("name", nargs="?", metavar="NAME", help="without a name: the table of all")
    add("--list", action="store_true", help="print the table of all")
    add("--to", metavar="DIR", help="instead of data/NAME, weights/NAME")


def fetch(options: argparse.Namespace) -> None:
    """Download a data set or weights by name, or list the names; an interrupted download is continued."""
    from daclip_lab.errors import InputError
    from daclip_lab.files.sources import SOURCES

    if options.list or options.name is None:
        print("\n".join(table(SOURCES)))
        return
    if options.name not in SOURCES:
        raise InputError(f"{options.name!r} is not in the table: {', '.join(SOURCES)}")
    source = SOURCES[options.name]
    folder = Path(options.to) if options.to else default_folder(options.name, source)
    if not source.files:
        raise InputError(
            f"{options.name} has no direct address: get it from {' or '.join(source.pages)} "
            f"and unpack it into {folder}"
        )
    fetch_all(options.name, source, folder)


def fetch_all(name: str, source, folder: Path) -> None:
    """Fetch every file of a source into a folder, and print what is fetched."""
    from daclip_lab.files.download import fetch

    print(f"{name}: {source.what}\nlicence: {source.licence} ({source.pages[0]})")
    for file in source.files:
        size = "size unknown" if file.size is None else f"{file.size} bytes"
        print(f"{folder / file.name}: {size}, SHA-256 {file.sha256 or 'unknown'}, from {file.url}")
    for file in source.files:
        done = fetch(file, folder)
        print(f"{', '.join(map(str, done.paths))}: {'fetched' if done.new else 'there already'}")
        if done.sha256 and not file.sha256:
            print(f"The table has no SHA-256 of {file.name}; this file's is {done.sha256}.")


def default_folder(name: str, source) -> Path:
    """The default folder of a source."""
    if source.place != "torch":
        return Path(source.place) / name
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def table(sources: dict) -> list[str]:
    """The lines of the table of all sources."""
    from daclip_lab.files.download import readable

    rows = [("name", "size", "what", "licence")]
    for name, source in sources.items():
        sizes = [file.size for file in source.files]
        known = "unknown" if None in sizes else readable(sum(sizes))
        size = source.size or (known if sizes else "by hand")
        rows.append((name, size, source.what, source.licence))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    elsewhere = {
        place: " and ".join(name for name, source in sources.items() if source.place == place)
        for place in ("weights", "torch")
    }
    return [
        *("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows),
        "",
        "by hand: without a direct address; `daclip-lab fetch NAME` says where to get it.",
        f"Data goes to data/NAME below this folder, {elsewhere['weights']} to weights/NAME, "
        f"{elsewhere['torch']} to torch's cache.",
    ]
