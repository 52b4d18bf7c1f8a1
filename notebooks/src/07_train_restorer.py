# %% [markdown]
# # 07 · Train a restorer
#
# **Two vectors tell a restorer what is wrong and what is shown; one of them arrives by an attention that turns out to
# be a plain bias, so that a small network without attention can be trained to restore while you watch.**
#
# *You will learn*
# - how DA-CLIP's two embeddings enter the paper's U-Net: the *prompt* and *cross-attention*, each in a dozen lines;
# - why cross-attention to a single token cannot look anywhere, and what that saves;
# - what a restorer is trained on, how its learning curve looks, and what the running average of its weights is for;
# - whether a trained restorer *listens* to what it is told.
#
# *You need* notebook `06` (the state $x_t$ and the estimate of the clean image), and to have met attention before.
#
# *Time*: eight to nine minutes to run on two CPU cores, twenty minutes to read.

# %%
import time
from importlib.util import find_spec

start = time.perf_counter()
if find_spec("daclip_lab") is None:
    # As on Colab: installs the repository that this notebook lies in.
    from IPython import get_ipython

    get_ipython().run_line_magic("pip", "install --quiet ..")

# %%
import platform
from dataclasses import replace

import matplotlib
import pandas as pd
import torch
from IPython.display import display
from torch import nn
from torch.nn import functional as F

import daclip_lab as lab
from daclip_lab.course import analysis, check, figures, settings
from daclip_lab.embeddings.layers import block_outputs
from daclip_lab.models.unet import ConditionalUNet

scale = lab.presets.current()
pipe = lab.load("lab")
sde, d, size = pipe.sde, pipe.settings.clip.embed_dim, pipe.settings.clip.image_size
print(f"scale {scale.name}")
print(f"daclip_lab {lab.__version__}, Python {platform.python_version()}")
print(f"torch {torch.__version__}, matplotlib {matplotlib.__version__}")

# %% [markdown]
# ## 1 · What a restorer is asked
#
# At time $t$ the restorer sees the noisy state $x_t$ and the degraded image $\mu$, and answers with the noise in $x_t$
# (the paper's U-Net) or with the clean image $x_0$ (the NAFNet of this lab; notebook `06` shows that one follows from the
# other). It is told three things beside: the time, the **degradation embedding** $e_d$, and the **content embedding**
# $e_c$. The time becomes a vector of sines and cosines that scales and shifts the channels of every block. How do the
# two embeddings get in?
#
# ## 2 · The prompt: what is wrong
#
# The degradation embedding becomes a set of shares (a softmax: positive, summing to 1). They weigh the entries of a
# *learned* vector $p$, the prompt, and the result is added to the vector of the time, $v_t$:
#
# $$v = v_t + W\,\bigl(\operatorname{softmax}(f(e_d)) \odot p\bigr)$$
#
# $f$ and $W$ are small learned layers (`read` and `tell` below).
#
# ## 3 · Cross-attention: what is shown
#
# Every pixel asks a question (its *query* $q_i$), every token of the context offers a *key* $k_j$ and a *value* $v_j$,
# and the pixel gets the mix of values whose keys fit its question:
#
# $$y_i = \sum_j w_{ij}\, v_j, \qquad
#   w_{ij} = \frac{e^{q_i \cdot k_j / \sqrt{d}}}{\sum_{j'} e^{q_i \cdot k_{j'} / \sqrt{d}}}$$
#
# Here $d$ is the length of a query and of a key. Several *heads* do this side by side, each on its own part of the
# channels (`head` is their $d$). Here are both, the prompt and cross-attention, from scratch.


# %%
class Prompt(nn.Module):
    """A degradation embedding (b, d) as a vector (b, width) that is added to that of the time."""

    def __init__(self, d, width):
        super().__init__()
        self.read = nn.Sequential(nn.Linear(d, width), nn.SiLU(), nn.Linear(width, width))
        self.prompt = nn.Parameter(torch.rand(1, width))
        self.tell = nn.Linear(width, width)

    def forward(self, degradation):
        shares = self.read(degradation).softmax(1)
        return self.tell(shares * self.prompt)


