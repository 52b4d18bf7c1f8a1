"""CLIP, words, controller and restorer in a few minutes on one GPU: workers make pairs, two processes train side by side.

    python train_all.py --photos photos --out OUT --minutes 9 [--device cuda]

OUT becomes a pipeline folder (pipeline.json, clip, controller, restorer) with logs beside it; every file is written
whole or not at all, every 90 seconds and whenever a stage ends. Learning rates follow the clock, so that any speed works.
"""

import argparse
import copy
import functools
import math
import multiprocessing as mp
import os
import sys
import tempfile
import time
import traceback
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Whether there is a GPU is asked without waking it, which must not happen before the workers are forked.
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import feed as feeding
from daclip_lab import folders, presets
from daclip_lab.checkpoints import read_tensors, write_tensors
from daclip_lab.data.datasets import LABELS
from daclip_lab.data.degradations import NAMES
from daclip_lab.data.words import training_texts
from daclip_lab.devices import has_bf16
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.folders import Settings
from daclip_lab.models.clip import Clip, _tokenizer
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.models.front_end import fold_all, folded_copy
from daclip_lab.models.losses import multi_positive_info_nce
from feed import CELL, CLEAN_INDEX, CROP, SIZES, Bank, Feed

TEN = len(NAMES)
VISIBLE = 10**-4.5  # 45 dB
SAVE_SECONDS = 90
LOG_SECONDS = 20
NETWORK = {"kind": "nafnet", "width": 32, "encoder": (2, 3, 4), "middle": 3, "decoder": (3, 3, 2),
           "steering": 128, "window": None}  # fmt: skip

FULL = {
    "val_photos": 64, "clip_batch": 1024, "crops": 640, "views": 448,
    "banks": {"crop": 200_000, 192: 5000, 256: 6000, 320: 6000},
    "banks_b": {"crop": 40_000, 192: 2500, 256: 3000, 320: 3500},
    "chunks": {"crop": 2048, 192: 96, 256: 80, 320: 64}, "first": {"crop": 6000, "canvas": 200},
    # Sides of the restorer's patches, in turn, and how many are a step.
    "patches": (128, 128, 192, 128, 64), "restorer": {128: 64, 192: 28, 64: 192},
    "clip_rate": 1.5e-3, "rate": 1.5e-3, "restorer_rate": 1.5e-3, "embed_views": 12, "slice": 2048,
    "val_seconds": 60,
}  # fmt: skip
SMOKE = FULL | {
    "val_photos": 3, "clip_batch": 48, "crops": 32, "views": 20,
    "banks": {"crop": 2000, 192: 40, 256: 30, 320: 12},
    "banks_b": {"crop": 400, 192: 30, 256: 20, 320: 12},
    "chunks": {"crop": 128, 192: 8, 256: 8, 320: 4}, "first": {"crop": 64, "canvas": 4},
    "restorer": {128: 4, 192: 2, 64: 8}, "embed_views": 4, "slice": 64, "val_seconds": 20,
}  # fmt: skip

SMALL = SMOKE | {"val_photos": 10, "clip_batch": 128, "crops": 96, "views": 40, "banks": FULL["banks"] | {"crop": 40_000, 192: 500, 256: 300, 320: 100},
                 "banks_b": {"crop": 4000, 192: 300, 256: 200, 320: 40}, "chunks": {"crop": 256, 192: 8, 256: 8, 320: 4},
                 "restorer": {128: 6, 192: 3, 64: 16}, "val_seconds": 100}  # fmt: skip


# ------------------------------------------------------------------ what is built

def clip_config(front: str):
    """CLIP with the front end inside ("clip"), or the lab's as it was, for a controller with one ("controller")."""
    base = presets.lab().clip
    if front == "clip":
        vision = {"image_size": 64, "patch_size": 16, "width": 192, "layers": 4, "head_width": 32,
                  "front_end": [24, 48, 96, 160]}  # fmt: skip
        return replace(base, vision=vision)
    return base


def settings_of(front: str) -> Settings:
    return Settings(clip=clip_config(front), network=NETWORK, sde=dict(presets.SDE), view="both", steps=1,
                    synonyms=True, stem=0 if front == "clip" else [24, 48, 96, 160])  # fmt: skip


class Tokens:
    """Texts to int16 token ids of the small vocabulary, as `Clip.tokenize` makes them."""

    def __init__(self, config):
        self.length = config.text["context_length"]
        self.tokenizer = _tokenizer(self.length)
        self.place = {int(t): i + 1 for i, t in enumerate(config.vocabulary)}
        self.known: dict[str, list[int]] = {}

    def __call__(self, texts: list[str]) -> np.ndarray:
        out = np.zeros((len(texts), self.length), np.int16)
        for row, text in zip(out, texts, strict=True):
            # Byte pairs never reach over a space, so each word is encoded once in a run.
            ids = [self.tokenizer.sot_token_id]
            for word in text.split():
                if word not in self.known:
                    self.known[word] = self.tokenizer.encode(word)
                ids += self.known[word]
            del ids[self.length - 1 :]
            for i, t in enumerate([*ids, self.tokenizer.eot_token_id]):
                row[i] = self.place.get(t, 0)
        return out


class Clock:
    """The time as a fraction of the minutes that there are."""

    def __init__(self, started: float, minutes: float):
        self.started, self.seconds = started, 60 * minutes

    def __call__(self) -> float:
        return (time.time() - self.started) / self.seconds


class Log:
    def __init__(self, path: Path, name: str, clock: Clock):
        self.file, self.name, self.clock = open(path, "a", buffering=1), name, clock

    def __call__(self, text: str) -> None:
        line = f"[{self.name} {time.time() - self.clock.started:6.1f} s] {text}"
        print(line, flush=True)
        self.file.write(line + "\n")


