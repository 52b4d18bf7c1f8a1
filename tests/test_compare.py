"""The before/after slider carries its pictures without loss, and its page needs nothing else."""

import base64
import io
import json
import re
from html import unescape

import numpy as np
import pytest
from PIL import Image

from daclip_lab.errors import InputError
from daclip_lab.widgets import CompareSlider
from daclip_lab.widgets.static import MAX_BYTES


def picture(width=40, height=30, seed=0):
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(levels)


def smooth(width, height, seed):
    """Something like a photo: it compresses."""
    return picture(12, 9, seed).resize((width, height), Image.Resampling.BICUBIC)


def decoded(file):
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


def files_of(page):
    return [base64.b64decode(code) for code in re.findall(r'src="data:[^,]+,([^"]+)"', page)]


def settings_of(page):
    return json.loads(unescape(re.search(r'data-settings="([^"]+)"', page)[1]))


def test_pictures_travel_without_loss():
    images = [picture(seed=seed) for seed in (1, 2, 3)]
    slider = CompareSlider(*images)
    for name, image in zip(("before", "after", "clean"), images, strict=True):
        assert np.array_equal(decoded(getattr(slider, name)), image)
    for page in (slider.html(), slider.static_html()):
        assert [decoded(file).tolist() for file in files_of(page)] == [
            np.asarray(image).tolist() for image in images
        ]
    assert CompareSlider(*images[:2]).clean == b""
    assert len(files_of(CompareSlider(*images[:2]).html())) == 2


@pytest.mark.parametrize(
    ("own", "asked", "width"),
    [(64, None, 512), (100, None, 500), (513, None, 513), (64, 100, 100)],
)
def test_small_pictures_are_enlarged_by_a_whole_number(own, asked, width):
    slider = CompareSlider(picture(own), picture(own), width=asked)
    assert slider.width == width
    slider.show(picture(128), picture(128))
    assert slider.width == (asked or 512)
    slider.show(picture(20, 200), picture(20, 200))  # not 5,000 high
    assert slider.width == (asked or 40)


def test_show_exchanges_the_pictures_and_keeps_the_view():
    slider = CompareSlider(picture(), picture(), picture(), position=0.2, mode="blink", zoom=3)
    slider.center = [0.4, 0.6]
    slider.show(picture(20, 10, 5), picture(20, 10, 6), labels=("hazy", "restored"))
    assert np.array_equal(decoded(slider.before), picture(20, 10, 5))
    assert np.array_equal(decoded(slider.after), picture(20, 10, 6))
    assert slider.clean == b"" and slider.labels == ["hazy", "restored", "clean"]
    assert (slider.position, slider.mode, slider.zoom) == (0.2, "blink", 3)
    assert slider.center == [0.4, 0.6]
    slider.show(picture(), picture(), picture(seed=7))
    assert np.array_equal(decoded(slider.clean), picture(seed=7))
    assert slider.labels == ["hazy", "restored", "clean"]


def test_sizes_that_differ_are_refused_and_change_nothing():
    with pytest.raises(InputError, match="40x30 and 30x40"):
        CompareSlider(picture(40, 30), picture(30, 40))
    with pytest.raises(InputError, match="20x30"):
        CompareSlider(picture(40, 30), picture(40, 30), picture(20, 30))
    slider = CompareSlider(picture(seed=1), picture(seed=2))
    with pytest.raises(InputError):
        slider.show(picture(seed=3), picture(30, 40), labels=("a", "b"))
    assert np.array_equal(decoded(slider.before), picture(seed=1))
    assert slider.labels == ["before", "after", "clean"]


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("mode", "swap", "side by side"),
        ("position", 1.01, 1),
        ("position", float("nan"), 0.25),
        ("zoom", 0.5, 1),
        ("zoom", float("inf"), 64),
        ("center", [0.5], [0, 1]),
        ("center", [0.5, -0.1], [1, 0]),
        ("labels", ["a", "b"], ["a", "b", "c"]),
        ("width", 0, 1),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(name, value, right):
    slider = CompareSlider(picture(), picture())
    before = getattr(slider, name)
    with pytest.raises(InputError, match=name):
        setattr(slider, name, value)
    assert getattr(slider, name) == before
    setattr(slider, name, right)
    assert getattr(slider, name) == right


