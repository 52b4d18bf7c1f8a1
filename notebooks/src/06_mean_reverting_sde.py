# %% [markdown]
# # 06 · The mean-reverting SDE
#
# **A clean image drifts towards its degraded version while noise grows; with an estimate of the clean image one can walk
# back, in as few steps as one likes, provided that each step knows how far it goes.**
#
# *You will learn*
# - the SDE of the paper and a sampler that reverses it, in 40 lines of plain PyTorch, checked against the library;
# - what one pixel does, where everything is known exactly: the density at all times, the best estimate, the way back;
# - that a squared error makes a network learn just that best estimate, and where it falls short of it;
# - what more steps buy, what second order buys, and why the published few-step baselines are full of noise;
# - why one step can have the best PSNR and still not be the best sample.
#
# *You need* PyTorch, means and variances, and the normal distribution. Nothing is downloaded.
#
# *Time*: one to two minutes to run on two CPU cores, twenty minutes to read.

# %%
import time
from importlib.util import find_spec

start = time.perf_counter()
if find_spec("daclip_lab") is None:
    # As on Colab: installs the repository that this notebook lies in.
    from IPython import get_ipython

    get_ipython().run_line_magic("pip", "install --quiet ..")

# %%
import math
import platform
from itertools import pairwise

import matplotlib
import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

import daclip_lab as lab
from daclip_lab.course import check, figures, settings

scale = lab.presets.current()
pipe = lab.load("lab")
print(f"scale {scale.name}")
print(f"daclip_lab {lab.__version__}, Python {platform.python_version()}")
print(f"torch {torch.__version__}, matplotlib {matplotlib.__version__}")

# %% [markdown]
# ## 1 · The SDE and one sampler, from scratch
#
# Let $x_0$ be the clean image and $\mu$ the degraded one. The state $x$ obeys a stochastic differential equation (SDE):
#
# $$dx = \theta_t\,(\mu - x)\,dt + \sigma_t\,dw, \qquad \sigma_t^2 = 2\,\sigma_\infty^2\,\theta_t$$
#
# The first term pulls it to $\mu$, the second adds noise ($dw$, a tiny normal step). The two are balanced such that the
# noise never exceeds $\sigma_\infty$, which is 50 of 255 in the paper. With $\bar\theta_t = \int_0^t \theta$, the state
# at any time is known without simulating anything:
#
# $$x_t = \mu + \alpha_t\,(x_0 - \mu) + \bar\sigma_t\,\epsilon, \qquad
#   \alpha_t = e^{-\bar\theta_t}, \quad \bar\sigma_t^2 = \sigma_\infty^2\,(1 - \alpha_t^2)$$
#
# where $\epsilon$ is standard normal noise. And if one knows $x_0$, or has an estimate of it, then $x_s$ at any earlier
# time $s < t$ is normally distributed given $x_t$ (Bayes' rule on two normal distributions). Drawing from that, again
# and again, is the way back: the *posterior* sampler. Here is all of it.

# %%
T, sigma_max, eps = 100, 50 / 255, 0.005

# How fast the state reverts: slowly at first, as a squared cosine falls.
phase = torch.linspace(0, 1, T + 3, dtype=torch.float64)
cosine = torch.cos((phase + 0.008) / 1.008 * math.pi / 2) ** 2
theta = 1 - (cosine / cosine[0])[1:-1]
theta_bar = theta.cumsum(0) - theta[0]
theta_bar = theta_bar * (-math.log(eps) / theta_bar[-1])  # so that alpha ends at eps
alpha = torch.exp(-theta_bar)
sigma = sigma_max * torch.sqrt(1 - alpha**2)


def diffuse(clean, degraded, t, noise):
    """The state at time t."""
    return degraded + alpha[t] * (clean - degraded) + sigma[t] * noise


def posterior(state, clean, degraded, t, s):
    """Mean and standard deviation of the state at s < t, given that at t and the clean image."""
    shrink = alpha[t] / alpha[s]  # what of the state at s is left at t
    kept = shrink * (1 - alpha[s] ** 2) / (1 - alpha[t] ** 2)
    gained = alpha[s] * (1 - shrink**2) / (1 - alpha[t] ** 2)
    variance = (1 - alpha[s] ** 2) * (1 - shrink**2) / (1 - alpha[t] ** 2)
    mean = degraded + kept * (state - degraded) + gained * (clean - degraded)
    return mean, sigma_max * variance.sqrt()


