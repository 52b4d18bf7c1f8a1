# %% [markdown]
# # 09 · Ablations
#
# **What is each of DA-CLIP's two embeddings worth to a restorer? Leave it out and see; but decide first whether to leave
# it out of a network that was trained with it, or out of its training, and how much luck there is in the answer.**
#
# *You will learn*
# - the difference between *not told* and *trained without*, and why they need not agree;
# - what the shipped restorer gains from being told what is wrong, what is shown, both, the truth, or something false;
# - how to train variants so that they differ in one thing only;
# - why pairs, why seeds, why two kinds of interval; what three seeds can decide and what they cannot;
# - how to choose the number of seeds, and why the best one must not be shown.
#
# *You need* the tour (`00_tour`), a rough idea of what a restorer is told (`07_train_restorer`), means and standard
# deviations. Nothing is downloaded.
#
# *Time*: five to six minutes to run on two CPU cores, nearly all of it for the fifteen small trainings of part 5; half an
# hour to read.

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
import numpy as np
import pandas as pd
import torch
from scipy import stats

import daclip_lab as lab
from daclip_lab.ablation.conditioning import (
    build_eval_set,
    conditioning_gains,
    conditioning_variants,
    paired_differences,
)
from daclip_lab.ablation.study import VARIANTS, AblationPlan, ablate, differences_to, seed_interval
from daclip_lab.course import check, figures, settings

scale = lab.presets.current()
pipe = lab.load("lab")
print(f"scale {scale.name}")
print(f"daclip_lab {lab.__version__}, Python {platform.python_version()}")
print(f"torch {torch.__version__}, matplotlib {matplotlib.__version__}")

# %% [markdown]
# ## 1 · Two questions that sound alike
#
# An *ablation* takes a part away and measures what is lost. The restorer is told two things: the **degradation embedding**
# (what is wrong) and the **content embedding** (what is shown). "What is the degradation embedding worth?" can mean:
#
# | | A · at inference | B · in training |
# | --- | --- | --- |
# | what is done | one trained network; the embedding is replaced when it restores | a network for each variant, trained anew |
# | the question | how much does *this* network rely on it? | how well can a network do without it? |
# | cost | a few seconds | a training for each variant and seed |
# | what disturbs the answer | an input that it hardly met in training | luck: initial weights, batches, noise |
#
# They need not agree. Somebody who always had a map is lost without it; somebody who never had one has learned to look
# at the street signs. A network that is *trained without* the embedding can learn to see the damage by itself, since
# it has the degraded image before its eyes. Taking the embedding from a network that was trained with it shows how much
# it leans on it, which is often more than what the embedding is worth.
#
# The paper's figures of this kind are curves of training (B). Here are both.
#
# ## 2 · A: one restorer, told seven things
#
# Crops of the eight bundled photos, in all ten ways; the weights that come with the package have seen none of them. The
# shipped restorer undoes each crop again and again, in one step and from the same noise, and is told:
#
# - **none**: zeros for both embeddings;
# - **degradation** or **content**: one embedding of DA-CLIP, zeros for the other;
# - **both**: as always;
# - **oracle**: what a perfect DA-CLIP would say, the right word and CLIP's embedding of the *clean* crop;
# - **wrong word**: the word for another degradation, drawn at random, and its own content;
# - **another content**: the content embedding of another photo with the same damage, and its own degradation embedding.
#
# How familiar are these to the network? In its training, *both* embeddings were left out together, for one example in
# ten, and for one in twenty both came from another photo. So "none" is a case that it has practised, and "both" is the
# usual one. **One alone it has never met**, nor a stranger's content beside its own degradation; a wrong word seldom (the
# card of the weights tells how the training went). A loss there can mean that something is missing, or merely
# that it looks odd.
#
# **Predict**: which costs more, a wrong word or no word at all? And does it matter *whose* content it is told?

