# %% [markdown]
# # 01 · Degradations
#
# **There are ten ways to ruin an image here, alone or together, each at any severity; and a caption of the ruined image
# tells how much of the picture is left.**
#
# *You will learn*
# - what each degradation looks like from barely visible to strong, and what stays fixed when only the severity changes;
# - which real data set of the paper each stands for, and how it differs;
# - what a degradation costs in decibels, and why that is not what the eye says;
# - why every image, the clean one too, goes through a mild *camera* in the end;
# - why two degradations at once have an order;
# - what an image still says in words once it is degraded.
#
# *You need* a little Python. No network is trained or asked here; nothing is downloaded.
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
import platform
from dataclasses import asdict

import matplotlib
import pandas as pd
import torch
from PIL import Image, ImageOps
from torch.nn import functional as F

import daclip_lab as lab
from daclip_lab.course import check, figures, settings
from daclip_lab.data.captions.attributes import attributes
from daclip_lab.data.prompts import describe
from daclip_lab.degradations.apply import camera, degrade, mix
from daclip_lab.degradations.registry import mixing_order

scale = lab.presets.current()
print(f"scale {scale.name}")
print(f"daclip_lab {lab.__version__}, Python {platform.python_version()}")
print(f"torch {torch.__version__}, matplotlib {matplotlib.__version__}")

# %% [markdown]
# ## 1 · Ten ways
#
# A degradation is a plain function of *(image, severity, generator)*. The image is a tensor of red, green and blue in
# [0, 1]; the severity runs from 0 to 1; the generator (of random numbers, made from a seed) throws the dice. Here are
# ten of them, on one photo, all with the same seed:
#
# **Predict**: which two will be hardest to tell apart at severity 0.15? Which would a person not notice at all?

# %%
photos = lab.sample_photos("test")


def middle(name, side):
    """The middle square of a bundled photo, reduced to side x side pixels: (3, side, side)."""
    photo = lab.to_pil(photos[photos.names.index(name)])
    return lab.read_image(ImageOps.fit(photo, (side, side), Image.Resampling.LANCZOS))


osprey, spices, colosseum = middle("osprey", 72), middle("spices", 72), middle("colosseum", 80)
figures.severity.sheet(
    {
        name: [
            degrade(osprey, name, severity, lab.seeded(3))
            for severity in figures.severity.SEVERITIES
        ]
        for name in lab.DEGRADATIONS
    },
    caption="The ten degradations over severity, every pixel as it is. Five happen between the scene and the camera (haze, drops, rain, "
    "shadow, snow), five in the camera, the file or afterwards.",
)

# %% [markdown]
# Look down the second column for your answers. Whether the *eye* notices is one question; how far the pixels are off is
# another, which part 3 measures. Now three promises that everything later rests on. Severity 0 changes *nothing*, not
# even the last bit. The same seed gives the same image. And another seed gives another one:

# %%
promises = {
    "severity 0 changes nothing": all(
        torch.equal(degrade(colosseum, name, 0.0, lab.seeded(1)), colosseum)
        for name in lab.DEGRADATIONS
    ),
    "the same seed, the same image": all(
        torch.equal(
            degrade(colosseum, n, 0.5, lab.seeded(1)), degrade(colosseum, n, 0.5, lab.seeded(1))
        )
        for n in lab.DEGRADATIONS
    ),
    "another seed, another image": all(
        not torch.equal(
            degrade(colosseum, n, 0.5, lab.seeded(1)), degrade(colosseum, n, 0.5, lab.seeded(2))
        )
        for n in lab.DEGRADATIONS
    ),
}
assert all(promises.values())
pd.Series(promises, name="holds for all ten").to_frame()

# %% [markdown]
# The seed decides all that the severity does not: direction, colour, size, place. (Where more severity means *more* of
# something, such as streaks, flakes or strokes, they are drawn anew at each severity: look along the last rows above.)
# A classifier must learn the degradation and not one of its looks, so the looks have to vary widely. Here is one
# degradation with four seeds (for the others: `daclip-lab degrade IMAGE --sheet --as NAME -o SHEET.png`):