class CrossAttention(nn.Module):
    """Pixels (b, n, width) ask, the tokens of a context (b, m, d) answer: (b, n, width), and who listened to whom."""

    def __init__(self, width, d, head=32):
        super().__init__()
        self.head = head
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(d, width, bias=False)
        self.value = nn.Linear(d, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, pixels, context):
        parts = self.query(pixels), self.key(context), self.value(context)
        q, k, v = (part.unflatten(2, (-1, self.head)).transpose(1, 2) for part in parts)
        weights = (q @ k.mT / self.head**0.5).softmax(-1)  # (b, heads, n, m)
        return self.out((weights @ v).transpose(1, 2).flatten(2)), weights


# %% [markdown]
# ### Do they agree with the library?
#
# `ConditionalUNet` is the paper's network. Here is a small one with random weights; ours take over the weights of its
# prompt and of the cross-attention in its middle, and must then say the same of a real photo's embeddings. (The authors
# hand on embeddings at the lengths that CLIP gave them; for this question directions do.)

# %%
photos = lab.sample_photos("test")
protocol = lab.Protocol(crop=size)
clean, degraded, facts = lab.degraded_crops(photos, 0, protocol)
content, degradation = (part.clone() for part in pipe.encode(list(degraded)))

with torch.random.fork_rng():
    torch.manual_seed(0)
    unet = ConditionalUNet(channels=32, multipliers=(1, 2, 4), embed_dim=d)
    prompt, attention = Prompt(d, 4 * 32), CrossAttention(4 * 32, d)

for ours, theirs in (("read", unet.text_mlp), ("tell", unet.prompt_mlp)):
    getattr(prompt, ours).load_state_dict(theirs.state_dict())
prompt.prompt.data.copy_(unet.prompt.data)
middle = unet.mid_attn.fn["fn"].transformer_blocks[0]["attn2"]
for ours, theirs in (("query", "to_q"), ("key", "to_k"), ("value", "to_v")):
    getattr(attention, ours).load_state_dict(middle[theirs].state_dict())
attention.out.load_state_dict(middle["to_out"][0].state_dict())

pixels = torch.randn(len(content), 16 * 16, 4 * 32, generator=lab.seeded(1))
with torch.no_grad():
    conditions = unet.prepare(content, degradation)
    answer, weights = attention(pixels, content[:, None])
    differences = {
        "prompt": (prompt(degradation) - conditions.prompt).abs().max(),
        "cross-attention, at every pixel": (answer - conditions.middle[:, None]).abs().max(),
    }
    ours = conditions._replace(prompt=prompt(degradation), middle=answer[:, 0])
    state = sde.prior(degraded, torch.randn(degraded.shape, generator=lab.seeded(2)))
    t = torch.full((len(degraded),), sde.steps)
    told = [unet(state, degraded, t, each) for each in (conditions, ours)]
    differences["the whole U-Net, with ours inside"] = (told[0] - told[1]).abs().max()
assert max(differences.values()) < 1e-5
pd.DataFrame({"largest difference": {k: f"{v:.1e}" for k, v in differences.items()}})

# %% [markdown]
# Look at the second row again. We gave our attention 256 pixels of pure noise. The library never looked at any pixel:
# it computed **one vector per image**. Still they agree.
#
# ## 4 · One token: a bias in disguise
#
# The content is one vector, so the context has *one* token. A softmax over one score is 1, whatever the score. Every
# pixel gets the same value; the question does not matter.
#
# **Predict**: give the same attention a context of two tokens (content and degradation), and of all patch tokens that
# CLIP has. Will the answer differ between pixels? And what gradient reaches the queries when there is one token?

# %%
photo = photos[photos.names.index("osprey")][:, 50 : 50 + 2 * size, 205 : 205 + 2 * size]
photo = F.interpolate(photo[None], size=(size, size), mode="area")
with torch.no_grad():
    features = F.silu(unet.init_conv(torch.cat([torch.zeros_like(photo), photo], 1)))
    lifted = features.flatten(2).mT @ torch.randn(32, 128, generator=lab.seeded(4))
    embedded = pipe.encode(list(photo))
    visual = pipe.daclip.clip.visual
    patches = F.normalize(
        block_outputs(pipe.daclip, photo).controlled[-1][:, 1:] @ visual.proj, dim=-1
    )
