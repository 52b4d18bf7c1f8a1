"""evaluate, wall, calibrate: measurements of weights, and pictures of their restorations."""

import argparse
import json
import math
from pathlib import Path

from daclip_lab.commands import paper_protocol
from daclip_lab.commands.arguments import (
    Commands,
    command,
    loaded,
    networks,
    output,
    sampler,
    sampling,
    seed,
)
from daclip_lab.commands.training_data import held_out
from daclip_lab.errors import InputError

SWEPT = ("view", "window", "steps")
"""Options of `evaluate` of which several values may be compared."""


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    one = command(commands, "evaluate", evaluate)
    one.add_argument(
        "--protocol",
        choices=("lab", "paper"),
        default="lab",
        help="lab: degrade clean photos; paper: real test pairs, measured as the paper does",
    )
    _photos(one)
    one.add_argument(
        "--mixtures", type=int, help="mixtures of two degradations per crop (default: 2)"
    )
    one.add_argument(
        "--view",
        nargs="+",
        metavar="VIEW",
        help="what CLIP sees: resize, crops or both (default: the weights' own); several are compared",
    )
    one.add_argument(
        "--window",
        type=int,
        nargs="+",
        metavar="SIDE",
        help="squares over which the restorer takes channel means, in pixels (default: the weights' own); several are "
        "compared",
    )
    one.add_argument(
        "--steps",
        type=int,
        nargs="+",
        help="calls of the network (default: the weights' own); several are compared",
    )
    sampler(one)
    seed(one)
    networks(one)
    one.add_argument("--no-restore", action="store_true", help="leave the restoration out")
    one.add_argument(
        "--out",
        metavar="DIR",
        help="keep the results of each photo there: an interrupted run is continued, a finished one is read",
    )
    form = one.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the tables as JSON")
    form.add_argument("--markdown", action="store_true", help="print the tables as Markdown")

    one = command(commands, "wall", wall)
    _photos(one)
    output(one, "PNG")
    one.add_argument("--out", metavar="DIR", help="as of evaluate, and shared with it")
    networks(one)
    sampling(one)

    one = command(commands, "calibrate", calibrate)
    one.add_argument("--data", nargs="+", required=True, help="the folders that were trained on")
    networks(one)


def _photos(to: argparse.ArgumentParser) -> None:
    to.add_argument("--data", default="bundled", help="'bundled', or a folder of clean photos")
    to.add_argument("--limit", type=int, help="only so many photos, the first ones")
    to.add_argument(
        "--crops", type=int, help="crops per photo and degradation (default: 100 in all)"
    )
    to.add_argument("--whole", action="store_true", help="whole photos instead of 64 px crops")


def evaluate(options: argparse.Namespace) -> None:
    """Measure classification, embeddings and restoration on degraded photos."""
    if options.protocol == "paper":
        options.steps = _only(options.steps, "steps")
        return paper_protocol.run(options)

    from daclip_lab.evaluation import sweep
    from daclip_lab.evaluation.evaluation import evaluate

    values = {name: getattr(options, name) or [None] for name in SWEPT}
    several = [name for name in SWEPT if len(values[name]) > 1]
    if len(several) > 1:
        raise InputError(f"--{several[0]} and --{several[1]} have several values: compare one only")
    photos = _chosen(options)
    swept = several[0] if several else "steps"
    protocols = [
        _protocol(
            options,
            photos,
            mixtures=2 if options.mixtures is None else options.mixtures,
            **{name: value if name == swept else values[name][0] for name in SWEPT},
        )
        for value in values[swept]
    ]
    pipe = loaded(options)
    results = {
        f"{swept} {getattr(protocol, swept)}": evaluate(
            pipe, photos, protocol, restore=not options.no_restore, out=options.out
        )
        for protocol in protocols
    }
    if several:
        table = sweep.compare(results)
        print(
            json.dumps(table.to_dict("index"), indent=2)
            if options.json
            else sweep.text(table, markdown=options.markdown)
        )
        return
    (result,) = results.values()
    if options.json:
        print(json.dumps(result.to_dict(), indent=2))
    else:
        print(result.markdown() if options.markdown else result)


def wall(options: argparse.Namespace) -> None:
    """Draw the best, the median and the worst restoration of each degradation."""
    from daclip_lab.data.image_io import FORMATS
    from daclip_lab.evaluation.evaluation import evaluate
    from daclip_lab.evaluation.examples import examples
    from daclip_lab.figures.restoration import restoration_wall
    from daclip_lab.files.storage import check_output

    check_output(options.output, FORMATS)
    photos = _chosen(options)
    pipe = loaded(options)
    protocol = _protocol(options, photos, steps=options.steps)
    result = evaluate(pipe, photos, protocol, out=options.out)
    figure = restoration_wall(examples(pipe, photos, result), photos=len(photos))
    figure.savefig(options.output)
    print(f"{options.output}: best, median and worst of {len(photos)} photos")


def calibrate(options: argparse.Namespace) -> None:
    """Fit the classifier's temperature on the photos that training held out, and store it with the weights."""
    from dataclasses import replace

    from daclip_lab.data.photos import image_folder
    from daclip_lab.evaluation.calibrate import calibrate
    from daclip_lab.files.storage import check_output_folder

    if not Path(options.weights, "pipeline.json").is_file():
        raise InputError(f"--weights {options.weights}: wanted a folder with a pipeline.json")
    check_output_folder(options.weights)
    pipe = loaded(options)
    photos = held_out(image_folder(*options.data))
    temperature = round(calibrate(pipe, photos), 4)
    pipe.settings = replace(pipe.settings, temperature=temperature)
    pipe.save_settings(options.weights)
    print(f"temperature {temperature}, fitted on {len(photos)} held-out photos")


def _chosen(options: argparse.Namespace):
    """The photos that --data and --limit name."""
    from daclip_lab.data.photos import Photos, image_folder, sample_photos

    photos = sample_photos("test") if options.data == "bundled" else image_folder(options.data)
    if options.limit is None:
        return photos
    if options.limit < 1:
        raise InputError(f"--limit {options.limit}: wanted 1 photo or more")
    return Photos(photos.paths[: options.limit])


def _protocol(options: argparse.Namespace, photos, **settings):
    """The protocol that the options name; the settings are those of its fields that differ between commands."""
    from daclip_lab.evaluation.protocol import Protocol

    # Few photos are looked at in many places.
    crops = options.crops
    if crops is None:
        crops = 1 if options.whole else math.ceil(100 / len(photos))
    return Protocol(
        crop=None if options.whole else 64,
        crops=crops,
        sampler=options.sampler,
        seed=options.seed,
        **settings,
    )


def _only(values: list | None, name: str):
    """The one value of an option that takes several elsewhere."""
    if values is not None and len(values) > 1:
        raise InputError(f"--{name} takes one value with --protocol paper")
    return values[0] if values else None
