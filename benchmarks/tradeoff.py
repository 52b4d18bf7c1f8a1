"""Quality against number of steps, for every sampler and spacing, and for the authors' biased baseline.

Also the perception-distortion plane (Blau and Michaeli, 1711.06077): the error to the clean crops across, the distance
of the *set* of restored crops to the set of clean ones up. No method can have both of them as small as it likes.
"""

from collections import deque

import pandas as pd
import torch
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from daclip_lab.course.figures.samplers import perception_distortion
from daclip_lab.data.photos import Photos, sample_photos
from daclip_lab.data.seeding import choose, seeded
from daclip_lab.degradations.apply import camera, degrade
from daclip_lab.degradations.registry import DEGRADATIONS
from daclip_lab.diffusion.samplers import (
    SAMPLERS,
    TIMESTEP_SPACINGS,
    denoiser,
    euler_maruyama,
    sample,
)
from daclip_lab.errors import InputError
from daclip_lab.figures.diffusion import tradeoff
from daclip_lab.metrics import image_quality
from daclip_lab.metrics.sliced_wasserstein import sliced_wasserstein
from daclip_lab.pipeline.loading import load

STEPS = (1, 2, 5, 10, 20)
CROP = 176  # the smallest with all five scales of MS-SSIM
MEASURES = {
    "PSNR (dB)": image_quality.psnr,
    "SSIM": image_quality.ssim,
    "MS-SSIM": image_quality.ms_ssim,
    "gradient similarity": image_quality.gradient_similarity,
    "LPIPS": image_quality.lpips,
}
RMSE, DISTANCE = "RMSE (of 255)", "sliced Wasserstein"


def crops(
    size: int, per_photo: int, photos: Photos | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Clean and degraded crops (n, 3, size, size) of the bundled test photos, or others, in all ten ways in turn.

    Raises InputError for a photo smaller than the crop.
    """
    clean, degraded = [], []
    photos = photos or sample_photos("test")
    for index, photo in enumerate(photos):
        if min(photo.shape[1:]) < size:
            raise InputError(f"{photos.paths[index]}: wanted at least {size}x{size} pixels")
        for number in range(per_photo):
            generator = seeded(7, index, number)
            top, left = (choose(generator, extent - size + 1) for extent in photo.shape[1:])
            crop = photo[:, top : top + size, left : left + size]
            name = DEGRADATIONS[len(clean) % len(DEGRADATIONS)]
            clean.append(crop)
            degraded.append(camera(degrade(crop, name, 0.6, generator), generator))
    return torch.stack(clean), torch.stack(degraded)


@torch.inference_mode()
def table(weights: str, photos: Photos | None, per_photo: int, *, toy: bool) -> pd.DataFrame:
    """A row per sampler, spacing and number of steps with the mean of each measure, over crops of photos, see `crops`.

    "RMSE" and "sliced Wasserstein" are of all crops together. The row "input" holds the images before restoration.
    """
    pipe = load(weights)
    clean, degraded = crops(48, 1) if toy else crops(CROP, per_photo, photos)
    predict = denoiser(
        pipe.restorer, pipe.sde, degraded, pipe.restorer.prepare(*pipe.encode(list(degraded)))
    )
    measures = dict(MEASURES)
    try:
        image_quality.lpips(degraded[:1], clean[:1])
    except InputError as error:
        print(f"LPIPS is left out: {error}")
        del measures["LPIPS"]

    def judged(images: torch.Tensor, **facts) -> dict:
        facts |= {name: f(images, clean).mean().item() for name, f in measures.items()}
        facts[DISTANCE] = sliced_wasserstein(images, clean).mean().item()
        return facts | {RMSE: 255 * (images - clean).square().mean().sqrt().item()}

    def path(sampler: str, timestep_spacing: str, steps: int):
        common = {"steps": steps, "generator": seeded(0)}
        if sampler == "euler-maruyama":
            return euler_maruyama(predict, pipe.sde, degraded, **common)
        return sample(
            predict,
            pipe.sde,
            degraded,
            timestep_spacing=timestep_spacing,
            **SAMPLERS[sampler],
            **common,
        )

    kinds = [
        (sampler, timestep_spacing)
        for sampler in SAMPLERS
        for timestep_spacing in TIMESTEP_SPACINGS
    ]
    jobs = [
        (*kind, steps)
        for kind in [*kinds, ("euler-maruyama", "linspace")]
        for steps in ((1, 2, 4) if toy else STEPS)
    ]
    rows = [judged(degraded, sampler="input", timestep_spacing="", steps=0)]
    with tqdm(total=sum(steps for *_, steps in jobs), unit="call", leave=False) as bar:
        for sampler, timestep_spacing, steps in jobs:
            restored = (
                deque(path(sampler, timestep_spacing, steps), maxlen=1).pop().state.clamp(0, 1)
            )
            rows.append(
                judged(restored, sampler=sampler, timestep_spacing=timestep_spacing, steps=steps)
            )
            bar.update(steps)
    return pd.DataFrame(rows)


def figures(table: pd.DataFrame) -> dict[str, Figure]:
    """Every measure over steps, and the perception-distortion plane, by the names of their files."""
    before = table[table.sampler == "input"].iloc[0]
    # The biased baseline leaves the noise in the image, far off the plane that the others need.
    plane = table[(table.timestep_spacing == "linspace") & (table.sampler != "euler-maruyama")]
    return {
        "tradeoff.png": tradeoff(table.drop(columns=RMSE)),
        "perception_distortion.png": perception_distortion(
            plane.rename(columns={RMSE: "distortion", DISTANCE: "unlike"}),
            "Numbers at the marks: steps. To the left: nearer to the clean photo. Down: patches distributed more like "
            "those of clean photos. Best would be the lower left corner. Before restoration: "
            f"{before[RMSE]:.1f} and {before[DISTANCE]:.3f}.",
            up="sliced Wasserstein distance",
        ),
    }
