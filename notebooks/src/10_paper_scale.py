# %% [markdown]
# # 10 · At the scale of the paper
#
# **What you have used so far in small is, at full size, 300 million numbers in two files; the same few lines load the
# files that the authors released, run them on your photos, and train on as many GPUs as you have.**
#
# *You will learn*
# - what is inside the released files, and how they become a folder that `lab.load` takes;
# - where the paper's 49 and 95 million parameters sit;
# - what the hundred steps of a restoration do, and why some of them can be skipped only with care;
# - what large images cost in memory, and which part of the network is to blame;
# - how your own pairs have to lie on the disk, and how one command trains on many GPUs.
#
# *You need* the tour (`00_tour`), and notebook `06` or `07`. Nothing is downloaded. **Without the authors' files** this
# notebook makes files of the same layout with random numbers: everything runs, names and sizes are right, and what comes
# out means nothing. It says so wherever that matters.
#
# *Time*: under a minute to run on two CPU cores, fifteen minutes to read.

# %%
import time
from importlib.util import find_spec

start = time.perf_counter()
if find_spec("daclip_lab") is None:
    # As on Colab: installs the repository that this notebook lies in.
    from IPython import get_ipython

    get_ipython().run_line_magic("pip", "install --quiet ..")

# %%
import json
import os
import platform
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
from IPython.display import display
from PIL import Image, ImageOps

import daclip_lab as lab
from daclip_lab.course import check, figures
from daclip_lab.data.captions.writing import attribute_captions, write_captions
from daclip_lab.data.pairs import PairFolder
from daclip_lab.models.clip import Clip, views
from daclip_lab.pipeline.convert_official import authors_name, import_official

scale = lab.presets.current()
paper = lab.presets.paper()
print(f"scale {scale.name}")
print(f"daclip_lab {lab.__version__}, Python {platform.python_version()}")
print(f"torch {torch.__version__}, matplotlib {matplotlib.__version__}")

# %% [markdown]
# ## 1 · Two files
#
# The authors released, beside their code, pairs of files (their README links to them):
#
# | | CLIP | DA-CLIP | restorer |
# | --- | --- | --- | --- |
# | the paper, ten degradations | ViT-B/32 | `daclip_ViT-B-32.pt` | `universal-ir.pth` |
# | wild-IR, photos from the wild | ViT-L/14 | `wild-daclip_ViT-L-14.pt` | `wild-ir.pth` |
#
# Put the first two into `weights/daclip-uir` in this repository (with a network, `daclip-lab fetch daclip-uir` does
# it), or name their folder in the environment variable `DACLIP_LAB_OFFICIAL`, and this notebook uses them.

# %%
names = ("daclip_ViT-B-32.pt", "universal-ir.pth")
places = [os.environ.get("DACLIP_LAB_OFFICIAL", ""), "../weights/daclip-uir"]
found = [Path(p) for p in places if p and all((Path(p) / name).is_file() for name in names)]
real = bool(found)
weights_are = "the authors' weights" if real else "random weights"
print(f"using {weights_are}")

# %% [markdown]
# And where they are not there? Then we make their like: the same names and shapes, random numbers, in half precision to
# save room. This is also the best way to see what is in them. The authors' class holds the frozen CLIP (`clip.`), its
# image tower once more (`visual.`), and the controller (`visual_control.`, with the layers that start at zero in
# `zero_modules.`); training on several GPUs has put `module.` before each name. `authors_name` translates ours.
#
# **Predict**: the files made here hold float16 numbers. How many megabytes will they take?

# %%
work = Path(tempfile.mkdtemp(prefix="daclip-lab-"))
if scale.name == "smoke" and not real:  # the same in small, for the tests
    architecture = {
        "clip": replace(scale.clip, vocabulary=()),
        "network": {"kind": "unet", "channels": 32, "multipliers": (1, 2)},
    }
else:
    architecture = {"clip": paper.clip, "network": paper.network}


