"""Figures: what they show, that colours stay apart for every eye, and that pixels are not resampled."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from daclip_lab.course.figures import images, spaces
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations.prompt_phrases import Words
from daclip_lab.degradations.registry import (
    DEGRADATIONS,
    LABELS,
    register_degradation,
    unregister_degradation,
)
from daclip_lab.figures import classification, severity
from daclip_lab.figures.palette import (
    COLORS,
    EXTRA_COLORS,
    INK,
    MARKERS,
    color_of,
    looks,
    marker_of,
)
from daclip_lab.figures.primitives import figure_png, image_grid

# Machado, Oliveira and Fernandes (2009), complete dichromacy, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=seeded(seed))


def image(seed=0, height=24, width=40):
    return (noise(3, height, width, seed=seed) * 255).round() / 255


def gallery():
    return images.degradation_gallery(
        image(), {name: image(k) for k, name in enumerate(DEGRADATIONS)}
    )


def probabilities(rows=3):
    return pd.DataFrame(noise(rows, 11).softmax(1).numpy(), columns=LABELS)


def bars():
    return classification.classification_bars(
        probabilities(), DEGRADATIONS[:3], [image(k) for k in range(3)]
    )


def confusion():
    share = pd.DataFrame(np.eye(10), index=DEGRADATIONS, columns=DEGRADATIONS)
    share.iloc[0, :2] = 0.75, 0.25
    return classification.confusion_heatmap(share, dict.fromkeys(DEGRADATIONS, 7))


def scatter():
    labels = [name for name in LABELS for _ in range(3)]
    maps = {"UMAP": noise(33, 2).numpy(), "PCA": noise(33, 2, seed=1).numpy()}
    return spaces.embedding_scatter(maps, labels, noise(33).numpy())


def triptychs():
    labels = pd.DataFrame(
        {"degradation": ["hazy", "noisy"], "psnr_input": [12.0, 20.0], "psnr": [18.5, 19.0]}
    )
    first, second, third = ([image(k + 2 * j) for k in range(2)] for j in range(3))
    return images.restoration_triptychs(first, second, third, labels)


def table(gain=True):
    lines = pd.DataFrame({"n": 6, "photos": 3}, index=[*DEGRADATIONS, "overall"])
    measures = ("clip_accuracy", "accuracy", *(["psnr_gain"] if gain else []))
    for measure in measures:
        lines[[measure, f"{measure}_low", f"{measure}_high"]] = (0.5, 0.4, 0.6)
    return lines


def accuracy():
    return classification.accuracy_and_gain(table())


def rows(count=6):
    return {
        name: [image(10 * k + j) for j in range(count)] for k, name in enumerate(("hazy", "noisy"))
    }


def sheet():
    return severity.sheet(rows(), caption="Two degradations.")


def grid():
    titles, notes = ["one", "two", "three"], {name: list("abc") for name in rows()}
    return images.grid(rows(3), titles, notes)


def curves(names=(*DEGRADATIONS, "overall")):
    lines = [(name, level, space, 0.5, 0.4, 0.6) for name in names for level in (0.1, 0.9)
             for space in severity.SPACES]  # fmt: skip
    table = pd.DataFrame(lines, columns=["degradation", "severity", "space", "mean", "low", "high"])
    return severity.over_severity(table, ylabel="accuracy", level=(0.1, "chance"), shares=True)


ALL = [gallery, bars, confusion, scatter, triptychs, accuracy, sheet, grid, curves]


def texts(figure):
    return [text.get_text() for text in figure.findobj(plt.Text) if text.get_text()]


def is_on(page, picture):
    """Whether a picture (3, h, w) lies on the page, pixel for pixel."""
    wanted = (picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    height, width = wanted.shape[:2]
    places = np.argwhere((page[: 1 - height, : 1 - width] == wanted[0, 0]).all(-1))
    return any((page[y : y + height, x : x + width] == wanted).all() for y, x in places)


def drawn(figure):
    """The figure as a notebook shows it, (h, w, 3) uint8."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", dpi=figure.dpi)
    return np.asarray(Image.open(buffer).convert("RGB"))


@pytest.mark.parametrize("make", ALL)
def test_a_figure_is_returned_and_none_is_left_open(make):
    before = dict(plt.rcParams)
    figure = make()
    assert isinstance(figure, Figure) and not plt.get_fignums()
    assert dict(plt.rcParams) == before


@pytest.mark.parametrize("make", ALL)
def test_a_figure_fits_a_web_page_and_nothing_reaches_over_its_edge(make):
    figure = make()
    width, height = figure.get_size_inches()
    assert width * figure.dpi <= 920
    assert np.allclose(figure.get_tightbbox().extents, (0, 0, width, height))


@pytest.mark.parametrize("make", [gallery, triptychs, sheet, grid])
def test_images_are_shown_at_their_own_pixels(make):
    page = drawn(make())
    assert is_on(page, image(0)) and is_on(page, image(1))


def test_zoom_repeats_pixels():
    page = drawn(images.degradation_gallery(image(), {"hazy": image(1)}, zoom=3))
    assert is_on(page, image().repeat_interleave(3, 1).repeat_interleave(3, 2))


