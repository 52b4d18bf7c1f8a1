# %% [markdown]
# # 05 · Zero-shot classification
#
# **DA-CLIP names a degradation by comparing an image with words. So the words are part of the classifier: they can be
# chosen, averaged, replaced by your own, and what comes out can be measured, calibrated and explained.**
#
# *You will learn*
# - the classifier in five lines of PyTorch, checked against the library;
# - to compare two classifiers on the same photos, with intervals that come from drawing photos again;
# - which words work: one word, a sentence, many phrasings, phrasings that no training saw, yours;
# - what happens with two degradations at once, and with none: false alarms against misses;
# - how sure an answer is, how sure it should be, and how one number repairs the difference;
# - which patches of a photo speak for the answer.
#
# *You need* cosines and softmax, and what `02_clip_is_fooled` says about CLIP. Nothing is downloaded or trained.
#
# *Time*: under a minute to run on two CPU cores, half an hour to read.

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
import tempfile
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

import daclip_lab as lab
from daclip_lab.course import check, figures, settings
from daclip_lab.data import embedding_table, prompts
from daclip_lab.degradations import apply, prompt_phrases
from daclip_lab.embeddings import attribution, zero_shot
from daclip_lab.evaluation.paper_protocol import measure

scale = lab.presets.current()
pipe = lab.load("lab")
clip = pipe.clip
print(f"scale {scale.name}")
print(f"daclip_lab {lab.__version__}, Python {platform.python_version()}")
print(f"torch {torch.__version__}, matplotlib {matplotlib.__version__}")

# %% [markdown]
# ## 1 · The classifier, in five lines
#
# "Zero-shot" means that no classifier was trained: there is no layer with eleven outputs. There are two embeddings, one
# of the image and one of words, on the same sphere, and whichever words are nearest give the name. (Zero-shot is said of
# the *words*. The controller has seen many degraded images: it was trained to bring its embedding near to what people say
# about them. Which words one asks with later is free.)
#
# The data are 200 photos, the test photos of BSDS500. Each was cut to 64 pixels, degraded in ten ways and left clean
# once. The package holds no pixel of them, only a table with embeddings of each image. Needed here are DA-CLIP's
# `degradation` embedding and that of CLIP alone (`clip`).

# %%
table = embedding_table.shipped()
truth = table.rows.degradation.to_numpy()
photos = table.rows.photo.to_numpy()
degradation = torch.as_tensor(table.degradation)
print(
    f"{len(truth)} images of {len(set(photos))} photos, embeddings of {degradation.shape[1]} numbers"
)
print("asked are", ", ".join(lab.LABELS))

# %%
with torch.inference_mode():
    means = [clip.encode_text(prompts.training_texts(name)).mean(0) for name in lab.LABELS]
    words = F.normalize(torch.stack(means), dim=-1)  # (11, d): what stands for each answer

    cosines = degradation @ words.T  # both have length 1
    # The scale was learned in training; the bias is a number that is added for "clean" (part 6).
    logits = pipe.daclip.scale * cosines + pipe.label_bias
    probabilities = (logits / pipe.settings.temperature).softmax(1)

named = np.array(lab.LABELS)[probabilities.argmax(1)]
print(f"named right: {(named == truth).mean():.1%} of {len(truth)} images, of eleven answers")

# %% [markdown]
# That is all of it. `training_texts` lists what people call a degradation ("hazy", "a foggy photo", "a picture taken
# through fog", ...), and the mean over a list stands for the answer. The softmax turns the cosines into shares that sum
# to 1. How steep it is, and so how sure an answer sounds, is decided by the scale, which was learned, over the
# temperature, which was fitted afterwards (part 7). Neither changes which degradation is first.
#
# ### Does it agree with the library?
#
# `zero_shot_classify` does the same for a table, `Pipeline.classify` for an image.

# %%
photo = lab.sample_photos("test")[0]
picture = apply.degrade(photo[:, 20:148, 160:288], "noisy", 0.6, lab.seeded(1))
with torch.inference_mode():
    by_hand = pipe.encode([picture]).degradation @ words.T
    by_hand = pipe.daclip.scale * by_hand + pipe.label_bias
    by_hand = (by_hand / pipe.settings.temperature).softmax(1)[0]

answers = zero_shot.zero_shot_classify(pipe, table)
differences = {
    "the table, zero_shot_classify(pipe, table)": abs(
        answers.probabilities - probabilities.numpy()
    ).max(),
    "one image, pipe.classify(image)": abs(pipe.classify(picture) - by_hand.numpy()).max(),
}
assert max(differences.values()) < 1e-4
pd.Series(differences, name="largest difference").map("{:.0e}".format).to_frame()

# %%
shown = ["motion-blurry", "low-light", "rainy", "uncompleted", "jpeg-compressed"]
cut = photo[:, 24:136, 168:280]
pictures = [apply.degrade(cut, name, 0.6, lab.seeded(2)) for name in shown]
figures.classification.classification_bars(pipe.classify(pictures), shown, pictures)

# %% [markdown]
# ## 2 · How often right, and how sure can we be of that?
#
# As in the paper, the ten degradations only: 2,000 images. CLIP alone is asked with the same words about the same images.


