"""Widgets follow their controls in place: a figure, the before/after slider with a sentence, a field to type into."""

import io
import re
import threading
import warnings

import ipywidgets
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from daclip_lab.data.seeding import seeded
from daclip_lab.errors import InputError
from daclip_lab.figures.primitives import strip
from daclip_lab.widgets.controls import compared, controlled
from daclip_lab.widgets.static import MAX_BYTES


def image(seed, height=20, width=40):
    return (torch.rand(3, height, width, generator=seeded(seed)) * 255).round() / 255


@pytest.fixture
def shown():
    """A picture with three controls, and the list of what was drawn."""
    calls = []

    def draw(name, severity=0.5, seed=0):
        calls.append((name, severity, seed))
        return strip([image(len(calls))], [name])

    box = controlled(
        draw, frames="severity", name=["hazy", "noisy"], severity=[0, 0.5, 1], seed=range(3)
    )
    return box, calls


def picture(box):
    return box.children[1].value


def sentence(box):
    return box.children[-1].value


def test_controls_start_at_the_defaults_and_draw_each_setting_once(shown):
    box, calls = shown
    assert isinstance(box.controls["name"], ipywidgets.Dropdown)
    assert isinstance(box.controls["severity"], ipywidgets.SelectionSlider)
    assert calls == [("hazy", 0.5, 0)] and box.values() == {
        "name": "hazy",
        "severity": 0.5,
        "seed": 0,
    }
    first = picture(box)
    box.controls["severity"].value = 1
    assert calls[-1] == ("hazy", 1, 0) and picture(box) != first
    box.controls["severity"].value = 0.5
    assert len(calls) == 2 and picture(box) == first
    assert Image.open(io.BytesIO(first)).format == "PNG"
    assert isinstance(box.figure(), Figure)


def test_no_widget_is_made_anew_when_a_value_changes(shown):
    box, _ = shown
    before = [*box.children, *box.controls.values()]
    box.controls["name"].value = "noisy"
    assert [*box.children, *box.controls.values()] == before


def test_the_static_copy_moves_one_value_and_names_the_others(shown):
    box, calls = shown
    box.controls["name"].value = "noisy"
    page = box.static_html()
    assert sorted(call[1] for call in calls if call[0] == "hazy") == [0, 0.5, 1]
    assert re.findall(r"<td>(severity .*?)</td>", page) == [
        "severity 0",
        "severity 0.5",
        "severity 1",
    ]
    assert '"start": 1' in page and "name (here hazy), seed (here 0)" in page
    assert len(page.encode()) < MAX_BYTES


def test_a_static_copy_without_frames_is_the_present_figure():
    box = controlled(lambda seed: strip([image(seed)], [""]), seed=range(3))
    pages = [box.static_html()]
    box.controls["seed"].value = 2
    pages.append(box.static_html())
    assert [page.count("<img") for page in pages] == [1, 1] and pages[0] != pages[1]
    assert "seed (here 0)" in pages[0] and "seed (here 2)" in pages[1]
    assert "<script" not in pages[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": "kind"},
        {"frames": "text", "text": "fog"},
        {"frames": "seed", "seed": [0]},
        {"frames": "seed", "seed": range(61)},
        {"seed": [1, 2]},  # the default is 0
        {"text": []},
    ],
)
def test_choices_that_cannot_be_made_are_refused(wrong):
    def draw(text="fog", seed=0):
        return strip([image(seed)], [text])

    with pytest.raises(InputError):
        controlled(draw, **wrong)


def test_of_values_that_come_while_one_is_drawn_the_newest_is_drawn():
    calls, drawing, go_on = [], threading.Event(), threading.Event()

    def draw(seed=0):
        calls.append(seed)
        if seed == 1:
            drawing.set()
            assert go_on.wait(60)
        return strip([image(seed)], [str(seed)])

    box = controlled(draw, seed=range(5))
    control = box.controls["seed"]
    first = threading.Thread(target=setattr, args=(control, "value", 1))
    first.start()
    assert drawing.wait(60)
    for seed in (2, 3, 4):
        control.value = seed  # returns at once
    go_on.set()
    first.join(60)
    assert calls == [0, 1, 4]
    shown = picture(box)
    control.value = 4
    assert picture(box) == shown


def test_the_slider_follows_its_controls_in_place():
    def pair(seed=3, zoom=1):
        return image(seed), image(seed + zoom)

    board = compared(pair, labels=("left", "right"), seed=[1, 3], zoom=[1, 2])
    slider = board.children[1]
    assert slider.labels[:2] == ["left", "right"] and board.controls["seed"].value == 3
    before = (slider.before, slider.after)
    slider.position = 0.2
    board.controls["seed"].value = 1
    assert board.children[1] is slider and slider.position == 0.2
    assert slider.before != before[0] and slider.after != before[1] and not slider.clean
    board.controls["seed"].value = 3
    assert (slider.before, slider.after) == before
    assert isinstance(board.figure(), Figure)


def test_the_slider_can_have_a_clean_image_labels_and_a_sentence_of_the_values():
    grey = {"none": 0.2, "both": 0.4, "oracle": 0.6}

    def three(left="none", right="both", degradation="hazy"):
        hazy = 0.1 * (degradation == "hazy")
        ways = [torch.full((3, 8, 8), grey[way] + hazy) for way in (left, right)]
        return *ways, torch.zeros(3, 8, 8)

    box = compared(
        three,
        labels=lambda left, right, degradation: (left, right, "clean"),
        describe=lambda left, right, degradation: f"{right} < {left} on {degradation}",
        left=list(grey),
        right=list(grey),
        degradation=["rainy", "hazy"],
    )
    slider = box.children[1]
    assert slider.labels == ["none", "both", "clean"] and slider.clean
    before = slider.after
    box.controls["right"].value = "oracle"
    assert slider.labels == ["none", "oracle", "clean"] and slider.after != before
    assert sentence(box) == "oracle &lt; none on hazy"
    assert sentence(box) in box.static_html()


@pytest.fixture
def panel():
    """A panel that draws a text; what it drew last is in `drawn`."""
    drawn = []

    def draw(text, kind):
        if not text:
            raise InputError("no words: type at least one")
        if text == "zebra":
            warnings.warn("zebra is unknown", stacklevel=2)
        if text == "bug":
            raise KeyError("bug")
        drawn.append((text, kind))
        return strip([image(len(drawn))], [text])

    return controlled(draw, text="fog", kind=["hazy", "noisy"]), drawn


def test_the_picture_follows_the_text_and_the_list(panel):
    board, drawn = panel
    first = picture(board)
    board.controls["text"].value = "thick fog"
    board.controls["kind"].value = "noisy"
    assert drawn == [("fog", "hazy"), ("thick fog", "hazy"), ("thick fog", "noisy")]
    assert bytes(picture(board)).startswith(b"\x89PNG") and picture(board) != first


def test_errors_and_warnings_are_shown_and_the_picture_stays(panel):
    board, drawn = panel
    before, text, copy = picture(board), board.controls["text"], board.static_html()
    text.value = ""
    assert sentence(board) == "no words: type at least one" and picture(board) == before
    assert board.static_html() == copy
    text.value = "bug"
    assert "KeyError" in sentence(board) and picture(board) == before
    text.value = "zebra"
    assert sentence(board) == "zebra is unknown" and drawn[-1] == ("zebra", "hazy")
    text.value = "mist"
    assert sentence(board) == ""


def test_what_cannot_be_drawn_at_the_start_is_raised():
    with pytest.raises(ZeroDivisionError):
        controlled(lambda seed: 1 / seed, seed=[0, 1])
