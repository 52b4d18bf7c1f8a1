"""Widgets follow their controls: a figure, the before/after slider with a sentence, a field to type into."""

import io
import warnings

import ipywidgets
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

from daclip_lab.data.seeding import seeded
from daclip_lab.errors import InputError
from daclip_lab.figures.primitives import strip
from daclip_lab.widgets.compare import Compare
from daclip_lab.widgets.controls import compared, controlled, typed


def image(seed, height=20, width=40):
    return (torch.rand(3, height, width, generator=seeded(seed)) * 255).round() / 255


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


def test_the_slider_follows_its_controls_and_the_divider_stays():
    def pair(seed, zoom):
        return image(seed), image(seed + zoom)

    def draw(seed=3, zoom=1):
        return strip(pair(seed, zoom), ["", ""])

    board = compared(pair, draw, labels=("left", "right"), seed=[1, 3], zoom=[1, 2])
    slider, picture, seed, _ = board.children
    assert slider.labels == ["left", "right"] and seed.value == 3
    before, shown = (slider.before, slider.after), picture.value
    slider.position = 0.2
    seed.value = 1
    fresh = board.children[0]
    assert fresh.position == 0.2
    assert fresh.before != before[0] and fresh.after != before[1]
    assert board.children[1].value != shown
    seed.value = 3
    assert (board.children[0].before, board.children[0].after) == before


def test_the_slider_can_have_labels_and_a_sentence_of_the_values():
    grey = {"none": 0.2, "both": 0.4, "oracle": 0.6}

    def pair(left="none", right="both", degradation="hazy"):
        hazy = 0.1 * (degradation == "hazy")
        return tuple(torch.full((3, 8, 8), grey[way] + hazy) for way in (left, right))

    box = compared(
        pair,
        labels=lambda left, right, degradation: (left, right),
        describe=lambda left, right, degradation: f"{right} less {left} on {degradation}",
        left=list(grey),
        right=list(grey),
        degradation=["rainy", "hazy"],
    )
    slider, sentence, _, right, _ = box.children
    assert isinstance(slider, Compare) and slider.labels == ["none", "both"]
    before = slider.after
    slider.position = 0.25
    right.value = "oracle"
    slider = box.children[0]
    assert slider.labels == ["none", "oracle"] and slider.after != before
    assert slider.position == 0.25 and sentence.value == "oracle less none on hazy"


@pytest.fixture
def panel():
    """A panel that draws the length of a text; what it drew last is in `drawn`."""
    drawn = []

    def draw(text, kind):
        if not text:
            raise InputError("no words: type at least one")
        if text == "zebra":
            warnings.warn("zebra is unknown", stacklevel=2)
        drawn.append((text, kind))
        figure = plt.figure(figsize=(len(text) / 4, 1))
        plt.close(figure)
        return figure

    return typed(draw, {"text": "fog"}, kind=["hazy", "noisy"]), drawn


def test_the_picture_follows_the_text_and_the_list(panel):
    board, drawn = panel
    picture, text, kind, _ = board.children
    first = picture.value
    text.value = "thick fog"
    kind.value = "noisy"
    assert drawn == [("fog", "hazy"), ("thick fog", "hazy"), ("thick fog", "noisy")]
    assert bytes(picture.value).startswith(b"\x89PNG") and picture.value != first


def test_errors_and_warnings_are_shown_and_the_picture_stays(panel):
    board, drawn = panel
    picture, text, _, message = board.children
    before = picture.value
    text.value = ""
    assert message.value == "no words: type at least one" and picture.value == before
    text.value = "zebra"
    assert message.value == "zebra is unknown" and drawn[-1] == ("zebra", "hazy")
    text.value = "mist"
    assert message.value == ""
