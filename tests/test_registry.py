"""A registered degradation is used everywhere like the ten; trained weights keep their labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import daclip_lab as lab
from daclip_lab.data.photos import image_folder
from daclip_lab.data.prompts import describe, held_out_texts, training_texts
from daclip_lab.data.seeding import seeded
from daclip_lab.data.training_pairs import Batches, Synthetic
from daclip_lab.degradations.apply import degrade, mix
from daclip_lab.degradations.prompt_phrases import Words
from daclip_lab.degradations.registry import (
    DEGRADATIONS,
    LABELS,
    degradation_names,
    in_order,
    label_names,
    lookup,
    mixing_order,
    register_degradation,
    unregister_degradation,
)
from daclip_lab.errors import InputError
from daclip_lab.figures.classification import accuracy_and_gain, confusion_heatmap
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.pipeline.serialization import Settings
from daclip_lab.training import presets
from daclip_lab.training.objectives import train_daclip

WORDS = Words(
    adjectives=["faded", "washed out"],
    clauses=("with pale ink",),
    held_out_adjectives=("bleached",),
)


def fade(image, severity, rng):
    """Towards a random light tint, beyond white: the result is clipped by the library."""
    tint = rng.uniform(0.8, 1.2, (3, 1, 1)).astype(np.float32)
    return image + 0.8 * severity * (tint - image)


@pytest.fixture
def faded():
    register_degradation("faded", fade, WORDS, after="low-light")
    yield "faded"
    unregister_degradation("faded")


def test_without_a_registration_there_are_the_ten():
    assert degradation_names() == DEGRADATIONS and label_names() == LABELS
    assert set(mixing_order()) == set(DEGRADATIONS)


def test_it_is_applied_clipped_and_mixed_in_its_place(faded, photo):
    for seed in range(5):
        result = degrade(photo, faded, 1, seeded(seed))
        assert result.mean() > photo.mean() and result.max() <= 1
        assert torch.equal(degrade(photo, faded, 1, seeded(seed)), result)
    order = mixing_order()
    assert order.index(faded) == order.index("low-light") + 1
    source = seeded(3)
    expected = photo
    for name in ("hazy", faded, "noisy"):
        expected = degrade(expected, name, 0.4, source)
    steps = [("noisy", 0.4), (faded, 0.4), ("hazy", 0.4)]
    assert torch.equal(mix(photo, steps, seeded(3)), expected)


def test_it_has_phrasings(faded):
    assert training_texts(faded)[0] == faded and "a photo with pale ink" in training_texts(faded)
    assert "a bleached photo" in held_out_texts(faded)
    assert any(phrase in describe("a dog", faded, seeded(2)) for phrase in WORDS.train)


def test_it_flows_through_data_training_evaluation_and_figures(faded, photo_folder, tmp_path):
    photos, scale = image_folder(photo_folder), presets.smoke()
    source = Synthetic(photos=photos)
    assert faded in Batches(source, size=16, batch=100)[0].labels
    daclip = DaCLIP(scale.build_clip(seed=1))
    recipe = replace(scale.daclip, steps=2, synonyms=True)
    assert len(list(train_daclip(daclip, source, recipe))) == 2
    settings = Settings(
        clip=scale.clip,
        network=scale.network,
        sde=scale.sde,
        view=scale.view,
        steps=scale.steps,
        synonyms=True,
        labels=label_names(),
    )
    pipe = lab.Pipeline(settings, daclip=daclip, restorer=scale.build_restorer(seed=1))
    pipe.save(tmp_path / "weights")
    pipe = lab.load(tmp_path / "weights")
    assert list(pipe.classify(photos[0]).index) == [*DEGRADATIONS, faded, "clean"]
    result = lab.evaluate(pipe, photos, lab.Protocol(crop=32, mixtures=1))
    table = result.table()
    assert faded in table.index and table.n["overall"] == 22 and table.n[faded] == 2
    assert list(result.confusion().columns) == [*DEGRADATIONS, faded]
    assert faded in result.markdown() and faded in str(result)
    for figure in (
        confusion_heatmap(result.confusion(), table.n),
        accuracy_and_gain(table),
    ):
        texts = [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
        assert any(faded in text for text in texts)


def test_trained_weights_keep_their_labels(faded, pipe, photo_folder):
    assert tuple(pipe.classify(photo_folder / "face.png").index) == LABELS
    rows = lab.evaluate(pipe, image_folder(photo_folder), lab.Protocol(crop=32, mixtures=0)).rows
    assert in_order(rows.degradation) == LABELS


def test_words_that_the_text_tower_lacks_are_refused(scale, photo_folder):
    """The session's CLIP was built before the registration: its vocabulary does not hold the new words."""
    clip = scale.build_clip(seed=1)
    register_degradation("glazed", fade, Words(("glazed",), (), ("glossy",)))
    try:
        source = Synthetic(
            photos=image_folder(photo_folder), degradations=("glazed",), clean_prob=0
        )
        with pytest.raises(InputError, match="'glazed' is not in the vocabulary"):
            list(train_daclip(DaCLIP(clip), source, replace(scale.daclip, steps=1, synonyms=False)))
    finally:
        unregister_degradation("glazed")


@pytest.mark.parametrize(
    ("name", "words", "after", "fault"),
    [
        ("hazy", Words(("hazy",), (), ("misty",)), None, "'hazy'"),
        ("clean", Words(("clean",), (), ("misty",)), None, "'clean'"),
        ("wet", Words(("damp",), (), ("misty",)), None, "'damp'"),
        ("wet", Words((), ("in water",), ("misty",)), None, "'wet'"),
        ("wet", Words(("wet",)), None, "'wet'"),
        ("wet", Words(("wet",), (), ("misty",)), "haze", "'haze'.*'hazy'"),
    ],
)
def test_what_cannot_be_registered_is_refused(name, words, after, fault):
    with pytest.raises(InputError, match=fault):
        register_degradation(name, fade, words, after=after)
    assert degradation_names() == DEGRADATIONS and len(mixing_order()) == 10


def test_the_ten_and_strangers_cannot_be_removed():
    for name in ("hazy", "faded"):
        with pytest.raises(InputError, match=f"'{name}'"):
            unregister_degradation(name)


@pytest.mark.parametrize("bad", [np.zeros((3, 8, 9)), np.full((3, 16, 16), np.nan), None])
def test_what_a_function_returns_is_checked(bad):
    register_degradation("wet", lambda image, severity, rng: bad, Words(("wet",), (), ("damp",)))
    try:
        with pytest.raises(InputError, match="'wet'"):
            degrade(torch.zeros(3, 16, 16), "wet", 0.5, seeded(0))
    finally:
        unregister_degradation("wet")


def test_labels_come_in_the_order_of_the_registry(faded):
    assert in_order(["zoom", "clean", "faded", "hazy", "hazy", "blur"]) == (
        "hazy",
        "faded",
        "clean",
        "blur",
        "zoom",
    )


def test_names_that_are_no_degradation_are_refused():
    with pytest.raises(InputError, match="wanted a tuple"):
        Words("fogged")
    with pytest.raises(InputError) as error:
        lookup("clean")
    assert "did you mean" not in str(error.value)
