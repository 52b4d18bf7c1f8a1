"""Runs a study: every variant under every seed, in this process or in several, kept, and resumed after any end.

What a run is known by is the hash of its trial, its seed, the weights, the contents of the photos and the code that
matters: one that is in the folder is not done again, also where its variant has another name now.
"""

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from daclip_lab.ablation.execution import machine
from daclip_lab.ablation.execution.code_hash import code_hash
from daclip_lab.ablation.execution.job import Job, Setup, one_after_another
from daclip_lab.ablation.execution.lock import locked
from daclip_lab.ablation.execution.plan import Plan, Run, paths_of
from daclip_lab.ablation.execution.pool import side_by_side
from daclip_lab.ablation.execution.progress import Progress, Tracker
from daclip_lab.ablation.execution.store import Store
from daclip_lab.ablation.execution.writer import ResultsWriter
from daclip_lab.ablation.study import Study
from daclip_lab.data.photos import Photos, sample_photos
from daclip_lab.errors import InputError
from daclip_lab.files.storage import check_output_folder


def run_study(
    study: Study,
    out: str | Path,
    *,
    seeds: int | None = None,
    variants: Sequence[str] | None = None,
    train: Photos | None = None,
    test: Photos | None = None,
    parallel: int = 1,
    device: str | None = None,
    imports: Sequence[str] = (),
    weights: str | Path = "lab",
    command: str | None = None,
) -> Generator[Progress, None, None]:
    """Do the runs of a study that are not done yet, seed by seed; yields the progress, now and then.

    Closing the generator stops all runs, each of which keeps a checkpoint; a later call goes on. `out` holds the
    results at any time, see `ablation.results`, and beside them `cache`: finished runs, checkpoints and shared data.

    Args:
        seeds: runs of each variant (default: the study's); the seeds are 0, 1, ...
        variants: only these, by name. Earlier results of others stay in the table.
        train, test: photos (default: `sample_photos`).
        parallel: worker processes. 0 runs in this process, as is needed for trials and restorers that a notebook
            defines.
        device: "cpu" or "cuda" (default: cuda where there is one).
        imports: modules that a worker imports first, such as one that registers a restorer.
        weights: a folder, or shipped weights by name.
        command: how this was called, for the description of the results.

    Raises InputError for an unknown variant, a test photo that is also a training photo, trials that cannot be sent to
    workers, or a folder that another process uses or that holds another study. Where runs failed, an InputError lists
    them after the others are done.
    """
    if parallel:
        # Workers import the code as it is on disk now; this process goes on with what it has imported.
        code_hash.cache_clear()
    plan = Plan(
        study=study,
        out=Path(out),
        seeds=study.seeds if seeds is None else seeds,
        variants=tuple(study.variant(name).name for name in variants)
        if variants is not None
        else tuple(variant.name for variant in study.variants),
        parallel=parallel,
        setup=Setup(
            weights=str(weights),
            train=paths_of(sample_photos("train") if train is None else train),
            test=paths_of(sample_photos("test") if test is None else test),
            device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
            store=str(Path(out) / "cache"),
            imports=tuple(imports),
            threads=max(1, machine.cores() // parallel) if parallel > 0 else None,
        ),
        command=command or f"run_study({study.name!r}, parallel={parallel})",
    )
    return _run(plan)


def _run(plan: Plan) -> Generator[Progress, None, None]:
    check_output_folder(plan.out).mkdir(parents=True, exist_ok=True)
    with locked(plan.out) as lock:
        writer, store = ResultsWriter(plan.study, plan.out), Store(Path(plan.setup.store))
        # With workers, this process has no use for the GPU.
        own = replace(plan.setup, device="cpu") if plan.parallel else plan.setup
        context = own.context()
        keys = plan.keys(context)
        writer.clear_crops()
        for run, key in keys.items():
            if found := store.finished(key):
                writer.add(run, found)
        runs: dict[str, list[Run]] = {}
        for run in plan.runs():
            runs.setdefault(keys[run], []).append(run)
        finished = {key for key in runs if store.finished(key)}
        jobs = [
            Job(key, plan.study.trial_of(variant), seed)
            for key, ((variant, seed), *_) in runs.items()
            if key not in finished
        ]
        start, started = time.monotonic(), datetime.now(UTC).isoformat("T", "seconds")

        def write() -> None:
            before = {} if jobs else writer.before
            writer.write(plan.about(context, started, time.monotonic() - start, before))

        write()
        tracker = Tracker(runs, finished, plan.parallel or 1)
        yield tracker.progress()
        events = (
            side_by_side(jobs, plan.setup, plan.parallel, lock)
            if plan.parallel
            else one_after_another(jobs, context, store)
        )
        with closing(events):
            for event in events:
                if event is not None:
                    tracker.note(event)
                    if event.done and (found := store.finished(event.key)):
                        for run in runs[event.key]:
                            writer.add(run, found)
                        write()
                yield tracker.progress()
    if failed := tracker.failed:
        several = "; ".join(f"{name}, seed {k}: {error}" for (name, k), error in failed.items())
        raise InputError(f"{len(failed)} of {len(plan.runs())} runs failed: {several}")