class Learner:
    """AdamW on a cosine over the clock, and a running average of weights and statistics."""

    def __init__(self, model: nn.Module, rate: float, begin: float, end: float, clock: Clock, *,
                 decay: float = 0.05, betas=(0.9, 0.98), average: float = 0.998, warmup: int = 100):  # fmt: skip
        self.model, self.rate, self.begin, self.end, self.clock = model, rate, begin, end, clock
        self.average, self.warmup, self.steps = average, warmup, 0
        self.weights = [p for p in model.parameters() if p.requires_grad]
        groups = [{"params": [p for p in self.weights if p.dim() > 1], "weight_decay": decay},
                  {"params": [p for p in self.weights if p.dim() <= 1], "weight_decay": 0.0}]  # fmt: skip
        self.optimizer = torch.optim.AdamW(groups, lr=rate, betas=betas, eps=1e-8,
                                           fused=self.weights[0].is_cuda)  # fmt: skip
        self.ema = copy.deepcopy(model).eval().requires_grad_(False)
        self.pairs = self._floats(model), self._floats(self.ema)
        self.total = torch.zeros((), device=self.weights[0].device)
        self.count = 0
        self.kept: list | None = None

    @staticmethod
    def _floats(model):
        # Of the buffers the statistics alone: between two masks of minus infinity there is no average.
        statistics = [t for name, t in model.named_buffers() if name.endswith(("running_mean", "running_var"))]
        return [p.detach() for p in model.parameters()] + statistics

    def step(self, loss: torch.Tensor) -> None:
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0, foreach=True)
        done = min(1.0, max(0.0, (self.clock() - self.begin) / (self.end - self.begin)))
        rate = self.rate * min(1, (self.steps + 1) / self.warmup) * (1 + math.cos(math.pi * done)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        decay = min(self.average, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.pairs[1], self.pairs[0], 1 - decay)
        self.total += loss.detach()
        self.count += 1

    def mean_loss(self) -> float:
        """The mean loss since the last call. Where it is not a number, the last good average comes back."""
        value = (self.total / max(1, self.count)).item()
        self.total.zero_()
        self.count = 0
        with torch.no_grad():
            if math.isfinite(value):
                self.kept = [t.clone() for t in self.pairs[1]]
            elif self.kept is not None:
                for now, average, good in zip(*self.pairs, self.kept, strict=True):
                    now.copy_(good)
                    average.copy_(good)
                self.optimizer.state.clear()
        return value


def keep(state: dict, path: Path) -> None:
    """Write a state for another try, whole or not at all."""
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def half(tensors) -> dict:
    return {k: (t.half() if t.is_floating_point() else t).detach().cpu().contiguous() for k, t in tensors.items()}


@functools.cache
def in_half(device) -> bool:
    return has_bf16(device)


def autocast(device):
    return torch.autocast(device.type, torch.bfloat16) if in_half(device) else nullcontext()


def tune(device) -> None:
    torch.set_num_threads(1 if device.type == "cpu" else 2)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = True


# ------------------------------------------------------------------ views on the device

def cut(pixels: torch.Tensor, rows: torch.Tensor, y: torch.Tensor, x: torch.Tensor, size: int) -> torch.Tensor:
    """Squares (n, k, 3, size, size) of images (N, k, 3, S, S): of image rows[i] the one at (y[i], x[i])."""
    device = pixels.device
    along = torch.arange(size, device=device)
    k = torch.arange(pixels.shape[1], device=device)[None, :, None, None, None]
    c = torch.arange(3, device=device)[None, None, :, None, None]
    yy = (y[:, None] + along)[:, None, None, :, None]
    xx = (x[:, None] + along)[:, None, None, None, :]
    return pixels[rows[:, None, None, None, None], k, c, yy, xx]


def shrunk(pixels: torch.Tensor) -> torch.Tensor:
    """Whole squares (n, 3, S, S) of bytes, resized as `clip.views` does it: floats (n, 3, 64, 64) in [0, 1]."""
    x = pixels.float() / 255
    return F.interpolate(x, size=(CROP, CROP), mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


def covering(maps: torch.Tensor, rows, y, x, size: int = CROP) -> torch.Tensor:
    """The mean of maps (N, k, m, m) over squares at (y, x): (n, k)."""
    m = maps.shape[-1]
    cells = torch.arange(size // CELL, device=maps.device) * CELL + CELL // 2
    yy = ((y[:, None] + cells) // CELL).clamp(max=m - 1)[:, None, :, None]
    xx = ((x[:, None] + cells) // CELL).clamp(max=m - 1)[:, None, None, :]
    k = torch.arange(maps.shape[1], device=maps.device)[None, :, None, None]
    return maps[rows[:, None, None, None], k, yy, xx].mean((-1, -2))


def targets(labels: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
    """Shares (n, 11) of labels (n, 2): one, or half and half; clean where neither is `seen` (n, 2)."""
    there = labels >= 0
    if seen is not None:
        there = there & (seen | (labels == CLEAN_INDEX))
    shares = F.one_hot(labels.clamp(min=0), len(LABELS)).float() * there[..., None]
    shares = shares.sum(-2)
    nothing = ~there.any(-1)
    shares[..., CLEAN_INDEX] += nothing.float()
    return shares / shares.sum(-1, keepdim=True)


def drawn(n: int, below: int, device) -> torch.Tensor:
    return torch.randint(below, (n,), device=device)


# ------------------------------------------------------------------ process A: CLIP, words, controller

class Words:
    """The training phrasings of all labels: their tokens, and their embeddings once the text tower stands."""

    def __init__(self, tokens: Tokens, device):
        texts = [training_texts(label) for label in LABELS]
        self.counts = torch.tensor([len(t) for t in texts], device=device)
        self.starts = torch.cat([self.counts.new_zeros(1), self.counts.cumsum(0)[:-1]])
        self.tokens = torch.from_numpy(tokens([t for some in texts for t in some])).long().to(device)
        self.of = torch.repeat_interleave(torch.arange(len(LABELS), device=device), self.counts)
        self.embeddings = self.means = None

    def draw(self, each: int) -> torch.Tensor:
        """Places (labels, each) of random phrasings."""
        r = torch.rand(len(LABELS), each, device=self.tokens.device)
        return self.starts[:, None] + (r * self.counts[:, None]).long().clamp(max=self.counts[:, None] - 1)

    @torch.no_grad()
    def encode(self, clip: Clip) -> "Words":
        self.embeddings = clip.encode_tokens(self.tokens)
        sums = torch.zeros(len(LABELS), self.embeddings.shape[1], device=self.tokens.device)
        sums.index_add_(0, self.of, self.embeddings)
        self.means = F.normalize(sums / self.counts[:, None], dim=-1)
        return self


class Validation:
    """The held-out photos on the device."""

    def __init__(self, feed: Feed, device, photos: int | None = None):
        waited = time.time()
        while not feed.val_done.all() and not feed.stop[0] and time.time() - waited < 60:
            time.sleep(0.05)
        n = min(feed.val_photos, photos or feed.val_photos)
        self.crops = {k: torch.from_numpy(a[: n * 22]).to(device) for k, a in feed.val_crops.items()}
        self.whole = {k: torch.from_numpy(a[: n * 13]).to(device) for k, a in feed.val_whole.items()}
        self.kind = torch.arange(n * 13, device=device) % 13
        self.size, self.device = feed.val_size, device

    def views(self, rows: torch.Tensor, which: int = 1) -> torch.Tensor:
        """Whole and native views (n, 26, 3, 64, 64) in [0, 1]; `which` 0 is clean and 1 degraded."""
        pixels = self.whole["pixels"][rows, which]
        steps = torch.linspace(0, self.size - CROP, 5).round().long().tolist()
        crops = [pixels[:, :, y : y + CROP, x : x + CROP].float() / 255 for y in steps for x in steps]
        return torch.stack([shrunk(pixels), *crops], 1)


@torch.no_grad()
def embed_views(daclip: DaCLIP, views: torch.Tensor, device) -> tuple[torch.Tensor, torch.Tensor]:
    """Content and degradation embeddings (n, d) of n images with k views each (n, k, 3, 64, 64), whole first."""
    n, k = views.shape[:2]
    with autocast(device):
        found = daclip.encode_image(views.flatten(0, 1), normalize=False)
    content = F.normalize(found.content, dim=-1).view(n, k, -1).mean(1)
    return F.normalize(content, dim=-1), daclip.controller.pooling(found.degradation.view(n, k, -1))


@torch.no_grad()
def examine_controller(daclip: DaCLIP, words: Words, val: Validation, conf: dict, device) -> str:
    """The numbers of the validation set, as text."""
    W, crops = words.means, val.crops
    y = crops["labels"][:, 0]
    said, cosines = [], []
    for rows in torch.arange(len(y), device=device).split(conf["slice"]):
        x = crops["pixels"][rows].float() / 255
        with autocast(device):
            e = daclip.encode_image(x[:, 1])
            plain, clean = daclip.clip.encode_image(x[:, 1]), daclip.clip.encode_image(x[:, 0])
        said.append(e.degradation @ W.T)
        cosines.append(torch.stack([(e.content * clean).sum(1), (plain * clean).sum(1)], 1))
    said, cosines = torch.cat(said), torch.cat(cosines).mean(0)
    whole = []
    for rows in torch.arange(len(val.kind), device=device).split(max(1, conf["slice"] // 26)):
        whole.append(embed_views(daclip, val.views(rows), device)[1] @ W.T)
    whole = torch.cat(whole)

    def ten(s, t):
        right = s[:, :TEN].argmax(1) == t
        each = [right[t == i].float().mean().item() for i in range(TEN)]
        return right[t < TEN].float().mean().item(), each

    one = val.kind < 11
    k, s = val.kind[one], whole[one] * daclip.scale.item()
    margin = s[:, CLEAN_INDEX] - s[:, :TEN].amax(1)
    missed = margin[k < TEN]
    bound = missed.sort(descending=True).values[int(0.03 * len(missed))]
    mixed = val.whole["labels"][~one]
    top = whole[~one][:, :TEN].topk(2, dim=1).indices.sort(1).values
    both = (top == mixed.sort(1).values).all(1).float().mean().item()
    (a, each_a), (b, each_b) = ten(said, y), ten(s, k)
    gap = 1 - ((1 - cosines[0]) / (1 - cosines[1])).item()
    called = (said[y == CLEAN_INDEX].argmax(1) == CLEAN_INDEX).float().mean().item()
    return (
        f"crops {a:.3f} whole {b:.3f} both of two {both:.3f} | clean crops called clean {called:.3f}, "
        f"whole {(margin[k == CLEAN_INDEX] > 0).float().mean().item():.3f} at {(missed > 0).float().mean().item():.3f} misses, "
        f"{(margin[k == CLEAN_INDEX] > bound).float().mean().item():.3f} at 0.03 | gap closed {gap:.3f} "
        f"(cosine {cosines[0].item():.3f}, CLIP's {cosines[1].item():.3f})\n      "
        + " ".join(f"{n} {100 * p:.0f}/{100 * q:.0f}" for n, p, q in zip(NAMES, each_a, each_b, strict=True))
        + f" | whole weighs {daclip.controller.pooling.whole.item():+.2f}"
    )


@torch.no_grad()
def examine_clip(clip: Clip, words: Words, val: Validation, device) -> str:
    crops = val.crops
    first = torch.arange(0, len(crops["labels"]), 11, device=device)  # distinct crops
    with autocast(device):
        image = clip.encode_image(crops["pixels"][first, 0].float() / 255)
        text = clip.encode_tokens(crops["tokens"][first, 0].long())
        seen = clip.encode_image(crops["pixels"][:, 1].float() / 255)
    same = crops["same"][first, 0]
    right = same[(image @ text.T).argmax(1)] == same
    y = crops["labels"][:, 0]
    named = (seen @ words.encode(clip).means[:TEN].T).argmax(1) == y
    W = words.means @ words.means.T - torch.eye(len(LABELS), device=device)
    return (f"caption found among {len(first)}: {right.float().mean().item():.3f}; CLIP alone names "
            f"{named[y < TEN].float().mean().item():.3f} of the ten; nearest two words {W.max().item():.2f}")  # fmt: skip


def train_a(front: str, out: Path, feed: Feed, args, conf, clock: Clock, plan: dict, first: bool) -> None:
    """CLIP, words and controller, one after the other."""
    device = torch.device(args.device)
    tune(device)
    torch.manual_seed(args.seed)
    log = Log(out / f"log_{front}.txt" if first else Path(args.out) / f"log_{front}.txt", front, clock)
    settings = settings_of(front)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(args.seed)
        clip = Clip(settings.clip).to(device)
    bank = Bank(feed.crops, conf["banks"]["crop"], conf["chunks"]["crop"], device)
    words = Words(Tokens(settings.clip), device)
    val = Validation(feed, device)
    while bank.filled < conf["first"]["crop"]:
        bank.pump(4)
        time.sleep(0.02)
    log(f"begins with {bank.filled} crops; {len(val.kind)} whole validation images")

    def views(n):
        rows = drawn(n, bank.filled, device)
        return rows, {k: t[rows] for k, t in bank.data.items()}

    n = conf["clip_batch"]
    if n > 256 and device.type == "cuda":
        timed_transfer(feed, device, log)

    # What an earlier try of this process left, should it have failed.
    kept_clip, kept_controller = (Path(args.state) / f"{front}_{part}.pt" for part in ("clip", "controller"))
    if kept_clip.exists():
        clip.load_state_dict(torch.load(kept_clip, map_location=device))
        plan = plan | {"clip": 0.0, "words": 0.0}
        log("goes on with the CLIP of the try before")

    # ---- CLIP
    clip.train()
    learner = Learner(clip, conf["clip_rate"], clock(), plan["clip"], clock, decay=0.1)
    said = checked = time.time()
    told = 0
    while clock() < plan["clip"]:
        bank.pump()
        _, some = views(n)
        named = torch.rand(n, device=device) < 0.2
        at = named.long()
        rows = torch.arange(n, device=device)
        x = some["pixels"][rows, at].float() / 255
        # Half of the clean images get a little noise, as a camera gives it.
        grain = torch.rand(n, 1, 1, 1, device=device).mul_(2).sub_(1).clamp_(min=0) * (4 / 255) * ~named[:, None, None, None]
        x = (x + grain * torch.randn_like(x)).clamp_(0, 1)
        with autocast(device):
            image = clip.encode_image(x)
            text = clip.encode_tokens(some["tokens"][rows, at].long())
        loss = multi_positive_info_nce(image, text, clip.scale.clamp(max=100), some["same"][rows, at])
        learner.step(loss)
        if time.time() - said > LOG_SECONDS:
            speed = (learner.steps - told) * n / (time.time() - said)
            log(f"CLIP step {learner.steps} loss {learner.mean_loss():.3f} {speed:.0f} images/s, crops taken {bank.taken}")
            said, told = time.time(), learner.steps
        if time.time() - checked > conf["val_seconds"]:
            log("CLIP: " + examine_clip(learner.ema, words, val, device))
            checked = time.time()
    clip.load_state_dict(learner.ema.state_dict())
    log(f"CLIP ends after {learner.steps} steps of {n}: " + examine_clip(clip.eval(), words, val, device))

    # ---- words: the image tower stands, texts learn to describe what it sees and which phrasings mean the same
    clip.eval()
    clip.requires_grad_(True)
    clip.visual.requires_grad_(False)
    learner = Learner(clip, 5e-4, clock(), plan["words"], clock, decay=0.1, warmup=20)
    said = time.time()
    each = 3
    alike = torch.arange(len(LABELS), device=device).repeat_interleave(each)
    while clock() < plan["words"]:
        bank.pump()
        _, some = views(n)
        at = (torch.rand(n, device=device) < 0.3).long()
        rows = torch.arange(n, device=device)
        with autocast(device):
            with torch.no_grad():
                image = clip.encode_image(some["pixels"][rows, at].float() / 255)
            text = clip.encode_tokens(some["tokens"][rows, at].long())
            one, other = clip.encode_tokens(words.tokens[words.draw(2 * each)].flatten(0, 1)).view(
                len(LABELS), 2, each, -1).transpose(0, 1).flatten(1, 2)  # fmt: skip
        scale = clip.scale.clamp(max=100)
        loss = multi_positive_info_nce(image, text, scale, some["same"][rows, at])
        learner.step(loss + multi_positive_info_nce(one, other, scale, alike))
    clip.load_state_dict(learner.ema.state_dict())
    clip.eval().requires_grad_(False)
    log(f"words end after {learner.steps} steps, loss {learner.mean_loss():.3f}: " + examine_clip(clip, words, val, device))
    if not kept_clip.exists():
        write_tensors(out / "clip.safetensors", half(folded_copy(clip.model).state_dict()))
        keep(clip.state_dict(), kept_clip)
    words.encode(clip)

    # ---- the controller
    feed.share[0] = 0.45
    torch.manual_seed(args.seed + 1)
    daclip = DaCLIP(clip, settings.stem if settings.stem == 0 else tuple(settings.stem)).to(device)
    fold_all(daclip.clip)  # the frozen tower alone; its copy keeps its batch norms and trains them
    if kept_controller.exists():
        folders._Controller(daclip).load_state_dict(torch.load(kept_controller, map_location=device))
        log("goes on with the controller of the try before")
    daclip.train()
    daclip.controller.requires_grad_(True)
    log(f"controller begins: {sum(p.numel() for p in daclip.controller.parameters()) / 1e6:.2f} M parameters; untrained "
        + examine_controller(daclip.eval(), words, val, conf, device))  # fmt: skip
    daclip.train()
    banks = {s: Bank(feed.canvases[s], conf["banks"][s], conf["chunks"][s], device) for s in SIZES}
    small = {s: torch.zeros(b.capacity, 2, 3, CROP, CROP, dtype=torch.uint8, device=device) for s, b in banks.items()}

    def pump(s, rounds=1):
        for low, high in banks[s].pump(rounds):
            for lo in range(low, high, 64):
                hi = min(high, lo + 64)
                both = shrunk(banks[s].data["pixels"][lo:hi].flatten(0, 1))
                small[s][lo:hi] = (both * 255).round().to(torch.uint8).view(hi - lo, 2, 3, CROP, CROP)

    for s in SIZES:
        while banks[s].filled < min(conf["first"]["canvas"], conf["banks"][s] // 2):
            pump(s)
            time.sleep(0.02)

    def save(model):
        kept = folded_copy(model.controller).state_dict()
        tensors = {f"controller.{k}": t for k, t in kept.items()} | {"logit_scale": model.logit_scale}
        write_tensors(out / "controller.safetensors", half(tensors))
        keep(folders._Controller(model).state_dict(), kept_controller)

    learner = Learner(daclip, conf["rate"], clock(), plan["controller"], clock, decay=0.05)
    saved = said = checked = time.time()
    told = seen_views = 0
    d = clip.config.embed_dim
    parts = torch.zeros(5, device=device)
    while clock() < plan["controller"]:
        bank.pump()
        s = SIZES[(0, 1, 2, 1, 2, 2)[learner.steps % 6]]
        pump(SIZES[learner.steps % 3])
        m = conf["crops"]
        _, some = views(m)
        k = (4, 8, 12, 16)[learner.steps % 4] if conf["views"] > 100 else 4
        b = conf["views"] // (k + 1)
        rows = drawn(b, banks[s].filled, device)
        many = rows.repeat_interleave(k)
        y, x = drawn(b * k, s - CROP + 1, device), drawn(b * k, s - CROP + 1, device)
        data = banks[s].data
        native = cut(data["pixels"], many, y, x, CROP).view(b, k, 2, 3, CROP, CROP)
        whole = small[s][rows]
        bags = torch.cat([whole[:, None], native], 1).flatten(0, 1)
        images = torch.cat([some["pixels"], bags]).float() / 255  # (n, 2, 3, 64, 64)
        labels = data["labels"][rows]
        # What can be seen in each view.
        seen = covering(data["maps"], many, y, x).view(b, k, 2) > VISIBLE
        shown = ((whole[:, 0].float() - whole[:, 1].float()) / 255).square().mean((1, 2, 3)) > 10**-4.2
        seen = torch.cat([shown[:, None, None].expand(b, 1, 2), seen], 1)
        target = torch.cat([targets(some["labels"]),
                            targets(labels[:, None].expand(b, k + 1, 2), seen).flatten(0, 1)])  # fmt: skip
        with torch.no_grad():
            daclip.logit_scale.clamp_(max=math.log(100))
            with autocast(device):
                clean = clip.encode_image(images[:, 0])
                captions = clip.encode_tokens(some["tokens"][:, 0].long())
        with autocast(device):
            found = daclip.encode_image(images[:, 1], normalize=False)
        content, degradation = (F.normalize(f, dim=-1) for f in found)
        pooled = daclip.controller.pooling(found.degradation[m:].view(b, k + 1, d))
        # Eight sets of one phrasing a label, of which half are the means; each is asked of an eighth of the rows.
        sets = words.embeddings[words.draw(8)].transpose(0, 1)
        sets = torch.cat([sets[:4], words.means.expand(4, -1, -1)])
        group = torch.arange(m + b * (k + 1), device=device) % 8
        logits = daclip.scale * torch.einsum("nd,gld->ngl", degradation, sets)
        per = -(target * logits[torch.arange(len(group), device=device), group].log_softmax(1)).sum(1)
        of_bags = -(targets(labels) * (daclip.scale * pooled @ words.means.T).log_softmax(1)).sum(1).mean()
        for_content = multi_positive_info_nce(content[:m], captions, daclip.scale, some["same"][:, 0])
        apart = 1 - (content * clean).sum(1).mean()
        loss = per[:m].mean() + 0.5 * per[m:].mean() + of_bags + 0.5 * for_content + 10 * apart
        learner.step(loss)
        parts += torch.stack([per[:m].mean(), per[m:].mean(), of_bags, for_content, apart]).detach()
        seen_views += len(group)
        if time.time() - said > LOG_SECONDS:
            dt, steps = time.time() - said, learner.steps - told
            told_parts = " ".join(f"{v:.3f}" for v in (parts / steps).tolist())
            log(f"controller step {learner.steps} loss {learner.mean_loss():.3f} (crops, views, photos, captions, 1-cos: {told_parts}) "
                f"{seen_views / dt:.0f} views/s; taken: crops {bank.taken}, canvases {[b.taken for b in banks.values()]}")  # fmt: skip
            said, told, seen_views = time.time(), learner.steps, 0
            parts.zero_()
        if time.time() - checked > conf["val_seconds"]:
            log("controller: " + examine_controller(learner.ema, words, val, conf, device))
            checked = time.time()
        if time.time() - saved > SAVE_SECONDS:
            save(learner.ema)
            saved = time.time()
    save(learner.ema)
    feed.texts[0] = 0
    feed.share[0] = 0.12
    log(f"controller ends after {learner.steps} steps: " + examine_controller(learner.ema, words, val, conf, device))
    if device.type == "cuda":
        log(f"most GPU memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


def timed_transfer(feed, device, log) -> None:
    """How fast bytes go from pinned memory to the device."""
    x = torch.empty(256 * 2**20, dtype=torch.uint8, pin_memory=True)
    y = torch.empty_like(x, device=device)
    y.copy_(x)
    torch.cuda.synchronize()
    t = time.time()
    y.copy_(x, non_blocking=True)
    torch.cuda.synchronize()
    log(f"host to device {x.numel() / 1e9 / (time.time() - t):.1f} GB/s pinned")


# ------------------------------------------------------------------ process B: the restorer

class Told:
    """What the restorer is told of canvases and crops: a stand-in, then words, then what the controller says."""

    def __init__(self, out: Path, config, device, conf, log):
        self.out, self.config, self.device, self.conf, self.log = out, config, device, conf, log
        g = torch.Generator().manual_seed(5)
        self.words = F.normalize(torch.randn(len(LABELS), config.clip.embed_dim, generator=g), dim=-1).to(device)
        self.has_words, self.daclip, self.stamp, self.checked = False, None, 0.0, 0.0

    def look(self, net_pairs) -> bool:
        """Look for new files every few seconds; True where the controller is another one than before."""
        if time.time() - self.checked < 3:
            return False
        self.checked = time.time()
        clip_file, file = self.out / "clip.safetensors", self.out / "controller.safetensors"
        if not self.has_words and clip_file.exists():
            clip = Clip(self.config.clip)
            fold_all(clip)
            clip.model.load_state_dict(read_tensors(clip_file))
            clip = clip.to(self.device).eval().requires_grad_(False)
            self.clip = clip
            words = Words(Tokens(self.config.clip), self.device).encode(clip).means
            for net in net_pairs:
                teach(net.degradation[0], self.words, words)
            self.words, self.has_words = words, True
            self.log("told by words now")
        if self.has_words and file.exists() and file.stat().st_mtime > self.stamp:
            stamp = file.stat().st_mtime
            stem = self.config.stem
            daclip = DaCLIP(self.clip, stem if stem == 0 else tuple(stem))
            fold_all(daclip.controller)
            folders._Controller(daclip).load_state_dict(read_tensors(file))
            self.daclip = daclip.to(self.device).eval().requires_grad_(False)
            self.stamp = stamp
            self.log("told by a new controller now")
            return True
        return False

    def by_words(self, labels: torch.Tensor) -> torch.Tensor:
        """Embeddings (n, d) of labels (n, 2): the word, or the direction between two."""
        return F.normalize(targets(labels) @ self.words, dim=-1)

    @torch.no_grad()
    def of_canvases(self, bank: Bank, store: torch.Tensor, low: int, high: int) -> None:
        """Write content and degradation embeddings of the canvases at low..high into store (N, 2, d)."""
        if self.daclip is None:
            return
        k = self.conf["embed_views"]
        size = bank.data["pixels"].shape[-1]
        for lo in range(low, high, 128):
            hi = min(high, lo + 128)
            n = hi - lo
            many = torch.arange(lo, hi, device=self.device).repeat_interleave(k)
            y, x = drawn(n * k, size - CROP + 1, self.device), drawn(n * k, size - CROP + 1, self.device)
            pixels = bank.data["pixels"][:, 1:]
            native = cut(pixels, many, y, x, CROP).view(n, k, 3, CROP, CROP).float() / 255
            views = torch.cat([shrunk(pixels[lo:hi, 0])[:, None], native], 1)
            store[lo:hi] = torch.stack(embed_views(self.daclip, views, self.device), 1)


@torch.no_grad()
def teach(layer: nn.Linear, old: torch.Tensor, new: torch.Tensor) -> None:
    """Change a layer so that it answers to new vectors (k, d) as it answered to old ones."""
    wanted = layer.weight @ old.T  # (o, k)
    inverse = torch.linalg.pinv(new.T.double().cpu(), rtol=0.03).to(layer.weight)  # (k, d)
    rest = layer.weight - (layer.weight @ new.T) @ inverse
    layer.weight.copy_(wanted @ inverse + rest)


def train_b(out: Path, feed: Feed, args, conf, clock: Clock, plan: dict) -> None:
    """The restorer, from the first second on."""
    device = torch.device(args.device)
    tune(device)
    torch.manual_seed(args.seed + 7)
    log = Log(Path(args.out) / "log_restorer.txt", "restorer", clock)
    settings = settings_of(args.variants.split(",")[0])
    net = presets.build_restorer(NETWORK, settings.clip.embed_dim, args.seed).to(device)
    net = net.to(memory_format=torch.channels_last).train()
    kept, kept_words = Path(args.state) / "restorer.pt", Path(args.state) / "words.pt"
    if kept.exists():
        net.load_state_dict(torch.load(kept, map_location=device))
        log("goes on with the restorer of the try before")
    log(f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters")
    sde = MeanRevertingSDE(**settings.sde)
    alpha, sigma, T = sde.alpha.float().to(device), sde.sigma_bar.float().to(device), sde.steps
    banks = {s: Bank(feed.canvases[s], conf["banks_b"][s], conf["chunks"][s], device) for s in SIZES}
    crops = Bank(feed.crops, conf["banks_b"]["crop"], conf["chunks"]["crop"], device)
    d = settings.clip.embed_dim
    store = {s: torch.zeros(b.capacity, 2, d, device=device) for s, b in banks.items()}
    told = Told(out, settings, device, conf, log)
    if kept_words.exists():
        told.words = torch.load(kept_words, map_location=device)
    val = Validation(feed, device)
    for s, b in banks.items():
        while b.filled < min(conf["first"]["canvas"], conf["banks_b"][s] // 2):
            b.pump()
            time.sleep(0.02)
    log(f"begins with {[b.filled for b in banks.values()]} canvases")
    learner = Learner(net, conf["restorer_rate"], clock(), plan["restorer"], clock,
                      decay=1e-4, betas=(0.9, 0.99), average=0.999, warmup=200)  # fmt: skip
    compiled = False

    def save():
        write_tensors(out / "restorer.safetensors", half(learner.ema.state_dict()))
        keep(learner.ema.state_dict(), kept)
        keep(told.words, kept_words)

    def forward(clean, degraded, t, content, degradation):
        noise = torch.randn_like(clean)
        a, s = (v[t].view(-1, 1, 1, 1) for v in (alpha, sigma))
        state = degraded + (clean - degraded) * a + s * noise
        with autocast(device):
            return net(state, degraded, t, net.prepare(content, degradation)).float()

    def batch(size):
        n = conf["restorer"][size]
        if size == CROP:
            crops.pump()
            rows = drawn(n, max(1, crops.filled), device)
            pixels, labels = crops.data["pixels"][rows], crops.data["labels"][rows]
            if told.daclip is not None:
                with torch.no_grad(), autocast(device):
                    content, degradation = told.daclip.encode_image(pixels[:, 1].float() / 255)
            else:
                content, degradation = None, told.by_words(labels)
        else:
            s = SIZES[(0, 1, 2, 2, 1, 2, 2)[learner.steps % 7]]
            bank = banks[s]
            # Clean canvases half as often as they are made.
            weight = torch.where(bank.data["labels"][: bank.filled, 0] == CLEAN_INDEX, 0.5, 1.0)
            rows = torch.multinomial(weight, n, replacement=True)
            y, x = drawn(n, s - size + 1, device), drawn(n, s - size + 1, device)
            pixels, labels = cut(bank.data["pixels"], rows, y, x, size), bank.data["labels"][rows]
            if told.daclip is not None:
                content, degradation = store[s][rows].unbind(1)
            else:
                content, degradation = None, told.by_words(labels)
        flip = torch.rand(n, 1, 1, 1, 1, device=device) < 0.5
        pixels = torch.where(flip, pixels.flip(-1), pixels)
        # A tenth is told nothing, a twentieth what belongs to another.
        keep = (torch.rand(n, 1, device=device) >= 0.1).float()
        wrong = torch.rand(n, 1, device=device) < 0.05
        other = torch.randperm(n, device=device)
        degradation = torch.where(wrong, degradation[other], degradation) * keep
        content = torch.zeros_like(degradation) if content is None else torch.where(wrong, content[other], content) * keep
        images = pixels.float() / 255
        return images[:, 0], images[:, 1], content, degradation

    def one_step(size):
        clean, degraded, content, degradation = batch(size)
        n = len(clean)
        t = torch.randint(1, T + 1, (n,), device=device)
        t = torch.where(torch.rand(n, device=device) < 0.5, T, t)
        clean, degraded = (i.contiguous(memory_format=torch.channels_last) for i in (clean, degraded))
        prediction = forward(clean, degraded, t, content, degradation)
        error = ((prediction - clean).square().mean((1, 2, 3)) + 1e-4).log()
        if args.caution:
            before = ((degraded - clean).square().mean((1, 2, 3)) + 1e-4).log()
            error = error + args.caution * (error - before).relu()
        learner.step(error.mean())

    @torch.no_grad()
    def examine(every: int = 2) -> str:
        rows = torch.nonzero((torch.arange(len(val.kind), device=device) // 13) % every == 0)[:, 0]
        gain, out_psnr = [], []
        ema = learner.ema
        g = torch.Generator(device=device).manual_seed(3)
        for some in rows.split(max(1, conf["slice"] // 64)):
            clean, degraded = (val.whole["pixels"][some, i].float() / 255 for i in (0, 1))
            if told.daclip is not None:
                content, degradation = embed_views(told.daclip, val.views(some), device)
            else:
                content, degradation = None, told.by_words(val.whole["labels"][some])
            t = torch.full((len(some),), T, device=device)
            state = degraded + sde.sigma_max * torch.randn(degraded.shape, generator=g, device=device)
            with autocast(device):
                restored = ema(state, degraded, t, ema.prepare(content, degradation)).float().clamp(0, 1)
            psnr = [-10 * ((i - clean).square().mean((1, 2, 3)) + 1e-10).log10() for i in (restored, degraded)]
            gain.append(psnr[0] - psnr[1])
            out_psnr.append(-10 * ((restored - degraded).square().mean((1, 2, 3)) + 1e-10).log10())
        gain, out_psnr, kind = torch.cat(gain), torch.cat(out_psnr), val.kind[rows]
        each = [gain[kind == i].mean().item() for i in range(TEN)]
        return (f"gain {sum(each) / TEN:+.2f}, of two {gain[kind > 10].mean().item():+.2f}, a clean photo comes back at "
                f"{out_psnr[kind == CLEAN_INDEX].mean().item():.1f} dB (lowest {out_psnr[kind == CLEAN_INDEX].min().item():.1f}) | "
                + " ".join(f"{n} {v:+.2f}" for n, v in zip(NAMES, each, strict=True)))  # fmt: skip

    def synchronize():
        if device.type == "cuda":
            torch.cuda.synchronize()

    if args.trial or args.compile:  # how fast is a step, as it is and compiled?
        def timed(size, steps=15):
            for _ in range(4):
                one_step(size)
            synchronize()
            t = time.time()
            for _ in range(steps):
                one_step(size)
            synchronize()
            return steps * conf["restorer"][size] / (time.time() - t)

        steps = 15 if device.type == "cuda" else 1
        if args.trial:
            for size in (64, 128, 192):
                if size == 64:
                    crops.pump(4)
                log(f"as it is, {size} px: {timed(size, steps):.0f} patches/s")
        if args.compile:
            try:
                t = time.time()
                compile_blocks(net)
                one_step(128)
                synchronize()
                log(f"compiled in {time.time() - t:.0f} s; 128 px: {timed(128, steps):.0f} patches/s")
                compiled = True
            except Exception:
                log("compiling failed:\n" + traceback.format_exc())
                compile_blocks(net, off=True)
    said = saved = checked = time.time()
    before = learner.steps
    pixels = 0
    while clock() < plan["restorer"]:
        new = told.look((net, learner.ema))
        # What is told of each new canvas takes time, too: fewer of them once there is a controller.
        rest = 1 if told.daclip is None else 8
        turn = (SIZES[learner.steps // rest % 3],) if learner.steps % rest == 0 else ()
        for s in SIZES if new else turn:
            for low, high in banks[s].pump():
                if not new:
                    told.of_canvases(banks[s], store[s], low, high)
            if new:
                told.of_canvases(banks[s], store[s], 0, banks[s].filled)
        size = conf["patches"][learner.steps % len(conf["patches"])]
        if compiled:
            for block in net.modules():
                if hasattr(block, "fast"):
                    block.fast = size == 128
        one_step(size)
        pixels += conf["restorer"][size] * size * size
        if time.time() - said > LOG_SECONDS:
            dt = time.time() - said
            log(f"step {learner.steps} loss {learner.mean_loss():.3f}, {(learner.steps - before) / dt:.1f} steps/s, "
                f"{pixels / 4096 / dt:.0f} patches of 64 px a second; canvases taken {[b.taken for b in banks.values()]}")  # fmt: skip
            said, before, pixels = time.time(), learner.steps, 0
        if time.time() - checked > conf["val_seconds"]:
            log("photos: " + examine())
            checked = time.time()
        if time.time() - saved > SAVE_SECONDS:
            save()
            saved = time.time()
    save()
    log(f"ends after {learner.steps} steps, photos: " + examine(1))
    if device.type == "cuda":
        log(f"most GPU memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


def compile_blocks(net, off: bool = False) -> None:
    """Let every block of a NAFNet run compiled where its `fast` is set."""
    from daclip_lab.models.nafnet import Block

    for name in ("recompile_limit", "cache_size_limit"):
        if hasattr(torch._dynamo.config, name):
            setattr(torch._dynamo.config, name, 64)
    for block in net.modules():
        if isinstance(block, Block):
            if off:
                block.__dict__.pop("forward", None)
                block.__dict__.pop("fast", None)
                continue
            plain = type(block).forward.__get__(block)
            quick = torch.compile(plain, dynamic=False)
            block.fast = True
            block.forward = lambda x, v, b=block, p=plain, q=quick: (q if b.fast and torch.is_grad_enabled() else p)(x, v)


# ------------------------------------------------------------------ the whole

def smaller_steps(conf: dict, by: int) -> dict:
    return conf | {"clip_batch": conf["clip_batch"] // by, "crops": conf["crops"] // by, "views": max(20, conf["views"] // by),
                   "restorer": {s: max(1, n // by) for s, n in conf["restorer"].items()}}  # fmt: skip


def guarded(name, function, *rest) -> None:
    try:
        function(*rest)
    except BaseException:
        print(f"[{name}] FAILED\n{traceback.format_exc()}", flush=True)
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--minutes", type=float, required=True, help="counted from the start of this program")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--only", default="controller,restorer", help="which processes train")
    parser.add_argument("--variants", default="clip", help="clip, controller or both: where the front end stands")
    parser.add_argument("--trial", action="store_true", help="short: measures speeds, too")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--caution", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plan", help="where CLIP, words, controller and restorer end, as fractions: 0.18,0.22,0.72,0.965")
    parser.add_argument("--smoke", action="store_true", help="tiny batches, for a CPU")
    parser.add_argument("--small", action="store_true", help="small batches, for a trial on a CPU")
    args = parser.parse_args()
    started = time.time()
    out, photos = Path(args.out), Path(args.photos)
    out.mkdir(parents=True, exist_ok=True)
    clock = Clock(started, args.minutes)
    log = Log(out / "log_data.txt", "main", clock)
    conf = SMOKE if args.smoke else SMALL if args.small else FULL
    # Twenty seconds are left at the end, whatever happens.
    plan = {"clip": 0.18, "words": 0.23, "controller": 0.72, "restorer": min(0.965, 1 - 20 / (60 * args.minutes))}
    if args.trial or "restorer" not in args.only:
        plan = {"clip": 0.3, "words": 0.37, "controller": 0.88, "restorer": 0.88}
    if args.plan:
        plan = dict(zip(plan, map(float, args.plan.split(",")), strict=True))
    torch.set_num_threads(1)
    assert not torch.cuda.is_initialized()
    variants = args.variants.split(",")
    settings = settings_of(variants[0])
    folders.write_settings(out, settings)
    train_paths, val_paths = feeding.read_manifest(photos)
    t = time.time()
    train, val = feeding.Photos(train_paths), feeding.Photos(val_paths).large(320)
    pairs = feeding.read_pairs(photos / "pairs")
    workers = args.workers or max(1, (os.cpu_count() or 2) - 2)
    feed = Feed(workers=workers, smoke=args.smoke or args.small, val_photos=min(conf["val_photos"], len(val_paths)),
                tokenize=Tokens(settings.clip))  # fmt: skip
    log(f"{len(train.images)} photos, {len(val.images)} for validation, real pairs { {k: len(v) for k, v in pairs.items()} }, "
        f"read in {time.time() - t:.1f} s; {workers} workers; torch {torch.__version__}, numpy {np.__version__}, "
        f"{os.cpu_count()} cores; plan {plan}")  # fmt: skip
    assert not torch.cuda.is_initialized()
    mp.set_start_method("fork")
    children = []

    def start(name, function, *rest):
        process = mp.Process(target=guarded, args=(name, function, *rest), name=name)
        process.start()
        children.append(process)
        return process

    makers = [start(f"worker {w}", feeding.work, w, feed, train, val, pairs, args.seed + 1) for w in range(workers)]
    args.state = tempfile.mkdtemp()
    tasks = []
    if "controller" in args.only:
        for k, front in enumerate(variants):
            folder = out if k == 0 else Path(tempfile.mkdtemp())
            tasks.append(lambda conf, front=front, folder=folder, k=k: start(
                front, train_a, front, folder, feed, args, conf, clock, plan, k == 0))
    if "restorer" in args.only:
        tasks.append(lambda conf: start("restorer", train_b, out, feed, args, conf, clock, plan))
    trainers, tries = [task(conf) for task in tasks], [1] * len(tasks)
    before, told = feeding.rates(feed), time.time()
    limit = started + 60 * args.minutes
    while any(p.is_alive() for p in trainers) and time.time() < limit:
        time.sleep(0.5)
        for i, p in enumerate(trainers):
            if not p.is_alive() and p.exitcode and tries[i] < 3 and clock() < 0.85:
                # Once more from what it left, with smaller batches: what fails is most likely memory.
                tries[i] += 1
                smaller = smaller_steps(conf, 2 ** (tries[i] - 1))
                log(f"{p.name} ended with {p.exitcode}; try {tries[i]}")
                trainers[i] = tasks[i](smaller)
        if time.time() - told > (10 if args.smoke else 30):
            before, told = feeding.rates(feed, before), time.time()
            dead = sum(not p.is_alive() for p in makers)
            log(before["text"] + f"; load {os.getloadavg()[0]:.1f}" + (f"; {dead} WORKERS DEAD" if dead else ""))
    feed.stop[0] = 1
    late = [p.name for p in trainers if p.is_alive()]
    if late:
        log(f"out of time: {', '.join(late)} stopped")
    for p in trainers:
        if p.is_alive():
            p.terminate()
    time.sleep(0.5)
    for p in children:
        p.join(timeout=0.2)
        if p.is_alive():
            p.kill()
    for p in trainers:
        p.join(timeout=1)
    log(f"done; exit codes {[p.exitcode for p in trainers]}; files "
        + ", ".join(f"{f.name} {f.stat().st_size / 1e6:.1f} MB" for f in sorted(out.iterdir()) if f.is_file()))  # fmt: skip
    sys.exit(0 if all(p.exitcode == 0 for p in trainers) else 1)


if __name__ == "__main__":
    main()
