"""What each process of tests/test_accelerate.py runs: a small training by the library, and the command of a person.

Arguments: a folder to write to, then those of the command.
"""

import os
import sys
from pathlib import Path

import torch
from torch import nn

from daclip_lab.cli import main
from daclip_lab.data.training_pairs import Example
from daclip_lab.files.storage import write_json
from daclip_lab.training import restoration
from daclip_lab.training.checkpoints import write_tensors
from daclip_lab.training.devices import make_accelerator
from daclip_lab.training.loop import fit
from daclip_lab.training.recipes import Recipe

RECIPE = Recipe(steps=6, batch_size=4, image_size=8, learning_rate=0.1, bf16=False)


class Grays:
    """Gray images whose degraded partners are dark by different amounts."""

    def draw(self, generator, size, *, captions=True):
        bright, dark = torch.rand(2, generator=generator)
        clean = torch.full((3, size, size), bright.item())
        return Example(clean=clean, degraded=dark * clean, label="hazy", severity=1.0, caption="")


def train_line(source, **options):
    """A line through the means of degraded and clean images, without chance in its loss, and its losses."""
    line = nn.Linear(1, 1)
    nn.init.constant_(line.weight, 0.5)
    nn.init.zeros_(line.bias)

    def loss(batch, generator):
        error = line(batch.degraded.mean((1, 2, 3))[:, None]) - batch.clean.mean((1, 2, 3))[:, None]
        return error.square().mean(), {}

    return line, [step.loss for step in fit(line, loss, source, RECIPE, **options)]


def run_command(arguments):
    """The exit code of a command that trains, the weights that it ended with, and its losses."""
    models, losses = [], []

    def watched(model, *args, **options):
        models.append(model)
        for step in fit(model, *args, **options):
            losses.append(step.loss)
            yield step

    restoration.fit = watched
    try:
        code = main([str(argument) for argument in arguments])
    finally:
        restoration.fit = fit
    return code, models[0].state_dict(), losses


def work(folder, arguments):
    rank = os.environ["RANK"]
    line, losses = train_line(Grays(), accelerator=make_accelerator())
    write_tensors(folder / f"line{rank}.safetensors", line.state_dict())
    write_json(folder / f"line{rank}.json", {"losses": losses})
    code, weights, losses = run_command(arguments)
    write_tensors(folder / f"restorer{rank}.safetensors", weights)
    write_json(folder / f"restorer{rank}.json", {"losses": losses})
    return code


if __name__ == "__main__":
    sys.exit(work(Path(sys.argv[1]), sys.argv[2:]))
