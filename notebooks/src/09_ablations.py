# %% [markdown]
# # 09 · What matters? Ablations with seeds and intervals
#
# **Take a part away, and measure what is lost. The answer is worth as much as the care behind it: pairs, seeds,
# intervals, and a look beforehand at what the study is able to see.**
#
# *You will learn*
# - what conditioning is worth to a restorer, and whether it has to be DA-CLIP's;
# - why *not conditioned* and *trained without* are two questions;
# - why studies compare pairs, repeat seeds, and correct for the number of comparisons;
# - how the degradation embedding should enter a network, which parts of the controller matter, what guidance does;
# - how to add a variant of your own in five lines, and how to run a study elsewhere and larger.
#
# *You need* the tour (`00_tour`), a rough idea of how a restorer is conditioned (`07_train_restorer`), means and standard
# deviations. Nothing is downloaded.
#
# *Time*: about a minute to run on two CPU cores, most of it for your own variant in part 7; forty minutes to read.
# The studies themselves ran for an hour: their results come with the package, `daclip-lab ablate` makes them anew.

# %%
import time
from importlib.util import find_spec

start = time.perf_counter()
if find_spec("daclip_lab") is None:
    # As on Colab: installs the repository that this notebook lies in.
    from IPython import get_ipython

    get_ipython().run_line_magic("pip", "install --quiet ..")

# %%
import os
import platform
from dataclasses import replace
from pathlib import Path

import matplotlib
import pandas as pd
import torch
from IPython.display import Markdown
from scipy import stats  # noqa: F401  (for exercise 09.3)

import daclip_lab as lab
from daclip_lab.ablation.findings import findings
from daclip_lab.ablation.power import power_sentence
from daclip_lab.ablation.statistics import compare, seed_means
from daclip_lab.course import check
from daclip_lab.figures import ablation as figures

scale = lab.presets.current()
out = Path(os.environ.get("DACLIP_LAB_OUT", "../runs/tour")) / "own_study"
print(f"scale {scale.name}")
print(f"daclip_lab {lab.__version__}, Python {platform.python_version()}")
print(f"torch {torch.__version__}, matplotlib {matplotlib.__version__}")

# %% [markdown]
# ## 1 · Does conditioning help, and whose?
#
# The shipped restorer restores the same degraded crops again and again, in one step and from the same noise. Only its
# conditioning differs: **nothing** (zeros), **plain CLIP**'s embedding of the degraded crop or the word it finds nearest,
# **DA-CLIP**'s word or embeddings, the **truth**, and something **false**. In its training it met most of these: both
# embeddings, one of them, a word, nothing; CLIP's own embedding of a degraded crop is strange to it.
#
# **Predict**: is a wrong word worse than no word? And how much does the name alone give, without any embedding?

# %%
headline = lab.StudyResults.published("headline")
figures.headline.conditioning_bars(headline)

# %%
figures.headline.restored_each_way(
    headline, caption="One dark crop. The network is the same each time, and so is the noise."
)


# %%
def what_was_found(results):
    """The three sentences of a study: what was found, how sure it is, what it does not show."""
    found = findings(results)
    return Markdown(
        f"**Found.** {found.found}\n\n**How sure.** {found.sure}\n\n**Not shown.** {found.not_said}"
    )


what_was_found(headline)

# %% [markdown]
# <details><summary>The answers</summary>
#
# Look at "wrong word" beside "nothing": the network trusts its word, and a wrong one misleads it. "True word" beside
# "DA-CLIP's embeddings" shows how little an embedding adds to the right name, and "CLIP's word" beside "DA-CLIP's word"
# what it costs to get the name from a network that degradations fool.
#
# </details>
#
# ## 2 · Not conditioned, or trained without
#
# "What is an embedding worth?" can mean two things:
#
# | | A · at inference (part 1) | B · in training (here) |
# | --- | --- | --- |
# | what is done | one trained network; its conditioning is replaced | a network for each variant, trained anew |
# | the question | how much does *this* network rely on it? | how well can a network do without it? |
# | cost | seconds | a training for each variant and seed |
# | what disturbs the answer | an input that it hardly met in training | luck: initial weights, batches, noise |
#
# They need not agree. Somebody who always had a map is lost without it; somebody who never had one has learned to read
# the street signs. A network that is *trained without* the embedding can learn to see the degradation by itself.
#
# So here small restorers (a NAFNet of five blocks) are trained from scratch, each variant under five seeds. The variants of
# one seed start from the same weights and see the same crops in the same order; they have equally many parameters and
# steps.
#
# **Predict**: will the word of plain CLIP help at all? And who wins, DA-CLIP's embeddings or the true word?

