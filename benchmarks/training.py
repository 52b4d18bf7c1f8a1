"""Training speed: what is made and consumed per second, alone and together, and the former training beside today's."""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks import former_restorer as former
from benchmarks.tradeoff import crops
from daclip_lab.commands.init_weights import starting_weights
from daclip_lab.commands.training.plan import measure
from daclip_lab.commands.training.progress import cores
from daclip_lab.commands.training_data import source_of
from daclip_lab.data.canvases.source import Canvas, WholePhotos
from daclip_lab.data.seeding import seeded
from daclip_lab.data.training_pairs import Example
from daclip_lab.diffusion.samplers import denoiser, sample
from daclip_lab.metrics.image_quality import psnr
from daclip_lab.models.daclip import DaCLIP, Embeddings
from daclip_lab.models.restorer import build_restorer
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.training import presets
from daclip_lab.training.objectives import train_daclip
from daclip_lab.training.restoration import train_restorer

SECONDS, MINUTES, SLICE = 10.0, 10.0, 15.0
"""Of each speed that is measured; of each of the two trainings that are compared; of each before the other's turn."""
ENDLESS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Ready(WholePhotos):
    """The same source, whose images were made before: they cost nothing."""

    made: tuple[dict, list[Example]]

    def canvas(self, seed: int, index: int, side: int) -> Canvas:
        return self.made[0][side]

    def draw(self, generator: torch.Generator, size: int, *, captions: bool = True) -> Example:
        return self.made[1][int(torch.randint(len(self.made[1]), (), generator=generator))]


def ready(source: WholePhotos, size: int) -> Ready:
    """A source of one canvas of each side and a few crops of `source`."""
    canvases = {side: source.canvas(0, side, side) for side in source.sides}
    drawn = [source.draw(seeded(8, k), size) for k in range(64)]
    return Ready(**vars(source), made=(canvases, drawn))


def per_second(make: Callable[[int], Any], seconds: float) -> float:
    """How often a function of the number of the call is called per second; the first call does not count."""
    make(0)  # photos are decoded when they are first needed
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        calls += 1
        make(calls)
    return calls / (time.perf_counter() - start)


def speeds(scale: presets.Scale, daclip: DaCLIP, seconds: float) -> list[dict]:
    """Rows of the images per second that one process makes, and that the two trainings consume."""
    source, size = source_of(["bundled"], scale), scale.clip.image_size
    draw = lambda k: source.draw(seeded(1, k), size, captions=False)  # noqa: E731
    rows = [{"what": f"crops of {size} px made, one process", "images": per_second(draw, seconds)}]
    for side in source.sides:
        make = lambda k, side=side: source.canvas(1, k, side)  # noqa: E731
        what = f"canvases of {side} px made, one process"
        rows.append({"what": what, "images": per_second(make, seconds)})
    per_photo = 1 + scale.daclip.photo_crops
    views = scale.daclip.batch_size + scale.daclip.photos * per_photo
    patches = scale.restorer.batch_size * scale.restorer.image_size**2 / size**2
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        for kind, given, workers in (
            ("alone", ready(source, size), 0),
            ("together", source, max(0, cores() - 1)),
        ):
            longer: dict = {"steps": ENDLESS, "workers": workers}
            model = DaCLIP(copy.deepcopy(daclip.clip)).to(device)
            net = build_restorer(scale.network, daclip.clip.config.embed_dim).to(device)
            sde = scale.build_sde()
            controller = train_daclip(model, given, replace(scale.daclip, **longer))
            restorer = train_restorer(net, daclip, sde, given, replace(scale.restorer, **longer))
            for part, steps, images in (
                ("controller", controller, views),
                ("restorer", restorer, patches),
            ):
                speed = measure(steps, seconds)
                what = f"{part}, {kind}, {workers} processes make data"
                rows.append({"what": what, "device": device, "images": images / speed.step})
    return rows


