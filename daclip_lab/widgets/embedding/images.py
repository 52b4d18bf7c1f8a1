"""The images behind a table of embeddings: a small table of the bundled photos, and any row's image made again.

A table holds no pixels. An image is read from its file where the row names one, or made again from its photo: by the
columns `degradation`, `severity` and `seed`, or by the evaluation protocol that the table's provenance holds.
"""

import io
import math
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.data.image_io import ImageLike, read_image, to_pil
from daclip_lab.data.photos import Photos, image_folder, sample_photos
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations.apply import degrade
from daclip_lab.degradations.registry import CLEAN, DEGRADATIONS
from daclip_lab.errors import InputError
from daclip_lab.evaluation.protocol import Protocol, degraded_crops
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.widgets.static import encode

SEVERITIES = (0.3, 0.6, 1.0)
# A bar of text: one that is a widget would be dead in a notebook that is opened again.
BAR: dict = {"leave": False, "file": sys.stdout}
BATCH = 16
THUMBNAIL = 64
"""The longer side of a thumbnail, in pixels at most."""


def bundled_table(
    pipe: Pipeline, severities: Sequence[float] = SEVERITIES, seed: int = 0
) -> EmbeddingTable:
    """Embed the bundled photos, each clean and in all ten degradations at each severity: 248 rows by default.

    Each photo is first shrunk to a square of the image size of the weights. The column `seed` of a row decides
    everything random in its degradation; `RowImages` makes the image again.
    """
    photos = sample_photos("test")
    side = pipe.settings.clip.image_size
    steps = [(CLEAN, 0.0), *((name, float(s)) for name in DEGRADATIONS for s in severities)]

    tables = []
    for index, name in enumerate(tqdm(photos.names, "embedding the bundled photos", **BAR)):
        clean = square(photos[index], side)
        seeds = [1000 * seed + len(steps) * index + k for k in range(len(steps))]
        images = [
            to_pil(degrade(clean, *step, seeded(own)))
            for step, own in zip(steps, seeds, strict=True)
        ]
        rows = pd.DataFrame(steps, columns=["degradation", "severity"])
        rows = rows.assign(
            image=[f"{name}, {label} {severity:g}" for label, severity in steps],
            photo=name,
            partner=name,
            seed=seeds,
        )
        partner = pipe.encode_clip(clean).numpy().repeat(len(steps), 0)
        tables.append(replace(pipe.embed_batch(images, rows), clean=partner))
    provenance = pipe.provenance | {"square": side}
    return replace(EmbeddingTable.join(tables), provenance=provenance)


def square(image: ImageLike, side: int) -> Tensor:
    """The central square of an image, shrunk or enlarged to `side` pixels: a tensor (3, side, side)."""
    return read_image(
        ImageOps.fit(to_pil(read_image(image)), (side, side), Image.Resampling.LANCZOS)
    )


