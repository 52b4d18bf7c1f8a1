"""train: CLIP, its words, the controller, the restorer."""

import argparse
import json
from pathlib import Path

from daclip_lab.commands.options import Commands, command, weights
from daclip_lab.commands.training_data import source_of
from daclip_lab.errors import InputError


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    one = command(commands, "train", train)
    one.add_argument("part", choices=("clip", "words", "daclip", "restorer"))
    one.add_argument("--scale", default="lab", help="smoke, lab or paper")
    one.add_argument(
        "--data", nargs="+", default=["bundled"], help="'bundled', or folders of photos or of pairs"
    )
    one.add_argument(
        "--out", required=True, metavar="RUN", help="folder for state, log and weights"
    )
    one.add_argument("--resume", action="store_true", help="go on where RUN was interrupted")
    one.add_argument("--start", help="a folder whose controller or restorer is trained further")
    one.add_argument(
        "--degradation-only",
        action="store_true",
        help="train the controller's degradation embedding alone, in less than half of the time",
    )
    one.add_argument(
        "--oracle",
        action="store_true",
        help="steer the restorer by what a perfect DA-CLIP would say, not by what it says",
    )
    one.add_argument("--steps", type=int, help="instead of the scale's own")
    one.add_argument("--batch", type=int, help="instead of the scale's own")
    one.add_argument("--learning-rate", type=float, help="instead of the scale's own")
    one.add_argument("--seed", type=int, help="instead of the scale's own")
    one.add_argument("--half", action="store_true", help="write the weights in half precision")
    weights(one)


def train(options: argparse.Namespace) -> None:
    """Train CLIP, the controller or the restorer, and write the weights when done."""
    from dataclasses import replace

    from tqdm.auto import tqdm

    from daclip_lab import presets
    from daclip_lab import training as t
    from daclip_lab.data.datasets import Synthetic
    from daclip_lab.models.daclip import DaCLIP
    from daclip_lab.pipeline import Pipeline, Settings, load

    out = Path(options.out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: wanted a folder to write to")
    if (out / "state.safetensors").exists() and not options.resume:
        raise InputError(f"{out} holds a training: go on with --resume, or name another folder")
    scale = presets.named(options.scale)
    source = source_of(options.data, scale)
    given = None if options.part == "clip" else load(options.weights)
    settings = given.settings if given else Settings(
        clip=scale.clip, network=scale.network, sde=scale.sde, view=scale.view, steps=scale.steps,
        synonyms=scale.daclip.synonyms,
    )  # fmt: skip

    def recipe(default):
        changed = {
            k: v
            for k in ("steps", "batch", "learning_rate", "seed")
            if (v := getattr(options, k)) is not None
        }
        return replace(default, workers=1, **changed)

    loop = {"run": options.out, "resume": options.resume}
    if options.part == "clip":
        if scale.clip_training is None:
            raise InputError(
                f"the {scale.name} scale takes a pretrained CLIP: there is none to train"
            )
        wanted = recipe(scale.clip_training)
        clip = scale.build_clip(wanted.seed)
        if isinstance(source, Synthetic):
            source = replace(source, clean=1 - scale.mentioned, mixed=0.0)
        pipe = Pipeline(settings, clip=clip)
        steps = t.train_clip(clip, source, wanted, **loop)
    elif options.part == "words":
        if given.clip is None or scale.words is None:
            raise InputError(f"words are taught to a CLIP that was trained here: {options.weights}")
        wanted = recipe(scale.words)
        if isinstance(source, Synthetic):
            source = replace(source, clean=1 - scale.mentioned, mixed=0.0)
        pipe = Pipeline(settings, clip=given.clip)
        steps = t.train_clip(given.clip, source, wanted, **loop)
    elif options.part == "daclip":
        if given.clip is None:
            raise InputError(f"{options.weights} holds no CLIP to put a controller on")
        wanted = replace(
            recipe(scale.daclip),
            size=settings.clip.image_size,
            content=not options.degradation_only,
        )
        daclip = DaCLIP(given.clip)
        if options.start:
            started = load(options.start)
            if started.daclip is None:
                raise InputError(f"{options.start} holds no controller to start from")
            daclip.controller.load_state_dict(started.daclip.controller.state_dict())
            daclip.logit_scale.data.copy_(started.daclip.logit_scale)
        # Probabilities of a new controller have to be calibrated anew.
        settings = replace(settings, temperature=1.0, synonyms=wanted.synonyms)
        pipe = Pipeline(settings, daclip=daclip)
        steps = t.train_daclip(daclip, source, wanted, **loop)
    else:
        wanted = replace(recipe(scale.restorer), oracle=options.oracle)
        if given.clip is None or (given.daclip is None and not options.oracle):
            raise InputError(f"{options.weights} holds no DA-CLIP to steer a restorer")
        if options.start:
            started = load(options.start)
            if started.restorer is None:
                raise InputError(f"{options.start} holds no restorer to start from")
            net, settings = started.restorer, replace(settings, network=started.settings.network)
        else:
            settings = replace(settings, network=scale.network)
            net = presets.build_restorer(scale.network, settings.clip.embed_dim, wanted.seed)
        pipe = Pipeline(settings, clip=given.clip, daclip=given.daclip, restorer=net)
        daclip = given.daclip or DaCLIP(given.clip)
        steps = t.train_restorer(net, daclip, pipe.sde, source, wanted, **loop)

    with tqdm(total=wanted.steps, unit="step", desc=options.part) as bar:
        for step in steps:
            bar.update(step.index - bar.n)
            if step.index % 20 == 0 or step.index == wanted.steps:
                line = {"step": step.index, "loss": step.loss, **step.metrics}
                line = {k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()}
                bar.set_postfix(line)
                out.mkdir(parents=True, exist_ok=True)
                with (out / "log.jsonl").open("a") as log:
                    log.write(json.dumps({**line, "seconds": round(step.seconds, 3)}) + "\n")
    pipe.save(out, half=options.half)
    print(f"weights written to {out}")
