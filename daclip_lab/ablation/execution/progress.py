"""How far a study is, and how long it will take."""

import time
from dataclasses import dataclass, field

from daclip_lab.ablation.execution.job import Event
from daclip_lab.ablation.execution.plan import Run


@dataclass(frozen=True)
class Progress:
    """How far a study is."""

    finished: int
    """Runs that are done, earlier ones included."""
    total: int
    running: dict[Run, float]
    """The share that is done of each run in progress, by variant and seed."""
    seconds_left: float | None
    """Estimated from the runs so far; None before there is anything to go by."""
    latest: Run | None = None
    """The run that has ended last."""
    failed: dict[Run, str] = field(default_factory=dict)
    """Runs that failed, each with its error."""


class Tracker:
    """The progress of a study, from what happens to its runs.

    Args:
        runs: the runs of each key: variants of the same trial share theirs.
        finished: keys that were there before.
        workers: runs at a time.
    """

    def __init__(self, runs: dict[str, list[Run]], finished: set[str], workers: int):
        self.runs, self.workers = runs, workers
        self.failed: dict[Run, str] = {}
        self._total = sum(map(len, runs.values()))
        self._waiting = set(runs) - finished
        self._finished = sum(len(runs[key]) for key in finished)
        self._shares: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        self._seconds: list[float] = []
        self._latest: Run | None = None

    def note(self, event: Event) -> None:
        """Take what happened into account."""
        now, runs = time.monotonic(), self.runs[event.key]
        self._waiting.discard(event.key)
        begun = self._begun.setdefault(event.key, now)
        self._shares[event.key] = event.share
        if event.done:
            del self._shares[event.key]
            self._latest = runs[0]
            if event.error is None:
                self._seconds.append(now - begun)
                self._finished += len(runs)
            else:
                self.failed |= dict.fromkeys(runs, event.error)

    def progress(self) -> Progress:
        """How far the study is now."""
        return Progress(
            finished=self._finished,
            total=self._total,
            running={run: share for key, share in self._shares.items() for run in self.runs[key]},
            seconds_left=self._seconds_left(),
            latest=self._latest,
            failed=dict(self.failed),
        )

    def _seconds_left(self) -> float | None:
        """The work ahead in runs, times the mean seconds of one, divided by the runs at a time."""
        ahead = len(self._waiting) + len(self._shares)
        if not ahead:
            return 0.0
        now = time.monotonic()
        # Before the first end, what the running ones took for their shares.
        seconds = self._seconds or [
            (now - self._begun[key]) / share for key, share in self._shares.items() if share > 0.02
        ]
        if not seconds:
            return None
        work = len(self._waiting) + sum(1 - share for share in self._shares.values())
        return work * sum(seconds) / len(seconds) / min(self.workers, ahead)
