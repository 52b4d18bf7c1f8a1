"""Checkers of notebook 02: what CLIP makes of a degraded image."""

import torch
from torch.nn import functional as F

from daclip_lab.course.answers import number, tensor
from daclip_lab.course.registry import exercise
from daclip_lab.data.seeding import seeded


@exercise("02.1", wrong=[5.0, 1 / 200, 0.5, 200 / 5, "few"])
def guessing_in_five(answer) -> str | None:
    hint = "How many of the 200 does one look at, and how many of them are right?"
    return number(answer, 0.025, within=1e-4, hint=hint)


def _features() -> tuple[torch.Tensor, torch.Tensor]:
    """Images near to words of very different lengths."""
    generator = seeded(22)
    words = torch.randn(5, 8, generator=generator)
    which = torch.randint(5, (40,), generator=generator)
    images = F.normalize(words, dim=-1)[which] + 0.1 * torch.randn(40, 8, generator=generator)
    lengths = torch.tensor([0.2, 1.0, 9.0, 0.5, 3.0])
    return images * torch.linspace(0.5, 4, 40)[:, None], words * lengths[:, None]


@exercise(
    "02.2",
    wrong=[
        lambda images, words: (images @ words.T).argmax(1),
        lambda images, words: F.normalize(images, dim=0) @ F.normalize(words, dim=0).T,
        lambda images, words: (F.normalize(images, dim=-1) @ words.T).argmax(0),
        lambda images, words: (F.normalize(images, dim=-1) @ F.normalize(words, dim=-1).T).argmin(
            1
        ),
    ],
)
def zero_shot(answer) -> str | None:
    images, words = _features()
    right = (images @ F.normalize(words, dim=-1).T).argmax(1)
    given = answer(images, words)
    if isinstance(given, torch.Tensor) and torch.equal(given, (images @ words.T).argmax(1)):
        return "Long words win everywhere: what remains to be taken off before comparing?"
    hint = "Compare directions, and take the word that is most alike."
    return tensor(given, right, within=0, hint=hint)


@exercise(
    "02.3",
    wrong=[
        lambda plain, content: (content - plain).mean(),
        lambda plain, content: ((content - plain) / (1 - plain)).mean(),
        lambda plain, content: (content.mean() - plain.mean()) / plain.mean(),
        lambda plain, content: 1 - content.mean() / plain.mean(),
    ],
)
def gap_closed(answer) -> str | None:
    plain = torch.tensor([0.4, 0.7, 0.995, 0.55])
    content = torch.tensor([0.9, 0.85, 0.98, 0.8])
    before, after = plain.mean(), content.mean()
    given = answer(plain, content)
    ratios = ((content - plain) / (1 - plain)).mean()
    if number(given, ratios.item(), within=1e-5, hint="") is None:
        return "That is a mean of ratios: the image with hardly any gap decides it alone."
    if number(given, (after - before).item(), within=1e-5, hint="") is None:
        return "That is what was gained. Which share is it of what there was to gain?"
    right = ((after - before) / (1 - before)).item()
    return number(given, right, within=1e-5, hint="How large was the gap, and how large is it now?")


@exercise(
    "02.4",
    wrong=[
        lambda values, photos, drawn: values[drawn].mean(),
        lambda values, photos, drawn: values[torch.isin(photos, drawn)].mean(),
        lambda values, photos, drawn: torch.stack(
            [values[photos == photo].mean() for photo in drawn.tolist()]
        ).mean(),
        lambda values, photos, drawn: values.mean(),
    ],
)
def mean_of_drawn(answer) -> str | None:
    values = torch.tensor([0.0, 1.0, 0.5, 0.25, 1.0, 0.0, 0.75])
    photos = torch.tensor([0, 0, 0, 1, 2, 2, 3])
    drawn = torch.tensor([2, 1, 1, 0])
    given = answer(values, photos, drawn)
    once = values[torch.isin(photos, drawn)].mean().item()
    if number(given, once, within=1e-5, hint="") is None:
        return "A photo that was drawn twice brought its crops only once."
    if number(given, values[drawn].mean().item(), within=1e-5, hint="") is None:
        return "Those are crops by number: `drawn` holds photos."
    right = torch.cat([values[photos == photo] for photo in drawn.tolist()]).mean().item()
    return number(given, right, within=1e-5, hint="Every crop of every drawn photo counts alike.")
