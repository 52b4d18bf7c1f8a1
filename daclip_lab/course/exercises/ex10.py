"""Checkers of notebook 10: names, steps and memory at the scale of the paper."""

from daclip_lab.course.answers import number
from daclip_lab.course.registry import exercise
from daclip_lab.pipeline.convert_official import authors_name

SIDE = 8 * (24e9 / 64) ** 0.25  # 16 heads x (side^2 / 64)^2 x 4 bytes = 24e9


@exercise("10.1", wrong=[8 * (24e9 / 4) ** 0.25, SIDE / 8, SIDE**2, 512, "one"])
def side_that_fills_the_card(answer) -> str | None:
    if number(answer, 8 * (24e9 / 4) ** 0.25, within=10, hint="") is None:
        return "That is one head: there are 16, and each makes a matrix of its own."
    if number(answer, SIDE / 8, within=2, hint="") is None:
        return "That is the side of the feature map. How large is the image?"
    hint = "How many numbers has the matrix of a map of n pixels, and how many pixels has the map?"
    return number(answer, SIDE, within=12, hint=hint)


OURS = (
    "clip.model.visual.proj",
    "clip.model.token_embedding.weight",
    "controller.visual.transformer.resblocks.11.ln_1.bias",
    "controller.visual.ln_post.weight",
    "controller.zeros.3.weight",
    "logit_scale",
)


def _forgets_the_wrapper(name):
    name = name.replace("visual_control.transformer.zero_modules.", "controller.zeros.")
    name = name.replace("visual_control.", "controller.visual.")
    return f"clip.model.{name[5:]}" if name.startswith("clip.") else name


def _forgets_the_zeros(name):
    name = name.replace("visual_control.transformer.transformer.", "visual_control.transformer.")
    name = name.replace("visual_control.", "controller.visual.")
    return f"clip.model.{name[5:]}" if name.startswith("clip.") else name


@exercise("10.2", wrong=[_forgets_the_wrapper, _forgets_the_zeros, lambda name: name, len])
def our_name(answer) -> str | None:
    for ours in OURS:
        given, theirs = answer(authors_name(ours)), authors_name(ours)
        if not isinstance(given, str):
            return f"Wanted a name, not {given!r}."
        if given != ours:
            return f"For {theirs} it says {given}, which is not in our list."
    return None


@exercise("10.3", wrong=[50 * 52_801 / 3136, 50 * (52_801 // 784), 52_801 // 3136, 50 * 17])
def steps_of_a_training(answer) -> str | None:
    epoch = 52_801 / 3136
    known = {
        50 * epoch: "A step takes a whole batch, and an epoch ends with its last whole one.",
        50 * (52_801 // 784): "The four GPUs work on one step together.",
        52_801 // 3136: "That is one epoch.",
        50 * 17: "The last batch of an epoch is not full, and is dropped.",
    }
    for value, hint in known.items():
        if number(answer, value, within=0.5, hint="") is None:
            return hint
    hint = "Whole batches in an epoch, times epochs."
    return number(answer, 50 * (52_801 // 3136), within=0.1, hint=hint)
