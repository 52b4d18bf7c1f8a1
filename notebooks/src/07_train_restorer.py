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
# *Time*: three to five minutes to run on two CPU cores, twenty minutes to read.

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
from torch import nn
from torch.nn import functional as F

import daclip_lab as lab
from daclip_lab.ablation.conditioning import build_eval_set, paired_differences
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
# Now train one from scratch, small and for two degradations only: **haze and darkness**. They need opposite corrections:
# haze lies on an image as too much light and too little contrast, darkness is too little light. A part of a photo does
# not always tell which of the two it shows, or how much of it: a pale patch may be thick haze or a white wall, a dark
# one underexposed or a black coat. DA-CLIP has seen the whole photo.
#
# So train two networks, equal in everything but one: one is **conditioned** on DA-CLIP's two embeddings of the degraded
# photo, the other goes **without**. What a step does:
#
# 1. cut patches from photos and procedural scenes that were degraded whole (other photos than the exam's); DA-CLIP
#    (frozen) embeds the whole degraded photo;
# 2. draw a time $t$, here always $T$, where every restoration starts; make a state $x_t$;
# 3. predict the clean patch. With $E$ for the squared error of the prediction (to which 1e-4 is added: beyond 40 dB there
#    is nothing to gain), the loss of a patch is $\ln E$.
#
# Why a logarithm? The squared error of a dark photo is dozens of times that of one with JPEG blocks, or with thin haze.
# With the plain squared error the network would learn about little else than the dark ones. A logarithm counts decibels
# to be gained, and each damaged image has some. Its vice: it trades them one for one, and accepts one image ruined by ten
# decibels to gain one in each of eleven others. (The recipe's `harm_penalty` counts decibels below the input more than
# once. It is 0 here and in the training of the shipped weights: a strong one taught small networks to return their
# input wherever they are unsure.)
#
# Beside each network we keep a **running average** of its weights, in two lines. (The library keeps one too; when the
# training ends, it hands over the average. We check that both agree.)
#
# **Predict**: which of the two networks is ahead at the end, and for which degradation by more? Which is better halfway
# through the training, a network or its average? And at the end, when the learning rate has gone down to zero?

# %%
two = ("hazy", "low-light")
network, recipe = settings.patch_training(scale)
source = settings.patch_source(scale, two)