# %%
trained = lab.StudyResults.published("conditioning")
figures.studies.study_figure(trained)

# %%
what_was_found(trained)

# %% [markdown]
# <details><summary>The answers</summary>
#
# A word that is often wrong is a word that a network learns to distrust: "CLIP's word" is no better than "nothing". The true
# word is never wrong. Between it and DA-CLIP's embeddings nothing is decided, neither here nor in part 1, but they lean to
# opposite sides: the long-trained network of part 1 rather makes use of what an embedding knows beyond the name.
#
# </details>
#
# By degradation: which of them does a short training not see by itself?

# %%
metric = trained.info["metric"]
shown = ["nothing", "CLIP's embedding", "DA-CLIP's word", "DA-CLIP's embeddings", "true word"]
some = trained.table[trained.table.variant.isin(shown)]
figures.studies.heat_map(some, "variant", "degradation", metric)

# %% [markdown]
# ## 3 · Why pairs, why seeds, why a correction
#
# **Pairs.** Some crops are easy and some are hopeless. Every crop is restored by *both* networks, so that one can subtract
# crop by crop, and what crops have in common with themselves drops out. Here with the embeddings always given in training,
# and with every tenth dropped:

# %%
pair = ["DA-CLIP's embeddings", "DA-CLIP's embeddings, dropout 0.1"]
gains = trained.table[trained.table.metric == metric]
by_photo = gains.pivot_table("value", "photo", "variant", observed=True)[pair]
paired = by_photo[pair[1]] - by_photo[pair[0]]
for way, spread in (("unpaired", by_photo.var().sum() ** 0.5), ("paired", paired.std())):
    reach = 1.96 * spread / len(paired) ** 0.5
    low, high = paired.mean() - reach, paired.mean() + reach
    print(f"{way:>8}: {paired.mean():+.2f} dB [{low:+.2f}, {high:+.2f}], 95 % over photos")

# %% [markdown]
# Pairs help as far as both networks find the same crops hard. Beside "nothing", which hardly changes a crop after so short a
# training, they would save little. And the lower interval looks decided, but it is not: photos are only one half of the luck.

# %% [markdown]
# **Seeds.** Another seed means other initial weights, other crops and other noise. Each row is a seed:

# %%
runs = seed_means(trained.table, metric).loc[shown].T
runs.round(2)

# %% [markdown]
# If the columns go up and down together, the luck of a seed is shared, and drops out of differences too.
#
# **Two kinds of "what if".** What if everything were trained again (seeds)? What if other photos were asked (photos)? An
# interval here covers both: it is computed from the spread between seeds *and* between photos, and widened as five seeds
# are few (Student's t).
#
# **A correction.** Of twenty intervals with 95 % confidence one is wrong, and the best one of ten comparisons has
# probably been lucky. The intervals of the figures hold *for all comparisons of a study at once*. Here both:

# %%
table = compare(trained.table, trained.info, metric)
columns = ["variant", "against", "difference", "low", "high", "low_all", "high_all", "decided"]
table[columns].round(2)

# %% [markdown]
# **Power.** How small a difference could such a study see at all? That is a question for *before* the run; the spreads come
# from a pilot:

# %%
conditioning = lab.study("conditioning")
photos = trained.table.photo.nunique()
for seeds in (3, 5, 10):
    print(power_sentence(conditioning, seeds, photos))

# %% [markdown]
# "Not decided" is therefore a result: if there is a difference, it is probably smaller than that. And never show the best
# seed: exercise 09.1 is about the gain that it makes out of nothing.
#
# ## 4 · How should the degradation enter?
#
# The paper adds a learned *prompt*, weighted by the embedding, to the time embedding. The lab scales and shifts the
# features of every block. One can also let pixels attend to a few tokens, or concatenate the embedding to the input.
#
# **Predict**: does it matter?

