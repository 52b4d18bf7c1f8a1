"""The command line, `daclip-lab`: a thin layer over the library.

What a person hands over wrongly is answered in one line on standard error, with exit code 2.
"""

import argparse
import json
import math
import sys
from pathlib import Path

HOLD_OUT = 10
"""One photo in so many is kept from training, for validation."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for input that cannot be used, 130 when interrupted."""
    from daclip_lab.errors import InputError

    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        print(f"daclip-lab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("daclip-lab: interrupted", file=sys.stderr)
        return 130
    return 0


def classify(options: argparse.Namespace) -> None:
    """Name what is wrong with each image."""
    from daclip_lab.pipeline import load

    pipe = load(options.weights)
    answers = []
    for image in options.images:
        probabilities = pipe.classify(image)
        name = probabilities.idxmax()
        answers.append(
            {
                "image": image,
                "degradation": name,
                "probability": float(probabilities[name]),
                "probabilities": {k: float(v) for k, v in probabilities.items()},
            }
        )
    if options.json:
        print(json.dumps(answers, indent=2))
        return
    for answer in answers:
        print(f"{answer['image']}: {answer['degradation']} ({answer['probability']:.1%})")


def restore(options: argparse.Namespace) -> None:
    """Restore one image."""
    from daclip_lab.data.image_io import check_target, read_image, save_image
    from daclip_lab.pipeline import load

    check_target(options.output)
    read_image(options.image)
    pipe = load(options.weights)
    restored = pipe.restore(
        options.image, steps=options.steps, sampler=options.sampler, seed=options.seed
    )
    save_image(restored, options.output)


def degrade(options: argparse.Namespace) -> None:
    """Degrade one image."""
    import daclip_lab
    from daclip_lab.data.image_io import check_target, save_image

    check_target(options.output)
    degraded = daclip_lab.degrade(
        options.image, options.name, severity=options.severity, seed=options.seed
    )
    save_image(degraded, options.output)


def evaluate(options: argparse.Namespace) -> None:
    """Measure classification and restoration on degraded photos."""
    from daclip_lab.analysis.evaluation import Protocol, evaluate
    from daclip_lab.data.datasets import bundled, folder
    from daclip_lab.pipeline import load

    photos = bundled("test") if options.data == "bundled" else folder(options.data)
    # Few photos are looked at in many places.
    crops = options.crops
    if crops is None:
        crops = 1 if options.whole else math.ceil(100 / len(photos))
    protocol = Protocol(
        crop=None if options.whole else 64,
        crops=crops,
        steps=options.steps,
        sampler=options.sampler,
        seed=options.seed,
    )
    result = evaluate(load(options.weights), photos, protocol)
    print(json.dumps(result.to_dict(), indent=2) if options.json else result)


def calibrate(options: argparse.Namespace) -> None:
    """Fit the classifier's temperature on the photos that training held out, and keep it with the weights."""
    from dataclasses import replace

    from daclip_lab.analysis.calibration import calibrate
    from daclip_lab.data.datasets import folder
    from daclip_lab.pipeline import load

    pipe = load(options.weights)
    photos = _validation(folder(*options.data))
    temperature = round(calibrate(pipe, photos), 4)
    pipe.settings = replace(pipe.settings, temperature=temperature)
    pipe.save_settings(options.weights)
    print(f"temperature {temperature}, fitted on {len(photos)} held-out photos")


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
        raise _input_error(f"{out} is a file: wanted a folder to write to")
    if (out / "state.safetensors").exists() and not options.resume:
        raise _input_error(f"{out} holds a training: go on with --resume, or name another folder")
    scale = presets.named(options.scale)
    source = _source(options.data, scale)
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
            raise _input_error(
                f"the {scale.name} scale takes a pretrained CLIP: there is none to train"
            )
        wanted = recipe(scale.clip_training)
        clip = scale.build_clip(wanted.seed)
        if isinstance(source, Synthetic):
            source = replace(source, clean=1 - scale.mentioned, mixed=0.0)
        pipe = Pipeline(settings, clip=clip)
        steps = t.train_clip(clip, source, wanted, **loop)
    elif options.part == "daclip":
        if given.clip is None:
            raise _input_error(f"{options.weights} holds no CLIP to put a controller on")
        wanted = replace(
            recipe(scale.daclip),
            size=settings.clip.image_size,
            content=not options.degradation_only,
        )
        daclip = DaCLIP(given.clip)
        if options.start:
            started = load(options.start)
            if started.daclip is None:
                raise _input_error(f"{options.start} holds no controller to start from")
            daclip.load_state_dict(started.daclip.state_dict())
        # Probabilities of a new controller have to be calibrated anew.
        settings = replace(settings, temperature=1.0, synonyms=wanted.synonyms)
        pipe = Pipeline(settings, daclip=daclip)
        steps = t.train_daclip(daclip, source, wanted, **loop)
    else:
        wanted = replace(recipe(scale.restorer), oracle=options.oracle)
        if given.clip is None or (given.daclip is None and not options.oracle):
            raise _input_error(f"{options.weights} holds no DA-CLIP to steer a restorer")
        if options.start:
            started = load(options.start)
            if started.restorer is None:
                raise _input_error(f"{options.start} holds no restorer to start from")
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


def _source(data: list[str], scale):
    """Training pairs from what --data names; a tenth of the photos is held out for validation."""
    from daclip_lab.data.datasets import PairFolder, Synthetic, bundled, folder

    if data == ["bundled"]:
        return Synthetic(photos=bundled("train"), scenes=scale.scenes, mixed=scale.mixed)
    if len(data) == 1 and any(Path(data[0]).glob("*/LQ")):
        return PairFolder(data[0])
    photos = folder(*data)
    if len(photos) >= HOLD_OUT:
        photos, _ = photos.split(held_out=len(photos) // HOLD_OUT)
    return Synthetic(photos=photos, scenes=scale.scenes, mixed=scale.mixed)


def _validation(photos):
    """The part of the photos of `_source` that it left out."""
    if len(photos) < HOLD_OUT:
        raise _input_error(f"{len(photos)} photos: of fewer than {HOLD_OUT} none is held out")
    return photos.split(held_out=len(photos) // HOLD_OUT)[1]


def _input_error(message: str) -> Exception:
    from daclip_lab.errors import InputError

    return InputError(message)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="daclip-lab", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        added.set_defaults(run=run)
        return added

    def weights(to, default: str | None = "lab") -> None:
        to.add_argument("--weights", default=default, help="a folder, or shipped weights by name")

    def sampling(to) -> None:
        to.add_argument(
            "--steps", type=int, help="calls of the network (default: the weights' own)"
        )
        to.add_argument(
            "--sampler",
            default="posterior",
            help="posterior, posterior-2, deterministic or deterministic-2",
        )
        to.add_argument("--seed", type=int, default=0, help="decides all that is random")

    one = command("classify", classify)
    one.add_argument("images", nargs="+", metavar="IMAGE")
    one.add_argument("--json", action="store_true", help="print all probabilities as JSON")
    weights(one)

    one = command("restore", restore)
    one.add_argument("image", metavar="IMAGE")
    one.add_argument("-o", "--output", required=True, metavar="OUT")
    weights(one)
    sampling(one)

    one = command("degrade", degrade)
    one.add_argument("image", metavar="IMAGE")
    one.add_argument("--as", dest="name", required=True, metavar="NAME", help="the degradation")
    one.add_argument("--severity", type=float, default=0.5, help="0 to 1")
    one.add_argument("--seed", type=int, default=0, help="decides all that is random")
    one.add_argument("-o", "--output", required=True, metavar="OUT")

    one = command("evaluate", evaluate)
    one.add_argument("--data", default="bundled", help="'bundled', or a folder of clean photos")
    one.add_argument(
        "--crops", type=int, help="crops per photo and degradation (default: 100 in all)"
    )
    one.add_argument("--whole", action="store_true", help="whole photos instead of 64 px crops")
    one.add_argument("--json", action="store_true", help="print the table as JSON")
    weights(one)
    sampling(one)

    one = command("calibrate", calibrate)
    one.add_argument("--data", nargs="+", required=True, help="the folders that were trained on")
    one.add_argument("--weights", required=True, help="the folder to calibrate")

    one = command("train", train)
    one.add_argument("part", choices=("clip", "daclip", "restorer"))
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
    return parser


if __name__ == "__main__":
    sys.exit(main())
