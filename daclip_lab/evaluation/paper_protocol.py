"""Real test pairs measured the way the paper does: whole images, one row per degradation.

What the paper and its code do is kept: PSNR and SSIM on the 8-bit file, without a border of 4 pixels; rain on the luma
(its numbers for Rain100H are); LPIPS through AlexNet; FID from the two folders of files. `docs/metrics.md` says where
numbers may still differ from the printed ones.
"""

import json
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from tqdm.auto import tqdm

from daclip_lab.data.embedding_table import fingerprint
from daclip_lab.data.image_io import read_image, save_image, to_pil
from daclip_lab.data.pair_files import LOW, Pair, find_pairs
from daclip_lab.data.pairs import in_order, read_pair
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations.registry import DEGRADATIONS
from daclip_lab.diffusion.samplers import SAMPLERS, denoiser, euler_maruyama, sample
from daclip_lab.errors import InputError
from daclip_lab.evaluation.paper_table import PaperTable
from daclip_lab.files.storage import write_text
from daclip_lab.metrics import image_quality
from daclip_lab.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    from PIL import Image

BORDER = 4  # the authors' crop_border, which is their scale of 4
SMALLEST = 31  # pixels a side that all the measures need
FIRST_SAMPLER = "euler-maruyama"
DONE, PART = "images.jsonl", "images.jsonl.part"


@dataclass(frozen=True, kw_only=True)
class PaperProtocol:
    """What may be chosen; all else is the paper's."""

    steps: int | None = None
    """Steps of a restoration; None takes what the weights want, and all of the SDE for "euler-maruyama"."""
    sampler: str = "posterior"
    """One of `diffusion.samplers.SAMPLERS`, or "euler-maruyama", which the paper's numbers are from."""
    seed: int = 0
    """Decides the noise of the restorations."""


def measure(
    pipe: Pipeline,
    root: str | Path,
    protocol: PaperProtocol | None = None,
    *,
    out: str | Path | None = None,
) -> PaperTable:
    """Name and restore all test pairs of a folder, and measure that.

    Args:
        pipe: weights without a restorer are only asked for names.
        root: holds `test/<degradation>/{LQ,GT}`, or `val` instead of `test`, or `<degradation>/{LQ,GT}`.
        out: folder for the restored images and `images.jsonl`, a line for each; an interrupted run goes on from there.

    Raises InputError, naming the file, for a missing partner, images of different sizes or below 31x31 pixels, or where
    `out` holds results of other weights, data or settings.
    """
    protocol = protocol or PaperProtocol()
    if protocol.sampler not in (FIRST_SAMPLER, *SAMPLERS):
        known = ", ".join((FIRST_SAMPLER, *SAMPLERS))
        raise InputError(f"sampler {protocol.sampler!r} is unknown: use one of {known}")
    if protocol.steps is None:
        first = protocol.sampler == FIRST_SAMPLER
        protocol = replace(protocol, steps=pipe.sde.steps if first else pipe.settings.steps)
    pairs = _named(_test_pairs(Path(root)))
    provenance = {
        "protocol": asdict(protocol),
        "weights": fingerprint(
            {
                f"{kind}.{name}": tensor
                for kind, part in (("daclip", pipe.daclip), ("restorer", pipe.restorer))
                if part is not None
                for name, tensor in part.state_dict().items()
            }
        ),
        "data": os.path.abspath(root),
    }
    networks, notes = _networks() if pipe.restorer is not None else ([], [])
    with _folder(out) as folder:
        rows = _rows(folder, provenance, pairs, pipe, protocol)
        distances = _look(folder, rows, pairs, networks)
        lines = "".join(f"{json.dumps(line)}\n" for line in (provenance, *rows.values()))
        write_text(folder / DONE, lines)
        (folder / PART).unlink(missing_ok=True)
    return PaperTable(provenance, list(rows.values()), distances, notes)


def _test_pairs(root: Path) -> list[Pair]:
    """The pairs of the test part."""
    if not root.exists():
        raise InputError(
            f"{root}: no such folder; the paper's protocol wants --data with pairs in <degradation>/LQ and GT"
        )
    for part in ("test", "val"):  # the authors call theirs val
        if (root / part).is_dir():
            return find_pairs(root / part)
    if (root / "train").is_dir() and not any(root.glob(f"[!.]*/{LOW}")):
        raise InputError(
            f"{root} holds pairs to train on, but no folder test or val: nothing to measure"
        )
    return find_pairs(root)


def _named(pairs: list[Pair]) -> dict[str, Pair]:
    """Pairs by `<degradation>/<name>`, in the order of the paper."""
    order = in_order(pair.label for pair in pairs)
    named: dict[str, Pair] = {}
    for pair in sorted(pairs, key=lambda pair: order.index(pair.label)):
        low = next(folder for folder in pair.degraded.parents if folder.name == LOW)
        name = f"{pair.label}/{pair.degraded.relative_to(low).with_suffix('').as_posix()}"
        if name in named:
            raise InputError(f"{named[name].degraded} and {pair.degraded} differ only by ending")
        named[name] = pair
    return named


def _networks() -> tuple[list[str], list[str]]:
    """Which measures that need a network can be had, and what to say of the others."""
    found, notes = [], []
    for name in image_quality.BACKBONES:
        try:
            image_quality.network(name)
            found.append(name)
        except InputError as error:
            notes.append(f"not measured: {error}")
    return found, notes


@contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    if out is None:
        with TemporaryDirectory() as folder:
            yield Path(folder)
        return
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: wanted a folder to write to: {error.strerror}") from None
    yield Path(out)


def _rows(
    folder: Path,
    provenance: dict,
    pairs: dict[str, Pair],
    pipe: Pipeline,
    protocol: PaperProtocol,
) -> dict[str, dict]:
    """What is known of each image, by its name; what an earlier run has found out is not done again."""
    known = _read(folder, provenance)
    rows = {
        name: known[name]
        for name in pairs
        if name in known and (pipe.restorer is None or _restored(folder, name).is_file())
    }
    write_text(
        folder / PART, "".join(f"{json.dumps(line)}\n" for line in (provenance, *rows.values()))
    )
    # Weights without labels were trained without words for degradations (wild-IR): they are only restored with.
    asked = pipe.daclip is not None and pipe.settings.labels
    words = pipe.encode_text(DEGRADATIONS) if asked else None
    with open(folder / PART, "a") as part:
        for name, pair in tqdm(pairs.items(), desc="measuring", unit="image", leave=False):
            if name in rows:
                continue
            row = {"image": name, "degradation": pair.label}
            if words is not None and pair.label in DEGRADATIONS:
                row |= _answers(pipe, pair, words)
            if pipe.restorer is not None:
                row |= _restore(pipe, pair, protocol, _restored(folder, name))
            rows[name] = row
            part.write(f"{json.dumps(row)}\n")
            part.flush()
    return {name: rows[name] for name in pairs}


def _read(folder: Path, provenance: dict) -> dict[str, dict]:
    """The lines that an earlier run wrote; one that it could not finish does not count."""
    for path in (folder / PART, folder / DONE):
        if path.is_file():
            first, *lines = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
            if first != provenance:
                raise InputError(
                    f"{path} holds results of other weights, data or settings: name another folder"
                )
            return {line["image"]: line for line in lines}
    return {}


def _restored(folder: Path, name: str) -> Path:
    return folder / f"{name}.png"


def _answers(pipe: Pipeline, pair: Pair, words: torch.Tensor) -> dict:
    """What DA-CLIP, and CLIP without it, say is wrong with an image: the nearest of ten bare words."""
    _, degradation, plain = pipe.encode_all([pair.degraded])
    return {
        "named": DEGRADATIONS[int((degradation @ words.T).argmax())],
        "clip_named": DEGRADATIONS[int((plain @ words.T).argmax())],
    }


def _restore(pipe: Pipeline, pair: Pair, protocol: PaperProtocol, path: Path) -> dict:
    """Restore an image into a file and measure what stands in it."""
    degraded, clean = read_pair(pair, SMALLEST)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(_restoration(pipe, degraded, protocol), path)
    restored, clean = read_image(path)[None], clean[None]

    def inner(images: torch.Tensor) -> torch.Tensor:
        return image_quality.crop_border(images, BORDER)

    colours = inner(restored), inner(clean)
    luma = [image_quality.to_y(images) for images in colours]
    scores = {
        "psnr_input": image_quality.psnr(inner(degraded[None]), colours[1]),
        "psnr": image_quality.psnr(*colours),
        "ssim": image_quality.ssim(*colours),
        "psnr_y": image_quality.psnr(*luma),
        "ssim_y": image_quality.ssim(*luma),
    }
    return {name: score.item() for name, score in scores.items()}


@torch.inference_mode()
def _restoration(pipe: Pipeline, degraded: torch.Tensor, protocol: PaperProtocol) -> "Image.Image":
    """Whole and in float32, as the authors do: `Pipeline.restore` may take tiles, and bfloat16."""
    batch = degraded[None].to(pipe.device)
    predict = denoiser(pipe.restorer, pipe.sde, batch, pipe.conditions(degraded[None]))
    first = protocol.sampler == FIRST_SAMPLER
    sampler = euler_maruyama if first else partial(sample, **SAMPLERS[protocol.sampler])
    path = sampler(predict, pipe.sde, batch, steps=protocol.steps, generator=seeded(protocol.seed))
    last = deque(path, maxlen=1).pop()  # a list of all would hold every state
    return to_pil(last.state[0].clamp(0, 1).cpu())


def _look(
    folder: Path, rows: dict[str, dict], pairs: dict[str, Pair], networks: list[str]
) -> dict[str, float]:
    """Add LPIPS to the rows; return the FID of each degradation that has two images or more."""
    if "lpips" in networks:
        new = [name for name, row in rows.items() if "lpips" not in row]
        for name in tqdm(new, desc="LPIPS", unit="image", leave=False):
            both = read_image(_restored(folder, name)), read_image(pairs[name].clean)
            rows[name]["lpips"] = image_quality.lpips(*(image[None] for image in both)).item()
    if "fid" not in networks:
        return {}
    distances = {}
    for label in tqdm(in_order(pair.label for pair in pairs.values()), desc="FID", leave=False):
        names = [name for name, pair in pairs.items() if pair.label == label]
        if len(names) > 1:
            distances[label] = image_quality.fid(
                (read_image(_restored(folder, name)) for name in names),
                (read_image(pairs[name].clean) for name in names),
            )
    return distances