# The exam: squares of the test photos, hazy and dark, restored patch by patch.
exam = lab.Protocol(
    crop=160, crops=max(1, settings.examples(scale) // 10), seed=8, degradations=two
)
asked = build_eval_set(photos, exam)
embeddings = pipe.encode(list(asked.degraded))
ways = {"without": (None, None), "conditioned": (pipe.daclip, embeddings)}
print(f"{recipe.steps} steps of {recipe.batch_size} patches of {recipe.image_size} pixels, twice")
print(f"{len(asked.degraded)} images in the exam, of photos that are not trained on")


# %%
def restored(network, embeddings):
    """The exam's images after one step of restoration."""
    return analysis.restore_patches(network, sde, asked.degraded, embeddings, recipe.image_size)


moments = {round(recipe.steps * share) for share in (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1)} - {0}
nets, averages = {}, {}
for way in ways:
    nets[way], averages[way] = (lab.build_restorer(network, d, seed=0) for _ in range(2))


def averaged(way):
    """The steps of a way's training; keeps the running average of its weights in `averages`."""
    net, average, factor = nets[way], averages[way], None
    training = lab.train_restorer(net, ways[way][0], sde, source, recipe)
    for _ in range(recipe.steps):
        step = training.send(factor)  # takes a step; a factor changes the learning rate
        # The running average, in two lines. Early on it is kept short, or it would remember the random start.
        decay = min(recipe.ema_decay, (1 + step.index) / (10 + step.index))
        with torch.no_grad():
            for mean, weight in zip(average.parameters(), net.parameters(), strict=True):
                mean.lerp_(weight, 1 - decay)
        factor = yield step  # what the board's slider says
    next(training, None)  # at its end the network holds the library's average


def exam_gains():
    """What the network of the way that is trained gains in the exam, and what its average gains (dB)."""
    way = board.way
    return {
        name: asked.gain(restored(net, ways[way][1])).mean()
        for name, net in (("network", nets[way]), ("average", averages[way]))
    }


board = lab.TrainingBoard(
    recipe.steps,
    curves={
        "loss": "Loss (log of the squared error)",
        "average": "Average of the weights: gain (dB)",
        "network": "Latest weights: gain (dB)",
    },
    levels={"average": {"the input": 0.0}, "network": {"the input": 0.0}},
    measure=exam_gains,
    measure_every=moments,
    title="Two restorers, equal but for the conditioning; gains on photos that are not trained on",
)
board

# %%
board.run({way: averaged(way) for way in ways})
board.wait()
measured = board.measurements.unstack("way")
latest, gains = measured["network"][list(ways)], measured["average"][list(ways)]

# %% [markdown]
# The generators have ended, so both networks now hold the library's average. Is it the one that we kept?

# %%
off = max(
    (mine - theirs).abs().max().item()
    for way in ways
    for mine, theirs in zip(averages[way].parameters(), nets[way].parameters(), strict=True)
)
assert off < 1e-4
moment = min(gains.index, key=lambda step: abs(step - recipe.steps / 2))
print(f"largest difference between our averages and the library's: {off:.1e}")
pd.concat({"the network (dB)": latest, "its average (dB)": gains}, axis=1).rename_axis("step").loc[
    [0, moment, recipe.steps]
].round(2)

# %% [markdown]
# While the learning rate is high, a network jumps about its way and the average lies in the middle of it. Look which
# curve is the steadier one: at a single step either may be ahead. When the rate has come down, the network stands still
# and its average stands beside it: a rate that falls does slowly what the average does at once. (The authors' code
# computes an average, saves it, and then tests without it.)
#
# ## 6 · What conditioning is worth
#
# Both networks restore the same images, so compare them image by image. For the third column (*swapped*) the conditioned
# network gets the other's embeddings: a hazy image those of its dark twin, a dark image those of its hazy twin.
#
# **Predict**: what does a network that was trained to brighten dark photos do to a hazy one with a dark one's embeddings?

# %%
twin = torch.arange(len(asked.degraded)) ^ 1  # hazy and dark versions of a crop take turns
outputs = {way: restored(nets[way], shown) for way, (_, shown) in ways.items()}
outputs["swapped"] = restored(nets["conditioned"], [part[twin] for part in embeddings])
scores = pd.DataFrame({way: asked.gain(images) for way, images in outputs.items()})

compared = paired_differences(scores, "without", asked.metadata).set_index(
    ["conditioning", "degradation"]
)
by_kind = scores.groupby(asked.metadata.degradation).mean()
by_kind.loc["overall"] = scores.mean()
table = by_kind.round(1).add_prefix("gain, ").add_suffix(" (dB)")
table["conditioned less without (dB)"] = compared.loc["conditioned"].apply(
    lambda line: f"{line.difference:+.1f} [{line.low:+.1f}, {line.high:+.1f}]", axis=1
)
table

# %%
rows, notes = {}, {}
for kind, part in (scores.conditioned - scores.without).groupby(asked.metadata.degradation):
    index = part.sort_values().index[len(part) // 2]
    images = (asked.degraded, *outputs.values(), asked.clean)
    made = torch.stack([each[index] for each in images])
    rows[kind], near = list(made), lab.psnr(made, made[-1:].expand_as(made)).tolist()
    notes[kind] = [*(f"{value:.1f} dB" for value in near[:-1]), ""]
figures.images.grid(
    rows,
    ["degraded", *outputs, "clean"],
    notes,
    caption="Each patch of 32 pixels is restored by itself. Of each degradation the image with the median of what "
    "conditioning gains. Below: PSNR to the clean image.",
)

# %% [markdown]
# If the interval of the difference lies above 0, the embeddings help on photos that neither network has seen. In the
# pictures, look at the borders between patches: without the embeddings, each patch decides alone how bright the photo
# was. Swapped embeddings say whether the network depends on them: how far does it darken the dark and brighten the hazy?
#
# ## 7 · Yours beside the shipped one
#
# A `Pipeline` takes any parts. Here is yours, with the shipped DA-CLIP and the restorer that you just trained, under the
# same evaluation as the shipped one: crops of 64 pixels, each restored and embedded as a whole.

# %%
mine = lab.Pipeline(
    replace(pipe.settings, network=network), daclip=pipe.daclip, restorer=nets["conditioned"]
)
judge = lab.Protocol(
    crops=max(1, settings.examples(scale) // 20), mixtures=0, steps=1, degradations=two
)
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

# %% [markdown]
# The photos are few and the intervals wide. The shipped one knows ten degradations and was trained for hours. The row
# *clean* has nothing to gain: it says what a restorer does to a photo that needs none, and yours has never seen one.
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
# **Exercise 07.4: the loss.** Write the loss of part 5, for predictions and clean images (b, 3, h, w):
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
        "gain on the exam, without and conditioned (dB)": (
            f"{by_kind.loc['overall', 'without']:.1f} and {by_kind.loc['overall', 'conditioned']:.1f}"
        ),
        "conditioned less without (dB)": table.loc["overall", "conditioned less without (dB)"],
        "the same, embeddings swapped (dB)": f"{compared.difference['swapped', 'overall']:+.1f}",
        "gain on crops, yours (dB)": f"{overall['yours'].psnr_gain:.1f}",
        "gain on crops, shipped (dB)": f"{overall['shipped'].psnr_gain:.1f}",
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
