"""Comparing an answer with the right one, in a sentence that says what is wrong and does not give it away.

Every function returns None for a right answer, else that sentence.
"""

import math
from collections.abc import Iterable, Sequence
from numbers import Number
from typing import Any

import torch
from torch import Tensor


def number(answer: Any, right: float, *, within: float, hint: str) -> str | None:
    """Whether a number, or anything that holds just one, lies `within` of the right one."""
    try:
        value = float(answer.item() if hasattr(answer, "item") else answer)
    except (TypeError, ValueError, RuntimeError):
        return f"Wanted a number, not {_kind(answer)}."
    if isinstance(answer, str):
        return "Wanted a number, not a text."
    if not math.isfinite(value):
        return f"Wanted a finite number, not {value}."
    return None if abs(value - right) <= within else f"{value:.4g} is not it. {hint}"


def tensor(answer: Any, right: Tensor, *, within: float, hint: str) -> str | None:
    """Whether a tensor has the right shape, and values that are finite and `within` of the right ones."""
    if isinstance(answer, Number) or hasattr(answer, "__array__"):
        answer = torch.as_tensor(answer)
    if not isinstance(answer, Tensor):
        return f"Wanted a tensor, not {_kind(answer)}."
    if answer.shape != right.shape:
        return f"Wanted shape {tuple(right.shape)}, not {tuple(answer.shape)}."
    if not answer.isfinite().all():
        return "Some values are not finite."
    far = (answer.detach().double() - right.detach().double()).abs() > within
    if not far.any():
        return None
    some = "All values are off." if far.all() else f"{far.double().mean():.0%} of values are off."
    return f"The shape is right. {some} {hint}"


def choice(answer: Any, right: str, *, among: Sequence[str], hint: str) -> str | None:
    """Whether a name is the right one of several."""
    return names([answer], [right], among=among, hint=hint)


def names(answer: Any, right: Iterable[str], *, among: Sequence[str], hint: str) -> str | None:
    """Whether some names are the right ones, in any order."""
    given = [answer] if isinstance(answer, str) else answer
    if not isinstance(given, Iterable) or not all(isinstance(name, str) for name in given):
        return f"Wanted names out of {', '.join(among)}."
    given = {name.strip().lower() for name in given}
    if strange := given - {name.lower() for name in among}:
        return f"{strange.pop()!r} is none of {', '.join(among)}."
    return None if given == {name.lower() for name in right} else f"{_listed(given)}: no. {hint}"


def _listed(given: set[str]) -> str:
    return ", ".join(sorted(given)) or "None at all"


def _kind(answer: Any) -> str:
    if isinstance(answer, Tensor):
        return f"a tensor of shape {tuple(answer.shape)}"
    return f"a {type(answer).__name__}"