# %%
injection = lab.StudyResults.published("injection")
figures.studies.study_figure(injection)

# %%
what_was_found(injection)

# %% [markdown]
# <details><summary>The answer</summary>
#
# It does, in a short training. A likely reason: the prompt is weighted by a softmax, which is nearly even at first, so that
# it begins slowly, while the other three act on features at once. Whether it catches up is a question for a longer training.
#
# </details>
#
# ## 5 · Which parts of the controller matter?
#
# Eight controllers on the shipped CLIP, each with one part changed, trained for a short while: so this is about the first
# minutes of a training. The last two start with a front end of random weights, since no CLIP with a linear patch embedding
# comes with the package: compare them with each other.
#
# **Predict**: which change costs most?

# %%
controller = lab.StudyResults.published("controller")
figures.studies.study_figure(controller)

# %%
what_was_found(controller)

# %% [markdown]
# The name is not all that a controller is for. What each variant does to the *content* embedding (how much nearer it comes
# to CLIP's embedding of the clean crop than plain CLIP does):

# %%
content = compare(controller.table, controller.info, "cosine gain")
content[["variant", "against", "difference", "low_all", "high_all", "decided"]].round(3)

# %% [markdown]
# <details><summary>The answer</summary>
#
# For the name, the front end: a controller that begins with CLIP's own first layers is far ahead. The other choices differ by
# less than a short training can show. The alignment loss is nearly all that makes the content embedding cleaner, and the
# accuracy alone would never have shown it: a part can only be missed by a measure of what it is for.
#
# </details>
#
# ## 6 · Steps, samplers, guidance
#
# No training at all: the shipped restorer with more steps, with other samplers, and with guidance, which goes beyond the
# conditioned prediction by a weight w: $\hat x_0(\varnothing) + w\,(\hat x_0(e) - \hat x_0(\varnothing))$. Right is
# nearer to the clean image pixel by pixel, down is nearer in its textures.
#
# **Predict**: do twenty steps give a higher PSNR than one?

# %%
sampler = lab.StudyResults.published("sampler")
figures.headline.perception_distortion(sampler)

# %%
what_was_found(sampler)

# %% [markdown]
# <details><summary>The answer</summary>
#
# One step predicts the mean of all clean images that fit the degraded one, and no prediction has a higher PSNR than that
# mean: it is smooth. More steps choose one of those images and lose dB; whether its textures are nearer is not decided here:
# every sampler's interval of the distance leaves room for both. (This network was trained for one step most of the time.)
#
# </details>
#
# Guidance can also be had from the small restorer of part 2 that was trained with conditioning dropout:

# %%
figures.studies.guidance_curve(trained)

# %% [markdown]
# ## 7 · Look for yourself, then ask your own question
#
# Choose rows and columns, click a cell, and flip between two variants of the same crop (space bar).

# %%
lab.AblationExplorer(trained)

# %% [markdown]
# A variant is a name and a change to the trial of a study. Here is one of your own in five lines: does the prompt get
# better with a vector twice as long? The runs go on in the background while you read; finished ones are kept, and are not
# done again.

# %%
study = lab.study("injection")
small = replace(
    study.trial, budget=0.2, exam=8, large_exam=0, bank=replace(study.trial.bank, examples=256)
)
change = {"network.kind": "nafnet-prompt", "network.conditioning_dim": 128}
mine = replace(study, trial=small).with_variants(lab.Variant(name="longer prompt", change=change))
mine = mine if scale.name == "lab" else mine.smoke()

runner = lab.StudyRunner(
    mine, out, variants=["nothing", "prompt", "longer prompt"], seeds=2, parallel=0
)
print(power_sentence(mine, 2, 8))

# %%
results = runner.wait()
own = compare(results.table, [("longer prompt", "prompt"), ("prompt", "nothing")], mine.metric)
own[["variant", "against", "difference", "low_all", "high_all", "decided"]].round(2)

