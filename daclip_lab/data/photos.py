"""Photos: lists that decode on demand, from the package, installed libraries or any folder, and `degrade` for one."""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from daclip_lab.data.image_io import ImageLike, find_images, read_image, to_pil
from daclip_lab.data.seeding import choose, seeded, uniform
from daclip_lab.degradations import apply
from daclip_lab.errors import InputError
from daclip_lab.files.storage import file_hash

MAX_BYTES = 256 * 2**20
"""Default memory for decoded photos in each process: 580 photos of 481x321, 32 of 2040x1356."""


class Photos:
    """A list of photos, decoded when first used; those used last stay in memory, up to `max_bytes`.

    `photos[i]` is a (3, h, w) tensor in [0, 1], `photos.names[i]` its name. Raises InputError for an empty list.
    """

    def __init__(self, paths: list[Path], *, max_bytes: int = MAX_BYTES):
        if not paths:
            raise InputError("no photos: the list of paths is empty")
        self.paths, self.max_bytes = list(paths), max_bytes
        self._decoded: dict[int, Image.Image] = {}

    def __getstate__(self) -> dict:
        # Decoded photos are not sent to spawned worker processes.
        return self.__dict__ | {"_decoded": {}}

    @property
    def names(self) -> list[str]:
        """The file names without extensions, or the paths where two are equal."""
        stems = [path.stem for path in self.paths]
        return stems if len(set(stems)) == len(stems) else [str(path) for path in self.paths]

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the bytes of all files, in order; names and folders do not matter."""
        return hashlib.sha256("".join(map(file_hash, self.paths)).encode()).hexdigest()

    def _decode(self, index: int) -> Image.Image:
        photo = self._decoded.pop(index, None) or to_pil(read_image(self.paths[index]))
        if _bytes(photo) <= self.max_bytes:
            self._decoded[index] = photo  # the last of the dict is the one used last
            while sum(map(_bytes, self._decoded.values())) > self.max_bytes:
                self._decoded.pop(next(iter(self._decoded)))
        return photo

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return read_image(self._decode(index))

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def split(self, held_out: int, seed: int = 0) -> tuple["Photos", "Photos"]:
        """Split at random into all but `held_out` photos, and those; raises InputError where either list is empty."""
        if not 0 < held_out < len(self):
            raise InputError(f"held_out={held_out}: wanted 1 to {len(self) - 1}")
        order = torch.randperm(len(self), generator=seeded(seed)).tolist()
        parts = sorted(order[held_out:]), sorted(order[:held_out])
        rest, held = (
            Photos([self.paths[i] for i in part], max_bytes=self.max_bytes) for part in parts
        )
        return rest, held

    def crop(self, generator: torch.Generator, size: int) -> Tensor:
        """A random square of a random photo, at a random scale, mirrored or not: (3, size, size).

        Photos smaller than the square are passed over, as clean crops must be sharp. One is enlarged only where twenty
        draws in a row find no other.
        """
        for _ in range(20):
            photo = self._decode(choose(generator, len(self)))
            if min(photo.size) >= size:
                break
        short = min(photo.size)
        # Half of the crops are native; the others shrink a larger square, up to the whole short side.
        native = uniform(generator) < 0.5
        side = min(short, size) if native else uniform(generator, min(short, size), short)
        left = uniform(generator, 0, photo.width - side)
        top = uniform(generator, 0, photo.height - side)
        if native:
            left, top = round(left), round(top)
        box = (left, top, left + side, top + side)
        square = photo.resize((size, size), Image.Resampling.LANCZOS, box=box)
        if uniform(generator) < 0.5:
            square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return read_image(square)


def _bytes(photo: Image.Image) -> int:
    return 3 * photo.width * photo.height


BUNDLED = Path(__file__).parents[1] / "photos"
"""The test photos; `data/bundled/README.md` names their sources."""
TRAIN = ("astronaut", "chelsea", "china", "coffee", "flower", "motorcycle_left")
"""Training photos inside the scikit-image and scikit-learn wheels."""


def sample_photos(split: str) -> Photos:
    """The photos that need no download: the "test" split of this package, or "train" of scikit-image and scikit-learn.

    Raises InputError for another split, or where these libraries are not installed.
    """
    if split == "test":
        return image_folder(BUNDLED)
    if split != "train":
        raise InputError(f"split {split!r} is unknown: use 'train' or 'test'")
    homes = [("skimage", "data"), ("sklearn", "datasets/images")]
    found = [(find_spec(package), inside) for package, inside in homes]
    folders = [Path(s.origin).parent / inside for s, inside in found if s and s.origin]
    files = {file.stem: file for folder in folders for file in sorted(folder.iterdir())}
    if missing := [name for name in TRAIN if name not in files]:
        raise InputError(
            f"the photos {', '.join(missing)} come with scikit-image 0.20 or newer and scikit-learn: "
            "pip install 'daclip-lab[analysis]'"
        )
    return Photos([files[name] for name in TRAIN])


def image_folder(*folders: str | Path) -> Photos:
    """All images below some folders, see `find_images`."""
    return Photos([path for each in folders for path in find_images(each)])


def degrade(image: ImageLike, name: str, *, severity: float = 0.5, seed: int = 0) -> Image.Image:
    """Degrade any image that `read_image` takes, as `degradations.apply.degrade` does: a PIL image of the same size.

    `severity` runs from 0 (unchanged) to 1, `seed` decides everything else. Raises InputError for an unknown `name` or
    a severity outside of [0, 1].
    """
    return to_pil(apply.degrade(read_image(image), name, severity, seeded(seed)))
