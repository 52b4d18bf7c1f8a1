"""classify, restore, degrade: what is asked of a single image."""

import argparse
import json

from daclip_lab.commands.options import Commands, command, sampling, seed, weights


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    one = command(commands, "classify", classify)
    one.add_argument("images", nargs="+", metavar="IMAGE")
    one.add_argument("--json", action="store_true", help="print all probabilities as JSON")
    weights(one)

    one = command(commands, "restore", restore)
    one.add_argument("image", metavar="IMAGE")
    one.add_argument("-o", "--output", required=True, metavar="OUT")
    weights(one)
    sampling(one)

    one = command(commands, "degrade", degrade)
    one.add_argument("image", metavar="IMAGE")
    one.add_argument("--as", dest="name", required=True, metavar="NAME", help="the degradation")
    one.add_argument("--severity", type=float, default=0.5, help="0 to 1")
    one.add_argument("-o", "--output", required=True, metavar="OUT")
    seed(one)


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
    from daclip_lab import pipeline
    from daclip_lab.data.image_io import check_target, save_image

    check_target(options.output)
    degraded = pipeline.degrade(
        options.image, options.name, severity=options.severity, seed=options.seed
    )
    save_image(degraded, options.output)
