"""One run of a study, from its trial to its place in the store."""

import json
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from daclip_lab.ablation.execution.code_hash import code_hash
from daclip_lab.ablation.execution.store import Store
from daclip_lab.ablation.study import Context, Trial
from daclip_lab.data.photos import Photos
from daclip_lab.errors import InputError
from daclip_lab.files.storage import write_text
from daclip_lab.pipeline.loading import load
from daclip_lab.pipeline.running import usable_device


class Job(NamedTuple):
    """A run that is to be done."""

    key: str
    """The hash of all that decides it."""
    trial: Trial
    seed: int


class Event(NamedTuple):
    """What happened to a run."""

    key: str
    share: float
    """Of the run that is done; 1 once it is in the store."""
    done: bool = False
    """Whether it has ended, well or not."""
    error: str | None = None
    """What it failed with."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a process needs to know before its first run; all of it can be written as JSON."""

    weights: str
    """A folder, or shipped weights by name."""
    train: tuple[str, ...]
    test: tuple[str, ...]
    """Paths of photos."""
    device: str
    store: str
    """The folder of the store."""
    imports: tuple[str, ...] = ()
    """Modules to import first."""
    threads: int | None = None
    """Of torch; None leaves them as they are."""
    code: str = field(default_factory=code_hash)
    """The hash of the code that the runs are known by."""

    def context(self) -> Context:
        """Import the modules, load the weights, list the photos.

        Raises InputError where the code is not that of the process that made the set-up.
        """
        import_modules(self.imports)
        if self.code != code_hash():
            raise InputError("the code has changed since the study was started: start it again")
        train, test = (Photos([Path(path) for path in part]) for part in (self.train, self.test))
        device, cache = usable_device(self.device), Store(Path(self.store)).data
        cache.mkdir(parents=True, exist_ok=True)
        pipe = load(self.weights, device=device)
        return Context(pipe=pipe, train=train, test=test, device=device, cache=cache)


def import_modules(names: tuple[str, ...]) -> None:
    """Import modules by name, such as one that registers a restorer; an InputError names one that cannot be."""
    for name in names:
        try:
            import_module(name)
        except ImportError as error:
            raise InputError(f"the module {name!r} cannot be imported: {error}") from None


def execute(job: Job, context: Context, store: Store) -> Generator[float, None, None]:
    """Do a run and keep it; yields the share that is done. When closed, the trial keeps its checkpoint."""
    folder = store.checkpoint(job.key)
    folder.mkdir(parents=True, exist_ok=True)
    clock, earlier, started = folder / "seconds.json", 0.0, time.perf_counter()
    if clock.is_file():
        earlier = json.loads(clock.read_text("utf-8"))
    running = job.trial.run(job.seed, replace(context, run=folder))
    try:
        with closing(running):
            while True:
                try:
                    share = next(running)
                except StopIteration as end:
                    measured = end.value
                    break
                yield float(share)
    finally:
        seconds = earlier + time.perf_counter() - started
        write_text(clock, json.dumps(seconds))
    store.keep(job.key, measured, seconds)


def one_after_another(
    jobs: list[Job], context: Context, store: Store
) -> Generator[Event, None, None]:
    """Do runs in this process; one that fails does not stop the others."""
    for job in jobs:
        yield Event(job.key, 0.0)
        try:
            with closing(execute(job, context, store)) as shares:
                for share in shares:
                    yield Event(job.key, share)
            end = Event(job.key, 1.0, done=True)
        except Exception as error:
            end = Event(job.key, 0.0, done=True, error=in_words(error))
        yield end


def in_words(error: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