contexts = {
    "1 token: the content": embedded.content[:, None].clone(),
    "2 tokens: and the degradation": torch.stack(embedded, dim=1).clone(),
    f"{patches.shape[1]} tokens: CLIP's patches": patches.clone(),
}

rows, maps = {}, {}
for name, context in contexts.items():
    answer, weights = attention(lifted, context)
    (gradient,) = torch.autograd.grad(answer.square().sum(), attention.query.weight)
    spread = answer.std(1).norm() / answer.mean(1).norm()
    rows[name] = {
        "largest weight": weights.max().item(),
        "spread over pixels (% of the mean)": 100 * spread.item(),
        "gradient of the queries": gradient.norm().item(),
    }
    change = (answer - answer.mean(1, keepdim=True)).norm(dim=-1) / answer.mean(1).norm()
    maps[name] = 100 * change.detach().reshape(size, size)
pd.DataFrame(rows).T.round(3)

# %%
zoom = max(1, 200 // size)
side = zoom * size
caption = (
    "Left: the photo. Then, for each pixel, how far the answer of attention is from its mean over all pixels, in % of "
    "that mean; darker is further. With one token there is nothing to see. (The weights are random: this shows what "
    "attention can do, not what it learned.)"
)
with figures.style.canvas(figures.style.WIDTH, side + 74, caption) as figure:
    figures.style.picture(figure, photo[0], figures.style.GAP, 28, zoom).set_title(
        "photo", fontsize=10, pad=4
    )
    top = max(values.max().item() for values in maps.values())
    for index, (name, values) in enumerate(maps.items(), start=1):
        axes = figures.style.area(
            figure, figures.style.GAP + index * (side + figures.style.GAP), 28, side, side
        )
        axes.imshow(values, cmap="Blues", vmin=0, vmax=top, interpolation="nearest")
        axes.set_title(f"{name.split(':')[0]} (0 to {values.max():.1f} %)", fontsize=10, pad=4)
        axes.set(xticks=(), yticks=())
figure

# %% [markdown]
# With one token no pixel differs and no gradient arrives; with two, both do, if weakly at random weights. So in the
# paper's network
#
# - `to_q` and `to_k` of the cross-attention never receive a gradient: they are still at their random start after 700,000
#   steps of training;
# - what the content adds is a **bias** per image. The library computes it once per image in `prepare`, and not in every
#   block at every one of a hundred steps; the outputs stay the same (the table above);
# - a network *without* attention can be told just as much. That is what makes the next one possible.
#
# ## 5 · A restorer for a laptop
#
# NAFNet (Chen et al., 2022) has no attention and no activation function: it multiplies one half of the channels by the
# other. The DA-CLIP paper steers a NAFNet, too, but its code was not released. In this lab the time, the degradation
# and the content are summed into *one* vector, from which every block takes a scale $1 + a$ and a shift $b$ for its
# normalised input: $\hat y = (1 + a) \odot y + b$. The layers that read $a$ and $b$ start at zero, and so does the last
# layer of the network. Hence an untrained restorer is the identity: its curve will start at a gain of exactly 0 dB.
#
# Now train one from scratch, on crops of *other* photos than the exam's and on procedural scenes. What a step does:
#
# 1. draw clean crops, degrade them; DA-CLIP (frozen) looks at the degraded ones, and now and then the network is told
#    nothing of what it says;
# 2. draw a time $t$, for half of the crops $T$, where every restoration starts; make a state $x_t$;
# 3. predict the clean image. With $E$ for the squared error of the prediction and $E_0$ for that of the degraded crop (to
#    both 1e-4 is added: beyond 40 dB there is nothing to gain), the loss of a crop is
#
# $$\ln E + c\,\max(0,\ \ln E - \ln E_0)$$
#
# Why a logarithm? The squared error of a dark photo is dozens of times that of one with JPEG blocks. With the plain
# squared error the network would learn about little else than the dark ones. A logarithm counts decibels to be gained,
# and each damaged image has some. Its vice: it trades them one for one, and gladly ruins one image by ten decibels to
# gain one in each of eleven others. Hence the second part, which is zero unless the result is worse than the input:
# every decibel below the input counts $1 + c$ times. ($c$ is `harm_penalty` in the recipe: 1 here, and 6 in the
# last training of the shipped weights. The larger it is, the safer and the slower the network learns.)
#
# Beside the network we keep a **running average** of its weights, in two lines. (The library keeps one too; when the
# training ends, it hands over the average. We check that both agree.)
#
# **Predict**: which is better halfway through the training, the network or its average? And at the end, when the learning
# rate has gone down to zero?

# %%
steps = max(4, scale.restorer.steps // 8)
recipe = replace(
    scale.restorer, steps=steps, warmup=steps // 16, harm_penalty=1.0
)  # a short training
net = lab.build_restorer(scale.network, d, seed=0)
source = lab.Synthetic(
    photos=lab.sample_photos("train"),
    scene_prob=scale.scene_prob,
    clean_prob=scale.clean_prob,
    second_degradation_prob=scale.second_degradation_prob,
    severity=scale.severity,
)

# The exam: crops of the test photos in all ten ways, and what DA-CLIP says of them.
exam = lab.Protocol(crop=recipe.image_size, crops=max(1, settings.examples(scale) // 40), seed=8)
parts = [lab.degraded_crops(photos, index, exam) for index in range(len(photos))]
clean, degraded = (torch.cat([part[k] for part in parts]) for k in (0, 1))
asked = pd.DataFrame([fact for _, _, known in parts for fact in known])
done = asked.degradation
embeddings = pipe.encode(list(degraded))


@torch.inference_mode()
def restored(network):
    """The exam's crops after one step of restoration."""
    told = network.prepare(*embeddings)
    *_, last = lab.sample(
        lab.denoiser(network, sde, degraded, told), sde, degraded, steps=1, generator=lab.seeded(0)
    )
    return last.state.clamp(0, 1)


def gain(images):
    """Mean gain in PSNR (dB) over the ten degradations."""
    gained = lab.psnr(images, clean) - lab.psnr(degraded, clean)
    return gained[torch.tensor(done != "clean")].mean().item()


parameters = sum(p.numel() for p in net.parameters())
print(
    f"{parameters / 1e6:.1f} million parameters, {recipe.steps} steps of {recipe.batch_size} crops"
)
print(f"{len(degraded)} crops in the exam, of photos that are not trained on")

# %%
moments = {round(recipe.steps * share) for share in (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1)} - {0}
first = restored(net)
raw, smooth, losses, rates, samples = {0: gain(first)}, {0: gain(first)}, {}, {}, {0: first}
average = lab.build_restorer(scale.network, d, seed=0)


def curves():
    """The training so far: the loss, the exam, the learning rate."""
    caption = (
        "Left: the loss at each step (thin) and its running mean (thick). Right: one-step restorations of photos that "
        "are not trained on; the grey line is the learning rate, in share of its largest."
    )
    with figures.style.canvas(figures.style.WIDTH, 386, caption) as figure:
        learned, judged = (figures.style.area(figure, 72 + k * 444, 36, 340, 240) for k in (0, 1))
        loss = pd.Series(losses, dtype=float)
        learned.plot(loss.index, loss, color=figures.palette.MUTED, alpha=0.4, linewidth=1)
        learned.plot(loss.index, loss.ewm(span=20).mean(), color=figures.palette.INK)
        learned.set(title="Loss on training crops", ylabel="mean loss of the crops (nats)")
        judged.plot(raw.keys(), raw.values(), "-s", color="#c2570c", label="the network")
        judged.plot(smooth.keys(), smooth.values(), "-o", color="#1f4e8c", label="its average")
        judged.axhline(0, color=figures.palette.MUTED, linestyle=":", linewidth=1.3)
        judged.set(title="Exam on other photos", ylabel="gain in PSNR (dB)")
        judged.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        rate = judged.twinx()
        rate.plot(rates.keys(), rates.values(), color="#cccccc", linewidth=1.2, zorder=0)
        rate.set(ylim=(0, 4), yticks=())
        rate.spines[:].set_visible(False)
        for axes in (learned, judged):
            axes.set(xlim=(0, 1.03 * recipe.steps), xlabel="training step")
            axes.grid(axis="y")
    return figure


board = display(curves(), display_id=True)
for step in lab.train_restorer(net, pipe.daclip, sde, source, recipe):
    # The running average, in two lines. Early on it is kept short, or it would remember the random start.
    decay = min(recipe.ema_decay, (1 + step.index) / (10 + step.index))
    with torch.no_grad():
        for mean, weight in zip(average.parameters(), net.parameters(), strict=True):
            mean.lerp_(weight, 1 - decay)
    losses[step.index], rates[step.index] = step.loss, step.learning_rate / recipe.learning_rate
    if step.index in moments:
        latest, averaged_so_far = restored(net), restored(average)
        raw[step.index], smooth[step.index] = gain(latest), gain(averaged_so_far)
        samples[step.index] = averaged_so_far
        board.update(curves())

# %% [markdown]
# The generator has ended, so `net` now holds the library's average. Is it the one that we kept?

# %%
off = max(
    (mine - theirs).abs().max().item()
    for mine, theirs in zip(average.parameters(), net.parameters(), strict=True)
)
assert off < 1e-4
moment = min(smooth, key=lambda step: abs(step - recipe.steps / 2))
print(f"largest difference between our average and the library's: {off:.1e}")
pd.DataFrame({"the network (dB)": raw, "its average (dB)": smooth}).rename_axis("step").loc[
    [0, moment, recipe.steps]
].round(2)

# %% [markdown]
# While the learning rate is high, the network jumps about its way and the average lies in the middle of it. Look which
# curve is the steadier one: at a single step either may be ahead. When the rate has come down, the network stands still
# and its average stands beside it: a rate that falls does slowly what the average does at once. (The authors' code
# computes an average, saves it, and then tests without it.)
#
# ## 6 · Samples as it learns
#
# The same four crops after some steps. **Predict**: which damage disappears first?

# %%
shown = [s for s in sorted(samples) if s in {0, recipe.steps} or s in sorted(samples)[2::2]]
chosen = [
    asked.index[(asked.photo == photo_name) & (done == name)][0]
    for photo_name, name in (
        ("spices", "low-light"),
        ("colosseum", "rainy"),
        ("lake", "noisy"),
        ("osprey", "uncompleted"),
    )
]
columns = {"degraded": degraded, **{f"step {s}": samples[s] for s in shown[1:]}, "clean": clean}
zoom = -(-110 // recipe.image_size)
side = zoom * recipe.image_size
caption = "A degraded crop, then what the running average makes of it after more and more steps. PSNR in dB."
with figures.style.canvas(
    figures.style.GAP + len(columns) * (side + figures.style.GAP),
    len(chosen) * (side + 28) + 36,
    caption,
) as figure:
    for row, index in enumerate(chosen):
        for column, (title, images) in enumerate(columns.items()):
            axes = figures.style.picture(
                figure,
                images[index],
                figures.style.GAP + column * (side + figures.style.GAP),
                24 + row * (side + 28),
                zoom,
            )
            near = lab.psnr(images[index][None], clean[index][None]).item()
            name = done[index] if title == "degraded" else title
            axes.set_title(name if title == "clean" else f"{name}: {near:.1f}", fontsize=9, pad=3)
figure

# %% [markdown]
# In which row does the number rise first, in which hardly at all? Where much is missing, as in the dark, a coarse change
# already gains much; to tell noise from texture takes longer. And a row may get worse for a while: a network that has
# learned to brighten must still learn when not to.
#
# ## 7 · Yours beside the shipped one
#
# A `Pipeline` takes any parts. Here is yours, with the shipped DA-CLIP and the restorer that you just trained, under the
# same evaluation as the shipped one.

# %%
mine = lab.Pipeline(replace(pipe.settings, network=scale.network), daclip=pipe.daclip, restorer=net)
judge = lab.Protocol(crops=max(1, settings.examples(scale) // 40), steps=1)
results = {
    "yours": lab.evaluate(mine, photos, judge).table(),
    "shipped": lab.evaluate(pipe, photos, judge).table(),
}
print(f"protocol {judge.hash}")
pd.DataFrame(
    {
        f"{name}: gain (dB)": [
            f"{line.psnr_gain:.1f} [{line.psnr_gain_low:.1f}, {line.psnr_gain_high:.1f}]"
            for _, line in table.iterrows()
        ]
        for name, table in results.items()
    },
    index=results["yours"].index,
)

# %%
rows = [*lab.DEGRADATIONS, "overall"]
caption = (
    "Marks: mean gain over the degraded crops; lines: 95 % intervals over photos. Left of the dotted line a restoration "
    "is worse than none."
)
with figures.style.canvas(720, 30 * len(rows) + 118, caption) as figure:
    axes = figures.style.area(figure, 140, 30, 540, 30 * len(rows))
    for offset, (who, table) in zip((-0.16, 0.16), results.items(), strict=True):
        for y, (name, line) in enumerate(table.loc[rows].iterrows()):
            color = figures.palette.color_of(name) if who == "shipped" else "white"
            axes.hlines(
                y + offset, line.psnr_gain_low, line.psnr_gain_high, color=figures.palette.MUTED
            )
            axes.scatter(line.psnr_gain, y + offset, s=46, c=color, edgecolors=figures.palette.INK, zorder=3,
                         marker="o" if who == "shipped" else "s")  # fmt: skip
    axes.scatter([], [], marker="s", c="white", edgecolors=figures.palette.INK, label="yours")
    axes.scatter(
        [], [], marker="o", c=figures.palette.INK, edgecolors=figures.palette.INK, label="shipped"
    )
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0.1)
    axes.axvline(0, color=figures.palette.MUTED, linestyle=":", linewidth=1.3)
    axes.set(xlabel="gain in PSNR (dB)", ylim=(len(rows) - 0.4, -0.6))
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
figure

# %% [markdown]
# The photos are few and the intervals wide: one that crosses the dotted line leaves open whether restoring helps there.
# In which rows is yours far behind? Those take long to learn. The row *clean* of the table has nothing to gain: it says
# what a restorer does to a photo that needs none.
#
# ## 8 · Does it listen?
#
# A restorer that is told what is wrong might still ignore it, and look for itself. So tell the shipped one something
# else: give it, in the place of $e_d$, the embedding of a *word*, right or wrong.
#
# **Predict**: what happens to a dark photo that is announced as a hazy one? To a clean one that is announced as dark?

# %%
steering = analysis.steering_table(
    pipe, photos, lab.Protocol(crops=max(1, settings.examples(scale) // 40), seed=2)
)
figures.steering.steering_heatmap(steering)

# %%
words = steering[list(steering.index)]
best = words.idxmax(axis=1)
right_word = pd.Series({name: words.loc[name, name] for name in words.index})
others = (words.sum(axis=1) - right_word) / (len(words) - 1)
pd.DataFrame(
    {
        "the right word (dB)": right_word,
        "the other words, mean (dB)": others,
        "its own embedding (dB)": steering.own,
        "nothing (dB)": steering.none,
        "the word that helps most": best,
    }
).round(1)

# %% [markdown]
# For your predictions, see row *low-light*, column *hazy*, and row *clean*, column *low-light*. Then compare the frames
# with the rest of their rows. Where the frame is the best of its row, the restorer does what it is told. Where a whole
# row has one colour, it looks for itself, or cannot help. And the row *clean* shows the price: told to brighten, it
# brightens.
#
# ## 9 · Your turn
#
# **Exercise 07.1: predict.** Attention gets a context of *four identical* tokens. How large is the weight of one of
# them, for any pixel?

# %%
answer = ...  # a number

check("07.1", answer)

# %% [markdown]
# <details><summary>Solution 07.1</summary>
#
# ```python
# answer = 1 / 4
#
# check("07.1", answer)
# ```
#
# Equal keys get equal scores, and a softmax of equal scores is even. The four values are equal too, so their mix is the
# same vector at every pixel: four equal tokens are as good as one, and one is as good as a bias.
#
# </details>

# %% [markdown]
# **Exercise 07.2: attend.** Write the equation of part 3 for one head: queries (b, n, d), keys (b, m, d) and values
# (b, m, e) give (b, n, e).


# %%
def attend(queries, keys, values):
    """The mix of values that each query gets."""
    return ...  # your code


check("07.2", attend)

# %% [markdown]
# <details><summary>Solution 07.2</summary>
#
# ```python
# def attend(queries, keys, values):
#     """The mix of values that each query gets."""
#     scores = queries @ keys.mT / keys.shape[-1] ** 0.5
#     return scores.softmax(-1) @ values
#
#
# check("07.2", attend)
# ```
#
# The softmax runs over the tokens (the last axis of the scores): each pixel divides its attention among them. The root
# keeps scores of long vectors moderate, so that the softmax does not start out as a hard choice without a gradient.
#
# </details>

# %% [markdown]
# **Exercise 07.3: average.** Write one step of the running average: `decay` of the old average stays.


# %%
def averaged(average, weights, decay):
    """The running average after the network has reached `weights`."""
    return ...  # your code


check("07.3", averaged)

# %% [markdown]
# <details><summary>Solution 07.3</summary>
#
# ```python
# def averaged(average, weights, decay):
#     """The running average after the network has reached `weights`."""
#     return decay * average + (1 - decay) * weights
#
#
# check("07.3", averaged)
# ```
#
# With a decay of 0.999 what a step of the past counts is halved about every 700 steps. PyTorch says the same in one
# call: `average.lerp(weights, 1 - decay)`.
#
# </details>

# %% [markdown]
# **Exercise 07.4: the loss.** Write the first part of the loss of part 5, for predictions and clean images (b, 3, h, w):
# the squared error of each image, plus 1e-4, its logarithm, and the mean of that over the batch.


# %%
def loss(prediction, clean):
    """The mean over the batch of each image's log squared error."""
    return ...  # your code


check("07.4", loss)

# %% [markdown]
# <details><summary>Solution 07.4</summary>
#
# ```python
# def loss(prediction, clean):
#     """The mean over the batch of each image's log squared error."""
#     errors = (prediction - clean).square().mean((1, 2, 3))
#     return (errors + 1e-4).log().mean()
#
#
# check("07.4", loss)
# ```
#
# The order matters. The logarithm of the *mean* error would again be ruled by the worst image of the batch.
#
# </details>

# %% [markdown]
# ## The numbers obtained

# %%
overall = {name: table.loc["overall"] for name, table in results.items()}
pd.Series(
    {
        "steps of your training": recipe.steps,
        "gain on the exam, network and average halfway (dB)": (
            f"{raw[moment]:.1f} and {smooth[moment]:.1f}"
        ),
        "gain on the exam, network and average at the end (dB)": (
            f"{raw[recipe.steps]:.1f} and {smooth[recipe.steps]:.1f}"
        ),
        "gain over ten degradations, yours (dB)": f"{overall['yours'].psnr_gain:.1f}",
        "gain over ten degradations, shipped (dB)": f"{overall['shipped'].psnr_gain:.1f}",
        "degradations for which the right word is the best": (
            f"{(best == best.index).sum()} of {len(best)}"
        ),
        "protocol": judge.hash,
        "seconds for this notebook": f"{time.perf_counter() - start:.0f}",
    },
    name="obtained",
).to_frame()

# %% [markdown]
# ## What next
#
# - Train longer: `daclip-lab train restorer --help`. The shipped weights' card says what theirs took.
# - `08_compare_restorations`: samplers, steps, seeds and backbones side by side.
# - `09_ablations`: what each embedding is worth, with seeds and intervals.
#
# ## References
#
# - Z. Luo, F. K. Gustafsson, Z. Zhao, J. Sjölund, T. B. Schön. *Controlling Vision-Language Models for Multi-Task Image
#   Restoration.* ICLR 2024, [arXiv 2310.01018](https://arxiv.org/abs/2310.01018). The prompt and the cross-attention:
#   section 3.2; NAFNet with DA-CLIP: section 5.2.
# - L. Chen, X. Chu, X. Zhang, J. Sun. *Simple Baselines for Image Restoration.* ECCV 2022,
#   [arXiv 2204.04676](https://arxiv.org/abs/2204.04676). NAFNet.
# - A. Vaswani et al. *Attention Is All You Need.* NeurIPS 2017, [arXiv 1706.03762](https://arxiv.org/abs/1706.03762).
# - B. T. Polyak, A. B. Juditsky. *Acceleration of stochastic approximation by averaging.* SIAM Journal on Control and
#   Optimization 30(4), 1992. The running average.
