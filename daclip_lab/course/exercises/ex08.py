"""Checkers of notebook 08: calls of the network, blended tiles, the spread over seeds, and a number of steps."""

import torch

from daclip_lab.course.answers import number, tensor
from daclip_lab.course.registry import exercise
from daclip_lab.data.seeding import seeded


@exercise("08.1", wrong=[24, 23, 13, 11, "twelve"])
def calls_of_a_multistep_sampler(answer) -> str | None:
    known = {
        24: "That is a second-order method that calls the network twice in each step. This one is a multistep method.",
        23: "No step calls it twice: where else could the second estimate come from?",
        13: "There are 13 times, T and 0 among them. At which of them is the network not called?",
        11: "The last step calls it as well: its estimate is the restored image.",
    }
    for value, hint in known.items():
        if number(answer, value, within=0.1, hint="") is None:
            return hint
    return number(answer, 12, within=0.1, hint="Count the estimates that are computed anew.")


def _hard_cut(left, right, overlap):
    return torch.cat([left, right[..., overlap:]], -1)


def _half_and_half(left, right, overlap):
    shared = (left[..., -overlap:] + right[..., :overlap]) / 2
    return torch.cat([left[..., :-overlap], shared, right[..., overlap:]], -1)


def _ramp(left, right, weight):
    overlap = len(weight)
    shared = left[..., -overlap:] * (1 - weight) + right[..., :overlap] * weight
    return torch.cat([left[..., :-overlap], shared, right[..., overlap:]], -1)


def _blended(left, right, overlap):
    return _ramp(left, right, (torch.arange(overlap) + 0.5) / overlap)


def _backwards(left, right, overlap):
    return _ramp(left, right, 1 - (torch.arange(overlap) + 0.5) / overlap)


def _from_the_edge(left, right, overlap):
    return _ramp(left, right, torch.arange(overlap) / overlap)


def _side_by_side(left, right, overlap):
    return torch.cat([left, right], -1)


@exercise("08.2", wrong=[_hard_cut, _half_and_half, _backwards, _from_the_edge, _side_by_side, min])
def blend(answer) -> str | None:
    left, right = torch.rand(2, 3, 5, 12, generator=seeded(82))
    given = answer(left, right, 8)
    known = {
        "Where one tile ends and the other begins, there is a seam.": _hard_cut,
        "Half of each has two seams, one at either end of what they share.": _half_and_half,
        "At its right end, the left tile knows least: there it should count least.": _backwards,
        "The weights are lopsided: take each column in its middle, at k + 1/2.": _from_the_edge,
        "What both tiles show is there twice.": _side_by_side,
    }
    for hint, mistake in known.items():
        if tensor(given, mistake(left, right, 8), within=1e-5, hint="") is None:
            return hint
    hint = (
        "The two weights of a column sum to 1; outside of what they share, each tile stands alone."
    )
    return tensor(given, _blended(left, right, 8), within=1e-5, hint=hint)


def _of_the_grey(images):
    return images.mean(1).std(0, correction=0)


def _over_everything(images):
    return images.std((0, 1), correction=0)


def _variance(images):
    return images.var(0, correction=0).mean(0)


def _mean_of_deviations(images):
    return images.std(0, correction=0).mean(0)


def _one_less(images):
    return images.var(0, correction=1).mean(0).sqrt()


@exercise(
    "08.3",
    wrong=[
        _of_the_grey,
        _over_everything,
        _variance,
        _mean_of_deviations,
        _one_less,
        lambda images: images.std(),
    ],
)
def spread(answer) -> str | None:
    images = torch.rand(4, 3, 5, 6, generator=seeded(83))
    given = answer(images)
    known = {
        "A pixel that is now red, now blue, has one grey value: mix the colours after the squares.": (
            _of_the_grey
        ),
        "A colourful pixel that never changes would count as unsure: its colours differ, its seeds do not.": (
            _over_everything
        ),
        "That is the variance: in which unit is it?": _variance,
        "Take the mean over the colours of the squares, and the root at the very end.": (
            _mean_of_deviations
        ),
        "Divide by the number of seeds, not by one less: only then do the two parts sum to the whole.": (
            _one_less
        ),
    }
    for hint, mistake in known.items():
        if tensor(given, mistake(images), within=1e-5, hint="") is None:
            return hint
    hint = "Deviation of each seed from the mean over seeds; squares; mean over seeds and colours; root."
    right = images.var(0, correction=0).mean(0).sqrt()
    return tensor(given, right, within=1e-5, hint=hint)


WISHES = {
    "steps": [1, 2, 5, 10, 20],
    "mean": [0.0, -0.05, -0.25, -0.45, -0.8],
    "low": [0.0, -0.10, -0.40, -0.90, -1.4],
    "high": [0.0, 0.02, -0.10, -0.10, -0.2],
    "sharpness": [0.80, 0.86, 0.93, 0.98, 1.30],
}


def _most_faithful(table, most):
    return int(table.steps[table["mean"].idxmax()])


def _by_the_mean(table, most):
    allowed = table[table["mean"] >= -most]
    return int(allowed.steps[(allowed.sharpness - 1).abs().idxmin()])


def _by_the_wrong_end(table, most):
    allowed = table[table.high >= -most]
    return int(allowed.steps[(allowed.sharpness - 1).abs().idxmin()])


def _sharpest(table, most):
    allowed = table[table.low >= -most]
    return int(allowed.steps[allowed.sharpness.idxmax()])


def _regardless(table, most):
    return int(table.steps[(table.sharpness - 1).abs().idxmin()])


@exercise("08.4", wrong=[_most_faithful, _by_the_mean, _by_the_wrong_end, _sharpest, _regardless])
def steps_for_a_wish(answer) -> str | None:
    import pandas as pd

    wishes = pd.DataFrame(WISHES)
    right = {0.5: 5, 0.2: 2, 0.0: 1, 2.0: 10}
    known = {
        "By the interval the loss may be larger than its mean.": _by_the_mean,
        "That end of the interval is the lucky one.": _by_the_wrong_end,
        "Sharper than a photo is not what was wished for.": _sharpest,
        "You allow any loss of PSNR.": _regardless,
        "You allow no loss of PSNR at all.": _most_faithful,
    }
    given = {most: answer(wishes.copy(), most) for most in right}
    for hint, mistake in known.items():
        if all(number(given[m], mistake(wishes, m), within=0.1, hint="") is None for m in right):
            return hint
    for most, steps in right.items():
        hint = f"With a loss of at most {most} dB: drop the rows that may lose more, then compare sharpness."
        if (complaint := number(given[most], steps, within=0.1, hint=hint)) is not None:
            return complaint
    return None
