# %% [markdown]
# # 00 · The tour
#
# **One network looks at a photo, says what is wrong with it, and its answer steers a second network that repairs it.**
#
# *You will learn*
# - what DA-CLIP is asked (a degraded photo) and what it answers (two embeddings: *what is wrong* and *what is shown*);
# - how well it names ten degradations of photos that it has never seen, and how a plain CLIP does on the same ones;
# - what its embeddings look like from above, and how well they steer a restoration;
# - that it starts as an exact copy of CLIP, and learns the rest while you watch.
#
# *You need* a little Python. Having met CLIP (images and sentences share one space) helps; nothing else is assumed, no
# GPU is needed, and nothing is downloaded.
#
# *Time*: about two minutes to run on two CPU cores (the last cell prints what it took here), fifteen to read.

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
import os
import platform
from dataclasses import replace
from pathlib import Path

import matplotlib
import pandas as pd
import torch
from IPython.display import display
from PIL import Image, ImageOps
from sklearn.metrics import silhouette_score

import daclip_lab as lab
from daclip_lab.course import figures, settings
from daclip_lab.embeddings.projection import embedding_map, trustworthiness
from daclip_lab.figures.ablation.headline import conditioning_bars, restored_each_way

scale = lab.presets.current()
out = Path(os.environ.get("DACLIP_LAB_OUT", "../runs/tour"))
out.mkdir(parents=True, exist_ok=True)
print(f"scale {scale.name}")
print(f"daclip_lab {lab.__version__}, Python {platform.python_version()}")
print(f"torch {torch.__version__}, matplotlib {matplotlib.__version__}")

# %% [markdown]
# ## 0 · Is it worth it?
#
# The answer before the tour. One restorer restores the same degraded crops (256 px) again and again, conditioned on nothing, on
# plain CLIP, on DA-CLIP, on the truth, and on something false. Notebook `09` takes these
# results apart; `daclip-lab ablate headline` makes them anew.

# %%
headline = lab.StudyResults.published("headline")
conditioning_bars(headline, ["gain at 256 px"])

# %%
restored_each_way(
    headline, caption="One dark crop, restored by the same network; only the conditioning differs."
)

# %% [markdown]
# ## 1 · Ten ways to ruin a photo
#
# DA-CLIP knows ten degradations. Here they are on one photo that no training has seen. Each is a plain function of
# *(image, severity, seed)*: severity 0 leaves the photo alone, 1 is strong.
#
# **Predict**: which two would *you* confuse at a glance? Keep your answer for the confusion matrix in part 3.

# %%
photos = lab.sample_photos("test")


def middle(name, side):
    """The middle square of a test photo, reduced to side x side pixels."""
    photo = lab.to_pil(photos[photos.names.index(name)])
    return ImageOps.fit(photo, (side, side), Image.Resampling.LANCZOS)


osprey, spices, lake, colosseum = (
    middle(name, 112) for name in ("osprey", "spices", "lake", "colosseum")
)
degraded = {name: lab.degrade(osprey, name, severity=0.7, seed=3) for name in lab.DEGRADATIONS}
figures.images.degradation_gallery(osprey, degraded)

# %% [markdown]
# ## 2 · Ask what is wrong
#
# `lab.load("lab")` brings the weights that come with the package: a small CLIP, the controller that makes it
# degradation-aware, and a restorer. `pipe.classify` compares the photo's **degradation embedding** with the embeddings
# of words such as "hazy" or "rainy", and returns a probability for each of eleven answers: the ten, and *clean*.

# %%
pipe = lab.load("lab")

asked = [
    (colosseum, "rainy"),
    (lake, "hazy"),
    (spices, "noisy"),
    (colosseum, "snowy"),
    (osprey, "clean"),
]
images = [
    photo if name == "clean" else lab.degrade(photo, name, severity=0.6, seed=7)
    for photo, name in asked
]
truths = [name for _, name in asked]
answers = pipe.classify(images)
answers.assign(truth=truths).set_index("truth").style.format("{:.0%}").background_gradient(
    axis=None, vmin=0, vmax=1, cmap="Blues"
)

# %%
figures.classification.classification_bars(answers, truths, images)

# %% [markdown]
# ## 3 · Five pictures prove nothing: count
#
# Now crops of all test photos, each degraded in all ten ways at severities between 0.3 and 1, and left clean once. The
# same crops are shown to **CLIP alone**: the frozen network inside DA-CLIP, asked with the same words.
#
# **Predict**: CLIP has read captions that mention fog or night now and then. Will it beat the chance level of 1 in 10?

