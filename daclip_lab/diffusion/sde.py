r"""The mean-reverting SDE: a clean image drifts towards its degraded version while noise grows.

$$dx = \theta_t(\mu - x)\,dt + \sigma_t\,dw, \qquad \sigma_t^2 = 2\sigma_\infty^2\theta_t$$

The stationary variance $\sigma_\infty^2$ is the same at every t, so the state at time t is known in closed form:

$$x_t = \mu + (x_0 - \mu)\,\alpha_t + \bar\sigma_t\,\epsilon, \qquad
  \alpha_t = e^{-\bar\theta_t}, \quad \bar\sigma_t^2 = \sigma_\infty^2(1 - \alpha_t^2)$$

Luo et al., *Image Restoration with Mean-Reverting Stochastic Differential Equations* (2301.11699), equations 3 to 6;
DA-CLIP (2310.01018) uses it unchanged.
"""

import math

import torch
from torch import Tensor

from daclip_lab.errors import InputError


def _speeds(schedule: str, steps: int) -> Tensor:
    """The mean-reversion speed at t = 0..steps, before it is scaled to end at `eps`."""
    if schedule == "constant":
        return torch.ones(steps + 1, dtype=torch.float64)
    if schedule == "linear":
        # The DDPM range 1e-4..0.02, stretched so that its sum does not depend on the number of steps.
        scale = 1000 / (steps + 1)
        return torch.linspace(scale * 1e-4, scale * 0.02, steps + 1, dtype=torch.float64)
    if schedule == "cosine":
        # Nichol and Dhariwal's squared cosine; two more points than needed, so that neither end is singular.
        x = torch.linspace(0, 1, steps + 3, dtype=torch.float64)
        squared = torch.cos((x + 0.008) / 1.008 * math.pi / 2) ** 2
        return 1 - (squared / squared[0])[1:-1]
    raise InputError(f"schedule {schedule!r} is unknown: use 'cosine', 'linear' or 'constant'")


def _shaped(values: Tensor, like: Tensor) -> Tensor:
    """Values () or (b,), shaped to multiply `like` (b, ...), of its type and on its device."""
    values = values.to(like.device, like.dtype)
    return values.reshape(-1, *[1] * (like.dim() - 1)) if values.dim() else values


class MeanRevertingSDE:
    """The schedule of the mean-reverting SDE and every closed form that follows from it.

    Tables are indexed by t = 0..steps, in float64 (a restoration multiplies a hundred of their ratios):
    `theta_bar` is the cumulated speed times dt, `alpha` is exp(-theta_bar), `sigma_bar` the standard deviation.

    Args:
        steps: number of time steps T.
        sigma_max: stationary standard deviation, in image units (the paper: 50/255).
        schedule: `"cosine"` (the paper), `"linear"` or `"constant"`.
        eps: what is left of `clean - degraded` in the mean at t = T (the paper: 0.005).
    """

    def __init__(
        self,
        *,
        steps: int = 100,
        sigma_max: float = 50 / 255,
        schedule: str = "cosine",
        eps: float = 0.005,
    ):
        if steps < 1 or not 0 < eps < 1 or sigma_max <= 0:
            raise InputError(
                f"steps={steps}, sigma_max={sigma_max}, eps={eps}: "
                "wanted steps >= 1, sigma_max > 0 and 0 < eps < 1"
            )
        self.steps = steps
        self.sigma_max = sigma_max
        theta = _speeds(schedule, steps)
        theta_bar = theta.cumsum(0) - theta[0]
        dt = -math.log(eps) / theta_bar[-1]
        self.theta = theta * dt
        self.theta_bar = theta_bar * dt
        self.alpha = torch.exp(-self.theta_bar)
        self.sigma_bar = sigma_max * torch.sqrt(-torch.expm1(-2 * self.theta_bar))

    def at(self, table: Tensor, t: Tensor | int, like: Tensor) -> Tensor:
        """The value of a table at `t`, shaped to multiply `like` (b, ...) and in its type."""
        return _shaped(table[t], like)

    def marginal(self, clean: Tensor, degraded: Tensor, t: Tensor | int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the state at time `t` (IR-SDE, equation 6).

        `t` is an int or a (b,) tensor. At t = 0 they are `clean` and 0.
        """
        mean = degraded + (clean - degraded) * self.at(self.alpha, t, clean)
        return mean, self.at(self.sigma_bar, t, clean)

    def diffuse(self, clean: Tensor, degraded: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The state at time `t` that a given standard normal `noise` leads to."""
        mean, std = self.marginal(clean, degraded, t)
        return mean + std * noise

    def prior(self, degraded: Tensor, noise: Tensor) -> Tensor:
        """Where every restoration starts: the degraded image plus stationary noise."""
        return torch.add(degraded, noise, alpha=self.sigma_max)

    def clean_from_noise(
        self, state: Tensor, degraded: Tensor, noise: Tensor, t: Tensor | int
    ) -> Tensor:
        """The clean image implied by a noise estimate at time `t`: `diffuse` solved for `clean`."""
        alpha, std = self.at(self.alpha, t, state), self.at(self.sigma_bar, t, state)
        # In place: a copy of a large photo is hundreds of megabytes.
        return (state - degraded).sub_(std * noise).div_(alpha).add_(degraded)

    def noise_from_clean(
        self, state: Tensor, degraded: Tensor, clean: Tensor, t: Tensor | int
    ) -> Tensor:
        """The noise implied by an estimate of the clean image at time `t` > 0."""
        mean, std = self.marginal(clean, degraded, t)
        return (state - mean) / std

    def posterior(
        self, state: Tensor, clean: Tensor, degraded: Tensor, t: Tensor | int, s: Tensor | int
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the state at time `s` < `t`, given the state at `t` and the clean image.

        At s = t - 1 the mean is the optimum reverse step that the paper trains towards (IR-SDE, equation 14). It
        holds for any s, which is what makes it right for any number of steps. At s = 0 it is `clean` and 0.
        """
        # In float64 up to the last line: near t = 0 these are ratios of differences from 1. `from_s` is 1 - exp(-2 x).
        to_s, to_t = self.theta_bar[s], self.theta_bar[t]
        from_s, from_t, between = (-torch.expm1(-2 * x) for x in (to_s, to_t, to_t - to_s))
        of_state = _shaped(torch.exp(to_s - to_t) * from_s / from_t, state)
        of_clean = _shaped(torch.exp(-to_s) * between / from_t, state)
        std = _shaped(self.sigma_max * (between * from_s / from_t).sqrt(), state)
        return degraded + of_state * (state - degraded) + of_clean * (clean - degraded), std

    def reverse_drift(self, state: Tensor, degraded: Tensor, noise: Tensor, t: int) -> Tensor:
        """One step of the reverse SDE's drift from `t` to t - 1: an Euler mean is `state - drift`.

        The score of the state is `-noise / sigma_bar` (IR-SDE, equation 7).
        """
        theta, std = self.at(self.theta, t, state), self.at(self.sigma_bar, t, state)
        score = -noise / std
        return theta * (degraded - state) - 2 * theta * self.sigma_max**2 * score
