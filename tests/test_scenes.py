"""Laws of the procedural scenes: seeded, in range, and true to their captions."""

import re

import numpy as np
import pytest
import torch

from daclip_lab.data.captions.attributes import POSITIONS, attributes
from daclip_lab.data.captions.colours import COLOUR_NAMES, colour_indices
from daclip_lab.data.scenes import SHAPES, paint_shape, scene
from daclip_lab.errors import InputError

COLOUR = "(" + "|".join(sorted(COLOUR_NAMES, key=len, reverse=True)) + ")"


def scenes(n, seed=0, **size):
    generator = torch.Generator().manual_seed(seed)
    return [scene(generator, **size) for _ in range(n)]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    for a, b, other in zip(scenes(30), scenes(30), scenes(30, seed=1), strict=True):
        assert a.caption == b.caption
        assert torch.equal(a.image, b.image)
        assert not torch.equal(a.image, other.image)


def test_global_random_state_is_left_alone():
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    scenes(10)
    assert torch.equal(before, torch.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()  # noqa: NPY002


@pytest.mark.parametrize(("height", "width"), [(64, 64), (16, 16), (48, 96), (128, 128)])
def test_images_are_float_in_range_and_of_the_size_asked_for(height, width):
    for made in scenes(20, height=height, width=width):
        assert made.image.shape == (3, height, width)
        assert made.image.dtype == torch.float32
        assert made.image.min() >= 0 and made.image.max() <= 1


def test_a_size_below_16_is_refused():
    with pytest.raises(InputError, match="at least 16"):
        scene(torch.Generator(), height=8)


def test_captions_are_many():
    assert len({made.caption for made in scenes(300)}) > 270


def test_a_shape_has_the_colour_and_the_place_that_its_caption_says():
    """Only solid shapes: the middle of a ring shows the background."""
    places = {name: (r, c) for r, row in enumerate(POSITIONS) for c, name in enumerate(row)}
    single = re.compile(
        rf"an? (?:small |large )?{COLOUR} (?:circle|square|diamond|cross) "
        rf"({'|'.join(sorted(places, key=len, reverse=True))}) on a \w+ {COLOUR} background"
    )
    found = 0
    for made in scenes(600):
        if match := single.fullmatch(made.caption):
            colour, place, background = match.groups()
            row, column = places[place]
            ys, xs = (
                range(int(64 * (0.08 + 0.28 * k)), int(64 * (0.36 + 0.28 * k)))
                for k in (row, column)
            )
            names = colour_indices(made.image.numpy())
            # The centre of the shape lies in this box, so its colour is seen there.
            assert (
                names[ys.start : ys.stop, xs.start : xs.stop] == COLOUR_NAMES.index(colour)
            ).sum() > 15
            assert background != colour
            found += 1
    assert found > 30


def test_a_relation_between_shapes_is_where_their_colours_lie():
    pair = re.compile(
        rf"an? (?:small |large )?{COLOUR} \w+ (above|below|left of|right of) "
        rf"an? (?:small |large )?{COLOUR} \w+ on a (?:smooth|soft) {COLOUR} background"
    )
    found = 0
    for made in scenes(600, seed=3):
        if match := pair.fullmatch(made.caption):
            first, relation, second, _ = match.groups()
            names = colour_indices(made.image.numpy())
            (ya, xa), (yb, xb) = (
                np.argwhere(names == COLOUR_NAMES.index(name)).mean(axis=0)
                for name in (first, second)
            )
            truth = {"above": ya < yb, "below": ya > yb, "left of": xa < xb, "right of": xa > xb}
            assert truth[relation], made.caption
            found += 1
    assert found > 20


def test_stripes_run_as_their_caption_says():
    pattern = re.compile(
        rf"(?:thin|wide) (vertical|rising|horizontal|falling) stripes of {COLOUR} and {COLOUR}"
    )
    agree = []
    for made in scenes(600, seed=4):
        if match := pattern.fullmatch(made.caption):
            agree.append(attributes(made.image).lines == match.group(1))
    assert len(agree) > 20
    # A pair of colours of equal lightness shows no lines in luma.
    assert np.mean(agree) > 0.8


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_antialiased_and_grow_with_the_square_of_the_radius(shape):
    def area(radius, y=32.0):
        canvas = np.zeros((1, 64, 64))
        paint_shape(canvas, shape, np.ones((1, 1, 1)), (y, 32.0), radius, angle=0.3)
        assert canvas.min() >= 0 and canvas.max() <= 1
        assert ((canvas > 0.05) & (canvas < 0.95)).any()
        return canvas.sum()

    assert area(20) == pytest.approx(4 * area(10), rel=0.03)
    assert area(10, y=32.37) == pytest.approx(area(10), rel=0.03)


def test_a_circle_covers_pi_r_squared():
    canvas = np.zeros((1, 64, 64))
    paint_shape(canvas, "circle", np.ones((1, 1, 1)), (30.2, 33.7), 15.0)
    assert canvas.sum() == pytest.approx(np.pi * 15**2, rel=0.005)


def test_a_shape_outside_the_canvas_changes_nothing():
    canvas = np.zeros((1, 64, 64))
    for y, x in ((-40, 32), (32, -40), (100, 32), (32, 100)):
        paint_shape(canvas, "square", np.ones((1, 1, 1)), (y, x), 10.0)
    assert not canvas.any()
