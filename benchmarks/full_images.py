"""Whole photos with the shipped weights: our default against 100 posterior steps of the naive baseline."""

import time
from collections import deque

import pandas as pd
import torch
from tqdm.auto import tqdm

from benchmarks.isolated_process import resident, run_isolated
from benchmarks.naive_baseline import RecomputedConditions
from daclip_lab.data.photos import sample_photos
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations.apply import camera, degrade
from daclip_lab.degradations.registry import DEGRADATIONS
from daclip_lab.diffusion.samplers import denoiser, sample
from daclip_lab.metrics.image_quality import psnr
from daclip_lab.pipeline.loading import load

SIDES = ("naive", "ours")


def table(weights: str, *, toy: bool) -> pd.DataFrame:
    """Means over whole bundled test photos, each degraded in another of five ways; the sides take turns."""
    count = len(sample_photos("test"))
    jobs = [(index % count, name) for index, name in enumerate(DEGRADATIONS[::2])][
        : 1 if toy else None
    ]
    found = []
    for photo, name in tqdm(jobs, "photos", leave=False):
        for side in SIDES:
            job = {"photo": photo, "name": name, "side": side, "weights": weights, "toy": toy}
            found.append({"side": side, **run_isolated("full_images.restore", **job)})
    means = pd.DataFrame(found).groupby("side", sort=False)
    result = means[["seconds", "calls", "PSNR (dB)", "PSNR before (dB)"]].mean()
    result["peak (GB)"] = means["peak"].max()
    result["above weights (GB)"] = means.apply(lambda part: (part.peak - part.held).max())
    result["times faster"] = result.seconds["naive"] / result.seconds
    return result


@torch.inference_mode()
def restore(photo: int, name: str, side: str, weights: str, toy: bool) -> dict:
    """Restore one photo in this process: seconds from the image to the image, calls of the network, PSNR."""
    clean = sample_photos("test")[photo]
    if toy:
        clean = clean[:, :48, :64].contiguous()
    generator = seeded(6, photo, DEGRADATIONS.index(name))
    degraded = camera(degrade(clean, name, 0.6, generator), generator)[None]
    pipe = load(weights)
    held, start = resident(), time.perf_counter()
    calls = []
    pipe.restorer.register_forward_hook(lambda *_: calls.append(1))
    if side == "ours":
        path = pipe.trajectory(degraded)
    else:
        net = RecomputedConditions(pipe.restorer)
        embeddings = net.prepare(*pipe.encode(list(degraded)))
        predict = denoiser(net, pipe.sde, degraded, embeddings)
        steps = 4 if toy else pipe.sde.steps
        path = sample(
            predict, pipe.sde, degraded, steps=steps, stochastic=True, generator=seeded(0)
        )
    restored = deque(path, maxlen=1).pop().state.clamp(0, 1)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "calls": len(calls),
        "held": held,
        "PSNR (dB)": psnr(restored, clean[None]).item(),
        "PSNR before (dB)": psnr(degraded, clean[None]).item(),
    }
