"""Real pictures: which degradation is predicted, what restoring gains, and a page to look at them.

`python -m benchmarks real FOLDER [--limit N] [--weights W] [--page OUT.html]`; FOLDER holds
`<degradation>[_set]/{LQ,GT}`. Without GT, pictures are classified and nothing is compared.
"""

import argparse
import base64
import html
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from daclip_lab.data.image_io import find_images, read_image, to_pil
from daclip_lab.data.pair_files import CLEAN_DIR, DEGRADED_DIR, find_pairs
from daclip_lab.degradations.registry import CLEAN, DEGRADATIONS
from daclip_lab.errors import InputError
from daclip_lab.files.storage import check_output, write_text
from daclip_lab.metrics.bootstrap import bootstrap_interval
from daclip_lab.metrics.formatting import format_interval
from daclip_lab.metrics.image_quality import psnr
from daclip_lab.pipeline.loading import load
from daclip_lab.pipeline.pipeline import Pipeline

MAY_BE_CLEAN = ("noisy_polyu",)
"""Folders of which "clean" is right as well: PolyU's noise is hardly visible."""
ONE_GAIN = ("low-light",)
"""Folders whose ground truth is another exposure: PSNR is read after fitting one gain to it."""
HARM = 0.5
"""Loss of PSNR in dB above which a restoration counts as harm."""
SHOWN = 640
"""Pixels of the longer side of an image on the page."""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Real pictures, restored</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2em }
section { display: flex; gap: 10px; margin: 0 0 2em } figure { margin: 0; flex: 1; max-width: 640px; font-size: 13px }
img { width: 100%; display: block } h2 { margin-top: 2.5em } p { max-width: 60em }
</style></head><body><h1>Real pictures, restored</h1>
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is measured of one picture."""

    folder: str
    degradation: str
    """The folder's own."""
    file: str
    first: str
    """The most probable of the ten degradations."""
    called: str
    """The most probable label, "clean" among them."""
    right: bool
    gain: float
    """Gain in PSNR by restoring, in dB; NaN without a ground truth."""
    psnr_input: float
    """dB."""


