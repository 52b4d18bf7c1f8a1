"""Build the ten-degradation set of the DA-CLIP paper from the public sets, each downloaded into a folder of data/.

The result is the authors' layout, train/<degradation>/{LQ,GT} and test/..., with a table of captions for each part.
Run again after an interruption, or when another set has arrived: what is there is kept.
"""

import argparse
import os
import re
import shutil
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from tqdm.auto import tqdm

from daclip_lab.data.captions.writing import attribute_captions, write_captions
from daclip_lab.data.image_io import find_images, read_image, save_image, to_pil
from daclip_lab.data.seeding import choose, seeded, uniform
from daclip_lab.degradations.apply import degrade
from daclip_lab.degradations.registry import DEGRADATIONS
from daclip_lab.errors import InputError
from daclip_lab.files.storage import atomic_write

HERE = Path(__file__).resolve().parent
SEED = 2310
MASKS = "repaint-masks"
DIV2K = ("div2k", "flickr2k")
SNOWY = "beautiful_smile_"
"""How the files begin that the authors' table of test captions lists."""
HR, ANY = "{part}_HR/{name}", "{name}"


class Pair(NamedTuple):
    """What becomes one pair of the set."""

    name: str
    degraded: Path | None
    """None where it is made from the clean image."""
    clean: Path


@dataclass(frozen=True, kw_only=True)
class Part:
    """One degradation of the train or the test part, and where its files lie."""

    label: str
    sets: tuple[str, ...]
    """Folders of data/."""
    rules: tuple[tuple[str, str] | str, ...]
    """Where degraded and clean files lie, without endings, or the clean ones alone; the first rule that finds any
    counts. Leading folders may be missing or added; upper and lower case are the same."""
    count: int
    """Pairs in the paper."""
    make: Callable[[Path, str, list[Path]], Image.Image | torch.Tensor] | None = None
    """Makes the degraded image from the file of the clean one, the name of the pair and the masks."""
    ending: str = ".png"
    """Of the images that are made."""
    keep: tuple[int | None, int | None] = (None, None)
    """From which to which file in the order of their names, where one folder serves train and test."""
    drawn: bool = False
    """Draw as many as the paper has, where the download holds more."""


def jpeg(clean: Path, name: str, masks: list[Path]) -> Image.Image:
    """The clean photo; saved at quality 10 it is the degraded one."""
    return to_pil(read_image(clean))


def noisy(clean: Path, name: str, masks: list[Path]) -> torch.Tensor:
    """White Gaussian noise of sigma 50/255, cut off to whole levels of 255 as the authors' script does."""
    image = read_image(clean)
    image = (image + 50 / 255 * torch.randn(image.shape, generator=_of(name))).clamp(0, 1)
    return (255 * image).floor() / 255


def uncompleted(clean: Path, name: str, masks: list[Path]) -> torch.Tensor:
    """White where a RePaint mask is black; without masks, our own degradation of severity 0.3 to 1."""
    image, generator = read_image(clean), _of(name)
    if not masks:
        return degrade(image, "uncompleted", uniform(generator, 0.3, 1.0), generator)
    mask = to_pil(read_image(masks[choose(generator, len(masks))]))
    size = (image.shape[2], image.shape[1])
    known = read_image(mask.resize(size, Image.Resampling.BOX))
    return known * image + (1 - known)


def _of(name: str) -> torch.Generator:
    return seeded(SEED, zlib.crc32(name.encode()))


