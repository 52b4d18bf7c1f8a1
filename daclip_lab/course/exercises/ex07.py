"""Checkers of notebook 07: the prompt, cross-attention, the average of weights, and the loss of a restorer."""

import torch
from torch.nn import functional as F

from daclip_lab.course.answers import number, tensor
from daclip_lab.course.registry import exercise


@exercise("07.1", wrong=[1.0, 4, 0.5, torch.ones(4)])
def weight_of_one_among_equals(answer) -> str | None:
    return number(
        answer,
        1 / 4,
        within=1e-3,
        hint="Equal keys get equal scores from any query. What does a softmax make of equal scores?",
    )


def _wrong_axis(pixels, keys, values):
    return (pixels @ keys.mT / keys.shape[-1] ** 0.5).softmax(-2) @ values


def _unscaled(pixels, keys, values):
    return (pixels @ keys.mT).softmax(-1) @ values


def _no_softmax(pixels, keys, values):
    return pixels @ keys.mT / keys.shape[-1] ** 0.5 @ values


@exercise(
    "07.2", wrong=[_wrong_axis, _unscaled, _no_softmax, lambda p, k, v: p, lambda p, k: p @ k.mT]
)
def attend(answer) -> str | None:
    generator = torch.Generator().manual_seed(7)
    queries, keys, values = (
        torch.randn(2, n, width, generator=generator) for n, width in ((6, 8), (3, 8), (3, 5))
    )
    given = answer(queries, keys, values)
    right = F.scaled_dot_product_attention(queries, keys, values)
    known = {
        "The shares must sum to 1 over the tokens of the context, for each pixel.": _wrong_axis,
        "Long vectors make large products: something keeps the scores moderate.": _unscaled,
        "Scores are not shares yet: they can be negative, and need not sum to 1.": _no_softmax,
    }
    for hint, mistake in known.items():
        if tensor(given, mistake(queries, keys, values), within=1e-5, hint="") is None:
            return hint
    return tensor(given, right, within=1e-5, hint="Score, turn into shares, then mix the values.")


@exercise(
    "07.3",
    wrong=[
        lambda average, weights, decay: (1 - decay) * average + decay * weights,
        lambda average, weights, decay: (average + weights) / 2,
        lambda average, weights, decay: decay * average + weights,
    ],
)
def averaged(answer) -> str | None:
    generator = torch.Generator().manual_seed(3)
    average, weights = torch.randn(2, 5, generator=generator)
    if tensor(answer(average, weights, 1.0), average, within=1e-6, hint="") is not None:
        return "With a decay of 1 the average should forget nothing and learn nothing."
    if tensor(answer(weights, weights, 0.3), weights, within=1e-6, hint="") is not None:
        return "Where the weights equal the average, nothing should change."
    hint = "How much of the old average should a decay of 0.9 leave?"
    return tensor(answer(average, weights, 0.9), average.lerp(weights, 0.1), within=1e-6, hint=hint)


def _log_of_the_mean(prediction, clean):
    return ((prediction - clean).square().mean() + 1e-4).log()


def _mean_of_pixels(prediction, clean):
    return ((prediction - clean).square() + 1e-4).log().mean()


@exercise(
    "07.4",
    wrong=[_log_of_the_mean, _mean_of_pixels, lambda p, c: F.mse_loss(p, c), lambda p, c: p - c],
)
def loss(answer) -> str | None:
    generator = torch.Generator().manual_seed(5)
    clean = torch.rand(3, 3, 4, 4, generator=generator)
    strength = torch.tensor([0.01, 0.1, 1.0]).view(3, 1, 1, 1)
    prediction = clean + strength * torch.randn(clean.shape, generator=generator)
    given = answer(prediction, clean)
    known = {
        "One badly damaged image drowns the others: take the logarithm of each image by itself.": (
            _log_of_the_mean
        ),
        "That is the logarithm of each pixel; a decibel is a property of a whole image.": (
            _mean_of_pixels
        ),
        "That is the squared error itself: an image that is ten times worse counts a hundred times.": (
            F.mse_loss
        ),
    }
    for hint, mistake in known.items():
        if number(given, mistake(prediction, clean).item(), within=1e-5, hint="") is None:
            return hint
    errors = (prediction - clean).square().mean((1, 2, 3)) + 1e-4
    return number(
        given,
        errors.log().mean().item(),
        within=1e-5,
        hint="Square, mean over each image, add 1e-4, logarithm, then the mean over the batch.",
    )
