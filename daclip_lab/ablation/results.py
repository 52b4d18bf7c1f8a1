"""The results of a study on disk: one tidy table, the crops that each run restored, and what was run.

A folder holds `results.parquet` and `results.csv`, `study.json`, and `crops/<variant>/<seed>/<crop>.webp`.
"""

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from PIL import Image

from daclip_lab.ablation.study import RESERVED, slug
from daclip_lab.errors import InputError
from daclip_lab.files.parquet import read_parquet
from daclip_lab.files.storage import check_output_folder, read_json

COLUMNS = ("study", "variant", "seed", "image", "photo", "degradation", "metric", "value")
"""Columns of the table; seed is an integer, value a float, the others are text."""
TEXT = ("study", "variant", "image", "photo", "degradation", "metric")
PUBLISHED = Path(__file__).with_name("published")
"""The folder of the results that come with the package."""


@dataclass(frozen=True)
class StudyResults:
    """The results in a folder, finished or not."""

    folder: Path

    @classmethod
    def read(cls, folder: str | Path) -> "StudyResults":
        """The results in a folder; raises InputError where it holds none."""
        folder = Path(folder)
        for name in ("study.json", "results.parquet"):
            if not (folder / name).is_file():
                raise InputError(f"{folder} holds no results of a study: no {name}")
        return cls(folder)

    @classmethod
    def published(cls, name: str) -> "StudyResults":
        """The results of a study that come with the package; raises InputError where it was not run."""
        folder = PUBLISHED / name
        if not (folder / "study.json").is_file():
            known = ", ".join(sorted(file.parent.name for file in PUBLISHED.glob("*/study.json")))
            raise InputError(f"no results of {name!r} are published: {known or 'none are'}")
        return cls.read(folder)

    @cached_property
    def table(self) -> "pd.DataFrame":
        """A row for each run, image and metric, with the columns `COLUMNS`; text as categories."""
        table = pd.DataFrame(read_parquet(self.folder / "results.parquet")[0])
        for name in TEXT:
            table[name] = pd.Categorical(table[name], categories=table[name].unique())
        return table

    @cached_property
    def info(self) -> dict:
        """What was run: name, question, baseline, metric, unit, variants, comparisons, command, machine, seconds."""
        return read_json(self.folder / "study.json")

    @property
    def variants(self) -> list[str]:
        """The variants that have a finished run, in the order of the study."""
        return list(self.table.variant.unique())

    @property
    def seeds(self) -> list[int]:
        """The seeds that have a finished run."""
        return sorted(map(int, self.table.seed.unique()))

    @property
    def metrics(self) -> list[str]:
        """The metrics of the table."""
        return list(self.table.metric.unique())

    def crop_names(self) -> list[str]:
        """Names of the crops that every run restored; "degraded" and "clean" versions are read by `crop` too."""
        return sorted({file.stem for file in (self.folder / "crops").glob("*/*/*.webp")})

    def crop(self, variant: str, seed: int, name: str) -> Image.Image:
        """A crop as a run restored it; "degraded" and "clean" (any seed) are what it was given and the truth.

        Raises InputError where there is none.
        """
        folder = self.folder / "crops" / slug(variant)
        file = (folder if variant in RESERVED else folder / str(seed)) / f"{name}.webp"
        if not file.is_file():
            raise InputError(f"{self.folder} holds no crop {name!r} of {variant!r}, seed {seed}")
        with Image.open(file) as picture:
            return picture.convert("RGB")

    def publish(self, to: str | Path, crops_of_seed: int = 0) -> "StudyResults":
        """Copy what is worth committing into a folder, which it replaces.

        These are the table as Parquet, the description, and the crops of one seed.
        """
        to = check_output_folder(to)
        if to.exists() and not (to / "study.json").is_file() and any(to.iterdir()):
            raise InputError(f"{to} is not empty and holds no study: name another folder")
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True)
        for name in ("study.json", "results.parquet"):
            shutil.copyfile(self.folder / name, to / name)
        for file in sorted((self.folder / "crops").rglob("*.webp")):
            inside = file.relative_to(self.folder)
            if inside.parts[1] in RESERVED or inside.parts[2] == str(crops_of_seed):
                (to / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, to / inside)
        return StudyResults.read(to)
