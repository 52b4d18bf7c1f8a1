# %% [markdown]
# # 08 · Compare restorations
#
# **A degraded photo has no single restoration: the sampler, the number of steps, the seed, the cut into tiles and what
# the network is told each change it, and what one measure wins by such a change another one may lose.**
#
# *You will learn*
# - to compare samplers fairly, on the same photo and from the same noise;
# - what a seed decides, and how a map of many seeds shows where a restoration is sure;
# - what more calls of the network win and lose, with intervals, and why one call is hard to beat here;
# - that distance to the clean photo and likeness to photos are two aims, not one;
# - how large photos are cut into tiles without a seam, and what channel means have to do with size;
# - what telling the network the wrong thing does, and what separates the two backbones.
#
# *You need* the idea of `06_mean_reverting_sde` (a state, an estimate of the clean image, steps). Nothing is downloaded.
#
# *Time*: one to two minutes to run on two CPU cores (the last cell prints what it took here), twenty-five to read.

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
from PIL import Image, ImageOps
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

import daclip_lab as lab
from daclip_lab.ablation.embedding_arithmetic import steering_gains
from daclip_lab.course import check, figures, settings
from daclip_lab.degradations.apply import degrade
from daclip_lab.evaluation import evaluator, examples
from daclip_lab.metrics import image_quality

scale = lab.presets.current()
pipe = lab.load("lab")
sde = pipe.sde
print(f"scale {scale.name}")
print(f"daclip_lab {lab.__version__}, Python {platform.python_version()}")
print(f"torch {torch.__version__}, matplotlib {matplotlib.__version__}")

# %% [markdown]
# ## 1 · The same photo, the same noise
#
# Every restoration starts from the degraded photo plus noise. Two samplers can only be compared fairly when both start
# from the *same* noise: then whatever differs at the end is due to the sampler. In the library a seed is all it takes.
#
# The rows below are the samplers of `06`: `posterior` adds fresh noise at each step, `ddim` adds none, and
# `-2` marks second order, which also uses the estimate of the step before. The columns are numbers of steps; each step
# is one call of the network.
#
# **Predict**: how much will the four samplers differ in the column of one step?