# %%
protocol = lab.Protocol(crops=max(1, settings.examples(scale) // len(photos)))
result = lab.evaluate(pipe, photos, protocol)
table = result.table()


def measured(measure, digits, factor=1):
    """A measure of the table with its 95 % interval, as text."""
    values = factor * table[[measure, f"{measure}_low", f"{measure}_high"]]
    return [
        "" if pd.isna(mean) else f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
        for mean, low, high in values.to_numpy()
    ]


print(f"protocol {protocol.hash}: {len(result.rows)} crops of {len(photos)} photos")
table[["n", "photos"]].assign(
    **{
        "CLIP alone (%)": measured("clip_accuracy", 0, 100),
        "DA-CLIP (%)": measured("accuracy", 0, 100),
    }
)

# %%
figures.classification.accuracy_and_gain(table.drop(columns="psnr_gain"))

# %% [markdown]
# The dotted line is what guessing gives. The distance between a square and its disk is what the controller adds. Mind
# the intervals: whole *photos* are drawn again for them, since crops of one photo are alike, and so few photos say little
# about all others.
#
# Where does it go wrong? Look beside the diagonal.

# %%
ten = table.loc[list(lab.DEGRADATIONS)]
figures.classification.confusion_heatmap(result.confusion(), ten.n)

# %%
columns = [m + end for m in ("accuracy", "clip_accuracy") for end in ("", "_low", "_high")]
table[["n", "photos", *columns]].to_csv(out / "classification.csv", index_label="degradation")

# %% [markdown]
# ## 4 · The same crops from above
#
# Every crop has a degradation embedding: a point on a sphere in many dimensions. UMAP draws a map that keeps
# neighbours together, PCA one that keeps the largest spread. Two maps, because each of them misleads in its own way.
#
# **Predict**: which degradations will lie next to each other?

# %%
batches = [lab.degraded_crops(photos, index, protocol) for index in range(len(photos))]
crops = [crop for _, seen, _ in batches for crop in seen]
facts = pd.DataFrame([fact for _, _, known in batches for fact in known])
content, degradation = pipe.encode(crops)
maps = {
    "UMAP": embedding_map(degradation, "umap", seed=0),
    "PCA": embedding_map(degradation, "pca"),
}
figures.spaces.embedding_scatter(maps, facts.degradation, facts.severity)

# %% [markdown]
# A map illustrates; a number in the original space decides. The **silhouette** is 1 when each degradation is a tight
# cluster of its own, 0 when they overlap, negative when most crops are nearer to another one. The **trustworthiness**
# of a map says how many neighbours on it are real (1: all; about 0.5: no better than a random map).

# %%
spaces = {
    "CLIP alone": pipe.encode_clip(crops),
    "DA-CLIP, content": content,
    "DA-CLIP, degradation": degradation,
}
apart = {
    space: silhouette_score(vectors, facts.degradation, metric="cosine")
    for space, vectors in spaces.items()
}
trusted = {name: trustworthiness(degradation, places) for name, places in maps.items()}
display(pd.DataFrame({"silhouette of the degradations": apart}).round(2))
pd.DataFrame({"trustworthiness of the map": trusted}).round(2)

# %% [markdown]
# The degradation embedding *should* separate the degradations. The content embedding should *not*: it is trained to
# predict what the clean photo shows.
#
# ## 5 · Repair
#
# Restoration is a diffusion that starts from the degraded photo and ends at a clean one; both embeddings condition
# the network. PSNR measures how close the result is to the clean photo: in decibels, 10 dB more means a
# tenth of the squared error.

# %%
chosen = [
    ("osprey", "low-light"),
    ("colosseum", "rainy"),
    ("lake", "uncompleted"),
    ("spices", "shadowed"),
]
clean = [middle(photo, 128) for photo, _ in chosen]
ruined = [
    lab.degrade(photo, name, severity=0.6, seed=5)
    for photo, (_, name) in zip(clean, chosen, strict=True)
]
restored = [pipe.restore(image, seed=0) for image in ruined]


def decibels(image, reference):
    """The PSNR of one image in dB."""
    return lab.psnr(lab.read_image(image)[None], lab.read_image(reference)[None]).item()


labels = pd.DataFrame(
    {
        "degradation": [name for _, name in chosen],
        "psnr_input": [decibels(*pair) for pair in zip(ruined, clean, strict=True)],
        "psnr": [decibels(*pair) for pair in zip(restored, clean, strict=True)],
    }
)
figures.images.restoration_triptychs(ruined, restored, clean, labels)

# %%
pd.DataFrame({"degraded by": labels.degradation, "named": pipe.classify(ruined).idxmax(axis=1)})

# %% [markdown]
# Look twice where something is *missing* (erased strokes, thick streaks): the network has to invent it, and the clean
# photo shows what was really there. Compare the two columns, too: where a degradation is named wrongly, the restorer is
# conditioned on the wrong thing, and may leave the damage where it is. And again, four pictures prove nothing. Here are all crops
# of part 3:

# %%
columns = [m + end for m in ("psnr_input", "psnr", "psnr_gain") for end in ("", "_low", "_high")]
table[["n", "photos", *columns]].to_csv(out / "restoration.csv", index_label="degradation")

table[["n", "photos"]].assign(
    **{
        "PSNR before (dB)": measured("psnr_input", 1),
        "after (dB)": measured("psnr", 1),
        "gain (dB)": measured("psnr_gain", 1),
    }
)

# %%
figures.classification.accuracy_and_gain(table)

# %% [markdown]
# Each crop is compared with itself, so that differences between photos mostly cancel. The row *clean* of the table asks the opposite
# question: does the network leave an undamaged image alone? A negative gain there is the harm that it does.
#
# ## 6 · Drag it yourself
#
# The divider moves with mouse, finger or arrow keys.

# %%
lab.CompareSlider(ruined[1], restored[1], labels=(chosen[1][1], "restored"))

# %% [markdown]
# ## 7 · Watch it learn
#
# Where does the knowledge come from? DA-CLIP is a frozen CLIP and a *controller*: a trainable copy of CLIP's image
# tower, which outputs the degradation embedding and hands a correction to every block of the frozen one. The
# corrections pass through layers that start at zero. So a fresh DA-CLIP **is** CLIP. Before training one can check that:

# %%
fresh = lab.DaCLIP(copy.deepcopy(pipe.clip))  # a copy: the shipped weights stay as they are
size = pipe.settings.clip.image_size
exam = lab.Protocol(crop=size, crops=max(1, settings.examples(scale) // 12), seed=1)
batches = [lab.degraded_crops(photos, index, exam) for index in range(len(photos))]
seen = torch.cat([images for _, images, _ in batches])
done = [fact["degradation"] for _, _, known in batches for fact in known]
seen = seen[[name != "clean" for name in done]]
done = torch.tensor([lab.DEGRADATIONS.index(name) for name in done if name != "clean"])
words = pipe.word_embeddings[: len(lab.DEGRADATIONS)]

with torch.inference_mode():
    alone = fresh.clip.encode_image(seen)
    difference = max((part - alone).abs().max().item() for part in fresh.encode_image(seen))
print(f"largest difference between the fresh DA-CLIP and CLIP: {difference:.1e}")
assert difference < 1e-5

# %% [markdown]
# Now train it for about half a minute on crops of *other* photos and on drawn scenes. After every few steps it sits
# an exam on the crops of the test photos.
#
# The loss compares each image with the words of its whole batch. *Chance* is its value for embeddings that say nothing,
# *floor* the lowest that is possible.
#
# **Predict**: the exam's share before the first step is that of CLIP alone. Will half a minute be enough to pass it?


# %%
@torch.inference_mode()
def named_right(daclip):
    """The share of exam crops whose degradation is named right, of ten."""
    degradation = daclip.encode_image(seen).degradation
    return (degradation @ words.T).argmax(1).eq(done).float().mean().item()


recipe = replace(settings.short_training(scale), image_size=size)
source = lab.Synthetic(photos=lab.sample_photos("train"), scene_prob=scale.scene_prob)
first = lab.Batches(source, size=recipe.image_size, batch=recipe.batch_size, seed=recipe.seed)[0]
classes = torch.tensor([lab.LABELS.index(label) for label in first.labels])
levels = {
    "chance": lab.chance(classes, multi_positive=recipe.multi_positive),
    "floor": lab.floor(classes, multi_positive=recipe.multi_positive),
}
board = lab.TrainingBoard(
    recipe.steps,
    levels={"degradation_loss": levels, "named_right": {"chance": 1 / len(lab.DEGRADATIONS)}},
    curves={"named_right": "Named right", "degradation_loss": "Degradation loss (nats)"},
    measure=lambda: {"named_right": named_right(fresh)},
    measure_every=max(1, recipe.steps // 8),
    title="A controller, trained from CLIP",
)
board

# %%
board.run(lab.train_daclip(fresh, source, recipe))  # returns at once
board.wait()
exams = board.measurements.named_right

# %% [markdown]
# `lab.train_daclip` is a generator that yields every step; here the board takes the steps, and the caller
# decides what to do with it. Here is the same exam for all three, CLIP, the controller you just trained, and the
# shipped one:

# %%
pd.DataFrame(
    {
        "trained for": {"CLIP": "0 steps", "yours": f"{recipe.steps} steps", "shipped": "hours"},
        "named right (%)": {
            "CLIP": round(100 * exams[0]),
            "yours": round(100 * exams.iloc[-1]),
            "shipped": round(100 * named_right(pipe.daclip)),
        },
    }
)

# %% [markdown]
# ## 8 · Your turn
#
# **Exercise 1: how little haze is haze?** Degrade `colosseum` with more and more haze and print what `pipe.classify` makes
# of it. *Predict* the severity from which haze is the most probable answer. Does the answer change with the seed?
#
# <details><summary>One solution</summary>
#
# ```python
# for severity in (0.05, 0.1, 0.2, 0.4, 0.8):
#     answer = pipe.classify(lab.degrade(colosseum, "hazy", severity=severity, seed=0))
#     print(f"severity {severity:.2f}: {answer.idxmax():>16}, hazy {answer['hazy']:.0%}")
# ```
#
# A little haze is also just a pale photo, so somewhere the answer has to turn. Where it does depends on the photo and on
# the seed, which picks the haze's colour and depth. That is why tables average over many.
#
# </details>

# %%
# Your code here.

# %% [markdown]
# **Exercise 2: two things at once.** Photos are rarely ruined in one way only. Make `osprey` both dark and noisy with
# `daclip_lab.degradations.apply.mix`. Which of the two gets named? Which comes second? Does a restoration help with both?
#
# <details><summary>One solution</summary>
#
# ```python
# from daclip_lab.degradations.apply import mix
#
# generator = torch.Generator().manual_seed(0)
# both = mix(lab.read_image(osprey), [("low-light", 0.5), ("noisy", 0.5)], generator)
# print(pipe.classify(both).sort_values(ascending=False).head(3))
# lab.CompareSlider(both, pipe.restore(both), labels=("dark and noisy", "restored"))
# ```
#
# The probabilities sum to 1, so the answers compete: two true ones have to share. Try other pairs and other severities;
# the mixed photos of notebook 04 show where such embeddings lie on the map.
#
# </details>

# %%
# Your code here.

# %% [markdown]
# ## The numbers obtained

# %%
overall = table.loc["overall"]
pd.Series(
    {
        "named right by CLIP alone (%)": f"{100 * overall.clip_accuracy:.0f}",
        "named right by DA-CLIP (%)": f"{100 * overall.accuracy:.0f}",
        "silhouette of the degradation embeddings": f"{apart['DA-CLIP, degradation']:.2f}",
        "PSNR before restoration (dB)": f"{overall.psnr_input:.1f}",
        "PSNR after restoration (dB)": f"{overall.psnr:.1f}",
        "your controller, exam before and after training (%)": (
            f"{100 * exams[0]:.0f} and {100 * exams.iloc[-1]:.0f}"
        ),
        "protocol": protocol.hash,
        "seconds for this notebook": f"{time.perf_counter() - start:.0f}",
    },
    name="obtained",
).to_frame()

# %% [markdown]
# ## What next
#
# The course goes on, one idea a notebook.
#
# | notebook | its idea |
# | --- | --- |
# | `01_degradations` | ten ways to ruin an image, and mixtures of them; what a caption still says |
# | `02_clip_is_fooled` | CLIP's answers drift as the damage grows: the problem that DA-CLIP solves |
# | `03_train_daclip` | the controller in forty lines, then with the library |
# | `04_degradation_space` | maps, probes, unseen severities, mixtures, real photos |
# | `05_zero_shot_classification` | prompts, ensembles, calibration, your own folder |
# | `06_mean_reverting_sde` | the diffusion that starts from the degraded image, from scratch |
# | `07_train_restorer` | the network that restores, from scratch and live |
# | `08_compare_restorations` | samplers, steps, seeds and backbones side by side |
# | `09_ablations` | which part of the method does what, with intervals |
# | `10_paper_scale` | the authors' weights, your own data, many GPUs |
#
# ## References
#
# - Z. Luo, F. K. Gustafsson, Z. Zhao, J. Sjölund, T. B. Schön. *Controlling Vision-Language Models for Multi-Task Image
#   Restoration.* ICLR 2024, [arXiv 2310.01018](https://arxiv.org/abs/2310.01018). DA-CLIP itself.
# - Z. Luo, F. K. Gustafsson, Z. Zhao, J. Sjölund, T. B. Schön. *Image Restoration with Mean-Reverting Stochastic
#   Differential Equations.* ICML 2023, [arXiv 2301.11699](https://arxiv.org/abs/2301.11699). The diffusion behind it.
# - A. Radford et al. *Learning Transferable Visual Models From Natural Language Supervision.* ICML 2021,
#   [arXiv 2103.00020](https://arxiv.org/abs/2103.00020). CLIP.
# - L. McInnes, J. Healy, J. Melville. *UMAP: Uniform Manifold Approximation and Projection for Dimension Reduction.*
#   2018, [arXiv 1802.03426](https://arxiv.org/abs/1802.03426).
