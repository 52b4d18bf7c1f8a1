"""The plan of a training of all parts: how many steps each has, stored beside the weights.

The speed is measured once, before the first step. From then on all depends on the seed and on the plan alone.
"""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from daclip_lab.errors import InputError
from daclip_lab.files.storage import read_json, write_json

SHARES = {"clip": 13, "words": 3, "daclip": 34, "restorer": 47, "calibration": 3}
"""Per cent of the time that each stage gets, in their order."""
SHARES_FROM_START = SHARES | {"clip": 0, "words": 0}
"""The same where the training starts from given weights: their CLIP is kept."""
WARM, TIMED = 2, 3
"""Steps before the timed ones of a measurement, and the fewest that are timed."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that the weights depend on besides the images."""

    scale: str
    seed: int
    data: list[str]
    pairs: str | None
    start: str | None
    minutes: float | None
    """None where the steps were set by hand."""
    shares: dict[str, int]
    """The share of the time that each stage gets, see `SHARES`."""
    steps: dict[str, int]
    """Steps of each stage of `SHARES`, 0 for one that is left out; of the calibration the number of photos."""

    def store(self, run: Path) -> None:
        """Write the plan into the folder of a run."""
        write_json(run / "plan.json", asdict(self))


def stored(run: Path, **wanted) -> Plan:
    """The plan that a run holds; raises InputError where it is none, or differs from the fields that are wanted."""
    file = run / "plan.json"
    found = read_json(file)
    try:
        plan = Plan(**found)
    except TypeError as error:
        raise InputError(f"{file} lacks a field or has one too many: {error}") from None
    differing = [
        f"{name}={json.dumps(getattr(plan, name))} there and {json.dumps(value)} here"
        for name, value in wanted.items()
        if getattr(plan, name) != value
    ]
    if differing:
        raise InputError(
            f"{run} has another plan: {', '.join(differing)}; "
            "resume it with its own options, or name another folder"
        )
    return plan


def numbers(text: str, option: str) -> dict[str, int]:
    """The numbers of "clip=10,words=3", by stage; raises InputError for anything else."""
    found = {}
    for item in text.split(","):
        name, _, number = item.strip().partition("=")
        if name not in SHARES or not number.isdecimal() or name in found:
            wanted = ",".join(f"{stage}=NUMBER" for stage in SHARES)
            raise InputError(f"{option} {text}: {item!r} is none of {wanted}")
        found[name] = int(number)
    return found


@dataclass(frozen=True)
class Speed:
    """How long a stage takes."""

    start: float
    """Seconds until its first steps are done."""
    step: float
    """Seconds per step from then on."""


def measure(steps: Iterator, seconds: float) -> Speed:
    """The speed of a training, from about so many seconds of its steps, which are ended."""
    began = time.perf_counter()
    with closing(steps):  # type: ignore[type-var]  # it is a generator
        for step in steps:
            step.loss  # noqa: B018  # waits for the device
            now = time.perf_counter()
            if step.index == WARM:
                warm = now
            elif step.index >= WARM + TIMED and now - warm >= seconds:
                break
    return Speed(warm - began, (now - warm) / (step.index - WARM))


def steps_in(seconds: float, shares: dict[str, int], speeds: dict[str, Speed]) -> dict[str, int]:
    """The steps of all stages that take so many seconds together, at least one of each stage with a share."""
    total, steps = sum(shares.values()), dict.fromkeys(SHARES, 0)
    for stage, speed in speeds.items():
        own = seconds * shares[stage] / total
        steps[stage] = max(1, int((own - speed.start) / speed.step))
    return steps