def released_layout(daclip):
    """The state dict of a DA-CLIP as the authors' files have it; the pooling over several views is not theirs."""
    own = {
        authors_name(name): tensor.half()
        for name, tensor in daclip.state_dict().items()
        if ".pooling." not in name
    }
    twice = {
        name.removeprefix("clip."): tensor
        for name, tensor in own.items()
        if name.startswith("clip.visual.")
    }
    return {f"module.{name}": tensor for name, tensor in (own | twice).items()}


if real:
    files = [found[0] / name for name in names]
else:
    files = [work / name for name in names]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = lab.DaCLIP(Clip(architecture["clip"]))
    wrapped = {"epoch": 50, "name": "random", "state_dict": released_layout(made)}
    torch.save(wrapped, files[0])
    made = lab.build_restorer(architecture["network"], architecture["clip"].embed_dim)
    torch.save({name: tensor.half() for name, tensor in made.state_dict().items()}, files[1])
    del made, wrapped

for file in files:
    print(f"{file.name}: {file.stat().st_size / 1e6:.0f} MB")

# %% [markdown]
# Made here, they take two bytes for each of 246 and 49 million numbers. The second image tower takes no room, because
# both names point to the same tensors. The released files take 1745 and 196 MB: four bytes a number, and the first one
# also keeps the state of its optimizer.
#
# ## 2 · A folder
#
# Both are *pickles*: programs that build objects when they are read. A pickle from the web can do anything that you
# can. So they are read once, with `weights_only=True`, which refuses all but tensors and plain values, and written as
# safetensors with a JSON beside them. In a shell:
#
# ```
# daclip-lab import-official daclip_ViT-B-32.pt universal-ir.pth -o weights/official
# daclip-lab classify photo.jpg --weights weights/official
# ```

# %%
settings = import_official(*files, work / "official", **architecture)
for file in sorted((work / "official").iterdir()):
    print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB")
written = json.loads((work / "official" / "pipeline.json").read_text())
facts = {
    "preprocessing": f"short side to {settings.clip.image_size}, centre; mean {written['clip']['mean']}",
    "view": settings.view,
    "steps": settings.steps,
    "labels": ", ".join(settings.labels),
    "restorer": str(settings.network),
} | {f"SHA-256 of {name}": f"{digest[:16]}..." for name, digest in settings.source.items()}
with pd.option_context("display.max_colwidth", None):
    display(pd.Series(facts, name="what the folder says").to_frame())

# %% [markdown]
# The settings matter as much as the weights. Shown pictures with another mean, the network would answer just as
# confidently, only wrongly; no error would tell. So the folder says what the weights were trained with, and `load` refuses
# what does not fit. Three ways to get it wrong:


# %%
def attempt(what, tensors=None, **changes):
    """What is answered when a released file or the folder's settings are not right."""
    try:
        if tensors is not None:
            torch.save(tensors, work / "broken.pth")
            import_official(files[0], work / "broken.pth", work / "never", **architecture)
        else:
            broken = written | changes
            (work / "official" / "pipeline.json").write_text(json.dumps(broken))
            lab.load(work / "official")
    except lab.InputError as error:
        print(f"{what}\n   {str(error).replace(str(work), '...')}\n")
    finally:
        (work / "official" / "pipeline.json").write_text(json.dumps(written, indent=2))


restorer = torch.load(files[1], map_location="cpu", weights_only=True)
attempt("a file without a tensor", {k: v for k, v in restorer.items() if k != "prompt"})
attempt("a part of DA-CLIP as the restorer", {"state_dict": {"logit_scale": torch.tensor(1.0)}})
attempt("settings with another mean", clip=written["clip"] | {"mean": [0.5, 0.5, 0.5]})
del restorer

# %% [markdown]
# ## 3 · Where the parameters are
#
# The paper speaks of 49 million parameters for the restorer. The controller is a copy of CLIP's image tower and twelve
# square matrices, about 95 million; CLIP itself, frozen, is larger than both.
#
# **Predict**: which share of all numbers does a training of the controller change?

# %%
pipe = lab.load(work / "official")


def count(module):
    """Parameters of a module, in millions."""
    return sum(p.numel() for p in module.parameters()) / 1e6


