"""Tables of embeddings with one row per image: Parquet files, and tables made piece by piece that can be resumed."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from daclip_lab.data.image_io import read_image
from daclip_lab.errors import InputError
from daclip_lab.files.parquet import check_parquet, read_parquet, write_parquet
from daclip_lab.files.storage import file_hash

SPACES = ("content", "degradation", "clip", "clean")
COLUMNS = ("image", "photo", "partner", "degradation", "severity", "caption")
SHIPPED = Path(__file__).parents[1] / "weights" / "lab" / "bsds500_test.parquet"
AT_A_TIME = 16
"""Images that `gather` has in memory at once."""
SAVE_EVERY = 30.0
"""Seconds after which an unfinished table is written to its part file."""


@dataclass(frozen=True, eq=False, kw_only=True)
class EmbeddingTable:
    """Embeddings of n images, with a row of facts about each.

    Raises InputError for no rows, embeddings of another shape than (n, d), or one that is not finite.
    """

    rows: "pd.DataFrame"
    """One row per image, with `COLUMNS` and any others: `image` (its path or name), `photo` (rows of one photo are not
    independent; by default the image itself), `partner` (name of its clean version), `degradation`, `severity` (0..1),
    `caption` (of its clean version); None or NaN where unknown. `Pipeline.embed` adds `predicted` and `probability`
    (DA-CLIP's most probable label and its probability) and `clip_predicted` (CLIP's)."""
    content: np.ndarray
    """(n, d), rows of length 1: the controlled image embedding."""
    degradation: np.ndarray
    """(n, d), rows of length 1: the controller's own output."""
    clip: np.ndarray | None = None
    """(n, d): CLIP's embedding of the same images, without a controller."""
    clean: np.ndarray | None = None
    """(n, d): CLIP's embedding of the clean partners; None unless every image has one."""
    provenance: dict = field(default_factory=dict)
    """Where the table comes from: fingerprint of the weights, labels, view, and more."""

    def __post_init__(self):
        if "image" not in self.rows or len(self.rows) == 0:
            raise InputError("a table of embeddings needs rows with a column `image`")
        others = [name for name in self.rows if name not in COLUMNS]
        rows = self.rows.reset_index(drop=True).reindex(columns=[*COLUMNS, *others])
        rows["severity"] = rows.severity.astype(np.float64)
        # The same type with any version of pandas: texts, and None for missing ones.
        for name in set(COLUMNS) - {"severity"}:
            texts = [None if pd.isna(text) else str(text) for text in rows[name]]
            rows[name] = pd.Series(texts, dtype=object)
        rows["photo"] = rows.photo.where(rows.photo.notna(), rows.image)
        object.__setattr__(self, "rows", rows)
        shape = (len(rows), np.shape(self.content)[-1])
        for space in self.spaces:
            array = np.asarray(getattr(self, space), dtype=np.float32)
            if array.shape != shape:
                raise InputError(f"{space} embeddings of shape {array.shape}: wanted {shape}")
            if not (finite := np.isfinite(array).all(1)).all():
                row = int(finite.argmin())
                what = f"the {space} embedding of row {row} ({rows.image[row]})"
                raise InputError(f"{what} is not finite")
            object.__setattr__(self, space, array)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return (
            f"<EmbeddingTable of {len(self)} images, {self.rows.photo.nunique()} photos, "
            f"{self.content.shape[1]} dimensions: {', '.join(self.spaces)}>"
        )

    @property
    def spaces(self) -> tuple[str, ...]:
        """Those of `SPACES` that the table holds."""
        return tuple(space for space in SPACES if getattr(self, space) is not None)

    def embedding(self, space: str) -> np.ndarray:
        """The embeddings (n, d) of one of `spaces`; raises InputError for another."""
        if space not in self.spaces:
            raise InputError(f"the table holds no {space!r} embeddings, only {self.spaces}")
        return getattr(self, space)

    def select(self, which) -> "EmbeddingTable":
        """The table of some rows: a boolean mask (n,), or row numbers."""
        which = np.asarray(which)
        if which.dtype == bool and which.shape != (len(self),):
            raise InputError(f"a mask of shape {which.shape} for {len(self)} rows")
        chosen = {space: getattr(self, space)[which] for space in self.spaces}
        return EmbeddingTable(rows=self.rows.iloc[which], provenance=self.provenance, **chosen)

    def of(self, *labels: str) -> "EmbeddingTable":
        """The table of some degradations; raises InputError for one that no row has."""
        if missing := set(labels) - set(self.rows.degradation):
            known = sorted(set(filter(None, self.rows.degradation)))
            raise InputError(f"no row is {sorted(missing)[0]!r}: the table has {known}")
        return self.select(self.rows.degradation.isin(labels).to_numpy())

    @staticmethod
    def join(tables: Sequence["EmbeddingTable"]) -> "EmbeddingTable":
        """Concatenate tables of equal `spaces` and dimension, else InputError; `provenance` is that of the first."""
        first = tables[0]
        for table in tables[1:]:
            if table.spaces != first.spaces or table.content.shape[1] != first.content.shape[1]:
                raise InputError(f"{table} cannot be joined to {first}: they differ in kind")
        rows = pd.concat([table.rows.astype(object) for table in tables], ignore_index=True)
        return EmbeddingTable(
            rows=rows.infer_objects(),
            provenance=first.provenance,
            **{s: np.concatenate([getattr(t, s) for t in tables]) for s in first.spaces},
        )

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Write the table as Parquet: the columns of `rows`, and a fixed-size list `<space>_embedding` per space.

        `half` stores the embeddings in float16.
        """
        arrays = {
            f"{space}_embedding": getattr(self, space).astype(np.float16 if half else np.float32)
            for space in self.spaces
        }
        write_parquet(path, {c: self.rows[c] for c in self.rows} | arrays, self.provenance)

    @staticmethod
    def load(path: str | Path) -> "EmbeddingTable":
        """Read a table that `save` wrote; raises InputError, naming the file, for another file."""
        columns, provenance = read_parquet(path)
        arrays = {s: columns.pop(f"{s}_embedding", None) for s in SPACES}
        for space in ("content", "degradation"):
            if arrays[space] is None:
                raise InputError(f"{path} is no table of embeddings: it lacks {space}_embedding")
        try:
            return EmbeddingTable(rows=pd.DataFrame(columns), provenance=provenance, **arrays)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def shipped() -> EmbeddingTable:
    """The table of the 200 test photos of BSDS500, degraded by the evaluation protocol, embedded by the lab weights.

    Made by `daclip-lab embed --protocol --data data/bsds500/test --half -o TABLE.parquet`.
    """
    return EmbeddingTable.load(SHIPPED)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Twelve characters that identify weights: a SHA-256 of the names, shapes and values of all tensors, in float32."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
    return digest.hexdigest()[:12]


def gather(
    units: Sequence,
    make: Callable[[range], EmbeddingTable],
    *,
    provenance: dict,
    out: str | Path | None = None,
    half: bool = False,
    at_a_time: int = AT_A_TIME,
    unit: str = "image",
) -> EmbeddingTable:
    """Make a table piece by piece, with a progress bar, and resume an interrupted run.

    Args:
        units: what the table is made of, in order: images, or tuples of images and texts.
        make: the table of a range of units.
        provenance: what the result depends on, added to the table's own `provenance`.
        out: Parquet file to write. Until it is complete, the finished rows are in `<out>.part`, written twice a minute
            and when the run is interrupted; a later call with equal units and `provenance` resumes there.
        half: write the embeddings in float16.
        at_a_time: units of one call of `make`.
        unit: their name in the progress bar.

    Raises InputError where the part file belongs to another run.
    """
    part = None if out is None else check_parquet(f"{out}.part")
    tables: list[EmbeddingTable] = []
    state: dict = {"done": 0, "units": "", "provenance": json.loads(json.dumps(provenance))}

    def state_at(done: int) -> dict:
        digest = state["units"]
        for unit in units[state["done"] : done] if part else ():
            digest = hashlib.sha256(digest.encode() + _identity(unit)).hexdigest()
        return state | {"done": done, "units": digest}

    def save() -> None:
        if part is not None and tables:
            tables[:] = [EmbeddingTable.join(tables)]
            replace(tables[0], provenance=tables[0].provenance | {"part": state}).save(part)

    if part is not None and part.is_file():
        tables.append(EmbeddingTable.load(part))
        known = tables[0].provenance.pop("part", {})
        state = state_at(known.get("done", 0))
        if known != state:
            raise InputError(f"{part} belongs to other images, weights or settings: delete it")
    saved = time.monotonic()
    with tqdm(total=len(units), initial=state["done"], unit=unit, desc="embedding", leave=False,
              disable=len(units) <= 4 * at_a_time) as bar:  # fmt: skip
        try:
            for first in range(state["done"], len(units), at_a_time):
                which = range(first, min(first + at_a_time, len(units)))
                table, after = make(which), state_at(which.stop)
                tables.append(table)
                state = after
                bar.update(len(which))
                if time.monotonic() - saved > SAVE_EVERY:
                    save()
                    saved = time.monotonic()
        except BaseException:
            save()
            raise
    table = EmbeddingTable.join(tables)
    table = replace(table, provenance=table.provenance | provenance)
    if out is not None and part is not None:
        table.save(out, half=half)
        part.unlink(missing_ok=True)
    return table


def _identity(unit) -> bytes:
    """A hash of a unit: of the bytes of a file, of pixels in memory, or of the text of anything else."""
    if isinstance(unit, tuple):
        content = b"".join(map(_identity, unit))
    elif isinstance(unit, str | Path) and Path(unit).is_file():
        content = file_hash(unit).encode()
    elif isinstance(unit, Tensor | np.ndarray | Image.Image):
        content = read_image(unit).numpy().tobytes()
    else:
        content = str(unit).encode()
    return hashlib.sha256(content).digest()
