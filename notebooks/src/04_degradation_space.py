# %% [markdown]
# # 04 · The degradation space
#
# **A map of embeddings is a picture of a space and no evidence about it: what the space holds is measured where it
# lives, in all its dimensions, on photos that the reader of the numbers never saw.**
#
# *You will learn*
# - what UMAP, t-SNE and PCA make of the same embeddings, what changes with the seed, and how to say what a map is
#   worth;
# - what to measure instead: silhouette, probes, severity, distances, drift, retrieval, CKA, each with an interval;
# - what the degradation embedding says about things it was not made for: severities, mixtures, whole photos, your own;
# - block by block, where a degradation becomes readable and where the content is repaired;
# - what arithmetic with degradations does to a restoration, and where it fails.
#
# *You need* the tour (`00_tour`) and the drift of `02_clip_is_fooled`. Nothing is downloaded or trained.
#
# *Time*: two to three minutes to run on two CPU cores (the last cell prints what it took), half an hour to read.

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
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

import daclip_lab as lab
from daclip_lab.ablation.embedding_arithmetic import combine, interpolate
from daclip_lab.course import analysis, check, figures, settings
from daclip_lab.data import embedding_table
from daclip_lab.degradations.apply import degrade, mix
from daclip_lab.embeddings import (
    alignment,
    class_separation,
    layers,
    paired_tests,
    probes,
    projection,
)

scale = lab.presets.current()
pipe = lab.load("lab")
print(f"scale {scale.name}")
print(f"daclip_lab {lab.__version__}, Python {platform.python_version()}")
print(f"torch {torch.__version__}, matplotlib {matplotlib.__version__}")

# %% [markdown]
# ## 1 · A table, and nothing else
#
# With the weights comes a table: 200 photos of the test split of BSDS500, which no training saw. A crop of each was
# degraded in ten ways, at a random severity from 0.3 to 1, and once left clean. There are no pixels in it: only what
# was done, and four embeddings of each image.
#
# | space | what it is |
# | --- | --- |
# | `clip` | CLIP's embedding of the degraded image, no controller |
# | `content` | the same with the controller's corrections: it should say what is *shown* |
# | `degradation` | the controller's own output: it should say what is *wrong* |
# | `clean` | CLIP's embedding of the crop before it was degraded: where `content` should be |
#
# Beside them stands what each image was called: `predicted` by DA-CLIP (with its `probability`), `clip_predicted` by CLIP
# alone. Your own folder gives the same kind of table: `pipe.embed("my/folder", out="mine.parquet")`.

# %%
whole = embedding_table.shipped()
chosen = whole.rows.photo.unique()[: 5 * settings.examples(scale)]
table = whole.select(whole.rows.photo.isin(chosen).to_numpy())
labels, photo_of = table.rows.degradation.to_numpy(), table.rows.photo.to_numpy()
print(table)
print(f"protocol {table.provenance['hash']}, weights {table.provenance['weights']}")
table.rows[["image", "degradation", "severity", "predicted", "probability", "clip_predicted"]].head(
    11
)

# %% [markdown]
# ## 2 · Three maps of one space
#
# Each embedding has many numbers; a map has two. PCA takes the two widest directions and projects. UMAP and t-SNE
# move points about until those who were neighbours are neighbours again. A map of thousands of marks is a smear, so
# some of the photos are enough here; all measures below use every row.
#
# **Predict**: which degradations will lie apart from all others? Which two will share an island?

# %%
some = table.select(table.rows.photo.isin(chosen[: settings.examples(scale)]).to_numpy())
kinds = some.rows.degradation.to_numpy()
print(some)
maps = {
    method: projection.map_table(some, "degradation", method) for method in ("umap", "pca", "tsne")
}
figures.embeddings.map_panels(maps, kinds)

# %% [markdown]
# Which of your islands do all three maps show? UMAP and t-SNE look tidier than PCA. Is the space tidy, or are they?
# Below each map stand two numbers.
# - **Trustworthiness** asks about the map's neighbours: were they neighbours before? 1: all. 0.5: as on a random map.
# - **Preserved** asks about the original neighbours: which share of the nearest 15 is still there?
#
# Even a good map loses many of the 15. It has to: in many dimensions far more points can be near each other than on
# paper.
#
# ## 3 · Why a map is not evidence
#
# **Predict**: the same embeddings, the same UMAP, another seed. What will change: who is near whom, the shape of the
# islands, or the gaps between them? And what will UMAP draw when it is given random directions in which there is
# nothing?