# %%
figures.severity.sheet(
    {
        f"seed {seed}": [
            degrade(spices, "shadowed", severity, lab.seeded(seed))
            for severity in figures.severity.SEVERITIES
        ]
        for seed in range(4)
    },
    caption="Shadows with four seeds. Along a row the shadow keeps its shape and its edge, and gets darker.",
)

# %% [markdown]
# ## 2 · Where they come from
#
# The paper trains on one data set for each degradation: real pairs where they exist, made ones elsewhere. Here each set is
# replaced by a rule that can be applied to any photo, so that pairs are unlimited and the strength is known.
#
# | degradation | in the paper | there | here |
# | --- | --- | --- | --- |
# | motion-blurry | GoPro | neighbouring frames of a fast video, averaged | the image, averaged along a curved, shaky path |
# | hazy | RESIDE-6k | scattering, with measured or estimated depth | scattering, with invented depth |
# | jpeg-compressed | DIV2K and Flickr2K | JPEG at quality 10 | JPEG, from quality 60 down to 5 |
# | low-light | LOL | a short and a long exposure | darkened, with a colour cast and noise that grows with the light |
# | noisy | DIV2K and Flickr2K | white Gaussian noise, sigma 50/255 | mostly that, at any sigma; also gray, grainy, or growing with the light |
# | raindrop | RainDrop | photos through wet and dry glass | drops that show the scene upside down and blurred |
# | rainy | Rain100H | dense bright streaks, drawn | streaks, from sparse to dense |
# | shadowed | SRD | somebody casts a shadow, and steps aside | soft or sharp shapes that dim the light |
# | snowy | Snow100K-L | flakes of several sizes, drawn | flakes of several sizes, under a veil |
# | uncompleted | CelebA-HQ with RePaint's thin masks | thin strokes, in faces | strokes, boxes and blocks of any colour |
#
# A rule knows nothing of the scene. Look at the sheets again with that in mind: haze does not know what is far, a shadow
# falls on the sky as on the ground, and a drop shows only what the picture holds. That is the price for pairs without
# end, and a reason to be careful with claims about real photos.
#
# One rule by hand. Haze weakens the light of the scene $J$ by the **transmission** $t$, and adds light of its own, the
# airlight $A$; the transmission falls exponentially with the depth $d$, the faster the denser the haze ($\beta$):
#
# $$I = J\,t + A\,(1 - t), \qquad t = e^{-\beta d}$$

# %%
airlight = torch.tensor([0.83, 0.85, 0.88])[:, None, None]
depth = torch.linspace(1.6, 0.4, colosseum.shape[1])[None, :, None]  # far at the top
betas = (0.0, 0.5, 1.0, 2.0, 4.0)
hazes = [colosseum * (t := torch.exp(-beta * depth)) + airlight * (1 - t) for beta in betas]
figures.images.strip(
    hazes,
    [f"beta {beta:g}" for beta in betas],
    caption="Haze in one line: the scene fades out, and the airlight fades in, first where it is far (at the top).",
)

# %% [markdown]
# ## 3 · What it costs
#
# The usual measure is the peak signal-to-noise ratio. With the mean squared error over all pixels and colours,
#
# $$\text{PSNR} = -10 \log_{10} \operatorname{mean}\bigl((x - x_0)^2\bigr) \ \text{dB},$$
#
# for an image $x$ and the clean one $x_0$, both in [0, 1]. Ten decibels less are ten times the squared error.
#
# **Predict**: which of the ten costs most at full severity? And which costs least, although anybody sees it?

