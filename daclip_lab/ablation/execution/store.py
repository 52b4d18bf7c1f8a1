"""Finished runs on disk, each under the hash of all that decides it."""

import io
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import Tensor

from daclip_lab.ablation.study import Measurements
from daclip_lab.data.image_io import to_pil
from daclip_lab.errors import InputError
from daclip_lab.files.parquet import read_parquet, write_parquet
from daclip_lab.files.storage import atomic_write, read_json, write_json

MEASURED = ("image", "photo", "degradation", "metric", "value")
"""Columns of what a run measures."""
CROP_BYTES = 10_000
"""The largest size of a crop's file."""


@dataclass(frozen=True)
class FinishedRun:
    """A run that is done, in its folder."""

    folder: Path

    @property
    def table(self) -> pd.DataFrame:
        """What it measured: the columns `MEASURED`."""
        return pd.DataFrame(read_parquet(self.folder / "table.parquet")[0])

    @property
    def seconds(self) -> float:
        """How long it took, its interruptions left out."""
        return read_json(self.folder / "run.json")["seconds"]

    @property
    def crops(self) -> list[Path]:
        """The files of its restored crops."""
        return sorted((self.folder / "crops").glob("*.webp"))


@dataclass(frozen=True)
class Store:
    """The runs below the folder of a study: finished ones, and the checkpoints of others."""

    folder: Path

    def finished(self, key: str) -> FinishedRun | None:
        """The finished run of that key, if there is one."""
        folder = self.folder / "runs" / key
        return FinishedRun(folder) if folder.is_dir() else None

    def checkpoint(self, key: str) -> Path:
        """The folder for the checkpoints of a run."""
        return self.folder / "checkpoints" / key

    @property
    def data(self) -> Path:
        """The folder for data that several runs share."""
        return self.folder / "data"

    def keep(self, key: str, measured: Measurements, seconds: float) -> None:
        """Keep a finished run, whole or not at all, and drop its checkpoints. Raises InputError as `checked` does."""
        table, target = checked(measured), self.folder / "runs" / key
        part = target.with_name(f".{key}.{os.getpid()}.part")
        shutil.rmtree(part, ignore_errors=True)
        (part / "crops").mkdir(parents=True)
        write_parquet(part / "table.parquet", {n: table[n].to_numpy() for n in MEASURED}, {})
        for name, crop in measured.crops.items():
            write_crop(part / "crops" / f"{name}.webp", crop)
        write_json(part / "run.json", {"seconds": round(seconds, 2)})
        os.replace(part, target)
        shutil.rmtree(self.checkpoint(key), ignore_errors=True)


def checked(measured: Measurements) -> pd.DataFrame:
    """The table of a run with its columns in order, text and float32.

    Raises InputError for missing columns, missing values, an image with two values of a metric, and names of crops that
    are no file names.
    """
    table = measured.table
    if missing := [name for name in MEASURED if name not in table]:
        raise InputError(f"a run's table lacks {', '.join(missing)}: wanted {', '.join(MEASURED)}")
    table = table[list(MEASURED)].astype({**dict.fromkeys(MEASURED[:-1], str), "value": "float32"})
    if table.value.isna().any():
        row = table[table.value.isna()].iloc[0]
        raise InputError(f"a run measured no number for {row.metric!r} of {row.image!r}")
    if (twice := table.duplicated(["image", "metric"])).any():
        row = table[twice].iloc[0]
        raise InputError(f"a run measured {row.metric!r} of {row.image!r} twice")
    for name in measured.crops:
        if not name or name.startswith(".") or set(name) & set('/\\:*?"<>|'):
            raise InputError(f"the name of a crop is a file name, not {name!r}")
    return table.reset_index(drop=True)


def write_crop(path: Path, crop: Tensor) -> None:
    """Write a crop (3, h, w) in [0, 1] as WebP, in the highest quality that takes at most `CROP_BYTES`."""
    picture = to_pil(crop)
    for quality in range(95, 0, -5):
        file = io.BytesIO()
        picture.save(file, format="WEBP", quality=quality, method=6)
        if file.tell() <= CROP_BYTES:
            break
    with atomic_write(path) as part:
        part.write_bytes(file.getvalue())
