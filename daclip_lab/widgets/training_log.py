"""What a training says step by step, kept whole and thinned for drawing, and the loop that records it."""

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from daclip_lab.errors import InputError
from daclip_lab.figures.learning_curves import POINTS, Curve, Panel
from daclip_lab.training.loop import Step

INTERVAL = 0.25
"""Seconds from one drawing to the next, at least."""
NOT_DRAWN = ("learning_rate", "seconds")
"""Of the columns of a log these get a panel only where they are asked for."""


@dataclass
class Way:
    """One of the trainings that are compared, with all its stages."""

    curves: dict[str, Curve] = field(default_factory=dict)
    measured: dict[int, dict[str, float]] = field(default_factory=dict)
    """What was measured after so many steps."""
    stages: list[int] = field(default_factory=list)
    """The steps after which another stage began."""
    last: int = 0
    """The number of the last step, counted over all stages."""


class TrainingLog:
    """The steps of trainings and what was measured in between; several threads may use it."""

    def __init__(self):
        self.ways: dict[str, Way] = {}
        self.way = ""
        self.recorded = 0
        self._pending: list[tuple[Way, int, Step]] = []
        self._ahead = 0
        self._lock = threading.RLock()

    @property
    def stages(self) -> list[int]:
        """The steps after which another stage began, of all ways."""
        return sorted({step for way in list(self.ways.values()) for step in way.stages})

    @property
    def current(self) -> Way:
        """The way that runs."""
        return self.ways.get(self.way, Way())

    def begin(self, way: str = "") -> None:
        """The steps that follow are of a new training: another way, or the next stage of a known one."""
        with self._lock:
            self.way = way
            self.ways.setdefault(way, Way())
            self._ahead = -1  # known at its first step

    def add(self, step: Step) -> None:
        """Note a step. Its numbers stay on the device until somebody wants to see them.

        A training that was resumed goes on where the log ends; of any other the steps are counted on.
        """
        with self._lock:
            way = self.current
            if self._ahead < 0:
                self._ahead = way.last - (step.index - 1) if way.last else 0
                if way.last and step.index == 1:
                    way.stages.append(way.last)
            way.last = self._ahead + step.index
            self._pending.append((way, way.last, step))
            self.recorded += 1

    def measure(self, values: Mapping[str, float]) -> None:
        """Note what was measured after the last step; raises InputError for anything but a dict."""
        if not isinstance(values, Mapping):
            raise InputError(f"measured {values!r}: wanted a dict of numbers by name")
        with self._lock:
            self.current.measured[self.current.last] = {k: float(v) for k, v in values.items()}

    def _read(self) -> None:
        """Read all steps that wait from the device at once."""
        pending, self._pending = self._pending, []
        tensors = [
            value.detach()
            for _, _, step in pending
            for value in step.values.values()
            if isinstance(value, torch.Tensor)
        ]
        one_device = [value.to(tensors[0].device) for value in tensors]
        numbers = iter(torch.stack(one_device).tolist() if tensors else ())
        for way, index, step in pending:
            row = {
                name: next(numbers) if isinstance(value, torch.Tensor) else float(value)
                for name, value in step.values.items()
            }
            row |= {"learning_rate": step.learning_rate, "seconds": step.seconds}
            for name, value in row.items():
                way.curves.setdefault(name, Curve()).add(index, value)

    @property
    def frame(self) -> pd.DataFrame:
        """All values: a row for each step (index), columns loss, metrics, learning_rate and seconds.

        With several ways the index is (way, step).
        """
        with self._lock:
            self._read()
            return self._joined(
                lambda way: {
                    name: pd.Series(curve.values, curve.steps, dtype=float)
                    for name, curve in way.curves.items()
                }
            )

    @property
    def measurements(self) -> pd.DataFrame:
        """What was measured: a row for each of these steps, a column for each name; the index is that of `frame`."""
        with self._lock:
            return self._joined(lambda way: pd.DataFrame(way.measured, dtype=float).T)

    def _joined(self, columns: Callable[[Way], Any]) -> pd.DataFrame:
        tables = {
            name: pd.DataFrame(columns(way)).rename_axis("step") for name, way in self.ways.items()
        }
        if len(tables) < 2:
            return next(iter(tables.values()), pd.DataFrame().rename_axis("step"))
        return pd.concat(tables, names=["way"])

    def latest(self, name: str) -> float | None:
        """The last value of a column of the way that runs."""
        with self._lock:
            self._read()
            curve = self.current.curves.get(name)
            return curve.values[-1] if curve else None

    def panels(
        self,
        curves: Sequence[str] | Mapping[str, str] | None = None,
        levels: Mapping[str, Mapping[str, float]] | None = None,
        most: int = POINTS,
    ) -> list[Panel]:
        """What there is to draw: by default the loss, all metrics and all that was measured, a panel for each name."""
        levels = levels or {}
        with self._lock:
            self._read()
            ways = list(self.ways.items())
            found = [name for _, way in ways for name in way.curves if name not in NOT_DRAWN]
            found += [name for _, way in ways for row in way.measured.values() for name in row]
            names = dict.fromkeys(curves or ["loss", *found, *levels])
            titles = (
                curves if isinstance(curves, Mapping) else {name: _title(name) for name in names}
            )

            def points(way: Way, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
                measured = {k: row[name] for k, row in way.measured.items() if name in row}
                return *way.curves.get(name, Curve()).thinned(most), _points(measured)

            return [
                Panel(
                    titles[name],
                    levels.get(name, {}),
                    [(label, *points(way, name)) for label, way in ways],
                )
                for name in names
            ]


def _title(name: str) -> str:
    return name.replace("_", " ") + (" (nats)" if name.endswith("_loss") else "")


def _points(values: Mapping[int, float]) -> np.ndarray:
    kept = [(step, value) for step, value in sorted(values.items()) if math.isfinite(value)]
    return np.array(kept, float).reshape(-1, 2)


class Recorder:
    """Runs trainings and records them, and takes at most a share of their time for what is shown.

    Args:
        log: gets the steps and what is measured.
        show: draws; called at most every `INTERVAL` seconds.
        measure: makes what is measured by name, before the first step, at the moments, and after each training, which
            then holds the average of its weights.
        samples: makes images to look at; called at the same moments, but in between only where the share allows it.
        moments: a number of steps, or the steps after which measurements are made.
        share: of the time of the training, for `show` and `samples`.
        factor: the factor of the learning rate.
    """

    def __init__(
        self,
        log: TrainingLog,
        *,
        show: Callable[[Sequence | None], None],
        measure: Callable[[], Mapping[str, float]] | None = None,
        samples: Callable[[], Sequence] | None = None,
        moments: int | Collection[int] = 100,
        share: float = 0.02,
        factor: Callable[[], float] = lambda: 1.0,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.log, self.share, self.factor, self.clock = log, share, factor, clock
        self._show, self._measure, self._samples, self._moments = show, measure, samples, moments
        self.seconds = dict.fromkeys(("training", "own", "measuring"), 0.0)
        """Of the training; of what is shown while it runs; of `measure`, and of all before and after it."""
        self._spent, self._last = ({"show": 0.0, "samples": 0.0} for _ in range(2))
        self._shown, self._wanted = -math.inf, False

    @property
    def overhead(self) -> float:
        """The time of `show`, and of `samples` between two steps, as a share of the training's."""
        return self.seconds["own"] / self.seconds["training"] if self.seconds["training"] else 0.0

    def run(self, ways: Mapping[str, Iterable[Iterable[Step]]]) -> Iterator[Step]:
        """The steps of the trainings of each way, one after another; closing the iterator closes the training."""
        for way, trainings in ways.items():
            for training in trainings:
                self.log.begin(way)
                if self.log.current.last not in self.log.current.measured:
                    self._look()
                yield from self._follow(training)
                self._look()

    def _follow(self, training: Iterable[Step]) -> Iterator[Step]:
        steps: Any = iter(training)
        sent = 1.0
        begun = False
        try:
            while True:
                start = self.clock()
                factor = self.factor()
                try:
                    if begun and factor != sent and hasattr(steps, "send"):
                        step = steps.send(factor)
                        sent = factor
                    else:
                        step = next(steps)
                except StopIteration:
                    return
                finally:
                    self.seconds["training"] += self.clock() - start
                begun = True
                self._note(step)
                yield step
        finally:
            if hasattr(steps, "close"):
                steps.close()

    def _note(self, step: Step) -> None:
        start, before = self.clock(), self.seconds["measuring"]
        self.log.add(step)
        last, moments = self.log.current.last, self._moments
        if last % moments == 0 if isinstance(moments, int) else last in moments:
            self._wanted = self._samples is not None
            self._take()
        kind = "samples" if self._wanted and self._affords("samples") else "show"
        if kind == "samples" or (self.clock() - self._shown >= INTERVAL and self._affords("show")):
            self._draw(kind == "samples")
        spent = self.clock() - start - (self.seconds["measuring"] - before)
        self._spent[kind] += spent
        self.seconds["own"] += spent

    def _affords(self, what: str) -> bool:
        share = self.share / (2 if self._samples else 1)  # neither starves the other
        return self._spent[what] + self._last[what] <= share * self.seconds["training"]

    def _draw(self, sample: bool) -> None:
        start = self.clock()
        pictures = None
        if sample and self._samples:
            pictures, self._wanted = self._samples(), False
        self._show(pictures)
        self._shown = self.clock()
        self._last["show" if pictures is None else "samples"] = self._shown - start

    def _take(self) -> None:
        if self._measure:
            start = self.clock()
            try:
                self.log.measure(self._measure())
            finally:
                self.seconds["measuring"] += self.clock() - start

    def _look(self) -> None:
        """Measure, and show everything: before a training and after it."""
        start, before = self.clock(), self.seconds["measuring"]
        self._take()
        self._draw(True)
        self.seconds["measuring"] = before + self.clock() - start