# %%
rng = np.random.default_rng(0)
nothing = replace(some, degradation=rng.standard_normal(some.degradation.shape))
again = {
    "UMAP, seed 1": projection.map_table(some, "degradation", "umap", seed=1),
    "UMAP, seed 2": projection.map_table(some, "degradation", "umap", seed=2),
    "UMAP of random directions": projection.map_table(nothing, "degradation", "umap"),
}
figures.embeddings.map_panels(again, kinds)

# %% [markdown]
# Now the gaps. Take the centre of each class, and all distances between centres: on a map, and in the space itself. If
# gaps on a map meant something, the order of the distances would be the same (a rank correlation of 1).


# %%
def gaps(vectors):
    """The distances between the centres of every two classes."""
    return pdist([vectors[kinds == label].mean(0) for label in lab.LABELS])


def same_order(first, second):
    """The rank correlation of two lists of gaps."""
    return spearmanr(gaps(first), gaps(second)).statistic


every = {"UMAP, seed 0": maps["umap"], "PCA": maps["pca"], "t-SNE": maps["tsne"], **again}
trust = pd.DataFrame(
    {
        name: {
            "trustworthiness": one.trustworthiness,
            "neighbours preserved": one.preservation,
            "gaps as in the space": same_order(one.coordinates, some.degradation),
            "gaps as with seed 0": same_order(one.coordinates, maps["umap"].coordinates),
        }
        for name, one in every.items()
    }
).T
trust.round(2)

# %% [markdown]
# So: look at who is near whom, and only as far as the two numbers allow. The order of the gaps may survive in part
# (the table says how far), but not their lengths, nor the size and the shape of islands. And when seeds agree, that
# is partly arranged: the library's UMAP and t-SNE start from PCA, which keeps their islands in a coarse order. PCA
# itself only projects; it invents nothing, and shows what little fits into two directions. Random directions give a
# disc without islands of one colour. Its two numbers are above those of a random map, since it was fitted to these
# very points: that is the level to compare with.
#
# ## 4 · Evidence: the space itself
#
# What a stranger could do with the embeddings is a fair question, and it has answers with intervals. Each measure below
# rests on all dimensions. A **probe** is a simple reader, trained on some photos and asked about others, so that it
# cannot recognise the photo. For all intervals whole *photos* are drawn again (the bootstrap).
#
# | measure | what it asks |
# | --- | --- |
# | linear probe, neighbours | can the degradation be read, by a plane or by the 10 nearest? |
# | silhouette | are the classes tight and apart? |
# | content read, R² | how much of CLIP's embedding of the *clean* crop can be told from this one? |
# | cosine, R@1 | how near is it to the clean partner, and is that found first among all? |
# | linear CKA (centred kernel alignment) | is the whole geometry that of the clean images? |
#
# A perfect pair of embeddings would be **disentangled**: the degradation read off one of them only, the content off the
# other only.
#
# **Predict**: will the content embedding have forgotten the degradation?

# %%
spaces = ("clip", "content", "degradation")
split = analysis.disentanglement(table)
found = [
    {"measure": words, "space": row.space, **row[list(lab.Estimate._fields)]}
    for what, words in (
        ("degradation", "degradation read, linear probe"),
        ("content", "content read, R²"),
    )
    for _, row in split[split.target == what].iterrows()
]
measures = {
    "degradation read, 10 neighbours": lambda space: probes.probe_accuracy(
        table, space, probe="knn"
    ),
    "silhouette of degradations": lambda space: class_separation.silhouette(table, space),
    "cosine to the clean partner": lambda space: alignment.clean_cosine(table, space),
    "clean partner found first (R@1)": lambda space: lab.Estimate(
        *alignment.retrieval(table, space).loc["R@1"]
    ),
    "linear CKA with clean": lambda space: alignment.clean_cka(table, space),
}
for words, measure in measures.items():
    found += [{"measure": words, "space": s, **measure(s)._asdict()} for s in spaces]
found = pd.DataFrame(found)
figures.spaces.measures_by_space(
    found,
    caption=f"Over {len(chosen)} photos that no training saw; lines: 95 % intervals over photos. Some rows ask "
    "about the degradation, some about the content: a good embedding is far right in its own, left in the others.",
)

# %%
found.assign(
    obtained=[f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]" for row in found.itertuples()]
).pivot(index="measure", columns="space", values="obtained").reindex(
    index=found.measure.unique(), columns=spaces
)

