"""evaluate --protocol paper: numbers that stand beside the paper's."""

import argparse
import json

from daclip_lab.commands.arguments import loaded
from daclip_lab.errors import InputError

LAB_ONLY = ("limit", "crops", "whole", "view", "window", "mixtures", "no_restore", "markdown")
"""Options of `evaluate` that would change what the paper does, or how it is told."""


def run(options: argparse.Namespace) -> None:
    """Measure classification and restoration on real test pairs, the way the paper does."""
    from daclip_lab.evaluation.paper_protocol import PaperProtocol, measure

    for name in LAB_ONLY:
        if getattr(options, name) is not None and getattr(options, name) is not False:
            raise InputError(f"--{name.replace('_', '-')} has no place in --protocol paper")
    protocol = PaperProtocol(steps=options.steps, sampler=options.sampler, seed=options.seed)
    table = measure(loaded(options), options.data, protocol, out=options.out)
    print(json.dumps(table.to_dict(), indent=2) if options.json else table)
