"""The three scales: every choice that the method leaves open, with its meaning and where its value comes from.

`smoke` runs everything in seconds and learns next to nothing; `lab` learns on a laptop; `paper` is the paper
(DA-CLIP, 2310.01018; its code where the paper is silent).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from daclip_lab.data.prompts import all_texts
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.errors import InputError
from daclip_lab.models.clip import Clip, ClipConfig, named_config, vocabulary_of
from daclip_lab.models.restorer import build_restorer
from daclip_lab.training.recipes import ClipRecipe, DaclipRecipe, RestorerRecipe, steps_of

SDE = {"steps": 100, "sigma_max": 50 / 255, "schedule": "cosine", "eps": 0.005}
"""Arguments of MeanRevertingSDE at every scale: the paper's, from its train.yml."""
PAPER_PAIRS = 52_801
"""Training pairs of the paper's ten sets (data/mixed/README.md)."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Everything that a scale decides."""

    name: str
    """`smoke`, `lab` or `paper`."""
    clip: ClipConfig
    """The architecture of CLIP."""
    pretrained: tuple[str, str] | None = None
    """open_clip's names of the architecture and the weights that CLIP starts from; None where it is trained here."""
    clip_training: ClipRecipe | None = None
    """How CLIP is trained; None where it comes pretrained."""
    words: ClipRecipe | None = None
    """How its text tower then learns that phrasings mean the same; None where it comes pretrained."""
    caption_degradation_prob: float = 0.0
    """Share of CLIP's training images that are degraded, with captions that mention it (web captions: rarely)."""
    scene_prob: float = 0.0
    """Share of training images that are procedural scenes."""
    clean_prob: float = 0.0
    """Share of images that are left clean, in the controller's and restorer's training."""
    second_degradation_prob: float = 0.0
    """Share of the degraded images that carry a second degradation, in the controller's and restorer's training."""
    canvas_sides: tuple[int, ...] = ()
    """Sides of the canvases of `canvases.source.WholePhotos` in pixels; empty where the training sees crops alone."""
    canvases_kept: int = 0
    """Canvases that a training holds."""
    severity: tuple[float, float]
    """Range of severities in training, evenly distributed."""
    daclip: DaclipRecipe
    """How the controller is trained."""
    epochs: int | None = None
    """Passes over a folder of real pairs, which decide the controller's steps; None leaves them as in `daclip`."""
    network: dict
    """Arguments of the restorer: ConditionalNAFNet (`smoke`, `lab`) or ConditionalUNet (`paper`)."""
    restorer: RestorerRecipe
    """How the restorer is trained."""
    sde: dict = field(default_factory=SDE.copy)
    """Arguments of MeanRevertingSDE."""
    view: str
    """Which views of an image are embedded, see `models.clip.views`."""
    steps: int
    """Default number of steps of a restoration."""

    def build_clip(self, seed: int = 0) -> Clip:
        """A CLIP with random weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Clip(self.clip)

    def build_sde(self) -> MeanRevertingSDE:
        """The SDE."""
        return MeanRevertingSDE(**self.sde)

    def build_restorer(self, seed: int = 0) -> nn.Module:
        """A restorer with random weights."""
        return build_restorer(self.network, self.clip.embed_dim, seed)


def lab() -> Scale:
    """The default: a CLIP, a controller and a restorer that are trained on a laptop and come with the package."""
    small: dict = {"image_size": 64, "warmup": 100}
    clip = ClipRecipe(**small, steps=1200, batch_size=128, learning_rate=1e-3, weight_decay=0.1)
    words = replace(clip, steps=300, learning_rate=5e-4, warmup=20)
    daclip = DaclipRecipe(**small, steps=1800, batch_size=64, learning_rate=6e-4, weight_decay=0.05)
    restorer = RestorerRecipe(
        steps=8_000,
        # Eight patches of 96 pixels: on a CPU many small steps learn faster than few large ones.
        batch_size=18,
        image_size=64,
        patch_sizes=(96, 128, 96, 96, 64),
        learning_rate=1.5e-3,
        final_learning_rate=1e-6,
        warmup=200,
        betas=(0.9, 0.99),
        eps=1e-8,
        objective="log_mse",
        t_max_prob=0.7,
        conditioning_dropout=0.1,
        wrong_conditioning=0.05,
    )
    network = {"kind": "nafnet", "width": 32, "encoder": (2, 2, 4), "middle": 2}
    # Windows of the training's 64 pixels lose on whole photos, most in haze and darkness
    # (`daclip-lab evaluate --whole --window 64 512`, in the card of the weights).
    network |= {"decoder": (2, 2, 2), "conditioning_dim": 128, "window": None}
    return Scale(
        name="lab",
        clip=ClipConfig(
            embed_dim=128,
            vision={"image_size": 64, "patch_size": 16, "width": 192, "layers": 4, "head_width": 32}
            | {"front_end": [24, 48, 96, 160]},
            text={"context_length": 36, "width": 128, "heads": 4, "layers": 3},
            vocabulary=vocabulary_of(list(all_texts())),
        ),
        clip_training=clip,
        words=replace(words, paraphrase_weight=1.0, train_image_tower=False),
        caption_degradation_prob=0.15,
        scene_prob=0.25,
        clean_prob=0.15,
        second_degradation_prob=0.2,
        canvas_sides=(192, 256, 320),
        canvases_kept=480,
        # From a little below the evaluation's: much weaker ones can hardly be seen, and reward guessing.
        severity=(0.2, 1.0),
        daclip=replace(daclip, photos=8, multi_positive=True, alignment_weight=10.0, synonyms=True),
        network=network,
        restorer=restorer,
        view="both",
        # One call is already a restoration, and of the lab's weights the best by PSNR and SSIM.
        steps=1,
    )


def smoke() -> Scale:
    """For tests: the lab at 32 pixels, where everything runs in seconds and nothing is learned."""
    whole = lab()
    few: dict = {"steps": 4, "batch_size": 8, "image_size": 32, "learning_rate": 1e-3, "warmup": 0}
    tiny = {"width": 8, "encoder": (1, 1), "middle": 1, "decoder": (1, 1)}
    return replace(
        whole,
        name="smoke",
        clip=replace(
            whole.clip,
            embed_dim=32,
            vision={"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16}
            | {"front_end": [8, 12, 16]},
            text={"context_length": 32, "width": 32, "heads": 2, "layers": 1},
        ),
        clip_training=whole.clip_training and replace(whole.clip_training, **few),
        words=whole.words and replace(whole.words, **few),
        scene_prob=0.5,
        canvas_sides=(64,),
        canvases_kept=8,
        daclip=replace(whole.daclip, **few, photos=2, photo_crops=2, alignment_weight=1.0),
        network=whole.network | tiny | {"conditioning_dim": 16},
        restorer=replace(
            whole.restorer,
            **few | {"batch_size": 4},
            patch_sizes=(48, 32),
            t_max_prob=0.3,
        ),
        steps=2,
    )


def paper() -> Scale:
    """The paper: ViT-B/32 of LAION-2B, the 49 M U-Net, and the recipes of its text and code (for GPUs).

    [P] is DA-CLIP (2310.01018), section 4; [C] the authors' code: da-clip/src/multi_train.sh and open_clip's defaults
    for the controller, config/daclip-sde/options/train.yml and models/denoising_model.py for the restorer.
    """
    daclip = DaclipRecipe(
        steps=steps_of(epochs=50, pairs=PAPER_PAIRS, batch_size=3136),
        batch_size=3136,  # [P], [C] 784 on each of four GPUs
        image_size=224,  # [P]
        learning_rate=3e-5,  # [P], [C]
        warmup=100,  # [P], [C]
        weight_decay=0.05,  # [P], [C]
        betas=(0.9, 0.98),  # [C]
        eps=1e-6,  # [C]
        ema_decay=0.0,  # [C] keeps no average
        max_grad_norm=None,  # [C]
        bf16=True,  # [C] mixed precision, of float16
        multi_positive=False,  # [P] equation 3
        train_content=True,  # [P] both losses, equally weighted
    )
    return Scale(
        name="paper",
        clip=named_config("ViT-B-32"),  # [P]
        pretrained=("ViT-B-32", "laion2b_s34b_b79k"),  # [C]
        severity=(0.1, 1.0),
        daclip=daclip,
        epochs=50,  # [P], [C] README; [C] multi_train.sh: 100
        network={"kind": "unet", "channels": 64, "multipliers": (1, 2, 4, 8)},  # [C]
        restorer=RestorerRecipe(
            steps=700_000,  # [P], [C]
            batch_size=16,  # [P], [C]
            image_size=256,  # [P], [C]
            learning_rate=2e-4,  # [P], [C]
            final_learning_rate=1e-6,  # [C]
            warmup=0,  # [C]
            weight_decay=0.0,  # [C]
            betas=(0.9, 0.99),  # [P], [C]
            eps=1e-8,  # [C] torch's own
            ema_decay=0.995,  # [C]
            ema_every=10,  # [C]
            max_grad_norm=None,  # [C]
            bf16=False,  # [C] float32
            objective="matching",  # [P] the L1 loss on the state at t - 1; IR-SDE, equation 15
            t_max_prob=0.0,  # [C] times are drawn evenly
            conditioning_dropout=0.0,  # [C]
        ),
        view="resize",  # [C]
        steps=100,  # [P], [C]
    )


SCALES: dict[str, Callable[[], Scale]] = {"smoke": smoke, "lab": lab, "paper": paper}


def current() -> Scale:
    """The scale that the environment variable DACLIP_LAB_SCALE names: `lab` unless it is set."""
    return named(os.environ.get("DACLIP_LAB_SCALE", "lab"))


def named(name: str) -> Scale:
    """The scale of that name; an InputError lists them where it is none of them."""
    if name not in SCALES:
        raise InputError(f"scale {name!r} is unknown: use one of {', '.join(SCALES)}")
    return SCALES[name]()
