"""evaluate, wall: measurements of weights, and pictures of their restorations."""

import argparse
import json
import math

from daclip_lab.commands import arguments
from daclip_lab.errors import InputError

SWEPT = ("view", "window", "steps")
"""Options of `evaluate` of which several values may be compared."""
LAB_ONLY = ("limit", "crops", "whole", "view", "window", "mixtures", "no_restore", "markdown")
"""Options of `evaluate` that the paper's protocol does not have."""


def add_to(commands: arguments.Commands) -> None:
    """Add the commands to the parser."""
    shared = (*arguments.PHOTOS, "--sampler", "--seed", *arguments.NETWORKS)
    parser = arguments.command(commands, evaluate, *shared)
    add = parser.add_argument
    kinds = "lab: degrade clean photos; paper: real test pairs, measured as the paper does"
    add("--protocol", choices=("lab", "paper"), default="lab", help=kinds)
    add("--mixtures", type=int, help="pairs of degradations per crop (default: 2)")
    several = "(default: the weights' own); several are compared"
    views = f"views of an image that CLIP gets: resize, crops or both {several}"
    add("--view", nargs="+", metavar="VIEW", help=views)
    window = f"side in pixels of the window of the restorer's channel means {several}"
    add("--window", type=int, nargs="+", metavar="SIDE", help=window)
    add("--steps", type=int, nargs="+", help=f"calls of the network {several}")
    add("--no-restore", action="store_true", help="leave the restoration out")
    out = "results of each photo: an interrupted run is continued, a finished one is read"
    add("--out", metavar="DIR", help=out)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the tables as JSON")
    form.add_argument("--markdown", action="store_true", help="print the tables as Markdown")

    shared = (*arguments.PHOTOS, *arguments.NETWORKS, *arguments.SAMPLING)
    add = arguments.command(commands, wall, *shared).add_argument
    add("-o", "--output", required=True, metavar="PNG")
    add("--out", metavar="DIR", help="as of evaluate, and shared with it")


def evaluate(options: argparse.Namespace) -> None:
    """Measure classification, embeddings and restoration on degraded photos."""
    if options.protocol == "paper":
        return _paper_protocol(options)

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
    pipe = arguments.loaded(options)
    results = {
        f"{swept} {getattr(protocol, swept)}": evaluate(
            pipe, photos, protocol, restore=not options.no_restore, out=options.out
        )
        for protocol in protocols
    }
    if several:
        table = sweep.compare(results)
        as_json = json.dumps(table.to_dict("index"), indent=2)
        print(as_json if options.json else sweep.text(table, markdown=options.markdown))
        return
    (result,) = results.values()
    if options.json:
        print(json.dumps(result.to_dict(), indent=2))
    else:
        print(result.markdown() if options.markdown else result)


def _paper_protocol(options: argparse.Namespace) -> None:
    """Measure classification and restoration on real test pairs, as the paper does."""
    from daclip_lab.evaluation.paper_protocol import PaperProtocol, measure

    for name in LAB_ONLY:
        if getattr(options, name) is not None and getattr(options, name) is not False:
            raise InputError(f"--{name.replace('_', '-')} cannot be used with --protocol paper")
    if len(options.steps or []) > 1:
        raise InputError("--steps takes one value with --protocol paper")
    steps = options.steps[0] if options.steps else None
    protocol = PaperProtocol(steps=steps, sampler=options.sampler, seed=options.seed)
    table = measure(arguments.loaded(options), options.data, protocol, out=options.out)
    print(json.dumps(table.to_dict(), indent=2) if options.json else table)


def wall(options: argparse.Namespace) -> None:
    """Draw the best, the median and the worst restoration of each degradation."""
    from daclip_lab.data.image_io import OUTPUT_SUFFIXES, read_image, save_image
    from daclip_lab.evaluation.evaluation import evaluate
    from daclip_lab.evaluation.examples import examples
    from daclip_lab.figures.primitives import figure_png
    from daclip_lab.figures.restoration import restoration_wall
    from daclip_lab.files.storage import check_output

    check_output(options.output, OUTPUT_SUFFIXES)
    photos = _chosen(options)
    pipe = arguments.loaded(options)
    protocol = _protocol(options, photos, steps=options.steps)
    result = evaluate(pipe, photos, protocol, out=options.out)
    figure = restoration_wall(examples(pipe, photos, result), photos=len(photos))
    save_image(read_image(figure_png(figure)), options.output)
    print(f"{options.output}: best, median and worst of {len(photos)} photos")


def _chosen(options: argparse.Namespace):
    """The photos that --data and --limit name."""
    from daclip_lab.data.photos import Photos

    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit {options.limit}: wanted 1 photo or more")
    return Photos(arguments.photos_of(options).paths[: options.limit])


def _protocol(options: argparse.Namespace, photos, **settings):
    """The protocol that the options name; the settings are those of its fields that differ between commands."""
    from daclip_lab.evaluation.protocol import Protocol

    few = 1 if options.whole else math.ceil(100 / len(photos))
    return Protocol(
        crop=None if options.whole else 64,
        crops=few if options.crops is None else options.crops,
        sampler=options.sampler,
        seed=options.seed,
        **settings,
    )