def compared(scale: presets.Scale, pipe: Pipeline, minutes: float, *, toy: bool) -> list[dict]:
    """Rows of the former and today's training of a restorer from scratch, on the CPU, in equal minutes and in turn.

    Both are conditioned on the DA-CLIP of `pipe`, and as many processes make their data. The former training with the
    larger DA-CLIP that it had is timed alone.
    """
    source, workers, daclip = source_of(["bundled"], scale), max(0, cores() - 1), pipe.daclip
    network, recipe = former.NETWORK, former.RECIPE
    if toy:
        network, recipe = scale.network, replace(recipe, batch_size=2, image_size=32)
    recipes, embed_dim = {"former": recipe, "now": scale.restorer}, pipe.settings.clip.embed_dim

    def build(name: str, steps: int, daclip: DaCLIP) -> tuple[nn.Module, Iterator]:
        recipe = replace(recipes[name], steps=steps, workers=workers)
        if name == "former":
            net = former.network(network, embed_dim)
            return net, former.train(net, daclip, pipe.sde, source.crops, recipe)
        net = build_restorer(scale.network, embed_dim)
        return net, train_restorer(net, daclip, pipe.sde, source, recipe)

    def seconds_per_step(name: str, daclip: DaCLIP) -> float:
        return measure(build(name, ENDLESS, daclip)[1], min(SECONDS, 6 * minutes)).step

    pixels = {name: each.batch_size * each.image_size**2 for name, each in recipes.items()}
    steps = {name: max(1, round(60 * minutes / seconds_per_step(name, daclip))) for name in recipes}
    trained = {name: build(name, steps[name], daclip) for name in recipes}
    seconds = in_turn({name: training for name, (_, training) in trained.items()}, SLICE)
    clean, degraded = crops(48, 1) if toy else crops(176, 5)
    embeddings = pipe.encode(list(degraded))
    rows = [
        {
            "what": f"restorer, {name}",
            "pixels": steps[name] * pixels[name] / seconds[name],
            "minutes": seconds[name] / 60,
            "PSNR (dB)": quality(net, pipe.sde, clean, degraded, embeddings),
        }
        for name, (net, _) in trained.items()
    ]
    own = pixels["former"] / seconds_per_step("former", former.daclip(embed_dim))
    rows.append({"what": "restorer, former, under the DA-CLIP of then", "pixels": own})
    return [
        row | {"device": "cpu", "times the former": row["pixels"] / rows[0]["pixels"]}
        for row in rows
    ]


def in_turn(trainings: dict[str, Iterator], slice_seconds: float) -> dict[str, float]:
    """Run trainings to their ends, some seconds of each in turn, and return the seconds that each took."""
    seconds, left = dict.fromkeys(trainings, 0.0), list(trainings)
    while left:
        for name in list(left):
            start = time.perf_counter()
            for _ in trainings[name]:
                if time.perf_counter() - start > slice_seconds:
                    break
            else:
                left.remove(name)
            seconds[name] += time.perf_counter() - start
    return seconds


@torch.inference_mode()
def quality(net, sde, clean: Tensor, degraded: Tensor, embeddings: Embeddings) -> float:
    """The mean PSNR in dB of images (n, 3, h, w) restored in one step."""
    predict = denoiser(net.eval(), sde, degraded, net.prepare(*embeddings))
    *_, last = sample(predict, sde, degraded, steps=1, generator=seeded(0))
    return psnr(last.state.clamp(0, 1), clean).mean().item()


def table(weights: str, *, toy: bool) -> pd.DataFrame:
    """Rows of `speeds` and `compared`: images per second, training pixels per second, PSNR."""
    scale = presets.smoke() if toy else presets.lab()
    pipe = starting_weights("random" if toy else weights, scale)
    rows = speeds(scale, pipe.require_daclip(), 0.1 if toy else SECONDS)
    rows += compared(scale, pipe, 0.01 if toy else MINUTES, toy=toy)
    columns = {"images": "images per second", "pixels": "training pixels per second"}
    return pd.DataFrame(rows).set_index("what").rename(columns=columns)