# %% [markdown]
# Two seeds and a fifth of the budget decide next to nothing, as the sentence above the run said they would. That is what it
# is for.
#
# The same from the shell, with more seeds, on your own photos, on a GPU, and with a restorer of your own that a module
# registers (`register_restorer`):
#
# ```
# daclip-lab ablate --list
# daclip-lab ablate injection --out runs/injection --seeds 10 --parallel 2 --train my_photos --test other_photos
# daclip-lab ablate my_module:STUDY --out runs/mine --device cuda --parallel 8
# ```
#
# `my_module.py` holds a study. For the paper's scale it names the paper's network, recipe and weights (`--weights` the
# authors' folder), and the engine does not change:
#
# ```python
# from dataclasses import replace
# import daclip_lab as lab
#
# @lab.register_restorer("mine")
# class MyRestorer(torch.nn.Module): ...  # the members of lab.Restorer
#
# paper, conditioning = lab.presets.paper(), lab.study("conditioning")
# trial = replace(conditioning.trial, network=paper.network, recipe=replace(paper.restorer, image_size=64))
# STUDY = replace(conditioning, trial=trial).with_variants(
#     lab.Variant(name="mine", change={"network": {"kind": "mine"}})
# )
# ```
#
# ## 8 · Your turn
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
# **Exercise 09.2: leave it out.** Write the mask behind "CLIP's word", "DA-CLIP's content" and the others of part 2. What
# the network is not conditioned on becomes zeros. (Why not simply a shorter vector, or ones? Its layers want the same
# shape, and only zeros add nothing: they have no biases.)


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
# With both left out, a training gives exactly the weights of a training without any DA-CLIP.
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
# **Exercise 09.4: how many seeds?** You expect a difference of d, and paired differences scatter by s from seed to seed.
# Find the smallest number of seeds at which the interval of 09.3 reaches less than d to each side, so that a difference of
# d would just stand clear of zero. The cell behind the solution asks your function about the differences of part 2.


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
apart = runs.sub(runs["nothing"], axis=0).drop(columns="nothing")
needed = {
    name: seeds_needed(max(0.02, abs(values.mean())), values.std(ddof=1))
    for name, values in apart.items()
}
if ... not in needed.values():
    print("seeds at which a difference like the one of part 2 would stand clear of zero:")
    print(", ".join(f"{name}: {count}" for name, count in needed.items()))

# %% [markdown]
# **Open task.** Add a variant that you believe in to one of the studies, write down beforehand what you expect and how small
# a difference you could see, run it with five seeds, and say in three sentences what was found, how sure it is, and what it
# does not show.
#
# ## The numbers obtained

# %%
decisive = {
    f"{results.info['name']}: {row.variant} against {row.against} ({results.info['unit']})": (
        f"{row.difference:+.2f} [{row.low_all:+.2f}, {row.high_all:+.2f}]"
    )
    for results in (headline, trained, injection, controller, sampler)
    for row in compare(results.table, results.info, results.info["metric"]).itertuples()
}
seconds = {"seconds for this notebook": f"{time.perf_counter() - start:.0f}"}
pd.Series(decisive | seconds, name="obtained").to_frame()

# %% [markdown]
# ## What next
#
# - [What matters in DA-CLIP](../docs/what_matters.md): all studies on one page, also those that were not run.
# - `07_train_restorer`: how the two embeddings enter the network that was ablated here.
# - `04_degradation_space`: what else the degradation embedding knows besides the name.
#
# ## References
#
# - Z. Luo, F. K. Gustafsson, Z. Zhao, J. Sjölund, T. B. Schön. *Controlling Vision-Language Models for Multi-Task Image
#   Restoration.* ICLR 2024, [arXiv 2310.01018](https://arxiv.org/abs/2310.01018). Ablations: section 5.
# - X. Bouthillier et al. *Accounting for Variance in Machine Learning Benchmarks.* MLSys 2021,
#   [arXiv 2103.03098](https://arxiv.org/abs/2103.03098). What else varies besides the seed, and why to vary it.
# - R. Agarwal et al. *Deep Reinforcement Learning at the Edge of the Statistical Precipice.* NeurIPS 2021,
#   [arXiv 2108.13264](https://arxiv.org/abs/2108.13264). Intervals for a handful of runs.
# - J. Ho, T. Salimans. *Classifier-Free Diffusion Guidance.* 2022, [arXiv 2207.12598](https://arxiv.org/abs/2207.12598).
