"""Sheets over severity, and a picture with controls: pixels as they are, one drawing for each setting."""

import io

import ipywidgets
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

from daclip_lab.data.image_io import to_pil
from daclip_lab.data.seeding import seeded
from daclip_lab.figures.severity import SEVERITIES, sheet, strip
from daclip_lab.widgets.controls import controlled


def image(seed, height=20, width=40):
    return (torch.rand(3, height, width, generator=seeded(seed)) * 255).round() / 255


def drawn(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi)
    return np.asarray(Image.open(buffer).convert("RGB"))


def is_on(page, picture):
    """Whether a picture lies on the page, pixel for pixel."""
    wanted = np.asarray(to_pil(picture))
    height, width = wanted.shape[:2]
    places = np.argwhere((page[: 1 - height, : 1 - width] == wanted[0, 0]).all(-1))
    return any((page[y : y + height, x : x + width] == wanted).all() for y, x in places)


@pytest.fixture
def rows():
    kinds = ("hazy", "jpeg-compressed")
    return {
        name: [image(10 * k + column) for column in range(len(SEVERITIES))]
        for k, name in enumerate(kinds)
    }


def test_a_sheet_shows_every_image_at_its_own_pixels(rows):
    page = drawn(sheet(rows))
    assert all(is_on(page, picture) for row in rows.values() for picture in row)


def test_a_sheet_names_its_rows_and_columns(rows):
    figure = sheet(rows, caption="Two degradations.")
    said = {text.get_text() for text in figure.findobj(plt.Text)}
    wanted = {"severity", *(f"{value:g}" for value in SEVERITIES)}
    assert said >= {*rows, *wanted, "Two degradations."}
    width, height = figure.get_size_inches()
    assert np.allclose(figure.get_tightbbox().extents, (0, 0, width, height))
    assert not plt.get_fignums()


def test_a_row_needs_an_image_for_each_severity(rows):
    with pytest.raises(ValueError):
        sheet({"hazy": rows["hazy"][:3]})


@pytest.fixture
def shown():
    """A picture with three controls, and the list of what was drawn."""
    calls = []

    def draw(name, severity=0.5, seed=0):
        calls.append((name, severity, seed))
        return strip([image(len(calls))], [name])

    box = controlled(draw, name=["hazy", "noisy"], severity=[0, 0.5, 1], seed=range(3))
    return box, calls


def test_controls_start_at_the_defaults_and_draw_each_setting_once(shown):
    (picture, name, severity, seed), calls = shown[0].children, shown[1]
    assert isinstance(name, ipywidgets.Dropdown)
    assert not severity.continuous_update and not seed.continuous_update
    assert calls == [("hazy", 0.5, 0)]
    first = picture.value
    severity.value = 1
    assert calls[-1] == ("hazy", 1, 0) and picture.value != first
    severity.value = 0.5
    assert len(calls) == 2 and picture.value == first
    assert Image.open(io.BytesIO(first)).format == "PNG"
