"""Paired comparisons, and the summary of all measures that a table supports."""

import re
from dataclasses import replace

import numpy as np
import pytest
from planted import changed, predicted_table

from daclip_lab.embeddings import paired_tests, summary
from daclip_lab.embeddings.summary import summarize
from daclip_lab.errors import InputError


@pytest.fixture(scope="module")
def table():
    return predicted_table()


@pytest.fixture(scope="module")
def found(table):
    return summarize(table)


# ---- paired comparisons ----


def test_clip_against_daclip_on_the_same_images(table):
    found = paired_tests.clip_vs_daclip(table)
    row = found.loc["zero-shot accuracy"]
    assert row["first"] == pytest.approx(2 / 3) and row["second"] == pytest.approx(119 / 120)
    assert row.difference == pytest.approx(119 / 120 - 2 / 3) and row.low > 0.2
    assert (found.difference > 0).all() and (found.photos == 20).all()


def test_a_pair_decides_where_two_intervals_do_not(table):
    hard = np.random.default_rng(0).normal(size=20)[table.rows.photo.str[1:].astype(int)]

    def measure(_table, space):
        return hard + (0.1 if space == "content" else 0.0)

    row = paired_tests.paired_difference(measure, (table, "clip"), (table, "content"))
    assert row["low"] == pytest.approx(0.1) == row["high"]


def test_tables_of_other_images_are_not_compared(table):
    with pytest.raises(InputError, match="120 and 60"):
        paired_tests.weights_vs_weights(table, table.select(np.arange(60)))
    with pytest.raises(InputError, match=r"row 0 .*'0 hazy 0'.*'19 rainy 1'"):
        paired_tests.weights_vs_weights(table, table.select(np.arange(120)[::-1]))
    same = paired_tests.weights_vs_weights(table, table)
    assert (same.difference == 0).all() and (same.low == 0).all()


# ---- the summary ----


def test_nothing_is_skipped_for_a_complete_table(found):
    assert found.skipped == {} and set(found.maps) == {"umap", "pca", "tsne"}
    assert found.measures.loc["clean image retrieval, R@1", "content"].value == 1
    assert found.accuracy.loc["overall", "DA-CLIP"].value == pytest.approx(119 / 120)
    assert list(found.errors.index) == [5] and found.weights is None


def test_the_cosine_of_each_degradation_is_as_planted(found):
    table = found.clean_cosine
    assert list(table.index) == ["hazy", "noisy", "rainy", "overall"]
    for row in table.itertuples():
        assert row[2].value > 0.99 > 0.9 > row[1].value
        assert row.difference.value == pytest.approx(row[2].value - row[1].value)
        assert row.difference.low > 0
    assert table.difference["hazy"].n == 40 and table.difference["overall"].n == 120


def test_measures_that_need_two_classes_are_skipped_for_one(table, monkeypatch):
    monkeypatch.setattr(summary, "METHODS", ("pca",))
    found = summarize(table.of("rainy"))
    assert list(found.accuracy.index) == ["rainy", "overall"]
    assert found.accuracy.loc["rainy", "DA-CLIP"].value == 39 / 40
    assert "'rainy'" in found.skipped["degradation, silhouette"]
    assert "'rainy'" in found.skipped["degradation, linear probe accuracy"]
    expected = ["zero-shot accuracy", *paired_tests.CONTENT_MEASURES]
    assert list(found.controller.index) == expected and found.drift is not None


@pytest.mark.parametrize("error", [InputError, TypeError])
def test_only_insufficient_data_is_skipped_and_other_errors_are_raised(table, monkeypatch, error):
    def broken(*_arguments):
        raise error("a mistake in the code")

    monkeypatch.setattr(summary.probes, "severity_regression", broken)
    monkeypatch.setattr(summary, "METHODS", ("pca",))
    monkeypatch.setattr(summary, "_measures", lambda *_arguments: None)
    with pytest.raises(error, match=re.escape("a mistake in the code")):
        summarize(table)


def test_reasons_name_every_skipped_measure(table, monkeypatch):
    monkeypatch.setattr(summary, "METHODS", ("pca",))
    found = summarize(changed(table, degradation=None, severity=np.nan))
    by_reason = found.skipped_by_reason()
    assert sorted(name for names in by_reason.values() for name in names) == sorted(found.skipped)
    (reason,) = {found.skipped[name] for name in ("confusion matrix", "zero-shot accuracy")}
    assert "no row has a label" in reason and "confusion matrix" in by_reason[reason]


def test_images_are_analysed_with_the_weights_that_made_the_table_only(pipe, table, monkeypatch):
    monkeypatch.setattr(summary, "METHODS", ("pca",))
    skipped = summarize(table, pipe=pipe).skipped
    assert "weights <b>" in skipped["layer by layer"] and "weights <b>" in skipped["attributions"]


def test_weights_without_labels_are_summarized(pipe, photo, monkeypatch):
    monkeypatch.setattr(summary, "METHODS", ("pca",))
    pipe.settings = replace(pipe.settings, labels=())
    images = [photo[:, k : k + 32, :32] for k in range(12)]
    found = summarize(pipe.embed(images), pipe=pipe, images=images)
    assert "no labels" in found.skipped["zero-shot accuracy"] and found.attributions == {}