# %% [markdown]
# Read the rows of the degradation first, then those of the content. The content embedding has forgotten the
# degradation only where its mark lies on the grey tick ("knows nothing"). Its two readers may differ: neighbours see
# what dominates, a plane also finds a small part. Look, too, at what a linear probe reads off CLIP's own embedding,
# although nobody asked CLIP to put it there: that "the degradation is in this embedding" says little. What the
# controller adds is the difference (below: `first` is CLIP alone, `second` DA-CLIP). It is best measured in pairs, on
# the same images, because a difficult photo is difficult for both:

# %%
paired_tests.clip_vs_daclip(table).round(3)

# %% [markdown]
# (`embeddings.summary.summarize(table)` measures all of this in one call, for a table of your own.)
#
# ### A control: labels that mean nothing
#
# Could a probe with so many dimensions read *anything*? Shuffle the labels within each photo and ask again. Each photo
# still has each label once. If the probe finds more than chance now, the *measure* is wrong.

# %%
shuffled = np.concatenate([rng.permutation(labels[photo_of == photo]) for photo in chosen])
blind = replace(table, rows=table.rows.assign(degradation=shuffled))
control = {
    "linear probe": probes.probe_accuracy(blind, "degradation"),
    "10 neighbours": probes.probe_accuracy(blind, "degradation", probe="knn"),
    "silhouette": class_separation.silhouette(blind, "degradation"),
}
pd.DataFrame({name: one._asdict() for name, one in control.items()}).T.round(3)

# %% [markdown]
# (One shuffle is one draw of luck; chance should lie inside the intervals, or near them. The silhouette falls *below*
# 0: it compares with the nearest of the other classes, and of ten that mean nothing one is always a bit nearer. And
# the map? It never saw a label. It is as tidy as before, whatever colours one gives it.)
#
# ### How strong is it?
#
# Ridge regression reads the severity, within each degradation. R² is the share of the variance that it explains: 0
# for a reader that knows nothing, below 0 for a worse one. Where the interval holds 0, perhaps nothing is read.

# %%
severity = probes.severity_regression(table)
severity[["value", "low", "high", "rmse", "n", "photos"]].round(2)

# %% [markdown]
# ### Who is near whom, really?
#
# The distances between class centres (1 minus the cosine), nearest pairs first, then the farthest. Compare them with
# the gaps on the maps, and with your prediction of part 2: is there a pair that the maps get wrong?

# %%
centres = class_separation.centroid_distances(table, "degradation")
pd.concat([centres.head(6), centres.tail(3)])[["first", "second", "value", "low", "high"]].round(2)

# %% [markdown]
# ### What the controller repairs
#
# The drift of `02_clip_is_fooled`, now on photos enough for narrow bands: how near is the embedding of the degraded
# crop to CLIP's of the clean one, without the controller and with it?

# %%
figures.severity.over_severity(
    alignment.content_drift(table),
    ylabel="cosine to the clean crop",
    level=(alignment.unrelated_cosine(table, "clip"), "a crop of another photo"),
    caption="Cosine to CLIP's embedding of the clean crop, in bins of severity; bands: 95 % over "
    f"{len(chosen)} photos. Where the solid line lies below the dashed one, the controller does harm.",
)

# %% [markdown]
# ## 5 · Newcomers
#
# So far every image came from the protocol. What does the space say of others: weaker degradations, two at once, whole
# photos? They come from the bundled photos; the weights have seen none of them.
#
# The tool is the simplest there is: the 15 nearest rows of the table, in the original space, and what was done to them.


# %%
def ask_neighbours(newcomers, k=15):
    """The share of each label among the k nearest rows of the table: a row for each newcomer."""
    nearest = np.argsort(-newcomers.degradation @ table.degradation.T, axis=1)[:, :k]
    return pd.DataFrame({label: (labels[nearest] == label).mean(1) for label in lab.LABELS})


