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

Time = Tensor | int
"""An int, or integers (b,) on any device."""


def _speeds(schedule: str, steps: int) -> Tensor:
    """The mean-reversion speed at t = 0..steps, (steps + 1,), before it is scaled to end at `eps`."""
    if schedule == "constant":
        return torch.ones(steps + 1, dtype=torch.float64)
    if schedule == "linear":
        # The DDPM range 1e-4..0.02, stretched so that its sum does not depend on the number of steps.
        scale = 1000 / (steps + 1)
        return torch.linspace(scale * 1e-4, scale * 0.02, steps + 1, dtype=torch.float64)
    if schedule == "cosine":
        # Nichol and Dhariwal's squared cosine (2102.09672); two more points than needed keep both ends regular.
        x = torch.linspace(0, 1, steps + 3, dtype=torch.float64)
        squared = torch.cos((x + 0.008) / 1.008 * math.pi / 2) ** 2
        return 1 - (squared / squared[0])[1:-1]
    raise InputError(f"schedule {schedule!r} is unknown: use 'cosine', 'linear' or 'constant'")


def _entries(table: Tensor, t: Time) -> Tensor:
    """The entries () or (b,) of a table at `t`, an int or a tensor (b,) on any device."""
    return table.to(t.device)[t] if isinstance(t, Tensor) else table[t]


def _shaped(values: Tensor, like: Tensor) -> Tensor:
    """Values () or (b,), shaped to multiply `like` (b, ...), in its type and on its device."""
    values = values.to(like.device, like.dtype, non_blocking=True)
    return values.reshape(-1, *[1] * (like.dim() - 1)) if values.dim() else values


class MeanRevertingSDE:
    """The schedule of the mean-reverting SDE and the closed forms that follow from it.

    The tables `theta` (speed times dt), `theta_bar` (its cumulated sum), `alpha`, `sigma_bar` and `log_snr` (the log of
    alpha / sigma_bar, infinite at t = 0) are (steps + 1,), indexed by t = 0..steps, on the CPU, in float64 (a
    restoration multiplies a hundred of their ratios).

    In all methods `state`, `clean`, `degraded` and `noise` are images (b, ...) of one shape, type and device, which are
    those of the results.

    Args:
        steps: number of time steps T.
        sigma_max: stationary standard deviation, in image units (the paper: 50/255).
        schedule: `"cosine"` (the paper), `"linear"` or `"constant"`.
        eps: the share of `clean - degraded` in the mean at t = T (the paper: 0.005).

    Raises InputError for arguments out of range and an unknown schedule.
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
        self.log_snr = self.alpha.log() - self.sigma_bar.log()

    def at(self, table: Tensor, t: Time, like: Tensor) -> Tensor:
        """A table's entries at `t`, shaped to multiply `like` (b, ...), in its type and on its device."""
        return _shaped(_entries(table, t), like)

    def marginal(self, clean: Tensor, degraded: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        r"""Mean (b, ...) and standard deviation of the state at time `t` (IR-SDE, equation 6).

        $\mu + (x_0 - \mu)\,\alpha_t$ and $\bar\sigma_t$; at t = 0 they are `clean` and 0.
        """
        mean = degraded + (clean - degraded) * self.at(self.alpha, t, clean)
        return mean, self.at(self.sigma_bar, t, clean)

    def diffuse(self, clean: Tensor, degraded: Tensor, t: Time, noise: Tensor) -> Tensor:
        """The state at time `t` for standard normal `noise`: mean + standard deviation * noise."""
        mean, std = self.marginal(clean, degraded, t)
        return mean + std * noise

    def prior(self, degraded: Tensor, noise: Tensor) -> Tensor:
        r"""The initial state of every restoration, $\mu + \sigma_\infty\epsilon$, from standard normal `noise`."""
        return torch.add(degraded, noise, alpha=self.sigma_max)

    def clean_from_noise(self, state: Tensor, degraded: Tensor, noise: Tensor, t: Time) -> Tensor:
        r"""The clean image implied by a noise estimate at time `t`: `diffuse` solved for `clean`.

        $x_0 = \mu + (x_t - \mu - \bar\sigma_t\epsilon) / \alpha_t$
        """
        alpha, std = self.at(self.alpha, t, state), self.at(self.sigma_bar, t, state)
        # In place: a copy of a large photo is hundreds of megabytes.
        return (state - degraded).sub_(std * noise).div_(alpha).add_(degraded)

    def noise_from_clean(self, state: Tensor, degraded: Tensor, clean: Tensor, t: Time) -> Tensor:
        """The noise implied by an estimate of the clean image at time `t` > 0: `diffuse` solved for `noise`."""
        mean, std = self.marginal(clean, degraded, t)
        return (state - mean) / std

    def posterior(
        self, state: Tensor, clean: Tensor, degraded: Tensor, t: Time, s: Time
    ) -> tuple[Tensor, Tensor]:
        r"""Mean (b, ...) and standard deviation of the state at time `s` < `t`, given that at `t` and the clean image.

        With $A(x) = 1 - e^{-2x}$ and $\delta = \bar\theta_t - \bar\theta_s$ the mean is

        $$\mu + e^{-\delta}\frac{A(\bar\theta_s)}{A(\bar\theta_t)}(x_t - \mu)
              + e^{-\bar\theta_s}\frac{A(\delta)}{A(\bar\theta_t)}(x_0 - \mu)$$

        and the variance $\sigma_\infty^2 A(\delta) A(\bar\theta_s) / A(\bar\theta_t)$. At s = t - 1 the mean is the
        optimum reverse step that the paper trains towards (IR-SDE, equation 14); it holds for any s, and thus for any
        number of steps. At s = 0 it is `clean`, and the standard deviation 0.
        """
        # In float64 up to the last line: near t = 0 these are ratios of small differences.
        to_s, to_t = _entries(self.theta_bar, s), _entries(self.theta_bar, t)
        from_s, from_t, between = (-torch.expm1(-2 * x) for x in (to_s, to_t, to_t - to_s))
        of_state = _shaped(torch.exp(to_s - to_t) * from_s / from_t, state)
        of_clean = _shaped(torch.exp(-to_s) * between / from_t, state)
        std = _shaped(self.sigma_max * (between * from_s / from_t).sqrt(), state)
        return degraded + of_state * (state - degraded) + of_clean * (clean - degraded), std

    def reverse_drift(self, state: Tensor, degraded: Tensor, noise: Tensor, t: Time) -> Tensor:
        r"""The reverse SDE's drift over one step, from `t` to t - 1; the mean of an Euler step is `state - drift`.

        $\theta_t(\mu - x_t) - 2\theta_t\sigma_\infty^2\nabla\ln p_t(x_t)$, with the score
        $\nabla\ln p_t = -\epsilon / \bar\sigma_t$ (IR-SDE, equations 5 and 7).
        """
        theta, std = self.at(self.theta, t, state), self.at(self.sigma_bar, t, state)
        score = -noise / std
        return theta * (degraded - state) - 2 * theta * self.sigma_max**2 * score
