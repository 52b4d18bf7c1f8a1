"""Clean photos: a list by name, read when first needed, from the installed packages or from any folder."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from daclip_lab.data.image_io import find_images, read_image, to_pil
from daclip_lab.data.seeding import choose, seeded, uniform
from daclip_lab.errors import InputError

MOST_DECODED = 600
"""Photos kept in memory as pixels: 3 bytes each, 280 MB if all are 481x321."""


class Photos:
    """A list of photos by name, decoded when first needed and kept in memory (up to `MOST_DECODED`).

    `photos[i]` is a (3, h, w) tensor in [0, 1]; `photos.names[i]` says which photo it is.
    """

    def __init__(self, paths: list[Path]):
        if not paths:
            raise InputError("no photos: the list of paths is empty")
        self.paths = list(paths)
        self._decoded: dict[int, Image.Image] = {}

    def __getstate__(self) -> dict:
        # A worker process that is not forked decodes for itself.
        return {"paths": self.paths, "_decoded": {}}

    @property
    def names(self) -> list[str]:
        """The file names without their endings; the paths where names occur twice."""
        stems = [path.stem for path in self.paths]
        return stems if len(set(stems)) == len(stems) else [str(path) for path in self.paths]

    def _decode(self, index: int) -> Image.Image:
        if index not in self._decoded:
            if len(self._decoded) >= MOST_DECODED:
                self._decoded.pop(next(iter(self._decoded)))
            self._decoded[index] = to_pil(read_image(self.paths[index]))
        return self._decoded[index]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return read_image(self._decode(index))

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def split(self, held_out: int, seed: int = 0) -> tuple["Photos", "Photos"]:
        """Two lists without a photo in common: all but `held_out` photos, and those."""
        if not 0 < held_out < len(self):
            raise InputError(
                f"held_out={held_out}: wanted 1 to {len(self) - 1} of {len(self)} photos"
            )
        order = torch.randperm(len(self), generator=seeded(seed)).tolist()
        first, second = sorted(order[held_out:]), sorted(order[:held_out])
        return Photos([self.paths[i] for i in first]), Photos([self.paths[i] for i in second])

    def crop(self, generator: torch.Generator, size: int) -> Tensor:
        """A random square of a random photo, at a random scale, perhaps mirrored: (3, size, size).

        It is never enlarged, unless the photo is smaller than the square: what is clean must be sharp.
        """
        photo = self._decode(choose(generator, len(self)))
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


BUNDLED = {
    "train": ("chelsea", "hubble_deep_field", "motorcycle_left", "flower"),
    "test": ("astronaut", "coffee", "rocket", "china"),
}
"""Photos inside the scikit-image and scikit-learn wheels, split by photo once and for all."""


def sample_photos(split: str) -> Photos:
    """The photos that come with the installed packages: no download. `split` is "train" or "test"."""
    if split not in BUNDLED:
        raise InputError(f"split {split!r} is unknown: use 'train' or 'test'")
    folders = [
        Path(find_spec("skimage").origin).parent / "data",
        Path(find_spec("sklearn").origin).parent / "datasets" / "images",
    ]
    files = {file.stem: file for folder in folders for file in sorted(folder.iterdir())}
    missing = [name for name in BUNDLED[split] if name not in files]
    if missing:
        raise InputError(
            f"the installed scikit-image and scikit-learn do not hold {', '.join(missing)}: "
            "install scikit-image 0.20 or newer"
        )
    return Photos([files[name] for name in BUNDLED[split]])


def image_folder(*folders: str | Path) -> Photos:
    """All images under one or more folders, in a fixed order."""
    return Photos([path for each in folders for path in find_images(each)])