# Degradation, count and origin: DA-CLIP's section on data and its code (README, scripts/generate_LQ.py). Any set may
# also be arranged as train/LQ, train/GT, test/LQ and test/GT.
TRAIN = (
    Part(label="motion-blurry", sets=("gopro",), count=2103, rules=(
        ("train/{scene}/blur/{name}", "train/{scene}/sharp/{name}"),
        ("train/input/{name}", "train/target/{name}"))),
    Part(label="hazy", sets=("reside-6k",), count=6000, rules=(
        ("train/hazy/{name}", "train/GT/{name}"), ("train/hazy/{name}", "train/clear/{name}"))),
    Part(label="jpeg-compressed", sets=DIV2K, count=3550, rules=(HR, ANY), make=jpeg,
         ending=".jpg"),
    Part(label="low-light", sets=("lol",), count=485, rules=(
        ("our485/low/{name}", "our485/high/{name}"),)),
    Part(label="noisy", sets=DIV2K, count=3550, rules=(HR, ANY), make=noisy),
    Part(label="raindrop", sets=("raindrop",), count=861, rules=(
        ("train/data/{name}_rain", "train/gt/{name}_clean"),)),
    Part(label="rainy", sets=("rain100h",), count=1800, rules=(
        ("RainTrainH/rain-{name}", "RainTrainH/norain-{name}"),
        ("rain_data_train_Heavy/rain/{name}x2", "rain_data_train_Heavy/norain/{name}"),
        ("train/data/{name}", "train/gt/{name}"))),
    Part(label="shadowed", sets=("srd",), count=2680, rules=(
        ("train/shadow/{name}", "train/shadow_free/{name}_no_shadow"),
        ("train/shadow/{name}", "train/shadow_free/{name}"),
        ("train_A/{name}", "train_C/{name}"))),
    Part(label="snowy", sets=("snow100k-l",), count=1872, drawn=True, rules=(
        (f"all/synthetic/{SNOWY}{{name}}", f"all/gt/{SNOWY}{{name}}"),
        ("all/synthetic/{name}", "all/gt/{name}"), ("train/synthetic/{name}", "train/gt/{name}"))),
    Part(label="uncompleted", sets=("celeba-hq-256",), count=29900, rules=(ANY,), make=uncompleted,
         keep=(100, None)),
)  # fmt: skip
TEST = (
    Part(label="motion-blurry", sets=("gopro",), count=1111, rules=(
        ("test/{scene}/blur/{name}", "test/{scene}/sharp/{name}"),
        ("test/input/{name}", "test/target/{name}"))),
    Part(label="hazy", sets=("reside-6k",), count=1000, rules=(
        ("test/hazy/{name}", "test/GT/{name}"), ("test/hazy/{name}", "test/clear/{name}"))),
    Part(label="jpeg-compressed", sets=("live1",), count=29, rules=("refimgs/{name}", ANY),
         make=jpeg, ending=".jpg"),
    Part(label="low-light", sets=("lol",), count=15, rules=(
        ("eval15/low/{name}", "eval15/high/{name}"),)),
    Part(label="noisy", sets=("cbsd68",), count=68, rules=("original_png/{name}", ANY), make=noisy),
    Part(label="raindrop", sets=("raindrop",), count=58, rules=(
        ("test_a/data/{name}_rain", "test_a/gt/{name}_clean"),)),
    Part(label="rainy", sets=("rain100h",), count=100, rules=(
        ("Rain100H/rain-{name}", "Rain100H/norain-{name}"),
        ("Rain100H/rainy/rain-{name}", "Rain100H/norain-{name}"),
        ("rain_data_test_Heavy/rain/X2/{name}x2", "rain_data_test_Heavy/norain/{name}"),
        ("test/data/{name}", "test/gt/{name}"))),
    Part(label="shadowed", sets=("srd",), count=408, rules=(
        ("test/shadow/{name}", "test/shadow_free/{name}_no_shadow"),
        ("test/shadow/{name}", "test/shadow_free/{name}"),
        ("test_A/{name}", "test_C/{name}"))),
    Part(label="snowy", sets=("snow100k-l",), count=601, drawn=True, rules=(
        (f"Snow100K-L/synthetic/{SNOWY}{{name}}", f"Snow100K-L/gt/{SNOWY}{{name}}"),
        ("Snow100K-L/synthetic/{name}", "Snow100K-L/gt/{name}"),)),
    Part(label="uncompleted", sets=("celeba-hq-256",), count=100, rules=(ANY,), make=uncompleted,
         keep=(None, 100)),
)  # fmt: skip
PARTS = {"train": TRAIN, "test": TEST}


def find(part: Part, split: str, data: Path) -> list[Pair]:
    """The pairs of one degradation, by name; an InputError says what is missing or strange."""
    pairs = []
    for name in part.sets:
        folder = data / name
        files = {path.relative_to(data).with_suffix("").as_posix(): path
                 for path in find_images(folder)}  # fmt: skip
        own = () if part.make else ((f"{split}/LQ/{{name}}", f"{split}/GT/{{name}}"),)
        for rule in (*own, *part.rules):
            if found := _by_rule(rule, files, f"{name}_" if len(part.sets) > 1 else ""):
                break
        else:
            wanted = " or ".join(rule if part.make else rule[0] for rule in part.rules)
            raise InputError(f"{folder}: no files as wanted: {wanted}")
        pairs += found
    pairs = sorted(pairs)[slice(*part.keep)]
    if len({pair.name for pair in pairs}) < len(pairs):
        raise InputError(
            f"{data / part.sets[0]}: two files would bear the same name; keep one copy"
        )
    if part.drawn and len(pairs) > part.count:
        order = torch.randperm(len(pairs), generator=seeded(SEED))[: part.count]
        pairs = [pairs[i] for i in order.sort().values]
    return pairs


