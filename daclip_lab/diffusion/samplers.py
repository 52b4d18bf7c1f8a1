r"""Samplers: from the degraded image back to the clean one, in any number of steps.

Every sampler works on the network's estimate of the clean image (x0-prediction). With $u = x - \mu$, log
signal-to-noise ratio $\lambda_t = \ln\alpha_t - \ln\bar\sigma_t$ and $h = \lambda_s - \lambda_t$, a first-order step
from t to s < t, with noise (k = 1, SDE) or without (k = 0, ODE), is

$$u_s = \tfrac{\bar\sigma_s}{\bar\sigma_t}\,e^{-kh}\,u_t + \alpha_s\bigl(1 - e^{-(1+k)h}\bigr)(\hat x_0 - \mu)
        + k\,\bar\sigma_s\sqrt{1 - e^{-2h}}\;\epsilon$$

| name | order | k | known as |
| --- | --- | --- | --- |
| `posterior` | 1 | 1 | ancestral sampling (DDPM): draws from `MeanRevertingSDE.posterior`; the authors' default |
| `ddim` | 1 | 0 | DDIM, the first-order step of the probability-flow ODE |
| `dpmpp-2m` | 2 | 0 | DPM-Solver++(2M) (2211.01095), a multistep solver of that ODE |
| `dpmpp-2m-sde` | 2 | 1 | SDE-DPM-Solver++(2M) |

With $h'$ the h of the step before and $\hat x_0'$ its estimate, the second order adds

$$\alpha_s\Bigl(1 - \frac{1 - e^{-(1+k)h}}{(1+k)h}\Bigr)\frac{h}{h'}\,(\hat x_0 - \hat x_0')$$

(for this SDE: 2502.07856).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.errors import InputError
from daclip_lab.models.restorer import Restorer

TIMESTEP_SPACINGS = ("linspace", "logsnr")
SAMPLERS: dict[str, dict[str, Any]] = {
    "posterior": {"order": 1, "stochastic": True},
    "dpmpp-2m-sde": {"order": 2, "stochastic": True},
    "ddim": {"order": 1, "stochastic": False},
    "dpmpp-2m": {"order": 2, "stochastic": False},
}
"""The arguments of `sample` that each named sampler stands for."""


class SampleStep(NamedTuple):
    """One step of a restoration."""

    state: Tensor
    """The state reached, (b, 3, h, w)."""
    t: int
    """Its time; 0 for the last step."""
    clean: Tensor
    """The clean image predicted from the state before, (b, 3, h, w)."""


Generators = torch.Generator | Sequence[torch.Generator] | None

Denoiser = Callable[[Tensor, int], Tensor]
"""(state, t) -> estimate of the clean image, both (b, 3, h, w); t is an int."""


def denoiser(
    net: Restorer,
    sde: MeanRevertingSDE,
    degraded: Tensor,
    conditions: Any,
    *,
    dtype: torch.dtype | None = None,
) -> Denoiser:
    """Wrap a network as a function (state, t) -> estimate of the clean image.

    Args:
        net: its `prediction_type` decides whether the output is converted ("epsilon") or returned ("sample").
        degraded: (b, 3, h, w) in [0, 1].
        conditions: the output of `net.prepare`, the same at every step.
        dtype: number format in which the network computes (autocast), such as torch.bfloat16; the state stays as it is.
    """

    def predict(state: Tensor, t: int) -> Tensor:
        times = torch.full((len(state),), t, device=state.device)
        with torch.autocast(state.device.type, dtype) if dtype else nullcontext():
            prediction = net(state, degraded, times, conditions).to(state.dtype)
        if net.prediction_type == "epsilon":
            return sde.clean_from_noise(state, degraded, prediction, t)
        return prediction

    return predict


def time_points(sde: MeanRevertingSDE, steps: int, timestep_spacing: str = "linspace") -> list[int]:
    """The times a sampler visits: `steps + 1` distinct ones from T down to 0.

    Args:
        steps: 1 to T.
        timestep_spacing: `"linspace"` divides T evenly; `"logsnr"` divides the log signal-to-noise ratio between T and
            1 evenly.

    Raises InputError for other values.
    """
    _check_steps(sde, steps)
    if timestep_spacing not in TIMESTEP_SPACINGS:
        known = ", ".join(TIMESTEP_SPACINGS)
        raise InputError(f"timestep_spacing {timestep_spacing!r} is unknown: use one of {known}")
    if timestep_spacing == "linspace":
        return torch.linspace(sde.steps, 0, steps + 1).round().long().tolist()
    log_snr = sde.log_snr[1:]
    wanted = torch.linspace(log_snr[-1].item(), log_snr[0].item(), steps, dtype=log_snr.dtype)
    times = (1 + (log_snr[None] - wanted[:, None]).abs().argmin(1)).tolist()
    # Where the integer times are coarser than the spacing, take the next free time instead of a duplicate.
    for i in range(1, steps):
        times[i] = min(times[i], times[i - 1] - 1)
    for i in range(steps - 1, -1, -1):
        times[i] = max(times[i], steps - i)
    return [*times, 0]


def sample(
    predict_clean: Denoiser,
    sde: MeanRevertingSDE,
    degraded: Tensor,
    *,
    steps: int,
    order: int = 1,
    stochastic: bool = False,
    timestep_spacing: str = "linspace",
    generator: Generators = None,
) -> Iterator[SampleStep]:
    """Restore a batch, yielding each step; the last one holds the restored images.

    Args:
        predict_clean: see `denoiser`.
        degraded: (b, 3, h, w) in [0, 1].
        steps: number of network calls, 1 to T.
        order: 1, or 2 for the multistep solver that also uses the estimate of the step before.
        stochastic: with fresh noise at every step (k = 1 in the module's equation), or without (k = 0).
        timestep_spacing: see `time_points`.
        generator: source of the noise; the same one gives the same restoration. A list of b generators, one for each
            image, makes an image's result independent of the rest of the batch.

    The last step is always first order and without noise: it ends on the network's estimate of the clean image.

    Raises InputError for an unknown order or spacing, and for steps out of range.
    """
    if order not in (1, 2):
        raise InputError(f"order={order}: wanted 1 or 2")
    times = time_points(sde, steps, timestep_spacing)
    k = float(stochastic)
    state = sde.prior(degraded, _noise_like(degraded, generator))
    previous: tuple[Tensor, float] | None = None
    for t, s in pairwise(times):
        clean = predict_clean(state, t)
        if s == 0:
            yield SampleStep(clean, 0, clean)
            return
        h = (sde.log_snr[s] - sde.log_snr[t]).item()
        alpha, sigma = sde.alpha[s].item(), sde.sigma_bar[s].item()
        gain = -math.expm1(-(1 + k) * h)
        # The weights of the state, of the estimate, and of the estimate before.
        w_state = sigma / sde.sigma_bar[t].item() * math.exp(-k * h)
        w_clean, w_last = alpha * gain, 0.0
        if order == 2 and previous is not None:
            last_clean, last_h = previous
            w_last = alpha * (1 - gain / ((1 + k) * h)) * h / last_h
            w_clean += w_last
        # In place from the second term on: every copy of a photo of 24 megapixels takes 288 MB.
        state = (state * w_state).add_(clean, alpha=w_clean)
        state.add_(degraded, alpha=1 - w_state - alpha * gain)
        if w_last:
            state.sub_(last_clean, alpha=w_last)
        if stochastic:
            noise = _noise_like(state, generator)
            state.add_(noise, alpha=sigma * math.sqrt(-math.expm1(-2 * h)))
            del noise
        previous = (clean, h) if order == 2 else None
        yield SampleStep(state, s, clean)


def euler_maruyama(
    predict_clean: Denoiser,
    sde: MeanRevertingSDE,
    degraded: Tensor,
    *,
    steps: int | None = None,
    generator: Generators = None,
) -> Iterator[SampleStep]:
    r"""Euler-Maruyama steps of the reverse SDE, each from t to t - 1: the authors' first sampler, a biased baseline.

    $$x_{t-1} = x_t - \theta_t(\mu - x_t) + 2\theta_t\sigma_\infty^2\,s_t(x_t)
        + \sigma_\infty\sqrt{2\theta_t}\;\epsilon$$

    with the score $s_t$ of `MeanRevertingSDE.reverse_drift`. As in the authors' code the last step adds its noise, too:
    it stays in the image, with a standard deviation of 0.94 of 255 under the paper's SDE.

    Args:
        predict_clean: see `denoiser`.
        degraded: (b, 3, h, w) in [0, 1].
        steps: 1 to T; None for T. With fewer than T it does what published comparisons did: it visits `steps` times
            spread evenly from T to 1 and takes the same small step at each, so that the noise of the times between is
            never removed.
        generator: source of the noise, as for `sample`.

    Raises InputError for steps out of range.
    """
    steps = sde.steps if steps is None else steps
    _check_steps(sde, steps)
    times = [*torch.linspace(sde.steps, 1, steps, dtype=torch.float64).long().tolist(), 0]
    state = sde.prior(degraded, _noise_like(degraded, generator))
    for t, s in pairwise(times):
        clean = predict_clean(state, t)
        noise = sde.noise_from_clean(state, degraded, clean, t)
        state = state - sde.reverse_drift(state, degraded, noise, t)
        std = sde.sigma_max * (2 * sde.theta[t]).sqrt().item()
        state = state + std * _noise_like(state, generator)
        yield SampleStep(state, s, clean)


def _check_steps(sde: MeanRevertingSDE, steps: int) -> None:
    if not 1 <= steps <= sde.steps:
        raise InputError(f"steps={steps}: wanted 1 to {sde.steps}, the number of steps of the SDE")


def _noise_like(images: Tensor, generator: Generators) -> Tensor:
    if isinstance(generator, Sequence):
        pairs = zip(images.split(1), generator, strict=True)
        return torch.cat([_noise_like(image, each) for image, each in pairs])
    # Drawn on the generator's device, so that a seed means the same noise wherever the network runs.
    device = generator.device if generator is not None else images.device
    noise = torch.randn(images.shape, generator=generator, device=device, dtype=images.dtype)
    return noise.to(images.device)
