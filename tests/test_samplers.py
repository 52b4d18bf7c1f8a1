"""Every sampler takes the steps that the literature writes down, and ends at the prediction of a perfect network."""

import math
from itertools import count, pairwise

import pytest
import torch

from daclip_lab.diffusion import samplers
from daclip_lab.diffusion.samplers import (
    SAMPLERS,
    TIMESTEP_SPACINGS,
    denoiser,
    euler_maruyama,
    sample,
    time_points,
)
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.errors import InputError

CHOICES = [(order, stochastic) for order in (1, 2) for stochastic in (False, True)]


@pytest.fixture(scope="module")
def sde():
    return MeanRevertingSDE()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(*shape, seed=0):
    return torch.rand(shape or (2, 3, 8, 8), generator=generator(seed), dtype=torch.float64)


class Perfect:
    """A perfect network: predicts the clean image, or the noise in the state at time t."""

    def __init__(self, prediction_type, sde, clean):
        self.prediction_type, self.sde, self.clean = prediction_type, sde, clean

    def __call__(self, state, degraded, t, conditions):
        if self.prediction_type == "sample":
            return self.clean
        return self.sde.noise_from_clean(state, degraded, self.clean, t)


def noises(like, count, seed=0):
    """What `sample` draws from a generator with this seed: the prior's noise, then one for each step."""
    drawing = generator(seed)
    return [torch.randn(like.shape, generator=drawing, dtype=like.dtype) for _ in range(count)]


def estimate(state, t):
    """A made-up denoiser that depends on the state and on the time."""
    return 0.3 * state + 0.2 + 0.1 * math.cos(t)


# ---- the formulas ----


def rates(sde, t, s):
    """alpha and sigma at t and s, and the step in log signal-to-noise ratio."""
    at, as_ = sde.alpha[t].item(), sde.alpha[s].item()
    st, ss = sde.sigma_bar[t].item(), sde.sigma_bar[s].item()
    return at, as_, st, ss, math.log(as_ / ss) - math.log(at / st)


def ode_1(sde, x, x0, mu, t, s):
    at, as_, st, ss, h = rates(sde, t, s)
    return ss / st * x - as_ * (math.exp(-h) - 1) * x0 + mu * (1 - ss / st + ss / st * at - as_)


def sde_1(sde, x, x0, mu, t, s, z):
    at, as_, st, ss, h = rates(sde, t, s)
    gone = 1 - math.exp(-2 * h)
    kept = 1 - as_ / at * math.exp(-2 * h) - as_ * gone
    return ss / st * math.exp(-h) * x + as_ * gone * x0 + ss * math.sqrt(gone) * z + mu * kept


def ode_2(sde, x, x0, x0_before, mu, t, s, before):
    *_, as_, _, _, h = rates(sde, t, s)
    r = rates(sde, before, t)[-1] / h
    phi_2 = (math.exp(-h) - 1) / h + 1
    return ode_1(sde, x, x0, mu, t, s) + as_ * phi_2 * (x0 - x0_before) / r


def sde_2(sde, x, x0, x0_before, mu, t, s, before, z):
    *_, as_, _, _, h = rates(sde, t, s)
    r = rates(sde, before, t)[-1] / h
    more = as_ * (1 - (1 - math.exp(-2 * h)) / (2 * h)) * (x0 - x0_before) / r
    return sde_1(sde, x, x0, mu, t, s, z) + more


@pytest.mark.parametrize("timestep_spacing", TIMESTEP_SPACINGS)
@pytest.mark.parametrize(("order", "stochastic"), CHOICES)
def test_steps_are_those_of_the_literature(sde, order, stochastic, timestep_spacing):
    """DPM-Solver++ for the mean-reverting SDE, data prediction (2502.07856), written out in full."""
    mu = images()
    times = time_points(sde, 5, timestep_spacing)
    z = noises(mu, 5)
    x, before, wanted = mu + sde.sigma_max * z[0], None, []
    for i, (t, s) in enumerate(pairwise(times[:-1])):
        x0 = estimate(x, t)
        if order == 2 and before is not None:
            when, last = before
            if stochastic:
                x = sde_2(sde, x, x0, last, mu, t, s, when, z[i + 1])
            else:
                x = ode_2(sde, x, x0, last, mu, t, s, when)
        else:
            x = sde_1(sde, x, x0, mu, t, s, z[i + 1]) if stochastic else ode_1(sde, x, x0, mu, t, s)
        before = (t, x0)
        wanted.append(x)
    wanted.append(estimate(x, times[-2]))
    steps = list(
        sample(
            estimate,
            sde,
            mu,
            steps=5,
            order=order,
            stochastic=stochastic,
            timestep_spacing=timestep_spacing,
            generator=generator(),
        )
    )
    assert [step.t for step in steps] == times[1:]
    for step, state in zip(steps, wanted, strict=True):
        torch.testing.assert_close(step.state, state, atol=1e-10, rtol=1e-10)


