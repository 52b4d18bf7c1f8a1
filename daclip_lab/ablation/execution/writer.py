"""The results of a study as people read them, made of its finished runs; rewritten after each of these."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from daclip_lab.ablation.execution.plan import Run
from daclip_lab.ablation.execution.store import FinishedRun, write_crop
from daclip_lab.ablation.results import COLUMNS
from daclip_lab.ablation.study import Study, slug
from daclip_lab.ablation.tasks.exam import eight_crops
from daclip_lab.errors import InputError
from daclip_lab.files.parquet import write_parquet
from daclip_lab.files.storage import atomic_write, check_output_folder, read_json, write_json


class ResultsWriter:
    """Writes `results.parquet`, `results.csv`, `study.json` and `crops` of a study into a folder.

    Raises InputError where the folder holds another study, or crops that are not of one.
    """

    def __init__(self, study: Study, out: str | Path):
        self.study, self.out = study, check_output_folder(out)
        self._tables: dict[Run, pd.DataFrame] = {}
        self._seconds: dict[Run, float] = {}
        self.before: dict = {}
        """The description of an earlier call."""
        if (self.out / "study.json").is_file():
            self.before = read_json(self.out / "study.json")
            if self.before.get("name") != study.name:
                other = self.before.get("name")
                raise InputError(f"{out} holds the study {other!r}: name another folder")
        elif (self.out / "crops").exists():
            raise InputError(f"{out} holds crops that are of no study: name another folder")

    def clear_crops(self) -> None:
        """Remove crops of earlier calls: `add` copies those that belong to the study now."""
        shutil.rmtree(self.out / "crops", ignore_errors=True)

    def add(self, run: Run, finished: FinishedRun) -> None:
        """Add a finished run; `write` puts it into the table."""
        variant, seed = run
        table = finished.table.assign(study=self.study.name, variant=variant, seed=seed)
        self._tables[run], self._seconds[run] = table[list(COLUMNS)], finished.seconds
        for file in finished.crops:
            with atomic_write(self.out / "crops" / slug(variant) / str(seed) / file.name) as part:
                shutil.copyfile(file, part)

    def write(self, about: Mapping[str, Any]) -> None:
        """Write table and description, to which `about` adds, and once the crops as they were given to the runs."""
        crops = self.out / "crops"
        if any(crops.glob("*/*/*.webp")) and not (crops / "clean").exists():
            eight = eight_crops()
            for name, clean, degraded in zip(
                eight.facts.image, eight.clean, eight.degraded, strict=True
            ):
                write_crop(crops / "degraded" / f"{name}.webp", degraded)
                write_crop(crops / "clean" / f"{name}.webp", clean)
        order = {variant.name: k for k, variant in enumerate(self.study.variants)}
        runs = sorted(self._tables, key=lambda run: (order[run[0]], run[1]))
        empty = pd.DataFrame({name: pd.Series(dtype=str) for name in COLUMNS})
        table = pd.concat([self._tables[run] for run in runs]) if runs else empty
        table = table.astype({"seed": "int32", "value": "float32"})
        columns = {name: table[name].to_numpy() for name in COLUMNS}
        write_parquet(self.out / "results.parquet", columns, {"study": self.study.name})
        with atomic_write(self.out / "results.csv") as part:
            table.to_csv(part, index=False)
        seconds: dict[str, dict[str, float]] = {}
        for variant, seed in runs:
            seconds.setdefault(variant, {})[str(seed)] = self._seconds[variant, seed]
        study = self.study
        write_json(
            self.out / "study.json",
            {
                "name": study.name,
                "question": study.question,
                "baseline": study.baseline,
                "metric": study.metric,
                "unit": study.unit,
                "comparisons": [list(pair) for pair in study.comparisons],
                "variants": [
                    {"name": each.name, "about": each.about, "change": plain(each.change)}
                    for each in study.variants
                ],
                **about,
                "seconds": {"all_runs": round(sum(self._seconds.values()), 1), "runs": seconds},
            },
        )


def plain(value: Any) -> Any:
    """A value for people to read in JSON; dataclasses as their code."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)