def main(arguments: list[str] | None = None) -> None:
    """Measure the folders, print a line for each, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks real", description=__doc__)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--limit", type=int, help="pictures of each folder (default: all)")
    parser.add_argument("--weights", default="lab", help="a folder, or shipped weights by name")
    parser.add_argument("--page", type=Path, metavar="HTML", help="also write a page of all images")
    options = parser.parse_args(arguments)
    try:
        run(options)
    except InputError as error:
        parser.error(str(error))


def run(options: argparse.Namespace) -> None:
    """The command, see `main`. Raises InputError for a folder of another layout, and before any work for the page."""
    if options.page is not None:
        check_output(options.page, (".html",))
    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit {options.limit}: wanted 1 or more")
    folders = degradation_folders(options.folder)
    pipe = load(options.weights)
    pipe.require_restorer()
    rows, sections = [], []
    for folder in folders:
        measured, cards = [], {}
        for row, images in restored_pictures(pipe, folder, options.limit):
            measured.append(row)
            if options.page is not None:
                cards[row.file] = card(pipe, row, images)
        if not measured:
            continue
        table = pd.DataFrame(map(asdict, measured))
        print(line := folder_line(table), flush=True)
        sections.append(f"<h2>{html.escape(folder.name)}</h2><p>{html.escape(line)}</p>")
        sections += [cards[file] for file in shown_order(table)] if cards else []
        rows.append(table)
    if not rows:
        raise InputError(f"{options.folder}: no picture could be measured")
    print(total := total_line(pd.concat(rows)))
    if options.page is not None:
        head = f"{PAGE}<p>{html.escape(f'Weights {options.weights}. {total}')}</p>\n"
        write_text(options.page, "\n".join([head, *sections, "</body></html>\n"]))


def degradation_folders(root: Path) -> list[Path]:
    """The folders `<degradation>[_set]` with a folder LQ below a root, sorted; InputError for another layout."""
    found = sorted(low.parent for low in root.glob(f"[!.]*/{DEGRADED_DIR}"))
    if not found:
        raise InputError(f"{root}: wanted folders <degradation>[_set]/{DEGRADED_DIR} in it")
    for folder in found:
        if own_degradation(folder) not in DEGRADATIONS:
            raise InputError(
                f"{folder}: wanted a name that begins with one of {', '.join(DEGRADATIONS)}"
            )
    return found


def own_degradation(folder: Path) -> str:
    """The degradation that a folder is named after: the part of its name before the first underscore."""
    return folder.name.partition("_")[0]


def restored_pictures(
    pipe: Pipeline, folder: Path, limit: int | None
) -> Iterator[tuple[Row, tuple[Tensor, Tensor, Tensor | None]]]:
    """Of each picture its row, and degraded, restored and clean image (3, h, w); what is broken is skipped.

    `limit` pictures are spread evenly over the sorted files. Raises InputError where LQ and GT do not pair up.
    """
    if (folder / CLEAN_DIR).is_dir():
        files = [(pair.degraded, pair.clean) for pair in find_pairs(folder)]
    else:
        files = [(path, None) for path in find_images(folder / DEGRADED_DIR)]
    count = min(len(files), limit or len(files))
    chosen = [files[k * len(files) // count] for k in range(count)]
    ten = [pipe.settings.labels.index(name) for name in DEGRADATIONS]
    for path, partner in tqdm(chosen, folder.name, leave=False, disable=None):
        try:
            degraded, clean = read_image(path), partner and read_image(partner)
            if clean is not None and clean.shape != degraded.shape:
                raise InputError(f"{partner}: not of the size of {path}")
            embeddings = pipe.encode([path])
            restored = pipe.restore(
                [path], embeddings=embeddings, output_type="pt", progress=False
            )[0]
        except InputError as error:
            tqdm.write(f"skipped: {error}")
            continue
        probabilities = pipe.probabilities(embeddings.degradation)[0]
        own, first = own_degradation(folder), DEGRADATIONS[int(probabilities[ten].argmax())]
        called = pipe.settings.labels[int(probabilities.argmax())]
        before, after = (similarity(x, clean, folder.name) for x in (degraded, restored))
        row = Row(
            folder=folder.name,
            degradation=own,
            file=path.name,
            first=first,
            called=called,
            right=first == own or (folder.name in MAY_BE_CLEAN and called == CLEAN),
            gain=after - before,
            psnr_input=before,
        )
        yield row, (degraded, restored, clean)


def similarity(image: Tensor, clean: Tensor | None, folder: str) -> float:
    """PSNR in dB of an image (3, h, w), NaN without a clean one; for `ONE_GAIN` after the best gain (least squares)."""
    if clean is None:
        return float("nan")
    if folder in ONE_GAIN:
        gain = (image * clean).sum() / image.square().sum().clamp(min=1e-12)
        image = (gain * image).clamp(0, 1)
    return psnr(image[None], clean[None]).item()


def folder_line(table: "pd.DataFrame") -> str:
    """One line about the pictures of one folder."""
    counts = ", ".join(f"{name} {n}" for name, n in table.called.value_counts().items())
    right = f"{table.right.sum()} with it first of the ten ({table.right.mean():.0%})"
    start = f"{table.folder[0]}: {len(table)} images, {right}"
    return f"{start}; called {counts}{_gains(table)}"


def total_line(table: "pd.DataFrame") -> str:
    """One line about all pictures."""
    share = bootstrap_interval(100 * table.right, table.folder + table.file)
    start = f"all: {len(table)} images, {table.right.sum()} with their own first ({format_interval(*share, 1)} %)"
    harmed = f"; {(table.gain < -HARM).sum()} lose more than {HARM} dB"
    return start + _gains(table) + harmed


def _gains(table: "pd.DataFrame") -> str:
    """The mean gain with its interval over images, and the lowest with its file; "" without ground truth."""
    known = table.dropna(subset="gain").reset_index(drop=True)
    if known.empty:
        return ""
    mean = bootstrap_interval(known.gain, known.folder + known.file)
    worst = known.loc[known.gain.idxmin()]
    return (
        f"; {len(known)} gain {format_interval(*mean, 2)} dB, the worst {worst.gain:+.2f} dB "
        f"({worst.folder}/{worst.file})"
    )


def shown_order(table: "pd.DataFrame") -> list[str]:
    """The files of a folder in the order of the page: the largest gain, the smallest, then the others by their gain.

    Without gains, those with another degradation first come first.
    """
    ordered = table.sort_values(["gain", "right"], ascending=[False, True], kind="stable")
    files = list(ordered.file)
    return files if table.gain.isna().all() else [files[0], *files[-1:], *files[1:-1]][: len(files)]


def card(pipe: Pipeline, row: Row, images: tuple[Tensor, Tensor, Tensor | None]) -> str:
    """The HTML of one picture: degraded, restored and ground truth, with three predicted labels under each."""
    gain = "" if pd.isna(row.gain) else f", {row.psnr_input + row.gain:.2f} dB ({row.gain:+.2f})"
    before = "" if pd.isna(row.gain) else f", {row.psnr_input:.2f} dB"
    titles = (f"{row.file}, degraded{before}", f"restored{gain}", "ground truth")
    shown = []
    for title, image in zip(titles, images, strict=True):
        if image is None:
            continue
        likely = pipe.classify(image).nlargest(3)
        labels = ", ".join(f"{name} {value:.0%}" for name, value in likely.items())
        shown.append(
            f"<figure>{embedded(image, title)}<figcaption><b>{html.escape(title)}</b><br>{labels}</figcaption></figure>"
        )
    return f"<section>{''.join(shown)}</section>"


def embedded(image: Tensor, alt: str) -> str:
    """An image (3, h, w) as HTML that holds its bytes, shrunk to `SHOWN` pixels where it is larger."""
    picture, buffer = to_pil(image), io.BytesIO()
    picture.thumbnail((SHOWN, SHOWN), Image.Resampling.LANCZOS)
    picture.save(buffer, "WEBP", quality=92)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/webp;base64,{data}">'
