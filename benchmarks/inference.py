"""Where the time goes for one photo of 481x321 pixels, from image to probabilities and from image to image."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from unittest.mock import patch

import pandas as pd
import torch
from torch import nn

from daclip_lab.data.seeding import seeded
from daclip_lab.pipeline import encoding
from daclip_lab.pipeline.loading import load
from daclip_lab.pipeline.pipeline import Pipeline

THREADS = (1, 2)
ROUNDS = 7
FIRST = "text (first call only)"
REST = "rest"
RESTORER = {
    **dict.fromkeys(("intro", "encoder", "down"), "restorer, encoder"),
    "middle": "restorer, middle",
    **dict.fromkeys(("decoder", "up", "outro"), "restorer, decoder"),
}
"""The stage of each child of a NAFNet."""


class Stopwatch:
    """Seconds spent in each stage, without those of the stages inside it."""

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[tuple[str, float]] = []

    def enter(self, stage: str) -> None:
        """Begin a stage, inside the one that is open."""
        self._open.append((stage, time.perf_counter()))

    def leave(self) -> None:
        """End the stage that was begun last."""
        stage, start = self._open.pop()
        elapsed = time.perf_counter() - start
        self.seconds[stage] += elapsed
        if self._open:
            self.seconds[self._open[-1][0]] -= elapsed

    def watch(self, stage: str, module: nn.Module) -> None:
        """Every call of a module is a stage."""
        module.register_forward_pre_hook(lambda *_: self.enter(stage))
        module.register_forward_hook(lambda *_: self.leave())

    def wrapped(self, stage: str, function: Callable) -> Callable:
        """A function whose every call is a stage."""

        def call(*args, **options):
            self.enter(stage)
            try:
                return function(*args, **options)
            finally:
                self.leave()

        return call


def table(weights: str, *, toy: bool) -> pd.DataFrame:
    """Seconds and share of each stage of classifying and of restoring, by the number of threads: medians of some runs.

    The numbers of threads take turns. The text is encoded once for each pipeline, not once for each photo.
    """
    photo = torch.rand(3, *((48, 64) if toy else (321, 481)), generator=seeded(0))
    pipe = load(weights)
    operations = {
        "classify": lambda: pipe.classify(photo),
        "restore": lambda: pipe.restore(photo, output_type="pt", progress=False),
    }
    found: dict[tuple, list[float]] = defaultdict(list)
    before = torch.get_num_threads()
    try:
        start = time.perf_counter()
        _ = pipe.word_embeddings
        first = time.perf_counter() - start
        with watched(pipe) as clock:
            for turn in range(1 + (1 if toy else ROUNDS)):
                for threads in THREADS:
                    torch.set_num_threads(threads)
                    for name, call in operations.items():
                        clock.seconds.clear()
                        clock.wrapped(REST, call)()
                        if turn:  # the first is the warm-up
                            for stage, seconds in clock.seconds.items():
                                found[name, stage, threads].append(seconds)
                            total = sum(clock.seconds.values())
                            found[name, "total", threads].append(total)
    finally:
        torch.set_num_threads(before)
    rows = pd.Series({key: median(values) for key, values in found.items()}).unstack(sort=False)
    rows.index.names = ["", "stage"]
    shares = rows / rows.xs("total", level="stage").reindex(rows.index, level=0)
    plural = {n: f"{n} thread{'s' * (n > 1)}" for n in rows}
    result = pd.concat(
        [
            rows.rename(columns=lambda n: f"seconds, {plural[n]}"),
            shares.rename(columns=lambda n: f"share, {plural[n]}"),
        ],
        axis=1,
    )
    result.loc[("classify", FIRST), f"seconds, {plural[THREADS[-1]]}"] = first
    return result


@contextmanager
def watched(pipe: Pipeline) -> Iterator[Stopwatch]:
    """Inside, a stopwatch runs on the stages of a pipeline, which must not be used for anything else afterwards."""
    clock, daclip, restorer = Stopwatch(), pipe.require_daclip(), pipe.require_restorer()
    clock.watch("controller, blocks", daclip.controller)
    clock.watch("controller, front end", daclip.controller.visual.conv1)
    clock.watch("CLIP, front end", daclip.clip.visual.conv1)
    for block in daclip.clip.visual.transformer.resblocks:
        clock.watch("CLIP, blocks", block)
    clock.watch("restorer, rest", restorer)
    for name, child in restorer.named_children():
        if name in RESTORER:
            for module in called_modules(child):
                clock.watch(RESTORER[name], module)
    with patch.object(encoding, "views", clock.wrapped("views", encoding.views)):
        yield clock


def called_modules(module: nn.Module) -> Iterator[nn.Module]:
    """A module, or those inside a list of modules, which itself is never called."""
    if isinstance(module, nn.ModuleList):
        for child in module:
            yield from called_modules(child)
    else:
        yield module
