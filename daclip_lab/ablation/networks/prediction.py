r"""Networks that predict something else than their kind: the noise, the velocity v, or the clean image.

With $u = x_t - \mu$, $u_0 = x_0 - \mu$, $s = \sqrt{1 - \alpha^2}$ and the noise in units of the image,
$n = \sigma_\infty\epsilon$, a state is $u = \alpha u_0 + s\,n$, a rotation: the velocity (Salimans and Ho, 2202.00512)
is $v = \alpha n - s\,u_0$, and $u_0 = \alpha u - s\,v$.
"""

from torch import Tensor

from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.models.nafnet import ConditionalNAFNet
from daclip_lab.models.restorer import register_restorer
from daclip_lab.models.unet import ConditionalUNet, Conditions


def velocity(
    sde: MeanRevertingSDE, clean: Tensor, degraded: Tensor, noise: Tensor, t: Tensor
) -> Tensor:
    """The velocity (b, 3, h, w) at times (b,) of standard normal noise, see the module."""
    alpha, s = _rotation(sde, t, clean)
    return alpha * sde.sigma_max * noise - s * (clean - degraded)


def clean_from_velocity(
    sde: MeanRevertingSDE, state: Tensor, degraded: Tensor, v: Tensor, t: Tensor
) -> Tensor:
    """The clean image (b, 3, h, w) implied by a velocity at times (b,): the inverse of `velocity`."""
    alpha, s = _rotation(sde, t, state)
    return degraded + alpha * (state - degraded) - s * v


def _rotation(sde: MeanRevertingSDE, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    return sde.at(sde.alpha, t, like), sde.at(sde.sigma_bar / sde.sigma_max, t, like)


@register_restorer("nafnet-noise")
class NoiseNAFNet(ConditionalNAFNet):
    """The lab's NAFNet, which predicts the noise in the state; untrained, none."""

    prediction_type = "epsilon"

    def forward(
        self, state: Tensor, degraded: Tensor, t: Tensor, conditions: Tensor | float
    ) -> Tensor:
        """The predicted noise, see `Restorer.forward`."""
        return super().forward(state, degraded, t, conditions) - degraded


@register_restorer("nafnet-velocity")
class VelocityNAFNet(ConditionalNAFNet):
    """The lab's NAFNet, which predicts the velocity and returns the clean image that it implies.

    Args:
        sde: arguments of the `MeanRevertingSDE` that it is trained under.

    The others are those of `ConditionalNAFNet`.
    """

    def __init__(self, *, sde: dict | None = None, **network):
        super().__init__(**network)
        self.sde = MeanRevertingSDE(**(sde or {}))

    def forward(
        self, state: Tensor, degraded: Tensor, t: Tensor, conditions: Tensor | float
    ) -> Tensor:
        """The predicted clean image, see `Restorer.forward`."""
        v = super().forward(state, degraded, t, conditions) - degraded
        return clean_from_velocity(self.sde, state, degraded, v, t)


@register_restorer("unet-clean")
class CleanUNet(ConditionalUNet):
    """The paper's U-Net, which predicts the clean image, so that one step suffices.

    Embeddings of length 1 are lengthened to the square root of d: the paper's network expects entries of about 1.
    """

    prediction_type = "sample"
    uses_unnormalized_embeddings = False

    def prepare(self, content: Tensor | None, degradation: Tensor | None) -> Conditions:
        """What the embeddings (b, d) of each image add, see `Conditions`; None stands for zeros."""
        longer = (e if e is None else e * self.embed_dim**0.5 for e in (content, degradation))
        return super().prepare(*longer)

    def forward(self, state: Tensor, degraded: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """The predicted clean image, see `Restorer.forward`."""
        return degraded + super().forward(state, degraded, t, conditions).float()