def restore(predict_clean, degraded, steps, generator):
    """Walk from T to 0; predict_clean(state, t) estimates the clean image. Yields every state."""
    times = torch.linspace(T, 0, steps + 1).round().long().tolist()
    noise = torch.randn(degraded.shape, generator=generator, dtype=degraded.dtype)
    state = degraded + sigma_max * noise
    for t, s in pairwise(times):
        mean, deviation = posterior(state, predict_clean(state, t), degraded, t, s)
        noise = torch.randn(state.shape, generator=generator, dtype=state.dtype) if s else 0
        state = mean + deviation * noise
        yield state


figures.sde.schedule(alpha.numpy(), sigma.numpy())

# %% [markdown]
# ### Does it agree with the library?
#
# `MeanRevertingSDE` holds the same tables, and `sample` contains the same sampler among others. With the same random
# numbers and the same (made-up) estimate of the clean image, both must take the same path.

# %%
sde = lab.presets.lab().build_sde()
photos = lab.sample_photos("test")
photo = photos[photos.names.index("osprey")][:, 60:172, 210:322]
ruined = lab.degrade(photo, "low-light", severity=0.6, seed=1)
clean, degraded = photo[None].double(), torch.from_numpy(np.array(ruined)).permute(2, 0, 1)[None]
degraded = degraded.double() / 255


def made_up(state, t):
    """Not a good estimate, but one that depends on the state and on the time."""
    return 0.7 * clean + 0.3 * state * (1 - t / (2 * T))


ours = list(restore(made_up, degraded, 7, lab.seeded(3)))
theirs = list(lab.sample(made_up, sde, degraded, steps=7, stochastic=True, generator=lab.seeded(3)))
differences = {
    "alpha": (alpha - sde.alpha).abs().max(),
    "sigma bar": (sigma - sde.sigma_bar).abs().max(),
    "seven states of the sampler": max(
        (a - b.state).abs().max() for a, b in zip(ours, theirs, strict=True)
    ),
}
assert max(differences.values()) < 1e-7
pd.DataFrame({"largest difference": {name: f"{value:.1e}" for name, value in differences.items()}})

# %% [markdown]
# ## 2 · There: an image
#
# **Predict**: at which time will half of the difference between the clean and the dark photo be gone? At which time will you
# no longer recognise the bird?

# %%
noise = torch.randn(clean.shape, generator=lab.seeded(4), dtype=torch.float64)
moments = (0, 20, 40, 55, 70, 100)
figures.images.strip(
    [diffuse(clean, degraded, t, noise)[0].clamp(0, 1).float() for t in moments],
    [f"t = {t}\n{alpha[t]:.0%} is left\nnoise {255 * sigma[t]:.0f} of 255" for t in moments],
    caption="From clean to dark and noisy. The end is not pure noise, as in other diffusions: it is the degraded image, plus "
    "noise of 50 grey levels.",
)

# %% [markdown]
# Half of the difference is gone between the third picture and the fourth. The bird fades behind the noise, but is never
# quite gone: the dark photo stays in the state. Restoring starts at the right. Note what is random there: only the
# noise. The degraded image is known and guides every step.
#
# ## 3 · There and back: one pixel, exactly
#
# To see whether a sampler is right, one needs a case in which the right answer is known. Take a single pixel. When clean,
# it is either dark (around 0.25) or bright (around 0.8), with some spread: a mixture of two normal distributions. The
# degraded pixel is 0.5, whatever it was.
#
# Then everything can be written down. The state at time t is again a mixture of two normal distributions; the best
# estimate of the clean pixel, $E[x_0 \mid x_t]$, is the mean of the estimates under the two, weighted by how likely
# each is.

# %%
means, spreads, shares = np.array([0.25, 0.8]), np.array([0.03, 0.05]), np.array([0.5, 0.5])
grey = 0.5  # the degraded pixel
a, s = alpha.numpy(), sigma.numpy()


def parts_at(x, t):
    """How likely each of the two is at the state x (..., 2), with its mean and variance at time t."""
    mean = grey + a[t] * (means - grey)
    variance = (a[t] * spreads) ** 2 + s[t] ** 2
    x = np.asarray(x)[..., None]
    return shares * np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(variance), mean, variance


def density(x, t):
    """The exact density of the state at time t."""
    return parts_at(x, t)[0].sum(-1) / math.sqrt(2 * math.pi)


