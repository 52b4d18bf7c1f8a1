"""Zero-shot classification: with prompts, and the predictions stored in a table."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from planted import changed, predicted_table

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.data.prompts import training_texts
from daclip_lab.embeddings import zero_shot
from daclip_lab.embeddings.zero_shot import ZeroShotResult, prompt_embeddings, zero_shot_classify
from daclip_lab.errors import InputError, InsufficientDataError


@pytest.fixture(scope="module")
def table():
    return predicted_table()


@pytest.fixture
def worded(pipe):
    """Twelve embeddings that equal the words of two degradations, of six photos."""
    labels = ["hazy", "rainy"] * 6
    words = torch.stack([pipe.word(label) for label in labels]).numpy()
    rows = pd.DataFrame({"image": range(12), "photo": np.arange(12) // 2, "degradation": labels})
    return EmbeddingTable(rows=rows, content=words, degradation=words, clip=words[::-1].copy())


def test_an_embedding_that_equals_a_word_is_classified_as_it(pipe, worded):
    own = {"hazy": training_texts("hazy"), "rainy": training_texts("rainy")}
    truth = list(worded.rows.degradation)
    for prompts in (None, own):
        assert list(zero_shot_classify(pipe, worded, prompts).predicted) == truth
    # In the other space, rows are in the opposite order.
    assert list(zero_shot_classify(pipe, worded, space="clip").predicted) == truth[::-1]
    labels, bare = prompt_embeddings(pipe, "{}")
    assert labels == pipe.settings.labels
    torch.testing.assert_close(bare, pipe.daclip.encode_text(list(labels)).detach())


def test_a_word_outside_the_vocabulary_causes_a_warning(pipe, worded):
    with pytest.warns(UserWarning, match="zeph"):
        zero_shot_classify(pipe, worded, {"hazy": "zephyr", "rainy": "rainy"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zero_shot_classify(pipe, worded, "a {} photo")


def test_prompts_that_cannot_classify_are_refused(pipe, worded):
    for prompts, message in (
        ("a photo", "'a photo'"),
        ({"hazy": "hazy"}, "1 label"),
        ({"hazy": "hazy", "rainy": []}, "'rainy'"),
        ({"hazy": "hazy", "snowy": "snowy"}, "hazy, snowy"),
    ):
        with pytest.raises(InputError, match=message):
            zero_shot_classify(pipe, worded, prompts)
    with pytest.raises(InsufficientDataError, match="'hazy'"):
        zero_shot_classify(pipe, changed(worded, degradation="hazy"))
    short = replace(worded, content=np.ones((12, 8)), degradation=np.ones((12, 8)), clip=None)
    with pytest.raises(InputError, match="8 dimensions and prompts of 32"):
        zero_shot_classify(pipe, short)


def test_accuracy_and_confusion_of_a_result():
    # 20 rows of each class; "a" is right with 90 % in 18 of 20, "b" with 60 % in 10 of 20.
    confidence = np.repeat([0.9, 0.6], 20)
    right = np.r_[np.ones(18), np.zeros(2), np.ones(10), np.zeros(10)].astype(bool)
    truth = np.repeat(["a", "b"], 20)
    first = np.where((truth == "a") == right, confidence, 1 - confidence)
    probabilities = np.stack([first, 1 - first], 1)
    result = ZeroShotResult(("a", "b"), probabilities, truth, np.arange(40).astype(str))
    table = result.accuracy()
    assert list(table.value) == [0.9, 0.5, 0.7] and list(table.n) == [20, 20, 40]
    assert table.n.dtype.kind == "i"
    assert set(table.chance) == {0.5}
    assert result.confusion().to_numpy().tolist() == [[0.9, 0.1], [0.5, 0.5]]
    few = ZeroShotResult(("a", "b"), probabilities[:25], truth[:25], result.photos[:25])
    assert list(few.accuracy().index) == ["a", "overall"]


def test_stored_predictions_give_the_planted_accuracy_and_confusion(table):
    found = zero_shot.accuracy(table)
    assert list(found.index) == ["hazy", "noisy", "rainy", "overall"]
    assert found.loc["overall", "DA-CLIP"].value == pytest.approx(119 / 120)
    assert found.loc["overall", "CLIP alone"].value == pytest.approx(2 / 3)
    row = zero_shot.confusion(table).loc["rainy"].to_dict()
    assert row == {"hazy": 1 / 40, "noisy": 0, "rainy": 39 / 40}
    assert list(zero_shot.confident_errors(table).index) == [5]
    correct = zero_shot.confident_correct(table)
    assert set(correct.degradation) == {"hazy", "noisy", "rainy"} and 5 not in correct.index


def test_labels_that_the_weights_do_not_have_are_no_errors(table):
    foggy = changed(table, degradation=table.rows.degradation.replace("hazy", "foggy"))
    assert set(zero_shot.confident_errors(foggy).degradation) <= {"noisy", "rainy"}
    assert list(zero_shot.accuracy(foggy).index) == ["noisy", "rainy", "overall"]
    assert zero_shot.accuracy(foggy)["DA-CLIP"]["overall"].n == 80
    assert "foggy" in zero_shot.confusion(foggy).index


def test_a_class_of_one_photo_counts_in_overall_only(table):
    photos = table.rows.photo.where(table.rows.degradation != "hazy", "one")
    found = zero_shot.accuracy(changed(table, photo=photos))
    assert list(found.index) == ["noisy", "rainy", "overall"]


def test_a_template_may_hold_other_braces(pipe):
    with pytest.warns(UserWarning):
        labels, embeddings = prompt_embeddings(pipe, "a {} photo {x}")
    assert len(labels) == len(embeddings) == len(pipe.settings.labels)
