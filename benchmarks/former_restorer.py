"""The restorer's training as it was up to version 0.2: its network, its loop and its data.

Crops of 64 pixels, each degraded by itself and used once; embeddings of every crop by a DA-CLIP of 64 tokens; a penalty
for harm; normalisations that return float32; a modular optimiser without a fused kernel.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from daclip_lab.data.seeding import seeded
from daclip_lab.data.training_pairs import Batches, Source
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.models.clip import Clip, resize
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.models.nafnet import Block, LayerNorm2d, gate
from daclip_lab.models.restorer import build_restorer
from daclip_lab.training import presets
from daclip_lab.training.devices import has_bf16, ignore_sigterm, to_device
from daclip_lab.training.recipes import RestorerRecipe, learning_rate
from daclip_lab.training.restoration import restoration_error

RECIPE = RestorerRecipe(
    steps=8_000,
    batch_size=16,
    image_size=64,
    learning_rate=1.5e-3,
    final_learning_rate=1e-6,
    warmup=200,
    betas=(0.9, 0.99),
    eps=1e-8,
    objective="log_mse",
    t_max_prob=0.5,
    harm_penalty=6.0,
    conditioning_dropout=0.1,
)
NETWORK = {"kind": "nafnet", "width": 32, "encoder": (2, 2, 4), "middle": 2, "decoder": (2, 2, 2)}
NETWORK |= {"conditioning_dim": 128, "window": None}
VISION = {"image_size": 64, "patch_size": 8, "width": 160, "layers": 4, "head_width": 32}


class FormerLayerNorm(LayerNorm2d):
    """In float32, whatever its input."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.LayerNorm.forward(self, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class FormerBlock(Block):
    """With products and sums one by one."""

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        gain1, shift1, gain2, shift2 = self.modulation(vector)[:, :, None, None].chunk(4, dim=1)
        y = self.norm_space(x) * (1 + gain1) + shift1
        y = gate(self.depthwise(self.expand_space(y)))
        y = y * self.channel_weight(self.mean(y))
        x = x + self.scale_space * self.project_space(y)
        y = self.norm_channel(x) * (1 + gain2) + shift2
        y = gate(self.expand_channel(y))
        return x + self.scale_channel * self.project_channel(y)


def network(config: dict, embed_dim: int) -> nn.Module:
    """A NAFNet as it was computed then, for embeddings of that length, with random weights."""
    net = build_restorer(config, embed_dim)
    for module in net.modules():
        if isinstance(module, LayerNorm2d):
            module.__class__ = FormerLayerNorm
        elif isinstance(module, Block):
            module.__class__ = FormerBlock
    return net


def daclip(embed_dim: int) -> DaCLIP:
    """The DA-CLIP of then with random weights, to be timed; its controller had convolutions on top of this."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DaCLIP(Clip(replace(presets.lab().clip, vision=VISION, embed_dim=embed_dim)))


def train(
    net: nn.Module,
    conditioned_by: DaCLIP,
    sde: MeanRevertingSDE,
    source: Source,
    recipe: RestorerRecipe,
) -> Iterator[SimpleNamespace]:
    """Train a network as then, yielding `index` (from 1) and `loss` of every step.

    In the end it holds the average of its weights.
    """
    device = next(net.parameters()).device
    net.train().requires_grad_(True)
    conditioned_by.eval()
    weights = list(net.parameters())
    average = [p.detach().clone() for p in weights]
    optimizer = torch.optim.AdamW(
        weights, lr=0.0, betas=recipe.betas, eps=recipe.eps, weight_decay=0.0, foreach=True
    )
    loader = torch.utils.data.DataLoader(
        Batches(source, size=recipe.image_size, batch=recipe.batch_size, captions=False),
        batch_size=None,
        sampler=range(recipe.steps),
        num_workers=recipe.workers,
        worker_init_fn=ignore_sigterm,
        generator=torch.Generator(),
    )
    for index, batch in enumerate(loader):
        batch, generator, b = to_device(batch, device), seeded(0, index, 1), recipe.batch_size
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, index)
        t = torch.randint(1, sde.steps + 1, (b,), generator=generator)
        t[torch.rand(b, generator=generator) < recipe.t_max_prob] = sde.steps
        noise = torch.randn(batch.clean.shape, generator=generator).to(device)
        keep = torch.rand(b, generator=generator) >= recipe.conditioning_dropout
        with torch.no_grad():
            size = conditioned_by.clip.config.image_size
            found = conditioned_by.encode_image(resize(batch.degraded, size))
        with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
            state = sde.diffuse(batch.clean, batch.degraded, t, noise)
            conditions = net.prepare(*(e * keep[:, None].to(device) for e in found))
            prediction = net(state, batch.degraded, t.to(device), conditions).float()
            kind = net.prediction_type
            error = restoration_error(kind, recipe, sde, prediction, batch, state, t).mean()
        optimizer.zero_grad()
        error.backward()
        norm = nn.utils.clip_grad_norm_(weights, recipe.max_grad_norm)
        if not math.isfinite((error.detach() + norm).item()):
            raise ArithmeticError(f"the loss or its gradient is not finite at step {index + 1}")
        optimizer.step()
        decay = min(recipe.ema_decay, (2 + index) / (11 + index))
        with torch.no_grad():
            torch._foreach_lerp_(average, weights, 1 - decay)
        yield SimpleNamespace(index=index + 1, loss=error.detach())
    with torch.no_grad():
        torch._foreach_copy_(weights, average)
