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


def add(commands: arguments.Commands) -> None:
    """Add the commands to the parser."""
    one = arguments.command(commands, "evaluate", evaluate)
    kinds = "lab: degrade clean photos; paper: real test pairs, measured as the paper does"
    one.add_argument("--protocol", choices=("lab", "paper"), default="lab", help=kinds)
    _photos(one)
    one.add_argument("--mixtures", type=int, help="pairs of degradations per crop (default: 2)")
    several = "(default: the weights' own); several are compared"
    views = f"views of an image that CLIP gets: resize, crops or both {several}"
    one.add_argument("--view", nargs="+", metavar="VIEW", help=views)
    window = f"side in pixels of the window of the restorer's channel means {several}"
    one.add_argument("--window", type=int, nargs="+", metavar="SIDE", help=window)
    one.add_argument("--steps", type=int, nargs="+", help=f"calls of the network {several}")
    arguments.sampler(one)
    arguments.seed(one)
    arguments.networks(one)
    one.add_argument("--no-restore", action="store_true", help="leave the restoration out")
    out = "results of each photo: an interrupted run is continued, a finished one is read"
    one.add_argument("--out", metavar="DIR", help=out)
    form = one.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the tables as JSON")
    form.add_argument("--markdown", action="store_true", help="print the tables as Markdown")

    one = arguments.command(commands, "wall", wall)
    _photos(one)
    arguments.output(one, "PNG")
    one.add_argument("--out", metavar="DIR", help="as of evaluate, and shared with it")
    arguments.networks(one)
    arguments.sampling(one)


def _photos(to: argparse.ArgumentParser) -> None:
    arguments.photos(to)
    to.add_argument("--limit", type=int, help="only the first photos, so many")
    crops = "crops per photo and degradation (default: 100 in all)"
    to.add_argument("--crops", type=int, help=crops)
    to.add_argument("--whole", action="store_true", help="whole photos instead of 64 px crops")


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
    from daclip_lab.data.image_io import OUTPUT_SUFFIXES
    from daclip_lab.evaluation.evaluation import evaluate
    from daclip_lab.evaluation.examples import examples
    from daclip_lab.figures.restoration import restoration_wall
    from daclip_lab.files.storage import check_output

    check_output(options.output, OUTPUT_SUFFIXES)
    photos = _chosen(options)
    pipe = arguments.loaded(options)
    protocol = _protocol(options, photos, steps=options.steps)
    result = evaluate(pipe, photos, protocol, out=options.out)
    figure = restoration_wall(examples(pipe, photos, result), photos=len(photos))
    figure.savefig(options.output)
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
