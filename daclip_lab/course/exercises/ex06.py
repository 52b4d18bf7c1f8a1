"""Checkers of notebook 06: the mean-reverting SDE, the estimates of its network, and one step backwards."""

import math

import torch

from daclip_lab.course.answers import number, tensor
from daclip_lab.course.registry import exercise
from daclip_lab.data.seeding import seeded


@exercise("06.1", wrong=[50.0, 25.0, 50 * math.sqrt(0.5), 37.5, "half"])
def noise_when_half_is_gone(answer) -> str | None:
    known = {
        50.0: "That is the deviation at the very end: how much of the variance is there by now?",
        25.0: "Half of the image is left; the noise is not what is left over.",
        37.5: "That share belongs to the variance; a deviation is wanted.",
    }
    for value, hint in known.items():
        if number(answer, value, within=0.05, hint="") is None:
            return hint
    hint = "The variance is a share 1 - alpha² of the final one."
    return number(answer, 50 * math.sqrt(0.75), within=0.1, hint=hint)


def _images(count: int) -> list[torch.Tensor]:
    return list(torch.rand(count, 2, 3, 4, 4, generator=seeded(61)))


@exercise(
    "06.2",
    wrong=[
        lambda state, degraded, noise, alpha, sigma: state - sigma * noise,
        lambda state, degraded, noise, alpha, sigma: (state - sigma * noise) / alpha,
        lambda state, degraded, noise, alpha, sigma: degraded + state - degraded - sigma * noise,
        lambda state, degraded, noise, alpha, sigma: (
            degraded + (state - degraded + sigma * noise) / alpha
        ),
    ],
)
def clean_from_noise(answer) -> str | None:
    clean, degraded, noise = _images(3)
    alpha, sigma = 0.3, 0.15
    state = degraded + alpha * (clean - degraded) + sigma * noise
    given = answer(state, degraded, noise, alpha, sigma)
    if tensor(given, state - sigma * noise, within=1e-5, hint="") is None:
        return "The noise is off, but what remains still lies between the clean and the degraded image."
    if tensor(given, (state - sigma * noise) / alpha, within=1e-5, hint="") is None:
        return "Only the distance from the degraded image has shrunk, not the image itself."
    hint = "Write down how the state was made, and solve for the clean image."
    return tensor(given, clean, within=1e-5, hint=hint)


@exercise(
    "06.3",
    wrong=[
        lambda state, clean, degraded, at, st, as_, ss: degraded + as_ * (clean - degraded),
        lambda state, clean, degraded, at, st, as_, ss: clean,
        lambda state, clean, degraded, at, st, as_, ss: (
            degraded + as_ * (clean - degraded) + (state - degraded - at * (clean - degraded))
        ),
        lambda state, clean, degraded, at, st, as_, ss: (
            degraded + as_ * (clean - degraded) + ss * torch.randn(state.shape)
        ),
    ],
)
def deterministic_step(answer) -> str | None:
    clean, degraded, noise = _images(3)
    at, st, as_, ss = 0.1, 0.19, 0.6, 0.12
    state = degraded + at * (clean - degraded) + st * noise
    mean = degraded + as_ * (clean - degraded)
    given = answer(state, clean, degraded, at, st, as_, ss)
    if tensor(given, mean, within=1e-5, hint="") is None:
        return "That is where the noise-free image would be: the state at s still has noise in it."
    if tensor(given, mean + st * noise, within=1e-5, hint="") is None:
        return "The noise is that of time t; at time s there is less of it."
    hint = "Which noise is in the state at t? The same noise, at the strength of s, is in the state at s."
    return tensor(given, mean + ss * noise, within=1e-5, hint=hint)


def _trusting(state, degraded, mean, spread, alpha, sigma):
    return degraded + (state - degraded) / alpha


def _stubborn(state, degraded, mean, spread, alpha, sigma):
    return torch.full_like(state, mean)


def _mixed_up(state, degraded, mean, spread, alpha, sigma):
    expected = degraded + alpha * (mean - degraded)
    return mean + spread**2 / (spread**2 + sigma**2) * (state - expected)


@exercise("06.4", wrong=[_trusting, _stubborn, _mixed_up, lambda state, *_: state])
def best_guess(answer) -> str | None:
    state = torch.linspace(-0.2, 1.2, 15)
    degraded, mean, spread, alpha, sigma = 0.3, 0.7, 0.1, 0.4, 0.15
    given = answer(state, degraded, mean, spread, alpha, sigma)
    known = {
        "That takes the state as it is, noise and all.": _trusting,
        "That does not look at the state at all.": _stubborn,
        "By now the spread of the clean pixels has shrunk, too: by alpha.": _mixed_up,
    }
    for hint, mistake in known.items():
        wrong = mistake(state, degraded, mean, spread, alpha, sigma)
        if tensor(given, wrong, within=1e-5, hint="") is None:
            return hint
    expected = degraded + alpha * (mean - degraded)
    trust = alpha * spread**2 / (alpha**2 * spread**2 + sigma**2)
    hint = "Start from the mean; add the covariance over the variance, times the surprise."
    return tensor(given, mean + trust * (state - expected), within=1e-5, hint=hint)
