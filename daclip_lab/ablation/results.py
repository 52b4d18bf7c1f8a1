"""The results of a study on disk: one tidy table, the crops that each run restored, and what was run.

A folder holds `results.parquet` and `results.csv`, `study.json`, and `crops/<variant>/<seed>/<crop>.webp`.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from PIL import Image

from daclip_lab.errors import InputError
from daclip_lab.files.storage import read_json

COLUMNS = ("study", "variant", "seed", "image", "photo", "degradation", "metric", "value")
"""Columns of the table; seed is an integer, value a float, the others are text."""


@dataclass(frozen=True)
class StudyResults:
    """The results in a folder, finished or not."""

    folder: Path

    @cached_property
    def table(self) -> "pd.DataFrame":
        """A row for each run, image and metric, with the columns `COLUMNS`."""
        raise NotImplementedError

    @cached_property
    def info(self) -> dict:
        """What was run: name, question, baseline, metric, unit, variants, comparisons, command, machine, seconds, ..."""
        return read_json(self.folder / "study.json")

    def crop_names(self) -> list[str]:
        """Names of the crops that every run restored; "degraded" and "clean" versions are read by `crop` too."""
        raise NotImplementedError

    def crop(self, variant: str, seed: int, name: str) -> Image.Image:
        """A crop as a run restored it; the variants "degraded" and "clean" (any seed) are what it was given and the truth.

        Raises InputError where there is none.
        """
        raise InputError(f"{self.folder} holds no crop {name!r} of {variant!r}, seed {seed}")