# %%
per_photo = max(1, settings.examples(scale) // 10)
crops = [
    lab.Photos([path]).crop(lab.seeded(4, photo, number), 96)
    for photo, path in enumerate(photos.paths)
    for number in range(per_photo)
]
stack = torch.stack(crops)
severities = (0.1, 0.3, 0.5, 0.75, 1.0)
costs = pd.DataFrame(
    {
        name: [
            lab.psnr(
                torch.stack([degrade(c, name, s, lab.seeded(5, k)) for k, c in enumerate(crops)]),
                stack,
            )
            .mean()
            .item()
            for s in severities
        ]
        for name in lab.DEGRADATIONS
    },
    index=pd.Index(severities, name="severity"),
)
figures.sde.decibels_over_severity(
    costs,
    caption=f"Means over {len(crops)} crops of {len(photos)} photos. Higher is closer to the clean image.",
)

# %%
costs.T.round(1)

# %% [markdown]
# Decibels count *how far* pixels are off, not whether it disturbs. Haze and darkness move every pixel the same way and
# cost dearly; JPEG blocks and blur destroy what makes a photo sharp, and cost little. So an average over ten
# degradations in dB speaks mostly of the few that move far. Keep that in mind when a table says that a restorer (a
# network that repairs images) gains so many dB "on average".
#
# ## 4 · The camera
#
# After its degradation, or none, every training image passes through one step more: `camera`. With probability one half
# each it adds faint noise and saves as JPEG at high quality.
#
# Why spoil a clean image? Because a classifier takes the easiest way. Blur and haze made on a computer are *smoother than any
# photo*: whatever noise the photo had is averaged or faded away. A network would learn "suspiciously smooth", score well, and
# fail on the first real photo, in which the sensor adds its noise *after* the blur.
#
# To see it, look at what a small filter leaves of an image (Immerkær, 1996): it cancels edges and slopes, and keeps what
# neighbouring pixels do not share. In the smoothest quarter of the picture little but noise is left. Then ask: how
# often does a *clean* crop look noisier than a *degraded* one? Half of the time would mean that this number gives no
# hint at all. (Six degradations are asked; the other four put fine detail of their own into the image.)
#
# **Predict**: for which degradations is the number a giveaway, and what will the camera change?

# %%
FILTER = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None]


def noise_level(image):
    """What the filter leaves in the smoothest quarter of an image (3, h, w)."""
    return F.conv2d(image[:, None], FILTER).abs().flatten().quantile(0.25)


def noise_levels(name, with_camera):
    """The noise level of every crop, degraded in one way."""
    images = [degrade(crop, name, 0.5, lab.seeded(6, k)) for k, crop in enumerate(crops)]
    if with_camera:
        images = [camera(image, lab.seeded(7, k, len(name))) for k, image in enumerate(images)]
    return torch.stack([noise_level(image) for image in images])


hints = {}
for title, used in (("without camera", False), ("with camera", True)):
    untouched = noise_levels("clean", used)
    hints[title] = {
        name: (untouched[:, None] > noise_levels(name, used)).double().mean().item()
        for name in (
            "motion-blurry",
            "hazy",
            "jpeg-compressed",
            "low-light",
            "raindrop",
            "shadowed",
        )
    }
print("how often a clean crop looks noisier than a degraded one")
pd.DataFrame(hints).map("{:.0%}".format)

# %% [markdown]
# Far from 50 %, on either side, the number is a giveaway. The nearer to 50 %, the less a classifier can read from
# smoothness alone, and the more it has to look at the degradation itself. Compare the two columns. (The hint cannot
# vanish: half of the images get no noise, and JPEG takes some of it away again.) The camera step does not make a photo
# worse in any way that the eye would mind:

# %%
seen = [camera(osprey, lab.seeded(seed)) for seed in range(4)]
figures.images.strip(
    [osprey, *seen],
    ["as it was\n", *(
        "camera:\nnothing" if torch.equal(image, osprey)
        else f"camera:\n{lab.psnr(image[None], osprey[None]).item():.1f} dB" for image in seen
    )],
    first=1,
    caption="One photo, and what four passes through the camera make of it. Look for a difference, then read the PSNR.",
)  # fmt: skip

# %% [markdown]
# ## 5 · Two at once
#
# Real photos are rarely ruined in one way only: rain falls at night, dark photos are noisy, and everything is saved as JPEG. `mix`
# takes several degradations. In which order should they act? In that of the light: first what happens in the scene, then on
# the lens, on the sensor, in the file. Missing pixels come last.

