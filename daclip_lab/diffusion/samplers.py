r"""From the degraded image back to the clean one, in any number of steps.

Every sampler here works on the network's estimate of the clean image. With $u = x - \mu$, log signal-to-noise
$\lambda = \ln\alpha - \ln\bar\sigma$ and $h = \lambda_s - \lambda_t$ for a step from t to s < t:

$$u_s = \tfrac{\bar\sigma_s}{\bar\sigma_t}\,e^{-kh}\,u_t + \alpha_s\bigl(1 - e^{-(1+k)h}\bigr)(\hat x_0 - \mu)
        + k\,\bar\sigma_s\sqrt{1 - e^{-2h}}\;\epsilon$$

k = 0 is the deterministic step (DDIM); k = 1 is the posterior of `MeanRevertingSDE.posterior`, re-spaced. The second
order adds the change of the estimate since the last step (DPM-Solver++, 2211.01095; for this SDE: 2502.07856).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.errors import InputError

TIMESTEP_SPACINGS = ("linspace", "logsnr")
SAMPLERS = {
    "posterior": {"order": 1, "stochastic": True},
    "dpmpp-2m-sde": {"order": 2, "stochastic": True},
    "ddim": {"order": 1, "stochastic": False},
    "dpmpp-2m": {"order": 2, "stochastic": False},
}
"""Names for the settings of `sample` that are worth a name."""


class SampleStep(NamedTuple):
    """One step of a restoration: the state reached, its time, and the clean image foreseen from the one before."""

    state: Tensor
    t: int
    clean: Tensor


Generators = torch.Generator | Sequence[torch.Generator] | None

Denoiser = Callable[[Tensor, int], Tensor]
"""(state, t) -> estimate of the clean image, both (b, 3, h, w)."""


def denoiser(
    net, sde: MeanRevertingSDE, degraded: Tensor, conditions, *, dtype: torch.dtype | None = None
) -> Denoiser:
    """The network as a function of state and time that answers with the clean image.

    Args:
        net: `net.prediction_type` says what it was trained to say: "noise" (the paper) is converted, "clean" is returned.
        degraded: (b, 3, h, w) in [0, 1].
        conditions: what `net.prepare` made of the images' embeddings: computed once, the same at every step.
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
        spacing: `"linspace"` divides T evenly; `"logsnr"` divides the log signal-to-noise ratio between T and 1 evenly.
    """
    _check_steps(sde, steps)
    if timestep_spacing not in TIMESTEP_SPACINGS:
        raise InputError(
            f"spacing {timestep_spacing!r} is unknown: use one of {', '.join(TIMESTEP_SPACINGS)}"
        )
    if timestep_spacing == "linspace":
        return torch.linspace(sde.steps, 0, steps + 1).round().long().tolist()
    log_snr = (sde.alpha.log() - sde.sigma_bar.log())[1:]
    wanted = torch.linspace(log_snr[-1].item(), log_snr[0].item(), steps, dtype=log_snr.dtype)
    times = (1 + (log_snr[None] - wanted[:, None]).abs().argmin(1)).tolist()
    # Where the grid of whole times is coarser than the spacing, take the next free time instead of a double.
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
        steps: how often the network is called.
        order: 1, or 2 for the multistep solver that also uses the estimate before.
        stochastic: fresh noise at every step (the posterior), or none (the probability-flow path).
        spacing: see `time_points`.
        generator: source of the noise; the same one gives the same restoration. A list of b generators, one for each
            image, makes an image's result independent of the rest of the batch.

    The last step is always first order and without noise: it ends on the network's estimate of the clean image.
    """
    if order not in (1, 2):
        raise InputError(f"order={order}: wanted 1 or 2")
    times = time_points(sde, steps, timestep_spacing)
    k = float(stochastic)
    state = sde.prior(degraded, _noise_like(degraded, generator))
    previous = None
    for t, s in pairwise(times):
        clean = predict_clean(state, t)
        if s == 0:
            yield SampleStep(clean, 0, clean)
            return
        h = (_log_snr(sde, s) - _log_snr(sde, t)).item()
        alpha, sigma = sde.alpha[s].item(), sde.sigma_bar[s].item()
        gained = -math.expm1(-(1 + k) * h)
        of_state = sigma / sde.sigma_bar[t].item() * math.exp(-k * h)
        of_clean, of_last = alpha * gained, 0.0
        if order == 2 and previous is not None:
            last_clean, last_h = previous
            of_last = alpha * (1 - gained / ((1 + k) * h)) * h / last_h
            of_clean += of_last
        # In place from the second term on: of a photo of 24 megapixels every copy takes 288 MB.
        state = (state * of_state).add_(clean, alpha=of_clean)
        state.add_(degraded, alpha=1 - of_state - alpha * gained)
        if of_last:
            state.sub_(last_clean, alpha=of_last)
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
    """The authors' first sampler, a biased baseline: Euler-Maruyama steps of the reverse SDE, each from t to t - 1.

    As in their code the last step, too, adds its noise: it stays in the image, with a standard deviation of 0.94 of 255
    under the paper's SDE.

    With fewer than T `steps` (None) it does what published comparisons did: it visits `steps` times spread evenly from
    T to 1 and takes the same small step at each, so that the noise of all times between is never removed.
    """
    steps = sde.steps if steps is None else steps
    _check_steps(sde, steps)
    times = [*torch.linspace(sde.steps, 1, steps, dtype=torch.float64).long().tolist(), 0]
    state = sde.prior(degraded, _noise_like(degraded, generator))
    for t, s in pairwise(times):
        clean = predict_clean(state, t)
        noise = sde.noise_from_clean(state, degraded, clean, t)
        state = state - sde.reverse_drift(state, degraded, noise, t)
        spread = sde.sigma_max * (2 * sde.theta[t]).sqrt().item()
        state = state + spread * _noise_like(state, generator)
        yield SampleStep(state, s, clean)


def _check_steps(sde: MeanRevertingSDE, steps: int) -> None:
    if not 1 <= steps <= sde.steps:
        raise InputError(f"steps={steps}: wanted 1 to {sde.steps}, the number of steps of the SDE")


def _log_snr(sde: MeanRevertingSDE, t: int) -> Tensor:
    return sde.alpha[t].log() - sde.sigma_bar[t].log()


def _noise_like(images: Tensor, generator: Generators) -> Tensor:
    if isinstance(generator, Sequence):
        pairs = zip(images.split(1), generator, strict=True)
        return torch.cat([_noise_like(image, each) for image, each in pairs])
    # Drawn on the generator's device, so that a seed means the same noise wherever the network runs.
    device = generator.device if generator is not None else images.device
    noise = torch.randn(images.shape, generator=generator, device=device, dtype=images.dtype)
    return noise.to(images.device)
