"""Quality against number of steps, for every sampler and spacing, and for the authors' biased baseline."""

from collections import deque

import pandas as pd
import torch
from tqdm.auto import tqdm

from daclip_lab.data.photos import sample_photos
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
from daclip_lab.metrics import image_quality
from daclip_lab.pipeline.loading import load

STEPS = (1, 2, 5, 10, 20, 50)
CROP = 176  # the smallest with all five scales of MS-SSIM
MEASURES = {
    "PSNR (dB)": image_quality.psnr,
    "SSIM": image_quality.ssim,
    "MS-SSIM": image_quality.ms_ssim,
    "gradient similarity": image_quality.gradient_similarity,
    "LPIPS": image_quality.lpips,
}


def crops(size: int, per_photo: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Clean and degraded crops (n, 3, size, size) of the bundled test photos, in all ten ways in turn."""
    clean, degraded = [], []
    for index, photo in enumerate(sample_photos("test")):
        for number in range(per_photo):
            generator = seeded(7, index, number)
            top, left = (choose(generator, extent - size + 1) for extent in photo.shape[1:])
            crop = photo[:, top : top + size, left : left + size]
            name = DEGRADATIONS[len(clean) % len(DEGRADATIONS)]
            clean.append(crop)
            degraded.append(camera(degrade(crop, name, 0.6, generator), generator))
    return torch.stack(clean), torch.stack(degraded)


@torch.inference_mode()
def table(weights: str, *, toy: bool) -> pd.DataFrame:
    """A row per sampler, spacing and number of steps with the mean of each measure; "input" is the image before."""
    pipe = load(weights)
    clean, degraded = crops(48, 1) if toy else crops(CROP, 3)
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
        return facts | {name: f(images, clean).mean().item() for name, f in measures.items()}

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
