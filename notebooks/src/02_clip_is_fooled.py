# %% [markdown]
# # 02 · CLIP is fooled
#
# **To CLIP, damage is part of the picture: the worse a photo is degraded, the further its embedding drifts from that of
# the clean photo, until CLIP may take it for another one. That is the problem that DA-CLIP is built for.**
#
# *You will learn*
# - how CLIP names things without being trained to: by hand, in three lines;
# - how well it names ten degradations, from barely visible to strong, and how to put honest intervals on eight photos;
# - how far its embedding drifts, what distance to compare that with, and what the drift costs: captions and
#   originals that are no longer found;
# - who the neighbours of a degraded photo are;
# - in a first look, what a controller changes about all this.
#
# *You need* a little Python and the tour (`00_tour`); cosines and softmax. Nothing is downloaded or trained here.
#
# *Time*: under a minute to run on two CPU cores, twenty minutes to read.

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

import matplotlib
import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

import daclip_lab as lab
from daclip_lab.course import check, figures, settings
from daclip_lab.data.prompts import training_texts
from daclip_lab.degradations.apply import degrade

scale = lab.presets.current()
pipe = lab.load("lab")
clip = pipe.clip
print(f"scale {scale.name}")
print(f"daclip_lab {lab.__version__}, Python {platform.python_version()}")
print(f"torch {torch.__version__}, matplotlib {matplotlib.__version__}")

# %% [markdown]
# ## 1 · Asking CLIP, by hand
#
# CLIP has two towers, one for images and one for texts. Both end in vectors of length 1, points on the same sphere. It
# was trained so that an image and its caption land close together. So one can *ask*: embed the image, embed a few
# words, see which word is nearest. Nobody trained it to classify; hence "zero-shot".
#
# The CLIP here is the small one that comes with the package. It saw photos and drawn scenes with captions about colours,
# layout and light. A few captions also said what was wrong with the image ("..., in fog"), as captions on the web do now
# and then. It has no notion that damage is something *other* than content.
#
# **Predict**: below, one crop is degraded in five ways. How many will CLIP name?

# %%
photos = lab.sample_photos("test")
size = clip.config.image_size  # what CLIP sees: a square of so many pixels


def crop(photo, number):
    """A random square of one photo, as CLIP sees it."""
    return lab.Photos([photos.paths[photo]]).crop(lab.seeded(2, photo, number), size)


shown = crop(photos.names.index("osprey"), 4)
asked = ["hazy", "noisy", "rainy", "raindrop", "jpeg-compressed"]
ruined = [degrade(shown, name, 0.7, lab.seeded(1)) for name in asked]

with torch.inference_mode():
    images = clip.encode_image(torch.stack(ruined))  # five points on the sphere
    words = clip.encode_text(list(lab.DEGRADATIONS))  # ten more
    cosines = images @ words.T

answers = pd.DataFrame((clip.scale.item() * cosines).softmax(1).numpy(), columns=lab.DEGRADATIONS)
figures.classification.classification_bars(
    answers, asked, [lab.to_pil(image).resize((128, 128), 0) for image in ruined]
)

# %% [markdown]
# Count the ticks. And that was all: two matrices of unit vectors, one product. The softmax only turns cosines into
# something that looks like probabilities; `clip.scale` (the inverse temperature that CLIP learned) decides how sure it
# sounds.
#
# One word is a poor question, though: another word for the same thing may be answered otherwise. The mean over many
# phrasings ("hazy", "a foggy photo", "a picture in thick fog", ...) depends less on the choice. From here on CLIP gets
# that help. Look whether it changes an answer of the five:

# %%
with torch.inference_mode():
    phrased = F.normalize(
        torch.stack([clip.encode_text(training_texts(name)).mean(0) for name in lab.DEGRADATIONS]),
        dim=-1,
    )
