"""A trial without networks, for tests of the study engine: it counts, and its numbers follow from settings and seed."""

import json
import os
import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace

import pandas as pd
import torch

from daclip_lab.ablation.study import Context, Measurements, Study, Variant


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A part of the trial."""

    gain: float = 1.0
    names: tuple[str, ...] = ("hazy", "noisy")


@dataclass(frozen=True, kw_only=True)
class Counting:
    """Counts to `steps`; the checkpoint is the number reached."""

    steps: int = 3
    pause: float = 0.0
    """Seconds a step."""
    inner: Inner = Inner()
    options: dict = field(default_factory=dict)
    fault: str = ""
    """How it fails, if it does."""
    crops: bool = False

    def smoke(self) -> "Counting":
        """The same with one step."""
        return replace(self, steps=1)

    def run(self, seed: int, context: Context) -> Generator[float, None, Measurements]:
        """Each step appends a line to `steps.txt` in the cache."""
        state, log = context.run / "state.json", context.cache / "steps.txt"
        done, total = json.loads(state.read_text()) if state.exists() else (0, 0.0)
        try:
            while done < self.steps:
                if self.fault == "error":
                    raise ValueError("a wheel\ncame off")
                if self.fault == "death":
                    os._exit(7)
                done += 1
                total += self.inner.gain / (seed + done)
                with log.open("a") as file:
                    file.write(f"{os.getpid()} {self.inner.gain} {seed} {done}\n")
                time.sleep(self.pause)
                yield done / self.steps
        finally:
            state.write_text(json.dumps([done, total]))
        rows = [
            (f"{name} {part}", name, part, "gain at 64 px", total + len(part))
            for name in context.test.names
            for part in self.inner.names
        ]
        columns = ["image", "photo", "degradation", "metric", "value"]
        noise = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(seed))
        return Measurements(
            pd.DataFrame(rows, columns=columns), {"otter-snowy": noise} if self.crops else {}
        )


STUDY = Study(
    name="counting",
    question="Does it count?",
    trial=Counting(),
    variants=(
        Variant(name="one"),
        Variant(name="two", change={"inner.gain": 2.0}, about="twice as much"),
        Variant(name="three", change={"inner.gain": 3.0, "options.names": ("a", "b")}),
    ),
    baseline="one",
    metric="gain at 64 px",
    seeds=2,
)


def finish(running):
    """Run a trial's generator to its end: what it yields, and what it returns."""
    shares = []
    while True:
        try:
            shares.append(next(running))
        except StopIteration as end:
            return shares, end.value