visual, zeros = pipe.daclip.controller.visual, pipe.daclip.controller.zeros
parts = {
    "CLIP, image tower": count(pipe.clip.visual),
    "CLIP, text tower": count(pipe.clip) - count(pipe.clip.visual),
    "controller, copy of the tower": count(visual),
    "controller, zero layers": count(zeros),
    "restorer": count(pipe.restorer),
}
trained = parts["controller, copy of the tower"] + parts["controller, zero layers"]
millions = pd.Series(parts)
pd.DataFrame({"millions": millions, "share": millions / millions.sum()}).style.format(
    {"millions": "{:.2f}", "share": "{:.0%}"}
)

# %%
caption = (
    "Parameters of each part. Grey is frozen, light blue are the controller's zero layers. Dotted: the sizes of the released "
    "controller (95 million) and restorer (49 million)."
)
with figures.style.canvas(figures.style.WIDTH, 270, caption) as figure:
    axes = figures.style.area(figure, 200, 24, 620, 168)
    groups = {
        "CLIP (frozen)": [parts["CLIP, image tower"], parts["CLIP, text tower"]],
        "controller": [parts["controller, copy of the tower"], parts["controller, zero layers"]],
        "restorer": [parts["restorer"]],
    }
    shades = {"CLIP (frozen)": ("#5f5f5f", "#858585"), "controller": ("#1f4e8c", "#7aa6dc")}
    inside = {"CLIP (frozen)": ("image tower", "text tower"), "controller": ("copy", "zeros")}
    for y, (name, values) in enumerate(groups.items()):
        left = 0
        for k, value in enumerate(values):
            color = shades.get(name, ("#c2570c",))[k]
            axes.barh(y, value, left=left, color=color, height=0.6)
            if name in inside and value > 0.06 * sum(map(sum, groups.values())):
                axes.text(left + value / 2, y, inside[name][k], ha="center", va="center",
                          color="white", fontsize=9)  # fmt: skip
            left += value
        axes.text(left, y, f"  {left:.1f}", va="center")
    for y, said in ((1, 94.94), (2, 48.98)):
        axes.plot([said, said], [y - 0.42, y + 0.42], ":", color=figures.palette.INK)
    axes.set_yticks(range(3), groups)
    axes.set(xlabel="millions of parameters", ylim=(2.6, -0.6))
    axes.set_xlim(0, 1.12 * max(95, max(map(sum, groups.values()))))
    axes.tick_params(axis="y", length=0)
figure

# %% [markdown]
# A third of all, then: the two rows of the controller. CLIP and its words stay as they were.
#
# ## 4 · Ask, and repair
#
# It is the same `pipe` as in every other notebook. What differs is what it sees: a CLIP of the paper's scale looks at
# one picture of 224 pixels square, the photo made small and cut to its middle, while the lab's looks at native crops, too.
#
# **Predict**: noise is a matter of single pixels. How much of it is left in the picture that CLIP gets to see?

