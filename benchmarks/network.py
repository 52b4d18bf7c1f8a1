"""One call of the paper-size U-Net, random weights: seconds and peak memory of both ways."""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.isolated_process import GB, resident, run_isolated
from benchmarks.naive_baseline import NaiveUNet, matrix_gigabytes
from daclip_lab.data.seeding import seeded
from daclip_lab.diffusion.tiling import TILE, Tiled
from daclip_lab.models.unet import ConditionalUNet
from daclip_lab.training.devices import has_bf16

PAPER = {"sizes": (256, 512, 1024), "rounds": 2, "network": {}, "tile": TILE}
TOY = {
    "sizes": (48,),
    "rounds": 1,
    "network": {"channels": 32, "multipliers": (1, 1, 2, 2), "embed_dim": 16},
    "tile": 64,
}
SIDES = ("naive", "ours", "ours, bf16", "ours, tiles", "ours, compiled")


def table(settings: dict, *, bf16: bool, compiled: bool) -> pd.DataFrame:
    """A row per size and side: seconds of the fastest call, peak, peak above the weights (GB), largest difference.

    The sides take turns. Where the naive network would not fit into memory it is not run.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in settings["sizes"]:
            run = {side: [] for side in SIDES}
            for _ in range(settings["rounds"]):
                for side in SIDES:
                    if side == "ours, bf16" and not (bf16 or has_bf16(torch.device("cpu"))):
                        continue
                    if side == "ours, compiled" and not compiled:
                        continue
                    if side == "ours, tiles" and size < 1024 and settings is PAPER:
                        continue
                    if side == "naive" and not fits(size):
                        continue
                    output = Path(folder) / f"{side}.npy"
                    measured = run_isolated(
                        "network.call",
                        side=side,
                        size=size,
                        network=settings["network"],
                        tile=settings["tile"],
                        output=str(output),
                    )
                    run[side].append(measured | {"output": np.load(output)})
            rows += [row(size, side, found, run) for side, found in run.items()]
    return pd.DataFrame([each for each in rows if each]).set_index(["size (px)", "side"])


def row(size: int, side: str, found: list[dict], run: dict) -> dict | None:
    """The measurements of one side, or the reason why there are none."""
    head = {"size (px)": size, "side": side}
    if not found:
        if side != "naive":
            return None
        note = f"does not fit: one attention matrix is {matrix_gigabytes(size):.1f} GB, softmax makes a second"
        return head | {"note": note}
    against = run["naive"] or run["ours"]
    difference = np.abs(found[0]["output"] - against[0]["output"]).max()
    fastest = min(each["seconds"] for each in found)
    baseline = run["naive"]
    return head | {
        "seconds": fastest,
        "times faster": min(e["seconds"] for e in baseline) / fastest if baseline else np.nan,
        "peak (GB)": max(each["peak"] for each in found),
        "above weights (GB)": max(each["peak"] - each["weights"] for each in found),
        "difference": difference,
        "note": "" if baseline else "difference is to ours in float32",
    }


def fits(size: int) -> bool:
    """Whether two attention matrices fit into this machine's memory."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
    return 2 * matrix_gigabytes(size) < 0.8 * whole


@torch.inference_mode()
def call(side: str, size: int, network: dict, tile: int, output: str) -> dict:
    """Two calls of one side in this process: seconds of the second, and memory before the first."""
    torch.manual_seed(0)
    net = ConditionalUNet(**network).eval()
    for parameter in net.parameters():
        if not parameter.any():  # zero-initialised layers would hide what is compared
            parameter.normal_(std=0.02)
    content, degradation = torch.randn(2, 1, network.get("embed_dim", 512), generator=seeded(1))
    state, degraded = torch.rand(2, 1, 3, size, size, generator=seeded(2))
    t = torch.tensor([50])
    weights = resident()
    if side == "naive":
        net = NaiveUNet(net)
    conditions = net.prepare(content, degradation)
    if side == "ours, tiles":
        net = Tiled(net, size, size, tile)
    if side == "ours, compiled":
        net.compile()
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=side == "ours, bf16"):
            result = net(state, degraded, t, conditions)
        seconds.append(time.perf_counter() - start)
    np.save(output, result.float().numpy())
    return {"seconds": seconds[1], "weights": weights}
