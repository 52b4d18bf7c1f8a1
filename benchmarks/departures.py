"""The numbers of docs/departures.md that need no training: `python benchmarks/departures.py`, about a minute."""

from itertools import pairwise

import torch

import daclip_lab as lab
from daclip_lab import presets
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.models.clip import Clip, views
from daclip_lab.models.losses import chance, floor

# The paper's ten training sets, in pairs (data/mixed/README.md).
PAIRS = (2103, 6000, 3550, 485, 3550, 861, 1800, 2680, 1872, 29900)


def pair_by_position(daclip: lab.DaCLIP) -> lab.DaCLIP:
    """What the authors' initialisation makes of a fresh controller: ln_post lands in the first zero layer."""
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
    seen = torch.cat([views(photo, clip.config.image_size, "both") for photo in photos])
    with torch.inference_mode():
        plain = clip.encode_image(seen)
        fresh = {"by name": lab.DaCLIP(clip), "by position": pair_by_position(lab.DaCLIP(clip))}
        return {
            name: tuple((e * plain).sum(1).mean().item() for e in daclip.encode_image(seen))
            for name, daclip in fresh.items()
        }


def noise_left(sde: MeanRevertingSDE, steps: int, *, respaced: bool) -> float:
    """The noise (of 255) that an ideal network leaves, with the posterior re-spaced or in its form from t to t - 1.

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


def main() -> None:
    """Print every number."""
    photos = [photo for part in ("train", "test") for photo in lab.bundled(part)]
    clip = lab.load("lab").clip
    paper = presets.paper()

    print("1. cosine of a fresh DA-CLIP to its CLIP (lab weights, bundled photos)")
    for name, (content, degradation) in start(clip, photos).items():
        print(f"   initialised {name}: content {content:.6f}, degradation {degradation:.6f}")

    print("2. noise left by an ideal network, of 255 (starts at 50)")
    for steps in (5, 10, 20, 50, 100):
        one, re = (noise_left(paper.build_sde(), steps, respaced=r) for r in (False, True))
        print(f"   {steps:3} steps: one-step update {one:4.1f}, re-spaced posterior {re:.1f}")

    print("3. one attention matrix of a 16-head block, float32")
    for side in (256, 512, 1024, 2048):
        print(f"   {side} x {side}: {attention_matrix(side) / 1e9:.2f} GB")

    counts = [round(paper.daclip.batch * n / sum(PAIRS)) for n in PAIRS]
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


if __name__ == "__main__":
    main()