pd.DataFrame(
    {
        "bare word": [lab.DEGRADATIONS[i] for i in cosines.argmax(1)],
        "mean of all phrasings": [lab.DEGRADATIONS[i] for i in (images @ phrased.T).argmax(1)],
    },
    index=pd.Index(asked, name="really"),
)

# %% [markdown]
# ## 2 · From barely visible to strong
#
# Now count. Several crops of each bundled photo are degraded in all ten ways, at five severities. A crop keeps its
# seed from one severity to the next: the same light in the haze, the same edge of the shadow, only stronger. (Streaks,
# flakes and strokes are drawn anew.) So what changes along a curve is due to the severity, and hardly to a luckier
# draw.
#
# The shipped weights have seen none of these photos. But there are only eight of them, and crops of one photo are
# alike. The intervals below are therefore found by drawing *photos*, not crops, again and again with replacement (a
# bootstrap: exercise 02.4), and they are wide. That is what eight photos can tell.

# %%
severities = (0.1, 0.3, 0.5, 0.75, 1.0)
per_photo = max(2, settings.examples(scale) // len(photos))
places = [(photo, number) for photo in range(len(photos)) for number in range(per_photo)]
clean = [crop(*place) for place in places]
captions = [lab.caption(image) for image in clean]

facts, degraded = [], []
for severity in severities:
    for index, name in enumerate(lab.DEGRADATIONS):
        for k, (photo, _) in enumerate(places):
            degraded.append(degrade(clean[k], name, severity, lab.seeded(5, k, index)))
            facts.append((k, photo, name, severity))
facts = pd.DataFrame(facts, columns=["crop", "photo", "degradation", "severity"])
own = torch.tensor(facts.crop.tolist())  # the clean crop of each degraded image
print(f"{len(clean)} crops of {len(photos)} photos, {len(degraded)} degraded images")

# %%
with torch.inference_mode():
    at_clean = pipe.encode_clip(clean)
    plain, content, degradation = [], [], []
    for some in tqdm(range(0, len(degraded), 100), desc="embedding", leave=False):
        plain.append(pipe.encode_clip(degraded[some : some + 100]))
        both = pipe.encode(degraded[some : some + 100])  # DA-CLIP: for the last part
        content.append(both.content)
        degradation.append(both.degradation)
    plain, content, degradation = map(torch.cat, (plain, content, degradation))


def over_photos(values, space="CLIP alone"):
    """Mean and 95 % interval over photos, for each degradation and severity."""
    rows = facts.assign(value=np.asarray(values, dtype=float))
    groups = rows.groupby(["degradation", "severity"])
    found = groups.apply(lambda g: lab.bootstrap_interval(g.value.to_numpy(), g.photo.to_numpy()))
    table = pd.DataFrame(found.tolist(), index=found.index, columns=["mean", "low", "high"])
    return table.reset_index().assign(space=space)


# %% [markdown]
# **Predict**: at which severity will CLIP be best? And which degradations will it *never* name, even at full strength?

# %%
truth = torch.tensor([lab.DEGRADATIONS.index(name) for name in facts.degradation])
named = (plain @ phrased.T).argmax(1) == truth

figures.severity.over_severity(
    over_photos(named),
    ylabel="named right",
    level=(1 / 10, "guessing"),
    shares=True,
    caption=f"How often CLIP names the degradation, of ten. Bands: 95 % intervals over {len(photos)} photos. A curve "
    "that stays at the bottom is a degradation that CLIP cannot name; one that starts high is CLIP's habitual answer.",
)

# %%
rows = facts.assign(
    right=named.double().numpy(), said=[lab.DEGRADATIONS[i] for i in (plain @ phrased.T).argmax(1)]
)
weak, strong = (rows[rows.severity == severity] for severity in (0.1, 1.0))
for text, part in (("all severities", rows), ("severity 0.1", weak), ("severity 1", strong)):
    mean, low, high = lab.bootstrap_interval(part.right.to_numpy(), part.photo.to_numpy())
    print(f"{text:>14}: {mean:.0%} named right, 95 % interval [{low:.0%}, {high:.0%}]")
weak.said.value_counts(normalize=True).head(3).map("{:.0%}".format).rename(
    "answers at severity 0.1"
)

# %% [markdown]
# The mean hides differences. Some damage *dominates* the picture (fog, darkness), and CLIP knows it once it is strong.
# Other damage is a matter of pixels or of a few places (blocks, drops): small on the scale at which CLIP looks, and in
# captions on the web hardly ever talked about. (Those of the lab's CLIP mention all ten, equally rarely.) And where
# CLIP knows nothing, it does not say so. It gives a favourite answer, which makes that degradation's curve look good:
# the last table shows the favourites.
#
# The full-size CLIP of the paper (ViT-B/32, trained on two billion captions) does not escape: averaged over the ten, it
# names about a third, going by the paper's first figure; noise, drops and missing pixels hardly ever.
#
# ## 3 · The drift
#
# A wrong name would not matter much if CLIP still saw *what is shown*. So compare the embedding of each degraded crop
# with that of the same crop when it was clean. A cosine of 1 means that nothing changed.
#
# But is 0.8 much or little? A number needs something to be compared with. Here it is the mean cosine between clean
# crops of *different photos*: two strangers.
#
# **Predict**: will any degradation push a crop further from itself than a stranger is?

# %%
photo_of = torch.tensor([photo for photo, _ in places])
strangers = photo_of[:, None] != photo_of
stranger = (at_clean @ at_clean.T)[strangers].mean().item()


def to_itself(embeddings):
    """The cosine of every degraded image to its own clean crop, as CLIP sees that."""
    return (embeddings * at_clean[own]).sum(1)


drift = over_photos(to_itself(plain))
figures.severity.over_severity(
    drift,
    ylabel="cosine to the clean crop",
    level=(stranger, "a crop of another photo"),
    caption="CLIP's embedding of a degraded crop, compared with that of the clean one. Where a curve meets the dotted "
    "line, the crop is no more like itself than a stranger is.",
)

# %%
ends = drift[drift.severity == 1.0].set_index("degradation").loc[list(lab.DEGRADATIONS)]
ends.assign(**{"left of the way to a stranger": (ends["mean"] - stranger) / (1 - stranger)})[
    ["mean", "low", "high", "left of the way to a stranger"]
].round(2)

# %% [markdown]
# The last column is 1 at the clean crop itself and 0 at a stranger: who is near 0, or below? Compare with part 2, too.
# Damage that CLIP names well has moved the embedding far; where it hardly moves, there is little to name it by.
#
# The embedding of an image is what everything after it relies on: search, captions, and in DA-CLIP the restorer. What
# does the drift do to them?
#
# ## 4 · What the drift costs
#
# Two searches, with the degraded crop as the question:
# - find its **own clean crop** among all clean crops, at the first try (recall at 1, R@1);
# - find its **caption** among the captions of all crops, in five tries (R@5).
#
# Both are what somebody would do with a photo collection. For the second, the yardstick is how often the *clean* crop
# finds its caption.


# %%
def found(queries, gallery, right, k):
    """For each query whether its right row of the gallery is among its k nearest."""
    nearest = (queries @ gallery.T).topk(k, dim=1).indices
    return (nearest == right[:, None]).any(1)


with torch.inference_mode():
    texts = clip.encode_text(captions)
everything = torch.arange(len(clean))
original = found(plain, at_clean, own, 1)
captioned = found(plain, texts, own, 5)

yardstick = lab.bootstrap_interval(
    found(at_clean, texts, everything, 5).double().numpy(), photo_of.numpy()
)
print(
    f"captions found from clean crops: {yardstick[0]:.0%} [{yardstick[1]:.0%}, {yardstick[2]:.0%}]"
)
print(f"by guessing: {5 / len(clean):.0%}")

# %%
figures.severity.over_severity(
    over_photos(original),
    ylabel="own clean crop found",
    level=(1 / len(clean), "guessing"),
    shares=True,
    caption=f"How often the nearest of {len(clean)} clean crops is the right one.",
)

# %%
figures.severity.over_severity(
    over_photos(captioned),
    ylabel="caption found in five",
    level=(yardstick[0], "from the clean crop"),
    shares=True,
    caption=f"How often the right one of {len(clean)} captions is among the five nearest. Dotted: the same from clean crops.",
)

# %% [markdown]
# Hold both figures beside part 3: are the degradations that drift furthest those that are found least?
#
# ## 5 · Who lives next door?
#
# If a hazy crop is no longer near its clean self, what *is* it near? Put all images of one severity into one room:
# every crop, in all ten degradations and clean. Then look at the nearest neighbour of each. It can be the *same crop* in
# another condition, another crop with the *same degradation*, another crop of the *same photo*, or none of these.
#
# **Predict**: will CLIP put the hazy photos together, or the pictures of the same thing?

# %%
strength = severities[2]
room = facts.severity.to_numpy() == strength
query = np.flatnonzero(
    room & (facts.degradation == "hazy").to_numpy() & (facts.crop == 1).to_numpy()
)[0]
close = (plain[query] @ plain[room].T).topk(6).indices.numpy()
nearest = np.flatnonzero(room)[close]  # the first is the image itself
figures.images.strip(
    [degraded[i] for i in nearest],
    [
        ("asked\n" if i == query else "") + f"{facts.degradation[i]}\n{photos.names[facts.photo[i]]}"
        + ("" if i == query else f"\ncosine {plain[query] @ plain[i]:.2f}")
        for i in nearest
    ],
    zoom=2,
    first=1,
    caption=f"A hazy crop, and the five that CLIP finds most like it of all degraded at severity {strength:g}.",
)  # fmt: skip


# %%
def neighbours(embeddings, clean_embeddings, space):
    """Shares of what the nearest neighbour of a degraded image is, at each severity."""
    lines = []
    for severity in severities:
        inside = np.flatnonzero(facts.severity == severity)
        pool = torch.cat([embeddings[inside], clean_embeddings])
        crops = np.concatenate([facts.crop[inside], np.arange(len(clean))])
        kinds = np.concatenate([facts.degradation[inside], ["clean"] * len(clean)])
        similar = embeddings[inside] @ pool.T
        similar.fill_diagonal_(-2)  # no image is its own neighbour
        best = similar.argmax(1).numpy()
        mine = np.arange(len(inside))
        same_crop = crops[best] == crops[mine]
        same_kind = ~same_crop & (kinds[best] == kinds[mine])
        same_photo = (
            ~same_crop & ~same_kind & (photo_of[crops[best]] == photo_of[crops[mine]]).numpy()
        )
        shares = [same_crop.mean(), same_kind.mean(), same_photo.mean()]
        lines.append((space, severity, *shares, 1 - sum(shares)))
    columns = ["space", "severity", "same crop", "same degradation", "same photo", "another photo"]
    return pd.DataFrame(lines, columns=columns)


around = neighbours(plain, at_clean, "CLIP alone")
figures.spaces.neighbour_bars(
    around,
    caption="What the nearest neighbour of a degraded image shows. Blue, dark and pale: the same thing. "
    "Orange: the same damage in another crop, be it of the same photo.",
)

# %% [markdown]
# Read the bars from left to right. Where orange grows at the cost of blue, the neighbourhood is sorted less by *what is
# shown* and more by *what went wrong*. One embedding cannot serve two masters: CLIP writes both into the same few numbers,
# and strong damage drowns the content.
#
# ## 6 · Turn the knob
#
# One crop, one degradation, and a severity that you set. Above the picture: CLIP's answer, and how much the embedding
# still resembles that of the clean crop. An answer that never changes says nothing: compare snow with noise.


# %%
def look(photo="spices", name="snowy", severity=0.5):
    """A crop, and the crop degraded, with what CLIP makes of it as a title."""
    before = crop(photos.names.index(photo), 3)
    image = degrade(before, name, severity, lab.seeded(9, 0))
    now, then = pipe.encode_clip([image, before])
    says = lab.DEGRADATIONS[int((phrased @ now).argmax())]
    title = f"severity {severity:g}\nsays {says}\ncosine {now @ then:.2f}"
    return figures.images.strip([before, image], ["clean\n\n", title], zoom=3)


lab.controlled(
    look,
    frames="severity",
    photo=photos.names,
    name=list(lab.DEGRADATIONS),
    severity=[step / 20 for step in range(21)],
)

# %% [markdown]
# ## 7 · A first look at the way out
#
# DA-CLIP leaves CLIP as it is and adds a *controller*, which looks at the degraded image beside it and hands over two things:
# - a **degradation embedding**, trained to lie near the words for what is wrong;
# - a correction inside CLIP's image tower, whose output, the **content embedding**, is trained to lie where the
#   *clean* image would.
#
# Two masters, two embeddings. How it is built and trained is notebook `03`; here are the same measurements again, with
# the controller that comes with the package.

# %%
told = (degradation @ phrased.T).argmax(1) == truth
figures.severity.over_severity(
    pd.concat([over_photos(named), over_photos(told, "DA-CLIP")]),
    ylabel="named right",
    level=(1 / 10, "guessing"),
    shares=True,
    caption="The same crops and the same words as in part 2, now also with DA-CLIP's degradation embedding.",
)

# %%
figures.severity.over_severity(
    pd.concat([drift, over_photos(to_itself(content), "DA-CLIP")]),
    ylabel="cosine to the clean crop",
    level=(stranger, "a crop of another photo"),
    caption="Compared with CLIP's embedding of the clean crop: CLIP's own embedding of the degraded one, as in part 3, and "
    "DA-CLIP's content embedding of it. Look for disks below their squares, too: where CLIP hardly drifts, correcting "
    "it can do harm.",
)

# %%
with torch.inference_mode():
    clean_content, clean_degradation = pipe.encode(clean)
figures.spaces.neighbour_bars(
    pd.concat(
        [
            around,
            neighbours(content, clean_content, "DA-CLIP, content"),
            neighbours(degradation, clean_degradation, "DA-CLIP, degradation"),
        ]
    ),
    caption="The nearest neighbours in three spaces. A perfect content embedding is all dark blue, "
    "a perfect degradation embedding all orange.",
)

# %% [markdown]
# ## 8 · Your turn
#
# **Exercise 02.1: predict.** A search in a gallery of 200 captions counts as a hit when the right one is among the five
# nearest. Which share of hits does pure guessing reach?

# %%
answer = ...  # a number between 0 and 1

check("02.1", answer)

# %% [markdown]
# <details><summary>Solution 02.1</summary>
#
# ```python
# answer = 5 / 200
#
# check("02.1", answer)
# ```
#
# Five different captions out of 200, each as likely to be the right one. Change the gallery, and R@5 changes with it, so
# numbers from galleries of different sizes must not be compared.
#
# </details>

# %% [markdown]
# **Exercise 02.2: ask CLIP.** Write zero-shot classification. The features come straight from the towers: their lengths are
# arbitrary.


# %%
def zero_shot(image_features, word_features):
    """The number of the nearest word for each image.

    image_features: (n, d); word_features: (k, d), neither of length 1. Returns (n,) whole numbers, 0..k-1.
    """
    return ...  # your code


check("02.2", zero_shot)

# %% [markdown]
# <details><summary>Solution 02.2</summary>
#
# ```python
# def zero_shot(image_features, word_features):
#     words = F.normalize(word_features, dim=-1)
#     return (image_features @ words.T).argmax(1)
#
#
# check("02.2", zero_shot)
# ```
#
# The length of a word's feature would favour that word for every image, so it has to go. The length of an image's feature
# scales all its scores alike and cannot change which is largest (normalising it, too, is no mistake).
#
# </details>

# %% [markdown]
# **Exercise 02.3: how much was repaired?** A drift from 1 to 0.6 that a controller brings back to 0.9 is three quarters
# repaired. Write that for whole sets of cosines: the share of the gap to 1 that is closed, on average over the images.
# Means of ratios explode where there was no gap; take the ratio of means.


# %%
def gap_closed(plain_cosines, content_cosines):
    """The share of the mean gap to 1 that the content embeddings close: 1 is all of it, 0 none, below 0 is harm.

    plain_cosines, content_cosines: (n,), to the clean image's embedding, without and with the controller.
    """
    return ...  # your code


check("02.3", gap_closed)

# %% [markdown]
# <details><summary>Solution 02.3</summary>
#
# ```python
# def gap_closed(plain_cosines, content_cosines):
#     before, after = plain_cosines.mean(), content_cosines.mean()
#     return (after - before) / (1 - before)
#
#
# check("02.3", gap_closed)
# ```
#
# One image that CLIP hardly misjudged (cosine 0.999) would count a thousandfold in a mean of ratios.
#
# </details>

# %%
if (share := gap_closed(to_itself(plain), to_itself(content))) is not ...:
    print(f"of the drift in part 3, DA-CLIP repairs {share:.0%}")

# %% [markdown]
# **Exercise 02.4: draw photos, not crops.** The intervals of this notebook come from a bootstrap. Write its heart: the mean of the
# values after some photos have been drawn again. A photo that is drawn twice brings all its crops twice.


# %%
def mean_of_drawn(values, photos, drawn):
    """The mean of the values of the drawn photos.

    values: (n,) one per crop; photos: (n,) the photo of each crop, whole numbers; drawn: (m,) photos, with repetitions.
    """
    return ...  # your code


check("02.4", mean_of_drawn)

# %% [markdown]
# <details><summary>Solution 02.4</summary>
#
# ```python
# def mean_of_drawn(values, photos, drawn):
#     return torch.cat([values[photos == photo] for photo in drawn.tolist()]).mean()
#
#
# check("02.4", mean_of_drawn)
# ```
#
# Draw as many photos as there are, with replacement, a few thousand times: the middle 95 % of these means are the interval.
# Drawing crops instead would pretend that 40 crops are 40 photos, and the interval would come out far too narrow.
#
# </details>

# %% [markdown]
# ## What we found


# %%
def line(values):
    """Mean over all severities and degradations, with its interval, as text."""
    mean, low, high = lab.bootstrap_interval(
        np.asarray(values, dtype=float), facts.photo.to_numpy()
    )
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


summary = pd.DataFrame(
    {
        "CLIP alone": [
            line(named),
            line(to_itself(plain)),
            line(original),
            line(captioned),
        ],
        "DA-CLIP": [
            line(told),
            line(to_itself(content)),
            line(found(content, at_clean, own, 1)),
            line(found(content, texts, own, 5)),
        ],
    },
    index=[
        "degradation named right (share)",
        "cosine to the clean crop",
        f"own clean crop found, first of {len(clean)}",
        f"caption found, five of {len(clean)}",
    ],
)
print(
    f"means over {len(facts)} images, 95 % intervals over {len(photos)} photos; scale {scale.name}"
)
print(f"from clean crops: caption found {yardstick[0]:.2f}; two strangers: cosine {stranger:.2f}")
summary

# %%
print(f"this notebook took {(time.perf_counter() - start) / 60:.1f} minutes")

# %% [markdown]
# **What next.** `03_train_daclip` builds the controller from nothing: zero layers, a reversed order, two losses.
# `04_degradation_space` maps the degradation embeddings, and `05_zero_shot_classification` asks better questions.
#
# **References.** Radford et al., *Learning Transferable Visual Models From Natural Language Supervision* (CLIP), 2103.00020 ·
# Luo et al., *Controlling Vision-Language Models for Multi-Task Image Restoration* (DA-CLIP), 2310.01018, section 3.1 and
# figure 1 · Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993.
