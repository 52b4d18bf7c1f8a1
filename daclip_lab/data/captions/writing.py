"""Captions of all images of a folder, written to a table (see `captions.table`) that trainings read."""

import os
from collections.abc import Callable
from pathlib import Path

from tqdm.auto import tqdm

from daclip_lab.data.captions.attributes import caption
from daclip_lab.data.captions.table import read_table, write_table
from daclip_lab.data.image_io import find_images, read_image
from daclip_lab.data.pair_files import find_pairs, is_pairs, refuse_halves
from daclip_lab.errors import InputError
from daclip_lab.files.storage import check_output

Captioner = Callable[[list[Path]], list[str]]
BATCH = 8
SAVE_EVERY = 512


def attribute_captions(paths: list[Path]) -> list[str]:
    """The captions of `attributes.caption`; raises InputError, naming the file."""
    found = []
    for path in paths:
        image = read_image(path)
        try:
            found.append(caption(image))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return found


def write_captions(root: str | Path, table: str | Path, captioner: Captioner) -> int:
    """Caption every image below a folder and write the table; returns the number of new captions.

    Of pairs (`find_pairs`) the table lists the degraded image with the caption of the clean one and the degradation, of
    any other folder each image with its caption. Existing lines are kept, so that an interrupted run can be resumed;
    finished captions are written also when an image cannot be read (InputError).
    """
    table = check_output(table)
    wanted = _wanted(Path(root))
    rows = read_table(table, absent=True) if table.exists() else []
    titles = {row.path: row.title for row in rows}
    others = {path: title for path, title in titles.items() if path not in wanted}
    todo = [path for path in wanted if path not in titles]
    captions: dict[str, str] = {}

    def save() -> None:
        if titles:
            write_table(table, {path: titles[path] for path in wanted if path in titles} | others)

    try:
        with tqdm(total=len(wanted), initial=len(wanted) - len(todo), unit="image") as bar:
            for start in range(0, len(todo), BATCH):
                chunk = todo[start : start + BATCH]
                # Several degraded images may share one clean photo.
                shown = {os.path.realpath(wanted[path][0]): wanted[path][0] for path in chunk}
                new = [real for real in shown if real not in captions]
                captions.update(zip(new, captioner([shown[real] for real in new]), strict=True))
                for path in chunk:
                    clean, ending = wanted[path]
                    titles[path] = captions[os.path.realpath(clean)] + ending
                bar.update(len(chunk))
                if (start + BATCH) % SAVE_EVERY == 0:
                    save()
    finally:
        save()
    return len(todo)


def _wanted(root: Path) -> dict[Path, tuple[Path, str]]:
    """For each image of the table: the image to caption, and how its title ends."""
    if is_pairs(root):
        found = ((pair.degraded, pair.clean, f": {pair.label}") for pair in find_pairs(root))
    else:
        images = find_images(root)
        refuse_halves(images)
        found = ((path, path, "") for path in images)
    return {Path(os.path.abspath(path)): (clean, ending) for path, clean, ending in found}
