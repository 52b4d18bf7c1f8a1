"""The authors' U-Net with weights and inputs that are drawn instead of stored, see tests/assets/README.md."""

import json
from pathlib import Path

import numpy as np
import torch

from daclip_lab.models.unet import ConditionalUNet

ASSETS = Path(__file__).parent / "assets"


def draw_weights(shapes, seed):
    """The weights of the reference networks, by name: drawn with NumPy instead of stored (tests/assets/README.md)."""
    weights = {}
    for i, name in enumerate(sorted(shapes)):
        shape, generator = shapes[name], np.random.RandomState(seed + i)
        w = generator.standard_normal(shape)
        w = 0.1 * w if len(shape) == 1 else w / np.sqrt(np.prod(shape[1:]))
        if name.endswith(".g"):
            w = 1 + (w if len(shape) == 1 else 0.1 * generator.standard_normal(shape))
        elif name.endswith("weight") and len(shape) == 1:
            w = 1 + w
        weights[name] = torch.from_numpy(w.astype(np.float32))
    return weights


def reference(name):
    """A network of the authors with drawn weights, and its inputs, outputs and weights (`w.` before their names)."""
    with np.load(ASSETS / f"seeded_{name}.npz") as file:
        config, seed = json.loads(str(file["config"])), int(file["seed"])
        arrays = {key: torch.from_numpy(file[key]) for key in ("t", "output")}
    net = ConditionalUNet(
        channels=config["nf"],
        multipliers=tuple(config["ch_mult"]),
        embed_dim=config["context_dim"],
        use_degradation=config["use_degra_context"],
        use_content=config["use_image_context"],
        scale=config.get("scale", 1),
    )
    weights = draw_weights({n: tuple(v.shape) for n, v in net.state_dict().items()}, seed)
    net.load_state_dict(weights, strict=True)
    inputs, size = np.random.RandomState(seed - 1), arrays["output"].shape
    drawn = {"xt": inputs.standard_normal(size), "mu": inputs.random_sample(size)}
    for key in ("degradation_context", "image_context"):
        drawn[key] = inputs.standard_normal((2, config["context_dim"]))
    arrays |= {key: torch.from_numpy(value).float() for key, value in drawn.items()}
    return net.eval(), arrays | {f"w.{n}": value for n, value in weights.items()}