# %%
photos = lab.sample_photos("test")
crops = max(1, settings.examples(scale) // 20)
asked = build_eval_set(
    photos, lab.Protocol(crop=pipe.settings.clip.image_size, crops=crops, seed=9)
)
print(f"{len(asked.degraded)} degraded crops of {len(photos)} photos")

ways = conditioning_variants(pipe, asked)
gains, restored = conditioning_gains(pipe, asked, ways, steps=1)
to_nothing = paired_differences(gains, "none", asked.metadata)
figures.ablation.differences(
    to_nothing,
    "none",
    caption=f"The shipped restorer: how much better it restores the same crops than when it is told nothing, which gains "
    f"{gains['none'].mean():.2f} dB over the degraded ones. Lines: 95 % intervals over {len(photos)} photos.",
)

# %% [markdown]
# Read it from the dotted line. Right of it, being told helps. A wrong word or another photo's content should fall to
# the left of "both": how far says how much the network *listens* to that embedding. For the first prediction, compare
# "wrong word" with "content": both get the photo's own content, the one with a wrong word, the other with none. For
# the second, if "another content" lies where "both" lies, the restorer hardly cares what is shown. If it lies where
# "degradation" lies, it cares, but a stranger's content is no better than none. Left of that, it misleads.
#
# Two cautions about the oracle. Its embeddings are right, but in the end this network learned to listen to DA-CLIP with
# all of its habits, and DA-CLIP can say more than a word does: how strong the damage is, for one. And it is an unfair
# competitor: the embedding of the *clean* crop tells things that nobody can know for sure from the degraded one, such
# as how bright a dark scene had been. So it need not win, and where it does, a part of the gain cannot be had. Whether
# the truth helps a network that *learned* with it is a question for parts 5 to 7.
#
# The same for each degradation. Look where the two embeddings help differently, and which intervals reach across the
# line: here they rest on few crops. The table after it has all seven again, also against "both".

# %%
figures.ablation.differences_by_degradation(
    to_nothing,
    ["degradation", "content", "both", "oracle"],
    "none",
    caption=f"{len(asked.metadata) // len(lab.DEGRADATIONS)} crops of each degradation. Right of the dotted line: better than when told "
    "nothing. Lines: 95 % intervals over photos.",
)

# %%
to_both = paired_differences(gains, "both", asked.metadata).query("degradation == 'overall'")
pd.DataFrame(
    {
        "gain (dB)": gains.mean(),
        **{
            f"less that of {name} (dB)": (
                table.query("degradation == 'overall'")
                .set_index("conditioning")
                .apply(lambda line: f"{line.difference:+.2f} [{line.low:+.2f}, {line.high:+.2f}]", axis=1)
            )
            for name, table in (("none", to_nothing), ("both", to_both))
        },
    },
    index=pd.Index(gains.columns, name="told"),
).fillna("").round(2)  # fmt: skip

# %% [markdown]
# ## 3 · Look for yourself
#
# Choose two ways to tell and a degradation, and drag. The sentence below says what the right one gains over the left
# one, on this crop and on all crops of that degradation. The figure after it has all seven on the rainy crop.

# %%
shown = {
    name: int(np.flatnonzero((asked.metadata.degradation == name) & (asked.metadata.photo == "spices"))[0])
    for name in lab.DEGRADATIONS
}  # fmt: skip


def difference_of(left, right, degradation):
    """What telling the right one gains over the left one, in words."""
    inside = (asked.metadata.degradation == degradation).to_numpy()
    values = (gains[right] - gains[left]).to_numpy()
    mean, low, high = lab.bootstrap_interval(
        values[inside], asked.metadata.photo.to_numpy()[inside]
    )
    return (
        f"{right} less {left}: {values[shown[degradation]]:+.2f} dB on this crop; "
        f"on all {inside.sum()} {degradation} crops {mean:+.2f} dB, 95 % interval [{low:+.2f}, {high:+.2f}]"
    )


def two_ways(left="none", right="both", degradation="rainy"):
    """The same crop restored in two ways, and the clean crop."""
    case = shown[degradation]
    return restored[left][case], restored[right][case], asked.clean[case]


lab.compared(
    two_ways,
    labels=lambda left, right, degradation: (left, right, "clean"),
    describe=difference_of,
    left=list(ways),
    right=list(ways),
    degradation=list(lab.DEGRADATIONS),
)

# %%
case = shown["rainy"]
figures.images.strip(
    [asked.degraded[case], *(restored[way][case] for way in ways), asked.clean[case]],
    ["degraded\n", *(f"{way}\n{gains[way][case]:+.1f} dB" for way in ways), "clean\n"],
    zoom=2,
    caption="One rainy crop, restored seven times by the same network from the same noise. Only what it is told differs. "
    "Numbers: gain over the degraded crop. Look where streaks stay, and where colours suffer.",
)

# %% [markdown]
# ## 4 · Why pairs
#
# Some crops are easy and some are hopeless: gains differ by many decibels from crop to crop, and that is nothing that the
# telling has done. Each crop is restored under *both* conditions, so one can subtract crop by crop, and the hard and the
# easy ones drop out. Here are the two sides, each by itself, and then their difference, crop by crop:

# %%
crop_photos = asked.metadata.photo.to_numpy()
alone = {
    name: lab.bootstrap_interval(gains[name].to_numpy(), crop_photos) for name in ("none", "both")
}
paired = lab.bootstrap_interval((gains["both"] - gains["none"]).to_numpy(), crop_photos)
for name, (mean, low, high) in alone.items():
    print(f"{name:>16}: {mean:5.2f} dB [{low:5.2f}, {high:5.2f}], {high - low:.2f} dB wide")
print(
    f"{'paired difference':>16}: {paired[0]:.2f} dB [{paired[1]:.2f}, {paired[2]:.2f}], "
    f"{paired[2] - paired[1]:.2f} dB wide"
)

# %% [markdown]
# Two intervals that overlap say little about the difference; look at the interval *of the difference*. Had the two
# sides been asked about different photos, it would be about $\sqrt{a^2 + b^2}$ wide, with $a$ and $b$ the widths of the
# first two lines. Pairs help as far as the two sides go up and down together. They cost nothing but the care to use the
# same crops and the same noise.
#
# The intervals come from a *bootstrap*: eight photos are drawn from the eight, with replacement, and the mean is taken,
# again and again. Why photos and not crops? Crops of one photo are alike (notebook `02`). Eight photos are eight
# observations.
#
# ## 5 · B: trained without it
#
# Now fifteen trainings: five variants and three seeds. A lab restorer takes hours, so these are much smaller (narrow, five
# blocks) and short, and they practise only what they are asked in the end: one step, from $t = T$ to the clean image.
# They learn on crops of six other photos and drawn scenes. The exam asks about the eight bundled photos of part 2.
#
# Everything but the telling is held fast. The variants of one seed
# - start from the same initial weights;
# - see the **same batches in the same order**, with the same noise: which crop is drawn, and how it is degraded, is luck
#   that all five share, and that drops out of their differences;
# - have the same number of parameters; where an embedding is left out, its two layers get zeros and say nothing;
# - train for the same number of steps under the same learning rate. (A fairer race would tune the rate for each.)
#
# The training loop needs no option for this. It asks a DA-CLIP for two embeddings; it gets a stand-in that puts zeros in
# the place of what is left out (`ablation.study.MaskedDaCLIP`, which you will write in exercise 09.2). The oracle is an option of
# the loop: the word for what was done, and CLIP's embedding of the clean crop. No example is left untold, so that every
# network gets in the exam just what it got in training.
#
# **Predict**: the order of the five. And will three seeds be enough to see it?

# %%
steps = max(8, scale.restorer.steps // 32)
plan = AblationPlan(
    network={"kind": "nafnet", "width": 16, "encoder": (1, 1), "middle": 1, "decoder": (1, 1),
             "conditioning_dim": 64},
    recipe=replace(
        scale.restorer,
        steps=steps,
        batch_size=min(8, scale.restorer.batch_size),
        learning_rate=3e-3,
        warmup=steps // 16,
        t_max_prob=1.0,
        conditioning_dropout=0.0,
        wrong_conditioning=0.0,
    ),
    source=lab.Synthetic(photos=lab.sample_photos("train"), scene_prob=scale.scene_prob, clean_prob=0.0, severity=scale.severity),
    eval_set=build_eval_set(lab.sample_photos("test"), lab.Protocol(crop=scale.restorer.image_size, crops=max(1, crops // 2), seed=1)),
    eval_steps=tuple(round(steps * share) for share in (0.125, 0.25, 0.5, 0.75)),
)  # fmt: skip
network = lab.build_restorer(plan.network, pipe.settings.clip.embed_dim)
parameters = sum(p.numel() for p in network.parameters())
exam_photos = plan.eval_set.metadata.photo
print(f"{parameters / 1e6:.2f} million parameters, {steps} steps of {plan.recipe.batch_size} crops")
print(f"exam: {len(exam_photos)} degraded crops of {exam_photos.nunique()} photos")

before = time.perf_counter()
# Give it a file `out`, and finished runs are kept there and not done again.
result = ablate(pipe, plan, seeds=(0, 1, 2))
seconds = time.perf_counter() - before

# %% [markdown]
# ## 6 · Learning curves
#
# This is the picture that the paper shows, with one curve for each variant. Here a curve is the mean of three seeds and
# its band goes from the worst to the best of them. Look which curves part early, whether bands still overlap at the
# end, and whether the order is the one that you predicted.

# %%
figures.ablation.curves_with_bands(
    result.curves,
    caption="Gain on photos that are not trained on. Bands: from the worst to the best of three seeds. Where bands overlap, "
    "another seed might have swapped the curves. The last point is the running average of the weights, the others are not.",
)

# %% [markdown]
# A band hides something, though: whether the seeds go up and down *together*. Seed 2 may have drawn dull batches, and then
# all five variants suffer. So look at each seed by itself.
#
# ## 7 · What three seeds can decide
#
# Left: every run, the five of one seed joined by a line. Lines that run side by side mean that the variants differ by
# the same amount under every seed: pairs pay. (Without pairs, differences would scatter about √2 times as much as runs
# do; the last table has both spreads.) Right: the differences to "none", with two intervals that answer two questions.
#
# - **Over seeds** (thin): what if everything were trained again, with other weights and batches? Student's t for three
#   differences, so mean ± 4.30 · s / √3, about two and a half times their spread s.
# - **Over photos** (thick): what if *these* networks were asked about other photos? The bootstrap of part 4, for the
#   mean of the seeds. From eight photos it comes out too narrow, if anything: eight draws hardly show how far photos can
#   differ.
#
# Neither contains the other. A difference that others should find again, with their own seeds and their own photos, has
# to stand clear of zero in both. The table after the figure has the same in numbers; `spread` is the standard deviation
# of a variant's three runs.

# %%
factors = {n: stats.t.ppf(0.975, n - 1) for n in (2, 3, 5, 10, 30)}
print("t for 2, 3, 5, 10, 30 seeds:", ", ".join(f"{t:.2f}" for t in factors.values()))

table = differences_to(result.gains, exam_photos)
runs = result.gains.mean().unstack("variant")[list(VARIANTS)]
figures.ablation.seeds_and_photos(
    runs,
    table,
    "none",
    caption="Left: mean gain of each run; a line joins the runs of one seed. Right: differences to the runs that were told "
    "nothing, with 95 % intervals. Small dots: one per seed; a dot left of zero is a seed that says the opposite.",
)

# %%
table.astype(float).round(2)


# %%
def verdict(line):
    """What the two intervals of a difference say."""
    clear = {
        "seeds": line.seed_low > 0 or line.seed_high < 0,
        "photos": line.photo_low > 0 or line.photo_high < 0,
    }
    if all(clear.values()):
        return f"{'better' if line.difference > 0 else 'worse'} than none"
    if not any(clear.values()):
        return "not decided"
    (which,) = (name for name, value in clear.items() if not value)
    return f"not decided: other {which} could turn it"


rest = table.drop("none")
verdicts = rest.apply(verdict, axis=1).rename("by three seeds and eight photos")
heard_or_known = seed_interval(runs["oracle"] - runs["both"])
print(
    "trained with the truth instead of DA-CLIP's embeddings: oracle less both {:+.2f} dB, "
    "95 % interval over seeds [{:+.2f}, {:+.2f}]".format(*heard_or_known)
)
verdicts.to_frame()

# %% [markdown]
# How to read such a table without fooling oneself:
#
# - **"Not decided" is a result.** It says that the difference, if there is one, is small beside the luck, and how small: it
#   lies within the interval. It does not say that there is none. Where the differences drown, this notebook shows that
#   they drown at this size, and nothing about larger networks.
# - **Three seeds are the least that says anything.** With two degrees of freedom one does not even know the spread well.
#   Three seeds find a difference of more than about 2.5 times the spread of the differences. Exercise 09.4 turns that into a plan.
# - **Four comparisons, four chances to be wrong.** One 95 % interval in twenty misses. Among the four rows and the ten
#   degradations there is soon one that looks special. Decide beforehand which one counts.
# - **Never pick the best seed**, neither for a table nor for a picture: the best of three is lucky by construction, and the
#   more seeds one tries, the luckier. Exercise 09.1 says by how much.
# - **Small and short.** These networks saw a fraction of what the shipped one saw. Early in training, being told is a
#   short cut; with time a network may find out by itself. Whether the curves of part 6 come together is worth a look.
#
# ## 8 · Not told against trained without
#
# Both ablations, degradation by degradation: what "both" gains over nothing at all, once for the shipped network that
# is not told, once for the small ones that never were. The networks are of different sizes, so compare the pattern, not
# the decibels.
#
# **Predict**: where will a network that was never told have learned to see the damage by itself?

# %%
small = result.gains.T.groupby("variant").mean().T  # the mean over seeds, for each crop
trained = paired_differences(small, "none", plan.eval_set.metadata).query("conditioning == 'both'")
not_told = to_nothing.query("conditioning == 'both'")
both_ways = pd.DataFrame(
    {
        title: rows.set_index("degradation").apply(
            lambda line: f"{line.difference:+.2f} [{line.low:+.2f}, {line.high:+.2f}]", axis=1
        )
        for title, rows in (
            ("A: shipped, both less nothing (dB)", not_told),
            ("B: small, trained with both less without (dB)", trained),
        )
    }
)
without = small["none"].groupby(plan.eval_set.metadata.degradation).mean()
without["overall"] = small["none"].mean()
both_ways["B: gain of those without (dB)"] = without.map("{:+.2f}".format)
both_ways.loc[[*lab.DEGRADATIONS, "overall"]]

# %% [markdown]
# Intervals of single degradations rest on very few crops in B, one of each photo. They are there so that nobody takes the means
# for more than they are.
#
# If a degradation shows a large A and a small B, look at the last column. Where those without gain well, they have
# learned to see the damage by themselves: the shipped network leans on the embedding, but could have done without.
# Where they gain next to nothing, such small networks cannot undo this damage, told or not, and B does not answer. If A
# and B are large, the embedding carries something that the restorer does not see by itself in so short a training: a
# controller that was trained on far more images knows more about damage than the small networks do.
#
# ## 9 · Your turn
#
# **Exercise 09.1: predict.** Your variant is no better than the other one. The runs of both scatter by 0.1 dB from seed to
# seed (a normal distribution). You report the *best of your three* seeds, and for the other variant the mean over many
# seeds. By how many dB do you win, on average? Think, or draw numbers.

# %%
threes = 0.1 * torch.randn(100_000, 3, generator=lab.seeded(0))  # so many times three runs, in dB

answer = ...  # a number, in dB

check("09.1", answer)

# %% [markdown]
# <details><summary>Solution 09.1</summary>
#
# ```python
# threes = 0.1 * torch.randn(100_000, 3, generator=lab.seeded(0))
# answer = threes.amax(1).mean().item()
#
# check("09.1", answer)
# ```
#
# A gain out of nothing. With ten seeds to choose from it would be nearly twice as much.
#
# </details>

# %% [markdown]
# **Exercise 09.2: leave it out.** Write the mask that part 5 rests on. What the network is not to be told becomes zeros.
# (Why not simply a shorter vector, or ones? Its layers want the same shape, and only zeros say nothing: they have no biases.)


# %%
def leave_out(content, degradation, parts):
    """Both embeddings (b, d) with zeros in the place of what is not among `parts` ("content", "degradation").

    Returns two tensors, content first; what came in is not changed.
    """
    return ...  # your code


check("09.2", leave_out)

# %% [markdown]
# <details><summary>Solution 09.2</summary>
#
# ```python
# def leave_out(content, degradation, parts):
#     """Both embeddings (b, d) with zeros in the place of what is not among `parts` ("content", "degradation")."""
#     if "content" not in parts:
#         content = torch.zeros_like(content)
#     if "degradation" not in parts:
#         degradation = torch.zeros_like(degradation)
#     return content, degradation
#
#
# check("09.2", leave_out)
# ```
#
# With both left out, training gives exactly the weights of a training without any DA-CLIP. A test of the library says so.
#
# </details>

# %% [markdown]
# **Exercise 09.3: a paired interval.** Two variants were trained under the same n seeds. Write the 95 % interval of the
# difference (second less first). `stats.t.ppf(0.975, n - 1)` is the factor that replaces 1.96 when the spread is estimated
# from n values; `values.std(ddof=1)` is that estimate.


# %%
def paired_interval(first, second):
    """Both ends of the 95 % interval of the mean difference, for runs (n,) under the same seeds in the same order."""
    return ...  # your code


check("09.3", paired_interval)

# %% [markdown]
# <details><summary>Solution 09.3</summary>
#
# ```python
# def paired_interval(first, second):
#     """Both ends of the 95 % interval of the mean difference, for runs (n,) under the same seeds in the same order."""
#     difference = second - first
#     n = len(difference)
#     reach = stats.t.ppf(0.975, n - 1) * difference.std(ddof=1) / n**0.5
#     return difference.mean() - reach, difference.mean() + reach
#
#
# check("09.3", paired_interval)
# ```
#
# What the seeds share has dropped out of `difference` before any spread is taken.
#
# </details>

# %% [markdown]
# **Exercise 09.4: how many seeds?** You expect a difference of d, and paired differences scatter by s from seed to seed. Find the
# smallest number of seeds at which the interval of 09.3 reaches less than d to each side, so that a difference of d would
# just stand clear of zero. The last cell of this part then asks your function about the differences of part 7.


# %%
def seeds_needed(difference, spread):
    """The smallest number of seeds, at least 2; both arguments in dB."""
    return ...  # your code


check("09.4", seeds_needed)

# %% [markdown]
# <details><summary>Solution 09.4</summary>
#
# ```python
# def seeds_needed(difference, spread):
#     """The smallest number of seeds, at least 2; both arguments in dB."""
#     n = 2
#     while stats.t.ppf(0.975, n - 1) * spread / n**0.5 >= difference:
#         n += 1
#     return n
#
#
# check("09.4", seeds_needed)
# ```
#
# Half the difference needs about four times the seeds. And "just clear" means that such a study still fails every second
# time; who wants to be sure plans for more.
#
# </details>

# %%
apart = runs.sub(runs["none"], axis=0).drop(columns="none")
needed = {
    name: seeds_needed(max(0.02, abs(values.mean())), values.std(ddof=1))
    for name, values in apart.items()
}
if ... not in needed.values():
    print(
        "seeds at which a difference like the one obtained (at least 0.02 dB) would stand clear of zero:"
    )
    print(", ".join(f"{name}: {count}" for name, count in needed.items()))

# %% [markdown]
# ## The numbers obtained

# %%
overall = to_nothing[to_nothing.degradation == "overall"].set_index("conditioning")
pd.Series(
    {
        "A: the shipped restorer told nothing, gain (dB)": f"{gains['none'].mean():.2f}",
        **{
            f"A: {name} less nothing (dB)": f"{line.difference:+.2f} [{line.low:+.2f}, {line.high:+.2f}]"
            for name, line in overall.iterrows()
        },
        "B: small networks told nothing, gain (dB)": f"{table.loc['none', 'gain']:.2f}",
        **{
            f"B: {name} less none (dB), over seeds": (
                f"{line.difference:+.2f} [{line.seed_low:+.2f}, {line.seed_high:+.2f}]"
            )
            for name, line in rest.iterrows()
        },
        "B: spread over seeds of the gain, and of the paired differences (dB)": (
            f"{table.spread.mean():.2f} and {apart.std().mean():.2f}"
        ),
        "seconds for fifteen trainings": f"{seconds:.0f}",
        "seconds for this notebook": f"{time.perf_counter() - start:.0f}",
    },
    name="obtained",
).to_frame()  # fmt: skip

# %% [markdown]
# ## What next
#
# - More seeds, longer trainings: change `seeds` and `steps` in part 5, and give `ablate` a file `out`, so that it goes on
#   where it was interrupted.
# - `07_train_restorer`: how the two embeddings enter the network that was ablated here.
# - `04_degradation_space`: what else the degradation embedding knows besides the name.
# - Other parts to take away: a training without drawn scenes, without mixtures, with another objective. An `AblationPlan` holds all
#   that runs share; compare two plans under the same seeds.
#
# ## References
#
# - Z. Luo, F. K. Gustafsson, Z. Zhao, J. Sjölund, T. B. Schön. *Controlling Vision-Language Models for Multi-Task Image
#   Restoration.* ICLR 2024, [arXiv 2310.01018](https://arxiv.org/abs/2310.01018). Ablations: section 5.
# - X. Bouthillier et al. *Accounting for Variance in Machine Learning Benchmarks.* MLSys 2021,
#   [arXiv 2103.03098](https://arxiv.org/abs/2103.03098). What else varies besides the seed, and why to vary it.
# - R. Agarwal et al. *Deep Reinforcement Learning at the Edge of the Statistical Precipice.* NeurIPS 2021,
#   [arXiv 2108.13264](https://arxiv.org/abs/2108.13264). Intervals for a handful of runs.
# - L. Chen, X. Chu, X. Zhang, J. Sun. *Simple Baselines for Image Restoration.* ECCV 2022,
#   [arXiv 2204.04676](https://arxiv.org/abs/2204.04676). NAFNet.
