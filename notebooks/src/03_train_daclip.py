# %% [markdown]
# # 03 · Train DA-CLIP
#
# **A controller is a trainable copy of CLIP's image tower that corrects the frozen one through layers that start at
# zero. So before training, DA-CLIP *is* CLIP; after it, two embeddings say what is wrong and what is shown.**
#
# *You will learn*
# - what happens inside CLIP's image tower, block by block, by hand;
# - the controller in about forty lines of plain PyTorch, checked against the library's;
# - why "zero at the start" is worth a test, and which bug that test finds;
# - to read a contrastive loss: where it starts, and how low it *can* fall;
# - to train a controller while you watch, and what a longer training adds.
#
# *You need* notebook `02`, PyTorch modules, and to have met attention before. Nothing is downloaded.
#
# *Time*: about five minutes to run on two CPU cores, twenty-five minutes to read.

# %%
import time
from importlib.util import find_spec

start = time.perf_counter()
if find_spec("daclip_lab") is None:
    # As on Colab: installs the repository that this notebook lies in.
    from IPython import get_ipython

    get_ipython().run_line_magic("pip", "install --quiet ..")

# %%
import copy
import math
import platform
from dataclasses import replace

import matplotlib
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

import daclip_lab as lab
from daclip_lab.course import check, figures, settings
from daclip_lab.models.losses import info_nce, multi_positive_info_nce

scale = lab.presets.current()
pipe = lab.load("lab")
clip, size = pipe.clip, pipe.settings.clip.image_size
visual = clip.visual
print(f"scale {scale.name}")
print(f"daclip_lab {lab.__version__}, Python {platform.python_version()}")
print(f"torch {torch.__version__}, matplotlib {matplotlib.__version__}")

# %% [markdown]
# ## 1 · CLIP's image tower, by hand
#
# A vision transformer in five sentences. The image is divided into square patches, and each becomes a vector, a
# *token*. A learned *class token* is put in front, a learned position is added to each. Then come the blocks:
# in each, the tokens first look at each other (attention), then each thinks for itself (a small MLP), and both results
# are *added* to what was there. After the last block only the class token is kept. One matrix maps it to the space that
# images and texts share.
#
# open_clip's tower is an ordinary module, and everything it needs lies in its parameters (`ln_...` are layer norms,
# which keep the numbers in range; `conv1` makes the tokens, how comes below). So walk it:


# %%
def tokens_of(visual, images):
    """What enters the first block: a class token and a token for each patch, (b, 1 + patches, width)."""
    patches = visual.conv1(images).flatten(2).mT
    first = visual.class_embedding.expand(len(images), 1, -1)
    return visual.ln_pre(torch.cat([first, patches], dim=1) + visual.positional_embedding)


