"""Checkers of notebook 03: the controller's wiring, and the loss that trains it."""

import math

import torch
from torch.nn import functional as F

from daclip_lab.course.answers import number, tensor
from daclip_lab.course.registry import exercise
from daclip_lab.data.seeding import seeded
from daclip_lab.models.losses import info_nce


@exercise("03.1", wrong=[12 * 768 * 768, 768 * 768 + 768, 12 * 768, "many", 95e6])
def parameters_of_the_zero_layers(answer) -> str | None:
    known = {
        12 * 768 * 768: "That counts the matrices. What else does a linear layer have?",
        768 * 768 + 768: "That is one layer. How many are there?",
    }
    right = 12 * (768 * 768 + 768)
    hint = "A linear layer maps a token of that width to one of the same width."
    for value, about in known.items():
        if number(answer, value, within=0.5, hint="") is None:
            return about
    return number(answer, right, within=0.5, hint=hint)


def _in_order(blocks, tokens, controls):
    for block, control in zip(blocks, controls, strict=True):
        tokens = block(tokens) + control
    return tokens


def _before_the_block(blocks, tokens, controls):
    for block, control in zip(blocks, reversed(controls), strict=True):
        tokens = block(tokens + control)
    return tokens


def _uncontrolled(blocks, tokens, controls):
    for block in blocks:
        tokens = block(tokens)
    return tokens


def _all_at_the_end(blocks, tokens, controls):
    return _uncontrolled(blocks, tokens, controls) + sum(controls)


@exercise(
    "03.2",
    wrong=[_in_order, _before_the_block, _uncontrolled, _all_at_the_end, lambda b, t, c: 3],
)
def controlled(answer) -> str | None:
    generator = seeded(32)
    tokens, *controls = torch.randn(4, 2, 5, 6, generator=generator)
    matrices = torch.randn(3, 6, 6, generator=generator) / 2
    blocks = [lambda x, m=m: x + torch.tanh(x @ m) for m in matrices]
    right = tokens
    for block, control in zip(blocks, reversed(controls), strict=True):
        right = block(right) + control
    known = {
        "The controller's first control went in first: look at the figure again.": _in_order,
        "A control is added to what a block returns, not to what it gets.": _before_the_block,
        "The controls had no effect.": _uncontrolled,
        "All controls came after the last block: each has a place of its own.": _all_at_the_end,
    }
    given = answer(blocks, tokens.clone(), [control.clone() for control in controls])
    for hint, mistake in known.items():
        if tensor(given, mistake(blocks, tokens, controls), within=1e-5, hint="") is None:
            return hint
    return tensor(given, right, within=1e-5, hint="One block, one control, and on to the next.")


def _one_way(images, texts, scale):
    return F.cross_entropy(scale * images @ texts.T, torch.arange(len(images)))


def _other_way(images, texts, scale):
    return _one_way(texts, images, scale)


def _unscaled(images, texts, scale):
    return info_nce(images, texts, 1.0)


def _both_summed(images, texts, scale):
    return 2 * info_nce(images, texts, scale)


@exercise(
    "03.3",
    wrong=[
        _one_way,
        _other_way,
        _unscaled,
        _both_summed,
        lambda images, texts, scale: -(scale * (images * texts).sum(1)).mean(),
        lambda images, texts, scale: images @ texts.T,
    ],
)
def contrast(answer) -> str | None:
    images, texts = F.normalize(torch.randn(2, 6, 8, generator=seeded(33)), dim=-1)
    given = answer(images, texts, 4.0)
    known = {
        "That is one way: each image looks for its text. And each text for its image?": _one_way,
        "That is one way: each text looks for its image. And each image for its text?": _other_way,
        "The cosines have to be multiplied by `scale` first.": _unscaled,
        "Both ways are there, but their mean is wanted, not their sum.": _both_summed,
    }
    for hint, mistake in known.items():
        if number(given, mistake(images, texts, 4.0).item(), within=1e-5, hint="") is None:
            return hint
    hint = (
        "Every row of scaled cosines is a question with one right answer, and so is every column."
    )
    return number(given, info_nce(images, texts, 4.0).item(), within=1e-5, hint=hint)


def _by_words(words):
    return sum(math.log(words.count(word)) for word in set(words)) / len(set(words))


def _log_of_mean(words):
    return math.log(sum(words.count(word) for word in words) / len(words))


@exercise(
    "03.4",
    wrong=[
        _by_words,
        _log_of_mean,
        lambda words: math.log(len(words)),
        lambda words: 0.0,
        lambda words: math.log(len(words) / len(set(words))),
    ],
)
def lowest(answer) -> str | None:
    words = ["hazy", "rainy", "hazy", "noisy", "hazy", "rainy", "hazy", "hazy"]
    right = sum(math.log(words.count(word)) for word in words) / len(words)
    given = answer(list(words))
    known = {
        "The loss is a mean over images: a word that occurs often counts often.": _by_words(words),
        "That is the log of a mean; each image has a loss of its own, and they are averaged.": (
            _log_of_mean(words)
        ),
        "That is chance. Perfect embeddings do better: they exclude the other words.": (
            math.log(len(words))
        ),
        "That would be right if the words were equally frequent.": (
            math.log(len(words) / len(set(words)))
        ),
    }
    for hint, value in known.items():
        if number(given, value, within=1e-6, hint="") is None:
            return hint
    hint = "At best, all images with the same word get the same probability: how much is it?"
    complaint = number(given, right, within=1e-6, hint=hint)
    if complaint is None:
        return number(
            answer(["hazy", "rainy"]), 0.0, within=1e-9, hint="Try words that all differ."
        )
    return complaint
