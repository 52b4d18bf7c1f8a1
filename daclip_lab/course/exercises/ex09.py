"""Checkers of notebook 09: leaving out an embedding, pairs, the best of several seeds, and how many are needed."""

import numpy as np
import torch
from scipy import stats

from daclip_lab.course.answers import number, tensor
from daclip_lab.course.registry import exercise
from daclip_lab.data.seeding import seeded
from daclip_lab.models.daclip import Embeddings

BEST_OF_THREE = 1.5 / np.sqrt(np.pi)
"""The mean of the largest of three standard normal draws."""


@exercise("09.1", wrong=[0.0, 0.1, 0.3, 0.1 / 3**0.5, 0.2, "nothing"])
def luck_of_the_best_seed(answer) -> str | None:
    known = {
        0.0: "That would be fair: one run against one run. Here one side may choose.",
        0.3: "The best of three draws is rarely that far out.",
        0.1 / 3**0.5: "That is how far the mean of three seeds is off; the best one is wanted.",
    }
    for value, hint in known.items():
        if number(answer, value, within=1e-3, hint="") is None:
            return hint
    hint = "Draw three numbers ten thousand times, and take the mean of the largest."
    return number(answer, 0.1 * BEST_OF_THREE, within=0.008, hint=hint)


def _swapped(content, degradation, parts):
    return (
        content * ("degradation" in parts),
        degradation * ("content" in parts),
    )


def _dropped(content, degradation, parts):
    return (
        content if "content" in parts else content[:0],
        degradation if "degradation" in parts else degradation[:0],
    )


def _ones(content, degradation, parts):
    return (
        content if "content" in parts else torch.ones_like(content),
        degradation if "degradation" in parts else torch.ones_like(degradation),
    )


@exercise(
    "09.2",
    wrong=[_swapped, _dropped, _ones, lambda c, d, parts: (c, d), lambda c, d, parts: (c * 0, d * 0),
           lambda c, d, parts: c],
)  # fmt: skip
def leave_out(answer) -> str | None:
    generator = seeded(92)
    own = Embeddings(*(torch.randn(4, 6, generator=generator) for _ in range(2)))
    before = [e.clone() for e in own]
    for parts in ((), ("content",), ("degradation",), ("content", "degradation")):
        given = answer(own.content, own.degradation, parts)
        if not isinstance(given, tuple | list) or len(given) != 2:
            return "Wanted two tensors: the content embedding, then the degradation embedding."
        for name, e, found in zip(own._fields, before, given, strict=True):
            right = e if name in parts else torch.zeros_like(e)
            kept = ", ".join(parts) or "nothing"
            hint = f"The {name} embedding, where the network is conditioned on: {kept}."
            if complaint := tensor(found, right, within=0, hint=hint):
                return complaint
    if any((e != kept).any() for e, kept in zip(own, before, strict=True)):
        return "The embeddings that came in were changed: make new ones instead."
    return None


def _interval(values: np.ndarray) -> np.ndarray:
    reach = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return np.array([values.mean() - reach, values.mean() + reach])


def _unpaired(first, second):
    reach = stats.t.ppf(0.975, len(first) - 1) * np.sqrt(
        (first.var(ddof=1) + second.var(ddof=1)) / len(first)
    )
    middle = second.mean() - first.mean()
    return middle - reach, middle + reach


def _normal(first, second):
    difference = second - first
    reach = 1.96 * difference.std(ddof=1) / np.sqrt(len(difference))
    return difference.mean() - reach, difference.mean() + reach


def _of_one(first, second):
    difference = second - first
    reach = stats.t.ppf(0.975, len(difference) - 1) * difference.std(ddof=1)
    return difference.mean() - reach, difference.mean() + reach


@exercise(
    "09.3",
    wrong=[
        _unpaired,
        _normal,
        _of_one,
        lambda first, second: tuple(_interval(first - second)),
        lambda first, second: (second - first).mean(),
    ],
)
def paired_interval(answer) -> str | None:
    first = np.array([4.1, 5.3, 3.6, 4.9])
    second = first + np.array([0.31, 0.18, 0.22, 0.40])
    given = np.asarray(answer(first, second), float)
    known = {
        "That treats the runs as strangers: subtract within each seed first.": _unpaired(first, second),
        "1.96 is for a spread that is known. Here it was estimated from a few seeds.": _normal(first, second),
        "So far a single seed scatters; the mean of n seeds scatters less.": _of_one(first, second),
        "Second less first: better means above zero.": _interval(first - second),
    }  # fmt: skip
    for hint, mistake in known.items():
        if given.shape == (2,) and np.allclose(given, mistake, atol=1e-4):
            return hint
    hint = "Mean of the differences, plus and minus t times their spread over the root of n."
    return tensor(
        torch.from_numpy(given), torch.from_numpy(_interval(second - first)), within=1e-4, hint=hint
    )


def _reach(n: int, spread: float) -> float:
    return stats.t.ppf(0.975, n - 1) * spread / np.sqrt(n)


def _fewest(difference: float, spread: float) -> int:
    n = 2
    while _reach(n, spread) >= difference:
        n += 1
    return n


@exercise(
    "09.4",
    wrong=[
        lambda difference, spread: int(np.ceil((1.96 * spread / difference) ** 2)),
        lambda difference, spread: _fewest(difference, spread) + 1,
        lambda difference, spread: 3,
        lambda difference, spread: (spread / difference) ** 2,
        lambda difference, spread: _fewest(spread, difference),
    ],
)
def seeds_needed(answer) -> str | None:
    for difference, spread in ((0.5, 0.1), (0.1, 0.1), (0.1, 0.2), (0.05, 0.2)):
        case = f"That was for a difference of {difference} dB and a spread of {spread} dB."
        given, right = answer(difference, spread), _fewest(difference, spread)
        normal = int(np.ceil((1.96 * spread / difference) ** 2))
        if normal != right and number(given, normal, within=0, hint="") is None:
            return f"With few seeds t is larger than 1.96, and it depends on their number. {case}"
        if complaint := number(given, right, within=0, hint=case):
            return complaint
    return None