def best(state, t):
    """The exact E[x0 | x_t], as a sampler wants it."""
    x = state.numpy()
    weight, mean, variance = parts_at(x, t)
    each = means + a[t] * spreads**2 / variance * (x[..., None] - mean)
    return torch.from_numpy((weight * each).sum(-1) / weight.sum(-1).clip(1e-300))


def draw(count, seed):
    """Clean pixels, as a batch of one-pixel images."""
    rng = np.random.default_rng(seed)
    which = rng.integers(2, size=count)
    return torch.from_numpy(means[which] + spreads[which] * rng.standard_normal(count))


# %% [markdown]
# The SDE itself, simulated in small steps (Euler-Maruyama, forward), should agree with the closed form at every time:

# %%
finer = 8
pixels = draw(500 * settings.examples(scale), 0)
pixel_paths, rng = [pixels[:24]], lab.seeded(5)
off = []
for t in range(1, T + 1):
    theta_step = sde.theta[t].item() / finer
    for _ in range(finer):
        kick = torch.randn(pixels.shape, generator=rng, dtype=torch.float64)
        pixels = (
            pixels + theta_step * (grey - pixels) + sigma_max * math.sqrt(2 * theta_step) * kick
        )
    pixel_paths.append(pixels[:24])
    mixture_mean = grey + a[t] * (shares @ means - grey)
    mixture_var = a[t] ** 2 * (shares @ (spreads**2 + means**2) - (shares @ means) ** 2) + s[t] ** 2
    off.append((pixels.mean() - mixture_mean, pixels.std() - math.sqrt(mixture_var)))
off = 255 * torch.tensor(off).abs().max(0).values
print(f"largest deviation from the closed form: mean {off[0]:.2f}, std {off[1]:.2f} of 255")

# %% [markdown]
# Now back, with the exact estimate. Two ways are worth comparing: the *posterior*, which adds fresh noise at each step,
# and the *deterministic* path (DDIM, the probability flow), which keeps the noise that it has.
#
# **Predict**: how will their paths differ? Do both end where clean pixels are?

# %%
line = np.linspace(-0.25, 1.3, 400)
exact_density = np.stack([density(line, t) for t in range(1, T + 1)], 1)
clean_density = (shares * np.exp(-((line[:, None] - means) ** 2) / (2 * spreads**2)) / spreads).sum(
    1
) / math.sqrt(2 * math.pi)
exact_density = np.concatenate([clean_density[:, None], exact_density], 1)
images = torch.full((500 * settings.examples(scale), 1, 1, 1), grey, dtype=torch.float64)


def path(name, steps, timestep_spacing="linspace", predict=best, seed=6):
    """Times and states, from T to 0."""
    options = {"steps": steps, "generator": lab.seeded(seed)}
    if name == "euler-maruyama":
        found = lab.euler_maruyama(predict, sde, images, **options)
    else:
        found = lab.sample(
            predict, sde, images, timestep_spacing=timestep_spacing, **lab.SAMPLERS[name], **options
        )
    first = sde.prior(
        images, torch.randn(images.shape, generator=lab.seeded(seed), dtype=images.dtype)
    )
    taken = [(T, first), *((step.t, step.state) for step in found)]
    return [t for t, _ in taken], torch.stack([state.flatten() for _, state in taken]).numpy()


shown = {}
for name in ("posterior", "ddim"):
    times, states = path(name, T)
    shown[f"back, {name}"] = (times, states[:, :24])
figures.sde.there_and_back(
    line, exact_density, torch.stack(pixel_paths).numpy(), shown, degraded=grey
)

# %% [markdown]
# The posterior's paths look like the forward ones run backwards, which is what they are. The deterministic ones are smooth,
# and never cross. Both end in the two clean values: the *distribution* is the same, though no path is.
#
# ## 4 · Few steps
#
# A hundred calls of a network are expensive. What do fewer steps do? Look at where many pixels end.
#
# **Predict**: with a single step, where does a pixel end that could be 0.25 or 0.8?

# %%
figures.sde.ends(
    line,
    clean_density,
    {
        f"{name}\n{count} step{'s' * (count > 1)}": path(name, count, timestep_spacing)[1][-1]
        for name, count, timestep_spacing in (
            ("posterior", 1, "linspace"),
            ("posterior", 5, "linspace"),
            ("posterior", 20, "linspace"),
            ("dpmpp-2m", 20, "linspace"),
            ("euler-maruyama", 20, "linspace"),
        )
    },
)

