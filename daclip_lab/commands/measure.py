"""evaluate, calibrate: numbers about weights."""

import argparse
import json
import math

from daclip_lab.commands.options import Commands, command, sampling, weights
from daclip_lab.commands.training_data import held_out


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    one = command(commands, "evaluate", evaluate)
    one.add_argument("--data", default="bundled", help="'bundled', or a folder of clean photos")
    one.add_argument(
        "--crops", type=int, help="crops per photo and degradation (default: 100 in all)"
    )
    one.add_argument("--whole", action="store_true", help="whole photos instead of 64 px crops")
    one.add_argument("--json", action="store_true", help="print the table as JSON")
    weights(one)
    sampling(one)

    one = command(commands, "calibrate", calibrate)
    one.add_argument("--data", nargs="+", required=True, help="the folders that were trained on")
    one.add_argument("--weights", required=True, help="the folder to calibrate")


def evaluate(options: argparse.Namespace) -> None:
    """Measure classification and restoration on degraded photos."""
    from daclip_lab.analysis.evaluation import Protocol, evaluate
    from daclip_lab.data.photos import bundled, folder
    from daclip_lab.pipeline import load

    photos = bundled("test") if options.data == "bundled" else folder(options.data)
    # Few photos are looked at in many places.
    crops = options.crops
    if crops is None:
        crops = 1 if options.whole else math.ceil(100 / len(photos))
    protocol = Protocol(
        crop=None if options.whole else 64,
        crops=crops,
        steps=options.steps,
        sampler=options.sampler,
        seed=options.seed,
    )
    result = evaluate(load(options.weights), photos, protocol)
    print(json.dumps(result.to_dict(), indent=2) if options.json else result)


def calibrate(options: argparse.Namespace) -> None:
    """Fit the classifier's temperature on the photos that training held out, and keep it with the weights."""
    from dataclasses import replace

    from daclip_lab.analysis.calibration import calibrate
    from daclip_lab.data.photos import folder
    from daclip_lab.pipeline import load

    pipe = load(options.weights)
    photos = held_out(folder(*options.data))
    temperature = round(calibrate(pipe, photos), 4)
    pipe.settings = replace(pipe.settings, temperature=temperature)
    pipe.save_settings(options.weights)
    print(f"temperature {temperature}, fitted on {len(photos)} held-out photos")
