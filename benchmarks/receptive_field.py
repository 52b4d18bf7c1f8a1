"""The receptive field of the shipped restorer: how much a cut changes its output, by the distance from the cut."""

import pandas as pd
import torch

from daclip_lab.data.photos import sample_photos
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations.apply import degrade
from daclip_lab.models.nafnet import common_means
from daclip_lab.pipeline.loading import load

DISTANCES = (0, 8, 16, 32, 48, 64, 96, 128)
NAMES = ("hazy", "low-light", "noisy")


@torch.inference_mode()
def table(weights: str, *, toy: bool) -> pd.DataFrame:
    """Largest and mean difference in [0, 1] between the middle of a photo and the same cut out, by distance."""
    pipe = load(weights)
    margin, side = (32, 64) if toy else (96, 320)
    photo = sample_photos("test")[0][:, : 2 * margin + side, : 2 * margin + side]
    inside = (..., slice(margin, margin + side), slice(margin, margin + side))
    near = torch.arange(side)
    line = torch.minimum(near, side - 1 - near)
    distance = torch.minimum(line[:, None], line)
    differences = []
    for name in NAMES:
        degraded = degrade(photo, name, 0.7, seeded(1))[None]
        conditions = pipe.restorer.prepare(*pipe.encode(list(degraded)))
        state = pipe.sde.prior(degraded, torch.randn(degraded.shape, generator=seeded(2)))
        t = torch.tensor([pipe.sde.steps])

        def run(given=(state, degraded, t, conditions)):
            pipe.restorer(*given)
            yield given[1][0, 0].numel()

        with common_means(pipe.restorer, run):  # as the tiles of an image have them
            whole = pipe.restorer(state, degraded, t, conditions)[inside]
            cut = pipe.restorer(state[inside], degraded[inside], t, conditions)
        differences.append((whole - cut).abs().amax((0, 1)))
    differences = torch.stack(differences)
    rows = {
        d: (differences[:, distance == d].max().item(), differences[:, distance == d].mean().item())
        for d in DISTANCES
        if d < side // 2
    }
    return pd.DataFrame(rows, index=["largest difference", "mean difference"]).T.rename_axis(
        "pixels from the cut"
    )