# %%
print(" → ".join(mixing_order()))

# %%
pairs = (("hazy", "motion-blurry"), ("low-light", "noisy"), ("rainy", "jpeg-compressed"), ("shadowed", "snowy"))  # fmt: skip
rows, costs_of_two = {}, {}
for one, other in pairs:
    both = mix(colosseum, [(one, 0.5), (other, 0.5)], lab.seeded(8))
    swapped = mix(colosseum, [(other, 0.5), (one, 0.5)], lab.seeded(8))
    assert torch.equal(both, swapped)  # the order in which they are given does not matter
    made = {
        one: degrade(colosseum, one, 0.5, lab.seeded(8)),
        other: degrade(colosseum, other, 0.5, lab.seeded(8)),
        "both": both,
    }
    rows[f"{one}, {other}"] = list(made.values())
    near = {name: lab.psnr(image[None], colosseum[None]).item() for name, image in made.items()}
    costs_of_two[f"{one}, {other}"] = dict(zip(("the first", "the second", "both"), near.values(), strict=True))  # fmt: skip
figures.images.strip(
    [image for images in rows.values() for image in images],
    [title.replace("-", "-\n") for a, b in pairs for title in (a, b, f"{a},\n{b}")],
    caption="In threes: each alone, then both. In the mixture the second one is drawn anew, so it may look different.",
)

# %%
pd.DataFrame(costs_of_two).T.round(1).rename_axis("PSNR (dB)")

# %% [markdown]
# Compare a row: decibels do not add. The squared errors do, roughly, so the larger one decides.
#
# **Predict**: what goes wrong when the order is turned round: noise is added first, and the light goes down afterwards?

# %%
right = mix(osprey, [("low-light", 0.6), ("noisy", 0.4)], lab.seeded(9))
wrong = degrade(degrade(osprey, "noisy", 0.4, lab.seeded(9)), "low-light", 0.6, lab.seeded(10))
brighter = 1 / max(0.05, right.quantile(0.98).item())
figures.images.strip(
    [right, wrong, (right * brighter).clamp(0, 1), (wrong * brighter).clamp(0, 1)],
    ["dark,\nthen noisy", "noisy,\nthen dark", "brightened:\ndark,\nthen noisy", "brightened:\nnoisy,\nthen dark"],
    caption="Left two: the right and the wrong order. Right two: the same, made brighter by the same factor, as a photo program would.",
)  # fmt: skip

# %% [markdown]
# Noise that is added before the light goes down is dimmed with it, and a restorer trained on such images would never
# learn how deep real dark photos are buried in noise.
#
# ## 6 · What a caption still says
#
# DA-CLIP needs words, twice: for what is *wrong* (the ten names) and for what is *shown*. The paper lets a captioner
# (BLIP) describe every clean image. Crops of the size that the lab's CLIP sees (64 pixels) hold too little for that, so
# here a rule describes what they do show: colours and where they lie, light, texture, lines.

# %%
shown = middle("spices", 64)
said = {"clean": lab.caption(shown)} | {
    name: lab.caption(degrade(shown, name, 0.6, lab.seeded(11))) for name in lab.DEGRADATIONS
}
pd.set_option("display.max_colwidth", None)
pd.Series(said, name="what the image says").to_frame()

# %% [markdown]
# The first line is what DA-CLIP learns to say of the content, **whatever** happened to the image. The others are what a
# captioner that does not know about damage makes of it: it describes the damage. Which parts of a caption survive?
# Compare each attribute of the degraded crop with that of the clean one, over all crops. (`second` is the second colour
# and `relation` where it lies, `accent` a rarer, stronger colour, `grain` fine or broad detail, `light` the brightest
# place. An attribute that says nothing both times counts as kept.)
#
# **Predict**: which degradation leaves the caption alone? Which attribute is lost first?