# %% [markdown]
# - **One step** answers with the best *single* guess: between the two, where no clean pixel ever is. No other
#   answer has a smaller squared error, so its PSNR is the best there is. In an image that looks *blurred*.
# - **More steps** decide. Each sample is a possible clean pixel. Its squared error is larger: a wrong decision costs more
#   than none. (With few steps the peaks are too narrow: the last step of any sampler is one more best guess, taken from
#   the last time that it visits.)
# - **Second order** (a 2 in the name) uses the estimate of the step before to foresee how the next one will change.
# - **Euler-Maruyama** with 20 steps: why does it look like that? We come back to it.
#
# How far is the distribution reached from the right one? The distance here is that between sorted samples (the
# Wasserstein distance: how far the pixels must be moved, on average).


# %%
def quantiles(count):
    """The exact quantiles of clean pixels."""
    fine = np.linspace(-0.25, 1.3, 20_001)
    mass = (
        shares * np.exp(-((fine[:, None] - means) ** 2) / (2 * spreads**2)) / spreads
    ).sum(1).cumsum()  # fmt: skip
    return np.interp((np.arange(count) + 0.5) / count, mass / mass[-1], fine)


right = quantiles(len(images))
counts = (2, 5, 10, 20, 50, 100)
toy = pd.DataFrame(
    [
        (name, timestep_spacing, count, 255 * np.abs(np.sort(path(name, count, timestep_spacing)[1][-1]) - right).mean())
        for name, timestep_spacing in (
            ("posterior", "linspace"),
            ("dpmpp-2m-sde", "linspace"),
            ("ddim", "linspace"),
            ("dpmpp-2m", "linspace"),
            ("dpmpp-2m", "logsnr"),
            ("euler-maruyama", "linspace"),
        )
        for count in counts
    ],
    columns=["sampler", "timestep_spacing", "steps", "distance (of 255)"],
)  # fmt: skip
figures.sde.over_steps(
    toy,
    "distance (of 255)",
    "How far the restored pixels are from the right distribution. Below about 1, their limited number and the last "
    "step, which no solver can take more finely than from t = 1, set the limit.",
)

# %%
toy.pivot_table(
    index=["sampler", "timestep_spacing"], columns="steps", values="distance (of 255)", sort=False
).round(1)

# %% [markdown]
# From 20 steps on, second order is nearer than first order. With fewer, the estimate bends too much between two steps for
# a straight line to foresee it, and the result depends on where the few times happen to fall. So does the spacing: steps
# that are even in the log of the signal-to-noise ratio crowd near t = 1, which this pixel does not need.
#
# ### The baseline that cannot work
#
# The Euler-Maruyama step was written for $t \to t - 1$. With fewer than 100 steps, published comparisons visited every
# 20th time, say, and took *the same small step* there: of the noise that should go in 20 steps, they removed what goes
# in one. How much noise is left can be computed for a network that takes off noise as strong as it should be at the time
# it is told. The state is then a normal variable, of which only the variance matters.


# %%
def noise_left(steps, kind):
    """Standard deviation (of 255) of the noise left after one-step updates at `steps` times, or re-spaced ones."""
    visited = [*torch.linspace(T, 1, steps, dtype=torch.float64).long().tolist(), 0]
    if kind == "re-spaced posterior":
        visited = lab.time_points(sde, steps)
    std = sigma_max
    for t, then in pairwise(visited):
        target = then if kind == "re-spaced posterior" else t - 1
        if kind == "Euler-Maruyama, one-step":
            speed = sde.theta[t].item()
            mean = std * (1 + speed) - 2 * speed * sigma_max**2 / sigma[t].item()
            fresh = 2 * speed * sigma_max**2 if then else 0.0
        else:  # the network's noise has deviation 1; what it takes for the clean image keeps the rest
            guess = (std - sigma[t].item()) / alpha[t].item()
            state, zero = torch.tensor([std, guess], dtype=torch.float64), torch.zeros(())
            mean, deviation = sde.posterior(state[0], state[1], zero.double(), t, target)
            mean, fresh = mean.item(), deviation.item() ** 2
        std = math.sqrt(mean**2 + fresh)
    return 255 * std


left = pd.DataFrame(
    {
        kind: {steps: noise_left(steps, kind) for steps in (5, 10, 20, 50, 100)}
        for kind in ("posterior, one-step", "Euler-Maruyama, one-step", "re-spaced posterior")
    }
).T
left.columns.name = "steps"
left.round(1)

