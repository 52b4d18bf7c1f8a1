"""Confusion matrices and accuracies are those of scikit-learn, and small classes count only overall."""

import numpy as np
import pandas as pd
import pytest

from daclip_lab.errors import InputError
from daclip_lab.metrics.bootstrap import bootstrap_interval
from daclip_lab.metrics.classification import class_accuracy, confusion_matrix
from daclip_lab.metrics.formatting import format_interval, json_rows, markdown_table

LABELS = ("hazy", "rainy", "snowy")


@pytest.fixture
def labelled():
    """Truth, classification and photo of 90 rows, of which 60 are right."""
    rng = np.random.default_rng(0)
    truth = np.repeat(LABELS, 30)
    predicted = np.where(np.arange(90) % 3 > 0, truth, rng.choice(LABELS, 90))
    return truth, predicted, np.array([f"p{k % 9}" for k in range(90)])


def test_the_confusion_matrix_is_that_of_scikit_learn(labelled):
    from sklearn.metrics import confusion_matrix as by_sklearn

    truth, predicted, _ = labelled
    theirs = by_sklearn(truth, predicted, labels=LABELS, normalize="true")
    np.testing.assert_allclose(confusion_matrix(truth, predicted, LABELS), theirs)


def test_labels_without_rows_are_columns_only_and_others_come_last():
    table = confusion_matrix(["rainy", "foggy", "rainy"], ["hazy", "hazy", "odd"], LABELS)
    assert list(table.index) == ["rainy", "foggy"] and list(table) == [*LABELS, "odd"]
    assert table.loc["rainy"].tolist() == [0.5, 0, 0, 0.5]


def test_the_accuracy_of_a_class_is_the_mean_of_its_rows(labelled):
    truth, predicted, photos = labelled
    found = class_accuracy(truth, predicted, photos, LABELS, chance=1 / 3)
    assert list(found) == [*LABELS, "overall"]
    own = truth == "rainy"
    right = (predicted == truth)[own].astype(float)
    assert found["rainy"][:3] == bootstrap_interval(right, photos[own])
    assert found["rainy"][3:] == (1 / 3, 30, 9)
    assert found["overall"].value == (predicted == truth).mean() and found["overall"].n == 90


def test_small_classes_count_only_overall(labelled):
    truth, predicted, photos = (values[:69] for values in labelled)  # 9 rows are snowy
    photos = np.where(truth == "hazy", "p0", photos)
    found = class_accuracy(truth, predicted, photos, LABELS)
    assert list(found) == ["rainy", "overall"] and found["overall"].n == 69
    with pytest.raises(InputError, match="9 rows"):
        class_accuracy(truth[60:], predicted[60:], photos[60:], LABELS)


def test_numbers_as_text():
    nan = float("nan")
    assert format_interval(0.12345, 0.1, 0.2) == "0.123 [0.100, 0.200]"
    assert format_interval(-0.04, -0.01, 0.2, 1) == "0.0 [0.0, 0.2]"
    assert format_interval(2, nan, nan, 1) == "2.0" and format_interval(nan, nan, nan) == ""
    table = pd.DataFrame({"a": [0.5, nan], "b": ["x", "y"]}, index=pd.Index(["k", "all"], name="n"))
    assert json_rows(table) == {"k": {"a": 0.5, "b": "x"}, "all": {"a": None, "b": "y"}}
    text = "| n | b |\n| --- | --- |\n| k | x |\n| **all** | y |"
    assert markdown_table(table[["b"]], "all") == text
