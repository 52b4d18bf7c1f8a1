"""Time and memory of this implementation against a naive baseline, and quality against steps: tables and figures."""

import argparse
import platform
import sys
from pathlib import Path

import pandas as pd
import torch

from benchmarks import (
    full_images,
    inference,
    network,
    real_photos,
    receptive_field,
    tradeoff,
    training,
    widgets,
)
from daclip_lab.data.photos import image_folder
from daclip_lab.errors import InputError

PARTS = (
    "network",
    "full_images",
    "inference",
    "tradeoff",
    "training",
    "receptive_field",
    "widgets",
)


def main(arguments: list[str] | None = None) -> None:
    """Run the named parts, or all; `real`, which needs a folder of pictures, runs alone, see `real_photos`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["real"]:
        return real_photos.main(arguments[1:])
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--weights", default="lab", help="a folder, or shipped weights by name")
    parser.add_argument("--bf16", action="store_true", help="also without native bfloat16")
    parser.add_argument("--compile", action="store_true", help="also a compiled U-Net (minutes)")
    parser.add_argument(
        "--data",
        type=Path,
        help="folder of clean photos for `tradeoff` (else the bundled test photos)",
    )
    parser.add_argument("--crops", type=int, default=2, help="crops of each photo for `tradeoff`")
    parser.add_argument("--toy", action="store_true", help="tiny sizes, only to see that it runs")
    parser.add_argument("--out", default="runs/benchmarks", type=Path, help="folder for the files")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {unknown.pop()!r}: use {', '.join(PARTS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    threads = torch.get_num_threads()
    print(f"{platform.machine()}, {threads} threads, Python {platform.python_version()}, "
          f"torch {torch.__version__}")  # fmt: skip
    for part in options.parts or PARTS:
        try:
            title, table = measure(part, options)
        except InputError as error:
            parser.error(str(error))
        print(f"\n{title}\n")
        text = table.to_frame() if isinstance(table, pd.Series) else table
        print(text.to_string(float_format=lambda value: f"{value:.4g}", na_rep=""), flush=True)
        table.to_csv(options.out / f"{part}.csv")


def measure(part: str, options: argparse.Namespace) -> tuple[str, pd.DataFrame | pd.Series]:
    """The title and the table of one part."""
    if part == "network":
        settings = network.TOY if options.toy else network.PAPER
        table = network.table(settings, bf16=options.bf16, compiled=options.compile)
        return "One call of the paper-size U-Net, random weights", table
    if part == "full_images":
        table = full_images.table(options.weights, toy=options.toy)
        return f"Whole photos, weights {options.weights!r}, from image to image", table
    if part == "inference":
        table = inference.table(options.weights, toy=options.toy)
        return (
            f"One photo of 481x321 pixels, weights {options.weights!r}: where the time goes",
            table,
        )
    if part == "receptive_field":
        return (
            "Difference that a cut makes to the output, by distance from the cut",
            receptive_field.table(options.weights, toy=options.toy),
        )
    if part == "widgets":
        title = "The restoration lab, from a severity to its picture and its bars"
        return title, widgets.table(options.weights, toy=options.toy)
    if part == "training":
        return "Training speed", training.table(options.weights, toy=options.toy)
    photos = image_folder(options.data) if options.data else None
    table = tradeoff.table(options.weights, photos, options.crops, toy=options.toy)
    figures = tradeoff.figures(table)
    for name, figure in figures.items():
        figure.savefig(options.out / name)
    title = f"Quality against steps, weights {options.weights!r} (figures: {', '.join(figures)})"
    return title, table


if __name__ == "__main__":
    main()