# %%
def said(words, labels, space="degradation"):
    """What words (k, d) for k labels say of the table."""
    asked = np.isin(truth, labels)
    sharpness = clip.scale if space == "clip" else pipe.daclip.scale / pipe.settings.temperature
    scores = sharpness * torch.as_tensor(table.embedding(space))[asked] @ words.T
    if space != "clip" and "clean" in labels:
        scores = scores + pipe.label_bias / pipe.settings.temperature
    with torch.inference_mode():
        shares = scores.softmax(1).double().numpy()
    return zero_shot.ZeroShotResult(tuple(labels), shares, truth[asked], photos[asked])


ten_words = words[: len(lab.DEGRADATIONS)]  # "clean" is the last of the eleven
daclip, alone = said(ten_words, lab.DEGRADATIONS), said(ten_words, lab.DEGRADATIONS, "clip")
both = daclip.accuracy()[["n", "photos"]]
for measure_name, found in (("accuracy", daclip), ("clip_accuracy", alone)):
    for column, ending in (("value", ""), ("low", "_low"), ("high", "_high")):
        both[measure_name + ending] = found.accuracy()[column]
figures.classification.accuracy_and_gain(both)

# %% [markdown]
# ### Where the intervals come from
#
# Another 200 photos would have given another number. How different? Nobody has them, but one can draw 200 photos out of
# these, with replacement, again and again: the spread of the results is the interval. What is drawn must be what is
# independent. Ten versions of one photo are not: a photo of a white wall is hard in several of them.

# %%
right = (daclip.predicted == daclip.truth).astype(float)
right_alone = (alone.predicted == alone.truth).astype(float)
of = daclip.photos

by_photo = pd.Series(right).groupby(of).mean().to_numpy()
rng = np.random.default_rng(0)
drawn = by_photo[rng.integers(len(by_photo), size=(2000, len(by_photo)))].mean(1)
low, high = np.quantile(drawn, [0.025, 0.975])
print(f"by hand:     {right.mean():.3f} [{low:.3f}, {high:.3f}]")
print("library:     {:.3f} [{:.3f}, {:.3f}]".format(*lab.bootstrap_interval(right, of)))
print("too narrow:  {:.3f} [{:.3f}, {:.3f}], images drawn instead of photos".format(
    *lab.bootstrap_interval(right, np.arange(len(right)))))  # fmt: skip

# %%
some = pd.unique(of)
pd.DataFrame(
    {
        count: lab.bootstrap_interval(
            right[np.isin(of, some[:count])], of[np.isin(of, some[:count])]
        )
        for count in (8, 25, 50, 100, len(some))
    },
    index=["named right", "low", "high"],
).T.rename_axis("photos").assign(width=lambda found: found.high - found.low).round(3)

# %% [markdown]
# Read the last column before you believe a difference of two points on twenty photos. Some of the test sets of the paper
# are that small.
#
# ### Image by image
#
# Which of two classifiers is better? If their intervals do not overlap, the answer is plain. If they do, that proves
# nothing: both were asked about the *same* images, and what makes a photo hard for one often makes it hard for the other.
# So take the difference on each image, 1, 0 or -1, and put the interval on that.

# %%
lines = {}
for name in (*lab.DEGRADATIONS, "overall"):
    own = np.ones(len(of), bool) if name == "overall" else daclip.truth == name
    three = {"CLIP alone": right_alone, "DA-CLIP": right, "difference": right - right_alone}
    for title, values in three.items():
        found = lab.bootstrap_interval(values[own], of[own])
        lines[name, title] = (
            "{:+.1%} [{:+.1%}, {:+.1%}]" if title == "difference" else "{:.1%} [{:.1%}, {:.1%}]"
        )
        lines[name, title] = lines[name, title].format(*found)
paired = (
    pd.Series(lines)
    .unstack()
    .loc[[*lab.DEGRADATIONS, "overall"], ["CLIP alone", "DA-CLIP", "difference"]]
)
paired

# %% [markdown]
# Where an interval of the difference holds zero, these 200 photos do not say which of the two is better. The library
# has such comparisons for every measure: `embeddings.paired_tests`, for CLIP against DA-CLIP, or for two sets of weights.
#
# ## 3 · What is taken for what
#
# Now all eleven answers, "clean" among them. **Predict**: which two will be confused most?

# %%
counts = pd.Series(truth).value_counts()
confusion = answers.confusion()
figures.classification.confusion_heatmap(confusion, counts)

# %%
apart = confusion.stack().rename_axis(["really", "predicted"]).rename("share")
apart = apart[apart.index.get_level_values(0) != apart.index.get_level_values(1)]
apart.nlargest(5).map("{:.0%}".format).reset_index()

# %% [markdown]
# The list answers the prediction. Look at each cell beside the diagonal as a question about images: could *you* tell? A
# weak shadow is a dark place, and a photo of a smooth sky hides most of what JPEG does. In a crop of 64 pixels there
# may be nothing of a degradation that sits elsewhere in the photo. And "clean" photos are not spotless: all images of
# the table went through a mild camera, with a little noise and a little JPEG, as real ones do. Other cells have no such
# excuse. The row and the column "clean" are part 6.
#
# ## 4 · The wording
#
# The paper asks with one bare word for each degradation. Here are other ways to ask the same question. Where there are
# several texts for an answer, their mean stands for it: an *ensemble*.


