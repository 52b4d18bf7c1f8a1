"""Real test pairs measured as in the paper: whole images, one row per degradation.

As in the paper and its code: PSNR and SSIM of the 8-bit file, without a border of 4 pixels; rain on the luma (the
paper's numbers for Rain100H are); LPIPS through AlexNet; FID of the two folders of files. `docs/metrics.md` lists why
numbers may still differ from the printed ones.
"""

import os
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from tqdm.auto import tqdm

from daclip_lab.data.image_io import read_image, save_image
from daclip_lab.data.pair_files import DEGRADED_DIR, Pair, find_pairs
from daclip_lab.data.pairs import read_pair
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations.registry import DEGRADATIONS, in_order
from daclip_lab.diffusion.samplers import SAMPLERS, denoiser, euler_maruyama, sample
from daclip_lab.errors import InputError
from daclip_lab.evaluation.paper_table import PaperTable
from daclip_lab.files.resume_log import ResumeLog
from daclip_lab.files.storage import check_output_folder, file_hash
from daclip_lab.metrics import image_quality
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.pipeline.running import running

BORDER = 4  # the authors' crop_border, which is their scale of 4
SMALLEST = 31  # pixels a side that all the measures need
PAPER_SAMPLER = "euler-maruyama"


@dataclass(frozen=True, kw_only=True)
class PaperProtocol:
    """The choices that the paper leaves open."""

    steps: int | None = None
    """Steps of a restoration; None takes the setting of the weights, and all of the SDE for "euler-maruyama"."""
    sampler: str = "posterior"
    """One of `diffusion.samplers.SAMPLERS`, or "euler-maruyama", as in the paper."""
    seed: int = 0
    """Decides the noise of the restorations."""

    def resolve(self, pipe: Pipeline) -> "PaperProtocol":
        """The protocol with the number of steps filled in; an InputError for an unknown sampler."""
        if self.sampler not in (PAPER_SAMPLER, *SAMPLERS):
            known = ", ".join((PAPER_SAMPLER, *SAMPLERS))
            raise InputError(f"sampler {self.sampler!r} is unknown: use one of {known}")
        if self.steps is not None:
            return self
        all_steps = self.sampler == PAPER_SAMPLER
        return replace(self, steps=pipe.sde.steps if all_steps else pipe.settings.steps)


def measure(
    pipe: Pipeline,
    root: str | Path,
    protocol: PaperProtocol | None = None,
    *,
    out: str | Path | None = None,
) -> PaperTable:
    """Classify and restore all test pairs of a folder, and measure the results.

    Args:
        pipe: without a restorer, images are only classified; without labels (wild-IR), only restored.
        root: holds `test/<degradation>/{LQ,GT}`, or `val` instead of `test`, or `<degradation>/{LQ,GT}`.
        out: folder for the restored images and `images.jsonl`, a line for each. A later call with the same weights and
            settings resumes there; images whose files have changed are measured again.

    Raises InputError, naming the file, for a missing partner, images of different sizes or below 31x31 pixels, or where
    `out` holds results of other weights or settings.
    """
    protocol = (protocol or PaperProtocol()).resolve(pipe)
    pairs = _by_name(_test_pairs(Path(root)))
    provenance = {"protocol": asdict(protocol), "weights": pipe.fingerprint}
    networks, notes = ([], []) if pipe.restorer is None else image_quality.available_networks()
    with TemporaryDirectory() if out is None else nullcontext(check_output_folder(out)) as folder:
        log = ResumeLog(Path(folder) / "images.jsonl", provenance)
        rows = _rows(pipe, pairs, protocol, Path(folder), log, lpips="lpips" in networks)
        fid = _fid(pairs, Path(folder), pipe.device) if "fid" in networks else {}
    return PaperTable(provenance | {"data": os.path.abspath(root)}, rows, fid, notes)


def _test_pairs(root: Path) -> list[Pair]:
    if not root.exists():
        raise InputError(
            f"{root}: no such folder; the paper's protocol wants --data with pairs in <degradation>/LQ and GT"
        )
    for part in ("test", "val"):  # the authors call theirs val
        if (root / part).is_dir():
            return find_pairs(root / part)
    if (root / "train").is_dir() and not any(root.glob(f"[!.]*/{DEGRADED_DIR}")):
        raise InputError(
            f"{root} holds pairs to train on, but no folder test or val: nothing to measure"
        )
    return find_pairs(root)


