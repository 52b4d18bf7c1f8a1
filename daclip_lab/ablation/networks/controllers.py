"""Controllers that differ from the lab's in one part: the order of controls, the initial weights, the front end."""

import torch
from torch import Tensor, nn

from daclip_lab.errors import InputError
from daclip_lab.models.clip import Clip
from daclip_lab.models.daclip import Controller, DaCLIP
from daclip_lab.models.front_end import FrontEnd

ORDERS = ("reversed", "straight")
INITIALISATIONS = ("exact", "authors", "random")
FRONT_ENDS = ("copy", "fresh convolutions", "fresh patch embedding")


class StraightController(Controller):
    """A controller whose block i controls the frozen tower's block i, and not block n + 1 - i."""

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The degradation feature, and the controls in the order that `DaCLIP.encode_image` reverses."""
        feature, controls = super().forward(images)
        return feature, controls[::-1]


def build_controlled(
    clip: Clip, *, order: str, initialisation: str, front_end: str, seed: int
) -> DaCLIP:
    """A DA-CLIP, on the device of `clip`, whose controller differs in these parts from the paper's.

    Args:
        order: "reversed", as in the paper, or "straight".
        initialisation: "exact" starts all control layers at zero. "authors" repeats a fault of the authors' code, which
            pairs parameters by position: the first control layer gets the weight and bias of `ln_post`, and the
            controller's own `ln_post` stays at 1 and 0. "random" leaves the control layers at torch's own values.
        front_end: "copy" is CLIP's; the others start at random values, of CLIP's kind or as a linear patch embedding.
        seed: decides the random values.

    Raises InputError for an unknown choice, and for fresh convolutions where CLIP has none.
    """
    for value, known in (
        (order, ORDERS),
        (initialisation, INITIALISATIONS),
        (front_end, FRONT_ENDS),
    ):
        if value not in known:
            raise InputError(f"{value!r} is unknown: use one of {', '.join(known)}")
    daclip = DaCLIP(clip)
    if order == "straight":
        daclip.controller = StraightController(clip.visual)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _initialise(daclip.controller, clip, initialisation)
        if front_end != "copy":
            daclip.controller.visual.conv1 = _front_end(clip, front_end)
    return daclip.to(next(clip.parameters()).device)


@torch.no_grad()
def _initialise(controller: Controller, clip: Clip, initialisation: str) -> None:
    if initialisation == "random":
        for layer in controller.zeros:
            layer.reset_parameters()
    if initialisation == "authors":
        norm, first = clip.visual.ln_post, controller.zeros[0]
        first.weight.copy_(norm.weight.expand_as(first.weight))
        first.bias.copy_(norm.bias)
        controller.visual.ln_post.reset_parameters()


def _front_end(clip: Clip, kind: str) -> nn.Module:
    """A front end with random weights, to tokens of the same number and width as CLIP's."""
    vision = clip.config.vision
    width, patch = vision["width"], vision["patch_size"]
    if kind == "fresh patch embedding":
        return nn.Conv2d(3, width, patch, stride=patch, bias=False)
    if "front_end" not in vision:
        raise InputError("fresh convolutions: this CLIP has a linear patch embedding")
    return FrontEnd(width, patch, vision["front_end"])
