"""Checkers of notebook 05: the confidence of a prediction, ensembles of prompts, a bias on "clean", calibration."""

import math

import torch
from torch.nn import functional as F

from daclip_lab.course.answers import number, tensor
from daclip_lab.course.registry import exercise
from daclip_lab.data.seeding import seeded


@exercise("05.1", wrong=[1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-4)), 0.7 / 1.3, 2.7183, "sure"])
def how_sure(answer) -> str | None:
    known = {
        1 / (1 + math.exp(-2)): "That is the confidence at temperature 1.",
        1
        / (
            1 + math.exp(-4)
        ): "That is more confident than at temperature 1: the temperature divides.",
        0.7 / 1.3: "Cosines are no shares: they go through a softmax, and they are scaled before.",
    }
    for value, hint in known.items():
        if number(answer, value, within=0.003, hint="") is None:
            return hint
    hint = (
        "Only the difference of the two logits counts. How large is it, and what does e do with it?"
    )
    return number(answer, 1 / (1 + math.exp(-1)), within=0.003, hint=hint)


def _texts() -> torch.Tensor:
    """Embeddings (4, 6, 8) of length 1: six phrasings that agree for some answers and differ for others."""
    generator = seeded(52)
    centres = torch.randn(4, 1, 8, generator=generator)
    spread = torch.tensor([0.1, 0.5, 1.5, 3.0])[:, None, None]
    return F.normalize(centres + spread * torch.randn(4, 6, 8, generator=generator), dim=-1)


@exercise(
    "05.2",
    wrong=[
        lambda texts: texts.mean(1),
        lambda texts: texts[:, 0],
        lambda texts: F.normalize(texts.mean(0), dim=-1),
        lambda texts: F.normalize(texts.mean(1), dim=0),
        lambda texts: F.normalize(texts, dim=-1).sum(1),
    ],
)
def prompt_ensemble(answer) -> str | None:
    texts = _texts()
    given = answer(texts)
    right = F.normalize(texts.mean(1), dim=-1)
    if tensor(given, texts.mean(1), within=1e-5, hint="") is None:
        return (
            "Where the phrasings differ, their mean is short, and that answer is hardly ever given."
        )
    hint = "Each row is the direction in the middle of one answer's phrasings, of length 1."
    return tensor(given, right, within=1e-5, hint=hint)


def _wait_for_more(logits, clean, wanted):
    others = torch.cat([logits[:, :clean], logits[:, clean + 1 :]], 1).amax(1)
    return (others - logits[:, clean]).max()


def _of_the_misses(logits, clean, wanted):
    others = torch.cat([logits[:, :clean], logits[:, clean + 1 :]], 1).amax(1)
    return (others - logits[:, clean]).quantile(wanted)


def _against_itself(logits, clean, wanted):
    return (logits.amax(1) - logits[:, clean]).quantile(wanted)


@exercise(
    "05.3", wrong=[_wait_for_more, _of_the_misses, _against_itself, lambda *_: 0.0, lambda *_: 50.0]
)
def bias_on_clean(answer) -> str | None:
    logits, clean, wanted = 3 * torch.randn(40, 5, generator=seeded(53)), 3, 0.1
    bias = answer(logits.clone(), clean, wanted)
    if complaint := number(bias, 0.0, within=float("inf"), hint=""):
        return complaint
    biased = logits.clone()
    biased[:, clean] += float(bias)
    alarms = (biased.argmax(1) != clean).double().mean().item()
    if alarms > wanted + 1e-9:
        return f"With it {alarms:.0%} of the clean images are still classified as degraded."
    if alarms < wanted - 1e-9:
        return (
            f"With it only {alarms:.0%} are classified as degraded: "
            "every step beyond what was wanted costs misses."
        )
    return None


def _error(probability, right, bins, weighted=True, signed=False):
    which = (probability * bins).long().clamp(max=bins - 1)
    gaps, sizes = [], []
    for k in which.unique():
        gap = probability[which == k].mean() - right[which == k].double().mean()
        gaps.append(gap if signed else gap.abs())
        sizes.append((which == k).double().mean())
    gaps, sizes = torch.stack(gaps), torch.stack(sizes)
    return (gaps * sizes).sum() if weighted else gaps.mean()


@exercise(
    "05.4",
    wrong=[
        lambda probability, right, bins: (probability - right.double()).abs().mean(),
        lambda probability, right, bins: (probability.mean() - right.double().mean()).abs(),
        lambda probability, right, bins: _error(probability, right, bins, signed=True),
        lambda probability, right, bins: _error(probability, right, bins, weighted=False),
        lambda probability, right, bins: _error(probability, right, 15),
    ],
)
def calibration_error(answer) -> str | None:
    generator = seeded(54)
    probability = torch.rand(200, generator=generator, dtype=torch.float64).sqrt()
    # Overconfident below one half, underconfident above.
    really = probability + 0.15 * (probability - 0.5).sign()
    right = torch.rand(200, generator=generator, dtype=torch.float64) < really
    probability[0] = 1.0
    given = answer(probability, right, 10)
    known = {
        "Overall, the gaps above and below cancel. Take them bin by bin.": (
            _error(probability, right, 10, signed=True)
        ),
        "A bin with three answers counts as much there as one with eighty.": (
            _error(probability, right, 10, weighted=False)
        ),
        "That compares each answer with itself: a single answer is right or wrong, never 80 % right.": (
            (probability - right.double()).abs().mean()
        ),
    }
    for hint, value in known.items():
        if number(given, value.item(), within=1e-6, hint="") is None:
            return hint
    hint = "In each bin, what are mean confidence and accuracy? Weigh the gaps by the share of answers in the bin."
    return number(given, _error(probability, right, 10).item(), within=1e-6, hint=hint)
