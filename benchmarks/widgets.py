"""How soon the restoration lab answers when a severity is moved: degrading, classifying, the way into its traits."""

import time
from dataclasses import replace
from statistics import median

import pandas as pd

from daclip_lab.degradations.registry import degradation_names
from daclip_lab.widgets.restoration.session import RestorationSession
from daclip_lab.widgets.restoration_lab import RestorationLab

SIZE = 256
ROUNDS = 9


def table(weights: str, *, toy: bool) -> pd.DataFrame:
    """Milliseconds for a bundled photo of 256 pixels, by degradation: medians over severities that are new each time.

    "degrade" and "classify" are the calls alone; "answer" is the time from setting the severity to the picture and the
    bars in the widget's traits, which includes its thread and the encoding of the pictures.
    """
    size, rounds = (64, 2) if toy else (SIZE, ROUNDS)
    session = RestorationSession(weights, size=size)
    lab = RestorationLab(weights, size=size, live=False)
    rows = {}
    for name in degradation_names():
        times: dict[str, list[float]] = {"degrade": [], "classify": [], "answer": []}
        for turn in range(1 + rounds):  # the first is the warm-up
            severity = 0.5 + 0.4 * turn / rounds
            settings = replace(session.settings, degradations=((name, severity),))
            start = time.perf_counter()
            session.degraded(settings)
            degraded = time.perf_counter()
            session.probabilities(settings)
            classified = time.perf_counter()
            lab.change(degradations={name: severity})
            lab.worker.wait()
            answered = time.perf_counter()
            if turn:
                times["degrade"].append(degraded - start)
                times["classify"].append(classified - degraded)
                times["answer"].append(answered - classified)
        rows[name] = {f"{stage} (ms)": 1000 * median(found) for stage, found in times.items()}
    found = pd.DataFrame(rows).T
    found.loc["slowest"] = found.max()
    found.index.name = "degradation"
    return found
