"""The numbers of docs/departures.md that need no training: `python -m benchmarks.vs_official`, about two minutes."""

from itertools import pairwise

import torch
from PIL import Image

import daclip_lab as lab
from daclip_lab.data.image_io import read_image, to_pil
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations.apply import degrade
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.models.clip import Clip, views
from daclip_lab.models.losses import chance, floor
from daclip_lab.training import presets

# The paper's ten training sets, in pairs (data/mixed/README.md).
PAIRS = (2103, 6000, 3550, 485, 3550, 861, 1800, 2680, 1872, 29900)


def pair_by_position(daclip: lab.DaCLIP) -> lab.DaCLIP:
    """A fresh controller as the authors initialise it: ln_post is copied into the first zero layer."""
    visual, first = daclip.clip.visual, daclip.controller.zeros[0]
    own = daclip.controller.visual.ln_post
    with torch.no_grad():
        first.weight.copy_(visual.ln_post.weight.expand_as(first.weight))
        first.bias.copy_(visual.ln_post.bias)
        own.weight.fill_(1)
        own.bias.zero_()
    return daclip


def start(clip: Clip, photos: list[torch.Tensor]) -> dict[str, tuple[float, float]]:
    """Mean cosines of a fresh DA-CLIP's two embeddings to CLIP's, for both initialisations."""
    crops = torch.cat([views(photo, clip.config.image_size, "both") for photo in photos])
    with torch.inference_mode():
        plain = clip.encode_image(crops)
        fresh = {"by name": lab.DaCLIP(clip), "by position": pair_by_position(lab.DaCLIP(clip))}
        return {
            name: tuple((e * plain).sum(1).mean().item() for e in daclip.encode_image(crops))
            for name, daclip in fresh.items()
        }


def shifted(sde: MeanRevertingSDE, steps: int) -> float:
    """The largest relative difference between the noise of a schedule of `steps` and that of the training schedule.

    The authors' `sample_T` takes fewer steps by another schedule, whose time t is given to the network as
    t * T / steps.
    """
    coarse = MeanRevertingSDE(**presets.SDE | {"steps": steps})
    times = [round(t * sde.steps / steps) for t in range(1, steps + 1)]
    return (coarse.sigma_bar[1:] / sde.sigma_bar[times] - 1).abs().max().item()


def noise_left(sde: MeanRevertingSDE, steps: int, *, respaced: bool) -> float:
    """The noise (of 255) that an ideal network leaves, with the posterior re-spaced or in its form from t to t - 1.

    The second is what the code of a published comparison does at skipped times (2502.07856).

    Both images are 0 and the state is noise of some strength; the network points at all of that noise, of which the
    sampler takes away as much as there should be at the time that it visits.
    """
    times = [*torch.linspace(sde.steps, 1, steps, dtype=torch.float64).round().long().tolist(), 0]
    degraded = torch.zeros(1, dtype=torch.float64)
    left = degraded + sde.sigma_max
    for t, s in pairwise(times):
        clean = sde.clean_from_noise(left, degraded, degraded + 1, t)
        mean, std = sde.posterior(left, clean, degraded, t, s if respaced else t - 1)
        left = (mean**2 + (std**2 if s else 0)).sqrt()
    return 255 * left.item()


def attention_matrix(side: int, heads: int = 16) -> float:
    """Bytes of the attention matrix that one block writes out for a square image, at an eighth of its side."""
    return heads * ((side / 8) ** 2) ** 2 * 4


def against_pil(photo: torch.Tensor, size: int) -> torch.Tensor:
    """The paper's view of a photo minus the one that PIL makes of its 8-bit file, of 255: (3, size, size)."""
    whole = to_pil(photo)
    w, h = whole.size
    new = (size, int(h * size / w)) if w < h else (int(w * size / h), size)
    left, top = (round((extent - size) / 2) for extent in new)
    small = whole.resize(new, Image.Resampling.BICUBIC)
    theirs = read_image(small.crop((left, top, left + size, top + size)))
    return 255 * (views(photo, size, "resize")[0] - theirs)


def main() -> None:
    """Print every number."""
    photos = [photo for part in ("train", "test") for photo in lab.sample_photos(part)]
    clip = lab.load("lab").clip
    paper = presets.paper()

    print("1. cosine of a fresh DA-CLIP to its CLIP (lab weights, bundled photos)")
    for name, (content, degradation) in start(clip, photos).items():
        print(f"   initialised {name}: content {content:.6f}, degradation {degradation:.6f}")

    print(
        "2. fewer steps: noise of a schedule of its own against the trained; noise left, of 255, by"
    )
    print("   an ideal network (starts at 50)")
    for steps in (5, 10, 20, 50, 100):
        sde = paper.build_sde()
        one, re = (noise_left(sde, steps, respaced=r) for r in (False, True))
        print(
            f"   {steps:3} steps: off by up to {shifted(sde, steps):4.0%}; left by the one-step update at "
            f"skipped times {one:4.1f}, by the re-spaced posterior {re:.1f}"
        )

    print("3. one attention matrix of a 16-head block, float32")
    for side in (256, 512, 1024, 2048):
        print(f"   {side} x {side}: {attention_matrix(side) / 1e9:.2f} GB")

    counts = [round(paper.daclip.batch_size * n / sum(PAIRS)) for n in PAIRS]
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    print(f"4. degradation loss of a batch of {len(labels)} in the paper's proportions, in nats")
    for name, multi in (("one-hot", False), ("multi-positive", True)):
        levels = chance(labels, multi_positive=multi), floor(labels, multi_positive=multi)
        print(f"   {name}: chance {levels[0]:.2f}, floor {levels[1]:.2f}")

    with torch.device("meta"):
        net = paper.build_restorer()
    blocks = sum(name.endswith("attn2.to_v.weight") for name in net.state_dict())
    print("5. cross-attention to the one content token")
    print(
        f"   computed {blocks} times an image here, {blocks * paper.steps} times in {paper.steps} steps"
    )

    size = paper.clip.image_size
    print(f"6. the paper's view, {size} pixels, against PIL's own, of 255 (bundled photos)")
    noisy = [degrade(photo, "noisy", 1.0, seeded(0)) for photo in photos]
    for name, some in (("clean", photos), ("noisy", noisy)):
        differences = torch.stack([against_pil(photo, size) for photo in some])
        print(
            f"   {name}: at most {differences.abs().max():.1f}, rms {differences.square().mean().sqrt():.2f}"
        )


if __name__ == "__main__":
    main()