def block_by_hand(block, tokens):
    """What one block makes of its tokens."""
    attention = block.attn
    x = F.linear(block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = x.unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    shares = (query @ key.mT / key.shape[-1] ** 0.5).softmax(-1)
    seen = (shares @ value).transpose(1, 2).flatten(2)
    tokens = tokens + attention.out_proj(seen)
    return tokens + block.mlp(block.ln_2(tokens))


def embedding_of(visual, tokens):
    """What leaves the tower: the class token, normalised, projected and brought to length 1, (b, d)."""
    return F.normalize(visual.ln_post(tokens[:, 0]) @ visual.proj, dim=-1)


# %% [markdown]
# Our photos: crops of the eight sample photos for testing, each in all ten ways and clean. No training here sees these photos. We keep
# the clean crop of each as well: the content embedding will be compared with what CLIP makes of it.
#
# Does our walk end where CLIP does?

# %%
photos = lab.sample_photos("test")
exam = lab.Protocol(crop=size, crops=max(1, settings.examples(scale) // 20), seed=1)
parts = [lab.degraded_crops(photos, index, exam) for index in range(len(photos))]
clean, degraded = (torch.cat([part[k] for part in parts]) for k in (0, 1))
facts = pd.DataFrame([fact for _, _, known in parts for fact in known])
photo_of = torch.arange(len(photos)).repeat_interleave(len(facts) // len(photos)).numpy()
few = degraded[:: max(1, len(degraded) // 32)]  # for the checks
print(f"{len(degraded)} images of {len(photos)} photos, {size}x{size} pixels")

with torch.inference_mode():
    tokens = tokens_of(visual, clip.normalize(few))
    shapes = {"images": tuple(few.shape), "tokens": tuple(tokens.shape)}
    for block in visual.transformer.resblocks:
        tokens = block_by_hand(block, tokens)
    walked = embedding_of(visual, tokens)
    shapes["embeddings"] = tuple(walked.shape)
    apart = (walked - clip.encode_image(few)).abs().max().item()
print(f"{len(visual.transformer.resblocks)} blocks; largest difference to CLIP: {apart:.1e}")
assert apart < 1e-5
pd.Series({k: str(v) for k, v in shapes.items()}, name="shape").to_frame()

# %% [markdown]
# ### Patches or convolutions?
#
# `conv1` is the one place where this tower differs from the paper's. There it is *one* convolution, as large as a patch: a
# linear map from the pixels of a patch to its token. Such a map is slow to learn what noise is, or the border of a JPEG
# block that may lie anywhere in the patch. The lab's CLIP has a **convolutional front end** instead: 3x3 convolutions at
# full resolution, then four times half the size and more channels. Small differences between neighbouring pixels are what a 3x3 kernel
# sees best. Since a cell of the last grid has already seen its surroundings, 16 tokens are enough, where linear patches
# of 8x8 pixels would make 64; and attention compares every token with every other. (Each convolution was trained with a
# batch norm behind it. With fixed statistics that is a scale and a shift, and the stored kernels contain both.)

# %%
with torch.inference_mode():
    features, front_end = clip.normalize(few), {}
    for layer in visual.conv1.layers:
        features = layer(features)
        front_end[features.shape[-1]] = features.shape[1:]  # of one image
rows = {f"front end, {side} pixels a side": shape for side, shape in front_end.items()}
rows["linear patches of 8x8"] = torch.Size((features.shape[1], size // 8, size // 8))
pd.DataFrame(
    {
        "channels, height, width": {name: str(tuple(shape)) for name, shape in rows.items()},
        "positions": {name: shape[1:].numel() for name, shape in rows.items()},
    }
)

# %% [markdown]
# ## 2 · The controller
#
# DA-CLIP asks for two embeddings of a degraded image:
# - the **degradation embedding** $e_d$ lies near the words for what is wrong;
# - the **content embedding** $e_c$ lies where the *clean* image, or its caption, would.
#
# CLIP itself must not be retrained: it knows a world that no restoration data set holds. So it is frozen, and a
# **controller** is put beside it. It is a copy of the image tower, and trainable. It does two things at once. What leaves it at
# the top is $e_d$. And what leaves each of its blocks, $z_k$, passes through one linear layer and is *added* to the tokens of
# the frozen tower:
#
# $$x_{k} = \text{block}_k(x_{k-1}) + A_{L+1-k}\, z_{L+1-k} + a_{L+1-k}, \qquad k = 1 \dots L$$
#
# Look at the indices. The order is **reversed**: what the controller knows after its *last* block enters after the *first*
# block of CLIP. The deeper the controller has seen, the earlier it may correct. And every $A$ and $a$ starts at **zero**.

# %%
figures.training.wiring(len(visual.transformer.resblocks))

# %% [markdown]
# That is all there is to it. Here it is in plain PyTorch, with `tokens_of` and `embedding_of` from above:


# %%
class Controller(nn.Module):
    """A trainable copy of an image tower; each block also feeds a linear layer that starts at zero."""

    def __init__(self, visual):
        super().__init__()
        self.visual = copy.deepcopy(visual).requires_grad_(True)
        width = visual.proj.shape[0]
        self.zeros = nn.ModuleList(nn.Linear(width, width) for _ in visual.transformer.resblocks)
        for zero in self.zeros:
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)

    def forward(self, images):
        """The degradation embedding, and one control for each block."""
        tokens, controls = tokens_of(self.visual, images), []
        for block, zero in zip(self.visual.transformer.resblocks, self.zeros, strict=True):
            tokens = block(tokens)
            controls.append(zero(tokens))
        return embedding_of(self.visual, tokens), controls


class DegradationAwareCLIP(nn.Module):
    """A frozen CLIP and its controller."""

    def __init__(self, clip):
        super().__init__()
        self.clip = clip.requires_grad_(False)
        self.controller = Controller(clip.visual)

    def forward(self, images):
        """Content and degradation embeddings (b, d) of images (b, 3, s, s) in [0, 1]."""
        images = self.clip.normalize(images)
        degradation, controls = self.controller(images)
        tokens = tokens_of(self.clip.visual, images)
        blocks = self.clip.visual.transformer.resblocks
        for block, control in zip(blocks, reversed(controls), strict=True):
            tokens = block(tokens) + control
        return embedding_of(self.clip.visual, tokens), degradation


with torch.random.fork_rng():
    torch.manual_seed(0)
    mine = DegradationAwareCLIP(copy.deepcopy(clip))


def millions(module):
    """The parameters of a module, in millions."""
    return sum(p.numel() for p in module.parameters()) / 1e6


pd.Series(
    {
        "CLIP's image tower (frozen)": millions(mine.clip.visual),
        "the controller's copy of it": millions(mine.controller.visual),
        "the zero layers": millions(mine.controller.zeros),
    },
    name="million parameters",
).round(2).to_frame()

# %% [markdown]
# ### Does it agree with the library?
#
# `lab.DaCLIP` names its parts alike, so ours can take over its weights. Random numbers are put into the library's zero layers
# first, so that every control has a say. With the same weights, both must say the same of the same crops. (One part of
# the library's controller is left out, `pooling`: the weights with which several views of one large photo are averaged.
# Of a single crop there is nothing to average.)

# %%
reference = lab.DaCLIP(copy.deepcopy(clip))
generator = lab.seeded(3)
with torch.no_grad():
    for p in reference.controller.zeros.parameters():
        p.copy_(0.05 * torch.randn(p.shape, generator=generator))

ours = DegradationAwareCLIP(copy.deepcopy(clip))
weights = reference.controller.state_dict()
ours.controller.load_state_dict({k: v for k, v in weights.items() if not k.startswith("pooling")})
with torch.inference_mode():
    pairs = zip(ours(few), reference.encode_image(few), strict=True)
    agreement = {
        name: (mine_says - theirs_says).abs().max().item()
        for name, (mine_says, theirs_says) in zip(("content", "degradation"), pairs, strict=True)
    }
    moved = F.cosine_similarity(ours(few)[0], clip.encode_image(few)).mean().item()
assert max(agreement.values()) < 1e-6
print(f"cosine of the content embedding to CLIP's own, with these controls: {moved:.2f}")
pd.DataFrame({"largest difference": {k: f"{v:.1e}" for k, v in agreement.items()}})

# %% [markdown]
# ## 3 · Zero at the start
#
# Every control passes through a layer of zeros. So before training the frozen tower gets nothing added, and the
# controller is still a plain copy. **Predict**: how large is the cosine between what a *fresh* DA-CLIP says and what CLIP
# says? And between its two embeddings?


# %%
@torch.inference_mode()
def compared(says):
    """How the two embeddings that a DA-CLIP says compare with CLIP's own."""
    alone = clip.encode_image(few)
    rows = {}
    for name, found in zip(("content", "degradation"), says(few), strict=True):
        cosines = F.cosine_similarity(found.double(), alone.double())
        rows[name] = {
            "cosine to CLIP, mean": f"{cosines.mean():.7f}",
            "least": f"{cosines.min():.7f}",
            "largest difference": f"{(found - alone).abs().max():.1e}",
        }
    return pd.DataFrame(rows).T


with torch.inference_mode():
    assert max((part - clip.encode_image(few)).abs().max() for part in mine(few)) < 1e-5
identity = compared(mine)
pd.concat(
    {
        "ours": identity,
        "the library's": compared(lab.DaCLIP(copy.deepcopy(clip)).encode_image),
    }
)

# %% [markdown]
# Both embeddings are CLIP's own, so they are equal to each other as well. A training that starts here starts from all
# that CLIP knows (which does not keep it from forgetting some of it: watch the exam in part 5). And the identity is a
# **test** that costs nothing: a wrong order of layers would pass it, but a wrong copy would not.
#
# ### A bug that this test finds
#
# The authors' code fills its controller from two lists: CLIP's parameters and the controller's, taken **by position**. In
# their controller the zero layers sit inside the transformer, before the last layer norm. So from there on the lists are
# shifted against each other. Pair them as they do, and look at the end:


# %%
def in_the_authors_order(controller):
    """The parameters of a controller, listed as in the authors' class: zero layers before the last layer norm."""
    tower = dict(controller.visual.named_parameters())
    last = {name: tower.pop(name) for name in ("ln_post.weight", "ln_post.bias")}
    zeros = {f"zeros.{name}": p for name, p in controller.zeros.named_parameters()}
    return {**tower, **zeros, **last}


shifted = copy.deepcopy(mine)
with torch.no_grad():
    nn.init.ones_(shifted.controller.visual.ln_post.weight)  # as every layer norm begins
    nn.init.zeros_(shifted.controller.visual.ln_post.bias)
    source_names, target_names = [], []
    for (name, p), (other, q) in zip(
        visual.named_parameters(), in_the_authors_order(shifted.controller).items(), strict=False
    ):
        q.copy_(p)  # a vector fills every row of a matrix, without a word
        source_names.append(name)
        target_names.append(other)
copied = pd.DataFrame({"from CLIP's": source_names, "into the controller's": target_names})
copied[copied.iloc[:, 0] != copied.iloc[:, 1]]

# %%
pd.concat({"paired by name": identity, "paired by position": compared(shifted)})

# %% [markdown]
# Two tensors went astray: the first zero layer is no longer zero, and the controller's own last layer norm never got CLIP's
# values. Nothing crashes, and a training starts from there all the same. The difference is small here, by luck: the
# stray layer adds nearly the same number to every feature, which the last layer norm takes out again, and in the lab's
# CLIP that layer norm has hardly moved from ones and zeros. But "equals CLIP before training" is not true of the
# authors' code, and without a test nobody sees it. (*Loading* their released weights is not affected.)
#
# Copying a *module* (`copy.deepcopy`) pairs by name. That is why the library does so.
#
# ### Zero, but not dead
#
# If all controls are zero, does anything learn? **Predict**: which parts get a gradient at the first step from the loss of
# $e_d$, and which from the loss of $e_c$?

# %%
seen = lab.Batches(lab.Synthetic(photos=lab.sample_photos("train")), size=size, batch=16, seed=0)[0]
with torch.no_grad():
    words = clip.encode_text(seen.labels)
    texts = clip.encode_text(seen.captions)
content, degradation = mine(seen.degraded)
losses = {
    "degradation loss": info_nce(degradation, words, clip.scale.item()),
    "content loss": info_nce(content, texts, clip.scale.item()),
}
learners = {
    "zero layers": mine.controller.zeros,
    "blocks of the controller": mine.controller.visual.transformer,
}
rows = {}
for loss_name, value in losses.items():
    rows[loss_name] = {}
    for part, module in learners.items():
        found = torch.autograd.grad(
            value, list(module.parameters()), retain_graph=True, allow_unused=True
        )
        squares = sum(g.square().sum().item() for g in found if g is not None)
        rows[loss_name][part] = f"{math.sqrt(squares):.3g}"
pd.DataFrame(rows).T.rename_axis("norm of the gradient from the")

# %% [markdown]
# A layer $Az + a$ with $A = 0$ passes no gradient *back* to $z$, but $A$ itself gets one, since its input is not zero. So the
# zero layers move at the first step, and from the second step on the content loss reaches the blocks behind them. The
# degradation loss never touches the zero layers: it only looks at the top of the controller.
#
# ## 4 · Two losses, and how to read them
#
# Both embeddings are trained as CLIP was. In a batch of $n$ images every image shall find its own text among all texts, and
# every text its image. With the cosines $s_{ij}$ of image $i$ and text $j$, and the inverse temperature $1/\tau$:
#
# $$\mathcal L_{\text{InfoNCE}} = -\frac1{2n}\sum_i \log\frac{e^{s_{ii}/\tau}}{\sum_j e^{s_{ij}/\tau}}
#   \;-\;\frac1{2n}\sum_i \log\frac{e^{s_{ii}/\tau}}{\sum_j e^{s_{ji}/\tau}}$$
#
# The paper sums one such loss for $(e_c, \text{caption of the clean image})$ and one for $(e_d, \text{word})$, equation 3.
#
# But there are ten words and many images. Several images of a batch share one word, and their texts are *equal*. Which
# of them is "its own"? Nobody can say. The best that can be done is to give all of them the same probability. So this
# loss has a **floor**: the mean over the images of $\log$ (how many of the batch carry the same word). Its **chance** level,
# where embeddings say nothing, is $\log n$.
#
# The **multi-positive** form counts every text of the same meaning as right: minus the log of the probability that *all*
# of them get together. Its floor is 0.
#
# **Predict**: the batches of the training below hold 48 images, degraded in ten ways or clean. How far apart are chance
# and floor of the plain (one-hot) form?

# %%
recipe, second = (replace(stage, image_size=size) for stage in settings.controller_training(scale))
source = lab.Synthetic(
    photos=lab.sample_photos("train"), scene_prob=scale.scene_prob, severity=scale.severity
)
first = lab.Batches(source, size=recipe.image_size, batch=recipe.batch_size, seed=recipe.seed)[0]
classes = torch.tensor([lab.LABELS.index(label) for label in first.labels])
ideal = F.one_hot(classes, len(lab.LABELS)).float()  # every image exactly at its word

names = {"InfoNCE, one-hot": False, "multi-positive": True}
levels = {
    name: (lab.chance(classes, multi_positive=many), lab.floor(classes, multi_positive=many))
    for name, many in names.items()
}
certainty = torch.linspace(0, 12, 60)
table = pd.DataFrame(
    {
        "InfoNCE, one-hot": [info_nce(ideal, ideal, s).item() for s in certainty],
        "multi-positive": [
            multi_positive_info_nce(ideal, ideal, s, classes).item() for s in certainty
        ],
    },
    index=certainty.numpy(),
)
figures.training.losses_over_certainty(
    table, levels, xlabel="how much higher the right word scores"
)

# %% [markdown]
# The left curve ends at perfect embeddings, and yet high up. Read without the floor, it looks like a training that is
# stuck. (On both sides the two lines are equally far apart: about the log of the number of words, whatever the batch.)
# Users of the authors' code ask about exactly this: a degradation loss that stays near 5.7
# ([issue 34](https://github.com/Algolzw/daclip-uir/issues/34)), or at 6.67
# ([issue 66](https://github.com/Algolzw/daclip-uir/issues/66)). What are chance and floor there? A GPU sees 784 images
# at once, and the ten data sets of the paper are of very unequal size:

# %%
pairs_in_training = {
    "motion-blurry": 2103, "hazy": 6000, "jpeg-compressed": 3550, "low-light": 485, "noisy": 3550,
    "raindrop": 861, "rainy": 1800, "shadowed": 2680, "snowy": 1872, "uncompleted": 29900,
}  # fmt: skip
share = pd.Series(pairs_in_training) / sum(pairs_in_training.values())
rows = {}
for n in (48, 784):
    even = torch.arange(len(share)).repeat(n // len(share) + 1)[:n]
    drawn = torch.tensor(share.tolist()).multinomial(n, True, generator=lab.seeded(n))
    for kind, numbers in (("ten words, equally often", even), ("as in the paper's data", drawn)):
        rows[f"{n} images, {kind}"] = {
            "chance": lab.chance(numbers, multi_positive=False),
            "floor": lab.floor(numbers, multi_positive=False),
        }
pd.DataFrame(rows).T.round(2)

# %% [markdown]
# So a large part of such a loss can never go away, and a batch in which *every* image carries the same word is at chance
# and at its floor at once. Where do 5.7 and 6.67 lie between the lines of 784 images? Whoever plots both lines sees at
# a glance what there is to gain. The library does so, and trains with the multi-positive form at the lab scale.
#
# ## 5 · Train it
#
# Now with the library: `lab.train_daclip` is a generator that yields every step, and a board shows them. The images are crops of
# six other photos and drawn scenes, degraded at random. In two stages:
# 1. the **degradation embedding** alone: the frozen tower is not needed, which saves much of the time of a step;
# 2. then, for fewer and smaller steps, lest the first stage be shaken up again, the **content embedding** as well. Besides its contrastive loss it is pulled straight to
#    CLIP's embedding of the *clean* image (the authors' later work added such an alignment).
#
# After every few steps the controller sits an exam on the crops of the test photos: is the degradation named right, of ten?
# And how alike are the content embedding of the degraded crop and CLIP's embedding of the clean one?
#
# **Predict**: where does each curve start? Which of the three moves in the first stage, and which only in the second?
#
# (The board's Stop ends the training at any time: the rest goes on with what has been learned by then.)

# %%
is_degraded = torch.tensor([name != "clean" for name in facts.degradation])
truth = torch.tensor([lab.LABELS.index(name) for name in facts.degradation])
vocabulary = pipe.word_embeddings[: len(lab.DEGRADATIONS)]
with torch.inference_mode():
    at_clean = clip.encode_image(clean)


@torch.inference_mode()
def judged(daclip):
    """For each crop of the exam: is it named right, of ten, and its content embedding's cosine to clean."""
    content, degradation = (torch.cat(part) for part in zip(
        *(daclip.encode_image(some) for some in degraded.split(64)), strict=True
    ))  # fmt: skip
    right = (degradation @ vocabulary.T).argmax(1) == truth
    return right.double(), F.cosine_similarity(content, at_clean).double()


def marks(daclip):
    """The exam in two numbers, over the degraded crops."""
    right, cosine = judged(daclip)
    return {
        "accuracy": right[is_degraded].mean().item(),
        "cosine": cosine[is_degraded].mean().item(),
    }


daclip = lab.DaCLIP(copy.deepcopy(clip))
total = recipe.steps + second.steps
before = judged(daclip)
many = recipe.multi_positive
board = lab.TrainingBoard(
    total,
    levels={
        "degradation_loss": {
            "chance": lab.chance(classes, multi_positive=many),
            "floor": lab.floor(classes, multi_positive=many),
        },
        "accuracy": {"chance": 1 / len(lab.DEGRADATIONS)},
        "cosine": {"CLIP": marks(daclip)["cosine"]},
    },
    curves={
        "accuracy": "Accuracy",
        "degradation_loss": "Degradation loss (nats)",
        "cosine": "Content, cosine to clean",
    },
    measure=lambda: marks(daclip),
    measure_every=max(1, total // 14),
    title="A controller in two stages; accuracy and cosine on photos that are not trained on",
)
board

# %%
began = time.perf_counter()
board.run([lab.train_daclip(daclip, source, stage) for stage in (recipe, second)])
board.wait()  # Stop ends the training; the cells below go on with what has been learned
exams, losses = board.measurements, board.log.degradation_loss
minutes = (time.perf_counter() - began) / 60
after = judged(daclip)

# %%
exams.rename(columns={"accuracy": "named right", "cosine": "content, cosine to clean"}).round(3)

# %%
print(f"{len(losses)} steps of {recipe.batch_size} images, {minutes:.1f} minutes")
start_loss, end_loss = losses.iloc[:5].mean(), losses.iloc[-5:].mean()
print(
    f"degradation loss: {start_loss:.2f} at first, {end_loss:.2f} at last; "
    f"chance {lab.chance(classes, multi_positive=many):.2f}, floor {lab.floor(classes, multi_positive=many):.2f}"
)

# %% [markdown]
# Read the three panels together. Left and right start where CLIP stands. A loss *above* chance at first means that CLIP
# is not ignorant but confidently wrong. Look whether the share named right falls before it rises: forgetting is quicker
# than learning. In the first stage the right panel does not move at all, and cannot: the zero layers have not got a
# gradient yet, so the content embedding still is CLIP's, to the last bit. It is the second stage that bends it.
#
# ## 6 · Yours beside the shipped one
#
# The controller that comes with the package started from the same CLIP and had more of everything: photos, images a step,
# steps, and beside the crops several views of whole photos, which have losses of their own.

# %%
shipped = judged(pipe.daclip)
answers = {"CLIP": before, "yours": after, "shipped": shipped}


def per_degradation(which):
    """Mean of one of the exam's two marks for each degradation, a column for each stage."""
    marks_of = pd.DataFrame({stage: pair[which].numpy() for stage, pair in answers.items()})
    groups = marks_of.groupby(facts.degradation).mean().loc[list(lab.DEGRADATIONS)]
    return pd.concat([groups, groups.mean().to_frame("overall").T])


n = int((facts.degradation == lab.DEGRADATIONS[0]).sum())
figures.training.stages(
    per_degradation(0),
    per_degradation(1),
    caption=f"Means over {n} crops of each degradation, of {len(photos)} photos. Left: of ten, dotted is chance. Right: 1 would "
    "be the embedding of the clean crop itself.",
)


# %%
def line(values):
    """Mean over the degraded crops with its 95 % interval over photos, as text."""
    kept = is_degraded.numpy()
    mean, low, high = lab.bootstrap_interval(values.numpy()[kept], photo_of[kept])
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


pd.DataFrame(
    {
        stage: {"named right": line(right), "content, cosine to the clean crop": line(cosine)}
        for stage, (right, cosine) in answers.items()
    }
)

# %% [markdown]
# Where your diamond lies near the square, it has not learned that degradation yet; left of it, it has unlearned what
# CLIP knew; near the disk, minutes were enough. On the right, look for rows in which the square leads: such damage
# hardly moves CLIP, so there is little to gain and something to lose. The intervals are over eight photos, and wide.
#
# ## 7 · Your turn
#
# **Exercise 03.1: predict.** The paper's CLIP has 12 blocks of width 768. How many parameters do the zero layers add?

# %%
answer = ...  # a whole number

check("03.1", answer)

# %% [markdown]
# <details><summary>Solution 03.1</summary>
#
# ```python
# answer = 12 * (768 * 768 + 768)
#
# check("03.1", answer)
# ```
#
# A matrix and a bias for each block. Beside the copy of the tower that is little.
#
# </details>

# %% [markdown]
# **Exercise 03.2: wire it.** Write the walk through the frozen tower: `blocks` are functions of tokens, `controls` one tensor for
# each block of the controller, in the order in which the controller computed them.


# %%
def controlled(blocks, tokens, controls):
    """The tokens after the last block, with every control in its place."""
    return ...  # your code


check("03.2", controlled)

# %% [markdown]
# <details><summary>Solution 03.2</summary>
#
# ```python
# def controlled(blocks, tokens, controls):
#     for block, control in zip(blocks, reversed(controls), strict=True):
#         tokens = block(tokens) + control
#     return tokens
#
#
# check("03.2", controlled)
# ```
#
# After the block, and in reversed order. No test at step 0 would find the order wrong: zeros look the same in any order.
#
# </details>

# %% [markdown]
# **Exercise 03.3: the loss.** Write InfoNCE for embeddings of length 1: row $i$ of `images` belongs to row $i$ of `texts`. Both ways.


# %%
def contrast(images, texts, scale):
    """The symmetric contrastive loss of (n, d) and (n, d), a number; `scale` multiplies cosines."""
    return ...  # your code


check("03.3", contrast)

# %% [markdown]
# <details><summary>Solution 03.3</summary>
#
# ```python
# def contrast(images, texts, scale):
#     logits = scale * images @ texts.T
#     right = torch.arange(len(logits))
#     return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
#
#
# check("03.3", contrast)
# ```
#
# Once the rows compete (an image among the texts), once the columns (a text among the images).
#
# </details>

# %% [markdown]
# **Exercise 03.4: the floor.** A batch holds these words; images with the same word cannot be told apart. How low can InfoNCE
# fall?


# %%
def lowest(words):
    """The floor of the one-hot loss for a list of words, one for each image of the batch; in nats."""
    return ...  # your code


check("03.4", lowest)

# %% [markdown]
# <details><summary>Solution 03.4</summary>
#
# ```python
# def lowest(words):
#     return sum(math.log(words.count(word)) for word in words) / len(words)
#
#
# check("03.4", lowest)
# ```
#
# An image whose word occurs $m$ times gives its own text at best the probability $1/m$: minus its log is $\log m$. With
# words that are all different the floor is 0; with one word for all it is $\log n$, which is chance.
#
# </details>

# %% [markdown]
# ## The numbers obtained

# %%
pd.Series(
    {
        "largest difference to the library, same weights": f"{max(agreement.values()):.1e}",
        "steps of your training, and minutes": f"{len(losses)}, {minutes:.1f}",
        "named right: CLIP, yours, shipped": ", ".join(
            f"{right[is_degraded].mean():.0%}" for right, _ in answers.values()
        ),
        "content, cosine to clean: CLIP, yours, shipped": ", ".join(
            f"{cosine[is_degraded].mean():.2f}" for _, cosine in answers.values()
        ),
        "crops in the exam, of photos": f"{int(is_degraded.sum())}, of {len(photos)}",
        "seconds for this notebook": f"{time.perf_counter() - start:.0f}",
    },
    name="obtained",
).to_frame()

# %% [markdown]
# ## What next
#
# - Train longer: `daclip-lab train daclip --help`. It saves as it goes, and continues where it was stopped. The shipped
#   weights' card says what theirs took.
# - `04_degradation_space` maps what the controller learned; `05_zero_shot_classification` asks it in other words.
# - `07_train_restorer` hands both embeddings to a network that repairs.
#
# ## References
#
# - Z. Luo, F. K. Gustafsson, Z. Zhao, J. Sjölund, T. B. Schön. *Controlling Vision-Language Models for Multi-Task Image
#   Restoration.* ICLR 2024, [arXiv 2310.01018](https://arxiv.org/abs/2310.01018). The controller and its losses: section 3.1.
# - Z. Luo et al. *Photo-Realistic Image Restoration in the Wild with Controlled Vision-Language Models.* CVPR Workshops 2024,
#   [arXiv 2404.09732](https://arxiv.org/abs/2404.09732). The alignment of the content embedding.
# - L. Zhang, A. Rao, M. Agrawala. *Adding Conditional Control to Text-to-Image Diffusion Models.* ICCV 2023,
#   [arXiv 2302.05543](https://arxiv.org/abs/2302.05543). Zero layers between a frozen network and its trainable copy.
# - P. Khosla et al. *Supervised Contrastive Learning.* NeurIPS 2020, [arXiv 2004.11362](https://arxiv.org/abs/2004.11362).
#   Several right answers in one batch.
# - A. Dosovitskiy et al. *An Image is Worth 16x16 Words.* ICLR 2021, [arXiv 2010.11929](https://arxiv.org/abs/2010.11929).
#   The vision transformer.
# - T. Xiao et al. *Early Convolutions Help Transformers See Better.* NeurIPS 2021,
#   [arXiv 2106.14881](https://arxiv.org/abs/2106.14881). Convolutions in the place of linear patches.
