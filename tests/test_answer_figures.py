"""Figures of asking with words show what they are given; the panel follows what is typed and says what is wrong."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt

from daclip_lab.data.seeding import seeded
from daclip_lab.data.training_pairs import LABELS
from daclip_lab.errors import InputError
from daclip_lab.figures import predictions, zero_shot
from daclip_lab.widgets.text_input import typed


def image(height, width, seed=0):
    return torch.rand(3, height, width, generator=seeded(seed))


def shares(rows):
    return pd.DataFrame(torch.rand(rows, 11, generator=seeded(1)).softmax(1), columns=LABELS)


def test_a_thumbnail_is_the_mean_of_whole_blocks():
    large = image(250, 330)
    small = predictions._thumbnail(large)
    assert small.shape == (83, 110, 3)
    np.testing.assert_allclose(small[1, 2], large[:, 3:6, 6:9].mean((1, 2)), atol=1e-6)
    np.testing.assert_array_equal(
        predictions._thumbnail(image(20, 30)), image(20, 30).permute(1, 2, 0)
    )


def test_a_folder_shows_the_three_likeliest_answers_of_each_image():
    table = shares(4)
    figure = predictions.folder_sheet([image(64, 64)] * 4, list("abcd"), table)
    told = [[text.get_text() for text in axes.texts] for axes in figure.axes[1::2]]
    assert told == [
        [f"{name}, {100 * value:.0f}" for name, value in line.nlargest(3).items()]
        for _, line in table.iterrows()
    ]


def test_both_degradations_of_a_mixture_are_coloured():
    truths = [["hazy", "noisy"], ["rainy", "snowy"]]
    figure = predictions.mixture_bars([image(32, 32)] * 2, shares(2), truths)
    for axes, two in zip(figure.axes[1::2], truths, strict=True):
        outlined = [
            name
            for name, bar in zip(LABELS, axes.patches, strict=True)
            if bar.get_edgecolor()[3] > 0
        ]
        assert outlined == two


def test_own_words_stand_beside_the_packages():
    one, many = shares(2), shares(2)[::-1]
    _, photo, table = predictions.own_words(image(32, 32), one, many, "hazy", "fog").axes
    for axes, values in ((photo, one), (table, many)):
        drawn = [bar.get_width() for bar in axes.patches]
        np.testing.assert_allclose(drawn, values.to_numpy().ravel())


def test_marks_of_the_bias_carry_their_bias_and_only_they():
    nothing = float("nan")
    curve = pd.DataFrame(
        {
            "alarms": [0.9, 0.5, 0.1],
            "misses": [0.1, 0.4, 0.8],
            "alarms_low": [nothing, 0.4, nothing],
            "alarms_high": [nothing, 0.6, nothing],
            "misses_low": [nothing, 0.3, nothing],
            "misses_high": [nothing, 0.5, nothing],
        },
        index=[-2.0, 1.0, 3.0],
    )
    (axes,) = zero_shot.alarms_and_misses({"DA-CLIP": curve}).axes
    assert [text.get_text() for text in axes.texts] == ["+1"]
    assert axes.texts[0].xy == (0.5, 0.4)


def test_the_worst_phrasing_of_each_degradation_is_written_out():
    table = pd.DataFrame(
        [("hazy", "foggy", "training", 0.8), ("hazy", "murky", "held out", 0.6)],
        columns=["degradation", "phrasing", "kind", "accuracy"],
    )
    (axes,) = zero_shot.phrasings(table, 0.81).axes
    assert [text.get_text() for text in axes.texts] == ["murky"]
    low, high = axes.get_xlim()
    assert low < 0.6 and high > 0.81


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


def test_what_is_wrong_with_a_text_is_said_and_the_picture_stays(panel):
    board, drawn = panel
    picture, text, _, said = board.children
    before = picture.value
    text.value = ""
    assert said.value == "no words: type at least one" and picture.value == before
    text.value = "zebra"
    assert said.value == "zebra is unknown" and drawn[-1] == ("zebra", "hazy")
    text.value = "mist"
    assert said.value == ""
