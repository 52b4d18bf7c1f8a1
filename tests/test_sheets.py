"""`daclip-lab degrade --sheet`: what lies on the sheet, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from daclip_lab import degrade
from daclip_lab.cli import main
from daclip_lab.commands import severity_sheet
from daclip_lab.data.image_io import save_image
from daclip_lab.degradations.registry import DEGRADATIONS
from daclip_lab.figures.severity import SEVERITIES


@pytest.fixture
def picture(photo, tmp_path):
    """A file of 40x32 pixels."""
    save_image(photo[:, 10:42, 20:60], tmp_path / "p.png")
    return tmp_path / "p.png"


def run(*arguments):
    return main(["degrade", *map(str, arguments)])


def places(page, image):
    """Where an image lies on the page, pixel for pixel, as (top, left)."""
    page, wanted = np.asarray(page.convert("RGB")), np.asarray(image)
    h, w = wanted.shape[:2]
    corners = np.argwhere((page[: 1 - h, : 1 - w] == wanted[0, 0]).all(-1)).tolist()
    return [(y, x) for y, x in corners if (page[y : y + h, x : x + w] == wanted).all()]


def test_one_degradation_gets_a_row_for_each_of_four_seeds(picture, tmp_path):
    assert run(picture, "--sheet", "--as", "noisy", "--seed", 5, "-o", tmp_path / "s.png") == 0
    page = Image.open(tmp_path / "s.png")
    found = [
        [places(page, degrade(picture, "noisy", severity=s, seed=seed)) for s in SEVERITIES[1:]]
        for seed in range(5, 9)
    ]
    assert all(len(place) == 1 for row in found for place in row)
    rows = [{place[0][0] for place in row} for row in found]
    assert all(len(row) == 1 for row in rows) and sorted(map(min, rows)) == list(map(min, rows))
    assert len(places(page, Image.open(picture))) == 4  # severity 0


def test_all_ten_share_a_sheet_and_a_seed(picture, tmp_path):
    assert run(picture, "--sheet", "-o", tmp_path / "s.png") == 0
    page = Image.open(tmp_path / "s.png")
    tops = [
        places(page, degrade(picture, name, severity=0.5, seed=0))[0][0] for name in DEGRADATIONS
    ]
    assert tops == sorted(tops) and len(set(tops)) == 10


def test_a_crop_takes_the_middle_first(picture, tmp_path):
    run(picture, "--sheet", "--as", "hazy", "--crop", 16, "-o", tmp_path / "s.png")
    middle = Image.open(picture).crop((12, 8, 28, 24))
    page = Image.open(tmp_path / "s.png")
    assert len(places(page, middle)) == 4
    assert len(places(page, degrade(middle, "hazy", severity=1.0, seed=0))) == 1


def test_what_makes_no_sheet_is_refused_in_one_line(picture, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(severity_sheet, "MOST_PIXELS", 10_000)
    target = ("-o", tmp_path / "s.png")
    for options, wanted in (
        (("--sheet", "--as", "hazy"), "--crop 20"),
        (("--sheet", "--as", "foggy", "--crop", 16), "foggy"),
        (("--sheet", "--severity", 0.5), "--severity 0.5"),
        (("--sheet", "--crop", 4), "--crop 4"),
        (("--as", "hazy", "--crop", 16), "--sheet"),
        ((), "--as"),
    ):
        assert run(picture, *options, *target) == 2
        said = capsys.readouterr().err
        assert wanted in said and said.count("\n") == 1
    assert not (tmp_path / "s.png").exists()