def test_one_stochastic_step_draws_from_the_posterior(sde):
    mu = images()
    z = noises(mu, 4)
    state = sde.prior(mu, z[0])
    steps = sample(estimate, sde, mu, steps=4, stochastic=True, generator=generator())
    for step, t, fresh in zip(steps, (100, 75, 50), z[1:], strict=False):
        mean, std = sde.posterior(state, estimate(state, t), mu, t, step.t)
        torch.testing.assert_close(step.state, mean + std * fresh)
        state = step.state


def test_one_deterministic_step_keeps_the_noise(sde):
    """DDIM: the state at s has the same clean image and the same noise as the one at t."""
    clean, mu = images(), images(seed=1)
    state = sde.prior(mu, noises(mu, 1)[0])
    t = 100
    for step in sample(lambda *_: clean, sde, mu, steps=4, generator=generator()):
        noise = sde.noise_from_clean(state, mu, clean, t)
        torch.testing.assert_close(step.state, sde.diffuse(clean, mu, step.t, noise))
        state, t = step.state, step.t


# ---- convergence ----


CENTRE, SPREAD, DEGRADED = 0.8, 0.15, 0.3


def normal(sde, t):
    """Mean and variance at time t of a pixel that is normal around `CENTRE` with deviation `SPREAD` when clean."""
    alpha, sigma = sde.alpha[t].item(), sde.sigma_bar[t].item()
    return DEGRADED + alpha * (CENTRE - DEGRADED), (alpha * SPREAD) ** 2 + sigma**2


def exact_moments(sde, t, stochastic):
    """Mean and variance at time t of the exact reverse process, started as `sample` starts: with stationary noise."""
    (mean_end, var_end), (mean, var) = normal(sde, sde.steps), normal(sde, t)
    if stochastic:  # x_t given x_T, by the rule of conditional normal distributions
        slope = (sde.alpha[-1] / sde.alpha[t]).item() * var / var_end
        left = var - slope**2 * var_end
    else:  # the probability flow keeps the standardised state
        slope, left = math.sqrt(var / var_end), 0.0
    return mean + slope * (DEGRADED - mean_end), left + slope**2 * sde.sigma_max**2


def moments(sde, t, monkeypatch, **settings):
    """Mean and variance that `sample` reaches at time t with the exact score, without drawing anything.

    The exact denoiser of a normal pixel is linear, so the state is a sum of noises with fixed weights. Pixel k gets the
    k-th noise that is drawn as 1 and all others as 0: its state is that weight, plus the mean.
    """

    def best(state, t):
        mean, var = normal(sde, t)
        return CENTRE + SPREAD**2 * sde.alpha[t].item() / var * (state - mean)

    draws = count()

    def one_at_a_time(images, generator):
        noise = torch.zeros_like(images)
        noise[..., next(draws)] = 1
        return noise

    monkeypatch.setattr(samplers, "_noise_like", one_at_a_time)
    mu = torch.full((1, 1, 1, settings["steps"] + 1), DEGRADED, dtype=torch.float64)
    step = next(step for step in sample(best, sde, mu, **settings) if step.t <= t)
    assert step.t == t
    *weights, mean = step.state.flatten().tolist()
    return mean, sum((weight - mean) ** 2 for weight in weights)


@pytest.mark.parametrize(("order", "gain"), [(1, 2), (2, 4)])
@pytest.mark.parametrize("stochastic", [False, True])
def test_every_solver_converges_at_its_order(order, gain, stochastic, monkeypatch):
    """Twice as many steps halve what order 1 misses of the exact moments, and quarter what order 2 misses."""
    sde = MeanRevertingSDE(steps=1024, schedule="constant")
    halfway = sde.steps // 2
    mean, var = exact_moments(sde, halfway, stochastic)

    def miss(steps):
        found = moments(sde, halfway, monkeypatch, steps=steps, order=order, stochastic=stochastic)
        assert found[0] == pytest.approx(mean, abs=1e-6)
        return abs(found[1] - var)

    coarse, fine = miss(64), miss(128)
    assert fine < 1e-3 * var
    assert coarse / fine == pytest.approx(gain, rel=0.08)


def test_the_deterministic_step_is_the_same_from_a_noise_prediction(sde):
    """ODE-1 written for the noise instead of the clean image (2502.07856)."""
    clean, mu, state = (images(seed=k) for k in range(3))
    for t, s in ((100, 60), (60, 59), (7, 2)):
        at, as_, _, ss, h = rates(sde, t, s)
        noise = sde.noise_from_clean(state, mu, clean, t)
        written = as_ / at * state - ss * (math.exp(h) - 1) * noise + mu * (1 - as_ / at)
        torch.testing.assert_close(ode_1(sde, state, clean, mu, t, s), written)


