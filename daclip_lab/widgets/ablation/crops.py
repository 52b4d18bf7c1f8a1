"""The crops behind a cell of a heat map: given, restored by two variants, and true."""

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from daclip_lab.data.image_io import read_image
from daclip_lab.degradations.registry import degradation_names
from daclip_lab.errors import InputError
from daclip_lab.metrics.image_quality import psnr

if TYPE_CHECKING:
    from daclip_lab.ablation.results import StudyResults

GIVEN, TRUTH = "degraded", "clean"
"""In the place of a variant: what every run was given, and the truth."""


class Restored(NamedTuple):
    """A crop, restored by some variants; what a run has not kept is None."""

    name: str
    degraded: Image.Image | None
    clean: Image.Image | None
    restored: list[Image.Image | None]
    gains: list[float | None]
    """PSNR over that of the degraded crop, in dB, of each variant."""


class Crops:
    """The crops that the runs of a study have kept."""

    def __init__(self, results: "StudyResults", variants: Sequence[str], seeds: Sequence[int]):
        self._results, self._variants, self._all_seeds = results, variants, seeds
        self.names = list(results.crop_names())
        self.crop = lru_cache(2000)(self._read)
        self.seeds = cache(self._kept)

    def of(self, variants: Sequence[str], seed: int, degradation: str = "") -> list[Restored]:
        """All crops as the runs of that seed restored them; those with the degradation, if any, come first."""
        first = [name for name in self.names if degradation and degradation_of(name) == degradation]
        return [self._one(name, variants, seed) for name in dict.fromkeys([*first, *self.names])]

    def _one(self, name: str, variants: Sequence[str], seed: int) -> Restored:
        given, clean = self.crop(GIVEN, 0, name), self.crop(TRUTH, 0, name)
        restored = [self.crop(variant, seed, name) for variant in variants]
        gains = [
            None
            if one is None or given is None or clean is None
            else _psnr(one, clean) - _psnr(given, clean)
            for one in restored
        ]
        return Restored(name, given, clean, restored, gains)

    def _read(self, variant: str, seed: int, name: str) -> Image.Image | None:
        try:
            return self._results.crop(variant, seed, name)
        except InputError:
            return None

    def _kept(self, variant: str) -> list[int]:
        """The seeds of a variant whose runs have kept crops."""
        return [
            seed
            for seed in self._all_seeds
            if any(self.crop(variant, seed, name) is not None for name in self.names)
        ]


def degradation_of(name: str) -> str:
    """The degradation that the name of a crop holds, or ""."""
    found = [each for each in degradation_names() if each in name]
    return max(found, key=len, default="")


def _psnr(image: Image.Image, clean: Image.Image) -> float:
    return psnr(read_image(image)[None], read_image(clean)[None]).item()