# %%
def embedded(texts_of):
    """What stands for the eleven answers: the mean over the texts of each."""
    return zero_shot.prompt_embeddings(pipe, {name: texts_of(name) for name in lab.LABELS})[1]


nouns = dict(zip(lab.LABELS, (
    "motion blur", "fog", "jpeg compression", "night", "noise", "water drops", "rain", "shadow", "snow", "holes",
    "good quality"), strict=True))  # fmt: skip
animals = dict(zip(lab.LABELS, (
    "cat", "dog", "horse", "bird", "fish", "bear", "tiger", "elephant", "boat", "train", "car"), strict=True))  # fmt: skip
every = "all training phrasings"
ways = {
    "one word": embedded(lambda name: [name]),
    "a {} photo": zero_shot.prompt_embeddings(pipe, "a {} photo")[1],
    "one word in five sentences": embedded(
        lambda name: [each.format(name) for each in prompts.TEMPLATES]
    ),
    every: words,
    "phrasings that were held out": embedded(prompts.held_out_texts),
    "one noun": embedded(nouns.get),
    "one thing (to compare)": embedded(animals.get),
}

# %% [markdown]
# "Held out" are phrasings such as "a murky photo" or "in a blizzard" that were kept from all training, so as to measure
# whether *language* was learned, or a list of passwords. And the things in the last line ("cat" for motion blur, "dog"
# for haze, ...) have nothing to do with any degradation.
#
# **Predict**: an order. How far will the things be from 1 in 11?

# %%
everything = said(words, lab.LABELS)
base = (everything.predicted == everything.truth).astype(float)
lines = {}
for way, vectors in ways.items():
    found = said(vectors, lab.LABELS)
    hits = (found.predicted == found.truth).astype(float)
    without = said(vectors, lab.LABELS, "clip")
    lines[way] = [*lab.bootstrap_interval(hits, found.photos), *(100 * np.array(lab.bootstrap_interval(hits - base, found.photos))),
                  (without.predicted == without.truth).mean()]  # fmt: skip
columns = ["value", "low", "high", "difference", "difference_low", "difference_high", "CLIP alone"]
asked_in_ways = pd.DataFrame(lines, index=columns).T
figures.zero_shot.ways_of_asking(
    asked_in_ways.drop("one thing (to compare)"),
    every,
    f"Eleven answers, {len(truth)} images of {len(set(photos))} photos; lines: 95 % intervals over photos. Right: where "
    "an interval does not touch zero, the wording matters. These intervals are far narrower than those on the left "
    "suggest, since most images are named alike under both.",
)

# %%
asked_in_ways[["value", "low", "high", "CLIP alone"]].rename(columns={"value": "DA-CLIP"}).map(
    "{:.1%}".format
)

# %% [markdown]
# The things in the last line need not land on 1 in 11: by chance, some of them lie nearer to one degradation than to
# others. Are they far below all the rest?
#
# An ensemble averages out what is peculiar to one phrasing, so it can only help as far as single phrasings differ. CLIP in
# full size has met each word in many senses, and gains some points by ensembles (Radford et al.). A controller that was
# trained to be near *all* training phrasings sees little difference between them, and therefore gains little.
#
# ### One phrasing at a time
#
# A mean hides which words are bad. So ask for one degradation with a single phrasing, for all others with the full
# ensemble, and count *all* images: a word that lures other images away costs as much as one that finds too few.

# %%
lines = []
for k, name in enumerate(lab.LABELS):
    kinds = {
        "training": prompt_phrases.WORDS[name].train,
        "held out": prompt_phrases.WORDS[name].held_out,
    }
    texts = [(kind, phrase) for kind, phrases in kinds.items() for phrase in phrases]
    with torch.inference_mode():
        vectors = clip.encode_text([phrase for _, phrase in texts])
        for (kind, phrase), vector in zip(texts, vectors, strict=True):
            scores = cosines.clone()
            scores[:, k] = degradation @ vector
            hits = np.array(lab.LABELS)[scores.argmax(1)] == truth
            lines.append((name, phrase, kind, hits.mean()))
phrasings = pd.DataFrame(lines, columns=["degradation", "phrasing", "kind", "accuracy"])
figures.zero_shot.phrasings(
    phrasings,
    base.mean(),
    "Each mark is one phrasing, used for its degradation alone. One that nothing matches costs at most a row's share, "
    "9 points; one that lures others away costs more. Written out: the worst of each row.",
)

# %%
worst = phrasings.sort_values("accuracy").groupby("kind").head(4)
worst.assign(accuracy=worst.accuracy.map("{:.1%}".format)).reset_index(drop=True)

# %% [markdown]
# A held-out phrasing can fail in two ways. Its word may occur in no training caption, so that its token is still what
# chance made of it: the lab's text tower learned its words from our captions alone, while a full-size CLIP has read a
# "blizzard" thousands of times. Or it is understood, and means something else as well: what is "murky" may just be dark.
#
# ### Words that the text tower does not know
#
# The lab's text tower has a vocabulary of a few hundred tokens. Whatever else you type becomes one and the same
# "unknown" token, with a warning. (Rare words are cut into pieces first; the warning names the pieces.) Take it
# seriously: an answer made of unknown words is an answer to nothing.

# %%
strange = {"lens flare": ["lens flare"], "moiré": ["a photo with moiré"], "rainy": ["rainy"]}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    zero_shot.prompt_embeddings(pipe, strange)
for warning in caught:
    print("warning:", warning.message)