def _by_rule(rule: tuple[str, str] | str, files: dict[str, Path], prefix: str) -> list[Pair]:
    """The pairs that one rule finds; none if it finds no partner at all."""
    lower = {place.lower(): path for place, path in files.items()}
    degraded, clean = (rule, None) if isinstance(rule, str) else rule
    pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(degraded))
    pairs, alone = [], []
    for place, path in files.items():
        match = re.fullmatch(f"(?P<above>.*/)?{pattern}", place, re.IGNORECASE)
        if match is None:
            continue
        fields = match.groupdict()
        above = fields.pop("above") or ""
        name = prefix + "_".join(fields.values())
        if clean is None:
            pairs.append(Pair(name, None, path))
        elif partner := lower.get((above + clean.format(**fields)).lower()):
            pairs.append(Pair(name, path, partner))
        else:
            alone.append(path)
    if pairs and alone:
        raise InputError(f"{alone[0]} and {len(alone) - 1} others have no partner {clean}")
    return pairs


def build(part: Part, pairs: list[Pair], folder: Path, masks: list[Path], copy: bool) -> None:
    """Link or copy the files of one degradation into LQ and GT, and make what has to be made."""
    for kind in ("LQ", "GT"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for name, degraded, clean in tqdm(pairs, desc=part.label, unit="pair", leave=False):
        if degraded is not None:
            _place(degraded, folder / "LQ" / (name + degraded.suffix), copy)
        elif not (target := folder / "LQ" / (name + part.ending)).exists():
            _write(part.make(clean, name, masks), target)
        _place(clean, folder / "GT" / (name + clean.suffix), copy)


def _write(image: Image.Image | torch.Tensor, target: Path) -> None:
    if target.suffix == ".png":
        return save_image(image, target)
    with atomic_write(target) as hidden:
        image.save(hidden, "JPEG", quality=10)


def _place(source: Path, target: Path, copy: bool) -> None:
    if target.exists():
        return
    with atomic_write(target) as hidden:
        if copy:
            shutil.copyfile(source, hidden)
            return
        try:
            hidden.symlink_to(os.path.relpath(source.resolve(), target.parent.resolve()))
        except OSError as error:
            raise InputError(f"{target}: no link can be made ({error.strerror}): --copy") from None


def main(arguments: list[str] | None = None) -> int:
    """Run, and return the exit code: 0, or 2 where sets are missing or strange."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parent, help="where the sets lie")
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="where the result goes")
    parser.add_argument(
        "--only", nargs="+", choices=DEGRADATIONS, default=DEGRADATIONS, metavar="DEGRADATION"
    )
    parser.add_argument("--skip-missing", action="store_true", help="build what there is")
    parser.add_argument("--copy", action="store_true", help="copy files instead of linking them")
    parser.add_argument("--captioner", choices=("attributes", "blip"), default="attributes")
    options = parser.parse_args(arguments)
    try:
        return _prepare(options)
    except InputError as error:
        print(f"prepare.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("prepare.py: interrupted; run it again to go on", file=sys.stderr)
        return 130


def _prepare(options: argparse.Namespace) -> int:
    wanted = [(split, p) for split in PARTS for p in PARTS[split] if p.label in options.only]
    plan, missing = [], []
    for split, part in wanted:
        try:
            plan.append((split, part, find(part, split, options.data)))
        except InputError as error:
            missing.append(f"  {part.label} ({split}): {error}")
    if missing:
        print("missing sets (daclip-lab fetch NAME, or see data/mixed/README.md):", *missing,
              sep="\n", file=sys.stderr)  # fmt: skip
        if not options.skip_missing or not plan:
            print(f"--skip-missing builds the others: {len(plan)}", file=sys.stderr)
            return 2
    folder = options.data / MASKS
    masks = find_images(folder) if folder.is_dir() else []
    if not masks and any(part.make is uncompleted for _, part, _ in plan):
        print(f"{folder}: no masks; missing pixels are drawn by our own degradation")
    for split, part, pairs in plan:
        build(part, pairs, options.output / split / part.label, masks, options.copy)
        print(f"{split:5} {part.label:15} {len(pairs):6} pairs (paper: {part.count})")
    captioner = attribute_captions
    if options.captioner == "blip":
        from daclip_lab.data.captions.blip import Blip

        captioner = Blip()
    for split in dict.fromkeys(split for split, *_ in plan):
        table = options.output / f"daclip_{split}.csv"
        print(f"{table}: {write_captions(options.output / split, table, captioner)} new captions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
