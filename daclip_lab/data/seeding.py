"""Randomness that can be repeated: generators made from numbers, and the two draws that everything here is built of."""

import numpy as np
import torch

from daclip_lab.errors import InputError


def seeded(*numbers: int) -> torch.Generator:
    """A generator that is a pure function of some whole numbers from 0, such as (seed, batch)."""
    if min(numbers) < 0:
        raise InputError(f"seed {min(numbers)} is negative: wanted 0 or more")
    sequence = np.random.SeedSequence(numbers[0], spawn_key=numbers[1:])
    state = sequence.generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def uniform(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    """One number, evenly distributed between `low` and `high`."""
    return low + (high - low) * torch.rand((), generator=generator).item()


def choose(generator: torch.Generator, n: int) -> int:
    """One whole number from 0 to n - 1."""
    return int(torch.randint(n, (), generator=generator))