# %% [markdown]
# ### Your own words
#
# Choose a degradation, type words for it (several, with commas between them, are an ensemble), and press Enter. All other
# answers keep the package's words. Left, one photo; right, all 200 photos of the table with this degradation. Try "fog"
# for hazy, then "elephant", then something that the text tower does not know: it says so below.


# %%
def shrunk(photo, times):
    """The middle square of a bundled photo (3, 448, 672), made a whole number of times smaller."""
    return F.avg_pool2d(photo[:, :, 112:560], times)


def picture_of(phrase="fog, mist", kind="hazy", photo="spices"):
    """One photo, and the 200, with somebody's own words for one degradation."""
    texts = [text.strip() for text in phrase.split(",") if text.strip()]
    if not texts:
        raise lab.InputError("no words: type at least one")
    own = words.clone()
    with torch.inference_mode():
        own[lab.LABELS.index(kind)] = F.normalize(clip.encode_text(texts).mean(0), dim=0)
        image = shrunk(bundled[bundled.names.index(photo)], 4)
        image = apply.degrade(image, kind, 0.6, lab.seeded(4))
        seen = pipe.daclip.scale * pipe.encode([image]).degradation / pipe.settings.temperature
    sides = (words, own)
    bias = pipe.label_bias / pipe.settings.temperature
    one = [(seen @ side.T + bias).softmax(1)[0].numpy() for side in sides]
    many = [said(side, lab.LABELS).confusion().loc[kind] for side in sides]
    return figures.predictions.own_words(
        image, pd.DataFrame(one, columns=lab.LABELS), pd.DataFrame(many), kind, ", ".join(texts)
    )


bundled = lab.sample_photos("test")
lab.controlled(
    picture_of,
    phrase="fog, mist",
    kind=["hazy", *(name for name in lab.DEGRADATIONS if name != "hazy")],
    photo=["spices", *(name for name in bundled.names if name != "spices")],
)

# %% [markdown]
# The same with two words that somebody may think of for snow, although they say more than that:

# %%
picture_of("winter, white", "snowy", "lake")

# %% [markdown]
# ## 5 · Two degradations at once
#
# Rain in the dark, noise under JPEG: real images seldom have one problem. The softmax knows one answer only, so that two
# true ones must share the probability. What one can ask is whether the *two* highest are the two that were done.
#
# Pixels are needed for that, so these are crops of the eight bundled photos; the intervals are wide accordingly.