@pytest.mark.parametrize("labels", ["ab", ("a",), ("a", "b", "c", "d"), ("a", 2)])
def test_labels_are_two_or_three(labels):
    with pytest.raises(InputError, match="labels"):
        CompareSlider(picture(), picture(), labels=labels)


def test_linked_sliders_move_together():
    import traitlets

    one, two = (CompareSlider(picture(), picture()) for _ in range(2))
    for name in ("position", "mode", "zoom", "center"):
        traitlets.link((one, name), (two, name))
    one.position, one.mode, one.zoom, two.center = 0.1, "difference", 4, [0.3, 0.7]
    assert (two.position, two.mode, two.zoom, one.center) == (0.1, "difference", 4, [0.3, 0.7])


def test_the_page_is_escaped_repeatable_and_self_contained():
    labels = ('<b>"rain"</b>', "a & b")
    slider = CompareSlider(picture(), picture(), labels=labels, position=0.3, mode="difference")
    page = slider.html()
    assert page == slider.html() == slider.static_html()
    assert "<b>" not in page and "&lt;b&gt;&quot;rain&quot;" in page
    assert "http" not in page
    settings = settings_of(page)
    assert settings["labels"] == [*labels, "clean"]
    assert (settings["position"], settings["mode"]) == (0.3, "difference")


@pytest.mark.parametrize(
    ("images", "kinds", "size", "loss"),
    [
        ([smooth(300, 200, seed) for seed in (1, 2, 3)], "PNG", (300, 200), 0),
        ([smooth(400, 300, seed) for seed in (1, 2, 3)], "WEBP", (400, 300), 0),
        ([smooth(900, 700, seed) for seed in (1, 2, 3)], "JPEG", (900, 700), 2),
        ([picture(1600, 1200, seed) for seed in (1, 2, 3)], "JPEG", None, 80),
    ],
)
def test_a_static_copy_is_small_and_as_good_as_that_allows(images, kinds, size, loss):
    page = CompareSlider(*images).static_html()
    assert len(page) < MAX_BYTES
    files = files_of(page)
    assert {Image.open(io.BytesIO(file)).format for file in files} == {kinds}
    note = settings_of(page)["note"]
    assert bool(note) == (kinds == "JPEG") and f'<p class="hint">{note}</p>' in page
    for file, image in zip(files, images, strict=True):
        found = decoded(file)
        if size:
            assert found.shape[:2] == size[::-1]
        else:
            shown = Image.fromarray(found).size
            assert f"{shown[0]}x{shown[1]}" in note and abs(shown[0] / shown[1] - 4 / 3) < 0.02
            image = image.resize(shown, Image.Resampling.LANCZOS)
        assert np.abs(found.astype(float) - np.asarray(image)).mean() <= loss


def test_the_figure_holds_the_pictures_at_their_own_pixels():
    images = [picture(seed=seed) for seed in (1, 2, 3)]
    slider = CompareSlider(*images, labels=("hazy", "restored", "sharp"))
    axes = slider.figure().axes
    assert [axis.get_title(loc="left") for axis in axes] == ["hazy", "restored", "sharp"]
    shown = axes[1].get_images()[0].get_array()
    zoom = shown.shape[0] // 30
    assert zoom > 1 and np.allclose(shown[::zoom, ::zoom] * 255, np.asarray(images[1]))


def test_its_text_is_short():
    slider = CompareSlider(picture(), picture(), labels=("hazy", "restored"))
    assert repr(slider) == "<slider hazy | restored>"