# %%
photos = lab.sample_photos("test")
photo = lab.to_pil(photos[photos.names.index("osprey")])
photo = ImageOps.fit(photo, (480, 320), Image.Resampling.LANCZOS)
side = 96 if scale.name != "smoke" else 48
noisy = lab.degrade(photo, "noisy", severity=0.7, seed=1)
small = lab.degrade(photo.resize((3 * side // 2, side), 3), "noisy", severity=0.7, seed=1)
seen = views(lab.read_image(noisy), settings.clip.image_size, "resize")[0]

answer = pipe.classify(noisy)
began = time.perf_counter()
restored = pipe.restore(small, steps=2, seed=0)
seconds = time.perf_counter() - began
print(f"with {weights_are}: {answer.idxmax()} ({answer.max():.0%}), of ten answers")
print(f"{restored.width} x {restored.height} pixels in 2 steps: {seconds:.1f} s")

# %% [markdown]
# One thing is easily got wrong here. To name a degradation, directions are compared, so embeddings have length 1. But the
# authors' U-Net was trained on what CLIP's last layer says *as it is*. Bring it to length 1 and the prompt hardly moves
# from its bias: nothing fails, and the restorer is told next to nothing. `pipe.restore` asks `pipe.conditioning`.

# %%
lengths = {
    "pipe.encode, to name": pipe.encode([noisy]),
    "pipe.conditioning, to restore": pipe.conditioning([noisy]),
}
pd.DataFrame(
    {
        name: {kind: f"{part.norm():.2f}" for kind, part in said._asdict().items()}
        for name, said in lengths.items()
    }
).T.rename_axis(f"length ({weights_are})")

# %%
left_noise = (lab.read_image(noisy) - lab.read_image(photo)).std().item()
clean_view = views(lab.read_image(photo), settings.clip.image_size, "resize")[0]
in_view = (seen - clean_view).std().item()

shown = {
    "the noisy photo, its own pixels": noisy.crop((130, 30, 354, 254)),
    f"what CLIP sees ({seen.shape[-1]} px)": lab.to_pil(seen).resize((224, 224), Image.Resampling.NEAREST),
    f"restored in 2 steps,\n{weights_are}": restored.crop((0, 0, side, side)).resize((224, 224), Image.Resampling.NEAREST),
}  # fmt: skip
caption = (
    f"Noise of {255 * left_noise:.0f} of 255 in the photo is {255 * in_view:.0f} of 255 in what CLIP sees. "
    + (
        "Right: two steps of the released restorer, of a hundred."
        if real
        else "Right: random numbers restore nothing; put the authors' files in place and look again."
    )
)
with figures.style.canvas(
    3 * (224 + figures.style.GAP) + figures.style.GAP, 224 + 92, caption
) as figure:
    for k, (title, image) in enumerate(shown.items()):
        axes = figures.style.picture(
            figure, image, figures.style.GAP + k * (224 + figures.style.GAP), 44
        )
        axes.set_title(title, fontsize=10, pad=4)
figure

# %% [markdown]
# Making small takes noise away before CLIP looks, and blurs JPEG blocks: the larger the photo, the more. That is why
# the lab's pipeline looks at crops at native resolution, too. For the authors' weights it does not do that by itself:
# they were trained on resized pictures. To try it, say so: `pipe.settings = replace(pipe.settings, view="both")`.
#
# A hundred steps over a large photo take a GPU, or patience. What do these steps do?
#
# ## 5 · A hundred steps
#
# At time $t$ the state is $x_t = \mu + \alpha_t (x_0 - \mu) + \bar\sigma_t\,\epsilon$, with the clean photo $x_0$, the
# degraded one $\mu$ and standard normal noise $\epsilon$: of the difference between clean and degraded the share
# $\alpha_t$ is there, and noise of strength $\bar\sigma_t$.
#
# **Predict**: a restoration walks from right to left through the figure. Where does the noise go away?

# %%
sde = paper.build_sde()
times = np.arange(sde.steps + 1)
ten = torch.linspace(sde.steps, 0, 11).round().long().tolist()
caption = (
    "The paper's schedule (cosine, T = 100, noise of 50/255 at the end). Dots: the times that a restoration in ten steps "
    "visits, from right to left."
)
with figures.style.canvas(figures.style.WIDTH, 330, caption) as figure:
    content_axes, noise_axes = (
        figures.style.area(figure, 70 + 440 * k, 36, 340, 216) for k in (0, 1)
    )
    for axes, table, title, factor in (
        (content_axes, sde.alpha, "Share of the clean photo, $\\alpha_t$", 1),
        (noise_axes, sde.sigma_bar, "Noise in the state, $\\bar\\sigma_t$ (of 255)", 255),
    ):
        axes.plot(times, factor * table, color=figures.palette.INK)
        axes.plot(ten, factor * table[ten], "o", color="#c2570c")
        axes.set(title=title, xlabel="time t", xlim=(-2, 102))
        axes.set_ylim(0, None)
        axes.grid(axis="y")
figure

# %%
half_noise = int((sde.sigma_bar < sde.sigma_max / 2).nonzero().max())
half_clean = int((sde.alpha > 0.5).nonzero().max())
print(f"half of the noise is still there at t = {half_noise}")
print(f"half of the way from degraded to clean is done at t = {half_clean}")

# %% [markdown]
# The noise is the last thing to go. Down to about $t = 70$ little happens to either; then the mean moves from the
# degraded photo to the clean one while most of the noise stays, and only the last thirty steps or so take most of the
# noise away. A sampler that skips times and still takes the small steps of the full schedule never removes the noise of
# the times between: `docs/departures.md` has the numbers. `steps=10` here re-spaces the schedule, so that ten steps end
# without noise.
#
# ## 6 · Memory
#
# In the paper's network most attention is linear in the pixels. But at an eighth of the size, in three blocks, every pixel
# looks at every other: with $n = (\text{side}/8)^2$ pixels, 16 heads and 4 bytes a number, one matrix takes
# $16 \cdot n^2 \cdot 4$ bytes. Twice the side, sixteen times the memory.
#
# This library computes the same without writing the matrix down (`scaled_dot_product_attention`), and cuts images of more than
# a million pixels into tiles that agree with each other at every step.

# %%
sides = np.array([256, 512, 1024, 2048, 4096])
matrix = 16 * (sides / 8) ** 4 * 4
features = 4 * 512 * (sides / 8) ** 2 * 4  # queries, keys, values and the result, 512 channels
caption = (
    "One attention block of the paper's network, a square image, by arithmetic. "
    "`python -m benchmarks network` measures both ways."
)
with figures.style.canvas(figures.style.WIDTH, 350, caption) as figure:
    axes = figures.style.area(figure, 90, 24, 560, 252)
    axes.loglog(sides, matrix / 1e9, "-s", color="#c2570c")
    axes.loglog(sides, features / 1e9, "-o", color="#1f4e8c")
    axes.text(4400, matrix[-1] / 1e9, "matrix written down", va="center", color="#c2570c")
    axes.text(4400, features[-1] / 1e9, "without it", va="center", color="#1f4e8c")
    for card in (24, 80):
        axes.axhline(card, color=figures.palette.MUTED, linestyle=":", linewidth=1.3)
        axes.text(
            4400,
            card,
            f"a GPU with {card} GB",
            va="center",
            fontsize=9,
            color=figures.palette.MUTED,
        )
    axes.set(xlabel="side of the image (pixels)", ylabel="memory (GB)", xlim=(240, 4200))
    axes.set_xticks(sides, sides)
    axes.minorticks_off()
    axes.set_yticks([0.01, 0.1, 1, 10, 100, 1000], ["0.01", "0.1", "1", "10", "100", "1000"])
    axes.grid(axis="y")
figure

# %% [markdown]
# ## 7 · Your own data
#
# Pairs lie in the layout of the authors: a folder for each degradation, the degraded images in `LQ`, the clean ones in
# `GT` under the same names. The name of the folder is the word. Any word will do, though CLIP has to have met it.
# Captions stand in a tab-separated table, a line for each degraded image: what its clean partner shows, and the word.
# Here is a tiny such set, from bundled photos:

# %%
mine = work / "mine"
for name in ("rainy", "noisy"):
    for index, clean in enumerate(lab.sample_photos("train")):
        clean = ImageOps.fit(lab.to_pil(clean), (192, 160), Image.Resampling.LANCZOS)
        for kind in ("LQ", "GT"):
            (mine / "train" / name / kind).mkdir(parents=True, exist_ok=True)
        bad = lab.degrade(clean, name, severity=0.7, seed=index)
        lab.save_image(bad, mine / "train" / name / "LQ" / f"{index}.png")
        lab.save_image(clean, mine / "train" / name / "GT" / f"{index}.png")

new = write_captions(mine / "train", mine / "daclip_train.csv", attribute_captions)
print(f"{new} captions\n")
print(*sorted(str(p.relative_to(mine)) for p in mine.glob("train/*/*")), sep="\n")
print()
print(*(mine / "daclip_train.csv").read_text().splitlines()[:4], sep="\n")

# %% [markdown]
# In a shell that is `daclip-lab captions mine/train -o mine/daclip_train.csv`; with `--captioner blip` the captions are
# BLIP's, as in the paper. `data/mixed/README.md` tells how the paper's ten sets are put together.
#
# The restorer's training draws a degradation, each as often, then a pair, and takes the same patch of both images,
# mirrored and turned. The controller's draws every pair as often, and takes the whole image, made small. This is what
# the restorer gets:

# %%
source = PairFolder(mine / "train", crop="patch")
drawn = [source.draw(lab.seeded(0, k), 128) for k in range(4)]
caption = "As the restorer's training draws them: degraded above, clean below, then the caption's first words."
with figures.style.canvas(4 * (128 + 60) + figures.style.GAP, 2 * 128 + 132, caption) as figure:
    for k, example in enumerate(drawn):
        left = figures.style.GAP + k * (128 + 60)
        axes = figures.style.picture(figure, example.degraded, left, 28)
        axes.set_title(example.label, fontsize=10, pad=4)
        figures.style.picture(figure, example.clean, left, 28 + 128 + 4)
        words = example.caption.split()
        lines = [" ".join(words[i : i + 4]) for i in range(0, min(len(words), 12), 4)]
        figure.text(left / (4 * 188 + figures.style.GAP), 64 / (2 * 128 + 132), "\n".join(lines), fontsize=8, color=figures.palette.MUTED,
                    va="center")  # fmt: skip
figure

# %% [markdown]
# ## 8 · Many GPUs
#
# The recipes of the paper are `--scale paper`. `accelerate` starts a process for each GPU; the batch of the recipe is
# divided among them, so that one GPU and eight see the same images. (The controller's contrastive loss compares an
# image only with those on its own GPU, see `docs/scaling.md`.)
#
# ```
# accelerate launch --multi_gpu --num_processes 4 -m daclip_lab.cli train daclip \
#     --scale paper --weights pretrained --data data/mixed --out runs/paper-daclip
# accelerate launch --multi_gpu --num_processes 4 -m daclip_lab.cli train restorer \
#     --scale paper --weights runs/paper-daclip --data data/mixed --out runs/paper-restorer
# ```
#
# `--resume` goes on after an interruption, on as many GPUs with the same numbers as if there had been none. To start
# from the authors' controller instead of CLIP, give `--start weights/official`. What the recipes say:

# %%
recipes = {"controller": paper.daclip, "restorer": paper.restorer}
fields = {
    "steps": "steps",
    "images a step": "batch_size",
    "side of an image (pixels)": "image_size",
    "largest learning rate": "learning_rate",
    "warm-up (steps)": "warmup",
    "weight decay": "weight_decay",
}
table = pd.DataFrame(
    {
        name: {told: f"{getattr(recipe, field):,}" for told, field in fields.items()}
        for name, recipe in recipes.items()
    }
)
table.loc["images in all (millions)"] = [
    f"{recipe.steps * recipe.batch_size / 1e6:.1f}" for recipe in recipes.values()
]
table.loc["time that the paper gives"] = ["3 hours, 4 x A100", "not said"]
table

# %% [markdown]
# ## 9 · Your turn
#
# **Exercise 10.1: how large is too large?** With the formula of part 6: from which side on does *one* attention matrix
# (16 heads, 4 bytes a number) fill a GPU of 24 GB (24e9 bytes) alone?

# %%
answer = ...  # pixels

check("10.1", answer)

# %% [markdown]
# <details><summary>Solution 10.1</summary>
#
# ```python
# n = (24e9 / (16 * 4)) ** 0.5  # pixels of the map
# answer = 8 * n**0.5
#
# check("10.1", answer)
# ```
#
# About 1113 pixels. And softmax holds a second copy: at 1024 x 1024 the two take 34 GB.
#
# </details>

# %% [markdown]
# **Exercise 10.2: translate.** Write the other direction of `authors_name`: the authors' name in, ours out. The frozen
# `clip.` is our `clip.model.`; `visual_control.` our `controller.visual.`, except that its blocks are wrapped once more
# (`transformer.transformer.`) and that its `transformer.zero_modules.` are our `controller.zeros.`. What else there is keeps its
# name.


# %%
def our_name(name):
    """Our name of a tensor of the authors."""
    return ...  # your code


check("10.2", our_name)

# %% [markdown]
# <details><summary>Solution 10.2</summary>
#
# ```python
# def our_name(name):
#     """Our name of a tensor of the authors."""
#     for theirs, ours in (
#         ("clip.", "clip.model."),
#         ("visual_control.transformer.zero_modules.", "controller.zeros."),
#         ("visual_control.transformer.transformer.", "controller.visual.transformer."),
#         ("visual_control.", "controller.visual."),
#     ):
#         if name.startswith(theirs):
#             return ours + name.removeprefix(theirs)
#     return name
#
#
# check("10.2", our_name)
# ```
#
# The order matters: the most special prefix comes first. The library checks every name and shape against the model after
# translating, so that a forgotten case is an error and not a network with a few random layers.
#
# </details>

# %% [markdown]
# **Exercise 10.3: how many steps?** 52,801 pairs, 784 images on each of 4 GPUs at a step, 50 epochs. An epoch ends with its last full
# batch. How many steps does the controller's training take?

# %%
answer = ...  # a whole number

check("10.3", answer)

# %% [markdown]
# <details><summary>Solution 10.3</summary>
#
# ```python
# answer = 50 * (52_801 // (4 * 784))
#
# check("10.3", answer)
# ```
#
# Only 800 steps: a controller that starts as a copy of CLIP has little left to learn. The 700,000 steps of the restorer see
# 16 images each.
#
# </details>

# %% [markdown]
# ## The numbers obtained

# %%
pd.Series(
    {
        "weights": weights_are,
        "controller (million parameters)": f"{trained:.2f}; released: 94.94",
        "restorer (million parameters)": f"{parts['restorer']:.2f}; released: 48.98",
        "share of all that the controller's training changes": f"{trained / millions.sum():.0%}",
        "noise in the photo, and in CLIP's view (of 255)": f"{255 * left_noise:.0f} and {255 * in_view:.0f}",
        "half of the noise is gone below": f"t = {half_noise}",
        "attention matrix at 1024 pixels (GB)": f"{matrix[2] / 1e9:.1f}, instead of {features[2] / 1e9:.2f}",
        "two steps on the CPU (s)": f"{seconds:.1f}, {restored.width} x {restored.height} pixels",
        "seconds for this notebook": f"{time.perf_counter() - start:.0f}",
    },
    name="obtained",
).to_frame()

# %%
shutil.rmtree(work)

# %% [markdown]
# ## What next
#
# - `docs/departures.md`: where this library does otherwise than the authors' code, and what was measured.
# - `docs/scaling.md`: several machines, precision, memory and disk.
# - Much of `08_compare_restorations`, and part 2 of `09_ablations`, can be tried with such a folder:
#   `lab.load("../weights/official")`, and more steps.
#
# ## References
#
# - Z. Luo, F. K. Gustafsson, Z. Zhao, J. Sjölund, T. B. Schön. *Controlling Vision-Language Models for Multi-Task Image
#   Restoration.* ICLR 2024, [arXiv 2310.01018](https://arxiv.org/abs/2310.01018). Code and weights:
#   [github.com/Algolzw/daclip-uir](https://github.com/Algolzw/daclip-uir).
# - Z. Luo, F. K. Gustafsson, Z. Zhao, J. Sjölund, T. B. Schön. *Photo-Realistic Image Restoration in the Wild with
#   Controlled Vision-Language Models.* CVPR Workshops 2024, [arXiv 2404.09732](https://arxiv.org/abs/2404.09732). Wild-IR.
# - T. Dao, D. Y. Fu, S. Ermon, A. Rudra, C. Ré. *FlashAttention.* NeurIPS 2022,
#   [arXiv 2205.14135](https://arxiv.org/abs/2205.14135). Attention without its matrix.
