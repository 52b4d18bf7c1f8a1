"""Checkers of notebook 04: what a map keeps, labels that mean nothing, and arithmetic with directions."""

import numpy as np
import torch
from torch.nn import functional as F

from daclip_lab.course.answers import number, tensor
from daclip_lab.course.registry import exercise
from daclip_lab.data.seeding import seeded
from daclip_lab.embeddings.projection import preservation


@exercise("04.1", wrong=[1 / 15, 15 / 2000, 0.5, 15.0, 2000 / 15, 1 / 2000, "little"])
def kept_by_chance(answer) -> str | None:
    if number(answer, 15 / 2000, within=2e-6, hint="") is None:
        return "Nearly: is an image its own neighbour?"
    hint = "Fifteen places for neighbours, filled blindly from all other images."
    return number(answer, 15 / 1999, within=2e-6, hint=hint)


def _cosines(vectors: torch.Tensor) -> torch.Tensor:
    unit = F.normalize(vectors, dim=-1)
    return unit @ unit.T


def _share(there: torch.Tensor, here: torch.Tensor, k: int) -> float:
    """The share of rows (n, k) of `there` that are among those of `here`."""
    return (there[:, :, None] == here[:, None, :]).any(-1).double().mean().item()


def _counts_itself(vectors, places, k):
    there = _cosines(vectors).topk(k).indices
    return _share(there, torch.cdist(places, places).topk(k, largest=False).indices, k)


def _farthest(vectors, places, k):
    there = (_cosines(vectors) - 3 * torch.eye(len(vectors))).topk(k).indices
    return _share(there, torch.cdist(places, places).topk(k).indices, k)


def _in_order(vectors, places, k):
    there = (_cosines(vectors) - 3 * torch.eye(len(vectors))).topk(k).indices
    apart = torch.cdist(places, places).fill_diagonal_(torch.inf)
    return (there == apart.topk(k, largest=False).indices).double().mean().item()


def _both_by_cosine(vectors, places, k):
    near = [(_cosines(x) - 3 * torch.eye(len(x))).topk(k).indices for x in (vectors, places)]
    return _share(near[0], near[1], k)


@exercise(
    "04.2",
    wrong=[_counts_itself, _farthest, _in_order, _both_by_cosine, lambda v, p, k: k / len(v)],
)
def neighbours_kept(answer) -> str | None:
    generator = seeded(42)
    vectors = torch.randn(60, 8, generator=generator)
    places = vectors[:, :2] + 0.3 * torch.randn(60, 2, generator=generator) + 4.0
    given = answer(vectors, places, 7)
    known = {
        "Every image found itself first: that neighbour is always kept.": _counts_itself,
        "A map has no origin that directions could start from: take distances there.": _both_by_cosine,
        "The same neighbours in another order are the same neighbours.": _in_order,
    }
    for hint, mistake in known.items():
        if number(given, mistake(vectors, places, 7), within=1e-6, hint="") is None:
            return hint
    right = preservation(vectors, places, 7)
    return number(
        given, right, within=1e-4, hint="Who is near before, and who is still near after?"
    )


def _across_photos(labels, photos, rng):
    return rng.permutation(labels)


def _photo_by_photo(labels, photos, rng):
    """Whole photos change places: within each, the labels keep their order."""
    return np.concatenate([labels[photos == photo] for photo in rng.permutation(np.unique(photos))])


def _turned_round(labels, photos, rng):
    mixed = labels.copy()
    for photo in np.unique(photos):
        mixed[photos == photo] = labels[photos == photo][::-1]
    return mixed


def _in_place(labels, photos, rng):
    for photo in np.unique(photos):
        labels[photos == photo] = rng.permutation(labels[photos == photo])
    return labels


@exercise(
    "04.3",
    wrong=[_across_photos, _photo_by_photo, _turned_round, _in_place, lambda labels, p, r: labels],
)
def shuffled(answer) -> str | None:
    photos = np.tile(["a", "b", "c"], 8)
    labels = np.array(
        [f"{photo} {k}" for k, photo in enumerate(photos)]
    )  # each occurs in one photo
    before = labels.copy()
    first, other = (answer(labels, photos, np.random.default_rng(seed)) for seed in (0, 1))
    if (labels != before).any():
        return "The labels that came in were changed: shuffle a copy."
    first, other = np.asarray(first), np.asarray(other)
    if first.shape != labels.shape:
        return f"Wanted {len(labels)} labels, not shape {first.shape}."
    for photo in "abc":
        own = photos == photo
        if sorted(first[own]) != sorted(labels[own]):
            return "A photo lost one of its labels to another photo."
        if (first[own] == labels[own]).all():
            return "In one of the photos every label stayed where it was."
    if (first == other).all():
        return "Two generators gave the same order: draw it."
    return None


def _only_less(direction, other):
    return F.normalize(direction - other, dim=-1)


def _long_other(direction, other):
    return F.normalize(direction - (direction @ other) * other, dim=-1)


def _rest(direction, other):
    other = F.normalize(other, dim=-1)
    return direction - (direction @ other) * other


@exercise(
    "04.4",
    wrong=[_only_less, _long_other, _rest, lambda direction, other: F.normalize(other, dim=-1), 1],
)
def taken_out(answer) -> str | None:
    generator = seeded(44)
    direction = F.normalize(torch.randn(16, generator=generator), dim=-1)
    other = 3 * torch.randn(16, generator=generator) + 2 * direction
    right = F.normalize(_rest(direction, other), dim=-1)
    given = answer(direction, other)
    known = {
        "Something along the other direction is left: how much of it was there to take?": _only_less,
        "The other direction came with a length of its own: bring it to 1 first.": _long_other,
        "The direction is right; its length is not 1.": _rest,
    }
    for hint, mistake in known.items():
        if tensor(given, mistake(direction, other), within=1e-5, hint="") is None:
            return hint
    return tensor(
        given, right, within=1e-5, hint="The result is at a right angle to the other one."
    )