# %%
test = lab.sample_photos("test")
photos = lab.Photos(test.paths[: max(2, settings.examples(scale) // 5)])
counts = [count for count in (1, 2, 5, 10, 20) if count <= settings.examples(scale)]
few, several = counts[len(counts) // 2], counts[-2]  # 5 and 10 at the scale of the lab


def middle(name, side):
    """The middle square of a test photo, reduced to side x side pixels: (3, side, side)."""
    photo = lab.to_pil(test[test.names.index(name)])
    return lab.read_image(ImageOps.fit(photo, (side, side), Image.Resampling.LANCZOS))


def restored(image, **options):
    """One image (3, h, w) or several (b, 3, h, w), restored; the options are those of `pipe.trajectory`."""
    batch = image if image.dim() == 4 else image[None]
    *_, last = pipe.trajectory(batch, **options)
    return last.state.clamp(0, 1).view_as(image)


def decibels(image, clean):
    """The PSNR of one image in dB."""
    return image_quality.psnr(image[None], clean[None]).item()


def steps_of(count):
    """A number of steps as a title."""
    return f"{count} step{'s' * (count > 1)}"


osprey = test[test.names.index("osprey")][:, 75:155, 232:312].contiguous()
rainy_bird = degrade(osprey, "rainy", 0.6, lab.seeded(3))
shown = sorted({1, few, counts[-1]})
detail = (..., slice(20, 60), slice(20, 60))
rows = {
    name: [restored(rainy_bird, sampler=name, steps=count, seed=0) for count in shown]
    for name in lab.SAMPLERS
}
apart = max((images[0] - rows["posterior"][0]).abs().max().item() for images in rows.values())
print(f"largest difference between samplers that take one step: {apart:.1e}")
figures.images.grid(
    {
        name: [image[detail] for image in (rainy_bird, *images, osprey)]
        for name, images in rows.items()
    },
    ["degraded", *map(steps_of, shown), "clean"],
    {
        name: [*(f"{decibels(image, osprey):.1f} dB" for image in (rainy_bird, *images)), ""]
        for name, images in rows.items()
    },
    zoom=2,
    caption="The same start everywhere. Along a row: more steps. Down a column: other samplers. Below each: PSNR of the whole "
    "picture, of which the middle is shown, every pixel doubled.",
)

# %% [markdown]
# With one step there is nothing to choose: every sampler ends on the network's estimate, and one step *is* that
# estimate, made from the first state. From two steps on they part, by whether they add fresh noise; from three steps
# on also by their order: second order needs an older estimate to compare with, and the last step uses none.
#
# Drag the divider between one step and many. Look at feathers, eye and edges: which side is smoother, which is busier? Which
# of the two is *right* there? The clean photo in the figure above decides.

# %%
lab.CompareSlider(
    rows["posterior"][0], rows["posterior"][-1], labels=(steps_of(1), steps_of(shown[-1]))
)

# %% [markdown]
# ## 2 · The seed
#
# Now the same sampler from *different* noise. Where the degraded photo says what is there, all seeds should agree.
# Where something is missing, somebody has to invent it, and each seed may invent something else.
#
# **Predict**: in which places of the photo below will seeds differ most? Will the mean over many seeds be sharper or
# more blurred than a single one, and will its PSNR be higher or lower?

# %%
holes = degrade(osprey, "uncompleted", 0.6, lab.seeded(5))
runs = max(3, settings.examples(scale) // 3)
by_seed = torch.stack([restored(holes, steps=several, seed=seed) for seed in range(runs)])
mean = by_seed.mean(0)
at_once = restored(holes, steps=1, seed=0)
pictures = {
    "uncompleted": holes,
    **{f"seed {seed}": by_seed[seed] for seed in range(2)},
    f"mean of {runs}": mean,
    "one step": at_once,
    "clean": osprey,
}
figures.images.strip(
    list(pictures.values()),
    [f"{name}\n{decibels(image, osprey):.1f} dB" if name != "clean" else "clean\n"
     for name, image in pictures.items()],
    first=1,
    caption=f"Two seeds of {several} steps, the mean of all {runs} seeds, and a single step. PSNR to the clean photo.",
)  # fmt: skip

# %% [markdown]
# The squared error of a seed has two parts, exactly: how far the *mean* of all seeds is from the clean photo, and how
# far the seeds scatter around their mean. The first is what all seeds get wrong together, the second is the dice.

# %%
errors = (by_seed - osprey).square().mean((1, 2, 3))
of_mean = (mean - osprey).square().mean()
scatter = (by_seed - mean).square().mean()
assert torch.allclose(errors.mean(), of_mean + scatter, rtol=1e-3)
pd.DataFrame(
    {
        "PSNR (dB)": {
            "one seed, on average": image_quality.psnr(by_seed, osprey.expand_as(by_seed))
            .mean()
            .item(),
            f"mean of {runs} seeds": decibels(mean, osprey),
            "one step": decibels(at_once, osprey),
        },
        "share of the squared error": {
            "one seed, on average": 1.0,
            f"mean of {runs} seeds": (of_mean / errors.mean()).item(),
        },
    }
).style.format({"PSNR (dB)": "{:.2f}", "share of the squared error": "{:.0%}"}, na_rep="")

# %% [markdown]
# So the mean of many seeds can never have a larger squared error than its seeds have on average: averaging takes away
# the dice, and the detail on which seeds do not agree. A network that is trained on the squared error of the clean
# image, or on its logarithm, does such averaging *inside*, in one call. Compare the one step with the mean, in looks
# and in PSNR. If it is better even than the mean, the many steps share mistakes that no averaging takes away (part 3).
#
# But the scatter is not only a nuisance: it says where the restoration is a guess. Here it is for every pixel (are the
# bright places where you expected them?), beside the error that nobody knows in practice:

# %%
doubt = 255 * (by_seed - mean).square().mean((0, 1)).sqrt()
missed = 255 * (mean - osprey).square().mean(0).sqrt()
figures.images.maps(
    {
        "how much seeds differ": doubt.numpy(),
        "error of their mean": missed.numpy(),
    },
    "of 255",
    shared=False,
    zoom=2,
    caption="Bright: seeds disagree (left), their mean is wrong (right); each map has its own scale. Does the left map "
    "foresee the right one? A place that is bright on the right only is a confident mistake.",
)

# %%
from_sure_to_unsure = missed.flatten()[doubt.flatten().argsort()]
quarters = ("surest quarter of the pixels", "second", "third", "least sure quarter")
sure = pd.Series(
    {
        name: part.square().mean().sqrt().item()
        for name, part in zip(quarters, from_sure_to_unsure.chunk(4), strict=True)
    },
    name="error of the mean (RMS, of 255)",
)
sure.round(1).to_frame()

# %% [markdown]
# If the rows rise from top to bottom, the seeds know something about their own mistakes, without ever seeing the clean
# photo. It is no guarantee: what *all* seeds take for intact stays wrong in all of them.
#
# ## 3 · What is a step worth?
#
# Two pictures prove nothing. So: crops of the bundled photos, none of which the weights were trained on, degraded in
# all ten ways; every sampler, both spacings of the steps (even in time, or even in the log of the signal-to-noise
# ratio), and the authors' Euler-Maruyama, which with fewer than 100 steps leaves noise in (`06` says why).
#
# Four measures, because each is blind to something. PSNR and SSIM prefer a cautious, blurred answer. MS-SSIM looks at
# coarser structure, too; gradient similarity compares edges. LPIPS, which looks through a trained network, joins where
# its backbone is on this machine.
#
# **Predict**: which number of steps has the best PSNR? Is there a measure by which many steps win?

# %%
protocol = lab.Protocol(crop=64, crops=1, mixtures=0, seed=8)
ten = len(lab.DEGRADATIONS)
parts = [lab.degraded_crops(photos, index, protocol) for index in range(len(photos))]
clean_ten = torch.cat([clean[:ten] for clean, _, _ in parts])
degraded_ten = torch.cat([images[:ten] for _, images, _ in parts])
facts = pd.DataFrame([fact for _, _, known in parts for fact in known[:ten]])

# Of each photo two of the ten ways, in turn, so that this takes a minute.
chosen = [photo * ten + (2 * photo + k) % ten for photo in range(len(photos)) for k in (0, 1)]
clean, degraded = clean_ten[chosen], degraded_ten[chosen]
photo_of = facts.photo[chosen].to_numpy()
own = pipe.encode(list(degraded))

measures = {
    "PSNR (dB)": image_quality.psnr,
    "SSIM": image_quality.ssim,
    "MS-SSIM": image_quality.ms_ssim,
    "gradient similarity": image_quality.gradient_similarity,
}
try:
    image_quality.network("lpips")
    measures["LPIPS"] = image_quality.lpips
except lab.InputError:
    print("LPIPS is left out: its backbone is not here (`daclip-lab fetch lpips` gets it)")

kinds = [
    (sampler, timestep_spacing)
    for sampler in lab.SAMPLERS
    for timestep_spacing in lab.TIMESTEP_SPACINGS
]
results = {}
for count in tqdm(counts, desc="restoring", leave=False):
    for sampler, timestep_spacing in kinds:
        if count == 1 and results:  # one step is the same in all of them
            results[sampler, timestep_spacing, 1] = next(iter(results.values()))
            continue
        options = {
            "steps": count,
            "sampler": sampler,
            "timestep_spacing": timestep_spacing,
            "embeddings": own,
        }
        results[sampler, timestep_spacing, count] = restored(degraded, **options)
with torch.inference_mode():
    predict = lab.denoiser(pipe.restorer, sde, degraded, pipe.restorer.prepare(*own))
    for count in counts:
        *_, last = lab.euler_maruyama(predict, sde, degraded, steps=count, generator=lab.seeded(0))
        results["euler-maruyama", "linspace", count] = last.state.clamp(0, 1)

scores = {
    key: {name: f(images, clean).numpy() for name, f in measures.items()}
    for key, images in results.items()
}
before = {name: f(degraded, clean).mean().item() for name, f in measures.items()}
means = pd.DataFrame(
    [{"sampler": "input", "timestep_spacing": "", "steps": 0} | before]
    + [
        {"sampler": sampler, "timestep_spacing": timestep_spacing, "steps": count}
        | {name: values.mean() for name, values in found.items()}
        for (sampler, timestep_spacing, count), found in scores.items()
    ]
).sort_values(["sampler", "timestep_spacing", "steps"], kind="stable")
print(f"{len(clean)} crops of {len(photos)} photos, protocol {protocol.hash}")
figures.diffusion.tradeoff(means)

# %%
means.set_index(["sampler", "timestep_spacing", "steps"]).loc[
    ["input", *lab.SAMPLERS, "euler-maruyama"]
].round(3)

# %% [markdown]
# For your predictions: in which panels does a line rise above its first mark? But the lines are means over few photos.
# Are their differences more than chance? Compare each crop *with itself*, restored in one step and in many: then
# photos that are hard for both do not blur the answer. The intervals come from drawing whole photos again and again (a
# bootstrap).

# %%
first = scores["posterior", "linspace", 1]
differences = pd.DataFrame(
    [
        (
            name,
            sampler,
            timestep_spacing,
            count,
            *lab.bootstrap_interval(values - first[name], photo_of),
        )
        for (sampler, timestep_spacing, count), found in scores.items()
        if timestep_spacing == "linspace" and sampler in lab.SAMPLERS and count > 1
        for name, values in found.items()
    ],
    columns=["measure", "sampler", "timestep_spacing", "steps", "mean", "low", "high"],
)
figures.samplers.against_one_step(
    differences[differences.measure != "LPIPS"],
    caption=f"Means and 95 % intervals over {len(photos)} photos. Above the dotted line: better than one step. An interval that crosses it "
    "leaves the question open.",
)

# %% [markdown]
# ### Why is one step hard to beat here?
#
# There are two honest reasons, and neither says that diffusion does not work.
#
# 1. **It was practised.** A restoration in one step asks the network at one time only, t = T. Training draws that time
#    on purpose, in the share of examples that the next cell prints; all other times share the rest.
# 2. **It is never led astray.** In training the state at time t is made from the *true* clean image. In a restoration
#    it is made from the network's own estimates. What it got wrong at the first step lies in the state of the second,
#    where the network takes it for a fact.
#
# The second can be measured. Give the network, at each time, the state that the true clean image would lead to, and
# the state that its own steps led to.
#
# **Predict**: both lines begin at almost the same place. Where does each of them go as t falls?

# %%
told = pipe.restorer.prepare(*own)
times = lab.time_points(sde, several)
noise = torch.randn(degraded.shape, generator=lab.seeded(0))  # as in the restoration
walk = list(pipe.trajectory(degraded, steps=several, embeddings=own))
with torch.inference_mode():
    from_truth = [predict(sde.diffuse(clean, degraded, t, noise), t) for t in times[:-1]]
trust = pd.DataFrame(
    {
        "states made from the true clean image, as in training": [
            image_quality.psnr(guess.clamp(0, 1), clean).mean().item() for guess in from_truth
        ],
        "states that its own steps led to, as in a restoration": [
            image_quality.psnr(step.clean.clamp(0, 1), clean).mean().item() for step in walk
        ],
    },
    index=times[:-1],
)
recipe = lab.presets.lab().restorer
print(f"examples at t = {sde.steps} in the training of the lab's restorer: {recipe.t_max_prob:.0%}")
figures.sde.predicted_clean(
    trust,
    caption="A true state betrays the clean image more and more as t falls. The network's own states hold only what it found out itself. "
    "The gap between the lines is what its own mistakes cost.",
)

# %% [markdown]
# A larger network, trained longer and evenly over all times as in the paper, should make smaller mistakes and gain
# more from its later steps. What it cannot change is the first lesson of part 2: a sample has the dice in its squared
# error, the mean has not.
#
# ## 4 · Near the clean photo, or like a photo?
#
# So what *are* more steps for? PSNR asks: how far from the one clean photo? One can also ask: does it look like *a*
# photo? The two aims are at odds (Blau and Michaeli, 2018): beyond some point, nobody gets nearer to one without
# leaving the other.
#
# The second question needs no clean partner, only how photos are in general. FID asks it through a large network
# (LPIPS looks through one, too, but compares with the clean photo). A small stand-in without one: how large are
# the differences between neighbouring pixels, the *edges*, over all pixels? Blur makes them too weak, leftover noise
# too strong. The distance here is between the sorted edges of all restored crops and those of all clean ones.
#
# **Predict**: in the figure, towards which corner does a line go as the number of steps grows?


# %%
def edges(images):
    """The strength of the edge at every pixel of images (n, 3, h, w), sorted, of 255."""
    grey = 255 * images.mean(1)
    down, along = grey[:, 1:, :-1] - grey[:, :-1, :-1], grey[:, :-1, 1:] - grey[:, :-1, :-1]
    return (down**2 + along**2).sqrt().flatten().sort().values


clean_edges = edges(clean)
perception = pd.DataFrame(
    [
        {
            "sampler": sampler,
            "timestep_spacing": timestep_spacing,
            "steps": count,
            "distortion": 255 * (images - clean).square().mean((1, 2, 3)).sqrt().mean().item(),
            "unlike": (edges(images) - clean_edges).abs().mean().item(),
            "sharpness": (edges(images).mean() / clean_edges.mean()).item(),
        }
        for (sampler, timestep_spacing, count), images in results.items()
        if (sampler, timestep_spacing) in (("posterior", "linspace"), ("dpmpp-2m-sde", "logsnr"), ("dpmpp-2m", "linspace"))
    ]
).sort_values(["sampler", "timestep_spacing", "steps"])  # fmt: skip
figures.samplers.perception_distortion(
    perception,
    caption="Numbers at the marks: steps. To the left: nearer to the clean photo. Down: edges as strong as in photos. Best would be "
    "the lower left corner.",
)

# %%
perception.set_index(["sampler", "timestep_spacing", "steps"]).round(2)

# %% [markdown]
# `sharpness` is the mean edge of the restored crops over that of the clean ones: below 1 is blurred, above 1 is busier
# than photos are. Read the figure with care: edges of the right strength in the wrong *places* satisfy this measure,
# and so does a little leftover noise. Where a line goes down and to the right, steps buy likeness at the price of
# distance. Where it goes up and to the right they buy nothing: the later steps add edges of their own making where
# none belong. Then the reasons of part 3 weigh more than the theory, and few steps are the better choice for *these*
# weights. Where it goes to the left although the PSNR of part 3 fell, a few very bad crops got better: they rule a
# mean of distances more than a mean of decibels.
#
# Which number of steps is best depends on the wish, and exercise 08.4 makes one.
#
# ## 5 · Any size: whole and in tiles
#
# `pipe.restore` keeps the size of any image. A photo of many megapixels does not fit through the network at once, so
# it is cut into tiles. There are two places to cut:
#
# - **tile by tile**: restore every tile on its own and put them together. Each has its own noise and walks its own
#   way; at every cut the two sides disagree.
# - **inside the sampler**: one noise and one state for the whole photo. Only the *call of the network* is cut into
#   overlapping tiles, whose answers are blended before the step is taken. The next step starts from one state, so that
#   no disagreement can grow. And before they answer, all tiles agree about the channel means (the end of this part).
#
# **Predict**: what happens to the difference from the restoration in one piece, for each way, as steps are added?

# %%
odd = degrade(middle("colosseum", 128)[:, :77, :123], "hazy", 0.6, lab.seeded(1))
assert lab.read_image(pipe.restore(lab.to_pil(odd), steps=few)).shape == odd.shape

scene = test[test.names.index("colosseum")][:, 130:242, 130:306].contiguous()
foggy = degrade(scene, "low-light", 0.6, lab.seeded(2))
whole_embeddings = pipe.encode([foggy])


def tile_by_tile(image, rows, columns, **options):
    """Cut into rows x columns pieces, restore each on its own, put them together."""
    lines = [
        torch.cat([restored(piece.contiguous(), **options) for piece in line.chunk(columns, 2)], 2)
        for line in image.chunk(rows, 1)
    ]
    return torch.cat(lines, 1)


ways, off = {}, {}
for count in sorted({1, few, several}):
    in_one = restored(foggy, steps=count, embeddings=whole_embeddings)
    ways = {
        "inside the sampler": restored(foggy, steps=count, tile=96, embeddings=whole_embeddings),
        "tile by tile": tile_by_tile(foggy, 2, 3, steps=count),
    }
    off[count] = {
        name: 255 * (image - in_one).square().mean().sqrt().item() for name, image in ways.items()
    }
off = pd.DataFrame(off).rename_axis("difference to one piece (RMS, of 255)")
off.columns.name = "steps"
figures.images.maps(
    {
        f"in one piece, {count} steps": in_one,
        **{name: 255 * (image - in_one).abs().mean(0).numpy() for name, image in ways.items()},
    },
    "of 255",
    caption="Left: restored in one piece. The others: how far each way of tiling is from it. Straight bright lines are seams; an evenly "
    "bright tile has taken another colour.",
)

# %%
off.round(2)

# %% [markdown]
# Do the numbers of a row grow to the right? If `tile by tile` is far off with one step already, the steps are not the
# whole reason. Every tile restored alone is also *steered* alone, by what DA-CLIP sees in that tile. Inside the
# sampler the embeddings are computed once, for the whole photo; `embed_tiles=True` computes them for each tile. That
# is meant for damage that is not everywhere the same:

# %%
strip_of = test[test.names.index("colosseum")][:, 160:224, 150:278].contiguous()
parted = torch.cat(
    [
        degrade(strip_of, "rainy", 0.6, lab.seeded(4))[:, :, :64],
        degrade(strip_of, "low-light", 0.6, lab.seeded(4))[:, :, 64:],
    ],
    2,
)
once = restored(parted, tile=64)
per_tile = restored(parted, tile=64, embed_tiles=True)
halves = {"left": slice(0, 64), "right": slice(64, None)}


def by_half(image):
    """The PSNR of both halves as text."""
    return "\n".join(
        f"{side} {decibels(image[..., at], strip_of[..., at]):.1f} dB"
        for side, at in halves.items()
    )


figures.images.strip(
    [parted, once, per_tile, strip_of],
    [f"rain, and darkness\n{by_half(parted)}", f"embedded once\n{by_half(once)}",
     f"embedded per tile\n{by_half(per_tile)}", "clean\n\n"],
    caption="Rain on the left, darkness on the right. Embedded once, both halves are steered by one answer. PSNR of each "
    "half: does it help to embed each tile?",
)  # fmt: skip

# %% [markdown]
# ### Means of the image, or means around the pixel?
#
# A NAFNet weighs its channels by their means. It was trained on patches of 64 to 128 pixels, so it has only ever seen
# means of small patches. The mean over a whole photo is another kind of number. Chu et al. (2022) therefore take means over
# *windows* as large as those patches, around every pixel. The other extreme is a window as large as the photo. No weight
# differs.
#
# **Predict**: which of the two is nearer to the clean photos? Think of haze and darkness.

# %%
larger = lab.Protocol(crop=192, crops=1, mixtures=0, seed=8)
trained_on = scale.restorer.patch_sizes[0]  # the most frequent one
windows = {f"{trained_on} px, as in training": trained_on, "the whole crop": larger.crop}
pairs_of_windows = []
for index in tqdm(range(len(photos)), desc="windows", leave=False):
    before_and_after = lab.degraded_crops(photos, index, larger)
    for k in range(3):
        at = (3 * index + k) % ten
        target, image = before_and_after[0][at], before_and_after[1][at]
        embeddings = pipe.encode([image])
        found = {}
        for name, side in windows.items():
            windowed = evaluator.configured(pipe, window=side)
            output = windowed.restore(image, embeddings=embeddings, steps=1, output_type="pt")
            found[name] = decibels(output, target)
        pairs_of_windows.append({"photo": photos.names[index]} | found)
by_window = pd.DataFrame(pairs_of_windows)
small, large = (by_window[name] for name in windows)
gap = lab.bootstrap_interval((large - small).to_numpy(), by_window.photo.to_numpy())
print(f"{len(by_window)} crops of {larger.crop} px: windows of {trained_on} px {small.mean():.2f} dB, of the whole crop {large.mean():.2f} dB")  # fmt: skip
print(f"whole less {trained_on} px: {gap[0]:+.2f} dB, 95 % interval [{gap[1]:+.2f}, {gap[2]:+.2f}]")

# %% [markdown]
# Does the interval lie above 0 (the whole is better), below, or across? Chu et al. find small windows better for networks
# of one degradation. Here, where damage like darkness belongs to the whole image, a mean over more pixels may be the
# better evidence: how bright is this photo, and not only this corner of it? So it is measured for each set of weights
# (`daclip-lab evaluate --whole --window 64 512`), and the lab's take the whole image.
#
# A tile has other means than the whole: one of sky is brighter than one of trees, and each would be restored to another
# light. So every tile is looked at twice. First all are asked for their means, then they answer under the means of all
# of them. After that nothing in this network looks far, which is why the tiles above agree with the whole. (The paper's
# U-Net attends to all pixels of its input; for it, each tile is an image of its own.)
#
# ## 6 · Told the wrong thing
#
# The network is steered by two embeddings. The one of the degradation lies in the space of words, so a word can take
# its place: `pipe.restore(image, degradation="rainy")`. With the *right* word there the restorer has an oracle;
# with a wrong one we see how much it listens.
#
# **Predict**: a rainy photo, and the restorer is told "low-light". What will it do?

# %%
colosseum = middle("colosseum", 96)
rainy = degrade(colosseum, "rainy", 0.6, lab.seeded(7))
nothing = lab.Embeddings(*(torch.zeros_like(part) for part in pipe.encode([rainy])))
seen_as = pipe.classify(lab.to_pil(rainy)).idxmax()
steered = {
    "rainy\n": rainy,
    f"it sees\n{seen_as}": restored(rainy),
    **{
        f"told\n{name}": lab.read_image(pipe.restore(lab.to_pil(rainy), degradation=name))
        for name in ("rainy", "low-light")
    },
    "told\nnothing": restored(rainy, embeddings=nothing),
}
figures.images.strip(
    list(steered.values()),
    [f"{name}\n{decibels(image, colosseum):.1f} dB" for name, image in steered.items()],
    first=1,
    caption="One photo, one noise, one network. Only what it is told differs.",
)

# %% [markdown]
# Told "low-light", did it brighten, and did the rain stay? Now the same counted, over all ten degradations. "A wrong
# word" is that of another degradation, a fixed one for each; "negated" is the opposite of the image's own embedding;
# "none" leaves out the content, too. The last two columns split the crops by whether DA-CLIP *named* the
# degradation rightly.

# %%
words = torch.stack([pipe.word(name) for name in lab.DEGRADATIONS])
truth = torch.tensor([lab.DEGRADATIONS.index(name) for name in facts.degradation])
answers = pipe.encode(list(degraded_ten)).degradation
named = ((answers @ words.T).argmax(1) == truth).numpy()
table = steering_gains(
    pipe,
    degraded_ten,
    clean_ten,
    {"the right word": words[truth], "a wrong word": words[(truth + 3) % ten]},
    steps=1,
)


def gain_of(values, rows):
    """The mean gain of some crops, with its interval over photos, as text."""
    mean_gain, low, high = lab.bootstrap_interval(values[rows], facts.photo.to_numpy()[rows])
    return "" if np.isnan(mean_gain) else f"{mean_gain:+.1f} [{low:+.1f}, {high:+.1f}]"


everything = np.ones(len(facts), bool)
pd.DataFrame(
    {
        title: {
            told: gain_of(table[told].to_numpy(), rows)
            for told in ("own", "the right word", "a wrong word", "negated", "none")
        }
        for title, rows in {
            f"all {len(facts)} crops": everything,
            f"named right ({named.sum()})": named,
            f"named wrong ({(~named).sum()})": ~named,
        }.items()
    }
).rename_axis("gain in PSNR (dB) when told")

# %% [markdown]
# Read it in pairs. *Own* against *the right word*: how much is lost to what DA-CLIP says? One would expect the right
# word to help most in the last column, where DA-CLIP was wrong; does it? *A wrong word* against *nothing*: one would
# expect a restorer that listens to be worse off with a lie than with silence; is it, in each column? And where
# *nothing* is not far behind *own*, the damage is plain to see in the pixels and needs no telling. Which part of the
# steering does what is the question of `09_ablations`.
#
# ## 7 · Two backbones
#
# The network inside can be exchanged. The course's weights are a conditional **NAFNet**; the paper trains a **U-Net**
# with attention. Only random weights of the U-Net are at hand here (the authors' own need a download:
# `10_paper_scale`), so its *quality cannot be compared* and no picture of it is shown. What can be compared does not
# depend on the weights: size, work, time, and what the network says.
#
# **Predict**: how many times slower is one call of the U-Net? And a whole restoration, each as its recipe says?

# %%
unet = lab.build_restorer(
    dict(lab.presets.paper().network), pipe.settings.clip.embed_dim
).requires_grad_(False)
backbones = {"NAFNet (lab)": pipe.restorer, "U-Net (paper)": unet.eval()}
patch = degraded[:1]
t_end = torch.tensor([sde.steps])


def call(net):
    """One call of a network on one crop of 64 pixels."""
    with torch.no_grad():
        return net(patch, patch, t_end, net.prepare(*(part[:1] for part in own)))


def largest_layer(net):
    """The largest output of a layer during a call, in MB."""
    sizes = []
    layers = [module for module in net.modules() if not list(module.children())]
    hooks = [
        layer.register_forward_hook(lambda layer, seen, out: sizes.append(out.nbytes))
        for layer in layers
    ]
    call(net)
    for hook in hooks:
        hook.remove()
    return max(sizes) / 1e6


seconds = {name: [] for name in backbones}
for _ in range(3):  # in turn, so that both meet the same load of this machine
    for name, net in backbones.items():
        begun = time.perf_counter()
        call(net)
        seconds[name].append(time.perf_counter() - begun)
slower = min(seconds["U-Net (paper)"]) / min(seconds["NAFNet (lab)"])
work = {}
for name, net in backbones.items():
    with FlopCounterMode(display=False) as counter:
        call(net)
    work[name] = counter.get_total_flops() / 1e9
calls = {"NAFNet (lab)": lab.presets.lab().steps, "U-Net (paper)": lab.presets.paper().steps}
pd.DataFrame(
    {
        name: {
            "parameters (millions)": sum(p.numel() for p in net.parameters()) / 1e6,
            "weights in float32 (MB)": sum(p.numel() for p in net.parameters()) * 4 / 1e6,
            "work of one call at 64 px (GFLOP)": work[name],
            "largest output of a layer at 64 px (MB)": largest_layer(net),
            "time of one call (NAFNet = 1)": 1.0 if net is pipe.restorer else slower,
            "calls of a restoration, as its recipe says": calls[name],
            "time of a restoration (NAFNet = 1)": (1.0 if net is pipe.restorer else slower)
            * calls[name]
            / calls["NAFNet (lab)"],
        }
        for name, net in backbones.items()
    }
).round(1)

# %% [markdown]
# Ratios of times, measured in turn in one run; seconds would say more about this machine than about the networks.
# (Peak memory and larger images, each side in a process of its own: `python -m benchmarks network`.)
#
# The deepest difference is in what they **say**: the NAFNet says the clean image, the U-Net the *noise* in the state.
# One can be computed from the other, at a price. An error in the noise comes back multiplied by
# $\bar\sigma_t / \alpha_t$:

# %%
moments = [100, 90, 80, 60, 40, 20, 5]
price = pd.DataFrame(
    {
        "says the clean image": [2.55] * len(moments),
        "says the noise": [2.55 * (sde.sigma_bar[t] / sde.alpha[t]).item() for t in moments],
    },
    index=pd.Index(moments, name="t"),
)
print("; ".join(f"{name} says: {net.prediction_type}" for name, net in backbones.items()))
print("error of the clean image (of 255) when the network's answer is off by 0.01")
price.round(2).T

# %% [markdown]
# At t = T the noise says next to nothing about the clean image, so a restoration in one step is out of reach for a
# network that says the noise: it needs the small steps. Near the end it is the other way round, and saying the noise
# is the safer answer. The paper's choice fits its 100 steps; the lab's fits few.
#
# ## 8 · Turn it yourself
#
# Photo, degradations and their severities, sampler, steps, seed and conditioning: what is predicted and the restoration
# follow. Try `low-light` in one step and in many, with another sampler, and conditioned on nothing.

# %%
lab.RestorationLab(pipe, photo="spices", degradations={"rainy": 0.6}, frames=21)

# %% [markdown]
# ## 9 · The best, the middle and the worst
#
# A mean hides its failures, and a gallery chosen by hand hides them on purpose. So let the numbers choose: of all
# crops of a degradation the restoration that gained most, the one in the middle, and the one that gained least. Here
# for the degradation that gains most on average and for the one that gains least.

# %%
result = lab.evaluate(pipe, photos, protocol)
by_name = result.table().psnr_gain[list(lab.DEGRADATIONS)].sort_values(ascending=False)
names_shown = list(by_name.index[[0, -1]])
wall = [each for each in examples.examples(pipe, photos, result) if each.degradation in names_shown]
wall.sort(key=lambda each: names_shown.index(each.degradation))
figures.restoration.restoration_wall(wall, photos=len(photos))

# %% [markdown]
# Look at the worst column first. Was the degradation named wrongly, so that the restorer was told to undo something
# else? Or was it named rightly, and the network could not do better? The first is a failure of DA-CLIP, the second one
# of the restorer. The wall of all ten, of photos of your own:
# `daclip-lab wall --data FOLDER -o wall.png`.
#
# ## 10 · Your turn
#
# **Exercise 08.1: predict.** A second-order *multistep* sampler (`dpmpp-2m`) restores in 12 steps. How often
# does it call the network?

# %%
answer = ...  # a whole number

check("08.1", answer)

# %% [markdown]
# <details><summary>Solution 08.1</summary>
#
# ```python
# answer = 12
#
# check("08.1", answer)
# ```
#
# Once a step, like a first-order one. It gets its second estimate from the step before, which it remembers; the price
# is memory for one more image. Second-order methods that look ahead instead (Heun's) call twice. That is why samplers
# should be compared by calls.
#
# </details>

# %% [markdown]
# **Exercise 08.2: no seam.** Two neighbouring tiles share some columns: the last `overlap` columns of the left one
# show the same as the first `overlap` of the right one. Put them together so that one fades into the other. In the
# shared column k = 0, 1, ... the right tile counts (k + 1/2) / overlap, and the left one the rest.


# %%
def blend(left, right, overlap):
    """Two tiles (..., h, w1) and (..., h, w2) as one image (..., h, w1 + w2 - overlap)."""
    return ...  # your code


check("08.2", blend)

# %% [markdown]
# <details><summary>Solution 08.2</summary>
#
# ```python
# def blend(left, right, overlap):
#     weight = (torch.arange(overlap) + 0.5) / overlap
#     shared = left[..., -overlap:] * (1 - weight) + right[..., :overlap] * weight
#     return torch.cat([left[..., :-overlap], shared, right[..., overlap:]], -1)
#
#
# check("08.2", blend)
# ```
#
# The library also drops the outermost pixels of a tile, whose surroundings the network saw least of, and fades in both
# directions. It blends what the network *says*, at every step, not the restored tiles at the end.
#
# </details>

# %% [markdown]
# **Exercise 08.3: where is it sure?** Write the map of part 2: for every pixel the standard deviation over the seeds
# (divide by their number), as a root mean square over the colours.


# %%
def spread(images):
    """How much images (n, 3, h, w), one for each seed, differ at every pixel: (h, w)."""
    return ...  # your code


check("08.3", spread)

# %% [markdown]
# <details><summary>Solution 08.3</summary>
#
# ```python
# def spread(images):
#     return (images - images.mean(0)).square().mean((0, 1)).sqrt()
#
#
# check("08.3", spread)
# ```
#
# Square this map, average it over the pixels, and you have the second part of the squared error in part 2.
#
# </details>

# %% [markdown]
# **Exercise 08.4: a number of steps for a wish.** Somebody wants restorations as sharp as photos are, but is afraid of
# losing PSNR. Given a table with the columns `steps`, `mean`, `low`, `high` (the difference of PSNR to one step and
# its 95 % interval, in dB) and `sharpness` (1: as sharp as photos), choose the number of steps whose sharpness is
# nearest to 1, among those that, going by the interval, lose at most `most` dB.


# %%
def steps_for(table, most):
    """The number of steps, one of `table.steps`; `most` is a loss in dB, 0 or more."""
    return ...  # your code


check("08.4", steps_for)

# %% [markdown]
# <details><summary>Solution 08.4</summary>
#
# ```python
# def steps_for(table, most):
#     allowed = table[table.low >= -most]
#     return int(allowed.steps[(allowed.sharpness - 1).abs().idxmin()])
#
#
# check("08.4", steps_for)
# ```
#
# Try it on the numbers of parts 3 and 4. The answer changes with the wish, which is the point: "how many steps?" has
# no answer before somebody says what for.
#
# </details>

# %% [markdown]
# ## The numbers obtained

# %%
best = means[means.sampler.isin(list(lab.SAMPLERS))]
finest = best.loc[best["PSNR (dB)"].idxmax()]
most_like = perception.loc[perception.unlike.idxmin()]


def setting(row):
    """A sampler and its steps as text; with one step all samplers are the same."""
    return "one step" if row.steps == 1 else f"{row.sampler}, {row.steps} steps"


pd.Series(
    {
        "samplers with one step, largest difference": f"{apart:.0e}",
        "share of the squared error that is dice": f"{(scatter / errors.mean()).item():.0%}",
        "error where seeds agree most / least (RMS, of 255)": " / ".join(
            f"{value:.1f}" for value in (sure.iloc[0], sure.iloc[-1])
        ),
        "PSNR before": f"{before['PSNR (dB)']:.2f} dB",
        "best PSNR": f"{finest['PSNR (dB)']:.2f} dB: {setting(finest)}",
        "edges most like those of photos": setting(most_like),
        "foreseen at the last time: from true / own states": " / ".join(
            f"{value:.1f} dB" for value in trust.iloc[-1]
        ),
        "tiles inside the sampler / tile by tile, from one piece (RMS, of 255)": " / ".join(
            f"{value:.2f}" for value in off.iloc[:, -1]
        ),
        f"means of {larger.crop} px less {trained_on} px": f"{gap[0]:+.2f} [{gap[1]:+.2f}, {gap[2]:+.2f}] dB",
        "gain with its own embedding / the right word / a wrong one": " / ".join(
            f"{table[told].mean():+.1f} dB" for told in ("own", "the right word", "a wrong word")
        ),
        "U-Net against NAFNet, one call": f"{slower:.0f} times the time",
        "seconds for this notebook": f"{time.perf_counter() - start:.0f}",
    },
    name="obtained",
).to_frame()

# %% [markdown]
# ## What next
#
# - `09_ablations`: which part of the steering does what, trained several times, with seeds and intervals.
# - `10_paper_scale`: the paper's U-Net with the authors' weights, under the same front door.
# - `python -m benchmarks tradeoff` and `network`: part 3 on larger crops and up to 100 steps, part 7 with peak memory.
#
# ## References
#
# - Y. Blau, T. Michaeli. *The Perception-Distortion Tradeoff.* CVPR 2018,
#   [arXiv 1711.06077](https://arxiv.org/abs/1711.06077).
# - Z. Luo et al. *Controlling Vision-Language Models for Multi-Task Image Restoration.* ICLR 2024,
#   [arXiv 2310.01018](https://arxiv.org/abs/2310.01018).
# - C. Lu et al. *DPM-Solver++.* [arXiv 2211.01095](https://arxiv.org/abs/2211.01095). The multistep samplers.
# - X. Chu, L. Chen, C. Chen, X. Lu. *Improving Image Restoration by Revisiting Global Information Aggregation.* ECCV
#   2022, [arXiv 2112.04491](https://arxiv.org/abs/2112.04491). Means over windows.
# - L. Chen, X. Chu, X. Zhang, J. Sun. *Simple Baselines for Image Restoration.* ECCV 2022,
#   [arXiv 2204.04676](https://arxiv.org/abs/2204.04676). NAFNet.
# - Z. Wang, E. P. Simoncelli, A. C. Bovik. *Multi-scale structural similarity for image quality assessment.* Asilomar
#   2003. MS-SSIM.
# - W. Xue, L. Zhang, X. Mou, A. C. Bovik. *Gradient Magnitude Similarity Deviation.* IEEE TIP 2014,
#   [arXiv 1308.3052](https://arxiv.org/abs/1308.3052).
