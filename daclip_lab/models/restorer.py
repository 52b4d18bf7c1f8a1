"""The interface of a restorer, and the registry through which configurations name one.

A network of your own needs no change to the library: write a module with the members of `Restorer`, register it, and
name it in a configuration.

    @register_restorer("mine")
    class MyNet(nn.Module):
        prediction_type = "sample"
        uses_unnormalized_embeddings = False
        multiple = 1

        def __init__(self, *, embed_dim: int, width: int = 32): ...
        def prepare(self, content, degradation): ...
        def forward(self, state, degraded, t, conditions): ...

    net = build_restorer({"kind": "mine", "width": 64}, embed_dim=512)
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from daclip_lab.errors import InputError

PREDICTION_TYPES = ("sample", "epsilon")
"""What a restorer predicts: the clean image (x0-prediction), or the noise in the state."""


@runtime_checkable
class Restorer(Protocol):
    """A network that is conditioned on time and both embeddings, and predicts the clean image or the noise.

    Trainings, samplers and tiling use these members and no others; it is a `torch.nn.Module` besides.
    """

    prediction_type: str
    """One of `PREDICTION_TYPES`."""
    uses_unnormalized_embeddings: bool
    """Whether it expects the embeddings with the norms of CLIP's projection, instead of length 1."""
    multiple: int
    """It pads height and width to multiples of this; tiles begin at multiples of it."""

    def prepare(self, content: Tensor | None, degradation: Tensor | None) -> Any:
        """The conditions of a batch, computed once and used at every step.

        Args:
            content, degradation: embeddings (b, d), or (1, d) for all images. A row of zeros stands for no embedding;
                None stands for zeros.
        """
        ...

    def forward(self, state: Tensor, degraded: Tensor, t: Tensor, conditions: Any) -> Tensor:
        """The prediction (b, 3, h, w), for any h and w from 16.

        Args:
            state: the noisy state x_t, (b, 3, h, w), unbounded.
            degraded: the degraded image, (b, 3, h, w) in [0, 1].
            t: time steps (b,), int64, 1 to T.
            conditions: the output of `prepare`.
        """
        ...

    __call__: Callable[..., Tensor]
    """`forward`, as of any module."""


Factory = TypeVar("Factory", bound=Callable[..., nn.Module])
_factories: dict[str, Callable[..., nn.Module]] = {}


def register_restorer(name: str) -> Callable[[Factory], Factory]:
    """A decorator that registers a class, or a function that builds a module, as a kind of restorer.

    It is called with `embed_dim`, the length d of the embeddings, and the other entries of the configuration as keyword
    arguments. Registering the same class again, as a notebook does, replaces it; InputError for a name that is taken.
    """

    def register(factory: Factory) -> Factory:
        before = _factories.get(name, factory)
        if (before.__module__, before.__qualname__) != (factory.__module__, factory.__qualname__):
            raise InputError(
                f"restorer {name!r} is already {before.__module__}.{before.__qualname__}"
            )
        _factories[name] = factory
        return factory

    return register


def build_restorer(network: dict, embed_dim: int, seed: int = 0) -> nn.Module:
    """The restorer that a configuration describes, with random weights.

    Args:
        network: its `kind`, such as "nafnet" or "unet", and the arguments of that kind.
        embed_dim: length d of the embeddings.
        seed: decides the initial weights.

    Raises InputError for an unknown kind, arguments that do not fit, and a module that is no `Restorer`.
    """
    kind = network.get("kind")
    if kind not in _factories:
        raise InputError(f"restorer kind {kind!r} is unknown: use one of {', '.join(_factories)}")
    arguments = {name: value for name, value in network.items() if name != "kind"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            net = _factories[kind](embed_dim=embed_dim, **arguments)
        except TypeError as error:
            raise InputError(f"restorer kind {kind!r}: {error}") from error
    members = ("prediction_type", "uses_unnormalized_embeddings", "multiple", "prepare")
    if missing := [name for name in members if not hasattr(net, name)]:
        raise InputError(f"restorer kind {kind!r} is no Restorer: it lacks {', '.join(missing)}")
    if net.prediction_type not in PREDICTION_TYPES:
        predicted = f"prediction_type is {net.prediction_type!r}"
        raise InputError(f"restorer kind {kind!r}: {predicted}, wanted 'sample' or 'epsilon'")
    return net