@pytest.mark.parametrize(("order", "stochastic"), CHOICES)
@pytest.mark.parametrize("steps", [2, 5, 20, 100])
def test_every_state_holds_the_noise_of_its_time(sde, steps, order, stochastic):
    """The trap of skipped steps: taking t -> t - 1 updates over longer jumps leaves noise behind."""
    clean, mu = torch.full((1, 3, 64, 64), 0.7), torch.full((1, 3, 64, 64), 0.4)
    found = sample(
        lambda *_: clean,
        sde,
        mu,
        steps=steps,
        order=order,
        stochastic=stochastic,
        generator=generator(),
    )
    for step in found:
        mean, std = sde.marginal(clean, mu, step.t)
        # 12288 pixels: a deviation is known to 0.64 %, a mean to 0.9 % of it. Where restoring starts, what is left of
        # `clean - degraded` is neglected: 0.005 * 0.3.
        rest = step.state - mean
        assert rest.std().item() == pytest.approx(std.item(), rel=0.03)
        assert rest.mean().item() == pytest.approx(0, abs=0.04 * std.item() + 0.0015)


# ---- where a perfect network ends ----


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon"])
@pytest.mark.parametrize("timestep_spacing", TIMESTEP_SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 5, 20, 100])
def test_nothing_is_left_of_the_noise_at_the_end(sde, steps, timestep_spacing, prediction_type):
    clean, mu = images(), images(seed=1)
    predict = denoiser(Perfect(prediction_type, sde, clean), sde, mu, None)
    for order, stochastic in CHOICES:
        *_, last = sample(
            predict,
            sde,
            mu,
            steps=steps,
            order=order,
            stochastic=stochastic,
            timestep_spacing=timestep_spacing,
            generator=generator(),
        )
        assert last.t == 0
        torch.testing.assert_close(last.state, clean, atol=1e-9, rtol=0)


@pytest.mark.parametrize(("order", "stochastic"), CHOICES)
def test_networks_that_predict_noise_or_the_clean_image_agree(sde, order, stochastic):
    mu = images()

    class Network:
        def __init__(self, prediction_type):
            self.prediction_type = prediction_type

        def __call__(self, state, degraded, t, conditions):
            clean = 0.5 * state + 0.1 * conditions
            if self.prediction_type == "sample":
                return clean
            return sde.noise_from_clean(state, degraded, clean, t)

    settings = {"steps": 7, "order": order, "stochastic": stochastic}
    first, second = (
        list(sample(denoiser(Network(p), sde, mu, 1.0), sde, mu, generator=generator(), **settings))
        for p in ("sample", "epsilon")
    )
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a.state, b.state)
        torch.testing.assert_close(a.clean, b.clean)


def test_euler_maruyama_takes_the_small_step_that_was_written_for_all_times(sde):
    """x - [theta (mu - x) - sigma_t^2 score] + sigma_t z with dt = 1, whatever time is next; also the last step."""
    mu, z = images(), noises(images(), 4)
    state, wanted = sde.prior(mu, z[0]), []
    for t, fresh in ((100, z[1]), (50, z[2]), (1, z[3])):
        theta, clean = sde.theta[t].item(), estimate(state, t)
        alpha, sigma = sde.alpha[t].item(), sde.sigma_bar[t].item()
        score = -(state - mu - alpha * (clean - mu)) / sigma**2
        square = 2 * sde.sigma_max**2 * theta
        state = state - (theta * (mu - state) - square * score) + math.sqrt(square) * fresh
        wanted.append(state)
    steps = list(euler_maruyama(estimate, sde, mu, steps=3, generator=generator()))
    assert [step.t for step in steps] == [50, 1, 0]
    for step, state in zip(steps, wanted, strict=True):
        torch.testing.assert_close(step.state, state)


def test_small_steps_at_skipped_times_leave_the_noise_in(sde):
    """A network that always removes as much noise as there should be at time t."""
    mu = torch.full((1, 3, 64, 64), 0.4, dtype=torch.float64)

    def network(state, t):
        noise = (state - mu) / (state - mu).std()
        return sde.clean_from_noise(state, mu, noise, t)

    left = [
        255 * list(euler_maruyama(network, sde, mu, steps=n, generator=generator()))[-1].state.std()
        for n in (5, 20, 100)
    ]
    assert left[0] > 45 and 35 < left[1] < 42 and left[2] < 6


def test_euler_maruyama_ends_near_the_clean_image(sde):
    clean, mu = images(1, 3, 16, 16), images(1, 3, 16, 16, seed=1)
    steps = list(euler_maruyama(lambda *_: clean, sde, mu, generator=generator()))
    assert [step.t for step in steps] == list(range(99, -1, -1))
    # The authors' last step adds its noise, too. What else it misses is of the order of theta[1] = 2e-4.
    left = 255 * (steps[-1].state - clean)
    assert left.std().item() == pytest.approx(0.939, rel=0.1)
    assert abs(left.mean().item()) < 0.25


