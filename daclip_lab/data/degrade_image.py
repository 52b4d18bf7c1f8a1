"""One image of any kind, degraded."""

from PIL import Image

from daclip_lab.data.image_io import read_image, to_pil
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations import apply


def degrade(image, name: str, *, severity: float = 0.5, seed: int = 0) -> Image.Image:
    """Degrade any image that `read_image` takes, in one way; returns a PIL image of the same size.

    Args:
        name: one of `degradations.registry.degradation_names()`.
        severity: from 0 (the image unchanged) to 1.
        seed: decides everything else.

    Raises InputError for an unknown name, or a severity outside of [0, 1].
    """
    return to_pil(apply.degrade(read_image(image), name, severity, seeded(seed)))
