"""Laws of the attribute captions: each word follows from the pixels, and mirrored images swap the words of an axis."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from daclip_lab.data.captions import attributes as rules
from daclip_lab.data.captions.attributes import attributes, caption, count_words
from daclip_lab.data.captions.colours import COLOURS
from daclip_lab.data.scenes import scene
from daclip_lab.errors import InputError

MIRROR = {"left": "right", "right": "left", "rising": "falling", "falling": "rising"}
UPSIDE_DOWN = {
    "top": "bottom",
    "bottom": "top",
    "above": "below",
    "below": "above",
    "rising": "falling",
    "falling": "rising",
}


def solid(*rgb, h=64, w=64):
    return torch.tensor(rgb).float().div(255)[:, None, None].expand(3, h, w).clone()


def images(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [scene(generator).image for _ in range(n)]


def swapped(text, words):
    return " ".join(words.get(word.rstrip(","), word.rstrip(",")) for word in text.split())


@pytest.mark.parametrize("name", COLOURS)
def test_every_value_of_a_colour_has_its_name(name):
    for value in COLOURS[name]:
        found = attributes(solid(*value))
        assert (found.colour, found.second, found.accent, found.light) == (name, "", "", "")
        assert (found.texture, found.lines, found.grain) == ("smooth", "", "")


def test_a_red_image_is_red():
    assert caption(solid(205, 35, 35)) == "a dark flat colorful smooth scene of red"


def test_brightness_rises_through_its_five_words():
    words = [attributes(solid(v, v, v)).brightness for v in (20, 90, 110, 130, 240)]
    assert words == ["very dark", "dark", "", "bright", "very bright"]


@pytest.mark.parametrize(
    ("box", "relation"),
    [
        ((slice(0, 32), slice(0, 64)), "below"),
        ((slice(32, 64), slice(0, 64)), "above"),
        ((slice(0, 64), slice(0, 30)), "right of"),
        ((slice(0, 64), slice(34, 64)), "left of"),
        ((slice(18, 46), slice(18, 46)), "around"),
    ],
)
def test_layout_of_two_colours(box, relation):
    image = solid(45, 95, 200)
    image[:, box[0], box[1]] = solid(238, 212, 50, h=1, w=1)
    found = attributes(image)
    names = (found.colour, found.second)
    if names == ("yellow", "blue"):
        relation = {"below": "above", "above": "below"}[relation]
    assert set(names) == {"yellow", "blue"}
    assert found.relation == relation


def test_a_small_spot_is_an_accent_with_its_place():
    image = solid(125, 125, 125)
    image[:, 4:20, 44:60] = solid(205, 35, 35, h=1, w=1)
    assert "some red at the top right" in caption(image)


@pytest.mark.parametrize(
    ("name", "slope"),
    [("vertical", (0, 1)), ("horizontal", (1, 0)), ("rising", (1, 1)), ("falling", (-1, 1))],
)
def test_direction_of_lines(name, slope):
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    wave = 0.5 + 0.4 * torch.sin((slope[0] * y + slope[1] * x) * 0.8)
    assert attributes(wave.expand(3, 64, 64)).lines == name


@pytest.mark.parametrize(("axis", "words"), [(-1, MIRROR), (-2, UPSIDE_DOWN)])
def test_a_mirrored_image_swaps_the_words_of_that_axis(axis, words):
    for image in images(40):
        assert swapped(caption(image), words) == swapped(caption(image.flip(axis)), {})


def test_an_enlarged_image_has_the_same_attributes():
    fields = [field.name for field in dataclasses.fields(rules.Attributes)]
    same = []
    for image in images(40, seed=1):
        large = F.interpolate(image[None], scale_factor=2, mode="bicubic")[0].clamp(0, 1)
        small, big = attributes(image), attributes(large)
        same.append([getattr(small, name) == getattr(big, name) for name in fields])
    assert torch.tensor(same).float().mean() > 0.95


def test_captions_are_short_many_and_deterministic():
    crops = images(200, seed=2)
    texts = [caption(image) for image in crops]
    assert texts == [caption(image.clone()) for image in crops]
    assert max(map(count_words, texts)) <= rules.MAX_WORDS
    assert len(set(texts)) > 180


@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 17, 90), (3, 321, 481)])
def test_any_size_from_16_pixels(shape):
    generator = torch.Generator().manual_seed(0)
    assert caption(torch.rand(shape, generator=generator)).startswith("a ")


@pytest.mark.parametrize("shape", [(3, 15, 64), (1, 64, 64), (1, 3, 64, 64), (64, 64)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match="at least 16"):
        caption(torch.zeros(shape))