bundled = lab.sample_photos("test").paths
photos = lab.Photos(bundled[: max(2, settings.examples(scale) // 5)])
size = pipe.settings.clip.image_size
per_photo = max(1, settings.examples(scale) // 20)
places = [(photo, number) for photo in range(len(photos)) for number in range(per_photo)]
crops = [lab.Photos([photos.paths[p]]).crop(lab.seeded(4, p, number), size) for p, number in places]

# %% [markdown]
# ### Severities that the reader never saw
#
# Fit the severity reader on the middle of the table only, 0.4 to 0.8. Then ask about everything from barely visible
# to the worst, on new photos.
#
# **Predict**: will it go on along the diagonal, or stay in the range that it knows?

# %%
known = (0.4, 0.8)
asked = (0.05, 0.2, 0.4, 0.6, 0.8, 1.0)
images, facts = [], []
for strength in asked:
    for index, name in enumerate(lab.DEGRADATIONS):
        for k, (photo, _) in enumerate(places):
            images.append(degrade(crops[k], name, strength, lab.seeded(5, k, index)))
            facts.append((photos.names[photo], name, strength))
facts = pd.DataFrame(facts, columns=["photo", "degradation", "severity"])
weak_to_strong = pipe.embed(images, metadata=facts)

lines = []
for name in lab.DEGRADATIONS:
    middle = ((labels == name) & table.rows.severity.between(*known)).to_numpy()
    reader = make_pipeline(StandardScaler(), RidgeCV(probes.ALPHAS))
    reader.fit(table.degradation[middle], table.rows.severity[middle])
    part = weak_to_strong.of(name)
    for strength, rows in part.rows.groupby("severity"):
        read = reader.predict(part.degradation[rows.index])
        ends = dict(
            zip(
                ("mean", "low", "high"),
                lab.bootstrap_interval(read, rows.photo.to_numpy()),
                strict=True,
            )
        )
        lines.append({"degradation": name, "severity": strength, **ends})
figures.spaces.severity_read(
    pd.DataFrame(lines),
    known,
    caption="Severity as a linear reader sees it, over the true one; bands: 95 % intervals over "
    f"{len(photos)} photos. Grey: the range that it was fitted on. Dotted: right.",
)

# %%
neighbours = ask_neighbours(weak_to_strong)
unseen = facts.assign(
    answer=(weak_to_strong.rows.predicted == facts.degradation),
    neighbours=(neighbours.idxmax(axis=1) == facts.degradation),
    clean=neighbours["clean"],
)
unseen.groupby("severity")[["answer", "neighbours", "clean"]].mean().rename(
    columns={
        "answer": "named right, words",
        "neighbours": "named right, neighbours",
        "clean": "share of clean neighbours",
    }
).round(2)

# %% [markdown]
# A flat curve means that the severity is not *seen* there, and the reader says "as always": look which curves are flat
# near the lower end, and which all along. Even a curve that rises lies flatter than the diagonal, since an unsure
# reader keeps near the mean. Weak degradations should have clean neighbours (by chance: one in eleven). Whether they do
# tells how much the space knows about being *nearly clean*.
#
# ### Two at once
#
# Now every crop carries two degradations, drawn from all 45 pairs. Would the answer name both, in its first two
# words? And is a mixture near the *sum* of its parts?

# %%
mixed, told = [], []
for index in range(len(photos)):
    _, twice, what = lab.mixed_crops(photos, index, lab.Protocol(crops=2 * per_photo))
    mixed += list(twice)
    told += what
told = pd.DataFrame(told)
mixtures = pipe.embed(mixed, metadata={"photo": told.photo})
order = pipe.probabilities(torch.from_numpy(mixtures.degradation)).argsort(1, descending=True)
first_two = [{pipe.settings.labels[k] for k in row} for row in order[:, :2].tolist()]
right = np.array(
    [
        len(said & {a, b})
        for said, a, b in zip(first_two, told["first"], told["second"], strict=True)
    ]
)


def direction(label):
    """The centre of a class in the table, of length 1."""
    return F.normalize(torch.from_numpy(table.degradation[labels == label]).mean(0), dim=0)


centre = {label: direction(label) for label in lab.DEGRADATIONS}


def near(vector, first, second):
    """Cosines of a mixture to the centres of its parts, their sum, and the nearest other."""
    parts = sorted((vector @ centre[name]).item() for name in (first, second))
    others = [vector @ c for name, c in centre.items() if name not in (first, second)]
    return (
        parts[1],
        parts[0],
        (vector @ combine(centre[first], centre[second])).item(),
        max(others).item(),
    )


names = ["nearer part", "other part", "sum of both", "nearest of the other eight"]
vectors = torch.from_numpy(mixtures.degradation)
to_parts = pd.DataFrame(
    [near(*each) for each in zip(vectors, told["first"], told["second"], strict=True)],
    columns=names,
)
for count, text in ((2, "both"), (1, "one"), (0, "none")):
    share, low, high = lab.bootstrap_interval((right == count).astype(float), told.photo.to_numpy())
    print(f"{text} among the first two answers: {share:.0%} [{low:.0%}, {high:.0%}]")
print(f"both, by guessing: {2 / (11 * 10):.1%}")
to_parts.mean().rename("mean cosine").to_frame().T.round(2)

# %% [markdown]
# Where the sum of both is nearer than either part, the space *adds*. Where the nearer part wins, one degradation
# hides the other (try to see drops on a lens through snow).
#
# On a map, one pair: dark *and* noisy, as photos at night are. Newcomers are the white stars; nothing else has moved.

# %%
night = pipe.embed(
    [mix(c, [("low-light", 0.6), ("noisy", 0.6)], lab.seeded(6, k)) for k, c in enumerate(crops)]
)
two = {method: maps[method] for method in ("umap", "pca")}
figures.embeddings.map_panels(
    two, kinds, new={method: made.place(night.degradation) for method, made in two.items()}
)

# %%
said = ask_neighbours(night).mean().sort_values(ascending=False).head(4)
said.rename("share of the 15 nearest").to_frame().T.round(2)

# %% [markdown]
# Mind how a newcomer gets its place. PCA projects it, as it did with the others. On a UMAP map, which has no such
# formula, the library puts it at the mean place of its five nearest rows: if these disagree, it lands *between*
# islands, where there is nothing. That is a property of the placing; whether a mixture is truly in between, only the
# numbers say.
#
# ### Real photos
#
# The bundled photos as they are, whole: nobody degraded them. For a whole photo the embedding is pooled over many
# views, while the table holds single crops; so do not be surprised if they lie a little aside. The last column says
# how near the nearest row is. Compare it with what a row of the table has (printed above the table).

# %%
similar = table.degradation @ table.degradation.T
similar[photo_of[:, None] == photo_of] = -1
print(f"a row of the table to the nearest of another photo: {similar.max(1).mean():.2f} on average")

real = pipe.embed(list(photos), metadata={"photo": photos.names})
around = ask_neighbours(real)
answers = real.rows[["photo", "predicted", "probability"]].assign(
    neighbours=[f"{row.idxmax()} {row.max():.0%}" for _, row in around.iterrows()],
    nearest=(real.degradation @ table.degradation.T).max(1),
)
answers.round(2)

# %%
middles = [F.avg_pool2d(photo[:, :, 112:560], 5) for photo in photos]  # a fifth of the size
figures.images.strip(
    middles,
    [
        f"{row.photo[:13]}\n{row.predicted}\n{row.probability:.0%}".replace("jpeg-", "jpeg-\n")
        for row in answers.itertuples()
    ],
    caption="The middle square of each bundled photo, made small, and what is said of the whole. All are clean, as far as their authors "
    "meant it: any other answer is a false alarm, or something in the scene that looks like damage.",
)

# %% [markdown]
# These are real, but not *really degraded*: no rain fell on them. The photos with true rain, haze and blur are yours.
# Put the path of a folder into the cell below. As long as there is none, it fills a folder of its own: these small
# squares, degraded by us, in subfolders named after what was done (so that `embed` knows it).

# %%
mine = None  # for example Path.home() / "Pictures" / "rain"

borrowed = tempfile.TemporaryDirectory()
if mine is None:
    mine = Path(borrowed.name)
    for k, image in enumerate(middles):
        name = lab.DEGRADATIONS[k]
        (mine / name).mkdir()
        lab.save_image(
            degrade(image, name, 0.7, lab.seeded(7, k)), mine / name / f"{photos.names[k]}.png"
        )
own = pipe.embed(mine)
around = ask_neighbours(own)
pd.DataFrame(
    {
        "image": [Path(image).name for image in own.rows.image],
        "known": own.rows.degradation,
        "predicted": own.rows.predicted,
        "probability": own.rows.probability.round(2),
        "neighbours": [f"{row.idxmax()} {row.max():.0%}" for _, row in around.iterrows()],
    }
).head(12)

# %%
borrowed.cleanup()
newcomers = {"the bundled photos, whole": real, "your folder": own}
figures.embeddings.map_panels(
    dict.fromkeys(newcomers, maps["umap"]),
    kinds,
    new={name: maps["umap"].place(found.degradation) for name, found in newcomers.items()},
)

# %% [markdown]
# ## 6 · The linked explorer
#
# Two spaces side by side, the same images in both: the bundled photos in ten degradations, now with their pixels. Point
# at a mark to see its image; click it for its nearest neighbours *in the original space*; draw around some to see them
# together. Choose what the maps show and what the colours mean, or put a photo of your own on both maps.
#
# Look for an image whose neighbours share its degradation in one space. In the other they should rather be the same
# photo with other degradations. And look for one that is called wrongly (colour: `predicted`): is it on the wrong
# island?

# %%
explorer = lab.EmbeddingExplorer(pipe=pipe)
explorer

# %% [markdown]
# The explorer answers Python too: `explorer.selected` holds the rows that you drew around, `explorer.export("rows.csv")`
# writes them. And `drift` measures how far each image lies in one space from where it lies in another. Here: from CLIP
# alone to the content embedding, which the controller corrected.

# %%
explorer.maps.drift("CLIP alone", "content").groupby("degradation").drift.agg(
    ["mean", "max"]
).sort_values("mean").round(3)

# %% [markdown]
# ## 7 · Block by block
#
# Where in the network does this come about? The same linear probe on the output of *every* block: of the controller,
# of CLIP alone, and of CLIP with the controller's corrections. And how near the degraded image is to its clean self
# at each block.
#
# **Predict**: does the degradation become readable early or late? Where does the repair begin?

# %%
inside = lab.Protocol(crops=max(1, settings.examples(scale) // 10))
parts = [lab.degraded_crops(photos, index, inside) for index in range(len(photos))]
clean, degraded = (torch.cat([part[k] for part in parts]) for k in (0, 1))
done = pd.DataFrame([fact for part in parts for fact in part[2]])
done = done[done.degradation != "clean"]
clean, degraded = clean[done.index.tolist()], degraded[done.index.tolist()]
what, origin = done.degradation.to_numpy(), done.photo.to_numpy()

traced, target = (layers.block_features(pipe.daclip, part) for part in (degraded, clean))
readable = layers.probe_by_block(traced, what, origin)
repaired = layers.clean_cosine_by_block(traced, target, origin)
figures.interpretability.block_curves(readable, repaired, chance=1 / len(lab.DEGRADATIONS))

# %% [markdown]
# On the left, look first at CLIP alone: what a probe reads there, nobody trained it to keep. Then compare the class
# token with the patches. Damage is a local thing, so one might expect the patches to show it first: do they? The class
# token alone reaches the embedding, so it is there that naming has to come about. On the right, watch behind which
# block the solid lines of CLIP with and without corrections part.
#
# How much is injected for that? The corrections pass through zero layers, which start at nothing; this is what training
# made of them.

# %%
injected = layers.injection_by_block(traced, what, origin)
figures.interpretability.injection_heatmap(injected)

# %% [markdown]
# A long correction is not a good one: compare its place with the place where the lines part.
# (`embeddings.attribution.attribute` asks about single patches of an image.)
#
# ## 8 · Arithmetic with degradations
#
# A degradation embedding is a direction, and the embeddings of words are directions in the same space. So one may
# tell the restorer something else than what the image says: `pipe.restore(image, degradation="hazy")`.
#
# **Predict**: a hazy photo, and the restorer is told "noisy". Will it remove haze all the same, do nothing, or do harm?

# %%
test = lab.sample_photos("test")
sharp = test[test.names.index("osprey")][:, 65:161, 215:311]
foggy = degrade(sharp, "hazy", 0.7, lab.seeded(8))


def gain(image):
    """dB of PSNR nearer to the clean photo than the hazy one is."""
    before = lab.psnr(foggy[None], sharp[None])
    return (lab.psnr(lab.read_image(image)[None], sharp[None]) - before).item()


words = ["hazy", "a foggy photo", "noisy", "low-light"]
restored = [pipe.restore(foggy), *(pipe.restore(foggy, degradation=word) for word in words)]
figures.images.strip(
    [sharp, foggy, *restored],
    ["clean\n", "hazy\n"]
    + [
        f"{title}\n{gain(image):+.1f} dB"
        for title, image in zip(["its own", *words], restored, strict=True)
    ],
    first=2,
    caption="What the restorer makes of one hazy crop when it is told what stands above: the image's own embedding "
    "first. The numbers are gains in PSNR over the hazy crop.",
)

# %% [markdown]
# "Noisy" did nothing if its gain is about 0, harm if it is well below. One crop is an anecdote. All words against all
# degradations, on four of the photos ("none": the restorer gets neither embedding):

# %%
varied = [test.names.index(name) for name in ("osprey", "spices", "lake", "colosseum")]
four = lab.Photos([test.paths[k] for k in varied[: max(1, settings.examples(scale) // 10)]])
steering = analysis.steering_table(pipe, four)
figures.steering.steering_heatmap(steering)

# %%
ten = [name for name in steering.index if name in lab.DEGRADATIONS]
square = steering.loc[ten, ten]
best = (square.idxmax(axis=1) == square.index).mean()
print(f"the right word is the best of ten for {best:.0%} of the degradations")
print(f"right word, mean gain: {np.diag(square).mean():+.2f} dB")
others = square.to_numpy()[~np.eye(len(ten), dtype=bool)]
print(f"wrong words, mean gain: {others.mean():+.2f} dB")
steering.loc[ten, ["own", "negated", "none"]].mean().round(2).rename("mean gain (dB)").to_frame().T

# %% [markdown]
# A restorer that listens has its best value on the diagonal, and loses elsewhere. A row that is the same all along is
# a restorer that *looks*: it sees the damage in the pixels and does not need to be told. Compare with "none", too:
# on the diagonal the difference is what being told the truth is worth, in "own" what the image's own embedding is
# worth, mistakes included.
#
# ### Interpolate
#
# From one word to another, along the arc between them. Does the restoration change gradually, or does it flip?

# %%
shares = np.linspace(0, 1, 6)
first, second = pipe.word("noisy"), pipe.word("hazy")
way = torch.stack([interpolate(first, second, float(share)) for share in shares])
along = [pipe.restore(foggy, degradation=vector, output_type="pt") for vector in way]
figures.steering.between_strip(
    foggy, along, shares, [gain(image) for image in along], ("noisy", "hazy")
)

# %% [markdown]
# ### Add, take out, negate
#
# Crops with two degradations at once. Does it help to be told *both* words? What if one of them is taken out of the
# image's own embedding, or the embedding is turned round? And is it better to restore twice?

# %%
sums = analysis.mixture_table(
    pipe,
    four,
    [("hazy", "noisy"), ("low-light", "noisy"), ("rainy", "snowy")],
    crops=max(1, settings.examples(scale) // 20),
)
figures.steering.mixture_gains(
    sums,
    {
        "own": "its own embedding",
        "first": "the first word",
        "second": "the second word",
        "both": "both words, added",
        "own - second": "its own, without the second",
        "negated": "its own, negated",
        "none": "nothing",
        "in turn": "two restorations in turn",
    },
)

# %% [markdown]
# Be strict in reading this. Intervals that overlap widely mean: with so few photos nobody can tell. "Both words" is
# only a success where it beats the *better* of the two. And if "negated" does as well as "its own", then the
# restorer is not listening, however pretty the arithmetic. Nothing in its training asked for a negated direction, or
# one halfway: what happens there is luck.
#
# ## 9 · Your turn
#
# **Exercise 04.1: predict.** 2000 images are put on a map at random. Which share of each image's 15 nearest
# neighbours does such a map keep, on average, when one looks at the 15 nearest on the map?

# %%
answer = ...  # a number between 0 and 1

check("04.1", answer)

# %% [markdown]
# <details><summary>Solution 04.1</summary>
#
# ```python
# answer = 15 / 1999
#
# check("04.1", answer)
# ```
#
# Fifteen of the 1999 others are near on the map, and each true neighbour is as likely among them as anyone. So even a
# map that keeps a third of the neighbours keeps very much more than a random one.
#
# </details>

# %% [markdown]
# **Exercise 04.2: what does a map keep?** Write the measure below the maps: the share of the k nearest neighbours in
# the original space (by cosine) that are among the k nearest on the map (by distance).


# %%
def kept(vectors, places, k):
    """The share of neighbours that a map keeps, a number.

    vectors: (n, d), not of length 1; places: (n, 2); k: how many neighbours.
    """
    return ...  # your code


check("04.2", kept)

# %% [markdown]
# <details><summary>Solution 04.2</summary>
#
# ```python
# def kept(vectors, places, k):
#     unit = F.normalize(vectors, dim=-1)
#     similar = (unit @ unit.T).fill_diagonal_(-2)  # nobody is his own neighbour
#     apart = torch.cdist(places, places).fill_diagonal_(torch.inf)
#     there = similar.topk(k).indices
#     here = apart.topk(k, largest=False).indices
#     return (there[:, :, None] == here[:, None, :]).any(-1).double().mean()
#
#
# check("04.2", kept)
# ```
#
# Leave the image itself out, or each of them finds one neighbour for free.
#
# </details>

# %% [markdown]
# **Exercise 04.3: labels that mean nothing.** Write the control of part 4: shuffle the labels, but only within each
# photo, so that each photo keeps the labels that it has.


# %%
def shuffle_within(labels, photos, rng):
    """The labels (n,), those of each photo in a random order; what came in stays as it is.

    labels, photos: numpy arrays (n,), the rows of a photo anywhere; rng: a numpy Generator.
    """
    return ...  # your code


check("04.3", shuffle_within)

# %% [markdown]
# <details><summary>Solution 04.3</summary>
#
# ```python
# def shuffle_within(labels, photos, rng):
#     mixed = labels.copy()
#     for photo in np.unique(photos):
#         mixed[photos == photo] = rng.permutation(labels[photos == photo])
#     return mixed
#
#
# check("04.3", shuffle_within)
# ```
#
# A shuffle across all rows would also break the bond between label and photo, and one would not know which of the two
# the probe had used.
#
# </details>

# %% [markdown]
# **Exercise 04.4: take one out.** What is left of a degradation when its part along another direction is removed?
# Return it with length 1.


# %%
def taken_out(direction, other):
    """The direction (d,) without its part along the other one (d,), of length 1.

    direction has length 1; the other one may have any length.
    """
    return ...  # your code


check("04.4", taken_out)

# %% [markdown]
# <details><summary>Solution 04.4</summary>
#
# ```python
# def taken_out(direction, other):
#     other = F.normalize(other, dim=-1)
#     return F.normalize(direction - (direction @ other) * other, dim=-1)
#
#
# check("04.4", taken_out)
# ```
#
# The rest is at a right angle to what was removed. Whether the restorer takes it for "the other degradation alone" is
# another question: see "its own, without the second" in part 8.
#
# </details>

# %% [markdown]
# ## The numbers obtained


# %%
def line(measure, space):
    """A measure of part 4, with its interval."""
    row = found[(found.measure == measure) & (found.space == space)].iloc[0]
    return f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]"


read, cosine = "degradation read, linear probe", "cosine to the clean partner"
pd.Series(
    {
        "images, photos": f"{len(table)}, {len(chosen)}",
        **{
            f"{name}: trustworthiness, preserved": (
                f"{made.trustworthiness:.2f}, {made.preservation:.0%}"
            )
            for name, made in every.items()
        },
        "degradation read off the degradation embedding": line(read, "degradation"),
        "the same, off CLIP alone": line(read, "clip"),
        "the same, off the content embedding": line(read, "content"),
        "the same, labels shuffled": str(control["linear probe"]),
        "content read off the content embedding, R²": line("content read, R²", "content"),
        "the same, off the degradation embedding": line("content read, R²", "degradation"),
        "severity, R² within a degradation": f"{severity.value['overall']:.2f}",
        "cosine to the clean partner, CLIP alone": line(cosine, "clip"),
        "the same, content embedding": line(cosine, "content"),
        "both of two degradations in the first two answers": f"{(right == 2).mean():.0%}",
        "whole bundled photos called clean": (
            f"{(real.rows.predicted == 'clean').sum()} of {len(photos)}"
        ),
        "right word best of ten": f"{best:.0%} of the degradations",
        "seconds for this notebook": f"{time.perf_counter() - start:.0f}",
    },
    name="obtained",
).to_frame()

# %% [markdown]
# ## What next
#
# - `05_zero_shot_classification`: the same embeddings, asked in words: prompts, ensembles, calibration.
# - `07_train_restorer` and `09_ablations`: how the restorer learns to listen, and what is lost when it is told less.
# - `daclip-lab embed my/folder -o mine.parquet`, then `daclip-lab report mine.parquet`: all of this for images of
#   your own, on one page.
#
# ## References
#
# - L. McInnes, J. Healy, J. Melville. *UMAP.* [arXiv 1802.03426](https://arxiv.org/abs/1802.03426).
# - L. van der Maaten, G. Hinton. *Visualizing Data using t-SNE.* JMLR 9, 2008.
# - J. Venna, S. Kaski. *Neighborhood preservation in nonlinear projection methods.* ICANN 2001. Trustworthiness.
# - P. Rousseeuw. *Silhouettes.* Journal of Computational and Applied Mathematics 20, 1987.
# - S. Kornblith et al. *Similarity of Neural Network Representations Revisited.* [arXiv
#   1905.00414](https://arxiv.org/abs/1905.00414).
# - G. Alain, Y. Bengio. *Understanding intermediate layers using linear classifier probes.*
#   [arXiv 1610.01644](https://arxiv.org/abs/1610.01644).
# - Z. Luo et al. *Controlling Vision-Language Models for Multi-Task Image Restoration.* [arXiv
#   2310.01018](https://arxiv.org/abs/2310.01018).