# ---- what the network is called with ----


def test_the_network_is_called_once_per_step_with_the_time_of_its_state(sde):
    seen = []

    class Network:
        prediction_type = "sample"

        def __call__(self, state, degraded, t, conditions):
            seen.append(t.tolist())
            assert conditions == "conditions"
            return degraded

    mu = images(3, 3, 8, 8)
    list(sample(denoiser(Network(), sde, mu, "conditions"), sde, mu, steps=4))
    assert seen == [[t] * 3 for t in (100, 75, 50, 25)]


def test_clean_of_a_step_is_what_its_state_was_made_from(sde):
    mu = images()
    steps = list(sample(estimate, sde, mu, steps=3, generator=generator()))
    state = sde.prior(mu, noises(mu, 1)[0])
    for step, t in zip(steps, time_points(sde, 3), strict=False):
        torch.testing.assert_close(step.clean, estimate(state, t))
        state = step.state


# ---- time points ----


@pytest.mark.parametrize("timestep_spacing", TIMESTEP_SPACINGS)
@pytest.mark.parametrize("total", [1, 2, 3, 37, 100])
def test_times_are_distinct_from_the_end_to_the_start(total, timestep_spacing):
    for schedule in ("cosine", "linear", "constant"):
        sde = MeanRevertingSDE(steps=total, schedule=schedule)
        for steps in range(1, total + 1):
            times = time_points(sde, steps, timestep_spacing)
            assert len(times) == steps + 1
            assert times[0] == total
            assert times[-1] == 0
            assert all(a > b for a, b in pairwise(times))


def test_spacing_is_even_in_what_it_names(sde):
    assert time_points(sde, 4) == [100, 75, 50, 25, 0]
    times = time_points(sde, 8, "logsnr")
    assert times[-2] == 1
    log_snr = [math.log(sde.alpha[t] / sde.sigma_bar[t]) for t in times[:-1]]
    gaps = [b - a for a, b in pairwise(log_snr)]
    even = (log_snr[-1] - log_snr[0]) / 7
    # Whole times are coarse near t = 1: t = 1 and t = 2 are 0.53 apart.
    assert all(gap == pytest.approx(even, abs=0.3) for gap in gaps)


# ---- randomness and refusals ----


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_seed_gives_the_same_bytes(sde, name):
    mu = images().float()

    def run(seed):
        return list(
            sample(estimate, sde, mu, steps=5, generator=generator(seed), **SAMPLERS[name])
        )[-1].state

    before = torch.get_rng_state()
    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))
    assert torch.equal(before, torch.get_rng_state())


def test_a_stochastic_sampler_needs_its_own_noise_at_every_step(sde):
    mu = images()
    calm, lively = (
        [
            sde.noise_from_clean(step.state, mu, mu, step.t)
            for step in sample(lambda *_: mu, sde, mu, steps=4, stochastic=s, generator=generator())
            if step.t
        ]
        for s in (False, True)
    )
    torch.testing.assert_close(calm[0], calm[-1])
    assert (lively[0] - lively[-1]).abs().mean() > 0.5


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"steps": 101}, {"steps": -1}, {"order": 3}, {"timestep_spacing": "log"}],
    ids=str,
)
def test_impossible_arguments_are_refused(sde, wrong):
    settings = {"steps": 2} | wrong
    with pytest.raises(InputError, match=str(next(iter(wrong.values())))):
        next(sample(estimate, sde, images(), **settings))
    if "steps" in wrong:
        with pytest.raises(InputError, match=f"steps={wrong['steps']}"):
            next(euler_maruyama(estimate, sde, images(), **wrong))


def test_a_state_that_was_yielded_is_not_touched_again(sde):
    path = [
        (step, step.state.clone(), step.clean.clone())
        for step in sample(
            estimate, sde, images(), steps=6, order=2, stochastic=True, generator=generator()
        )
    ]
    for step, state, clean in path:
        assert torch.equal(step.state, state) and torch.equal(step.clean, clean)


def test_bfloat16_is_for_the_network_alone(sde):
    layer = torch.nn.Linear(8, 8)
    seen = []

    class Network:
        prediction_type = "sample"

        def __call__(self, state, degraded, t, conditions):
            seen.append(layer(state).dtype)
            return layer(state)

    mu = images().float()
    with torch.no_grad():
        path = list(
            sample(denoiser(Network(), sde, mu, None, dtype=torch.bfloat16), sde, mu, steps=2)
        )
        assert not torch.is_autocast_enabled("cpu")
    assert seen == [torch.bfloat16] * 2
    assert all(step.state.dtype == step.clean.dtype == torch.float32 for step in path)
