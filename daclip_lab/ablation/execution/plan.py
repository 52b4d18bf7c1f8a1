"""What a call of the engine is to do, checked before anything is done."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from daclip_lab.ablation.execution import machine
from daclip_lab.ablation.execution.code_hash import own_code_hash
from daclip_lab.ablation.execution.encoding import classes, encode
from daclip_lab.ablation.execution.job import Setup, import_modules
from daclip_lab.ablation.study import Context, Study
from daclip_lab.data.photos import Photos
from daclip_lab.errors import InputError
from daclip_lab.files.storage import file_hash

Run = tuple[str, int]
"""Variant and seed."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A study, and how to run it; raises InputError as `engine.run_study` does."""

    study: Study
    out: Path
    seeds: int
    variants: tuple[str, ...]
    parallel: int
    setup: Setup
    command: str

    def __post_init__(self):
        if self.seeds < 1:
            raise InputError(f"seeds={self.seeds}: wanted 1 or more")
        if self.parallel < 0:
            raise InputError(f"parallel={self.parallel}: wanted 0 (this process) or more workers")
        trained_on = {file_hash(path): path for path in self.setup.train}
        for path in self.setup.test:
            if (same := trained_on.get(file_hash(path))) is not None:
                raise InputError(
                    f"{path} is to be tested on and trained on, as {same}: take others"
                )
        import_modules(self.setup.imports)
        for name in self.variants:
            self._check_sendable(name)

    def _check_sendable(self, variant: str) -> None:
        trial = self.study.trial_of(variant)
        encode(trial)  # refuses what is not plain
        for kind in classes(trial):
            if self.parallel and (kind.__module__ == "__main__" or "<locals>" in kind.__qualname__):
                raise InputError(
                    f"{kind.__qualname__} is defined in a notebook or a function, where workers cannot find it: "
                    "use parallel=0, or write it into a module and name that in imports"
                )

    def runs(self) -> list[Run]:
        """All runs, seed by seed, so that early results compare all variants."""
        return [(variant, seed) for seed in range(self.seeds) for variant in self.variants]

    def keys(self, context: Context) -> dict[Run, str]:
        """The hashes of all runs of the study, seed by seed; also of those that this call leaves out."""
        photos = [context.train.content_hash, context.test.content_hash]
        shared = [context.pipe.fingerprint, photos, self.setup.code]
        found = {}
        for seed in range(max(self.seeds, self.study.seeds)):
            for variant in self.study.variants:
                trial = self.study.trial_of(variant.name)
                own = own_code_hash(trial, self.setup.imports)
                text = json.dumps([encode(trial), seed, *shared, own], sort_keys=True)
                found[variant.name, seed] = hashlib.sha256(text.encode()).hexdigest()[:20]
        return found

    def about(self, context: Context, started: str, wall: float, before: dict) -> dict:
        """What the description of the results says besides the study.

        `before` is the description of the call that did the runs, where this one finds everything done.
        """
        call = {
            "command": self.command,
            "started": started,
            "parallel": self.parallel,
            "wall_seconds": round(wall, 1),
            "machine": machine.machine(torch.device(self.setup.device)),
            "versions": machine.versions(),
        }
        return {
            "seeds": list(range(self.seeds)),
            "photos": {"train": _about(context.train), "test": _about(context.test)},
            "weights": context.pipe.fingerprint,
            "code": self.setup.code,
            **{name: before.get(name, value) for name, value in call.items()},
        }


def paths_of(photos: Photos) -> tuple[str, ...]:
    """The paths of photos, from any working directory."""
    return tuple(str(path.absolute()) for path in photos.paths)


def _about(photos: Photos) -> dict:
    names = [path.stem for path in photos.paths]
    return {"count": len(photos), "names": names, "hash": photos.content_hash[:12]}
