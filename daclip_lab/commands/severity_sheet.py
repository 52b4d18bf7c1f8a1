"""The picture that `daclip-lab degrade --sheet` writes: one image at several severities."""

from daclip_lab.errors import InputError

SEEDS = 4
"""Rows of a sheet of one degradation."""
MOST_PIXELS = 25_000_000
"""In all pictures of a sheet together: drawing them takes about 40 bytes per pixel."""


def degradation_sheet(image, name: str | None = None, seed: int = 0, crop: int | None = None):
    """A picture (3, h, w) over severity: of one degradation with four seeds, or of all where `name` is None.

    `seed` is that of the first row (of all rows for all degradations). `crop` takes the middle square of so many pixels
    first; no pixel is ever resampled. Raises InputError where the sheet would be too large to draw.
    """
    from daclip_lab.data.image_io import read_image
    from daclip_lab.data.photos import degrade
    from daclip_lab.degradations.registry import degradation_names
    from daclip_lab.figures.primitives import figure_png
    from daclip_lab.figures.severity import SEVERITIES, sheet

    pixels = read_image(image)
    if crop is not None:
        if crop < 8:
            raise InputError(f"--crop {crop}: wanted 8 pixels or more")
        height, width = pixels.shape[1:]
        top, left = (max(0, (side - crop) // 2) for side in (height, width))
        pixels = pixels[:, top : top + crop, left : left + crop]
    kinds = (
        {f"seed {s}": (name, s) for s in range(seed, seed + SEEDS)}
        if name
        else {each: (each, seed) for each in degradation_names()}
    )
    height, width = pixels.shape[1:]
    most = int((MOST_PIXELS / (len(kinds) * len(SEVERITIES))) ** 0.5)
    if height * width > most**2:
        raise InputError(
            f"{image}: {width}x{height} pixels are too many for a sheet of {len(kinds)} rows; "
            f"--crop {most} takes the middle"
        )
    rows = {
        title: [degrade(pixels, what, severity=severity, seed=s) for severity in SEVERITIES]
        for title, (what, s) in kinds.items()
    }
    caption = f"{name or 'All degradations'}, at the image's own pixels."
    figure = sheet(rows, caption=caption + (f" Seed {seed}." if name is None else ""))
    return read_image(figure_png(figure))