def _by_name(pairs: list[Pair]) -> dict[str, Pair]:
    """Pairs by `<degradation>/<name>`, in the order of the paper."""
    order = in_order(pair.label for pair in pairs)
    named: dict[str, Pair] = {}
    for pair in sorted(pairs, key=lambda pair: order.index(pair.label)):
        folder = next(each for each in pair.degraded.parents if each.name == DEGRADED_DIR)
        name = f"{pair.label}/{pair.degraded.relative_to(folder).with_suffix('').as_posix()}"
        if name in named:
            raise InputError(f"{named[name].degraded} and {pair.degraded} differ only by ending")
        named[name] = pair
    return named


def _rows(
    pipe: Pipeline,
    pairs: dict[str, Pair],
    protocol: PaperProtocol,
    folder: Path,
    log: ResumeLog,
    *,
    lpips: bool,
) -> list[dict]:
    """The measurements of each image; those that an earlier run has logged are not repeated."""
    rows = {part["image"]: part for part in log.parts}
    words = None if pipe.daclip is None else pipe.encode_text(DEGRADATIONS)
    restore = pipe.restorer is not None
    for name, pair in tqdm(pairs.items(), desc="measuring", unit="image", leave=False):
        path, row = folder / f"{name}.png", rows.get(name)
        content = [file_hash(pair.degraded), file_hash(pair.clean)]
        if row is None or row["content"] != content or (restore and not path.is_file()):
            row = {"image": name, "degradation": pair.label, "content": content}
            if words is not None and pipe.settings.labels and pair.label in DEGRADATIONS:
                row |= _classify(pipe, pair, words)
            if restore:
                row |= _restore(pipe, pair, protocol, path)
        if lpips and "lpips" not in row:
            images = (read_image(file)[None].to(pipe.device) for file in (path, pair.clean))
            row = row | {"lpips": image_quality.lpips(*images).item()}
        if row is not rows.get(name):
            log.append(row)
            rows[name] = row
    return [rows[name] for name in pairs]


def _classify(pipe: Pipeline, pair: Pair, words: Tensor) -> dict:
    """The nearest of the ten bare words by DA-CLIP, and by CLIP alone."""
    image = read_image(pair.degraded)
    degradation, clip = pipe.encode_degradation(image), pipe.encode_clip(image)
    return {
        "predicted_degradation": DEGRADATIONS[int((degradation @ words.T).argmax())],
        "clip_predicted_degradation": DEGRADATIONS[int((clip @ words.T).argmax())],
    }


def _restore(pipe: Pipeline, pair: Pair, protocol: PaperProtocol, path: Path) -> dict:
    """Restore an image into a file, and measure this file."""
    degraded, clean = read_pair(pair, SMALLEST)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(_restoration(pipe, degraded, protocol), path)
    images = (image[None].to(pipe.device) for image in (degraded, read_image(path), clean))
    before, restored, clean = (image_quality.crop_border(image, BORDER) for image in images)
    luma = image_quality.to_y(restored), image_quality.to_y(clean)
    scores = {
        "psnr_input": image_quality.psnr(before, clean),
        "psnr": image_quality.psnr(restored, clean),
        "ssim": image_quality.ssim(restored, clean),
        "psnr_y": image_quality.psnr(*luma),
        "ssim_y": image_quality.ssim(*luma),
    }
    return {name: score.item() for name, score in scores.items()}


@torch.inference_mode()
def _restoration(pipe: Pipeline, degraded: Tensor, protocol: PaperProtocol) -> Tensor:
    """An image (3, h, w), whole and in float32, as the authors do: `Pipeline.restore` may use tiles and bfloat16."""
    assert protocol.steps is not None, "an unresolved protocol"
    batch, restorer = degraded[None].to(pipe.device), pipe.require_restorer()
    sampler: Callable = euler_maruyama
    if protocol.sampler != PAPER_SAMPLER:
        sampler = partial(sample, **SAMPLERS[protocol.sampler])
    embeddings = pipe.conditioning(batch)
    with running(restorer):
        predict = denoiser(restorer, pipe.sde, batch, restorer.prepare(*embeddings))
        path = sampler(
            predict, pipe.sde, batch, steps=protocol.steps, generator=seeded(protocol.seed)
        )
        last = deque(path, maxlen=1).pop()  # a list would hold every state
    return last.state[0].clamp(0, 1)


def _fid(pairs: dict[str, Pair], folder: Path, device: torch.device) -> dict[str, float]:
    """The FID of each degradation that has two images or more."""
    distances = {}
    for label in tqdm(in_order(pair.label for pair in pairs.values()), desc="FID", leave=False):
        names = [name for name, pair in pairs.items() if pair.label == label]
        if len(names) > 1:
            distances[label] = image_quality.fid(
                (read_image(folder / f"{name}.png").to(device) for name in names),
                (read_image(pairs[name].clean).to(device) for name in names),
            )
    return distances
