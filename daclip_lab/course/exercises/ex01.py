"""Checkers of notebook 01: what degradations do to an image, in which order, and at what cost."""

import math

import torch

from daclip_lab.course.answers import choice, number, tensor
from daclip_lab.course.registry import exercise
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations.registry import DEGRADATIONS


@exercise("01.1", wrong=["noisy", "jpeg-compressed", "low-light", "foggy", 3])
def first_on_the_way_of_the_light(answer) -> str | None:
    hint = (
        "Where is the light when this happens to it: in the scene, on the sensor, or in the file?"
    )
    return choice(answer, "rainy", among=DEGRADATIONS, hint=hint)


@exercise("01.2", wrong=[50 / 255, 20 * math.log10(50), -14.15, 28.3, "low"])
def decibels_of_noise(answer) -> str | None:
    known = {
        28.3: "That is twice too much: the squared error is already a square.",
        -14.15: "The error is smaller than the range, so the number of decibels is positive.",
    }
    for value, about in known.items():
        if number(answer, value, within=0.1, hint="") is None:
            return about
    hint = "How large is the mean squared error of noise with that standard deviation?"
    return number(answer, 20 * math.log10(255 / 50), within=0.1, hint=hint)


def _swapped(image, transmission, airlight):
    return image * (1 - transmission) + airlight * transmission


def _brightened(image, transmission, airlight):
    return image + airlight * (1 - transmission)


def _darkened(image, transmission, airlight):
    return image * transmission


@exercise("01.3", wrong=[_swapped, _brightened, _darkened, lambda image, t, a: image * t + a])
def haze(answer) -> str | None:
    generator = seeded(13)
    image = torch.rand(3, 6, 5, generator=generator)
    transmission = torch.rand(1, 6, 5, generator=generator)
    airlight = torch.tensor([0.8, 0.82, 0.9])[:, None, None]
    given = answer(image, transmission, airlight)
    known = {
        "Where nothing gets through (a transmission of 0), what should one see?": _swapped,
        "Haze does not only add light. What happens to the light of the scene on its way?": _brightened,
        "The light of the scene is weakened, but the haze itself shines, too.": _darkened,
    }
    for hint, mistake in known.items():
        if tensor(given, mistake(image, transmission, airlight), within=1e-5, hint="") is None:
            return hint
    right = image * transmission + airlight * (1 - transmission)
    hint = "A weighted mean of the scene and the airlight, pixel by pixel."
    return tensor(given, right, within=1e-5, hint=hint)


def _mean_of_pixels(image, clean):
    return (-10 * (image - clean).square().log10()).mean()


def _amplitude(image, clean):
    return -10 * (image - clean).square().mean().sqrt().log10()


@exercise(
    "01.4",
    wrong=[
        _mean_of_pixels,
        _amplitude,
        lambda image, clean: (image - clean).square().mean(),
        lambda image, clean: 10 * (image - clean).square().mean().log10(),
        lambda image, clean: -10 * (image - clean).square().mean().log(),
    ],
)
def decibels(answer) -> str | None:
    generator = seeded(14)
    clean = torch.rand(3, 8, 8, generator=generator)
    image = (clean + 0.1 * torch.randn(3, 8, 8, generator=generator)).clamp(0, 1)
    error = (image - clean).square().mean()
    given = answer(image, clean)
    known = {
        "That is a mean of decibels; take the mean of the squared errors first.": _mean_of_pixels(
            image, clean
        ),
        "Decibels compare powers: the squared error, without a root.": _amplitude(image, clean),
        "That is the squared error itself; decibels are its logarithm, times something.": error,
        "Larger should mean closer: mind the sign.": 10 * error.log10(),
        "That is the natural logarithm; decibels count in powers of ten.": -10 * error.log(),
    }
    for hint, value in known.items():
        if number(given, value.item(), within=1e-4, hint="") is None:
            return hint
    hint = "Mean squared error, logarithm to base 10, times -10."
    return number(given, (-10 * error.log10()).item(), within=1e-4, hint=hint)