# %%
kinds = list(asdict(attributes(shown)))
kept = {}
for name in lab.DEGRADATIONS:
    pairs_of = [
        (asdict(attributes(crop)), asdict(attributes(degrade(crop, name, 0.6, lab.seeded(12, k)))))
        for k, crop in enumerate(crops)
    ]
    kept[name] = {kind: sum(a[kind] == b[kind] for a, b in pairs_of) / len(crops) for kind in kinds}
kept = pd.DataFrame(kept).T
print(f"share of {len(crops)} crops whose attribute reads as before, at severity 0.6")
kept.assign(mean=kept.mean(axis=1)).style.format("{:.0%}").background_gradient(
    axis=None, vmin=0, vmax=1, cmap="Blues"
)

# %% [markdown]
# So words about light and colour go where light and colour are damaged. Words about texture go nearly everywhere: haze
# and darkness smooth what noise and streaks roughen. JPEG, plain to the eye, leaves these coarse words alone. For a
# network that is to *undo* the damage, the caption of a ruined image would be the wrong advice: it tells what is there,
# and not what should be. That is why the caption always comes from the clean image, and why somebody has to write a
# *second* text, about the damage. In training, the damage is named in many ways, so that no single word is learned by
# heart:

# %%
pd.Series(
    {name: describe(said["clean"], name, lab.seeded(13)) for name in lab.DEGRADATIONS},
    name="a caption that mentions the damage",
).to_frame()

# %% [markdown]
# ## 7 · Turn the knob
#
# A degradation, a severity, a seed. Beside the photo: what it costs, and what it still says.


# %%
def look(name="raindrop", severity=0.5, seed=0):
    """The photo, and the photo degraded, with cost and caption."""
    image = degrade(spices, name, severity, lab.seeded(seed))
    cost = "unchanged" if severity == 0 else f"{lab.psnr(image[None], spices[None]).item():.1f} dB"
    return figures.images.strip(
        [spices, image],
        ["clean", f"{name} {severity:g}, {cost}"],
        zoom=2,
        first=1,
        caption=f"It says: {lab.caption(image)}",
    )


lab.controlled(
    look,
    frames="severity",
    name=list(lab.DEGRADATIONS),
    severity=[step / 20 for step in range(21)],
    seed=range(10),
)

# %% [markdown]
# ## 8 · Your turn
#
# **Exercise 01.1: the way of the light.** A photo is `"noisy"`, `"low-light"`, `"rainy"` and `"jpeg-compressed"`. Which of them has to
# be applied first? (The cell that prints the order is above; try without.)

# %%
answer = ...  # one of the four names

check("01.1", answer)

# %% [markdown]
# <details><summary>Solution 01.1</summary>
#
# ```python
# answer = "rainy"
#
# check("01.1", answer)
# ```
#
# Rain is in the scene. Darkness and noise arise on the sensor, in this order, and JPEG in the file.
#
# </details>

# %% [markdown]
# **Exercise 01.2: predict.** White Gaussian noise of standard deviation 50/255, as in the paper, is added to an image. How
# many decibels is the result from the clean image? (Leave out that values are cut off at 0 and 1.)

# %%
answer = ...  # a number, in dB

check("01.2", answer)

# %% [markdown]
# <details><summary>Solution 01.2</summary>
#
# ```python
# answer = -10 * torch.tensor(50 / 255).square().log10()
#
# check("01.2", answer)
# ```
#
# The mean squared error of noise *is* its variance. The image itself does not matter.
#
# </details>

# %% [markdown]
# **Exercise 01.3: haze.** Write the equation of part 2.


# %%
def haze(image, transmission, airlight):
    """A hazy image (3, h, w) from an image (3, h, w), a transmission (1, h, w) and an airlight (3, 1, 1)."""
    return ...  # your code


check("01.3", haze)

# %% [markdown]
# <details><summary>Solution 01.3</summary>
#
# ```python
# def haze(image, transmission, airlight):
#     return image * transmission + airlight * (1 - transmission)
#
#
# check("01.3", haze)
# ```
#
# A mean of scene and airlight, weighted by what gets through. With a transmission of 0 nothing of the scene is left, and no
# restorer can bring it back: it can only invent.
#
# </details>