class RowImages:
    """The images of a table's rows, made when they are asked for; the last ones are kept.

    May be used by several threads.
    """

    def __init__(self, table: EmbeddingTable, photos: Photos | str | Path | None = None):
        """`photos` are those that the rows were made of, or their whole folder; by default the bundled ones."""
        if photos is None:
            photos = sample_photos("test")
        self._photos = photos if isinstance(photos, Photos) else image_folder(photos)
        self._index = {name: index for index, name in enumerate(self._photos.names)}
        self._rows, self._provenance = table.rows, table.provenance
        self._protocol = _protocol(self._provenance)
        self._added: list[Image.Image] = []
        # Photos decode on demand, which two threads must not do at once.
        self._lock = threading.Lock()
        self._made = lru_cache(maxsize=1024)(self._make)
        self._small = lru_cache(maxsize=4096)(self._shrink)
        self._clean = lru_cache(maxsize=16)(self._clean_photo)
        self._crops = lru_cache(maxsize=4)(self._protocol_images)

    def add(self, image: ImageLike) -> None:
        """Append the image of a further row."""
        self._added.append(to_pil(read_image(image)))

    def picture(self, row: int) -> Image.Image | None:
        """The image of a row; None where neither its file nor its photo is at hand."""
        with self._lock:
            return self._made(row)

    def thumbnail(self, row: int) -> bytes:
        """The image of a row as a WebP file of at most `THUMBNAIL` pixels a side; b"" where there is none."""
        with self._lock:
            return self._small(row)

    def thumbnails(self, limit: int = 400) -> list[bytes]:
        """The thumbnails of all rows, if each has one that was made before, and they are at most `limit`; else none."""
        n = len(self._rows) + len(self._added)
        if n > min(limit, self._small.cache_info().currsize):
            return []
        found = [self.thumbnail(row) for row in range(n)]
        return found if all(found) else []

    def embedded(self, pipe: Pipeline) -> EmbeddingTable:
        """The same images embedded by other weights; raises InputError where one is not at hand."""
        images: list[Any] = [self.picture(row) for row in range(len(self._rows))]
        if None in images:
            row = images.index(None)
            raise InputError(
                f"the image of row {row} ({self._rows.image[row]}) is not at hand: give `photos`"
            )
        facts = self._rows[["image", "photo", "partner", "degradation", "severity"]]
        tables = []
        for k in tqdm(range(0, len(images), BATCH), "embedding the images again", **BAR):
            tables.append(pipe.embed_batch(images[k : k + BATCH], facts[k : k + BATCH]))
        return replace(EmbeddingTable.join(tables), provenance=pipe.provenance)

    def _make(self, row: int) -> Image.Image | None:
        if row >= len(self._rows):
            return self._added[row - len(self._rows)]
        facts = self._rows.iloc[row]
        index = self._index.get(facts.photo)
        if index is not None and self._protocol is not None:
            return self._crops(index).get((facts.get("crop"), facts.degradation))
        if index is not None and not pd.isna(facts.get("seed")) and facts.degradation:
            severity = 0.0 if pd.isna(facts.severity) else float(facts.severity)
            return to_pil(
                degrade(self._clean(index), facts.degradation, severity, seeded(int(facts.seed)))
            )
        try:
            return to_pil(read_image(Path(facts.image)))
        except (InputError, OSError):
            return None

    def _clean_photo(self, index: int) -> Tensor:
        """A photo as it was before it was degraded."""
        photo, side = self._photos[index], self._provenance.get("square")
        return photo if side is None else square(photo, side)

    def _shrink(self, row: int) -> bytes:
        picture = self._made(row)
        return b"" if picture is None else shrunk(picture, THUMBNAIL)

    def _protocol_images(self, index: int) -> dict:
        """The images that the protocol makes of one photo, by crop and degradation."""
        assert self._protocol is not None
        _, degraded, facts = degraded_crops(self._photos, index, self._protocol)
        return {
            (fact["crop"], fact["degradation"]): to_pil(image)
            for fact, image in zip(facts, degraded, strict=True)
        }


def _protocol(provenance: dict) -> Protocol | None:
    """The protocol that a table was made by, if it holds one."""
    fields = provenance.get("protocol")
    if fields is None:
        return None
    known: dict = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return Protocol(**known)


def shrunk(picture: Image.Image, side: int) -> bytes:
    """A picture as a WebP file of at most `side` pixels a side."""
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return encode(small, "WEBP", quality=80)


def sheet(thumbnails: Sequence[bytes], side: int) -> tuple[bytes, int]:
    """Thumbnails in rows of cells of `side` pixels, as a WebP file, and how many cells a row has."""
    columns = math.ceil(math.sqrt(len(thumbnails)))
    whole = Image.new("RGB", (columns * side, side * math.ceil(len(thumbnails) / columns)), "white")
    for place, file in enumerate(thumbnails):
        small = ImageOps.pad(Image.open(io.BytesIO(file)), (side, side), color="white")
        whole.paste(small, (side * (place % columns), side * (place // columns)))
    return shrunk(whole, max(whole.size)), columns
