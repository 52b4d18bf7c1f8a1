"""The restoration lab without a kernel: as a figure, as bars beside the slider, and as severities made in advance."""

import html
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch.nn import functional as F

from daclip_lab.errors import InputError
from daclip_lab.figures.restored_photo import restored_photo
from daclip_lab.widgets.frames import scrubber
from daclip_lab.widgets.restoration.session import RestorationSession
from daclip_lab.widgets.restoration.settings import LabResult, LabSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAR = 16
"""Letters of a bar that stands for 100 %."""
LIKELY = 3
"""So many labels are listed, besides those that the photo is degraded by."""


def bars_html(predicted: Mapping[str, float], given: Collection[str], measures: str) -> str:
    """The likely labels with bars made of letters, which need no style, and the measures below them."""
    likely = sorted(predicted, key=lambda name: predicted[name], reverse=True)
    cell = '<td style="text-align: left">'  # notebooks align numbers to the right
    rows = "".join(
        f"<tr>{cell}{html.escape(name)}{' ●' * (name in given)}</td>"
        f"{cell}{predicted[name]:.0%} {'█' * round(BAR * predicted[name])}</td></tr>"
        for place, name in enumerate(likely)
        if place < LIKELY or name in given
    )
    mark = " (●: what the photo was degraded by)" if {*given} & {*predicted} else ""
    head = f"<p>DA-CLIP predicts{mark}:</p>" if predicted else ""
    return f"{head}<table>{rows}</table><p>{html.escape(measures)}</p>"


def severity_scrubber(session: RestorationSession, count: int) -> str:
    """A slider over `count` severities of the first degradation, evenly from 0 to 1: HTML, see `frames.scrubber`.

    Each frame shows degraded, restored and clean side by side. Raises InputError where nothing is degraded.
    """
    settings = session.settings
    if settings.already_degraded or not settings.degradations:
        raise InputError(f"frames={count}: wanted a degradation, of which each frame is a severity")
    if count < 2:
        raise InputError(f"frames={count}: wanted 0, or 2 to 60")
    name, own = settings.degradations[0]
    severities = [k / (count - 1) for k in range(count)]
    frames, captions = [], []
    for severity in severities:
        now = replace(settings, degradations=((name, severity), *settings.degradations[1:]))
        result, found = session.restore(now), session.probabilities(now)
        gap = F.pad(result.degraded[:, :, :0], (0, 6), value=1.0)
        images = [result.degraded, gap, result.image, gap, session.photo(now)]
        frames.append(torch.cat(images, 2))
        likely = found.sort_values(ascending=False)[:2]
        predicted = ", ".join(f"{label} {share:.0%}" for label, share in likely.items())
        captions.append(
            f"{name} {severity:.2f} · predicted {predicted} · "
            f"PSNR {result.psnr_input:.1f} → {result.psnr:.1f} dB"
        )
    start = min(range(count), key=lambda k: abs(severities[k] - own))
    label = f"severity of {name}: degraded, restored, clean"
    return scrubber(frames, captions, label=label, start=start)


def figure_of(
    session: RestorationSession, settings: LabSettings, result: LabResult | None
) -> "Figure":
    """The degraded, the restored and the clean image, above what was predicted for the degraded one."""
    settings = settings if result is None else result.settings
    given = {} if settings.already_degraded else dict(settings.degradations)
    listed = ", ".join(f"{name} {severity:g}" for name, severity in given.items())
    images = {"degraded" if not listed else f"degraded: {listed}": session.degraded(settings)}
    if result is not None:
        images["restored"] = result.image
    if (clean := session.clean(settings)) is not None:
        images["clean"] = clean
    try:
        predicted = session.probabilities(settings)
    except InputError:  # weights without words
        predicted = pd.Series(dtype=float)
    caption = "" if result is None else result.measures
    return restored_photo(images, predicted, truths=given, caption=caption)