# %% [markdown]
# Restoring starts with noise of 50. With 20 one-step updates most of it is still there; published tables show exactly
# that collapse below 100 steps, and call it slow sampling. The re-spaced step costs the same and leaves nothing. So a
# claim of "ten times fewer steps" should be measured against *it*.
#
# ### What are steps for?
#
# One can ask two things of restored pixels: how far is each from *the* clean one (distortion), and are they distributed as
# clean pixels are (perception)? The two aims are at odds (Blau and Michaeli, 2018). For this pixel even the limit can be
# computed. Every answer is made from the degraded pixel, which is always 0.5, and from noise, so it is independent of the clean
# pixel: its squared error is the variance of clean pixels plus its own mean square around their mean. For a given distance
# between the distributions, that is smallest when the values farthest from the mean are pulled in.
#
# **Predict**: where do one step and fifty steps end in this plane? How much larger is the squared error of the fifty?

# %%
truth, offset = draw(len(images), 9).numpy(), right - right.mean()
plane = pd.DataFrame(
    [
        (name, "linspace", count, 255 * np.sqrt(((found - truth) ** 2).mean()), 255 * np.abs(np.sort(found) - right).mean())
        for name in ("posterior", "dpmpp-2m", "euler-maruyama")
        for count in (1, 2, 3, 5, 10, 20, 50)
        for found in [path(name, count)[1][-1]]
    ],
    columns=["sampler", "timestep_spacing", "steps", "distortion", "unlike"],
)  # fmt: skip
limit = []
for reach in np.linspace(0, np.abs(offset).max(), 200):
    kept = offset.clip(-reach, reach)
    limit.append((np.sqrt(offset.var() + (kept**2).mean()), np.abs(offset - kept).mean()))

# %%
figures.samplers.perception_distortion(
    plane,
    "Numbers at the marks: steps, 1 to 50. To the left: nearer to the clean pixel. Down: distributed more like clean pixels. "
    "No method lies in the grey area.",
    across="error to the clean pixel (RMS, of 255)",
    up="distance of the distributions (of 255)",
    frontier=255 * np.array(limit),
)

# %% [markdown]
# One step has the smallest error that is possible, and a distribution unlike that of clean pixels. Every further step of a good
# sampler goes down along the limit: from about ten on the distribution is right, at twice the squared error (the RMS grows from 71
# to 100), since a sample and the clean pixel are two independent draws. So steps do not buy accuracy. They buy
# answers that are each a possible clean pixel, and other ones for other seeds. Steps of Euler-Maruyama that skip times stay above
# the limit, since the noise that they leave costs both.
#
# This holds for the exact estimate. A trained network adds mistakes of its own at every step, and one as small as the restorer of
# this package does not gain PSNR by them (part 7).
#
# ## 5 · The exact estimate, learned
#
# Nobody has the exact estimate for photos. A network is trained to give it: draw a clean pixel, a time and noise, and
# minimise the squared error. The best that it can learn is the mean of all clean pixels that could have led to this
# state, which is $E[x_0 \mid x_t]$.
#
# **Predict**: where will the learned curve differ from the exact one?

# %%
with torch.random.fork_rng():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
optimiser = torch.optim.Adam(net.parameters(), lr=4e-3)
rounds = max(30, scale.restorer.steps // 4)
decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, rounds)


def inputs(state, t):
    """What the network is told of each state (n,): its value, and the share of the image and the noise at its time."""
    # All about as large as 1: from the bare numbers it would learn far more slowly.
    of_time = alpha[t].expand_as(state), sigma[t].expand_as(state) / sigma_max
    return torch.stack([(state - grey) / sigma_max, *of_time], 1).float()


def learned(state, t):
    """The network's estimate."""
    with torch.no_grad():
        return net(inputs(state.flatten(), t)).reshape(state.shape).to(state.dtype)


for k in tqdm(range(rounds), desc="training", leave=False):
    clean_pixels = draw(512, 1000 + k)
    t = torch.randint(1, T + 1, (512,), generator=lab.seeded(7, k))
    fresh = torch.randn(512, generator=lab.seeded(8, k), dtype=torch.float64)
    state = grey + alpha[t] * (clean_pixels - grey) + sigma[t] * fresh
    guess = net(inputs(state, t))[:, 0]
    loss = (guess - clean_pixels.float()).square().mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    decay.step()
moments = (10, 30, 60, 100)
states = torch.from_numpy(line)
figures.sde.denoisers(
    line,
    {t: best(states, t).numpy() for t in moments},
    {t: learned(states, t).numpy() for t in moments},
    {t: density(line, t) for t in moments},
)

