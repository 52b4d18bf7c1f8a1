"""Runs a study in the background of a notebook."""

import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from daclip_lab.ablation.engine import Progress, run_study
from daclip_lab.ablation.results import StudyResults
from daclip_lab.ablation.study import Study

if TYPE_CHECKING:
    from tqdm.auto import tqdm


BAR = "{desc}: {percentage:3.0f} %|{bar}| {n_fmt} of {total_fmt} runs, {elapsed}{postfix}"
"""The format of bars of runs: tqdm's own estimate of the time left counts ends only."""


class StudyRunner:
    """A study that runs while the notebook goes on, with a bar that shows how far it is.

    ```python
    runner = StudyRunner(lab.study("injection"), "runs/injection", parallel=2)
    runner.results.table  # so far
    runner.stop()         # the same call goes on later
    results = runner.wait()
    ```

    `options` are those of `engine.run_study`. Raises InputError at once for arguments that cannot be used.
    """

    def __init__(self, study: Study, out: str | Path, **options):
        from tqdm.auto import tqdm

        self.out = Path(out)
        self.progress: Progress | None = None
        """The latest; None before the first."""
        self._error: BaseException | None = None
        self._stopping = threading.Event()
        self._runs = run_study(study, out, **options)
        self._bar = tqdm(total=None, desc=study.name, bar_format=BAR)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    @property
    def results(self) -> StudyResults:
        """The results so far; raises InputError before there are any."""
        return StudyResults.read(self.out)

    @property
    def busy(self) -> bool:
        """Whether it is still running."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop all runs, which keep checkpoints, and wait for that."""
        self._stopping.set()
        self._thread.join()

    def wait(self) -> StudyResults:
        """Wait for the end; raises what went wrong."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self.results

    def _follow(self) -> None:
        try:
            with closing(self._runs):
                for progress in self._runs:
                    self.progress = progress
                    show(progress, self._bar)
                    if self._stopping.is_set():
                        break
        except BaseException as error:  # it is raised in the thread that waits
            self._error = error
        finally:
            self._bar.close()


def show(progress: Progress, bar: "tqdm") -> None:
    """Bring a bar of runs up to date, with the time left behind it."""
    bar.total = progress.total
    done = round(progress.finished + sum(progress.running.values()), 2)
    rest = left(progress.seconds_left)
    if (done, rest) != (bar.n, bar.postfix):
        bar.n = done
        bar.set_postfix_str(rest)


def left(seconds: float | None) -> str:
    """The time that is left, in words."""
    if seconds is None:
        return "time left not known yet"
    minutes = seconds / 60
    if minutes < 1:
        return f"{seconds:.0f} s left"
    return f"{minutes:.0f} min left" if minutes < 90 else f"{minutes / 60:.1f} h left"