# %%
protocol = lab.Protocol(
    crop=96, crops=max(1, settings.examples(scale) // 20), mixtures=4, severity=(0.5, 1.0), seed=5
)
mixed, pairs = [], []
for index in range(len(bundled)):
    _, images, facts = lab.mixed_crops(bundled, index, protocol)
    mixed += list(images)
    pairs += facts
pairs = pd.DataFrame(pairs)
_, of_mixed, plain_of_mixed = pipe.encode_all(mixed)
done = [{first, second} for first, second in zip(pairs["first"], pairs["second"], strict=True)]


def top_two(embeddings):
    """The two likeliest of the ten for each embedding."""
    best = (embeddings @ ten_words.T).topk(2).indices
    return [{lab.DEGRADATIONS[k] for k in two} for two in best.tolist()]


found = []
for space, embeddings in (("CLIP alone", plain_of_mixed), ("DA-CLIP", of_mixed)):
    told = top_two(embeddings)
    for measured, least in (("both of the two", 2), ("at least one", 1)):
        hits = np.array([len(a & b) >= least for a, b in zip(told, done, strict=True)], float)
        found.append(
            (
                measured,
                space,
                "{:.0%} [{:.0%}, {:.0%}]".format(
                    *lab.bootstrap_interval(hits, pairs.photo.to_numpy())
                ),
            )
        )
mixtures = pd.DataFrame(found, columns=["named in the top two", "space", "share"])
mixtures = mixtures.pivot(index="named in the top two", columns="space", values="share")
print(
    f"{len(mixed)} mixtures on {len(bundled)} photos; both by guessing: {1 / 45:.0%}, at least one: {1 - 28 / 45:.0%}"
)
mixtures

# %%
few = [k for k in range(0, len(mixed), max(1, len(mixed) // 5))][:5]
figures.predictions.mixture_bars(
    [mixed[k] for k in few],
    pd.DataFrame(pipe.probabilities(of_mixed[few]).numpy(), columns=lab.LABELS),
    [sorted(done[k]) for k in few],
)

# %%
marks = []
for name in lab.DEGRADATIONS:
    own = [k for k, two in enumerate(done) if name in two]
    hits = np.array([name in top_two(of_mixed[[k]])[0] for k in own], float)
    marks.append((name, len(own), hits.mean()))
pd.DataFrame(marks, columns=["degradation", "mixtures", "in the top two"]).sort_values(
    "in the top two"
).assign(
    **{"in the top two": lambda found: found["in the top two"].map("{:.0%}".format)}
).reset_index(drop=True)

# %% [markdown]
# What disappears beside another? A degradation that changes every pixel strongly (dark, haze, noise) leaves little to
# see of one that is faint or local. Look whether those stand at the top of the list. And some pairs cannot be told
# apart by anyone: darkness hides a shadow.
#
# ## 6 · "Clean" is an answer, too
#
# Somebody who sorts a photo collection wants to know first *whether* anything is wrong. There are two mistakes:
# - a **false alarm**: a clean photo is called degraded;
# - a **miss**: a degraded photo is called clean.
#
# Adding a constant to the logit of "clean", a *bias* (in nats, the unit of natural logarithms), trades one for the
# other. It says how common clean photos are, or how costly each mistake; the words and the image do not know that. The
# weights come with such a bias, chosen on photos held out from training; 0 is that choice here, and a bias is added to it.
#
# **Predict**: which way does a positive bias move? How many misses will it cost to halve the false alarms?

# %%
spaces = {
    "DA-CLIP": logits / pipe.settings.temperature,
    "CLIP alone": clip.scale.detach() * torch.as_tensor(table.clip) @ words.T,
}
is_clean = truth == "clean"


def ahead(scores):
    """How far "clean" is ahead of the best other answer (n,), in nats."""
    return (scores[:, -1] - scores[:, :-1].amax(1)).numpy()


curves = {}
for space, scores in spaces.items():
    lead = ahead(scores)
    marked = (-1, 0, 2, 4) if space == "DA-CLIP" else (0,)
    # As it grows, one image after the other is called clean: from none of them to all.
    biases = np.union1d(np.quantile(-lead, np.linspace(0, 1, 101)), marked)
    rows = []
    for bias in biases:
        alarms, misses = (lead + bias < 0)[is_clean], (lead + bias > 0)[~is_clean]
        line = {"bias": bias, "alarms": alarms.mean(), "misses": misses.mean()}
        if bias in marked:
            for kind, values, own in (("alarms", alarms, is_clean), ("misses", misses, ~is_clean)):
                _, line[f"{kind}_low"], line[f"{kind}_high"] = lab.bootstrap_interval(
                    values.astype(float), photos[own]
                )
        rows.append(line)
    curves[space] = pd.DataFrame(rows).set_index("bias")
figures.zero_shot.alarms_and_misses(
    curves,
    "Towards the lower left is better. The number beside a mark is the bias on “clean” in nats; lines through a mark are "
    "95 % intervals over photos. Which point of a curve to take is a choice; which curve one is on is not.",
)

# %% [markdown]
# A positive bias moves up the curve, to the left: fewer false alarms, more misses. Find the point with half of the
# false alarms that the mark 0 has: how much higher does it lie?
#
# A bias is a parameter like any other: chosen on some photos, it must be judged on others. Take half of the photos and
# find the bias at which 5 % of the clean ones raise a false alarm. Does it hold on the other half?

# %%
names = np.array(sorted(set(photos)))
fitted_on = names[torch.randperm(len(names), generator=lab.seeded(6))[: len(names) // 2].numpy()]
half = np.isin(photos, fitted_on)
lead = ahead(spaces["DA-CLIP"])
bias = -np.quantile(lead[is_clean & half], 0.05)
severity = table.rows.severity.to_numpy()
found = {}
for title, b in (("as it comes", 0.0), (f"bias {bias:+.2f}", bias)):
    alarms, misses = (lead + b < 0).astype(float), (lead + b > 0).astype(float)
    cases = {
        "false alarms": (alarms, is_clean & ~half),
        "misses": (misses, ~is_clean & ~half),
        "misses, severity below 0.5": (misses, ~is_clean & ~half & (severity < 0.5)),
        "misses, severity above 0.75": (misses, ~is_clean & ~half & (severity > 0.75)),
    }
    found[title] = {
        case: "{:.0%} [{:.0%}, {:.0%}]".format(*lab.bootstrap_interval(values[own], photos[own]))
        for case, (values, own) in cases.items()
    }
clean_or_not = pd.DataFrame(found)
clean_or_not

# %%
lost = pd.Series((lead + bias > 0)[~is_clean & ~half]).groupby(truth[~is_clean & ~half]).mean()
lost.sort_values(ascending=False).map("{:.0%}".format).rename("missed at this bias").head(
    5
).to_frame()

# %% [markdown]
# The bias holds if the interval of the false alarms holds 5 %. Misses are not spread evenly: compare weak degradations
# with strong ones, and look whether the last list begins with those that are faint, or of which a crop may hold
# nothing. Note also that the share of mistakes depends on how many photos *are* clean: here one in eleven, in your
# collection perhaps nine in ten.
#
# ## 7 · How sure, and how sure it should be
#
# A classifier is *calibrated* if of all answers that it gives with 80 %, eight in ten are right. One may then act on the
# number. The training asks for that at best on its own photos, and not among these eleven answers.
#
# The remedy is one number, the temperature $\tau$, by which all logits are divided. It is fitted such that the right answers of
# photos held out from training become as probable as possible: minimise the mean of $-\log p(\text{truth})$. Too sure means
# that a few confident mistakes cost a lot; too unsure means that every right answer costs a bit. In between is a minimum.

# %%
labels = torch.tensor([lab.LABELS.index(name) for name in truth])
raw = {"DA-CLIP": logits.clone(), "CLIP alone": spaces["CLIP alone"].clone()}
grid = torch.logspace(-2, 4, 241, base=2)
losses = pd.DataFrame(
    {
        space: [F.cross_entropy(scores[half] / t, labels[half]).item() for t in grid]
        for space, scores in raw.items()
    },
    index=grid.numpy(),
)
by_grid = losses.idxmin()
fitted = {space: lab.fit_temperature(scores[half], labels[half]) for space, scores in raw.items()}
for space in raw:
    print(f"{space}: by trying {by_grid[space]:.2f}, by the library {fitted[space]:.2f}")
print(
    f"shipped with the weights, fitted on photos held out from training: {pipe.settings.temperature:.2f}"
)
figures.zero_shot.temperatures(
    losses,
    fitted,
    np.log(len(lab.LABELS)),
    f"The loss on {len(fitted_on)} photos. Left of the star answers are too sure, right of it not sure enough.",
)

# %% [markdown]
# Now the test, on the other half of the photos. **Predict**: does a temperature change the accuracy?

# %%
temperatures = {
    "DA-CLIP, twice as sharp": raw["DA-CLIP"] * 2,
    "DA-CLIP, temperature 1": raw["DA-CLIP"],
    "DA-CLIP, fitted": raw["DA-CLIP"] / fitted["DA-CLIP"],
    "CLIP alone, fitted": raw["CLIP alone"] / fitted["CLIP alone"],
}
other = ~half
diagrams, errors = {}, {}
for title, scores in temperatures.items():
    sure, answer = scores.softmax(1).max(1)
    sure, hits = sure.numpy()[other], (answer == labels).numpy()[other]
    diagrams[title] = lab.calibration_bins(sure, hits)
    error = lab.estimate_statistic(
        lambda rows, sure=sure, hits=hits: lab.expected_calibration_error(sure[rows], hits[rows]),
        photos[other],
        recentre=True,
        resamples=200,
    )
    errors[title] = {
        "named right": f"{hits.mean():.1%}",
        "how sure, on average": f"{sure.mean():.1%}",
        "calibration error": f"{error.value:.3f} [{error.low:.3f}, {error.high:.3f}]",
    }
figures.classification.reliability(diagrams)

# %%
pd.DataFrame(errors).T

# %% [markdown]
# The first three lines have the same accuracy: dividing all logits by one number changes no order. It changes what the
# number beside the answer is worth. (The calibration error is the mean gap between how sure and how often right, over
# bins of answers: the distance of the marks from the dotted line. Exercise 05.4 writes it.)
#
# ### Calibrated on average
#
# One number can mend one gap, the overall one. Look into the corners:

# %%
sure, answer = temperatures["DA-CLIP, fitted"].softmax(1).max(1)
judged = pd.DataFrame(
    {"done": truth, "sure": sure.numpy(), "right": (answer == labels).numpy(), "photo": photos}
)[other]
corners = judged.groupby("done")[["sure", "right"]].mean().loc[list(lab.LABELS)]
gaps = {name: lab.bootstrap_interval((part.sure - part.right).to_numpy(), part.photo.to_numpy())
        for name, part in judged.groupby("done")}  # fmt: skip
corners["sure - right [95 %]"] = [
    "{:+.2f} [{:+.2f}, {:+.2f}]".format(*gaps[name]) for name in corners.index
]
corners.round(2)

# %% [markdown]
# A positive gap means: surer than right. Whoever sees a photo does not know its row, though; then the diagram above is
# what counts. But whoever has *mostly* photos of one row lives with that row's gap. The same holds for severities,
# cameras and sizes of images that the fit has not seen. `daclip-lab calibrate` fits the temperature anew on photos of
# your kind.
#
# ## 8 · Which patches speak for the answer?
#
# A number without a reason is hard to trust. Integrated gradients spread the log-probability of an answer over the patches
# of the image: how much does each add, on the way from an image whose patches are all alike to the real one?
#
# To see whether such a map says anything, one needs images for which the right map is known. So degrade the **left half
# only**, and ask what speaks for the true name. (Its probability may be low: half of the image is clean.)

# %%
halves = ["snowy", "noisy", "hazy", "rainy", "uncompleted"]
clean_cut = bundled[bundled.names.index("otter")][:, 100:196, 150:246]


def left_half(image, name, severity, generator):
    """The image with its left half degraded."""
    whole, middle = apply.degrade(image, name, severity, generator), image.shape[-1] // 2
    return torch.cat([whole[..., :middle], image[..., middle:]], dim=-1)


half_images = [left_half(clean_cut, name, 0.9, lab.seeded(7)) for name in halves]
explained = [
    attribution.attribute(pipe, image, name)
    for image, name in zip(half_images, halves, strict=True)
]
figures.images.attribution_overlays(half_images, explained)

# %% [markdown]
# Orange should lie to the left. One picture proves nothing, so count: on all bundled photos, made small, does the degraded
# half speak louder than the clean one? Guessing would reach 50 %.

# %%
hits = []
for index in tqdm(
    range(min(len(bundled), max(2, settings.examples(scale) // 5))), desc="attributing", leave=False
):
    cut = shrunk(bundled[index], 7)
    for k, name in enumerate(lab.DEGRADATIONS):
        heat = attribution.attribute(
            pipe, left_half(cut, name, 0.8, lab.seeded(8, index, k)), name, steps=4
        ).heat
        left, right_side = heat[:, :32].sum(), heat[:, 32:].sum()
        hits.append((name, bundled.names[index], float(left > right_side)))
hits = pd.DataFrame(hits, columns=["degradation", "photo", "hit"])
pointing = lab.bootstrap_interval(hits.hit.to_numpy(), hits.photo.to_numpy())
print(
    "the degraded half speaks louder: {:.0%} [{:.0%}, {:.0%}]".format(*pointing),
    f"of {len(hits)} images",
)
hits.groupby("degradation", sort=False).hit.agg(["sum", "count"]).astype(int).T

# %% [markdown]
# A map of this kind says what the *network* used, which need not be what a person would point at: a dark half can also
# speak through the contrast at its edge.
#
# ## 9 · Your own folder
#
# Set `FOLDER` to a folder with images of any size, in quotes: `FOLDER = "../my_photos"`. As it stands, it is filled
# with degraded parts of the bundled photos, the last one with two degradations.

# %%
FOLDER = None

temporary = tempfile.TemporaryDirectory()
known = {}
if FOLDER is None:
    FOLDER = Path(temporary.name) / "photos"
    FOLDER.mkdir()
    plan = [
        ("low-light",),
        ("rainy",),
        ("hazy",),
        ("clean",),
        ("raindrop",),
        ("low-light", "noisy"),
    ]
    for k, what in enumerate(plan):
        cut = bundled[k % len(bundled)][:, -252:-24, :304]
        steps = [(name, 0.6) for name in what if name != "clean"]
        lab.save_image(apply.mix(cut, steps, lab.seeded(9, k)), FOLDER / f"photo_{k + 1}.png")
        known[f"photo_{k + 1}"] = " + ".join(what)

mine = lab.image_folder(FOLDER)
found = pipe.classify(mine.paths)
found.index = mine.names
shown = found[:12]
titles = [name + (f": really {known[name]}" if name in known else "") for name in shown.index]
figures.predictions.folder_sheet(mine.paths[:12], titles, shown)

# %%
two = found.apply(lambda line: list(line.nlargest(2).index), axis=1, result_type="expand")
pd.DataFrame(
    {
        "really": [known.get(name, "?") for name in found.index],
        "answer": two[0],
        "probability": found.max(axis=1).map("{:.0%}".format),
        "second": two[1],
        "clean": found["clean"].map("{:.0%}".format),
    }
)

# %% [markdown]
# On the command line it is `daclip-lab classify my_photos/*.jpg`, with `--json` for all probabilities; a page with maps,
# tables and every image in it comes from `daclip-lab report`.
#
# These images are larger than the 64 pixels that the lab's CLIP sees. The pipeline looks at crops at full resolution and
# at the whole, made small, and takes the mean; a resize alone would smooth away noise and JPEG blocks.
#
# ### With labels: the paper's layout
#
# If you know what is wrong with each image, put the files where the authors' code has them: `test/<degradation>/LQ` and
# `GT`, with the same names. `measure` then does what the paper does: whole images, one bare word for each of ten, the
# mean of the ten accuracies. (Given weights with a restorer, it restores and measures that, too.)

# %%
root = Path(temporary.name) / "set"
of_photos = ("colosseum", "lake", "otter", "spices")
for k, chosen in enumerate(of_photos[: max(1, settings.examples(scale) // 10)]):
    cut = bundled[bundled.names.index(chosen)][:, 60:188, 100:228]
    for j, name in enumerate(lab.DEGRADATIONS):
        for part, image in (
            ("LQ", apply.degrade(cut, name, 0.7, lab.seeded(10, k, j))),
            ("GT", cut),
        ):
            (root / "test" / name / part).mkdir(parents=True, exist_ok=True)
            lab.save_image(image, root / "test" / name / part / f"{k}.png")

only_naming = lab.Pipeline(pipe.settings, daclip=pipe.daclip)
paper = measure(only_naming, root).table()[["n", "clip_accuracy", "accuracy"]]
temporary.cleanup()
paper.assign(
    **{space: paper[space].map("{:.0%}".format) for space in ("clip_accuracy", "accuracy")}
)

# %% [markdown]
# The same from the command line, with the restorations: `daclip-lab evaluate --protocol paper --data my_set`. With the
# lab's own degradations on any folder of clean photos: `daclip-lab evaluate --data my_photos`. (Four images a row, as
# here, are an example of the layout, not a result.)
#
# ## 10 · Your turn
#
# **Exercise 05.1: predict.** Only two answers. The image has cosine 0.7 to one word and 0.6 to the other, and the learned
# scale is 20. How sure is the first answer at temperature 2?

# %%
answer = ...  # a number between 0 and 1

check("05.1", answer)

# %% [markdown]
# <details><summary>Solution 05.1</summary>
#
# ```python
# answer = torch.tensor([20 * 0.7 / 2, 20 * 0.6 / 2]).softmax(0)[0]
#
# check("05.1", answer)
# ```
#
# The logits differ by 1, and with two answers the softmax is the logistic function of the difference. At temperature 1 they
# differ by 2, and the same image gets 88 %. Nothing about the image has changed.
#
# </details>

# %% [markdown]
# **Exercise 05.2: a prompt ensemble.** Average the embeddings of several phrasings of each answer.


# %%
def prompt_ensemble(texts):
    """What stands for each answer: (k, d), of length 1.

    texts: (k, m, d), the embeddings of m phrasings of each of k answers, of length 1.
    """
    return ...  # your code


check("05.2", prompt_ensemble)

# %% [markdown]
# <details><summary>Solution 05.2</summary>
#
# ```python
# def prompt_ensemble(texts):
#     return F.normalize(texts.mean(1), dim=-1)
#
#
# check("05.2", prompt_ensemble)
# ```
#
# The mean of directions is shorter the more they differ. Left so, an answer with varied phrasings would lose against
# one with six times the same word, only because of its length.
#
# </details>

# %% [markdown]
# **Exercise 05.3: not more than so many false alarms.** Find the smallest bias on "clean" with which at most a given share of
# clean images is called something else.


# %%
def bias_on_clean(logits, clean, wanted):
    """What to add to the logit of "clean", one number.

    logits: (n, k) of n images that are all clean; clean: the column of that answer; wanted: a share, 0..1.
    """
    return ...  # your code


check("05.3", bias_on_clean)

# %% [markdown]
# <details><summary>Solution 05.3</summary>
#
# ```python
# def bias_on_clean(logits, clean, wanted):
#     others = torch.cat([logits[:, :clean], logits[:, clean + 1 :]], 1).amax(1)
#     return (others - logits[:, clean]).quantile(1 - wanted)
#
#
# check("05.3", bias_on_clean)
# ```
#
# An image raises an alarm while the best other answer leads "clean" by more than the bias. So the bias is a quantile of
# that lead. No degraded image is needed to choose it, but without any, one does not learn what it costs.
#
# </details>

# %% [markdown]
# **Exercise 05.4: the calibration error.** Sort answers into equal bins of probability (0 to 0.1, 0.1 to 0.2, ... for ten).
# In each bin compare how sure they are with how often they are right; average the absolute gaps, each weighed by the
# share of the answers that its bin holds.


# %%
def calibration_error(probability, right, bins):
    """The expected calibration error, a number 0..1.

    probability: (n,) of the answers given; right: (n,) whether they were right; bins: how many.
    """
    return ...  # your code


check("05.4", calibration_error)

# %% [markdown]
# <details><summary>Solution 05.4</summary>
#
# ```python
# def calibration_error(probability, right, bins):
#     which = (probability * bins).long().clamp(max=bins - 1)
#     error = 0.0
#     for k in which.unique():
#         inside = which == k
#         gap = probability[inside].mean() - right[inside].double().mean()
#         error += gap.abs() * inside.double().mean()
#     return error
#
#
# check("05.4", calibration_error)
# ```
#
# It is never quite zero: with few answers in a bin, even a calibrated classifier is off by chance. Compare errors over as
# many images, and with as many bins.
#
# </details>

# %% [markdown]
# ## The numbers obtained

# %%
overall = lab.bootstrap_interval(right - right_alone, of)
pd.Series(
    {
        "named right, of ten: CLIP alone": paired.loc["overall", "CLIP alone"],
        "named right, of ten: DA-CLIP": paired.loc["overall", "DA-CLIP"],
        "difference on the same images": paired.loc["overall", "difference"],
        "named right, of eleven: one word": f"{asked_in_ways.value['one word']:.1%}",
        "named right, of eleven: all training phrasings": f"{asked_in_ways.value[every]:.1%}",
        "named right, of eleven: held-out phrasings": (
            f"{asked_in_ways.value['phrasings that were held out']:.1%}"
        ),
        "both of two degradations in the top two": mixtures.loc["both of the two", "DA-CLIP"],
        "false alarms / misses as it comes": " / ".join(clean_or_not.iloc[:2, 0]),
        "false alarms / misses with a bias": " / ".join(clean_or_not.iloc[:2, 1]),
        "calibration error, temperature 1": errors["DA-CLIP, temperature 1"]["calibration error"],
        "calibration error, fitted": errors["DA-CLIP, fitted"]["calibration error"],
        "the degraded half speaks louder": "{:.0%} [{:.0%}, {:.0%}]".format(*pointing),
        "seconds for this notebook": f"{time.perf_counter() - start:.0f}",
    },
    name=f"obtained, scale {scale.name}; in brackets 95 % intervals over photos",
).to_frame()

# %% [markdown]
# ## What next
#
# - `04_degradation_space`: the same embeddings as a map, and what a probe reads in them that no word asks for.
# - `06_mean_reverting_sde` and `07_train_restorer`: the restorer that is told the degradation embedding.
# - `daclip-lab classify`, `evaluate`, `calibrate`, `report`: this notebook, on your images.
#
# ## References
#
# - Z. Luo et al. *Controlling Vision-Language Models for Multi-Task Image Restoration.* ICLR 2024,
#   [arXiv 2310.01018](https://arxiv.org/abs/2310.01018). Table 1 and section 4.1.
# - A. Radford et al. *Learning Transferable Visual Models From Natural Language Supervision.* ICML 2021,
#   [arXiv 2103.00020](https://arxiv.org/abs/2103.00020). Section 3.1.4: prompts and ensembles of prompts.
# - C. Guo et al. *On Calibration of Modern Neural Networks.* ICML 2017,
#   [arXiv 1706.04599](https://arxiv.org/abs/1706.04599).
# - M. Sundararajan et al. *Axiomatic Attribution for Deep Networks.* ICML 2017,
#   [arXiv 1703.01365](https://arxiv.org/abs/1703.01365).
# - B. Efron and R. Tibshirani. *An Introduction to the Bootstrap.* 1993.