# %%
gap = {
    t: 255
    * np.sqrt(
        np.average((best(states, t) - learned(states, t)).numpy() ** 2, weights=density(line, t))
    )
    for t in moments
}
way = {
    name: 255 * np.abs(np.sort(path("posterior", 100, predict=f)[1][-1]) - right).mean()
    for name, f in (("exact", best), ("learned", learned))
}
print("learned against exact, where states occur (RMS, of 255):")
print(", ".join(f"t = {t}: {value:.1f}" for t, value in gap.items()))
print(
    f"100 posterior steps end {way['exact']:.1f} (exact) and {way['learned']:.1f} (learned) from the right distribution"
)

# %% [markdown]
# The curves part where hardly any state occurs, since nothing asks the network to be right there, and where the exact
# one is steep: a small network, trained for a moment, is smoother. Look at small t, where that happens between the two
# peaks. The last line says what these gaps cost in a hundred steps.
#
# ## 6 · Back: a photo
#
# Now with the restorer that comes with the package, on the dark photo of part 2. Above: the state. Below: the clean image
# that the restorer foresees from the state before.

# %%
dark = degraded.float()
walk = list(pipe.trajectory(dark, steps=5))
begun = sde.prior(dark, torch.randn(dark.shape, generator=lab.seeded(0)))
columns = [begun, *(step.state for step in walk)]
foreseen = [dark, *(step.clean for step in walk)]
figures.images.strip(
    [image[0].clamp(0, 1).float() for image in [*columns, *foreseen]],
    [
        *(f"state at t = {t}" for t in (T, *(step.t for step in walk))),
        "degraded",
        *(
            f"foreseen, {lab.psnr(step.clean.clamp(0, 1), photo[None]).item():.1f} dB"
            for step in walk
        ),
    ],
    first=1,
    caption="Five steps of the posterior. Already the first call foresees the photo. Those after it change its detail: "
    "look whether for the better, by eye and by the decibels.",
)

# %%
few = {"posterior\n5 steps": walk[-1].state}
with torch.inference_mode():
    told = pipe.restorer.prepare(*pipe.encode(list(dark)))
    predict = lab.denoiser(pipe.restorer, sde, dark, told)
    for count in (5, 20):
        *_, last = lab.euler_maruyama(predict, sde, dark, steps=count, generator=lab.seeded(0))
        few[f"Euler-Maruyama\n{count} steps"] = last.state
figures.images.strip(
    [dark[0], *(image[0].clamp(0, 1) for image in few.values()), photo],
    [
        "degraded",
        *(
            f"{name}: {lab.psnr(image.clamp(0, 1), photo[None]).item():.1f} dB"
            for name, image in few.items()
        ),
        "clean",
    ],
    caption="The same restorer and the same start. The one-step update at skipped times leaves the noise in.",
)

# %% [markdown]
# ## 7 · Quality against the number of steps
#
# Crops of the bundled test photos, in all ten ways. Four measures, since each is blind to something: PSNR and SSIM (the
# likeness of small windows; MS-SSIM at several scales) prefer a cautious answer, gradient similarity looks at edges.
#
# **Predict**: which number of steps will have the best PSNR? Think of the pixel that could be 0.25 or 0.8.