# %% [markdown]
# **Exercise 01.4: decibels.** Write the PSNR of part 3 for one image.


# %%
def decibels(image, clean):
    """The PSNR of an image (3, h, w) in dB; both in [0, 1]."""
    return ...  # your code


check("01.4", decibels)

# %% [markdown]
# <details><summary>Solution 01.4</summary>
#
# ```python
# def decibels(image, clean):
#     return -10 * (image - clean).square().mean().log10()
#
#
# check("01.4", decibels)
# ```
#
# One mean over *all* pixels and colours, then one logarithm. For several images, each gets its own number, and these are
# averaged.
#
# </details>

# %% [markdown]
# ## The numbers obtained

# %%
full = costs.loc[1.0]
pd.Series(
    {
        "crops, of photos": f"{len(crops)}, of {len(photos)}",
        "costs most at severity 1": f"{full.idxmin()}, {full.min():.1f} dB",
        "costs least at severity 1": f"{full.idxmax()}, {full.max():.1f} dB",
        "leaves most of the caption (severity 0.6)": f"{kept.mean(axis=1).idxmax()}, {kept.mean(axis=1).max():.0%}",
        "leaves least of the caption (severity 0.6)": f"{kept.mean(axis=1).idxmin()}, {kept.mean(axis=1).min():.0%}",
        "attribute that is lost most often": f"{kept.mean().idxmin()}, kept in {kept.mean().min():.0%}",
        "seconds for this notebook": f"{time.perf_counter() - start:.0f}",
    },
    name="obtained",
).to_frame()

# %% [markdown]
# ## What next
#
# - Your own photo: `daclip-lab degrade PHOTO --sheet -o sheet.png` draws all ten; add `--as NAME` for four seeds of one.
# - `02_clip_is_fooled` shows these images to CLIP: it takes the damage for content, as the captions above did.
# - `03_train_daclip` builds what tells the two apart.
#
# ## References
#
# - Z. Luo, F. K. Gustafsson, Z. Zhao, J. Sjölund, T. B. Schön. *Controlling Vision-Language Models for Multi-Task Image
#   Restoration.* ICLR 2024, [arXiv 2310.01018](https://arxiv.org/abs/2310.01018). The ten data sets: section 4 and appendix.
# - S. Nah, T. H. Kim, K. M. Lee. *Deep Multi-Scale Convolutional Neural Network for Dynamic Scene Deblurring.* CVPR 2017,
#   [arXiv 1612.02177](https://arxiv.org/abs/1612.02177). GoPro.
# - B. Li et al. *Benchmarking Single-Image Dehazing and Beyond.* IEEE TIP 2019, [arXiv 1712.04143](https://arxiv.org/abs/1712.04143).
#   RESIDE, and the scattering equation.
# - W. Yang et al. *Deep Joint Rain Detection and Removal from a Single Image.* CVPR 2017, [arXiv 1609.07769](https://arxiv.org/abs/1609.07769).
#   Rain100H.
# - R. Qian et al. *Attentive Generative Adversarial Network for Raindrop Removal from a Single Image.* CVPR 2018,
#   [arXiv 1711.10098](https://arxiv.org/abs/1711.10098). RainDrop.
# - Y.-F. Liu et al. *DesnowNet.* IEEE TIP 2018, [arXiv 1708.04512](https://arxiv.org/abs/1708.04512). Snow100K.
# - C. Wei et al. *Deep Retinex Decomposition for Low-Light Enhancement.* BMVC 2018, [arXiv 1808.04560](https://arxiv.org/abs/1808.04560). LOL.
# - A. Lugmayr et al. *RePaint.* CVPR 2022, [arXiv 2201.09865](https://arxiv.org/abs/2201.09865). The thin masks.
# - J. Immerkær. *Fast Noise Variance Estimation.* Computer Vision and Image Understanding 64(2), 1996.
