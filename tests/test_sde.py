"""The mean-reverting SDE has the authors' numbers, and its closed forms agree with the process and with each other."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.errors import InputError

SCHEDULES = ("cosine", "linear", "constant")
TIMES = (1, 2, 17, 50, 99, 100)


@pytest.fixture(scope="module")
def reference():
    with np.load(Path(__file__).parent / "assets" / "sde.npz") as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}


@pytest.fixture(scope="module")
def images(reference):
    return [reference[key] for key in ("x0", "mu", "xt", "noise")]


@pytest.fixture(scope="module", params=SCHEDULES)
def sde(request):
    return MeanRevertingSDE(schedule=request.param)


def random_images(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- the authors' numbers ----


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_equal_the_reference(reference, schedule):
    sde = MeanRevertingSDE(steps=100, sigma_max=50 / 255, schedule=schedule, eps=0.005)
    dt = reference[f"{schedule}.dt"]

    def close(ours, theirs):  # the reference is kept in float32
        torch.testing.assert_close(ours, theirs.double(), atol=1e-6, rtol=0)

    close(sde.theta, reference[f"{schedule}.thetas"] * dt)
    close(sde.theta_bar, reference[f"{schedule}.thetas_cumsum"] * dt)
    close(sde.sigma_bar, reference[f"{schedule}.sigma_bars"])
    close(sde.sigma_max * (2 * sde.theta).sqrt(), reference[f"{schedule}.sigmas"] * dt.sqrt())


@pytest.mark.parametrize("t", TIMES)
def test_step_quantities_equal_the_reference(reference, images, t):
    clean, degraded, state, noise = images
    sde = MeanRevertingSDE()

    def close(ours, name):
        torch.testing.assert_close(ours, reference[f"{name}.{t}"].float(), atol=2e-4, rtol=0)

    close(sde.marginal(clean, degraded, t)[0], "mu_bar")
    close(sde.clean_from_noise(state, degraded, noise, t), "x0_from_noise")
    mean, std = sde.posterior(state, clean, degraded, t, t - 1)
    close(mean, "optimum")
    # The reference never lets this deviation vanish; ours is 0 where nothing is left to draw.
    assert std.item() == pytest.approx(reference[f"optimum_std.{t}"].item(), abs=2e-4)
    close(state - sde.reverse_drift(state, degraded, noise, t), "sde_mean")
    # The reverse ODE follows half of the score, so half of the noise.
    close(state - sde.reverse_drift(state, degraded, noise / 2, t), "ode")


# ---- the closed forms and the process ----


def test_the_ends_of_every_schedule(sde):
    assert sde.theta_bar[0] == 0
    assert sde.alpha[0] == 1
    assert sde.sigma_bar[0] == 0
    assert sde.alpha[-1].item() == pytest.approx(0.005)
    assert sde.sigma_bar[-1].item() == pytest.approx(50 / 255 * math.sqrt(1 - 0.005**2))
    assert (sde.theta_bar.diff() > 0).all()
    assert (sde.sigma_bar.diff() > 0).all()


def test_marginal_at_the_start_is_the_clean_image(sde):
    clean, degraded = random_images(2, 3, 4, 4), random_images(2, 3, 4, 4, seed=1)
    for t in (0, torch.tensor([0, 0])):
        mean, std = sde.marginal(clean, degraded, t)
        torch.testing.assert_close(mean, clean)
        assert not std.any()


def test_marginal_agrees_with_a_simulation_of_the_process(sde):
    """Euler-Maruyama of dx = theta (mu - x) dt + sigma dw, many particles of one pixel."""
    particles, finer = 20_000, 8
    clean, degraded = torch.tensor(0.9), torch.tensor(0.2)
    generator = torch.Generator().manual_seed(0)
    x = clean.expand(particles).clone()
    for t in range(1, sde.steps + 1):
        theta = sde.theta[t].item() / finer
        for _ in range(finer):
            noise = torch.randn(particles, generator=generator)
            x += theta * (degraded - x) + sde.sigma_max * math.sqrt(2 * theta) * noise
        if t in (10, 40, 70, 100):
            mean, std = sde.marginal(clean, degraded, t)
            # Five standard errors, and the discretisation: u e^-u * theta / 2 < 0.0035 (u = theta_bar), times 0.7.
            assert x.mean().item() == pytest.approx(
                mean.item(), abs=5 * std.item() / math.sqrt(particles) + 2.5e-3
            )
            # A deviation's standard error is std / sqrt(2 n); the discretisation adds theta / 2 of it.
            assert x.std().item() == pytest.approx(
                std.item(), rel=5 / math.sqrt(2 * particles) + 0.01
            )


def test_diffuse_and_its_two_inverses(sde):
    clean, degraded, noise = (random_images(4, 3, 5, 5, seed=i) for i in range(3))
    t = torch.tensor([1, 30, 99, 100])
    state = sde.diffuse(clean, degraded, t, noise)
    torch.testing.assert_close(sde.clean_from_noise(state, degraded, noise, t), clean)
    torch.testing.assert_close(sde.noise_from_clean(state, degraded, clean, t), noise)


def test_a_batch_of_times_is_every_time_alone(sde):
    clean, degraded, state = (random_images(3, 3, 4, 4, seed=i) for i in range(3))
    t, s = torch.tensor([100, 40, 2]), torch.tensor([60, 39, 0])
    mean, std = sde.posterior(state, clean, degraded, t, s)
    for i in range(3):
        one, deviation = sde.posterior(state[i], clean[i], degraded[i], int(t[i]), int(s[i]))
        torch.testing.assert_close(mean[i], one)
        torch.testing.assert_close(std[i].squeeze(), deviation)


def test_prior_has_the_stationary_deviation():
    sde, degraded, noise = MeanRevertingSDE(), random_images(1, 3, 4, 4), random_images(1, 3, 4, 4)
    torch.testing.assert_close(sde.prior(degraded, noise) - degraded, 50 / 255 * noise)


@pytest.mark.parametrize("t", [1, 2, 50, 100])
def test_posterior_at_the_start_is_the_clean_image(sde, t):
    clean, degraded, state = (random_images(2, 3, 4, 4, seed=i) for i in range(3))
    for dtype in (torch.float32, torch.float64):
        mean, std = sde.posterior(state.to(dtype), clean.to(dtype), degraded.to(dtype), t, 0)
        torch.testing.assert_close(mean, clean.to(dtype))
        assert not std.any()


@pytest.mark.parametrize(("t", "s"), [(100, 3), (60, 59), (50, 20), (2, 1)])
def test_posterior_is_bayes_rule(sde, t, s):
    """Mean and variance of x_s given x_t, from the joint normal distribution of both given the clean image."""
    clean, degraded, state = (random_images(1, 3, 4, 4, seed=i) for i in range(3))
    mean_s, std_s = sde.marginal(clean, degraded, s)
    mean_t, std_t = sde.marginal(clean, degraded, t)
    covariance = torch.exp(sde.theta_bar[s] - sde.theta_bar[t]) * std_s**2
    mean, std = sde.posterior(state, clean, degraded, t, s)
    torch.testing.assert_close(mean, mean_s + covariance / std_t**2 * (state - mean_t))
    torch.testing.assert_close(std**2, std_s**2 - covariance**2 / std_t**2)


@pytest.mark.parametrize(
    ("t", "between", "s"), [(100, 50, 0), (100, 99, 98), (80, 30, 1), (3, 2, 1)]
)
def test_posterior_through_a_time_between_is_the_direct_one(sde, t, between, s):
    """Chapman-Kolmogorov: x_t -> x_between -> x_s, given the clean image, is x_t -> x_s."""
    clean, degraded, state = (random_images(1, 3, 4, 4, seed=i) for i in range(3))
    middle, std_middle = sde.posterior(state, clean, degraded, t, between)
    mean, std = sde.posterior(middle, clean, degraded, between, s)
    # The mean of the second step is linear in its state: its slope carries the spread of the first.
    shifted, _ = sde.posterior(middle + 1, clean, degraded, between, s)
    slope = (shifted - mean).mean()
    direct, std_direct = sde.posterior(state, clean, degraded, t, s)
    torch.testing.assert_close(mean, direct)
    torch.testing.assert_close(std**2 + slope**2 * std_middle**2, std_direct**2)


def test_posterior_in_float32_is_that_in_float64(sde):
    clean, degraded, state = (random_images(1, 3, 8, 8, seed=i) for i in range(3))
    for t, s in [(2, 1), (3, 1), (100, 1), (100, 99)]:
        fine = sde.posterior(state, clean, degraded, t, s)
        single = sde.posterior(state.float(), clean.float(), degraded.float(), t, s)
        for ours, exact in zip(single, fine, strict=True):
            torch.testing.assert_close(ours.double(), exact, atol=2e-6, rtol=2e-6)


def test_the_reverse_drift_converges_to_the_posterior():
    """The Euler step is right to the first order: halving the time steps halves what it misses."""
    clean, degraded, noise = (random_images(1, 3, 8, 8, seed=i) for i in range(3))

    def miss(steps):
        sde = MeanRevertingSDE(steps=steps, schedule="constant")
        t = steps // 2
        state = sde.diffuse(clean, degraded, t, noise)
        euler = state - sde.reverse_drift(state, degraded, noise, t)
        return (euler - sde.posterior(state, clean, degraded, t, t - 1)[0]).abs().max().item()

    # Once per step; over a whole path of twice as many steps this is first order.
    assert miss(400) / miss(800) == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"eps": 0}, {"eps": 1.0}, {"sigma_max": 0}, {"schedule": "sigmoid"}],
    ids=str,
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match=str(next(iter(wrong.values())))):
        MeanRevertingSDE(**wrong)


def test_every_number_of_steps_has_a_schedule():
    for schedule in SCHEDULES:
        for steps in (1, 2, 3, 1000):
            sde = MeanRevertingSDE(steps=steps, schedule=schedule)
            assert len(sde.alpha) == steps + 1
            assert sde.alpha[-1].item() == pytest.approx(0.005)


def test_tables_are_looked_up_where_the_times_are(sde):
    """On `meta`, where nothing can be computed on the CPU by mistake."""
    images = torch.zeros(2, 3, 4, 4, device="meta")
    t = torch.tensor([1, 2], device="meta")
    with pytest.raises(NotImplementedError, match="meta"):
        sde.at(sde.alpha, t, torch.zeros(2, 3, 4, 4))  # there are no values to bring to the CPU
    for result in (
        sde.diffuse(images, images, t, images),
        sde.clean_from_noise(images, images, images, t),
        sde.posterior(images, images, images, t, t - 1)[0],
        sde.posterior(images, images, images, t, 0)[0],
        sde.reverse_drift(images, images, images, t),
    ):
        assert result.is_meta and result.shape == images.shape