# %%
protocol = lab.Protocol(crop=64, crops=max(1, settings.examples(scale) // 40), seed=3)
crops = [lab.degraded_crops(photos, index, protocol)[:2] for index in range(len(photos))]
# Of each photo two or three of the ten ways, in turn, so that this takes a minute.
clean_crops = torch.cat([clean[:10][k % 4 :: 4] for k, (clean, _) in enumerate(crops)])
degraded_all = torch.cat([ruined[:10][k % 4 :: 4] for k, (_, ruined) in enumerate(crops)])
steps_shown = [
    count for count in (1, 2, 5, 10, 20, 100) if count <= 5 * settings.examples(scale) // 2
]
measures = {
    "PSNR (dB)": lab.psnr,
    "SSIM": lab.ssim,
    "MS-SSIM": lab.ms_ssim,
    "gradient similarity": lab.gradient_similarity,
}


def judged(images, **facts):
    """The mean of every measure."""
    return facts | {name: f(images, clean_crops).mean().item() for name, f in measures.items()}


rows = [judged(degraded_all, sampler="input", timestep_spacing="", steps=0)]
kinds = (
    ("posterior", "linspace"),
    ("posterior", "logsnr"),
    ("dpmpp-2m", "logsnr"),
    ("euler-maruyama", "linspace"),
)
with torch.inference_mode():
    told = pipe.restorer.prepare(*pipe.encode(list(degraded_all)))
    predict = lab.denoiser(pipe.restorer, sde, degraded_all, told)
    for name, timestep_spacing in tqdm(kinds, desc="restoring", leave=False):
        for count in steps_shown:
            options = {"steps": count, "generator": lab.seeded(0)}
            if name == "euler-maruyama":
                found = lab.euler_maruyama(predict, sde, degraded_all, **options)
            else:
                found = lab.sample(
                    predict,
                    sde,
                    degraded_all,
                    timestep_spacing=timestep_spacing,
                    **lab.SAMPLERS[name],
                    **options,
                )
            *_, last = found
            rows.append(
                judged(
                    last.state.clamp(0, 1),
                    sampler=name,
                    timestep_spacing=timestep_spacing,
                    steps=count,
                )
            )
quality = pd.DataFrame(rows)
print(f"{len(clean_crops)} crops of {len(photos)} photos")
figures.diffusion.tradeoff(quality)

# %%
quality.set_index(["sampler", "timestep_spacing", "steps"]).round(3)

# %% [markdown]
# Read the curves with part 4 in mind. One step is the best guess, and PSNR rewards it (two may come as close). More
# steps decide on details, and every measure that compares with *the* clean image punishes a detail that is elsewhere.
# On top of that comes what the toy does not have: a small restorer makes mistakes, and each step feeds them to the
# next. What more steps can gain, sharp and plausible detail, other for every seed, none of these four measures sees.
# LPIPS, a distance in the features of a network, and FID, a distance between distributions of images, come nearer to
# it.
#
# The same figure for all samplers, spacings and larger crops comes from `python -m benchmarks tradeoff`, with the plane of part 4
# for photos: there the distance between distributions is that of their patches.
#
# ## 8 · Your turn
#
# **Exercise 06.1: predict.** At the time when half of the difference between the clean and the degraded image is gone
# ($\alpha_t = 1/2$): how strong is the noise, in grey levels? It ends at 50.

# %%
answer = ...  # a number

check("06.1", answer)

# %% [markdown]
# <details><summary>Solution 06.1</summary>
#
# ```python
# answer = 50 * (1 - 0.5**2) ** 0.5
#
# check("06.1", answer)
# ```
#
# Noise comes early: 87 % of it is there when half of the image is still there.
#
# </details>

# %% [markdown]
# **Exercise 06.2: the clean image from the noise.** The paper's U-Net does not estimate the clean image but the noise in the
# state. Turn one into the other.


# %%
def clean_from_noise(state, degraded, noise, alpha, sigma):
    """The clean image, from the state at a time at which alpha and sigma (numbers) hold, and the noise in it."""
    return ...  # your code


check("06.2", clean_from_noise)

# %% [markdown]
# <details><summary>Solution 06.2</summary>
#
# ```python
# def clean_from_noise(state, degraded, noise, alpha, sigma):
#     """The clean image, from the state at a time at which alpha and sigma (numbers) hold, and the noise in it."""
#     return degraded + (state - degraded - sigma * noise) / alpha
#
#
# check("06.2", clean_from_noise)
# ```
#
# At t = T, alpha is 0.005: what is wrong in `sigma * noise` comes back 200 times as large. With few steps it is safer
# to let the network say the clean image itself.
#
# </details>

# %% [markdown]
# **Exercise 06.3: the deterministic step.** Write the step of the smooth paths in part 3, from t to s, given the estimate of
# the clean image: the noise stays the same, only its strength changes.


# %%
def deterministic_step(state, clean, degraded, alpha_t, sigma_t, alpha_s, sigma_s):
    """The state at s, from that at t. All but the first three are numbers."""
    return ...  # your code


check("06.3", deterministic_step)

# %% [markdown]
# <details><summary>Solution 06.3</summary>
#
# ```python
# def deterministic_step(state, clean, degraded, alpha_t, sigma_t, alpha_s, sigma_s):
#     """The state at s, from that at t. All but the first three are numbers."""
#     noise = (state - degraded - alpha_t * (clean - degraded)) / sigma_t
#     return degraded + alpha_s * (clean - degraded) + sigma_s * noise
#
#
# check("06.3", deterministic_step)
# ```
#
# In the field this is called DDIM. It holds for any s < t, so it can be as long as one likes; what makes a long step
# inexact is only that the estimate would have changed on the way.
#
# </details>

# %% [markdown]
# **Exercise 06.4: the best guess.** Clean pixels are normal, with a `mean` and a `spread`. Write $E[x_0 \mid x_t]$.
# For two normal variables it is the mean of the first, plus their covariance over the variance of the second, times how much
# the second surprises.


# %%
def best_guess(state, degraded, mean, spread, alpha, sigma):
    """The best estimate of the clean pixel for each state (n,); all others are numbers."""
    return ...  # your code


check("06.4", best_guess)

# %% [markdown]
# <details><summary>Solution 06.4</summary>
#
# ```python
# def best_guess(state, degraded, mean, spread, alpha, sigma):
#     """The best estimate of the clean pixel for each state (n,); all others are numbers."""
#     expected = degraded + alpha * (mean - degraded)
#     covariance = alpha * spread**2
#     variance = alpha**2 * spread**2 + sigma**2
#     return mean + covariance / variance * (state - expected)
#
#
# check("06.4", best_guess)
# ```
#
# With much noise it hardly moves from the mean: that is the blur of the one-step restoration.
#
# </details>

# %% [markdown]
# ## The numbers obtained

# %%
restored = quality[quality.sampler != "input"]
finest = restored.loc[restored["PSNR (dB)"].idxmax()]
coarse = toy[toy.steps == 20].set_index(["sampler", "timestep_spacing"])["distance (of 255)"]
pd.Series(
    {
        "largest difference to the library": f"{max(differences.values()):.0e}",
        "20 steps, distance to the right distribution: posterior (of 255)": (
            f"{coarse['posterior', 'linspace']:.1f}"
        ),
        "the same: deterministic, order 2": f"{coarse['dpmpp-2m', 'linspace']:.1f}",
        "the same: Euler-Maruyama": f"{coarse['euler-maruyama', 'linspace']:.1f}",
        "noise left by one-step updates, 5 / 10 / 20 / 50 steps (of 255)": " / ".join(
            f"{left.loc['posterior, one-step', count]:.1f}" for count in (5, 10, 20, 50)
        ),
        "one pixel, 1 / 50 posterior steps: RMS error (of 255)": " / ".join(
            f"{value:.0f}" for value in plane[plane.sampler == "posterior"].distortion.iloc[[0, -1]]
        ),
        "learned estimate at t = T, RMS error (of 255)": f"{gap[T]:.1f}",
        "best PSNR on crops": (
            f"{finest['PSNR (dB)']:.2f} dB: {finest.sampler}, {finest.steps} steps"
        ),
        "PSNR of the input": f"{quality['PSNR (dB)'][0]:.2f} dB",
        "seconds for this notebook": f"{time.perf_counter() - start:.0f}",
    },
    name="obtained",
).to_frame()

# %% [markdown]
# ## What next
#
# - `07_train_restorer`: the network that gives the estimate, and how two embeddings steer it.
# - `08_compare_restorations`: samplers, steps, seeds and backbones side by side.
# - `daclip-lab restore --sampler dpmpp-2m --timestep-spacing logsnr --steps 10`: the same on a photo of your own.
#
# ## References
#
# - Z. Luo, F. K. Gustafsson, Z. Zhao, J. Sjölund, T. B. Schön. *Image Restoration with Mean-Reverting Stochastic
#   Differential Equations.* ICML 2023, [arXiv 2301.11699](https://arxiv.org/abs/2301.11699). Equations 3 to 7 and 14.
# - Z. Luo et al. *Controlling Vision-Language Models for Multi-Task Image Restoration.* ICLR 2024,
#   [arXiv 2310.01018](https://arxiv.org/abs/2310.01018).
# - A. Li et al. *MaRS: A Fast Sampler for Mean Reverting Diffusion Based on ODE and SDE Solvers.* ICLR 2025,
#   [arXiv 2502.07856](https://arxiv.org/abs/2502.07856). The second-order steps, and the one-step baselines of part 4.
# - Y. Blau, T. Michaeli. *The Perception-Distortion Tradeoff.* CVPR 2018, [arXiv 1711.06077](https://arxiv.org/abs/1711.06077).
# - C. Lu et al. *DPM-Solver++.* [arXiv 2211.01095](https://arxiv.org/abs/2211.01095).
# - J. Song, C. Meng, S. Ermon. *Denoising Diffusion Implicit Models.* ICLR 2021,
#   [arXiv 2010.02502](https://arxiv.org/abs/2010.02502).