def test_smaller_images_are_centred_and_long_titles_do_not_overlap():
    small = image(3, 8, 10)
    figure = image_grid([[image(), small]], titles=[["a title of some length", "short"]])
    first, second = (axes.get_window_extent() for axes in figure.axes)
    assert second.x0 - first.x0 >= 15 + figure.axes[0].title.get_window_extent().width
    assert is_on(drawn(figure), small)


def test_a_figure_becomes_a_png_of_its_own_size():
    figure = gallery()
    size = Image.open(io.BytesIO(figure_png(figure))).size
    assert size == tuple((figure.get_size_inches() * figure.dpi).round())


@pytest.mark.parametrize("vision", VISION)
def test_colours_stay_apart_for_every_eye(vision):
    assert set(COLORS) == set(MARKERS) == set(LABELS)
    assert len(set(COLORS.values())) == len(set(MARKERS.values())) == len(LABELS)
    rgb = np.array([plt.matplotlib.colors.to_rgb(color) for color in COLORS.values()])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = (linear @ np.transpose(VISION[vision])).clip(0, 1)
    seen = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    lab = rgb2lab(seen)
    distance = deltaE_ciede2000(lab[:, None], lab[None])
    assert distance[~np.eye(len(lab), dtype=bool)].min() > 16


@pytest.fixture
def sepia():
    """A degradation that a user registered."""
    words = Words(("sepia",), held_out_adjectives=("brownish",))
    register_degradation("sepia", lambda image, severity, rng: image, words)
    yield "sepia"
    unregister_degradation("sepia")


def test_registered_degradations_and_other_labels_have_looks_of_their_own(sepia):
    found = looks(["foggy", "sepia", "hazy", "unknown", "murky"])
    assert list(found) == ["hazy", "sepia", "foggy", "murky", "unknown"]
    assert found["hazy"] == (COLORS["hazy"], MARKERS["hazy"])
    assert found["sepia"] == (EXTRA_COLORS[0], "o") == (color_of(sepia), marker_of(sepia))
    assert len(set(found.values())) == 5
    assert color_of("overall") == INK


def test_figures_show_a_registered_degradation(sepia):
    figure = curves(["hazy", sepia])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["hazy", sepia]
    lines = table()
    lines.loc[sepia] = lines.loc["hazy"]
    shown = classification.accuracy_and_gain(lines).axes[0].get_yticklabels()
    assert [label.get_text() for label in shown] == [*DEGRADATIONS, sepia, "overall"]
    assert len(classification.classification_bars(probabilities(1).rename(columns={"clean": sepia}),
                                                  [sepia]).axes) == 1  # fmt: skip


def test_a_figure_does_not_depend_on_the_users_settings():
    wanted = drawn(curves())
    with plt.rc_context({"axes.grid": True, "axes.facecolor": "black", "xtick.labelsize": 20}):
        assert np.array_equal(drawn(curves()), wanted)


def test_a_sheet_names_its_rows_and_columns_and_needs_every_severity():
    wanted = {"severity", *rows(), *(f"{value:g}" for value in severity.SEVERITIES)}
    assert set(texts(sheet())) >= {*wanted, "Two degradations."}
    with pytest.raises(ValueError):
        severity.sheet(rows(3))


def test_the_gallery_names_every_image():
    assert set(texts(gallery())) >= set(LABELS)


def test_bars_show_the_truth_in_its_colour_and_mark_the_answer():
    table = pd.DataFrame([[0.9] + [0.01] * 10, [0.01] * 10 + [0.9]], columns=LABELS)
    figure = classification.classification_bars(table, ["motion-blurry", "rainy"])
    first, second = figure.axes
    to_hex = plt.matplotlib.colors.to_hex
    assert to_hex(first.patches[0].get_facecolor()) == COLORS["motion-blurry"]
    assert to_hex(second.patches[LABELS.index("rainy")].get_facecolor()) == COLORS["rainy"]
    assert first.get_title(loc="left") == "motion-blurry\n✓ motion-blurry"
    assert second.get_title(loc="left") == "rainy\n✗ clean"
    assert [label.get_text() for label in first.get_yticklabels()] == list(LABELS)


def test_one_answer_is_enough_for_bars():
    assert len(classification.classification_bars(probabilities().iloc[0], ["hazy"]).axes) == 1


def test_the_confusion_says_shares_counts_and_leaves_the_rest_blank():
    axes = confusion().axes[0]
    written = [text.get_text() for text in axes.texts if text.get_text()]
    assert sorted(written) == sorted(["75", "25", "true (images)"] + ["100"] * 9)
    assert axes.get_yticklabels()[0].get_text() == "motion-blurry (7)"
    assert axes.get_xlabel()


def test_the_maps_share_one_key_with_a_name_for_each_colour():
    figure = scatter()
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["UMAP", "PCA"]
    assert [text.get_text() for text in figure.legends[0].texts] == list(COLORS)


def test_triptychs_say_what_was_gained_and_lost():
    said = texts(triptychs())
    assert "restored\n18.5 dB (+6.5)" in said and "restored\n19.0 dB (-1.0)" in said


def test_gain_is_drawn_where_it_is_known():
    assert len(classification.accuracy_and_gain(table(gain=False)).axes) == 1
    named, gain = accuracy().axes
    assert "accuracy" in named.get_xlabel() and "(dB)" in gain.get_xlabel()
    assert [label.get_text() for label in named.get_yticklabels()] == [*DEGRADATIONS, "overall"]
